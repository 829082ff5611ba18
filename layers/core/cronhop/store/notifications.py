"""The table of notifications: channels, rules, and what was delivered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pynamodb.attributes import (
    Attribute,
    BooleanAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.models import Model

from cronhop.domain.notification import (
    Channel,
    ChannelKind,
    Delivery,
    Occasion,
    Rule,
)
from cronhop.store.attributes import InstantAttribute, PlainAttribute, set_or_remove
from cronhop.store.connection import delete, put, table, update
from cronhop.store.page import Page

_CHANNEL, _RULE, _DELIVERED = "channel", "rule", "delivered"
_KEPT = timedelta(days=15)  # longer than a queue keeps what it may hand over again


@table("notifications")
class NotificationRow(Model):
    """A channel, a rule, or the delivery of one notice.

    There are few of the first two, read all at once: `kind` is their key. Each
    delivery has a key of its own.
    """

    class Meta:
        table_name = ""

    kind = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    definition = PlainAttribute(null=True)
    version = NumberAttribute(null=True)
    created_by = UnicodeAttribute(null=True)
    created_at = InstantAttribute(null=True)
    updated_at = InstantAttribute(null=True)
    last_id = UnicodeAttribute(null=True)
    last_at = InstantAttribute(null=True)
    last_ok = BooleanAttribute(null=True)
    last_reason = UnicodeAttribute(null=True)
    test_id = UnicodeAttribute(null=True)
    test_at = InstantAttribute(null=True)
    test_ok = BooleanAttribute(null=True)
    test_reason = UnicodeAttribute(null=True)
    lease_until = InstantAttribute(null=True)
    done_at = InstantAttribute(null=True)
    ttl = NumberAttribute(null=True)


def add(thing: Channel | Rule) -> bool:
    """Put a channel or a rule; False if one of this name is there already."""
    return put(
        NotificationRow(
            kind=_kind(thing),
            name=thing.name,
            definition=_definition(thing),
            version=thing.version,
            created_by=thing.created_by,
            created_at=thing.created_at,
            updated_at=thing.updated_at,
        ),
        condition=NotificationRow.kind.does_not_exist(),
    )


def change(old: Channel | Rule, new: Channel | Rule) -> bool:
    """Let a channel or a rule be another; False if it is not the one read."""
    return update(
        NotificationRow(kind=_kind(old), name=old.name),
        actions=[
            NotificationRow.definition.set(_definition(new)),
            NotificationRow.version.set(new.version),
            NotificationRow.updated_at.set(new.updated_at),
        ],
        condition=NotificationRow.version == old.version,
    )


def remove(thing: Channel | Rule) -> bool:
    """Delete this channel or rule; False if it has changed, or is gone already."""
    return delete(
        NotificationRow(kind=_kind(thing), name=thing.name),
        condition=NotificationRow.version == thing.version,
    )


def channel(name: str) -> Channel | None:
    """Return the channel of this name as of now, None if there is none."""
    row = _get(_CHANNEL, name)
    return _channel(row) if row else None


def rule(name: str) -> Rule | None:
    """Return the rule of this name as of now, None if there is none."""
    row = _get(_RULE, name)
    return _rule(row) if row else None


def channels(*, limit: int, after: str | None) -> Page[Channel]:
    """Return channels by name, those after the name `after`."""
    rows, last = _query(_CHANNEL, limit, after)
    return Page(items=[_channel(row) for row in rows], last=last)


def rules(*, limit: int, after: str | None) -> Page[Rule]:
    """Return rules by name, those after the name `after`."""
    rows, last = _query(_RULE, limit, after)
    return Page(items=[_rule(row) for row in rows], last=last)


def record_delivery(name: str, delivery: Delivery, *, is_test: bool) -> None:
    """Record what became of the last thing sent over a channel, if it is there.

    That of a test is kept until the next test.
    """
    row = NotificationRow
    values: list[tuple[Attribute[Any], Any]] = [
        (row.last_id, delivery.notice_id),
        (row.last_at, delivery.at),
        (row.last_ok, delivery.ok),
        (row.last_reason, delivery.reason),
    ]
    if is_test:
        values += [
            (row.test_id, delivery.notice_id),
            (row.test_at, delivery.at),
            (row.test_ok, delivery.ok),
            (row.test_reason, delivery.reason),
        ]
    update(
        NotificationRow(kind=_CHANNEL, name=name),
        actions=set_or_remove(*values),
        condition=NotificationRow.kind.exists(),
    )


def claim(notice_id: str, *, now: datetime, until: datetime) -> bool:
    """Let the caller deliver a notice; False if it is delivered, or somebody is at it.

    `until` is when another may, should the caller not come to `done`.
    """
    row = NotificationRow(kind=f"{_DELIVERED}#{notice_id}", name="-")
    return update(
        row,
        actions=[
            NotificationRow.lease_until.set(until),
            NotificationRow.ttl.set(int((now + _KEPT).timestamp())),
        ],
        condition=NotificationRow.done_at.does_not_exist()
        & (
            NotificationRow.lease_until.does_not_exist()
            | (NotificationRow.lease_until <= now)
        ),
    )


def done(notice_id: str, *, now: datetime) -> None:
    """Record that a notice was delivered."""
    NotificationRow(kind=f"{_DELIVERED}#{notice_id}", name="-").update(
        actions=[NotificationRow.done_at.set(now)]
    )


def is_done(notice_id: str) -> bool:
    """Return whether a notice was delivered, as of now."""
    row = _get(f"{_DELIVERED}#{notice_id}", "-")
    return row is not None and row.done_at is not None


def give_back(notice_id: str, *, now: datetime) -> None:
    """Let a notice that could not be delivered be tried again."""
    NotificationRow(kind=f"{_DELIVERED}#{notice_id}", name="-").update(
        actions=[NotificationRow.lease_until.set(now)]
    )


def _get(kind: str, name: str) -> NotificationRow | None:
    try:
        return NotificationRow.get(kind, name, consistent_read=True)
    except NotificationRow.DoesNotExist:
        return None


def _query(
    kind: str, limit: int, after: str | None
) -> tuple[list[NotificationRow], str | None]:
    """Return a page of rows, and the name of the last of them if more follow."""
    found = list(
        NotificationRow.query(
            kind,
            NotificationRow.name > after if after else None,
            limit=limit + 1,
            consistent_read=True,
        )
    )
    return found[:limit], found[limit - 1].name if len(found) > limit else None


def _kind(thing: Channel | Rule) -> str:
    return _CHANNEL if isinstance(thing, Channel) else _RULE


def _definition(thing: Channel | Rule) -> Mapping[str, Any]:
    if isinstance(thing, Channel):
        return {
            "kind": thing.kind.value,
            "target": thing.target,
            "credential": thing.credential,
        }
    return {
        "on": [one.value for one in thing.on],
        "channels": list(thing.channels),
        "task_id": thing.task_id,
        "environment": thing.environment,
        "late_s": thing.late_s,
    }


def _channel(row: NotificationRow) -> Channel:
    plain = row.definition
    return Channel(
        name=row.name,
        kind=ChannelKind(plain["kind"]),
        target=plain["target"],
        credential=plain["credential"],
        version=int(row.version),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_delivery=_delivery(
            row.last_id, row.last_at, ok=row.last_ok, reason=row.last_reason
        ),
        last_test=_delivery(
            row.test_id, row.test_at, ok=row.test_ok, reason=row.test_reason
        ),
    )


def _delivery(
    notice_id: str | None, at: datetime | None, *, ok: bool | None, reason: str | None
) -> Delivery | None:
    if at is None:
        return None
    return Delivery(notice_id=notice_id, at=at, ok=bool(ok), reason=reason or "")


def _rule(row: NotificationRow) -> Rule:
    plain = row.definition
    return Rule(
        name=row.name,
        on=tuple(Occasion(one) for one in plain["on"]),
        channels=tuple(plain["channels"]),
        task_id=plain["task_id"],
        environment=plain["environment"],
        late_s=plain["late_s"],
        version=int(row.version),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
