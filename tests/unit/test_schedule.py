"""The promises of schedules: the dialect, the slots, and what DST makes of them."""

from __future__ import annotations

import json
import os
import random
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from cronhop.domain import schedule as module
from cronhop.domain.schedule import (
    CronSchedule,
    DstNote,
    EverySchedule,
    OnceSchedule,
    Schedule,
    bound,
    check,
    count_slots,
    dst_note,
    from_dict,
    is_slot,
    latest_slot,
    latest_slots,
    next_slot,
    slots,
    to_dict,
)
from cronhop.domain.zone import change_between, zone_names, zone_of
from cronhop.errors import Invalid

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

NEW_YORK = "America/New_York"
BERLIN = "Europe/Berlin"
LORD_HOWE = "Australia/Lord_Howe"
APIA = "Pacific/Apia"
CASABLANCA = "Africa/Casablanca"
DUBLIN = "Europe/Dublin"
SANTIAGO = "America/Santiago"


def at(text: str) -> datetime:
    """Return the instant; UTC unless the text says otherwise."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def shown(cron: str, timezone: str, start: str, count: int) -> list[str]:
    """Return the first slots as the zone's clock shows them, with the offset."""
    schedule = CronSchedule(cron=cron, timezone=timezone)
    found = slots(schedule, at(start), at(start) + 20_000 * DAY, limit=count)
    zone = zone_of(timezone)
    return [
        slot.astimezone(zone).isoformat(" ", "minutes").removeprefix("20")
        for slot in found
    ]


# The dialect.

# ┌───────────── minute (0 - 59)
# │ ┌─────────── hour (0 - 23)
# │ │ ┌───────── day of month (1 - 31)
# │ │ │ ┌─────── month (1 - 12, JAN - DEC)
# │ │ │ │ ┌───── day of week (0 - 7, SUN - SAT)
# * * * * *
FIRST_SLOTS = {  # after Mon 2026-06-01 00:00 UTC, in that clock
    "* * * * *": "06-01 00:01, 06-01 00:02",
    "*/5 * * * *": "06-01 00:05, 06-01 00:10",
    "*/90 * * * *": "06-01 01:00, 06-01 02:00",
    "5/15 * * * *": "06-01 00:05, 06-01 00:20, 06-01 00:35, 06-01 00:50, 06-01 01:05",
    "5-5 * * * *": "06-01 00:05, 06-01 01:05",
    "59/15 * * * *": "06-01 00:59, 06-01 01:59",
    "1-31 * * * *": "06-01 00:01, 06-01 00:02",
    "31,1-2 * * * *": "06-01 00:01, 06-01 00:02, 06-01 00:31, 06-01 01:01",
    "10-30/10,55 23 * * *": "06-01 23:10, 06-01 23:20, 06-01 23:30, 06-01 23:55",
    "0 0-6 * * *": "06-01 01:00, 06-01 02:00",
    "05 09 01 07 *": "07-01 09:05",
    "  0\t9  * * * ": "06-01 09:00, 06-02 09:00",
    "0 9 * * 1": "06-01 09:00, 06-08 09:00",
    "0 9 * * mon": "06-01 09:00, 06-08 09:00",
    "0 9 * * Mon-WED": "06-01 09:00, 06-02 09:00, 06-03 09:00, 06-08 09:00",
    "0 9 * * 0": "06-07 09:00, 06-14 09:00",
    "0 9 * * 7": "06-07 09:00, 06-14 09:00",
    "0 9 * * 7-7": "06-07 09:00, 06-14 09:00",
    "0 9 * * 5-7": "06-05 09:00, 06-06 09:00, 06-07 09:00, 06-12 09:00",
    "0 9 * * FRI-SUN": "06-05 09:00, 06-06 09:00, 06-07 09:00, 06-12 09:00",
    "0 9 * * 0-7": "06-01 09:00, 06-02 09:00",
    "0 9 * * 1-7/2": "06-01 09:00, 06-03 09:00, 06-05 09:00, 06-07 09:00",
    "0 9 * * */2": "06-02 09:00, 06-04 09:00, 06-06 09:00, 06-07 09:00",
    "0 0 1 JAN-mar,Dec *": "12-01 00:00",
    "0 0 31 * *": "07-31 00:00, 08-31 00:00, 10-31 00:00",
    "@hourly": "06-01 01:00, 06-01 02:00",
    "@daily": "06-02 00:00, 06-03 00:00",
    "@midnight": "06-02 00:00, 06-03 00:00",
    "@weekly": "06-07 00:00, 06-14 00:00",
    "@monthly": "07-01 00:00, 08-01 00:00",
    "@Yearly": "01-01 00:00",
    "@annually": "01-01 00:00",
    # One of day of month and weekday is enough if neither starts with `*`.
    "0 9 13 * 5": "06-05 09:00, 06-12 09:00, 06-13 09:00, 06-19 09:00",
    "0 9 1-31 * 1": "06-01 09:00, 06-02 09:00",
    "0 9 5 * 0-6": "06-01 09:00, 06-02 09:00",
    "0 0 31 2 1": "02-01 00:00, 02-08 00:00",
    # Beyond crontab(5).
    "0 9 L * *": "06-30 09:00, 07-31 09:00, 08-31 09:00, 09-30 09:00",
    "0 9 15,L 2,6 *": "06-15 09:00, 06-30 09:00, 02-15 09:00, 02-28 09:00",
    "0 9 * * 5L": "06-26 09:00, 07-31 09:00, 08-28 09:00",
    "0 9 * * fril": "06-26 09:00, 07-31 09:00, 08-28 09:00",
    "0 9 * * 0L,7L": "06-28 09:00, 07-26 09:00",
    "0 9 * * 5#3": "06-19 09:00, 07-17 09:00, 08-21 09:00",
    "0 9 * * MON#1,3#5": "06-01 09:00, 07-06 09:00, 07-29 09:00, 08-03 09:00",
    "0 9 * * 1#1,FRIL,TUE": "06-01 09:00, 06-02 09:00, 06-09 09:00, 06-16 09:00",
    "0 9 * * 7#2": "06-14 09:00, 07-12 09:00",
    "0 9 L * 5L": "06-26 09:00, 06-30 09:00, 07-31 09:00, 08-28 09:00",
    "0 9 */2 * 5#3": "06-19 09:00, 07-17 09:00, 08-21 09:00",
    # Both must match if one starts with `*`, also with a step.
    "0 9 */2 * 1": "06-01 09:00, 06-15 09:00, 06-29 09:00, 07-13 09:00",
    "0 9 13 * */5": "09-13 09:00, 11-13 09:00, 12-13 09:00",
    "0 9 *,2 * 1": "06-01 09:00, 06-08 09:00",
}


@pytest.mark.parametrize(("cron", "expected"), FIRST_SLOTS.items())
def test_the_dialect_is_that_of_crontab(cron: str, expected: str) -> None:
    """Every form means what crontab(5) says."""
    schedule = CronSchedule(cron=cron)
    start = at("2026-06-01T00:00")

    check(schedule)
    found = list(
        slots(schedule, start + MINUTE, start + 300 * DAY, expected.count(",") + 1)
    )

    assert [f"{slot:%m-%d %H:%M}" for slot in found] == expected.split(", ")


def test_a_leap_day_comes_back() -> None:
    """29 February is possible, over 2100 too, and on one weekday after 40 years."""
    leap_day = CronSchedule(cron="0 0 29 2 *")
    leap_sunday = CronSchedule(cron="0 0 29 2 */7")

    assert next_slot(leap_day, at("2026-01-01")) == at("2028-02-29")
    assert next_slot(leap_day, at("2096-03-01")) == at("2104-02-29")
    assert next_slot(leap_sunday, at("2088-02-29")) == at("2128-02-29")


REFUSED = {
    "empty": ("", "it is empty; write five fields"),
    "blank": ("  ", "it is empty; write five fields"),
    "six fields": ("0 30 1 * * *", "if the first is the second, write seconds: true"),
    "seven fields": ("0 30 1 * * * 2026", "years are not there; write five fields"),
    "four fields": ("30 1 * *", "it has 4 fields; write five fields"),
    "eight fields": ("1 1 1 1 1 1 1 1", "it has 8 fields; write five fields"),
    "one word": ("daily", "it has 1 field; write five fields"),
    "too long": ("0,5,10,15,20,25,30,35,40,45,50,55 0-5,6,12,18 * * *", "it has 51"),
    "two lines": ("0 0 * * *\n", "plain ASCII"),
    "other digits": ("٣ 0 * * *", "plain ASCII"),
    "no-break space": ("0 0 *\u00a0* *", "plain ASCII"),
    "@reboot": ("@reboot", "`@reboot` needs a daemon"),
    "unknown word": (
        "@fortnightly",
        "`@fortnightly` is not known; write one of @hourly",
    ),
    "minute 60": ("60 * * * *", "minute: `60` is not possible; write a number from 0"),
    "hour 24": ("0 24 * * *", "hour: `24`"),
    "day 0": ("0 0 0 * *", "day of month: `0`"),
    "day 32": ("0 0 1-32 * *", "day of month: `32`"),
    "month 13": ("0 0 1 13 *", "month: `13`"),
    "month name": (
        "0 0 1 JANUARY *",
        "month: `JANUARY` is not possible; write a number",
    ),
    "weekday 8": ("0 0 * * 8", "day of week: `8`"),
    "weekday name": ("0 0 * * MONDAY", "one of SUN MON TUE WED THU FRI SAT"),
    "name in the wrong field": ("MON * * * *", "minute: `MON`"),
    "negative": ("-5 * * * *", "minute: `-5` is not understood"),
    "fraction": ("0.5 * * * *", "minute: `0.5` is not understood"),
    "empty list item": ("1,,2 * * * *", "minute: `` is not understood"),
    "open range": ("1- * * * *", "minute: `1-` is not understood"),
    "two steps": ("*/2/2 * * * *", "minute: `*/2/2` is not understood"),
    "step 0": ("*/0 * * * *", "minute: `*/0` never advances"),
    "star range": ("*-5 * * * *", "minute: `*-5` is not understood"),
    "backwards": ("0 22-5 * * *", "hour: `22-5` runs backwards; write `22-23,0-5`"),
    "weekdays backwards": ("0 0 * * SAT-MON", "write `SAT-7,0-MON`"),
    "weekday with step": ("0 0 * * 1/2", "`1/2` has no end; write `1-7/2`"),
    "31 February": ("0 0 31 2 *", "day 31 never comes in the months given"),
    "30 February": ("0 0 30 2 *", "write a day of month up to 29"),
    "31 in short months": ("0 0 31 2,4,6,9,11 *", "write a day of month up to 30"),
    "31 February, stepped weekday": ("0 0 31 2 */2", "day 31 never comes"),
    "a second Monday on the 1st": ("0 0 */31 * 1#2", "never come together"),
    "?": ("0 0 ? * 1", "day of month: `?` is not there; write `*`"),
    "L-3": ("0 0 L-3 * *", "day of month: `L` is the last day as day of month, alone"),
    "LW": ("0 0 LW * *", "day of month: `LW` is not there; write `L`"),
    "15W": ("0 0 15W * *", "day of month: `W` is not there; write a day"),
    "L of a minute": ("L 0 * * *", "minute: `L` is the last day"),
    "L of a week": ("0 0 * * L", "day of week: `L` is the last day"),
    "L5": ("0 0 * * L5", "day of week: `L` is the last day"),
    "8L": ("0 0 * * 8L", "day of week: `L` is the last day"),
    "a last foo": ("0 0 * * FOOL", "day of week: `FOO` is not possible"),
    "5L of a month": ("0 0 5L * *", "day of month: `L` is the last day"),
    "5#0": ("0 0 * * 5#0", "`5#0` is not possible; write a number from 1 to 5"),
    "5#6": ("0 0 * * 5#6", "`5#6` is not possible; write a number from 1 to 5"),
    "8#1": ("0 0 * * 8#1", "day of week: `8` is not possible"),
    "# of a month": ("0 0 5#3 * *", "day of month: `#` is the third Friday"),
    "H-5": ("H-5 3 * * *", "minute: `H` is one number; write `H`, `H(0-29)`"),
    "H(60-70)": ("H(60-70) 3 * * *", "minute: `60` is not possible"),
    "H(30-10)": ("H(30-10) 3 * * *", "`H(30-10)` runs backwards; write `H(10-30)`"),
    "H/0": ("H/0 3 * * *", "`H/0` never advances"),
    "R": ("0 R * * *", "hour: `R` is not there; write `H`"),
    "~": ("0~30 3 * * *", "minute: `~` is not there; write `H(0-29)`"),
}


@pytest.mark.parametrize(("cron", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_promised_is_refused(cron: str, message: str) -> None:
    """The error names the field and says what to write instead."""
    schedule = CronSchedule(cron=cron)

    with pytest.raises(Invalid) as error:
        check(schedule)
    with pytest.raises(Invalid):
        next_slot(schedule, at("2026-01-01"))

    assert error.value.field == "schedule.cron"
    assert message in error.value.message


@pytest.mark.parametrize(
    ("timezone", "message"),
    [
        ("", "write an IANA name such as Europe/Berlin or UTC"),
        ("Europe/Berln", "`Europe/Berln` is not a known zone; write Europe/Berlin"),
        ("Mars/Olympus_Mons", "is not a known zone"),
        ("+02:00", "is not a known zone"),
        ("/etc/localtime", "is not a known zone"),
        ("../../etc/passwd", "is not a known zone"),
        ("Europe", "write an IANA name such as"),
        ("Europe/./Berlin", "is not a known zone; write Europe/Berlin"),
        ("UTC\0", "is not a known zone"),
        ("Z" * 65, "is not a known zone"),
    ],
)
def test_an_unknown_zone_is_refused(timezone: str, message: str) -> None:
    """The error names the field and proposes a zone."""
    schedule = CronSchedule(cron="0 0 * * *", timezone=timezone)

    with pytest.raises(Invalid) as error:
        check(schedule)

    assert error.value.field == "schedule.timezone"
    assert message in error.value.message


def test_every_zone_of_the_package_is_accepted() -> None:
    """All names of tzdata can be loaded from it."""
    for name in zone_names():
        check(CronSchedule(cron="0 0 * * *", timezone=name))


def test_the_zones_of_the_machine_do_not_count(tmp_path: Path) -> None:
    """Every machine finds the same slots: the package's zones are used."""
    europe = tmp_path / "Europe"
    europe.mkdir()
    (europe / "Berlin").write_bytes(
        files("tzdata").joinpath("zoneinfo", "UTC").read_bytes()
    )
    schedule = CronSchedule(cron="0 0 * * *", timezone=BERLIN)

    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    zone_of.cache_clear()
    try:
        assert zoneinfo.ZoneInfo(BERLIN).utcoffset(at("2026-01-01")) == timedelta(0)
        assert next_slot(schedule, at("2026-01-01")) == at("2026-01-01T23:00")
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()


# DST.

NIGHTS = {
    # cron, zone, start, the slots that follow
    "gap, fixed: once at its end": (
        "30 2 * * *",
        NEW_YORK,
        "2026-03-07T12:00",
        ["26-03-08 03:00-04:00", "26-03-09 02:30-04:00"],
    ),
    "gap, several fixed times: one slot": (
        "15,45 2 * * *",
        NEW_YORK,
        "2026-03-07T12:00",
        ["26-03-08 03:00-04:00", "26-03-09 02:15-04:00", "26-03-09 02:45-04:00"],
    ),
    "gap, fixed and due at its end anyway: one slot": (
        "0 2,3 * * *",
        NEW_YORK,
        "2026-03-07T12:00",
        ["26-03-08 03:00-04:00", "26-03-09 02:00-04:00", "26-03-09 03:00-04:00"],
    ),
    "gap, step: the missing hour is missing": (
        "0 */2 * * *",
        NEW_YORK,
        "2026-03-08T05:00",
        ["26-03-08 00:00-05:00", "26-03-08 04:00-04:00", "26-03-08 06:00-04:00"],
    ),
    "gap, wildcard minute: the missing hour is missing": (
        "*/30 2 * * *",
        NEW_YORK,
        "2026-03-07T12:00",
        ["26-03-09 02:00-04:00", "26-03-09 02:30-04:00"],
    ),
    "overlap, fixed: the first time": (
        "30 1 * * *",
        NEW_YORK,
        "2026-10-31T12:00",
        ["26-11-01 01:30-04:00", "26-11-02 01:30-05:00"],
    ),
    "overlap, fixed, from the second pass: the next day": (
        "30 1 * * *",
        NEW_YORK,
        "2026-11-01T06:10",
        ["26-11-02 01:30-05:00"],
    ),
    "overlap, wildcard hour: both": (
        "0 * * * *",
        NEW_YORK,
        "2026-11-01T04:30",
        ["26-11-01 01:00-04:00", "26-11-01 01:00-05:00", "26-11-01 02:00-05:00"],
    ),
    "overlap, wildcard minute in that hour: both": (
        "*/30 1 * * *",
        NEW_YORK,
        "2026-10-31T12:00",
        [
            "26-11-01 01:00-04:00",
            "26-11-01 01:30-04:00",
            "26-11-01 01:00-05:00",
            "26-11-01 01:30-05:00",
            "26-11-02 01:00-05:00",
        ],
    ),
    "Berlin, gap": (
        "30 2 * * *",
        BERLIN,
        "2026-03-28T12:00",
        ["26-03-29 03:00+02:00", "26-03-30 02:30+02:00"],
    ),
    "Berlin, overlap": (
        "30 2 * * *",
        BERLIN,
        "2026-10-24T12:00",
        ["26-10-25 02:30+02:00", "26-10-26 02:30+01:00"],
    ),
    "Lord Howe, half an hour of gap": (
        "15 2 * * *",
        LORD_HOWE,
        "2026-10-03T00:00",
        ["26-10-04 02:30+11:00", "26-10-05 02:15+11:00"],
    ),
    "Lord Howe, half an hour of overlap, fixed": (
        "45 1 * * *",
        LORD_HOWE,
        "2026-04-04T00:00",
        ["26-04-05 01:45+11:00", "26-04-06 01:45+10:30"],
    ),
    "Lord Howe, half an hour of overlap, wildcard": (
        "*/20 1 * * *",
        LORD_HOWE,
        "2026-04-04T00:00",
        [
            "26-04-05 01:00+11:00",
            "26-04-05 01:20+11:00",
            "26-04-05 01:40+11:00",
            "26-04-05 01:40+10:30",
            "26-04-06 01:00+10:30",
        ],
    ),
    "Apia, a day that never was, fixed: once at its end": (
        "0 9 * * *",
        APIA,
        "2011-12-29T12:00",
        ["11-12-29 09:00-10:00", "11-12-31 00:00+14:00", "11-12-31 09:00+14:00"],
    ),
    "Apia, a day that never was, yearly": (
        "0 9 30 12 *",
        APIA,
        "2011-01-01T12:00",
        ["11-12-31 00:00+14:00", "12-12-30 09:00+14:00"],
    ),
    "Apia, a day that never was, step": (
        "0 */12 * * *",
        APIA,
        "2011-12-29T12:00",
        ["11-12-29 12:00-10:00", "11-12-31 00:00+14:00", "11-12-31 12:00+14:00"],
    ),
    "Casablanca, back for Ramadan": (
        "30 2 * * *",
        CASABLANCA,
        "2026-02-14T12:00",
        ["26-02-15 02:30+01:00", "26-02-16 02:30+00:00"],
    ),
    "Casablanca, and forward again": (
        "30 2 * * *",
        CASABLANCA,
        "2026-03-21T12:00",
        ["26-03-22 03:00+01:00", "26-03-23 02:30+01:00"],
    ),
    "Dublin, where winter is the DST, gap": (
        "30 1 * * *",
        DUBLIN,
        "2026-03-28T12:00",
        ["26-03-29 02:00+01:00", "26-03-30 01:30+01:00"],
    ),
    "Dublin, where winter is the DST, overlap": (
        "30 1 * * *",
        DUBLIN,
        "2026-10-24T12:00",
        ["26-10-25 01:30+01:00", "26-10-26 01:30+00:00"],
    ),
    "Santiago, gap at midnight": (
        "0 0 * * *",
        SANTIAGO,
        "2026-09-05T12:00",
        ["26-09-06 01:00-03:00", "26-09-07 00:00-03:00"],
    ),
    "Santiago, overlap before midnight": (
        "30 23 * * *",
        SANTIAGO,
        "2026-04-04T12:00",
        ["26-04-04 23:30-03:00", "26-04-05 23:30-04:00"],
    ),
    "year's end": (
        "59 23 31 12 *",
        BERLIN,
        "2026-06-01T00:00",
        ["26-12-31 23:59+01:00", "27-12-31 23:59+01:00"],
    ),
}


@pytest.mark.parametrize(
    ("cron", "timezone", "start", "expected"), NIGHTS.values(), ids=NIGHTS
)
def test_dst_follows_the_rule(
    cron: str, timezone: str, start: str, expected: list[str]
) -> None:
    """The rule of Debian's cron(8), written out."""
    assert shown(cron, timezone, start, len(expected)) == expected


# Oracles.


@dataclass(frozen=True)
class Shape:
    """A cron expression and, beside it, what it is meant to match."""

    cron: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 to 6, Sunday is 0

    @property
    def is_fixed(self) -> bool:
        minute, hour, *_ = self.cron.split()
        return minute[0] != "*" and hour[0] != "*"

    def matches(self, local: datetime) -> bool:
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and local.month in self.months
            and self.matches_day(local)
        )

    def matches_day(self, local: datetime) -> bool:
        _, _, day, _, weekday = self.cron.split()
        matching = (local.day in self.days, local.isoweekday() % 7 in self.weekdays)
        return all(matching) if "*" in (day[0], weekday[0]) else any(matching)


def brute_force(
    shape: Shape,
    timezone: str,
    start: datetime,
    end: datetime,
    *,
    margin: timedelta = 30 * HOUR,
) -> list[datetime]:
    """Return the slots in [start, end], by looking at every minute.

    Knows nothing of folds and offsets: it writes down what the clock shows
    minute by minute, from a margin before to as much after.
    """
    clock = what_the_clock_shows(timezone, start - margin, end + margin)
    if shape.is_fixed:
        found = set(fixed_slots(shape, clock))
    else:
        found = {instant for instant, local in clock if shape.matches(local)}
    return sorted(slot for slot in found if start <= slot <= end)


@lru_cache(maxsize=1)
def what_the_clock_shows(
    timezone: str, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """Return every minute as an instant and as the zone's clock shows it."""
    zone = zone_of(timezone)
    instants = [start + n * MINUTE for n in range((end - start) // MINUTE)]
    return [(i, i.astimezone(zone).replace(tzinfo=None, fold=0)) for i in instants]


def fixed_slots(
    shape: Shape, clock: list[tuple[datetime, datetime]]
) -> Iterator[datetime]:
    """Yield the first instant that shows each matching time, or the next later."""
    first_shown: dict[datetime, datetime] = {}
    for instant, local in clock:
        first_shown.setdefault(local, instant)
    (_, local), (_, last) = clock[0], clock[-1]
    while local <= last:
        if shape.matches(local):
            yield first_shown.get(local) or next(i for i, now in clock if now > local)
        local += MINUTE


ALL_MINUTES = frozenset(range(60))
ALL_HOURS = frozenset(range(24))
ALL_DAYS = frozenset(range(1, 32))
ALL_MONTHS = frozenset(range(1, 13))
ALL_WEEKDAYS = frozenset(range(7))


def daily(cron: str, minutes: set[int] | range, hours: set[int] | range) -> Shape:
    """Return a shape that is due every day."""
    return Shape(
        f"{cron} * * *",
        frozenset(minutes),
        frozenset(hours),
        ALL_DAYS,
        ALL_MONTHS,
        ALL_WEEKDAYS,
    )


SHAPES = [
    daily("30 2", {30}, {2}),
    daily("15,45 0-3", {15, 45}, range(4)),
    daily("0 0", {0}, {0}),
    daily("*/20 *", {0, 20, 40}, range(24)),
    daily("17 *", {17}, range(24)),
    daily("*/15 1-2", {0, 15, 30, 45}, {1, 2}),
    daily("10 */2", {10}, range(0, 24, 2)),
    daily("* 0", range(60), {0}),
    daily("59 23", {59}, {23}),
]

CHANGES = [  # days in which the clocks change
    (NEW_YORK, "2026-03-08"),
    (NEW_YORK, "2026-11-01"),
    (LORD_HOWE, "2026-04-04"),
    (LORD_HOWE, "2026-10-03"),
    (APIA, "2011-12-30"),
    (CASABLANCA, "2026-03-22"),
    (DUBLIN, "2026-10-25"),
    (SANTIAGO, "2026-04-05"),
    (SANTIAGO, "2026-09-06"),
    ("Atlantic/Azores", "2026-03-29"),  # at midnight
    ("Africa/Cairo", "2026-10-29"),  # from midnight into the day before
    ("Antarctica/Troll", "2026-03-29"),  # by two hours
    ("America/Caracas", "2016-05-01"),  # by half an hour, for good
    ("Asia/Pyongyang", "2015-08-14"),  # likewise, backwards
    ("Europe/Volgograd", "2018-10-27"),
    ("Pacific/Kwajalein", "1993-08-21"),  # a day that never was
]


@pytest.mark.parametrize(("timezone", "day"), CHANGES)
def test_slots_are_those_of_a_look_at_every_minute(timezone: str, day: str) -> None:
    """On the days of a change, every shape agrees with the brute force."""
    start, end = at(day) - DAY, at(day) + 2 * DAY

    for shape in SHAPES:
        schedule = CronSchedule(cron=shape.cron, timezone=timezone)
        found = list(slots(schedule, start, end))

        assert found == brute_force(shape, timezone, start, end), shape.cron


def cronsim_slots(
    cron: str, timezone: str, start: datetime, end: datetime
) -> Iterator[datetime]:
    """Yield what cronsim finds in [start, end]; it equals the real Debian cron."""
    zone = zone_of(timezone)
    for found in CronSim(cron, (start - timedelta(seconds=1)).astimezone(zone)):
        slot = found.astimezone(UTC)
        if slot > end:
            return
        if slot >= start:
            yield slot


@pytest.mark.parametrize(
    "timezone",
    [NEW_YORK, BERLIN, APIA, CASABLANCA, SANTIAGO],
)
@pytest.mark.parametrize("cron", ["30 2 * * 0", "0 0 */2 * 1", "0 1,2,3 1 * *"])
def test_years_are_those_of_cronsim(timezone: str, cron: str) -> None:
    """From 2020 to 2035, with every change of the clocks in between."""
    schedule = CronSchedule(cron=cron, timezone=timezone)
    start, end = at("2020-01-01"), at("2036-01-01")

    found = list(slots(schedule, start, end, limit=10_000))

    assert found == list(cronsim_slots(cron, timezone, start, end))


# cronsim loses slots in the hours after Lord Howe's changes (it sets the minute
# to 0 and adds whole hours), so the brute force alone speaks for that zone.
@pytest.mark.parametrize("timezone", [NEW_YORK, CASABLANCA, DUBLIN, SANTIAGO])
def test_nights_are_those_of_cronsim(timezone: str) -> None:
    """Around every change of the clocks from 2023 to 2026, for all shapes."""
    zone = zone_of(timezone)
    days = [at("2023-01-01") + number * DAY for number in range(4 * 365)]
    changes = [
        day
        for day, following in pairwise(days)
        if day.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset()
    ]

    for day in changes:
        for shape in SHAPES:
            schedule = CronSchedule(cron=shape.cron, timezone=timezone)
            start, end = day - 6 * HOUR, day + 36 * HOUR
            expected = list(cronsim_slots(shape.cron, timezone, start, end))
            assert list(slots(schedule, start, end)) == expected, (day, shape.cron)

    assert len(changes) >= 7


THOROUGH = int(os.environ.get("CRONHOP_THOROUGH", "1"))


def changes_of_all_zones() -> list[tuple[str, datetime]]:
    """Return a zone and an instant for every change of the clocks, 2020 to 2035.

    Changes that no clock could tell apart are there once.
    """
    found: dict[tuple[object, ...], tuple[str, datetime]] = {}
    weeks = [at("2020-01-01") + number * 7 * DAY for number in range(16 * 365 // 7 + 1)]
    for name in sorted(zone_names()):
        zone = zone_of(name)
        for low, high in pairwise(weeks):
            before = low.astimezone(zone).utcoffset()
            after = high.astimezone(zone).utcoffset()
            if before != after:
                change = change_between(zone, low, high)
                found.setdefault((change, before, after), (name, change))
    return list(found.values())


def test_every_change_in_every_zone_follows_the_rule() -> None:
    """From 2020 to 2035: a sample of them, all of them where there is time."""
    changes = changes_of_all_zones()
    sample = changes
    if THOROUGH == 1:
        sample = random.Random(4).sample(changes, 80)

    for timezone, change in sample:
        start, end = change - 3 * HOUR, change + 3 * HOUR
        for shape in SHAPES:
            schedule = CronSchedule(cron=shape.cron, timezone=timezone)
            found = list(slots(schedule, start, end))
            expected = brute_force(shape, timezone, start, end, margin=3 * HOUR)
            assert found == expected, (timezone, change, shape.cron)

    assert len(changes) > 900


# Properties.


def fields(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """Return texts of a field, each with the numbers that it stands for."""
    number = st.integers(low, high)
    step = st.integers(1, 40)
    bounds = st.tuples(number, number).map(sorted)
    term = st.one_of(
        number.map(lambda n: (str(n), {n})),
        step.map(lambda s: (f"*/{s}", set(range(low, high + 1, s)))),
        bounds.map(lambda b: (f"{b[0]}-{b[1]}", set(range(b[0], b[1] + 1)))),
        st.tuples(bounds, step).map(
            lambda t: (
                f"{t[0][0]}-{t[0][1]}/{t[1]}",
                set(range(t[0][0], t[0][1] + 1, t[1])),
            )
        ),
    )
    terms = st.lists(term, min_size=1, max_size=2).map(
        lambda pairs: (
            ",".join(text for text, _ in pairs),
            frozenset().union(*(values for _, values in pairs)),
        )
    )
    return st.just(("*", frozenset(range(low, high + 1)))) | terms


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Return accepted expressions with what they match."""
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    texts, values = zip(*(draw(fields(*b)) for b in bounds), strict=True)
    minutes, hours, days, months, weekdays = values
    return Shape(
        " ".join(texts),
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
    )


TIMEZONES = st.sampled_from(
    [NEW_YORK, BERLIN, LORD_HOWE, APIA, CASABLANCA, DUBLIN, SANTIAGO, "Asia/Kathmandu"]
)
# Many of them near a change, where it matters.
INSTANTS = st.one_of(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    st.builds(
        lambda change, minutes: (at(change[1]) + minutes * MINUTE).replace(tzinfo=None),
        st.sampled_from(CHANGES),
        st.integers(-1440, 2 * 1440),
    ),
).map(lambda instant: instant.replace(tzinfo=UTC))


def accepted(shape: Shape, timezone: str) -> CronSchedule | None:
    """Return the schedule, `None` if it is too long or its dates are impossible."""
    schedule = CronSchedule(cron=shape.cron, timezone=timezone)
    try:
        check(schedule)
    except Invalid as error:
        refusal = error
    else:
        return schedule
    assert refusal.field == "schedule.cron"
    assert "characters" in refusal.message or "never comes" in refusal.message
    return None


@given(shape=shapes(), timezone=TIMEZONES, after=INSTANTS)
@settings(max_examples=100, deadline=None)
def test_the_next_slot_is_later_and_matches(
    shape: Shape, timezone: str, after: datetime
) -> None:
    """A slot shows a matching time, or ends a gap that swallowed fixed ones."""
    schedule = accepted(shape, timezone)
    if schedule is None:
        return

    slot = next_slot(schedule, after)

    assert slot is not None
    assert slot.tzinfo is UTC
    assert slot > after
    assert slot.microsecond == 0
    zone = zone_of(timezone)
    local = slot.astimezone(zone).replace(tzinfo=None)
    before = (slot - MINUTE).astimezone(zone).replace(tzinfo=None)
    swallowed = []
    while (before := before + MINUTE) < local:
        swallowed.append(before)
    assert shape.matches(local) or (
        shape.is_fixed and any(shape.matches(time) for time in swallowed)
    )


@given(shape=shapes(), timezone=TIMEZONES, change=st.sampled_from(CHANGES))
@settings(max_examples=20, deadline=None)
def test_any_schedule_agrees_with_a_look_at_every_minute(
    shape: Shape, timezone: str, change: tuple[str, str]
) -> None:
    """No slot is left out and none made up, on the days of a change."""
    timezone, day = change
    schedule = accepted(shape, timezone)
    if schedule is None:
        return
    start, end = at(day) - DAY, at(day) + DAY

    found = list(slots(schedule, start, end, limit=10_000))

    assert found == brute_force(shape, timezone, start, end)


@given(
    shape=shapes(),
    timezone=TIMEZONES,
    start=INSTANTS,
    seconds=st.lists(st.integers(0, 86_400 * 3), max_size=10),
)
@settings(max_examples=100, deadline=None)
def test_a_slot_does_not_depend_on_where_the_search_began(
    shape: Shape, timezone: str, start: datetime, seconds: list[int]
) -> None:
    """From any instant, the next slot is the next of those found from the start."""
    schedule = accepted(shape, timezone)
    if schedule is None:
        return
    found = list(slots(schedule, start, start + 3 * DAY, limit=60))
    end = found[-1] if len(found) == 60 else start + 3 * DAY

    for after in [start + timedelta(seconds=s) for s in seconds]:
        later = [slot for slot in found if slot > after]
        slot = next_slot(schedule, after)
        assert slot is not None
        if later or slot <= end:
            assert slot == later[0]


@given(
    shape=shapes(),
    timezone=TIMEZONES,
    start=INSTANTS,
    length=st.timedeltas(timedelta(0), 3 * DAY),
)
@settings(max_examples=100, deadline=None)
def test_the_latest_slot_is_the_last_of_all(
    shape: Shape, timezone: str, start: datetime, length: timedelta
) -> None:
    """Whatever is in between."""
    schedule = accepted(shape, timezone)
    if schedule is None:
        return
    found = list(slots(schedule, start, start + length, limit=60))
    end = found[-1] if len(found) == 60 else start + length

    assert latest_slot(schedule, start, end) == (found[-1] if found else None)
    assert count_slots(schedule, start, end) == len(found)


@given(shape=shapes(), timezone=TIMEZONES, end=INSTANTS)
@settings(max_examples=50, deadline=None)
def test_the_latest_slot_costs_bounded_work(
    shape: Shape, timezone: str, end: datetime
) -> None:
    """A century of slots costs no more than some tens of searches."""
    schedule = accepted(shape, timezone)
    if schedule is None:
        return
    searches = 0

    def counting(schedule: Schedule, after: datetime) -> datetime | None:
        nonlocal searches
        searches += 1
        return next_slot(schedule, after)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "next_slot", counting)
        latest = latest_slot(schedule, end - 36_500 * DAY, end)

    following = next_slot(schedule, latest or end)
    assert following is None or following > end
    assert searches < 80


@given(
    text=st.text(st.sampled_from("0123456789 */,-LWH()#?@SUNMODAY\t\n"), max_size=50)
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_refused_or_has_a_slot(text: str) -> None:
    """Nothing but `Invalid` ever comes out, and nothing accepted is without slots."""
    schedule = CronSchedule(cron=text)
    try:
        check(schedule)
    except Invalid as error:
        refusal = error
    else:
        assert next_slot(schedule, at("2026-01-01")) is not None
        return
    assert refusal.field == "schedule.cron"


# Windows and edges.


def test_windows_include_both_ends() -> None:
    """[start, end]: slots on either are in it, one just outside is not."""
    hourly = CronSchedule(cron="0 * * * *")
    one, two, three = at("2026-01-01T01"), at("2026-01-01T02"), at("2026-01-01T03")
    moment = timedelta(microseconds=1)

    assert list(slots(hourly, one, three)) == [one, two, three]
    assert list(slots(hourly, one + moment, three - moment)) == [two]
    assert latest_slot(hourly, one, three) == three
    assert latest_slot(hourly, one, three - moment) == two
    assert latest_slot(hourly, one, one) == one
    assert count_slots(hourly, one, three) == 3


def test_an_empty_window_has_no_slots() -> None:
    """Also where its end is before its start."""
    hourly = CronSchedule(cron="0 * * * *")
    start, end = at("2026-01-01T01:01"), at("2026-01-01T01:59")

    assert list(slots(hourly, start, end)) == []
    assert latest_slot(hourly, start, end) is None
    assert latest_slot(hourly, end + HOUR, start) is None
    assert count_slots(hourly, start, end) == 0


def test_a_count_is_bounded() -> None:
    """`limit` means at least `limit`."""
    minutely = CronSchedule(cron="* * * * *")
    start = at("2026-01-01")

    assert count_slots(minutely, start, start + 3 * DAY) == 1000
    assert count_slots(minutely, start, start + 3 * DAY, limit=10) == 10
    assert len(list(slots(minutely, start, start + 3 * DAY, limit=7))) == 7


def test_a_later_instant_in_the_same_minute_is_no_new_slot() -> None:
    """Seconds and microseconds count, in any zone."""
    minutely = CronSchedule(cron="* * * * *", timezone=BERLIN)

    found = next_slot(minutely, at("2026-01-01T01:00:59.999999+05:30"))

    assert found == at("2025-12-31T19:31")
    assert found is not None
    assert found.tzinfo is UTC


def test_the_calendar_ends() -> None:
    """`None` at its end; the first slot of 1970 for anything before."""
    daily = CronSchedule(cron="0 0 * * *", timezone=NEW_YORK)

    assert next_slot(daily, datetime.max.replace(tzinfo=UTC)) is None
    assert next_slot(daily, datetime.min.replace(tzinfo=UTC)) == at("1970-01-01T05:00")
    assert next_slot(CronSchedule(cron="* * * * *"), at("1969-01-01")) == at(
        "1970-01-01"
    )


def test_a_naive_datetime_is_a_mistake() -> None:
    """The machine's own zone must never count."""
    with pytest.raises(ValueError, match="aware"):
        next_slot(CronSchedule(cron="* * * * *"), datetime(2026, 1, 1))  # noqa: DTZ001


# Seconds, `H`, intervals and single instants.


def first(schedule: Schedule, count: int, start: str = "2026-06-01T00:00") -> list[str]:
    """Return the first slots after the start, in UTC."""
    found = slots(
        schedule, at(start) + timedelta(seconds=1), at(start) + 9000 * DAY, count
    )
    return [f"{slot:%m-%d %H:%M:%S}" for slot in found]


@pytest.mark.parametrize(
    ("cron", "expected"),
    {
        "*/20 * * * * *": "06-01 00:00:20, 06-01 00:00:40, 06-01 00:01:00",
        "15 30 1 * * *": "06-01 01:30:15, 06-02 01:30:15",
        "5,10 0 0 L * *": "06-30 00:00:05, 06-30 00:00:10, 07-31 00:00:05",
        "59 59 23 * * 1#2": "06-08 23:59:59, 07-13 23:59:59",
        "@hourly": "06-01 01:00:00, 06-01 02:00:00",
    }.items(),
)
def test_seconds_come_first(cron: str, expected: str) -> None:
    """With `seconds` a sixth field, the first, counts them."""
    schedule = CronSchedule(cron=cron, seconds=True)

    check(schedule)

    assert first(schedule, expected.count(",") + 1) == expected.split(", ")


def test_five_fields_are_no_six() -> None:
    """Who asks for seconds has to give them."""
    with pytest.raises(Invalid, match="write six fields: second, minute"):
        check(CronSchedule(cron="*/5 * * * *", seconds=True))


def test_seconds_in_the_gap_and_in_the_overlap() -> None:
    """Fixed times once, a field that starts with `*` by elapsed time."""
    fixed = CronSchedule(cron="10,20 30 2 * * *", timezone=BERLIN, seconds=True)
    elapsed = CronSchedule(cron="*/30 30 2 * * *", timezone=BERLIN, seconds=True)
    spring, autumn = at("2026-03-29"), at("2026-10-25")

    assert list(slots(fixed, spring, spring + 12 * HOUR)) == [at("2026-03-29T01:00")]
    assert list(slots(elapsed, spring, spring + 12 * HOUR)) == []
    assert list(slots(fixed, autumn, autumn + 12 * HOUR)) == [
        at("2026-10-25T00:30:10"),
        at("2026-10-25T00:30:20"),
    ]
    assert len(list(slots(elapsed, autumn, autumn + 12 * HOUR))) == 4


def hashed(cron: str, task_id: str) -> CronSchedule:
    """Return the schedule as it is for this task."""
    schedule = bound(
        CronSchedule(cron=cron), task_id=task_id, created_at=at("2026-01-01")
    )
    assert isinstance(schedule, CronSchedule)
    return schedule


def test_h_is_the_same_number_for_the_same_task() -> None:
    """Written down: a later release must not move anybody's slots."""
    one = hashed("H H * * *", "01J00000000000000000000000")
    other = hashed("H H * * *", "01J00000000000000000000001")

    assert first(one, 2) == ONE_H
    assert first(other, 2) == OTHER_H


ONE_H = ["06-01 21:54:00", "06-02 21:54:00"]
OTHER_H = ["06-01 15:50:00", "06-02 15:50:00"]


@given(task_id=st.text(min_size=1, max_size=26))
@settings(max_examples=15, deadline=None)
def test_h_stays_in_its_range(task_id: str) -> None:
    """A number of the field, of the range, or every n-th from one on."""
    hourly = list(
        slots(hashed("H * * * *", task_id), at("2026-06-01"), at("2026-06-02"))
    )
    ranged = next_slot(hashed("H(10-19) 3 * * *", task_id), at("2026-06-01"))
    stepped = list(
        slots(
            hashed("H/15 * * * *", task_id), at("2026-06-01"), at("2026-06-01T00:59:59")
        )
    )
    monthly = list(
        slots(hashed("0 0 H * *", task_id), at("2026-01-01"), at("2026-12-31"))
    )

    assert {after - before for before, after in pairwise(hourly)} == {HOUR}
    assert ranged is not None
    assert 10 <= ranged.minute <= 19
    assert len(stepped) == 4
    assert {after - before for before, after in pairwise(stepped)} == {15 * MINUTE}
    assert len(monthly) == 12


def test_h_spreads_tasks() -> None:
    """A hundred tasks do not meet at one minute of one hour."""
    found = {
        first(hashed("H H * * *", f"task {number}"), 1)[0] for number in range(100)
    }

    assert len(found) > 80


def test_an_interval_is_counted_from_its_anchor() -> None:
    """The anchor is the first slot, and nothing drifts in a hundred years."""
    anchor = at("2026-06-01T00:00:07")
    schedule = EverySchedule(every_s=7 * 60, anchor=anchor)

    check(schedule)

    assert next_slot(schedule, anchor - 9 * DAY) == anchor
    assert next_slot(schedule, anchor) == anchor + 7 * MINUTE
    assert next_slot(schedule, anchor + 7 * MINUTE - timedelta(seconds=1)) == (
        anchor + 7 * MINUTE
    )
    late = next_slot(schedule, at("2126-06-01"))
    assert late is not None
    assert (late - anchor) % (7 * MINUTE) == timedelta(0)
    assert latest_slot(schedule, anchor, at("2026-07-01")) is not None
    assert count_slots(schedule, anchor, anchor + HOUR) == 9


def test_an_interval_without_anchor_has_that_of_its_task() -> None:
    """When the task was made; asking before it is known is a mistake."""
    schedule = EverySchedule(every_s=300)
    made = at("2026-06-01T00:00:07.250")

    mine = bound(schedule, task_id="task", created_at=made)

    assert next_slot(mine, made) == at("2026-06-01T00:05:07")
    with pytest.raises(ValueError, match="anchor"):
        next_slot(schedule, made)


@pytest.mark.parametrize("every_s", [0, -1, 366 * 86400 + 1])
def test_an_interval_has_bounds(every_s: int) -> None:
    """From a second to a year."""
    with pytest.raises(Invalid, match="from 1 to") as error:
        check(EverySchedule(every_s=every_s))

    assert error.value.field == "schedule.every_s"


def test_a_single_instant_is_one_slot() -> None:
    """It is due at it, and never again."""
    schedule = OnceSchedule(at=at("2026-06-01T12:00:30"))

    check(schedule)

    assert next_slot(schedule, at("2026-01-01")) == schedule.at
    assert next_slot(schedule, schedule.at) is None
    assert latest_slot(schedule, at("2026-01-01"), at("2027-01-01")) == schedule.at
    assert is_slot(schedule, schedule.at)
    assert not is_slot(schedule, schedule.at + MINUTE)


@pytest.mark.parametrize(
    "schedule",
    [
        CronSchedule(cron="0 * * * *"),
        EverySchedule(every_s=3600, anchor=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_slots_lie_between_start_and_end(schedule: Schedule) -> None:
    """Both ends may be slots themselves."""
    window = replace(
        schedule, starts_at=at("2026-06-01T03"), ends_at=at("2026-06-01T05")
    )

    check(window)

    assert first(window, 9, "2026-01-01") == [
        "06-01 03:00:00",
        "06-01 04:00:00",
        "06-01 05:00:00",
    ]
    assert next_slot(window, at("2026-06-01T05")) is None
    assert latest_slot(window, at("2026-01-01"), at("2027-01-01")) == window.ends_at
    with pytest.raises(Invalid, match="before starts_at"):
        check(replace(window, ends_at=at("2026-06-01T02")))


def test_the_newest_slots_are_found_from_their_end() -> None:
    """Oldest first, at most as many as wanted."""
    hourly = CronSchedule(cron="0 * * * *")
    start, end = at("2020-01-01"), at("2026-06-01T12:30")

    found = latest_slots(hourly, start, end, 3)

    assert found == [at("2026-06-01T10"), at("2026-06-01T11"), at("2026-06-01T12")]
    assert latest_slots(hourly, end, end + MINUTE, 3) == []


@pytest.mark.parametrize(
    ("schedule", "slot", "note"),
    [
        (CronSchedule(cron="30 2 * * *", timezone=BERLIN), "2026-03-29T01:00", "gap"),
        (CronSchedule(cron="0 2,3 * * *", timezone=BERLIN), "2026-03-29T01:00", "gap"),
        (CronSchedule(cron="0 3 * * *", timezone=BERLIN), "2026-03-29T01:00", None),
        (CronSchedule(cron="0 * * * *", timezone=BERLIN), "2026-03-29T01:00", None),
        (
            CronSchedule(cron="30 2 * * *", timezone=BERLIN),
            "2026-10-25T00:30",
            "overlap",
        ),
        (
            CronSchedule(cron="0 * * * *", timezone=BERLIN),
            "2026-10-25T01:00",
            "overlap",
        ),
        (CronSchedule(cron="0 * * * *", timezone=BERLIN), "2026-10-25T02:00", None),
        (CronSchedule(cron="0 9 * * *", timezone=APIA), "2011-12-30T10:00", "gap"),
        (
            OnceSchedule(at=datetime(2026, 10, 25, 1, tzinfo=UTC), timezone=BERLIN),
            "2026-10-25T01:00",
            "overlap",
        ),
    ],
)
def test_slots_that_dst_touches_are_marked(
    schedule: Schedule, slot: str, note: str | None
) -> None:
    """Those that stand for skipped times, and those the clock shows twice."""
    assert is_slot(schedule, at(slot))
    assert dst_note(schedule, at(slot)) == (DstNote(f"dst_{note}") if note else None)


@pytest.mark.parametrize(
    "schedule",
    [
        CronSchedule(cron="0 9 * * 5L", timezone=BERLIN),
        CronSchedule(
            cron="0 0 9 * * *",
            seconds=True,
            starts_at=datetime(2026, 1, 1, tzinfo=UTC),
            ends_at=datetime(2027, 1, 1, tzinfo=UTC),
            exclude_calendars=("holidays",),
        ),
        EverySchedule(every_s=300),
        EverySchedule(every_s=300, anchor=datetime(2026, 1, 1, tzinfo=UTC)),
        OnceSchedule(at=datetime(2026, 1, 1, tzinfo=UTC), timezone=BERLIN),
    ],
)
def test_what_is_kept_is_what_was_written(schedule: Schedule) -> None:
    """Through JSON and back; what a task adds to it is not kept."""
    mine = bound(schedule, task_id="task", created_at=at("2026-01-01"))

    assert from_dict(json.loads(json.dumps(to_dict(schedule)))) == schedule
    assert "seed" not in to_dict(mine)


def test_schedules_of_earlier_releases_are_read() -> None:
    """A row that knows cron and zone only."""
    kept = {"cron": "30 1 * * *", "timezone": BERLIN}

    assert from_dict(kept) == CronSchedule(cron="30 1 * * *", timezone=BERLIN)
