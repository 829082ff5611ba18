"""Previews: the coming slots of a schedule that nobody has put on record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.calendar import slot_date
from cronhop.domain.ids import is_id
from cronhop.domain.lint import warnings
from cronhop.domain.schedule import (
    DstNote,
    Schedule,
    bound,
    check,
    dst_note,
    next_slot,
)
from cronhop.domain.zone import zone_of
from cronhop.errors import Invalid
from cronhop.store import calendars, tasks


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A slot as people read it.

    | field       | meaning                                              |
    |-------------|------------------------------------------------------|
    | at          | the instant, UTC                                     |
    | local       | the same on the clock of the schedule's zone         |
    | note        | what a change of the clocks has to do with it        |
    | excluded_by | the calendar on whose dates it is, None: it will run |
    """

    at: datetime
    local: datetime
    note: DstNote | None
    excluded_by: str | None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The coming slots, and in words what may surprise."""

    slots: tuple[Slot, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What people ask of a schedule before they write it."""

    def preview(
        self,
        schedule: Schedule,
        *,
        after: datetime,
        count: int,
        task_id: str | None,
        scope: Scope = EVERYWHERE,
    ) -> Shown:
        """Return the first `count` slots later than `after`.

        `H` and an interval's anchor are those of the task, if one is given; else
        `H` is that of no task, and the anchor is `after`. Raises Invalid.
        """
        mine = bound(schedule, task_id="", created_at=after)
        if task_id is not None:
            task = tasks.get(task_id) if is_id(task_id) else None
            if task is None or not scope.admits(task.definition.environment):
                raise Invalid("task_id", f"there is no task {task_id}")
            mine = bound(schedule, task_id=task_id, created_at=task.created_at)
        check(mine)
        dates = _dates(mine)
        zone = zone_of(mine.timezone)
        found: list[Slot] = []
        slot = next_slot(mine, after)
        while slot and len(found) < count:
            day = slot_date(mine, slot)
            found.append(
                Slot(
                    at=slot,
                    local=slot.astimezone(zone),
                    note=dst_note(mine, slot),
                    excluded_by=next((n for n in dates if day in dates[n]), None),
                )
            )
            slot = next_slot(mine, slot)
        words = warnings(mine, after)
        if not found:
            words.append("it is never due after that")
        return Shown(slots=tuple(found), warnings=tuple(words))


def _dates(schedule: Schedule) -> dict[str, frozenset[object]]:
    """Return the dates of the calendars that it names. Raises Invalid."""
    dates: dict[str, frozenset[object]] = {}
    for number, name in enumerate(schedule.exclude_calendars):
        calendar = calendars.get(name)
        if calendar is None:
            raise Invalid(
                f"schedule.exclude_calendars.{number}", f"there is no calendar {name!r}"
            )
        dates[name] = frozenset(calendar.dates)
    return dates
