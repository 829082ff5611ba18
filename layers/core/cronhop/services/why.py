"""Why: what became of an instant of a task's schedule, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.gate import calendar_reason, hold_reason
from cronhop.domain.ids import is_id, last_id, slot_run_id
from cronhop.domain.run import Run, State
from cronhop.domain.schedule import Schedule, is_slot, latest_slot, next_slot
from cronhop.domain.task import Task
from cronhop.errors import Invalid, NotFound
from cronhop.store import calendars, holds, runs, tasks

LOOKED_AT = 50  # runs before the instant, of which one may stand for a range
FAR_BACK = timedelta(days=366)  # where the slot before is looked for

_SECOND = timedelta(seconds=1)


class Verdict(StrEnum):
    """What became of an instant."""

    FIRED = "fired"  #: it was a slot, and its run was let through
    WAITING = "waiting"  #: its run is on record and has not begun
    SKIPPED = "skipped"  #: its run was not started, for a reason
    MISSED = "missed"  #: its run came too late, or nothing was sent at the time
    PARKED = "parked"  #: the schedule is not possible any more
    NOT_DUE = "not_due"  #: it is no slot
    UPCOMING = "upcoming"  #: it is a slot to come
    UNKNOWN = "unknown"  #: it is a slot of which nothing is on record


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of an instant.

    | field         | meaning                                              |
    |---------------|------------------------------------------------------|
    | because       | in words                                             |
    | run           | the row that says so, None if there is none          |
    | before, after | the slots around the instant by the present schedule |
    """

    at: datetime
    verdict: Verdict
    because: str
    run: Run | None = None
    before: datetime | None = None
    after: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Why:
    """What people ask of the past and the future of a task."""

    def why(
        self, task_id: str, at: datetime, *, now: datetime, scope: Scope = EVERYWHERE
    ) -> Answer:
        """Return what became of this instant, or will.

        The ledger is asked first: what happened counts, not what the present
        schedule would have done. Bounded work. A run outside the scope, of a time
        when the task was elsewhere, is as if it were not there. Raises NotFound.
        """
        task = tasks.get(task_id) if is_id(task_id) else None
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        at = at.replace(microsecond=0)
        run = _run_of(task, at)
        if run and not scope.admits(run.environment):
            run = None
        verdict, because = _of_run(run) if run else _of_schedule(task, at, now)
        before, after = _around(task, at)
        return Answer(
            at=at, verdict=verdict, because=because, run=run, before=before, after=after
        )


def _run_of(task: Task, at: datetime) -> Run | None:
    """Return the row of a slot, its own or that of a range it is in."""
    run = runs.get(slot_run_id(task.task_id, at))
    if run:
        return run
    is_one = task.schedule is not None and is_slot(task.schedule, at)
    before = runs.of_task(task.task_id, limit=LOOKED_AT, after=last_id(at)).items
    return next(
        (
            run
            for run in before
            if run.slot
            and run.missed_to
            and run.slot <= at <= run.missed_to
            # What was a slot of an earlier schedule is not known any more.
            and (is_one or run.schedule_version != task.schedule_version)
        ),
        None,
    )


def _of_run(run: Run) -> tuple[Verdict, str]:
    reason = run.reason or "no reason is on record"
    match run.state:
        case State.PENDING:
            then = f": {run.reason}" if run.reason else ""
            return Verdict.WAITING, f"its run is on record and has not begun{then}"
        case State.SKIPPED:
            return Verdict.SKIPPED, reason
        case State.MISSED:
            return Verdict.MISSED, reason
        case _:
            then = f": {run.reason}" if run.reason else ""
            return Verdict.FIRED, f"it was due; its run is {run.state.value}{then}"


def _of_schedule(task: Task, at: datetime, now: datetime) -> tuple[Verdict, str]:
    """Return what the schedule says of an instant that has no row."""
    if task.schedule is None:
        return Verdict.NOT_DUE, "the task has no schedule; it runs by hand only"
    if task.invalid:
        return Verdict.PARKED, task.invalid
    try:
        is_due = is_slot(task.schedule, at)
    except Invalid as exc:
        return Verdict.PARKED, str(exc)
    if at <= task.created_at:
        return Verdict.NOT_DUE, "the task was made later"
    if not is_due:
        return Verdict.NOT_DUE, "it is no slot of the schedule"
    if not task.definition.enabled:
        return Verdict.SKIPPED, "the task is disabled"
    if at > now:
        return Verdict.UPCOMING, _expected(task, task.schedule, at)
    if task.next_run and task.next_run <= at:
        return Verdict.WAITING, "the tick has not come to it yet"
    if at <= task.updated_at:
        then = "the task was changed since, and may not have had this slot then"
        return Verdict.UNKNOWN, f"nothing is on record: {then}"
    return Verdict.UNKNOWN, "nothing is on record: rows are kept for the retention only"


def _expected(task: Task, schedule: Schedule, at: datetime) -> str:
    """Return in words what a slot to come has to expect, as things are now."""
    held = hold_reason(task, at, at, holds.freeze())
    named = {name: calendars.get(name) for name in schedule.exclude_calendars}
    reason = held or calendar_reason(task, at, named)
    return f"it will be skipped: {reason}" if reason else "it is a slot to come"


def _around(task: Task, at: datetime) -> tuple[datetime | None, datetime | None]:
    if task.schedule is None:
        return None, None
    try:
        return (
            latest_slot(task.schedule, at - FAR_BACK, at - _SECOND),
            next_slot(task.schedule, at),
        )
    except Invalid:
        return None, None
