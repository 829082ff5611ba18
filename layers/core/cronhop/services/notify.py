"""Whom to tell of a change: what the rules want goes into the queue of notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cronhop.aws.queue import Queue
from cronhop.domain.notification import (
    Occasion,
    Rule,
    notices,
    recovered,
)
from cronhop.domain.run import Run, State
from cronhop.observe import log
from cronhop.store import notifications, runs
from cronhop.store.page import walk

BEFORE = 20  # runs that are looked at for the last outcome of a task


class Notifier:
    """Sends what the rules want told."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def notify(self, changed: Mapping[str, Run]) -> list[str]:
        """Send the notices of runs that came into their state.

        Returns the keys of those of which the queue refused a notice.
        """
        if not changed:
            return []
        rules = list(walk(notifications.rules))
        wanted = [
            (notice, key)
            for key, run in changed.items()
            for notice in notices(rules, run, recovered=_has_recovered(run, rules))
        ]
        refused = self._queue.send([(notice, 0.0) for notice, _ in wanted])
        return [key for notice, key in wanted if notice in refused]


def _has_recovered(run: Run, rules: Sequence[Rule]) -> bool:
    """Return whether the run completed and the one before it had not.

    That one is looked for only if a rule wants to know. Where one cannot be read
    nobody knows: it would hold up the stream, for as long as it is there.
    """
    if run.state is not State.COMPLETED:
        return False
    if not any(Occasion.RECOVERY in one.on and one.is_about(run) for one in rules):
        return False
    try:
        before = runs.of_task(run.task_id, limit=BEFORE, after=run.run_id)
    except (KeyError, TypeError, ValueError):  # what a row says, not who keeps it
        log.exception("A row cannot be read", action="row_unreadable", run=run.run_id)
        return False
    return recovered(before.items)
