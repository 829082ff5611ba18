"""Lint: what may surprise is said, and what is plain is not."""

from datetime import UTC, datetime

import pytest

from cronhop.domain.lint import warnings
from cronhop.domain.schedule import (
    CronSchedule,
    EverySchedule,
    OnceSchedule,
    Schedule,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    "schedule",
    [
        CronSchedule(cron="*/5 * * * *"),
        CronSchedule(cron="30 1 * * *"),
        CronSchedule(cron="0 9 * * 1-5", timezone=BERLIN),
        CronSchedule(cron="0 9 */2 * 1"),
        CronSchedule(cron="0 0 L * *"),
        CronSchedule(cron="0 0 1 1 *"),
        CronSchedule(cron="* * * * *", timezone=BERLIN),
        CronSchedule(cron="*/10 * * * * *", seconds=True),
        EverySchedule(every_s=86400),
        EverySchedule(every_s=300, timezone=BERLIN),
        OnceSchedule(at=NOW),
    ],
)
def test_plain_schedules_are_not_warned_of(schedule: Schedule) -> None:
    """Nobody reads warnings that come always."""
    assert warnings(schedule, NOW) == []


@pytest.mark.parametrize(
    ("cron", "zone", "expected"),
    [
        ("0 9 13 * 5", "UTC", ["are both given: a day that matches one of them"]),
        ("*/7 * * * *", "UTC", ["`*/7` begins anew with each round of 60: the last"]),
        ("0 */5 * * *", "UTC", ["the last distance is 4 instead of 5"]),
        ("0 0 1 */5 *", "UTC", ["month `*/5` begins anew"]),
        ("*/90 * * * *", "UTC", ["is only the first minute: there are 60"]),
        ("* 3 * * *", "UTC", ["every minute of hour `3`, 60 times; write `0 3`"]),
        ("0 0 31 * *", "UTC", ["not every month has a day 31; write `L`"]),
        (
            "*/5 * 29 2 *",
            "UTC",
            ["day 29", "once in four years", "288 times on each of its days"],
        ),
        (
            "30 2 * * *",
            BERLIN,
            ["twice on 2026-10-25", "skip a time of it on 2027-03-28"],
        ),
        ("*/30 2 * * *", BERLIN, ["runs both times", "2027-03-28: it runs less"]),
        ("30 2 25 10 *", BERLIN, ["twice on 2026-10-25: it runs the first time only"]),
    ],
)
def test_what_may_surprise_is_said(cron: str, zone: str, expected: list[str]) -> None:
    """Each once, with what to write instead where there is something."""
    found = warnings(CronSchedule(cron=cron, timezone=zone), NOW)

    assert len(found) == len(expected), found
    for words, part in zip(found, expected, strict=True):
        assert part in words


def test_seconds_of_a_fixed_minute_are_many() -> None:
    """As the minutes of a fixed hour are."""
    schedule = CronSchedule(cron="* 30 * * * *", seconds=True)

    (found,) = warnings(schedule, NOW)

    assert "every second of minute `30`" in found


def test_days_of_elapsed_time_are_not_those_of_the_clock() -> None:
    """An interval of days shifts its hour with the clocks."""
    (found,) = warnings(EverySchedule(every_s=7 * 86400, timezone=BERLIN), NOW)

    assert "write cron" in found
