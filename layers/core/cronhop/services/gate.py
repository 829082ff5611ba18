"""The gate: let a run begin, or end it with the reason why it may not."""

from __future__ import annotations

import secrets as tokens
from dataclasses import dataclass
from datetime import datetime

from cronhop.domain.gate import Refusal, refusal
from cronhop.domain.hold import Hold
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.targets import Pick, Targets
from cronhop.domain.task import Overlap, Task, TaskDefinition
from cronhop.errors import Invalid
from cronhop.services.choose import choose, within
from cronhop.services.end import tell
from cronhop.services.overlap import Send, call_next, take_turn
from cronhop.services.parameters import bound
from cronhop.store import calendars, fleets, holds, runs, tasks

MOVED = "its task is in another environment by now"


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What became of a run at its gate.

    | field   | meaning                                                       |
    |---------|---------------------------------------------------------------|
    | run     | as it is now                                                  |
    | version | of its task that it runs, None if this gate did not fix it    |
    """

    run: Run
    version: TaskDefinition | None = None


def pass_gate(run: Run, now: datetime, send: Send) -> Passage:
    """Let the run begin, let it wait or end it; return what became of it.

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
    task, freeze = holds.task_and_freeze(run.task_id)
    answer: Passage | Refusal | None = _refusal(run, task, freeze, now)
    if task is not None and answer is None:
        answer = _let_through(run, task, now, send)
    if isinstance(answer, Passage):
        return answer
    ended = None
    if answer:
        state, reason = answer.state, answer.reason
        ended = runs.refuse(run.run_id, state=state, reason=reason, now=now)
        if ended:
            tell(ended)
    return Passage(run=ended or runs.get(run.run_id) or run)


def _let_through(
    run: Run, task: Task, now: datetime, send: Send
) -> Passage | Refusal | None:
    """Let the run begin, unless it has nowhere to run or would overlap another.

    None if it waits for that one.
    """
    answer = take_turn(run, task, now, send)
    if isinstance(answer, Refusal):
        return answer
    if answer:
        if run.reason != answer.reason:
            runs.note(run.run_id, answer.reason)
        return None
    version = _version(run, task)
    targets = _bound_targets(run, task, version)
    if isinstance(targets, Refusal):
        if task.definition.overlap is not Overlap.ALLOW:
            call_next(run, tasks.release(task.task_id, run.run_id), send)
        return targets
    fleet = tokens.token_hex(8) if len(targets) > 1 else None
    if fleet:
        fleets.freeze(run.run_id, fleet, targets, now=now)
    begun = runs.begin(
        run.run_id,
        task_version=run.task_version or task.version,
        targets=targets,
        now=now,
        fleet=fleet,
        environment=task.definition.environment,
    )
    # Another executor may have let it through: another version, to other servers.
    present = begun or runs.get(run.run_id) or run
    is_next = not (run.retry_of or run.has_own_targets)
    if is_next and task.definition.targets.pick is Pick.ROUND_ROBIN and present.targets:
        tasks.keep_target(task.task_id, present.targets[0])
    return Passage(run=present, version=version if begun else None)


def _refusal(
    run: Run, task: Task | None, freeze: Hold | None, now: datetime
) -> Refusal | None:
    """Return why the run may not begin, with what speaks against its slot."""
    if task is None or run.trigger is not Trigger.SCHEDULE:
        return refusal(run, task, now)
    schedule = task.definition.schedule
    names = schedule.exclude_calendars if schedule else ()
    named = {name: calendars.get(name) for name in names}
    return refusal(run, task, now, freeze=freeze, calendars=named)


def _version(run: Run, task: Task) -> TaskDefinition | None:
    """Return what the run is to run, None if it is gone."""
    if run.task_version in {None, task.version}:
        return task.definition
    return tasks.get_version(run.task_id, run.task_version or 0)


def _bound_targets(
    run: Run, task: Task, version: TaskDefinition | None
) -> tuple[str, ...] | Refusal:
    """Return where the run is to be, if its values fit what it is to run."""
    if version is None:
        return Refusal(state=State.FAILED, reason="the task's version was deleted")
    try:
        return _targets(run, task, bound(run, version))
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
