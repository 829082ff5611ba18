"""The gate: let a run begin, or end it with the reason why it may not."""

from __future__ import annotations

import secrets as tokens
from datetime import datetime

from cronhop.domain.gate import Refusal, refusal
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.targets import Pick, Targets
from cronhop.domain.task import Overlap, Task, TaskDefinition
from cronhop.errors import Invalid
from cronhop.services.choose import choose, within
from cronhop.services.overlap import Send, call_next, take_turn
from cronhop.services.parameters import bound
from cronhop.store import calendars, fleets, holds, runs, tasks

MOVED = "its task is in another environment by now"


def pass_gate(run: Run, now: datetime, send: Send) -> Refusal | None:
    """Let the run begin, or end it; return the refusal if this is what ended it.

    1. the task is there and enabled, the slot still one of its schedule and
       not held back, the start deadline not over
    2. no other run of the task is under way, where that matters; else it waits
       in its row, with the reason
    3. there is a server to run on
    4. one conditional write fixes the version and the targets; who loses it
       goes on from the row. The values of its parameters fit that version.
       Several targets are put on record before, under a name of their own, which
       that write makes the run's
    """
    task = tasks.get(run.task_id)
    refused = _refusal(run, task, now)
    if task is not None and refused is None:
        refused = _let_through(run, task, now, send)
    if refused is None:
        return None
    ended = runs.refuse(run.run_id, state=refused.state, reason=refused.reason, now=now)
    return refused if ended else None


def _let_through(run: Run, task: Task, now: datetime, send: Send) -> Refusal | None:
    """Let the run begin, unless it has nowhere to run or would overlap another."""
    answer = take_turn(run, task, now, send)
    if isinstance(answer, Refusal):
        return answer
    if answer:
        if run.reason != answer.reason:
            runs.note(run.run_id, answer.reason)
        return None
    targets = _bound_targets(run, task)
    if isinstance(targets, Refusal):
        if task.definition.overlap is not Overlap.ALLOW:
            call_next(run, tasks.release(task.task_id, run.run_id), send)
        return targets
    fleet = tokens.token_hex(8) if len(targets) > 1 else None
    if fleet:
        fleets.freeze(run.run_id, fleet, targets, now=now)
    runs.begin(
        run.run_id,
        task_version=run.task_version or task.version,
        targets=targets,
        now=now,
        fleet=fleet,
        environment=task.definition.environment,
    )
    is_next = not (run.retry_of or run.has_own_targets)
    if is_next and task.definition.targets.pick is Pick.ROUND_ROBIN:
        # Another executor may have let it through, to another server.
        present = runs.get(run.run_id)
        if present and present.targets:
            tasks.keep_target(task.task_id, present.targets[0])
    return None


def _refusal(run: Run, task: Task | None, now: datetime) -> Refusal | None:
    """Return why the run may not begin, with what speaks against its slot."""
    if task is None or run.trigger is not Trigger.SCHEDULE:
        return refusal(run, task, now)
    schedule = task.definition.schedule
    names = schedule.exclude_calendars if schedule else ()
    return refusal(
        run,
        task,
        now,
        freeze=holds.freeze(),
        calendars={name: calendars.get(name) for name in names},
    )


def _bound_targets(run: Run, task: Task) -> tuple[str, ...] | Refusal:
    """Return where the run is to be, if its values fit what it is to run."""
    definition: TaskDefinition | None = task.definition
    if run.task_version not in {None, task.version}:
        definition = tasks.get_version(run.task_id, run.task_version or 0)
    if definition is None:
        return Refusal(state=State.FAILED, reason="the task's version was deleted")
    try:
        return _targets(run, task, bound(run, definition))
    except Invalid as exc:
        return Refusal(state=State.FAILED, reason=str(exc))


def _targets(
    run: Run, task: Task, definition: TaskDefinition
) -> tuple[str, ...] | Refusal:
    """Return the ids of the servers that the run is to be on, or why there are none."""
    environment = task.definition.environment
    if run.retry_of:
        if run.environment != environment:
            return Refusal(state=State.FAILED, reason=MOVED)
        before = runs.get(run.retry_of)
        targets = tuple(fleets.not_completed(before)) if before else ()
        gone = Refusal(state=State.FAILED, reason="the run to retry is gone")
        return within(environment, targets) if targets else gone
    wanted = definition.targets
    if run.has_own_targets:
        wanted = fleets.wanted(run.run_id)
    if wanted.parameter is not None:
        wanted = Targets(server_ids=(definition.target_of(wanted),))
    return choose(wanted, after=task.last_target, environment=environment)
