"""The end of a run."""

from __future__ import annotations

from datetime import datetime

from cronhop.aws.queue import Queue
from cronhop.domain.run import Run, State
from cronhop.domain.task import Overlap, TaskDefinition
from cronhop.observe import log
from cronhop.services.overlap import call_next
from cronhop.store import runs, tasks


def end_run(
    run: Run,
    definition: TaskDefinition | None,
    state: State,
    reason: str | None,
    now: datetime,
    queue: Queue,
) -> Run | None:
    """Ensure that the run has ended, and that its task is free for the next one.

    Returns the run if this is what ended it.
    """
    ended = runs.end(run.run_id, state=state, reason=reason, now=now)
    if ended:
        tell(ended)
    # A retry passed the gate by the task's present overlap, not by its version's.
    may_hold = definition is None or definition.overlap is not Overlap.ALLOW
    if may_hold or run.retry_of:
        waiting = tasks.release(run.task_id, run.run_id)
        call_next(run, waiting, lambda message: queue.send([(message, 0)]))
    return ended


def tell(run: Run) -> None:
    """Log how the run ended."""
    log.info(
        "The run ended",
        action="run_ended",
        run_id=run.run_id,
        task_id=run.task_id,
        state=run.state.value,
        why=run.reason,
    )
