"""Schedules: five-field cron in a time zone, and the slots at which it is due.

The dialect is that of crontab(5): numbers, names, ranges, lists, steps, `@daily`
and its like. croniter walks the matching times of a clock that knows no zone;
what DST makes of them is decided here, by the rule of Debian's cron(8):

- A **fixed-time** schedule, whose minute and hour fields both do not start with
  `*`, is due once for each of its local times. Those in a gap (spring) are due
  together, once, at the first instant after the gap; if that is one of its
  times anyway, it is the same slot. Those in an overlap (autumn) are due the
  first time only. cron(8) sees a change of more than three hours as a
  correction of the clock; here the rule holds for gaps of any length.
- Every other schedule **follows elapsed time**: it is due whenever the clock
  shows one of its times, so in both passes of an overlap, and never in a gap.

A day must match day of month and weekday if either field starts with `*`, one of
them is enough otherwise (crontab(5), and Debian's source for steps: `*/2` too).

A slot depends on schedule and zone alone, never on where a search for it began.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from cronhop.errors import Invalid

CRON_MAX_LENGTH = 50  # characters
TIMEZONE_MAX_LENGTH = 64  # characters

# A possible date comes back within 40 years: 29 February on a given weekday,
# where 2100 is in between. No slot in 50 years is no slot at all.
HORIZON = 50  # years

# Slots are searched between these: zones are vague before, datetime ends after.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9900, 1, 1, tzinfo=UTC)

_SECOND = timedelta(seconds=1)

_EXPANSIONS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_FIVE_FIELDS = (
    "write five fields: minute, hour, day of month, month, day of week,"
    " e.g. `30 1 * * *`"
)

# What other crons have and this one does not, and what to write instead.
_NOT_YET = {
    "?": "write `*`",
    "L": "write a day, e.g. `28`",
    "LW": "write a day, e.g. `28`",
    "W": "write a day, e.g. `15`",
    "#": "write a weekday, e.g. `MON`",
    "H": "write a number, e.g. `17`",
    "R": "write a number, e.g. `17`",
    "~": "write a number, e.g. `17`",
}

_TERM = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)

_EVERY_DAY = frozenset(range(1, 32))
_EVERY_WEEKDAY = frozenset(range(7))
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, kw_only=True)
class CronSchedule:
    """A cron expression in a time zone; `check` tells whether it can be accepted.

    | field    | meaning                                          |
    |----------|--------------------------------------------------|
    | cron     | five fields or `@hourly` …, as the user wrote it |
    | timezone | IANA name of the zone whose clock counts         |
    """

    cron: str
    timezone: str = "UTC"


def check(schedule: CronSchedule) -> None:
    """Ensure that the schedule is written well and has slots.

    Raises `Invalid` for `schedule.cron` or `schedule.timezone`; its message says
    what to write instead.
    """
    _plan(schedule.cron)
    _zone(schedule.timezone)


def next_slot(schedule: CronSchedule, after: datetime) -> datetime | None:
    """Return the first slot strictly later than `after`, UTC, whole seconds.

    `None` means that there is none within `HORIZON` years, which for an accepted
    schedule happens only at the end of the calendar. There are none before 1970.
    `after` must be aware. Raises `Invalid` as `check` does.
    """
    plan, zone = _plan(schedule.cron), _zone(schedule.timezone)
    if after.tzinfo is None:
        raise ValueError("after must be an aware datetime")
    after = max(after.astimezone(UTC).replace(microsecond=0), _FIRST - _SECOND)
    if after >= _LAST:
        return None

    slot = _search(plan, zone, local=_local(after, zone), after=after)
    if plan.is_fixed or (again := _second_pass(after, zone)) is None:
        return slot
    # Times that are past in this pass of the overlap come again in the second.
    repeated = _search(plan, zone, local=_local(again, zone) - _SECOND, after=after)
    return min((s for s in (slot, repeated) if s is not None), default=None)


def latest_slot(
    schedule: CronSchedule, start: datetime, end: datetime
) -> datetime | None:
    """Return the newest slot in [start, end], `None` if there is none.

    Bounded work, some tens of `next_slot` however many slots there are:

    1. go back from `end` in growing steps until a slot is found,
    2. go on from it, one slot and half of the time left in turn, to the last.
    """
    low, reach = end, timedelta(minutes=2)
    slot = None
    while slot is None and low >= start:
        low = max(end - reach, start - timedelta(microseconds=1))
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


def slots(
    schedule: CronSchedule, start: datetime, end: datetime, limit: int = 1000
) -> Iterator[datetime]:
    """Return the first slots in [start, end], oldest first, at most `limit`."""
    after = start - timedelta(microseconds=1)
    for _ in range(limit):
        slot = _next_until(schedule, after, end)
        if slot is None:
            return
        yield slot
        after = slot


def count_slots(
    schedule: CronSchedule, start: datetime, end: datetime, limit: int = 1000
) -> int:
    """Return how many slots are in [start, end]; `limit` means at least `limit`."""
    return sum(1 for _ in slots(schedule, start, end, limit))


def _next_until(
    schedule: CronSchedule, after: datetime, end: datetime
) -> datetime | None:
    """Return the first slot in (after, end]."""
    slot = next_slot(schedule, after)
    return slot if slot is not None and slot <= end else None


# The rule: from times of the clock to instants.


def _search(
    plan: _Plan, zone: ZoneInfo, *, local: datetime, after: datetime
) -> datetime | None:
    """Return the first slot after `after` among the clock's times after `local`.

    A time that the clock skips or shows twice has two readings, by the offset
    before the change (fold 0) and by the one after it (fold 1, PEP 495):

        gap       fold 1 < change <= fold 0     neither exists
        overlap   fold 0 < change <= fold 1     both exist
    """
    horizon = after.year + HORIZON
    time = plan.next_time(local)
    while time is not None and time.year <= horizon:
        first = time.replace(tzinfo=zone).astimezone(UTC)
        second = time.replace(tzinfo=zone, fold=1).astimezone(UTC)
        if first > second:
            change = _change(zone, second, first)
            if plan.is_fixed:
                return change
            resume = _local(change, zone) - _SECOND
        elif first > after:
            return first
        elif second > after and not plan.is_fixed:
            return second
        else:
            # A fixed time in the second pass: go on where the overlap ends.
            resume = _local(_change(zone, first, second) - _SECOND, zone)
        time = plan.next_time(max(time, resume))
    return None


def _second_pass(instant: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when the overlap's second pass starts, `None` if not in the first."""
    second = instant.astimezone(zone).replace(fold=1).astimezone(UTC)
    return _change(zone, instant, second) if second > instant else None


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return the first second in (low, high] that has the UTC offset of `high`."""
    offset = high.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def _local(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return what the zone's clock shows, naive."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


# The dialect: from text to times of the clock.


@dataclass(frozen=True, kw_only=True)
class _Field:
    """One of the five fields.

    | field     | meaning                                                   |
    |-----------|-----------------------------------------------------------|
    | low, high | the least and the greatest number                         |
    | names     | of the numbers from `low` on, upper case, space-separated |
    """

    name: str
    low: int
    high: int
    names: str = ""


_MINUTE = _Field(name="minute", low=0, high=59)
_HOUR = _Field(name="hour", low=0, high=23)
_DAY = _Field(name="day of month", low=1, high=31)
_MONTH = _Field(
    name="month",
    low=1,
    high=12,
    names="JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC",
)
_WEEKDAY = _Field(
    name="day of week",
    low=0,
    high=7,  # Sunday is 0 and 7
    names="SUN MON TUE WED THU FRI SAT",
)
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
_SIZES = (60, 24, 31, 12, 7)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """An expression that was understood.

    | field    | meaning                                                        |
    |----------|----------------------------------------------------------------|
    | is_fixed | neither minute nor hour starts with `*`                        |
    | walker   | a croniter, only ever copied: it keeps the time it has reached |
    """

    is_fixed: bool
    walker: Any

    def next_time(self, local: datetime) -> datetime | None:
        """Return the first matching time later than `local`, both naive."""
        try:
            time: datetime = copy.copy(self.walker).get_next(datetime, local)
        except CroniterBadDateError:
            return None
        return time


@lru_cache(maxsize=4096)
def _plan(cron: str) -> _Plan:
    """Return the expression's plan. Raises `Invalid` for `schedule.cron`.

    croniter gets every field as `*` or plain numbers, so that none of its own
    readings counts (`5-5` is the whole field to it, `*/2` a restriction).
    """
    texts = _split(cron)
    minutes, hours, days, months, weekdays = (
        _values(field, text) for field, text in zip(_FIELDS, texts, strict=True)
    )
    weekdays = frozenset(day % 7 for day in weekdays)
    is_fixed = not texts[0].startswith("*") and not texts[1].startswith("*")
    needs_both = texts[2].startswith("*") or texts[4].startswith("*")

    # Where one of the two is enough, one that always holds makes every day match,
    # and one that never holds leaves the other alone.
    if not needs_both and (days == _EVERY_DAY or weekdays == _EVERY_WEEKDAY):
        days, weekdays, needs_both = _EVERY_DAY, _EVERY_WEEKDAY, True
    longest = max(_DAYS_IN_MONTH[month - 1] for month in months)
    if min(days) > longest:
        if needs_both:
            raise _refusal(
                f"day {min(days)} never comes in the months given; write a day of"
                f" month up to {longest}, or other months"
            )
        days, needs_both = _EVERY_DAY, True

    walker = croniter(
        " ".join(
            "*" if len(values) == size else ",".join(map(str, sorted(values)))
            for values, size in zip(
                (minutes, hours, days, months, weekdays), _SIZES, strict=True
            )
        ),
        _FIRST,
        day_or=not needs_both,
        max_years_between_matches=HORIZON,
    )
    return _Plan(is_fixed=is_fixed, walker=walker)


def _split(cron: str) -> list[str]:
    """Return the texts of the five fields, upper case, `@` words expanded."""
    if len(cron) > CRON_MAX_LENGTH:
        raise _refusal(
            f"it has {len(cron)} characters; write at most {CRON_MAX_LENGTH},"
            " with ranges and steps instead of long lists"
        )
    if not re.fullmatch(r"[\t -~]*", cron):
        raise _refusal(f"it has characters other than plain ASCII; {_FIVE_FIELDS}")
    texts = cron.upper().split()
    match len(texts):
        case 0:
            raise _refusal(f"it is empty; {_FIVE_FIELDS}")
        case 1 if texts[0].startswith("@"):
            return _expand(texts[0].lower()).split()
        case 5:
            return texts
        case 6:
            raise _refusal(
                f"six fields need seconds: true, which is not there yet; {_FIVE_FIELDS}"
            )
        case 7:
            raise _refusal(f"seconds and years are not there yet; {_FIVE_FIELDS}")
        case count:
            raise _refusal(f"it has {count} field{'s' * (count > 1)}; {_FIVE_FIELDS}")


def _expand(word: str) -> str:
    """Return the five fields that an `@` word stands for."""
    if word == "@reboot":
        raise _refusal(
            "`@reboot` needs a daemon on the host; write a time, e.g. `@daily`"
        )
    if word not in _EXPANSIONS:
        raise _refusal(f"`{word}` is not known; write one of {' '.join(_EXPANSIONS)}")
    return _EXPANSIONS[word]


def _values(field: _Field, text: str) -> frozenset[int]:
    """Return the numbers that the text of a field stands for."""
    for token in re.findall(r"[A-Z]+|[?#~]", text):
        if token in _NOT_YET:
            raise _refusal(
                f"{field.name}: `{token}` is not there yet; {_NOT_YET[token]}"
            )
    return frozenset(
        value for term in text.split(",") for value in _term_values(field, term)
    )


def _term_values(field: _Field, term: str) -> range:
    """Return the numbers of one term: `*`, `a`, `a-b`, each with `/step` or not.

    `a/step` is `a-max/step` as in cronsim and croniter; crontab(5) is silent.
    """
    match = _TERM.fullmatch(term)
    if match is None:
        raise _refusal(
            f"{field.name}: `{term}` is not understood; write a number, a range"
            " `a-b`, a list `a,b` or a step `*/n`"
        )
    first, last, step = match.groups()
    low, high = field.low, field.high
    if first is not None:
        low = _number(field, first)
        if last is not None:
            high = _number(field, last)
        elif step is None:
            high = low
        elif field is _WEEKDAY:
            # To Saturday in croniter, to Sunday in cronsim.
            raise _refusal(
                f"{field.name}: `{term}` has no end; write `{first}-7/{step}`"
            )
    if field is _WEEKDAY and last is not None and high == 0 < low:
        high = 7  # FRI-SUN
    if low > high:
        raise _refusal(
            f"{field.name}: `{term}` runs backwards; write"
            f" `{first}-{field.high},{field.low}-{last}`"
        )
    if step is not None and int(step) == 0:
        raise _refusal(
            f"{field.name}: `{term}` never advances; write a step of 1 or more"
        )
    return range(low, high + 1, int(step or 1))


def _number(field: _Field, word: str) -> int:
    """Return the number of a digit string or a name."""
    names = field.names.split()
    if word in names:
        return field.low + names.index(word)
    if not word.isdigit() or not field.low <= int(word) <= field.high:
        or_name = f" or one of {field.names}" if names else ""
        raise _refusal(
            f"{field.name}: `{word}` is not possible; write a number from"
            f" {field.low} to {field.high}{or_name}"
        )
    return int(word)


def _refusal(message: str) -> Invalid:
    """Return the error to raise for an expression."""
    return Invalid("schedule.cron", message)


# Zones.


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    """Return the names of all zones in the tzdata package."""
    text = files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(text.split())


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    """Return the zone as the tzdata package has it, whatever the machine has.

    Two machines with different tables would not agree on slots. Raises `Invalid`
    for `schedule.timezone`.
    """
    if len(name) > TIMEZONE_MAX_LENGTH or name not in _zone_names():
        similar = (
            get_close_matches(name, _zone_names(), n=1)
            if len(name) <= TIMEZONE_MAX_LENGTH
            else []
        )
        # A place, never another offset: `GMT+0` is no advice for `GMT+1`.
        is_place = bool(similar) and "/" in similar[0] and "Etc/" not in similar[0]
        advice = similar[0] if is_place else "an IANA name such as Europe/Berlin or UTC"
        raise Invalid(
            "schedule.timezone",
            f"`{name[:TIMEZONE_MAX_LENGTH]}` is not a known zone; write {advice}",
        )
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
