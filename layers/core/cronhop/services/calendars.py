"""Calendars: kept, replaced, removed while nothing names them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from cronhop.domain.calendar import Calendar
from cronhop.domain.task import TaskDefinition
from cronhop.errors import Conflict, NotFound, PreconditionFailed
from cronhop.services.requests import is_own
from cronhop.services.uses import of_definitions, require_unused
from cronhop.store import calendars as store
from cronhop.store.page import Page


@dataclass(frozen=True, kw_only=True)
class Calendars:
    """What people do with calendars."""

    def create(
        self, name: str, dates: tuple[date, ...], *, by: str, now: datetime
    ) -> Calendar:
        """Put a calendar on record. Raises Conflict if its name is taken.

        What the same request has made by then is returned as it is.
        """
        calendar = Calendar(
            name=name,
            dates=_ordered(dates),
            version=1,
            created_by=by,
            created_at=now,
            updated_at=now,
        )
        if store.add(calendar):
            return calendar
        kept = store.get(name)
        if kept is None or not is_own(kept, calendar):
            raise Conflict(f"there is a calendar {name!r} already", field="name")
        return kept

    def replace(
        self,
        name: str,
        dates: tuple[date, ...],
        *,
        version: int | None,
        now: datetime,
    ) -> Calendar:
        """Let the calendar have other dates; they count for every start from now on.

        Raises NotFound, PreconditionFailed if `version` is given and not the
        present one, Conflict.
        """
        old = self.get(name, version=version)
        new = replace(
            old, dates=_ordered(dates), version=old.version + 1, updated_at=now
        )
        if not store.change(old, dates=new.dates, now=now) and store.get(name) != new:
            raise Conflict("it is just being changed by somebody else")
        return new

    def get(self, name: str, *, version: int | None = None) -> Calendar:
        """Return the calendar. Raises NotFound, PreconditionFailed."""
        calendar = store.get(name)
        if calendar is None:
            raise NotFound(f"there is no calendar {name!r}")
        if version not in {None, calendar.version}:
            raise PreconditionFailed("it was changed since you read it")
        return calendar

    def listing(self, *, limit: int, after: str | None) -> Page[Calendar]:
        """Return calendars by name."""
        return store.listing(limit=limit, after=after)

    def delete(self, name: str, *, version: int | None) -> None:
        """Remove a calendar that nothing names. Raises NotFound, Conflict."""
        calendar = self.get(name, version=version)
        uses = of_definitions(lambda made: _names(made, name))
        require_unused(f"calendar {name!r}", uses)
        if not store.remove(calendar) and store.get(name):
            raise Conflict("it is just being changed by somebody else")


def _ordered(dates: tuple[date, ...]) -> tuple[date, ...]:
    return tuple(sorted(set(dates)))


def _names(definition: TaskDefinition, name: str) -> bool:
    schedule = definition.schedule
    return schedule is not None and name in schedule.exclude_calendars
