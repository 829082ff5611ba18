"""The gate: a run begins only while its task still wants it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cronhop.domain.gate import refusal
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
