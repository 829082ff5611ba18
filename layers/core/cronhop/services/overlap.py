"""Overlap: what becomes of a run while an earlier one of its task is under way.

The task's row says which run holds it, and which wait. A run that has ended holds
nothing and waits for nothing, whatever the row says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cronhop.domain.gate import Refusal
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.task import Overlap, Task
from cronhop.errors import Conflict
from cronhop.store import runs, tasks

MAX_WAITING = 200  # with those of two backfills
HOLD_TRIES = 5  # to be the run that others may not overlap

Send = Callable[[Message], object]


@dataclass(frozen=True, kw_only=True)
class Wait:
    """That a run may not begin yet, and why: who ends the other one calls it."""

    reason: str


def take_turn(run: Run, task: Task, now: datetime, send: Send) -> Refusal | Wait | None:
    """Let the run hold its task; else return that it waits, or is to be skipped."""
    policy = task.definition.overlap
    if policy is Overlap.ALLOW:
        return None
    if run.trigger is Trigger.BACKFILL:
        policy = Overlap.QUEUE  # they come together, and none is to be left out
    for _ in range(HOLD_TRIES):
        waiting = _living(task)
        if policy is Overlap.REPLACE:
            answer = _replace(run, task, waiting, now, send)
        else:
            answer = _give_way(run, task, waiting, policy)
        if answer:
            return answer
        if tasks.hold(task.task_id, run.run_id, instead_of=task.active_run):
            return None
        # Another one took it since the task was read.
        task = tasks.get(task.task_id) or task
    raise Conflict("other runs of this task come and go; the check comes back")


def call_next(run: Run, waiting: list[str], send: Send) -> None:
    """Have the oldest of the runs begin that have waited for this one."""
    for run_id in waiting:
        other = runs.get(run_id)
        if other and other.state is State.PENDING:
            send(Message(kind=MessageKind.START, run_id=run_id, group=run.task_id))
            return


def _give_way(
    run: Run, task: Task, waiting: list[str], policy: Overlap
) -> Refusal | Wait | None:
    """Return what becomes of a run that others are ahead of, None if none is."""
    ahead = _holder(run, task)
    if policy is Overlap.SKIP:
        return _skipped(f"run {ahead} of this task is not over") if ahead else None
    older = [one for one in waiting if one < run.run_id]
    # Who holds the task has had its turn, whoever has come to wait since.
    if task.active_run == run.run_id or (ahead is None and not older):
        return None
    limit = task.definition.overlap_limit
    if run.trigger is Trigger.BACKFILL:
        limit = MAX_WAITING
    if not tasks.wait(task.task_id, run.run_id, limit=limit):
        return _skipped(f"{limit} of its runs wait already")
    return Wait(reason=f"waits for run {ahead or older[0]} of this task")


def _replace(
    run: Run, task: Task, waiting: list[str], now: datetime, send: Send
) -> Refusal | Wait | None:
    """Let the run under way be cancelled for this one; None if there is none.

    The newest one counts: older ones that wait are skipped, or this one is.
    """
    holder = _holder(run, task)
    newer = max([*waiting, holder or "", run.run_id])
    if newer != run.run_id:
        return _skipped(f"run {newer} of this task is newer")
    for older in waiting:
        if older != run.run_id:
            reason = f"overlap: run {run.run_id} of this task is newer"
            runs.refuse(older, state=State.SKIPPED, reason=reason, now=now)
    if holder is None:
        return None
    tasks.wait(task.task_id, run.run_id, limit=len(waiting) + 2)
    by = f"run {run.run_id}"
    # One that took the task, and has not begun, never does.
    early = f"cancelled by {by} before it began"
    if runs.ask_cancel(holder, by=by, now=now):
        send(Message(kind=MessageKind.CANCEL, run_id=holder, group=run.task_id))
    elif runs.refuse(holder, state=State.CANCELLED, reason=early, now=now):
        return None
    return Wait(reason=f"replaces run {holder} of this task when that has ended")


def _holder(run: Run, task: Task) -> str | None:
    """Return the other run that holds the task, None if none is under way."""
    holder = task.active_run
    other = runs.get(holder) if holder and holder != run.run_id else None
    return holder if other and not other.state.is_terminal else None


def _living(task: Task) -> list[str]:
    """Return the runs that wait, oldest first, and forget those that do no more."""
    found = runs.get_many(task.waiting) if task.waiting else {}
    living = [
        one for one in task.waiting if one in found and not found[one].state.is_terminal
    ]
    dead = set(task.waiting) - set(living)
    if dead:
        tasks.forget(task.task_id, dead)
    return living


def _skipped(why: str) -> Refusal:
    return Refusal(state=State.SKIPPED, reason=f"overlap: {why}")
