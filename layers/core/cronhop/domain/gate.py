"""The gate: whether a run that is due may begin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.schedule import is_slot
from cronhop.domain.task import Task


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a run ends at its gate: a terminal state, and the reason in words."""

    state: State
    reason: str


def refusal(run: Run, task: Task | None, now: datetime) -> Refusal | None:
    """Return why the run may not begin at `now`, None if it may.

    Whether another run of the task is under way is not asked here.
    """
    if task is None:
        return Refusal(state=State.SKIPPED, reason="the task was deleted")
    if run.trigger is Trigger.SCHEDULE:
        if not task.definition.enabled:
            return Refusal(state=State.SKIPPED, reason="the task was disabled")
        if not _is_slot(run, task):
            return Refusal(
                state=State.SKIPPED,
                reason="superseded: the schedule was changed and has no such slot",
            )
    deadline_s = task.definition.start_deadline_s
    if run.due + timedelta(seconds=deadline_s) < now:
        return Refusal(
            state=State.MISSED,
            reason=f"later than its start deadline of {deadline_s} s",
        )
    return None


def _is_slot(run: Run, task: Task) -> bool:
    if run.schedule_version == task.schedule_version:
        return True
    if task.schedule is None or run.slot is None:
        return False
    return is_slot(task.schedule, run.slot)
