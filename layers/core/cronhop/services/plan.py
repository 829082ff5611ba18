"""The plan of one task: which of its slots are started, and why others are not.

Every slot up to the look-ahead wants a run. After an outage some are started late,
the others share one `missed` row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cronhop.domain.gate import hold_reason
from cronhop.domain.ids import new_id, slot_run_id
from cronhop.domain.run import SCHEDULER, Run, State, Trigger
from cronhop.domain.schedule import (
    Schedule,
    count_slots,
    is_slot,
    latest_slot,
    latest_slots,
    next_slot,
    slots,
)
from cronhop.domain.task import CatchUp, Task
from cronhop.errors import Invalid
from cronhop.store import holds, runs

LOOK_AHEAD = timedelta(seconds=90)  # a minute and the tick's own jitter
LATE = timedelta(minutes=1)  # a tick that comes so late is no outage
CHECK_AFTER = timedelta(minutes=2)  # when the tick looks after what it sent
SLOTS_A_TICK = 200  # of one task; what is beyond waits for the next tick
COUNT_LIMIT = 1000  # slots counted in a row of missed ones; beyond: "at least"
# By so much a state may move its clocks at short notice.
ZONE_CHANGE = timedelta(hours=3)

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The runs of one task's due slots, and the slot after them."""

    task: Task
    runs: tuple[Run, ...]
    following: datetime | None


def new_run(
    task: Task,
    trigger: Trigger,
    *,
    by: str,
    now: datetime,
    run_id: str | None = None,
    **changes: Any,
) -> Run:
    """Return a run that somebody asks for now, to be put on record.

    The tick looks after it from then on. `changes` are of its other fields.
    """
    run = Run(
        run_id=run_id or new_id(now),
        task_id=task.task_id,
        trigger=trigger,
        slot=None,
        state=State.PENDING,
        reason=None,
        created_by=by,
        created_at=now,
        check_at=now + CHECK_AFTER,
        schedule_version=task.schedule_version,
        environment=task.definition.environment,
    )
    return replace(run, **changes)


def plan(task: Task, now: datetime) -> Planned:
    """Return the runs that the task's due slots want; a row says which are missed.

    Bounded work: `SLOTS_A_TICK` slots at most, and one row for all that an outage
    has left out. Done again after a crash, it meets its own rows and goes on from
    them. Raises Invalid if the schedule is not possible any more.
    """
    schedule = task.schedule
    if schedule is None:
        raise Invalid("schedule", "a task without a schedule is never due")
    wanted: list[Run] = []
    slot = _cursor(task, schedule)
    is_caught_up = False
    while slot and slot <= now + LOOK_AHEAD and len(wanted) < SLOTS_A_TICK:
        if slot < now and not is_caught_up:
            resumed, is_caught_up = _leave_out(task, schedule, slot, now)
            if resumed != slot:
                slot = resumed
                continue
        wanted.append(_run(task, slot, now))
        slot = next_slot(schedule, slot)
    return Planned(task=task, runs=tuple(wanted), following=slot)


def _cursor(task: Task, schedule: Schedule) -> datetime | None:
    """Return the first slot not yet sent, None if none follows.

    The task's `next_run` was found by its zone's rules as they were then. Where
    they have changed since, the slot that was meant is near it, and may have
    passed already.
    """
    slot = task.next_run
    if slot is None or is_slot(schedule, slot):
        return slot
    return latest_slot(schedule, slot - ZONE_CHANGE, slot) or next_slot(schedule, slot)


def _leave_out(
    task: Task, schedule: Schedule, slot: datetime, now: datetime
) -> tuple[datetime | None, bool]:
    """Return where to go on, and whether all from there on is to be started.

    `slot` has passed. It and those after it that are not started late become one
    `missed` row, whose id is that of `slot`; a `skipped` one if all of them were
    held back. A slot that has a row is taken as that row says, so that a tick which
    crashed half-way is repeated, not done again otherwise: then what follows it is
    still to be looked at.
    """
    if slot > now - LATE:
        return slot, True  # the tick is late, that is all
    run_id = slot_run_id(task.task_id, slot)
    # First of all: it costs a read, what follows some hundred searches.
    row = runs.get(run_id)
    if row:
        resumed = next_slot(schedule, row.missed_to) if row.missed_to else slot
        return resumed, False
    late = _late_slots(task, schedule, slot, now)
    if late and late[0] == slot:
        return slot, True
    last = latest_slot(schedule, slot, late[0] - _SECOND if late else now) or slot
    held = hold_reason(task, slot, last, holds.freeze())
    missed = Run(
        run_id=run_id,
        task_id=task.task_id,
        trigger=Trigger.SCHEDULE,
        slot=slot,
        state=State.SKIPPED if held else State.MISSED,
        reason=held or _REASONS[task.definition.catch_up],
        created_by=SCHEDULER,
        created_at=now,
        finished_at=now,
        check_at=None if held else now,  # an executor says that they were missed
        schedule_version=task.schedule_version,
        missed_to=last,
        missed_count=count_slots(schedule, slot, last, limit=COUNT_LIMIT),
        environment=task.definition.environment,
    )
    if not runs.add(missed):
        # Of another tick, or mine, and its answer was lost: it is there to be read.
        return _leave_out(task, schedule, slot, now)
    return late[0] if late else next_slot(schedule, last), True


_REASONS = {
    CatchUp.ONE: "nothing was sent at the time; the newest slot of the outage is",
    CatchUp.ALL: "nothing was sent at the time, and it is past the start deadline"
    " or catch_up_limit",
    CatchUp.NONE: "nothing was sent at the time, and catch_up is none",
}


def _late_slots(
    task: Task, schedule: Schedule, first: datetime, now: datetime
) -> list[datetime]:
    """Return which slots of [first, now] are started late, oldest first.

    Those of the last minute whatever the task wants: the tick was late, no more.
    """
    recent = list(slots(schedule, max(first, now - LATE + _SECOND), now))
    definition = task.definition
    match definition.catch_up:
        case CatchUp.NONE:
            return recent
        case CatchUp.ONE:
            return recent or latest_slots(schedule, first, now, 1)
        case CatchUp.ALL:
            oldest = now - timedelta(seconds=definition.start_deadline_s)
            newest = latest_slots(
                schedule, max(first, oldest), now, definition.catch_up_limit
            )
            return max(recent, newest, key=len)


def _run(task: Task, slot: datetime, now: datetime) -> Run:
    return Run(
        run_id=slot_run_id(task.task_id, slot),
        task_id=task.task_id,
        trigger=Trigger.SCHEDULE,
        slot=slot,
        state=State.PENDING,
        reason=None,
        created_by=SCHEDULER,
        created_at=now,
        check_at=max(slot, now) + CHECK_AFTER,
        schedule_version=task.schedule_version,
        environment=task.definition.environment,
    )
