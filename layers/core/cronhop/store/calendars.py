"""Calendars: items of their own in the table of tasks, few and seldom changed."""

from __future__ import annotations

from datetime import date, datetime

from cronhop.domain.calendar import Calendar
from cronhop.store.connection import delete, put, read, update
from cronhop.store.page import Page
from cronhop.store.tasks import TaskRow

_LISTED = "calendar"  # the key of calendars in the index that lists tasks


def add(calendar: Calendar) -> bool:
    """Put the calendar; False if one of this name is there already."""
    return put(
        TaskRow(
            task_id=_key(calendar.name),
            listed=_LISTED,
            dates=_texts(calendar.dates),
            version=calendar.version,
            created_by=calendar.created_by,
            created_at=calendar.created_at,
            updated_at=calendar.updated_at,
        ),
        condition=TaskRow.task_id.does_not_exist(),
    )


def get(name: str) -> Calendar | None:
    """Return the calendar of this name as of now, None if there is none."""
    row = read(TaskRow, _key(name))
    return _calendar(row) if row else None


def change(old: Calendar, *, dates: tuple[date, ...], now: datetime) -> bool:
    """Let the calendar have other dates; False if it is not the one read."""
    return update(
        TaskRow(task_id=_key(old.name)),
        actions=[
            TaskRow.dates.set(_texts(dates)),
            TaskRow.version.set(old.version + 1),
            TaskRow.updated_at.set(now),
        ],
        condition=TaskRow.version == old.version,
    )


def remove(calendar: Calendar) -> bool:
    """Delete this calendar; False if it has changed, or is gone already."""
    return delete(
        TaskRow(task_id=_key(calendar.name)),
        condition=TaskRow.version == calendar.version,
    )


def listing(*, limit: int, after: str | None) -> Page[Calendar]:
    """Return calendars by name, those after the name `after`."""
    found = TaskRow.listing.query(
        _LISTED,
        TaskRow.task_id > _key(after) if after else None,
        limit=limit + 1,
    )
    keys = [row.task_id for row in found]
    rows = {row.task_id: row for row in TaskRow.batch_get(keys[:limit])}
    items = [_calendar(rows[key]) for key in keys[:limit] if key in rows]
    last = _name(keys[limit - 1]) if len(keys) > limit else None
    return Page(items=items, last=last)


def _key(name: str) -> str:
    return f"calendar#{name}"


def _name(key: str) -> str:
    return key.removeprefix("calendar#")


def _texts(dates: tuple[date, ...]) -> list[str]:
    return [day.isoformat() for day in dates]


def _calendar(row: TaskRow) -> Calendar:
    return Calendar(
        name=_name(row.task_id),
        dates=tuple(date.fromisoformat(text) for text in row.dates),
        version=int(row.version),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
