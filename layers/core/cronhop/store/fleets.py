"""Runs on several servers: which they are, and how far the run has come.

The ids are written once, before the run passes its gate, in items of a hundred
under a name of their own: of two executors that come to the gate at once the
run's row takes the list of one, and the other's is nobody's. What changes is one
small item beside them, or each outcome would write all the ids anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cronhop.domain.rollout import Progress
from cronhop.domain.run import Run, State
from cronhop.domain.targets import Targets
from cronhop.store.connection import update
from cronhop.store.runs import RunRow, item_ttl

PAGE = 100  # ids in an item: under 4 KB, one unit to read

_ENDED = {
    State.COMPLETED: RunRow.completed,
    State.FAILED: RunRow.failed,
    State.TIMEOUT: RunRow.timeout,
    State.CANCELLED: RunRow.cancelled,
    State.SKIPPED: RunRow.skipped,
    State.MISSED: RunRow.missed,
    State.LOST: RunRow.lost,
}


def freeze(
    run_id: str, fleet: str, server_ids: Sequence[str], *, now: datetime
) -> None:
    """Put the ids of a run's servers on record, under the name `fleet`."""
    for start in range(0, len(server_ids), PAGE):
        _page(run_id, fleet, start // PAGE).update(
            actions=[
                RunRow.targets.set(list(server_ids[start : start + PAGE])),
                RunRow.ttl.set(item_ttl(now)),
            ]
        )


def targets(run: Run, start: int, end: int) -> list[str]:
    """Return the ids of the run's servers from position `start` to `end`, exclusive."""
    if run.fleet is None:
        return list(run.targets[start:end])
    end = min(end, run.target_count)
    found: list[str] = []
    for number in range(start // PAGE, -(-end // PAGE)):
        row = _page(run.run_id, run.fleet, number)
        row.refresh(consistent_read=True)
        found += row.targets
    skipped = start - start % PAGE
    return found[start - skipped : end - skipped]


def want(run_id: str, wanted: Targets, *, now: datetime) -> None:
    """Put on record which targets a run is to have, instead of its task's."""
    _wanted_row(run_id).update(
        actions=[RunRow.wanted.set(wanted.to_dict()), RunRow.ttl.set(item_ttl(now))]
    )


def wanted(run_id: str) -> Targets:
    """Return the targets that a run is to have instead of its task's."""
    row = _wanted_row(run_id)
    row.refresh(consistent_read=True)
    return Targets.from_dict(row.wanted)


def not_completed(run: Run) -> list[str]:
    """Return the ids of the run's servers on which it did not complete."""
    server_ids = targets(run, 0, run.target_count)
    if run.fleet is None:
        return [] if run.state is State.COMPLETED else server_ids
    completed = progress(run).ended.get(State.COMPLETED, frozenset())
    return [one for number, one in enumerate(server_ids) if number not in completed]


def progress(run: Run) -> Progress:
    """Return how far the run has come, as of now."""
    row = _progress_row(run)
    try:
        row.refresh(consistent_read=True)
    except RunRow.DoesNotExist:
        return Progress(total=run.target_count)
    return _progress(run, row)


def end_target(run: Run, position: int, state: State, *, now: datetime) -> Progress:
    """Record how a target ended, and return how far the run has come.

    Repeating it adds nothing: an outcome is final.
    """
    row = _progress_row(run)
    row.update(actions=[_ENDED[state].add({position}), RunRow.ttl.set(item_ttl(now))])
    return _progress(run, row)


def move(run: Run, *, old: int, new: int, sender: str, now: datetime) -> bool:
    """Move the cursor; False if it is no longer at `old`, or the run was stopped."""
    at_old = RunRow.sent == old if old else RunRow.sent.does_not_exist()
    return update(
        _progress_row(run),
        actions=[
            RunRow.sent.set(new),
            RunRow.sender.set(sender),
            RunRow.ttl.set(item_ttl(now)),
        ],
        condition=at_old & RunRow.stopped.does_not_exist(),
    )


def stop(run: Run, reason: str, *, now: datetime) -> bool:
    """Ensure that no further target is started; False if that is so already."""
    return update(
        _progress_row(run),
        actions=[RunRow.stopped.set(reason), RunRow.ttl.set(item_ttl(now))],
        condition=RunRow.stopped.does_not_exist(),
    )


def _page(run_id: str, fleet: str, number: int) -> RunRow:
    return RunRow(run_id=f"{run_id}#{fleet}#{number}")


def _wanted_row(run_id: str) -> RunRow:
    return RunRow(run_id=f"{run_id}#wanted")


def _progress_row(run: Run) -> RunRow:
    return RunRow(run_id=f"{run.run_id}#progress")


def _progress(run: Run, row: RunRow) -> Progress:
    return Progress(
        total=run.target_count,
        sent=int(row.sent or 0),
        stopped=row.stopped,
        sender=row.sender,
        ended={
            state: frozenset(int(one) for one in getattr(row, attribute.attr_name))
            for state, attribute in _ENDED.items()
            if getattr(row, attribute.attr_name)
        },
    )
