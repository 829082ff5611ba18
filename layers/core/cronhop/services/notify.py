"""Whom to tell of a change: what the rules want goes into the queue of notices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from cronhop.aws.queue import Queue
from cronhop.domain.notification import (
    Notice,
    Occasion,
    Rule,
    is_long,
    notices,
    recovered,
)
from cronhop.domain.run import Execution, Run, State
from cronhop.domain.tally import together
from cronhop.store import notifications, runs, stats
from cronhop.store.readable import passed_over

USUAL_DAYS = timedelta(days=28)  # whose runs say what is usual
BEFORE = 20  # runs that are looked at for the last outcome of a task


class Notifier:
    """Sends what the rules want told."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def notify(
        self, changed: Mapping[str, Run], running: Mapping[str, Execution]
    ) -> list[str]:
        """Send the notices of runs that came into their state, or take long.

        `running` are executions whose hosts have just said that they run. Returns
        the keys of those of which the queue refused a notice.
        """
        if not changed and not running:
            return []
        rules = notifications.readable_rules()
        wanted = [
            (notice, key)
            for key, run in changed.items()
            for notice in notices(rules, run, recovered=_has_recovered(run, rules))
        ]
        if any(Occasion.LONG in rule.on for rule in rules):
            wanted += _of_long_ones(running, rules)
        refused = self._queue.send([(notice, 0.0) for notice, _ in wanted])
        return [key for notice, key in wanted if notice in refused]


def _of_long_ones(
    running: Mapping[str, Execution], rules: Sequence[Rule]
) -> Iterator[tuple[Notice, str]]:
    """Yield what is to be told of runs that take longer than is usual for their task.

    A run on one server is as old as its command, as its duration is counted; one on
    several as old as itself.
    """
    found = runs.of_ids({one.run_id for one in running.values()})
    for key, execution in running.items():
        run = found.get(execution.run_id)
        wanted = [] if run is None else notices(rules, run, occasion=Occasion.LONG)
        if run is None or not wanted or execution.seen_at is None:
            continue
        began = run.started_at if run.fleet else execution.started_at
        if began is None:
            continue
        today = execution.seen_at.date()
        days = stats.of_task(run.task_id, today - USUAL_DAYS, today)
        if is_long(execution.seen_at - began, together(days.values()).usual):
            yield from ((notice, key) for notice in wanted)


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
    except (
        KeyError,
        TypeError,
        ValueError,
    ) as exc:  # what a row says, not who keeps it
        passed_over(run.run_id, exc)
        return False
    return recovered(before.items)
