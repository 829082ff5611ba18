"""The gate: a run begins only while its task still wants it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from cronhop.domain.calendar import Calendar
from cronhop.domain.gate import refusal
from cronhop.domain.hold import Hold
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.targets import Targets
from cronhop.domain.task import (
    CatchUp,
    Overlap,
    Script,
    Task,
    TaskDefinition,
    TaskKind,
)

SLOT = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
TASK = Task(
    task_id="01J00000000000000000000000",
    definition=TaskDefinition(
        name="task",
        kind=TaskKind.SCRIPT,
        spec=Script(command="true"),
        targets=Targets(server_ids=("01J0000000000000000000000A",)),
        schedule=CronSchedule(cron="0 * * * *"),
        timeout_s=60,
        kill_grace_s=10,
        overlap=Overlap.SKIP,
        start_deadline_s=300,
        catch_up=CatchUp.ONE,
        enabled=True,
    ),
    version=1,
    schedule_version=1,
    next_run=None,
    active_run=None,
    invalid=None,
    created_by="ada",
    created_at=SLOT,
    updated_at=SLOT,
)
RUN = Run(
    run_id="01J0000000000000000000000R",
    task_id=TASK.task_id,
    trigger=Trigger.SCHEDULE,
    slot=SLOT,
    state=State.PENDING,
    reason=None,
    created_by="scheduler",
    created_at=SLOT - timedelta(seconds=60),
    schedule_version=1,
)
MANUAL = replace(RUN, trigger=Trigger.MANUAL, slot=None, created_at=SLOT)


def defined(schedule_version=1, **changes):
    """Return the task with another definition."""
    return replace(
        TASK,
        definition=replace(TASK.definition, **changes),
        schedule_version=schedule_version,
    )


@pytest.mark.parametrize(
    ("run", "task", "late_s", "state"),
    [
        (RUN, TASK, 0, None),
        (RUN, TASK, 300, None),
        (RUN, TASK, 301, State.MISSED),
        (RUN, None, 0, State.SKIPPED),
        (RUN, defined(2, enabled=False), 0, State.SKIPPED),
        (RUN, defined(2, schedule=CronSchedule(cron="*/30 * * * *")), 0, None),
        (RUN, defined(2, schedule=CronSchedule(cron="5 * * * *")), 0, State.SKIPPED),
        (RUN, defined(2, schedule=None), 0, State.SKIPPED),
        (MANUAL, defined(2, enabled=False), 0, None),
        (MANUAL, defined(2, schedule=None), 0, None),
        (MANUAL, TASK, 301, State.MISSED),
        (MANUAL, None, 0, State.SKIPPED),
    ],
    ids=[
        "on-time",
        "at-the-deadline",
        "late",
        "deleted",
        "disabled",
        "slot-kept",
        "slot-gone",
        "schedule-gone",
        "by-hand-while-disabled",
        "by-hand-without-schedule",
        "by-hand-late",
        "by-hand-deleted",
    ],
)
def test_gate(run, task, late_s, state):
    """A run that may not begin ends with a state and a reason in words."""
    refused = refusal(run, task, SLOT + timedelta(seconds=late_s))

    assert (refused.state if refused else None) is state
    assert refused is None or refused.reason


def held(since_s, until_s):
    """Return a hold in force between these seconds from the slot."""
    return Hold(
        by="ada",
        at=SLOT + timedelta(seconds=since_s),
        until=None if until_s is None else SLOT + timedelta(seconds=until_s),
        reason="a move",
    )


@pytest.mark.parametrize(
    ("since_s", "until_s", "late_s", "is_refused"),
    [
        (-60, None, 0, True),
        (0, None, 0, True),
        (-60, 60, 0, True),
        (-60, 0, 0, False),
        (-60, 30, 60, True),
        (30, None, 60, True),
        (30, 40, 60, False),
        (61, None, 60, False),
    ],
    ids=[
        "in-force",
        "since-the-slot",
        "ends-later",
        "ended-at-the-slot",
        "ended-since",
        "began-since",
        "came-and-went",
        "begins-later",
    ],
)
def test_what_is_held_back_does_not_begin(since_s, until_s, late_s, is_refused):
    """By a pause or the freeze, at the slot or at the gate; by hand it may."""
    now, hold = SLOT + timedelta(seconds=late_s), held(since_s, until_s)
    paused = replace(TASK, pause=hold)

    for refused in (refusal(RUN, paused, now), refusal(RUN, TASK, now, freeze=hold)):
        assert (refused is not None) == is_refused
        assert refused is None or refused.state is State.SKIPPED
        assert refused is None or "by ada" in refused.reason
        assert refused is None or "a move" in refused.reason
    assert refusal(MANUAL, paused, now, freeze=hold) is None


@pytest.mark.parametrize(
    ("zone", "day", "is_refused"),
    [
        ("UTC", 1, True),
        ("UTC", 2, False),
        ("Pacific/Auckland", 1, True),
        ("Pacific/Kiritimati", 2, True),
        ("Pacific/Kiritimati", 1, False),
    ],
)
def test_a_calendar_excludes_its_dates(zone, day, is_refused):
    """On the dates of the schedule's own clock: ten in the morning is tomorrow."""
    schedule = CronSchedule(
        cron="0 * * * *", timezone=zone, exclude_calendars=("holidays",)
    )
    calendar = Calendar(
        name="holidays",
        dates=(date(2026, 6, day),),
        version=1,
        created_by="ada",
        created_at=SLOT,
        updated_at=SLOT,
    )

    refused = refusal(
        RUN, defined(schedule=schedule), SLOT, calendars={"holidays": calendar}
    )

    expected = f"calendar holidays excludes 2026-06-{day:02}" if is_refused else None
    assert (refused.reason if refused else None) == expected
    assert refusal(MANUAL, defined(schedule=schedule), SLOT) is None


def test_a_calendar_that_is_gone_excludes_all():
    """Nobody can tell whether the date is one on which nothing may start."""
    schedule = CronSchedule(cron="0 * * * *", exclude_calendars=("holidays",))

    refused = refusal(
        RUN, defined(schedule=schedule), SLOT, calendars={"holidays": None}
    )

    assert refused.reason == "calendar holidays is not there"
