"""What may surprise the author of a schedule that can be accepted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cronhop.domain.cron import Plan
from cronhop.domain.schedule import (
    CronSchedule,
    EverySchedule,
    Schedule,
    next_slot,
    plan_of,
)
from cronhop.domain.zone import changes_between, local_time, zone_of

_FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
_SIZES = (60, 60, 24, 31, 12, 7)
_OFTEN = 24  # times a day; who wants more on few days has mostly meant something else
_SELDOM = 4  # days a year
_SHORTEST_MONTH = 28  # days
_YEAR = timedelta(days=366)
_DAY_S = 86400
_SECOND = timedelta(seconds=1)

_STEP = re.compile(r"\*/(\d+)", re.ASCII)


def warnings(schedule: Schedule, now: datetime) -> list[str]:
    """Return in words what may surprise, nothing if nothing does.

    The schedule is one that `check` accepts, for a task (`bound`); changes of the
    clocks are those of the year from `now` on. Bounded work, some tens of
    `next_slot`.
    """
    if isinstance(schedule, CronSchedule):
        plan = plan_of(schedule)
        found = [*_days(plan), *_times(plan), *_steps(plan), *_rarity(plan, now)]
        return [*found, *_nights(schedule, now)]
    if isinstance(schedule, EverySchedule) and schedule.every_s % _DAY_S == 0:
        zone = zone_of(schedule.timezone)
        if any(changes_between(zone, now, now + _YEAR)):
            words = (
                "every_s is elapsed time: the hour of the day changes with the clocks"
                f" of {schedule.timezone}; write cron for the same hour every time"
            )
            return [words]
    return []


def _days(plan: Plan) -> Iterator[str]:
    *_, day, _, weekday = plan.texts
    if not day.startswith("*") and not weekday.startswith("*"):
        yield (
            f"day of month `{day}` and day of week `{weekday}` are both given: a day"
            " that matches one of them is enough"
        )
    numbers = plan.days.days
    if numbers and min(numbers) > _SHORTEST_MONTH and not plan.days.is_last:
        yield (
            f"not every month has a day {min(numbers)}; write `L` for the last day of"
            " each"
        )


def _times(plan: Plan) -> Iterator[str]:
    second, minute, hour, *_ = plan.texts
    if minute == "*" and not hour.startswith("*"):
        yield (
            f"minute `*`: it is due in every minute of hour `{hour}`, 60 times; write"
            f" `0 {hour}` for once"
        )
    if second == "*" and not minute.startswith("*"):
        yield (
            f"second `*`: it is due in every second of minute `{minute}`, 60 times;"
            f" write `0 {minute}` for once"
        )


def _steps(plan: Plan) -> Iterator[str]:
    for name, size, text in zip(_FIELDS, _SIZES, plan.texts, strict=True):
        match = _STEP.fullmatch(text)
        if not match or name == "day of month":
            continue
        step = int(match[1])
        if step >= size:
            yield f"{name} `{text}` is only the first {name}: there are {size}"
        elif size % step:
            yield (
                f"{name} `{text}` begins anew with each round of {size}: the last"
                f" distance is {size % step} instead of {step}; every_s keeps it"
            )


def _rarity(plan: Plan, now: datetime) -> Iterator[str]:
    start = now.astimezone(UTC).date()
    end = start + 4 * _YEAR
    days = sum(
        1
        for _ in itertools.takewhile(
            lambda day: day < end, itertools.islice(plan.next_days(start), 1500)
        )
    )
    if days > 4 * _SELDOM:
        return
    if days <= 1:
        yield "its day comes once in four years, or less often"
    if plan.times > _OFTEN:
        yield (
            f"it is due {plan.times} times on each of its days, which are {days} in four"
            " years"
        )


def _nights(schedule: CronSchedule, now: datetime) -> Iterator[str]:
    """Yield what the changes of the clocks do to the slots of the coming year.

    What is due in every hour goes on through all of them, as anybody expects.
    """
    plan, zone = plan_of(schedule), zone_of(schedule.timezone)
    if plan.texts[2].startswith("*"):
        return
    for change in changes_between(zone, now, now + _YEAR):
        before, after = local_time(change - _SECOND, zone), local_time(change, zone)
        if after > before + _SECOND:
            skipped = plan.next_time(before)
            if skipped is not None and skipped < after:
                then = f"runs once, at {after:%H:%M}" if plan.is_fixed else "runs less"
                yield (
                    f"the clocks of {schedule.timezone} skip a time of it on"
                    f" {after:%Y-%m-%d}: it {then}"
                )
            continue
        first_pass = change - (before + _SECOND - after)
        slot = next_slot(schedule, first_pass - _SECOND)
        if slot is not None and slot < change:
            then = "runs the first time only" if plan.is_fixed else "runs both times"
            yield (
                f"the clocks of {schedule.timezone} show a time of it twice on"
                f" {after:%Y-%m-%d}: it {then}"
            )
