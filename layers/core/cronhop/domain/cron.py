"""Cron expressions: from text to the matching times of a clock without a zone.

The dialect is that of crontab(5): numbers, names, ranges, lists, steps, `@daily`
and its like. Beyond it:

- `L` as day of month is the last one; `5L` or `FRIL` is the last Friday,
- `5#3` or `FRI#3` is the third Friday,
- `H` is a number that is always the same for the same task, `H(a-b)` one from
  that range, `H/n` and `H(a-b)/n` every n-th from such a number on,
- with `seconds` a sixth field, the first, counts the seconds.

A day must match day of month and weekday if either field starts with `*`, one of
them is enough otherwise (crontab(5), and Debian's source for steps: `*/2` too).
croniter walks the times of a day; which days match is decided here.
"""

from __future__ import annotations

import calendar
import copy
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from croniter import croniter

from cronhop.errors import Invalid

CRON_MAX_LENGTH = 50  # characters

# A possible date comes back within 40 years: 29 February on a given weekday,
# where 2100 is in between. No slot in 50 years is no slot at all.
HORIZON = 50  # years

_LAST_YEAR = 9900  # datetime ends soon after
_SECOND = timedelta(seconds=1)
_NEVER = datetime(1970, 1, 1)  # noqa: DTZ001  a clock's time, where croniter begins

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
_SIX_FIELDS = (
    "write six fields: second, minute, hour, day of month, month, day of week,"
    " e.g. `0 30 1 * * *`"
)

# What other crons have, or have elsewhere, and what to write instead.
_INSTEAD = {
    "?": "is not there; write `*`",
    "W": "is not there; write a day, e.g. `15`, or a weekday, e.g. `MON#1`",
    "LW": "is not there; write `L`, or a weekday, e.g. `FRIL`",
    "L": "is the last day as day of month, alone, and the last Friday as `5L` or"
    " `FRIL` as day of week; write one of these",
    "#": "is the third Friday in `5#3` or `FRI#3` as day of week; write that",
    "H": "is one number; write `H`, `H(0-29)`, `H/15` or `H(0-29)/10`",
    "R": "is not there; write `H`, a number that stays the same",
    "~": "is not there; write `H(0-29)`, a number that stays the same",
}

_TERM = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)
_HASHED = re.compile(r"H(?:\((\d+)-(\d+)\))?(?:/(\d+))?", re.ASCII)
_LAST_WEEKDAY = re.compile(r"([0-7]|[A-Z]{3})L", re.ASCII)
_NTH_WEEKDAY = re.compile(r"(\w+)#(\w+)", re.ASCII)

_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, kw_only=True)
class _Field:
    """One of the fields.

    | field       | meaning                                                   |
    |-------------|-----------------------------------------------------------|
    | low, high   | the least and the greatest number                         |
    | hashed_high | the greatest one that `H` stands for                      |
    | names       | of the numbers from `low` on, upper case, space-separated |
    """

    name: str
    low: int
    high: int
    hashed_high: int
    names: str = ""


_SECOND_FIELD = _Field(name="second", low=0, high=59, hashed_high=59)
_MINUTE = _Field(name="minute", low=0, high=59, hashed_high=59)
_HOUR = _Field(name="hour", low=0, high=23, hashed_high=23)
_DAY = _Field(
    name="day of month",
    low=1,
    high=31,
    hashed_high=28,  # a day that every month has
)
_MONTH = _Field(
    name="month",
    low=1,
    high=12,
    hashed_high=12,
    names="JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC",
)
_WEEKDAY = _Field(
    name="day of week",
    low=0,
    high=7,  # Sunday is 0 and 7
    hashed_high=6,
    names="SUN MON TUE WED THU FRI SAT",
)


@dataclass(frozen=True, kw_only=True)
class _Days:
    """Which days match.

    | field         | meaning                                                |
    |---------------|--------------------------------------------------------|
    | days          | of the month                                           |
    | is_last       | whether the month's last day matches as well           |
    | weekdays      | 0 to 6, Sunday is 0                                    |
    | last_weekdays | those of which the month's last one matches            |
    | nth_weekdays  | (weekday, n): the month's n-th one matches             |
    | needs_both    | day of month and weekday; else one of them is enough   |
    """

    days: frozenset[int]
    is_last: bool
    weekdays: frozenset[int]
    last_weekdays: frozenset[int]
    nth_weekdays: frozenset[tuple[int, int]]
    needs_both: bool

    def of_month(self, year: int, month: int) -> list[int]:
        """Return the days of the month that match, in order."""
        monday_first, length = calendar.monthrange(year, month)
        first_weekday = (monday_first + 1) % 7
        found = []
        for day in range(1, length + 1):
            weekday = (first_weekday + day - 1) % 7
            matching = (
                day in self.days or (self.is_last and day == length),
                weekday in self.weekdays
                or (weekday in self.last_weekdays and day + 7 > length)
                or (weekday, (day + 6) // 7) in self.nth_weekdays,
            )
            if all(matching) if self.needs_both else any(matching):
                found.append(day)
        return found


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An expression that was understood.

    | field    | meaning                                                          |
    |----------|------------------------------------------------------------------|
    | is_fixed | no field of the time of day starts with `*`                      |
    | texts    | the fields, seconds first, upper case, `@` words expanded        |
    | times    | how many times a matching day has                                |
    | months   | in order                                                         |
    | days     | of the matching months                                           |
    | walker   | a croniter of the times of a day, only ever copied: it keeps the |
    |          | time it has reached                                              |
    """

    is_fixed: bool
    texts: tuple[str, ...]
    times: int
    months: tuple[int, ...]
    days: _Days
    walker: Any = field(compare=False)

    def next_time(self, local: datetime) -> datetime | None:
        """Return the first matching time later than `local`, both naive.

        `None` means that there is none within `HORIZON` years.
        """
        for day in self.next_days(local.date()):
            after = max(local, datetime.combine(day, time.min) - _SECOND)
            found: datetime = copy.copy(self.walker).get_next(datetime, after)
            if found.date() == day:
                return found
        return None

    def next_days(self, start: date) -> Iterator[date]:
        """Yield the matching days from `start` on, for `HORIZON` years."""
        for year in range(start.year, min(start.year + HORIZON, _LAST_YEAR) + 1):
            for month in self.months:
                if (year, month) < (start.year, start.month):
                    continue
                for number in self.days.of_month(year, month):
                    day = date(year, month, number)
                    if day >= start:
                        yield day


@lru_cache(maxsize=4096)
def plan(cron: str, *, seconds: bool = False, seed: str = "") -> Plan:
    """Return the expression's plan; `seed` is what `H` depends on.

    croniter gets every field as `*` or plain numbers, so that none of its own
    readings counts (`5-5` is the whole field to it). Raises `Invalid` for
    `schedule.cron`.
    """
    texts = _split(cron, seconds=seconds)
    second, minute, hour, day, month, weekday = texts
    for each, text in zip(
        (_SECOND_FIELD, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY), texts, strict=True
    ):
        _check_tokens(each, text)
    times = [
        _values(_SECOND_FIELD, second, seed),
        _values(_MINUTE, minute, seed),
        _values(_HOUR, hour, seed),
    ]
    months = _values(_MONTH, month, seed)
    days = _days(day, weekday, seed)
    if not any(days.of_month(year, each) for year in _CYCLE for each in months):
        raise _impossible(days, months)
    fields = [
        "*" if len(values) == size else ",".join(map(str, sorted(values)))
        for values, size in zip(times, (60, 60, 24), strict=True)
    ]
    return Plan(
        is_fixed=not any(text.startswith("*") for text in (second, minute, hour)),
        texts=tuple(texts),
        times=len(times[0]) * len(times[1]) * len(times[2]),
        months=tuple(sorted(months)),
        days=days,
        walker=croniter(f"{' '.join(fields)} * * *", _NEVER, second_at_beginning=True),
    )


# Every day of the year has every weekday in these, 29 February included.
_CYCLE = range(2000, 2028)


def _impossible(days: _Days, months: frozenset[int]) -> Invalid:
    longest = max(_DAYS_IN_MONTH[month - 1] for month in months)
    if days.days and min(days.days) > longest:
        return refusal(
            f"day {min(days.days)} never comes in the months given; write a day of"
            f" month up to {longest}, or other months"
        )
    return refusal(
        "day of month and day of week never come together in the months given;"
        " write `*` for one of them"
    )


def _split(cron: str, *, seconds: bool) -> list[str]:
    """Return the texts of the six fields, upper case, `@` words expanded."""
    if len(cron) > CRON_MAX_LENGTH:
        raise refusal(
            f"it has {len(cron)} characters; write at most {CRON_MAX_LENGTH},"
            " with ranges and steps instead of long lists"
        )
    form = _SIX_FIELDS if seconds else _FIVE_FIELDS
    if not re.fullmatch(r"[\t -~]*", cron):
        raise refusal(f"it has characters other than plain ASCII; {form}")
    texts = cron.upper().split()
    if len(texts) == 1 and texts[0].startswith("@"):
        return ["0", *_expand(texts[0].lower()).split()]
    if len(texts) == 6 and not seconds:  # noqa: PLR2004
        raise refusal(
            "it has six fields; if the first is the second, write seconds: true"
            f" beside it, else {_FIVE_FIELDS}"
        )
    if len(texts) == 7:  # noqa: PLR2004
        raise refusal(f"years are not there; {form}")
    if len(texts) != 5 + seconds:
        count = len(texts)
        has = f"has {count} field{'s' * (count > 1)}" if count else "is empty"
        raise refusal(f"it {has}; {form}")
    return texts if seconds else ["0", *texts]


def _expand(word: str) -> str:
    """Return the five fields that an `@` word stands for."""
    if word == "@reboot":
        raise refusal(
            "`@reboot` needs a daemon on the host; write a time, e.g. `@daily`"
        )
    if word not in _EXPANSIONS:
        raise refusal(f"`{word}` is not known; write one of {' '.join(_EXPANSIONS)}")
    return _EXPANSIONS[word]


def _check_tokens(each: _Field, text: str) -> None:
    """Refuse what this cron has not, or not in this field."""
    for term in text.split(","):
        if _HASHED.fullmatch(term) or (each is _DAY and term == "L"):
            continue
        if each is _WEEKDAY and (
            _LAST_WEEKDAY.fullmatch(term) or _NTH_WEEKDAY.fullmatch(term)
        ):
            continue
        for token in re.findall(r"[A-Z]+|[?#~]", term):
            if token in _INSTEAD:
                raise refusal(f"{each.name}: `{token}` {_INSTEAD[token]}")


def _days(day: str, weekday: str, seed: str) -> _Days:
    """Return what the fields day of month and day of week stand for."""
    day_terms = day.split(",")
    plain, last, nth = [], set(), set()
    for term in weekday.split(","):
        if match := _LAST_WEEKDAY.fullmatch(term):
            last.add(_number(_WEEKDAY, match[1]) % 7)
        elif match := _NTH_WEEKDAY.fullmatch(term):
            if match[2] not in {"1", "2", "3", "4", "5"}:
                raise refusal(
                    f"{_WEEKDAY.name}: `{term}` is not possible; write a number from"
                    " 1 to 5 after `#`"
                )
            nth.add((_number(_WEEKDAY, match[1]) % 7, int(match[2])))
        else:
            plain.append(term)
    days = ",".join(term for term in day_terms if term != "L")
    return _Days(
        days=_values(_DAY, days, seed) if days or day == "" else frozenset(),
        is_last="L" in day_terms,
        weekdays=frozenset(
            number % 7
            for term in plain
            for number in _term_values(_WEEKDAY, term, seed)
        ),
        last_weekdays=frozenset(last),
        nth_weekdays=frozenset(nth),
        needs_both=day.startswith("*") or weekday.startswith("*"),
    )


def _values(each: _Field, text: str, seed: str) -> frozenset[int]:
    """Return the numbers that the text of a field stands for."""
    return frozenset(
        value for term in text.split(",") for value in _term_values(each, term, seed)
    )


def _term_values(each: _Field, term: str, seed: str) -> range:
    """Return the numbers of one term: `*`, `a`, `a-b`, `H`, with `/step` or not.

    `a/step` is `a-max/step` as in cronsim and croniter; crontab(5) is silent.
    """
    if _HASHED.fullmatch(term):
        return _hashed_values(each, term, seed)
    match = _TERM.fullmatch(term)
    if match is None:
        raise refusal(
            f"{each.name}: `{term}` is not understood; write a number, a range"
            " `a-b`, a list `a,b` or a step `*/n`"
        )
    first, last, step = match.groups()
    low, high = each.low, each.high
    if first is not None:
        low = _number(each, first)
        if last is not None:
            high = _number(each, last)
        elif step is None:
            high = low
        elif each is _WEEKDAY:
            # To Saturday in croniter, to Sunday in cronsim.
            raise refusal(f"{each.name}: `{term}` has no end; write `{first}-7/{step}`")
    if each is _WEEKDAY and last is not None and high == 0 < low:
        high = 7  # FRI-SUN
    if low > high:
        raise refusal(
            f"{each.name}: `{term}` runs backwards; write"
            f" `{first}-{each.high},{each.low}-{last}`"
        )
    return range(low, high + 1, _step(each, term, step))


def _hashed_values(each: _Field, term: str, seed: str) -> range:
    """Return what a term with `H` stands for: a number, or every n-th from one on.

    The fields of a task have hashes of their own, so that tasks spread over all
    pairs of hour and minute.
    """
    match = _HASHED.fullmatch(term)
    assert match is not None  # noqa: S101  the caller has looked
    first, last, step = match.groups()
    low = _number(each, first) if first else each.low
    high = _number(each, last) if last else each.hashed_high
    if low > high:
        raise refusal(
            f"{each.name}: `{term}` runs backwards; write `H({last}-{first})`"
        )
    size = high - low + 1
    width = min(_step(each, term, step), size) if step else size
    digest = hashlib.sha256(f"{seed}/{each.name}".encode()).digest()
    start = low + int.from_bytes(digest[:8], "big") % width
    return range(start, high + 1, int(step)) if step else range(start, start + 1)


def _step(each: _Field, term: str, step: str | None) -> int:
    if step is not None and int(step) == 0:
        raise refusal(
            f"{each.name}: `{term}` never advances; write a step of 1 or more"
        )
    return int(step or 1)


def _number(each: _Field, word: str) -> int:
    """Return the number of a digit string or a name."""
    names = each.names.split()
    if word in names:
        return each.low + names.index(word)
    if not word.isdigit() or not each.low <= int(word) <= each.high:
        or_name = f" or one of {each.names}" if names else ""
        raise refusal(
            f"{each.name}: `{word}` is not possible; write a number from"
            f" {each.low} to {each.high}{or_name}"
        )
    return int(word)


def refusal(message: str) -> Invalid:
    """Return the error to raise for an expression."""
    return Invalid("schedule.cron", message)
