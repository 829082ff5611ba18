"""Calendars: named sets of dates on which nothing of a schedule starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cronhop.domain.schedule import Schedule
from cronhop.domain.zone import local_time, zone_of

MAX_DATES = 1000


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """A named set of dates, in order; which day it is the schedule's zone says."""

    name: str
    dates: tuple[date, ...]
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime


def slot_date(schedule: Schedule, slot: datetime) -> date:
    """Return the date that the clock of the schedule's zone shows at a slot."""
    return local_time(slot, zone_of(schedule.timezone)).date()
