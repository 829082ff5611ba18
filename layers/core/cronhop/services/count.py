"""Statistics are kept: every end of the ledger is counted, once.

1. the ends among changes, with the execution of each run on one server
2. one transaction: that these ends are counted, and what they add
3. which tasks were never completed

Whoever dies in between leaves it to the stream, which hands the changes over again:
what was counted in 2 says so and adds nothing, and 3 can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cronhop.domain import tally
from cronhop.domain.run import Execution, Run
from cronhop.domain.tally import Tally
from cronhop.observe import log
from cronhop.store import executions, stats
from cronhop.store.changes import Change

AnyChange = Change[Run] | Change[Execution]


def count(changed: Sequence[AnyChange]) -> bool:
    """Count the ends among these changes; False if that is to be repeated."""
    ends = [change for change in changed if change.is_end]
    try:
        alone = _alone(change.after for change in ends if isinstance(change.after, Run))
        tallies = [one for change in ends if (one := _tally(change, alone))]
        stats.count(tallies)
        stats.judge(tallies)
    except Exception:  # noqa: BLE001  what was told of the changes stays told
        log.exception("Ends were not counted", action="ends_uncounted", count=len(ends))
        return False
    return True


def _alone(ended: Iterable[Run]) -> Mapping[str, Execution]:
    """Return the executions of runs on one server, by run.

    They have ended by then: the end of such a run is written after its execution's.
    """
    keys = [(run.run_id, server_id) for run in ended for server_id in run.targets]
    return {one.run_id: one for one in executions.of_keys(keys)}


def _tally(change: AnyChange, alone: Mapping[str, Execution]) -> Tally | None:
    """Return what the end is counted for, None of what its run is counted with."""
    ended = change.after
    if isinstance(ended, Run):
        execution = alone.get(ended.run_id)
        return tally.of_run(ended, execution, seen_at=change.seen_at)
    if ended.position is None:
        return None
    return tally.of_execution(ended, seen_at=change.seen_at)
