"""The table of requests that their senders may repeat, each kept for a day."""

from __future__ import annotations

import lzma
from datetime import datetime
from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from cronhop.domain.ids import id_time
from cronhop.domain.request import KEPT_FOR, KeptAnswer, Request
from cronhop.store.attributes import InstantAttribute
from cronhop.store.connection import delete, put, read, table, update


@table("requests")
class RequestRow(Model):
    """A request as DynamoDB keeps it.

    An answer says in other words, and several times, what the request said in 256
    KiB at most: compressed it fits in an item.
    """

    class Meta:
        table_name = ""

    request = UnicodeAttribute(hash_key=True)
    digest = UnicodeAttribute()
    made_id = UnicodeAttribute()
    owner = UnicodeAttribute()
    lease_until = InstantAttribute()
    status = NumberAttribute(null=True)
    body = BinaryAttribute(null=True, legacy_encoding=False)
    etag = UnicodeAttribute(null=True)
    ttl = NumberAttribute()


def add(request: Request, *, now: datetime) -> bool:
    """Put the request; False if its key is in use, from less than a day ago."""
    return put(
        RequestRow(
            request=request.key,
            digest=request.digest,
            made_id=request.made_id,
            owner=request.owner,
            lease_until=request.lease_until,
            ttl=int((id_time(request.made_id) + KEPT_FOR).timestamp()),
        ),
        # DynamoDB removes what is over within days, not at once.
        condition=RequestRow.request.does_not_exist()
        | (RequestRow.ttl <= int(now.timestamp())),
    )


def get(key: str) -> Request | None:
    """Return the request of this key as of now, None if there is none."""
    row = read(RequestRow, key)
    if row is None:
        return None
    return Request(
        key=row.request,
        digest=row.digest,
        made_id=row.made_id,
        owner=row.owner,
        lease_until=row.lease_until,
        answer=_answer(row),
    )


def take(request: Request, *, owner: str, lease_until: datetime) -> bool:
    """Let somebody else work on it; False if that is not as it was read."""
    return update(
        RequestRow(request=request.key),
        actions=[RequestRow.owner.set(owner), RequestRow.lease_until.set(lease_until)],
        condition=(RequestRow.owner == request.owner)
        & RequestRow.status.does_not_exist(),
    )


def keep(request: Request, answer: KeptAnswer) -> None:
    """Note what was answered, if it is its owner's still."""
    actions: list[Any] = [
        RequestRow.status.set(answer.status),
        RequestRow.body.set(lzma.compress(answer.body.encode(), preset=0)),
    ]
    if answer.etag is not None:
        actions.append(RequestRow.etag.set(answer.etag))
    update(
        RequestRow(request=request.key),
        actions=actions,
        condition=RequestRow.owner == request.owner,
    )


def remove(request: Request) -> None:
    """Forget it, if it is its owner's still."""
    delete(RequestRow(request=request.key), condition=RequestRow.owner == request.owner)


def _answer(row: RequestRow) -> KeptAnswer | None:
    if row.status is None or row.body is None:
        return None
    return KeptAnswer(
        status=int(row.status), body=lzma.decompress(row.body).decode(), etag=row.etag
    )
