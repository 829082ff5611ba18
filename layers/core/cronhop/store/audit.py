"""The table of the audit: put and read, never changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from cronhop.domain.audit import AuditRecord
from cronhop.domain.ids import first_id, id_time, last_id
from cronhop.store.attributes import PlainAttribute
from cronhop.store.connection import put, table
from cronhop.store.page import Page

DAYS_A_PAGE = 31  # a list over everything looks at most so far back for one page


class _ByActor(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_actor"
        projection = KeysOnlyProjection()

    actor = UnicodeAttribute(hash_key=True)
    at_ulid = UnicodeAttribute(range_key=True)


class _ByDay(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_day"
        projection = KeysOnlyProjection()

    day = UnicodeAttribute(hash_key=True)
    at_ulid = UnicodeAttribute(range_key=True)


@table("audit")
class AuditRow(Model):
    """A record as DynamoDB keeps it."""

    class Meta:
        table_name = ""

    entity = UnicodeAttribute(hash_key=True)
    at_ulid = UnicodeAttribute(range_key=True)
    day = UnicodeAttribute()
    action = UnicodeAttribute()
    actor = UnicodeAttribute()
    subject = UnicodeAttribute()
    request = UnicodeAttribute()
    status = NumberAttribute()
    before = PlainAttribute(null=True)
    after = PlainAttribute(null=True)
    request_id = UnicodeAttribute()
    source_address = UnicodeAttribute()
    user_agent = UnicodeAttribute()
    ttl = NumberAttribute()
    by_actor = _ByActor()
    by_day = _ByDay()


def add(record: AuditRecord, *, days: int) -> None:
    """Put the record, to be kept for so many days. It replaces none."""
    values = asdict(record)
    audit_id = values.pop("audit_id")
    put(
        AuditRow(
            at_ulid=audit_id,
            day=record.at.date().isoformat(),
            ttl=int((record.at + timedelta(days=days)).timestamp()),
            **values,
        ),
        condition=AuditRow.entity.does_not_exist(),
    )


def of_entity(
    entity: str, *, start: datetime, end: datetime, limit: int, after: str | None
) -> Page[AuditRecord]:
    """Return the records of an entity from `start` to `end`, newest first."""
    rows = _window(AuditRow.query, entity, start, end, limit, after)
    return _page(map(_record, rows[:limit]), more=len(rows) > limit)


def of_actor(
    actor: str, *, start: datetime, end: datetime, limit: int, after: str | None
) -> Page[AuditRecord]:
    """Return what somebody did from `start` to `end`, newest first."""
    keys = _window(AuditRow.by_actor.query, actor, start, end, limit, after)
    return _page(_read(keys[:limit]), more=len(keys) > limit)


def recent(
    *, start: datetime, end: datetime, limit: int, after: str | None
) -> Page[AuditRecord]:
    """Return all records from `start` to `end`, newest first.

    A page looks back 31 days at most, so it may be short, even empty, and yet be
    followed by another one.
    """
    day = (min(id_time(after), end) if after else end).date()
    keys: list[Any] = []
    for _ in range(DAYS_A_PAGE):
        if day < start.date():
            return _page(_read(keys), more=False)
        query = AuditRow.by_day.query
        keys += _window(query, day.isoformat(), start, end, limit - len(keys), after)
        if len(keys) > limit:
            return _page(_read(keys[:limit]), more=True)
        day -= timedelta(days=1)
    end_of_day = datetime.combine(day, time.max, tzinfo=UTC)
    return Page(items=list(_read(keys)), last=last_id(end_of_day))


def _window(
    query: Any, key: str, start: datetime, end: datetime, limit: int, after: str | None
) -> list[Any]:
    """Return rows of a key within the window, one more than the limit if there are."""
    newest = min(last_id(end), after) if after else last_id(end)
    if newest < first_id(start):
        return []
    found = query(
        key,
        AuditRow.at_ulid.between(first_id(start), newest),
        scan_index_forward=False,
        limit=limit + 2,
    )
    older = (row for row in found if row.at_ulid != after)
    return list(itertools.islice(older, limit + 1))


def _read(keys: Iterable[Any]) -> Iterable[AuditRecord]:
    """Yield the records of index keys, by queries: the role may do nothing else."""
    for key in keys:
        for row in AuditRow.query(key.entity, AuditRow.at_ulid == key.at_ulid):
            yield _record(row)


def _page(records: Iterable[AuditRecord], *, more: bool) -> Page[AuditRecord]:
    items = list(records)
    return Page(items=items, last=items[-1].audit_id if more and items else None)


def _record(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        audit_id=row.at_ulid,
        entity=row.entity,
        action=row.action,
        actor=row.actor,
        subject=row.subject,
        request=row.request,
        status=int(row.status),
        before=row.before,
        after=row.after,
        request_id=row.request_id,
        source_address=row.source_address,
        user_agent=row.user_agent,
    )
