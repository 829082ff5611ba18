"""Random schedules over a year, against an oracle that is slow and obvious.

The oracle walks the days of the year and the times of each, and asks the zone's
clock whether it shows them.
"""

from __future__ import annotations

import calendar
import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from cronhop.domain.schedule import CronSchedule, slots
from cronhop.domain.zone import zone_names, zone_of
from cronhop.errors import Invalid

# `make test-slow` wants more.
TASKS = 60 if os.environ.get("CRONHOP_THOROUGH", "1") == "1" else 2000
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
CYCLE = [date(2000, 1, 1) + number * DAY for number in range(28 * 366)]
NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

Match = Callable[[date], bool]


@dataclass(frozen=True)
class Drawn:
    """A schedule and, beside it, what it is meant to match."""

    schedule: CronSchedule
    year: int
    times: list[time]
    is_fixed: bool
    months: set[int]
    matches_day: Match


def draw(seed: int) -> Drawn:
    """Return a random schedule that is due some times a day at most."""
    chance = random.Random(seed)
    minute, hour = chance.randrange(40), chance.randrange(24)
    minute_text, minutes = chance.choice(
        [
            (str(minute), {minute}),
            (f"{minute},{minute + 20}", {minute, minute + 20}),
            ("*/30", {0, 30}),
            ("10-30/20", {10, 30}),
        ]
    )
    hour_text, hours = chance.choice(
        [
            (str(hour), {hour}),
            ("0-2", {0, 1, 2}),
            ("1,2,23", {1, 2, 23}),
            ("*/12", {0, 12}),
            ("2", {2}),
        ]
    )
    second = chance.choice([None, 0, 7, 59])
    month_text, months = chance.choice(
        [
            ("*", set(range(1, 13))),
            ("MAR,10-12", {3, 10, 11, 12}),
            ("*/2", set(range(1, 13, 2))),
        ]
    )
    day_text, day = draw_day(chance)
    weekday_text, weekday = draw_weekday(chance)
    needs_both = day_text.startswith("*") or weekday_text.startswith("*")
    cron = f"{minute_text} {hour_text} {day_text} {month_text} {weekday_text}"
    return Drawn(
        schedule=CronSchedule(
            cron=cron if second is None else f"{second} {cron}",
            seconds=second is not None,
            timezone=chance.choice(sorted(zone_names())),
        ),
        year=chance.randrange(2020, 2036),
        times=[
            time(*each, second or 0)
            for each in itertools.product(sorted(hours), sorted(minutes))
        ],
        is_fixed=not (minute_text.startswith("*") or hour_text.startswith("*")),
        months=months,
        matches_day=(lambda d: day(d) and weekday(d))
        if needs_both
        else (lambda d: day(d) or weekday(d)),
    )


def draw_day(chance: random.Random) -> tuple[str, Match]:
    """Return a day of month, and whether a date matches it."""
    number = chance.randrange(1, 29)

    def is_last(day: date) -> bool:
        return day.month != (day + DAY).month

    return chance.choice(
        [
            ("*", lambda _: True),
            ("*", lambda _: True),
            (str(number), lambda d: d.day == number),
            ("L", is_last),
            (f"{number},L", lambda d: d.day == number or is_last(d)),
            ("*/10", lambda d: d.day in {1, 11, 21, 31}),
            ("29-31", lambda d: d.day > 28),
        ]
    )


def draw_weekday(chance: random.Random) -> tuple[str, Match]:
    """Return a day of week, and whether a date matches it."""
    number, nth = chance.randrange(7), chance.randrange(1, 6)
    name = NAMES[number]

    def is_it(day: date) -> bool:
        return day.isoweekday() % 7 == number

    def is_nth(day: date) -> bool:
        in_month = [
            each
            for each in range(1, calendar.monthrange(day.year, day.month)[1] + 1)
            if is_it(day.replace(day=each))
        ]
        return nth <= len(in_month) and in_month[nth - 1] == day.day

    return chance.choice(
        [
            ("*", lambda _: True),
            (name, is_it),
            (f"{name}L", lambda d: is_it(d) and (d + 7 * DAY).month != d.month),
            (f"{number}#{nth}", is_nth),
            ("1-5", lambda d: d.isoweekday() <= 5),
        ]
    )


def expected(drawn: Drawn, start: datetime, end: datetime) -> list[datetime]:
    """Return the slots in [start, end]."""
    zone = zone_of(drawn.schedule.timezone)
    days = [start.date() + number * DAY for number in range(-2, (end - start).days + 3)]
    offsets = {
        datetime.combine(day, time.min, UTC).astimezone(zone).utcoffset()
        for day in days
    }
    found = set()
    for day in days:
        if day.month not in drawn.months or not drawn.matches_day(day):
            continue
        for each in drawn.times:
            local = datetime.combine(day, each)
            shown = [
                instant
                for instant in sorted(
                    (local - offset).replace(tzinfo=UTC)
                    for offset in offsets
                    if offset is not None
                )
                if clock(instant, zone) == local
            ]
            if not drawn.is_fixed:
                found.update(shown)
            elif shown:
                found.add(shown[0])
            else:
                found.add(next(after_gap(local, zone)))
    return sorted(slot for slot in found if start <= slot <= end)


def clock(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return what the zone's clock shows."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def after_gap(local: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the minutes at which the clock shows more than a skipped time."""
    instant = local.replace(second=0, tzinfo=UTC) - 30 * timedelta(hours=1)
    while True:
        if clock(instant, zone) > local:
            yield instant
        instant += MINUTE


@pytest.mark.parametrize("part", range(6))
def test_a_year_has_the_slots_of_the_oracle(part: int) -> None:
    """The same slots, no more and no less."""
    seen = 0
    for seed in range(part, TASKS, 6):
        drawn = draw(seed)
        start = datetime(drawn.year, 1, 1, tzinfo=UTC)
        end = start + 366 * DAY

        try:
            found = list(slots(drawn.schedule, start, end, limit=100_000))
        except Invalid:
            assert not any(
                day.month in drawn.months and drawn.matches_day(day) for day in CYCLE
            ), (seed, drawn.schedule)
            continue

        assert found == expected(drawn, start, end), (seed, drawn.schedule)
        seen += len(found)
    assert seen > 0
