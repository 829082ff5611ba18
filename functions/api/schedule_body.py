"""When a task runs, as clients send it.

Values are checked by the domain: `schedule()` raises Invalid naming the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from cronhop.domain.calendar import MAX_DATES
from cronhop.domain.schedule import (
    MAX_EVERY_S,
    CronSchedule,
    EverySchedule,
    OnceSchedule,
    Schedule,
)
from cronhop.errors import Invalid

from .fields import PRINTABLE, Slug, StrictBody, told

FIRST_YEAR, LAST_YEAR = 1970, 9899
MAX_CALENDARS = 10  # that one schedule names

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_FORMS = ("cron", "every_s", "at")  # a schedule has one of these
_OF_FORM = frozenset({*_FORMS, "seconds", "anchor"})  # has no meaning in another


def instant(value: object) -> object:
    """Return the UTC instant that an RFC 3339 text says; null stays null."""
    if value is None:
        return None
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("write an RFC 3339 time, e.g. 2026-06-01T09:00:00Z")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError("there is no such time") from exc
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"write a year from {FIRST_YEAR} to {LAST_YEAR}")
    return moment


def instant_of(text: str | None, parameter: str) -> datetime | None:
    """Return the instant that a query parameter says. Raises Invalid."""
    try:
        moment = instant(text)
    except ValueError as exc:
        raise Invalid(parameter, str(exc)) from exc
    return moment if isinstance(moment, datetime) else None


def _whole(value: object) -> object:
    moment = instant(value)
    if isinstance(moment, datetime) and moment.microsecond:
        raise ValueError("write whole seconds")
    return moment


def _day(value: object) -> object:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("write a date, e.g. 2026-12-25")
    try:
        return date.fromisoformat(value)
    except ValueError as exc:
        raise ValueError("there is no such date") from exc


Instant = Annotated[datetime, BeforeValidator(instant)]
WholeSecond = Annotated[datetime, BeforeValidator(_whole)]
Day = Annotated[date, BeforeValidator(_day)]


class DatesBody(StrictBody):
    """The dates of a calendar."""

    dates: Annotated[list[Day], Field(max_length=MAX_DATES)]


class CalendarBody(DatesBody):
    """A calendar."""

    name: Slug


class HoldBody(StrictBody):
    """A pause, or the freeze."""

    until: Instant | None = None
    reason: Annotated[str, StringConstraints(max_length=200), PRINTABLE] = ""


class BackfillBody(StrictBody):
    """A window of the past."""

    from_: Annotated[WholeSecond, Field(alias="from")]
    to: WholeSecond
    dry_run: bool = True
    again: bool = False


class ScheduleBody(StrictBody):
    """When a task runs: by a cron expression, an interval, or once."""

    cron: str | None = None
    seconds: bool = False
    every_s: Annotated[int, told(minimum=1, maximum=MAX_EVERY_S)] | None = None
    anchor: WholeSecond | None = None
    at: WholeSecond | None = None
    timezone: str = "UTC"
    starts_at: WholeSecond | None = None
    ends_at: WholeSecond | None = None
    exclude_calendars: Annotated[list[Slug], Field(max_length=MAX_CALENDARS)] = []

    def schedule(self) -> Schedule:
        """Return what was sent. Raises Invalid."""
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise Invalid("schedule", f"write one of {', '.join(_FORMS)}")
        if self.seconds and self.cron is None:
            raise Invalid("schedule.seconds", "it is for cron only")
        if self.anchor and self.every_s is None:
            raise Invalid("schedule.anchor", "it is for every_s only")
        calendars = tuple(dict.fromkeys(self.exclude_calendars))
        if self.at is not None:
            for name in ("starts_at", "ends_at"):
                if getattr(self, name):
                    raise Invalid(f"schedule.{name}", "it is not for at")
            return OnceSchedule(
                at=self.at, timezone=self.timezone, exclude_calendars=calendars
            )
        window: dict[str, Any] = {
            "timezone": self.timezone,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "exclude_calendars": calendars,
        }
        if self.every_s is not None:
            return EverySchedule(every_s=self.every_s, anchor=self.anchor, **window)
        return CronSchedule(cron=self.cron or "", seconds=self.seconds, **window)


class PreviewBody(StrictBody):
    """A schedule whose slots are wanted."""

    schedule: ScheduleBody
    after: Instant | None = None
    count: Annotated[int, Field(ge=1, le=100)] = 10
    task_id: Annotated[str, StringConstraints(max_length=26)] | None = None


def other_form(present: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the present schedule without what a patch to another form ends.

    Who sends `every_s` to a cron schedule need not take `cron` away.
    """
    is_other = any(
        patch.get(name) is not None for name in _FORMS if name not in present
    )
    return {
        name: value
        for name, value in present.items()
        if not (is_other and name in _OF_FORM)
    }
