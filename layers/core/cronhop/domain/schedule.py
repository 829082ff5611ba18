"""Schedules, and the slots at which they are due.

A schedule is a cron expression on the clock of a zone (`domain/cron.py` says what
may be written), an interval from an anchor, or one instant. What DST makes of a
clock's times is decided here, by the rule of Debian's cron(8):

- A **fixed-time** schedule, whose minute and hour fields both do not start with
  `*`, is due once for each of its local times. Those in a gap (spring) are due
  together, once, at the first instant after the gap; if that is one of its
  times anyway, it is the same slot. Those in an overlap (autumn) are due the
  first time only. cron(8) sees a change of more than three hours as a
  correction of the clock; here the rule holds for gaps of any length.
- Every other schedule **follows elapsed time**: it is due whenever the clock
  shows one of its times, so in both passes of an overlap, and never in a gap.
  Where seconds are given, they are a field like minute and hour.

A slot depends on schedule and zone alone, never on where a search for it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from cronhop.domain.cron import HORIZON, Plan, plan
from cronhop.domain.zone import (
    change_between,
    local_time,
    readings,
    second_pass,
    zone_of,
)
from cronhop.errors import Invalid

MAX_EVERY_S = 366 * 86400  # an interval of a year

# Slots are searched between these: zones are vague before, datetime ends after.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9900, 1, 1, tzinfo=UTC)

_SECOND = timedelta(seconds=1)
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class CronSchedule:
    """A cron expression in a time zone; `check` tells whether it can be accepted.

    | field             | meaning                                            |
    |-------------------|----------------------------------------------------|
    | cron              | the fields or `@hourly` …, as the user wrote them  |
    | timezone          | IANA name of the zone whose clock counts           |
    | seconds           | whether a field for seconds comes first            |
    | starts_at         | the first instant at which it may be due           |
    | ends_at           | the last one                                       |
    | exclude_calendars | names of calendars on whose dates nothing starts   |
    | seed              | what `H` depends on, set by `bound`                |
    """

    cron: str
    timezone: str = "UTC"
    seconds: bool = False
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    exclude_calendars: tuple[str, ...] = ()
    seed: str = ""


@dataclass(frozen=True, kw_only=True)
class EverySchedule:
    """An interval: due at the anchor and every so many seconds after it.

    `anchor` None is when the task was made, which `bound` fills in; slots are
    counted from it, never from the slot before, so that nothing drifts.
    `timezone` says on which dates of a calendar a slot is. The other fields are
    as in `CronSchedule`.
    """

    every_s: int
    anchor: datetime | None = None
    timezone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    exclude_calendars: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OnceSchedule:
    """One instant, in whole seconds; the other fields are as in `EverySchedule`."""

    at: datetime
    timezone: str = "UTC"
    exclude_calendars: tuple[str, ...] = ()


Schedule = CronSchedule | EverySchedule | OnceSchedule


class DstNote(StrEnum):
    """What a change of the clocks has to do with a slot."""

    GAP = "dst_gap"  #: it stands for times that the clock skips
    OVERLAP = "dst_overlap"  #: the clock shows its time twice


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """Return it as plain values, as the API shows and the store keeps it."""
    return {
        name: _plain(value)
        for name, value in asdict(schedule).items()
        if name != "seed"
    }


def from_dict(given: Mapping[str, Any]) -> Schedule:
    """Return what `to_dict` made these plain values of."""
    plain = dict(given)
    for name in ("anchor", "at", "starts_at", "ends_at"):
        if plain.get(name):
            plain[name] = datetime.fromisoformat(plain[name])
    if "exclude_calendars" in plain:
        plain["exclude_calendars"] = tuple(plain["exclude_calendars"])
    if "every_s" in plain:
        return EverySchedule(**plain)
    return OnceSchedule(**plain) if "at" in plain else CronSchedule(**plain)


def bound(schedule: Schedule, *, task_id: str, created_at: datetime) -> Schedule:
    """Return the schedule as it is for one task: with its `H`, with its anchor."""
    if isinstance(schedule, CronSchedule):
        return replace(schedule, seed=task_id)
    if isinstance(schedule, EverySchedule) and schedule.anchor is None:
        return replace(schedule, anchor=created_at.replace(microsecond=0))
    return schedule


def check(schedule: Schedule) -> None:
    """Ensure that the schedule is written well and has slots.

    Raises `Invalid` for `schedule` and its field at fault; the message says what
    to write instead.
    """
    zone_of(schedule.timezone)
    if isinstance(schedule, OnceSchedule):
        return
    if isinstance(schedule, CronSchedule):
        plan_of(schedule)
    elif not 1 <= schedule.every_s <= MAX_EVERY_S:
        raise Invalid(
            "schedule.every_s", f"write a number of seconds from 1 to {MAX_EVERY_S}"
        )
    start, end = schedule.starts_at, schedule.ends_at
    if start and end and end < start:
        raise Invalid("schedule.ends_at", "it is before starts_at")


def next_slot(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first slot strictly later than `after`, UTC, whole seconds.

    `None` means that none follows: a cron expression has one within `HORIZON`
    years if the calendar does not end before. There are none before 1970.
    `after` must be aware. Raises `Invalid` as `check` does.
    """
    if after.tzinfo is None:
        raise ValueError("after must be an aware datetime")
    after = max(after.astimezone(UTC).replace(microsecond=0), _FIRST - _SECOND)
    if isinstance(schedule, OnceSchedule):
        return schedule.at if schedule.at > after else None
    if schedule.starts_at:
        after = max(after, _before(schedule.starts_at))
    if after >= _LAST:
        return None
    slot = (
        _next_of_interval(schedule, after)
        if isinstance(schedule, EverySchedule)
        else _next_of_clock(schedule, after)
    )
    if slot is None or (schedule.ends_at and slot > schedule.ends_at):
        return None
    return slot


def latest_slot(schedule: Schedule, start: datetime, end: datetime) -> datetime | None:
    """Return the newest slot in [start, end], `None` if there is none.

    Bounded work, some tens of `next_slot` however many slots there are:

    1. go back from `end` in growing steps until a slot is found,
    2. go on from it, one slot and half of the time left in turn, to the last.
    """
    low, reach = end, timedelta(minutes=2)
    slot = None
    while slot is None and low >= start:
        low = max(end - reach, start - _INSTANT)
        slot = _next_until(schedule, low, end)
        reach *= 8

    high = end  # no slot in (high, end]
    while slot is not None:
        following = _next_until(schedule, slot, high)
        if following is None:
            return slot
        middle = following + (high - following) / 2
        slot = _next_until(schedule, middle, high)
        if slot is None:
            slot, high = following, middle
    return None


def latest_slots(
    schedule: Schedule, start: datetime, end: datetime, count: int
) -> list[datetime]:
    """Return the newest slots in [start, end], oldest first, at most `count`.

    Bounded work: `latest_slot`, `count` times at most.
    """
    found: list[datetime] = []
    while len(found) < count:
        slot = latest_slot(schedule, start, found[-1] - _SECOND if found else end)
        if slot is None:
            break
        found.append(slot)
    return found[::-1]


def slots(
    schedule: Schedule, start: datetime, end: datetime, limit: int = 1000
) -> Iterator[datetime]:
    """Return the first slots in [start, end], oldest first, at most `limit`."""
    after = start - _INSTANT
    for _ in range(limit):
        slot = _next_until(schedule, after, end)
        if slot is None:
            return
        yield slot
        after = slot


def count_slots(
    schedule: Schedule, start: datetime, end: datetime, limit: int = 1000
) -> int:
    """Return how many slots are in [start, end]; `limit` means at least `limit`."""
    return sum(1 for _ in slots(schedule, start, end, limit))


def is_slot(schedule: Schedule, instant: datetime) -> bool:
    """Return whether the schedule is due at this instant."""
    return next_slot(schedule, instant - _SECOND) == instant


def plan_of(schedule: CronSchedule) -> Plan:
    """Return what its expression stands for. Raises `Invalid` as `check` does."""
    return plan(schedule.cron, seconds=schedule.seconds, seed=schedule.seed)


def dst_note(schedule: Schedule, slot: datetime) -> DstNote | None:
    """Return what a change of the clocks has to do with a slot, `None`: nothing."""
    zone = zone_of(schedule.timezone)
    local = local_time(slot, zone)
    if isinstance(schedule, CronSchedule):
        shown_before = local_time(slot - _SECOND, zone)
        swallowed = plan_of(schedule).next_time(shown_before)
        if (
            plan_of(schedule).is_fixed
            and local - shown_before > _SECOND
            and swallowed is not None
            and swallowed < local
        ):
            return DstNote.GAP
    first, second = readings(local, zone)
    return DstNote.OVERLAP if first < second else None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return list(value) if isinstance(value, tuple) else value


def _before(start: datetime) -> datetime:
    """Return the last whole second before an instant."""
    return (start - _INSTANT).replace(microsecond=0)


def _next_until(schedule: Schedule, after: datetime, end: datetime) -> datetime | None:
    """Return the first slot in (after, end]."""
    slot = next_slot(schedule, after)
    return slot if slot is not None and slot <= end else None


def _next_of_interval(schedule: EverySchedule, after: datetime) -> datetime:
    """Return the anchor, or the first multiple of the interval from it."""
    if schedule.anchor is None:
        raise ValueError("an interval is counted from an anchor: use bound()")
    if after < schedule.anchor:
        return schedule.anchor
    every = timedelta(seconds=schedule.every_s)
    return schedule.anchor + ((after - schedule.anchor) // every + 1) * every


# The rule: from times of the clock to instants.


def _next_of_clock(schedule: CronSchedule, after: datetime) -> datetime | None:
    times, zone = plan_of(schedule), zone_of(schedule.timezone)
    slot = _search(times, zone, local=local_time(after, zone), after=after)
    if times.is_fixed or (again := second_pass(after, zone)) is None:
        return slot
    # Times that are past in this pass of the overlap come again in the second.
    repeated = _search(
        times, zone, local=local_time(again, zone) - _SECOND, after=after
    )
    return min((s for s in (slot, repeated) if s is not None), default=None)


def _search(
    times: Plan, zone: ZoneInfo, *, local: datetime, after: datetime
) -> datetime | None:
    """Return the first slot after `after` among the clock's times after `local`."""
    horizon = after.year + HORIZON
    time = times.next_time(local)
    while time is not None and time.year <= horizon:
        first, second = readings(time, zone)
        if first > second:
            change = change_between(zone, second, first)
            if times.is_fixed:
                return change
            resume = local_time(change, zone) - _SECOND
        elif first > after:
            return first
        elif second > after and not times.is_fixed:
            return second
        else:
            # A fixed time in the second pass: go on where the overlap ends.
            resume = local_time(change_between(zone, first, second) - _SECOND, zone)
        time = times.next_time(max(time, resume))
    return None
