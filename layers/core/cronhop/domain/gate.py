"""The gate: whether a run that is due may begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronhop.domain.calendar import Calendar, slot_date
from cronhop.domain.hold import Hold
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.schedule import is_slot
from cronhop.domain.task import Task


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a run ends at its gate: a terminal state, and the reason in words."""

    state: State
    reason: str


def refusal(
    run: Run,
    task: Task | None,
    now: datetime,
    *,
    freeze: Hold | None = None,
    calendars: Mapping[str, Calendar | None] | None = None,
) -> Refusal | None:
    """Return why the run may not begin at `now`, None if it may.

    `calendars` are those that the task's schedule names, None for one that is
    not there. Whether another run of the task is under way is not asked here.
    """
    if task is None:
        return Refusal(state=State.SKIPPED, reason="the task was deleted")
    if run.trigger is Trigger.SCHEDULE:
        reason = _schedule_reason(run, task, now, freeze, calendars or {})
        if reason:
            return Refusal(state=State.SKIPPED, reason=reason)
    deadline_s = task.definition.start_deadline_s
    if run.due + timedelta(seconds=deadline_s) < now:
        return Refusal(
            state=State.MISSED,
            reason=f"later than its start deadline of {deadline_s} s",
        )
    return None


def hold_reason(
    task: Task, first: datetime, last: datetime, freeze: Hold | None
) -> str | None:
    """Return what holds back every slot from `first` to `last`, None if nothing."""
    if freeze and freeze.covers(first) and freeze.covers(last):
        return f"the stack is frozen {freeze}"
    if task.pause and task.pause.covers(first) and task.pause.covers(last):
        return f"the task is paused {task.pause}"
    return None


def calendar_reason(
    task: Task, slot: datetime, calendars: Mapping[str, Calendar | None]
) -> str | None:
    """Return which calendar excludes the slot, None if none does."""
    schedule = task.schedule
    if schedule is None:
        return None
    for name in schedule.exclude_calendars:
        calendar = calendars.get(name)
        if calendar is None:
            # Whether the date is one that must not be, nobody can tell.
            return f"calendar {name} is not there"
        day = slot_date(schedule, slot)
        if day in calendar.dates:
            return f"calendar {name} excludes {day}"
    return None


def _schedule_reason(
    run: Run,
    task: Task,
    now: datetime,
    freeze: Hold | None,
    calendars: Mapping[str, Calendar | None],
) -> str | None:
    """Return why the slot is not started, None if nothing speaks against it."""
    if not task.definition.enabled:
        return "the task was disabled"
    if not _is_slot(run, task):
        return "superseded: the schedule was changed and has no such slot"
    # A slot that comes late to its gate was meant for its own time, and would
    # start now: it is held back if either falls into the hold.
    for instant in (run.due, now):
        held = hold_reason(task, instant, instant, freeze)
        if held:
            return held
    return calendar_reason(task, run.due, calendars)


def _is_slot(run: Run, task: Task) -> bool:
    if run.schedule_version == task.schedule_version:
        return True
    if task.schedule is None or run.slot is None:
        return False
    return is_slot(task.schedule, run.slot)
