"""What follows from a change of the ledger: it is told, and ends are counted.

The tables' streams keep every change for a day and hand it over at least once, in
the order of its row. So no executor has to say anything, and none can die
before it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cronhop.aws.bus import Bus
from cronhop.domain.event import Event, of_execution, of_run
from cronhop.domain.run import Execution, Run, State
from cronhop.observe import log
from cronhop.services.count import count
from cronhop.services.notify import Notifier
from cronhop.store import changes, tasks
from cronhop.store.changes import Change
from cronhop.store.readable import passed_over


class Changes:
    """Tells a bus of every change of a state, channels what rules want; counts ends."""

    def __init__(self, bus: Bus, notifier: Notifier) -> None:
        self._bus = bus
        self._notifier = notifier

    def follow(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Put the events of a stream's records on the bus, notices in the queue.

        Ends are counted. Returns the sequence numbers of the records of which
        something was refused: the stream hands them over again, and what comes
        after the first of them.
        """
        every = list(_changes(records))
        found = [(number, one) for number, one in every if one.is_of_state]
        runs = {
            number: one.after for number, one in found if isinstance(one.after, Run)
        }
        names = _names(runs.values())
        numbers = {}
        events = []
        for number, change in found:
            event = _event(change, names)
            numbers[event.event_id] = number
            events.append(event)
        refused = {numbers[event.event_id] for event in self._bus.put(events)}
        running = {
            number: one.after
            for number, one in every
            if isinstance(one.after, Execution) and one.after.state is State.RUNNING
        }
        refused.update(self._notifier.notify(runs, running))
        if refused:
            log.error(
                "Changes were not told", action="changes_refused", count=len(refused)
            )
        if not count([change for _, change in found]):
            refused.update(number for number, change in found if change.is_end)
        return sorted(refused, key=int)


def _changes(
    records: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, Change[Run] | Change[Execution]]]:
    """Yield what has changed in the ledger, with the sequence numbers of the records."""
    for record in records:
        try:
            change = changes.read(record)
        except Exception as exc:  # noqa: BLE001  one bad row never holds up all the others
            passed_over(record.get("dynamodb", {}).get("Keys"), exc)
            continue
        if change:
            yield record["dynamodb"]["SequenceNumber"], change


def _names(changed: Iterable[Run]) -> Mapping[str, str]:
    """Return the names of the runs' tasks, by id; those that are gone have none."""
    ids = sorted({run.task_id for run in changed})
    names = {}
    for task_id, task in tasks.get_many(ids).items():
        if isinstance(task, Exception):
            passed_over(task_id, task)
        else:
            names[task_id] = task.definition.name
    return names


def _event(change: Change[Run] | Change[Execution], names: Mapping[str, str]) -> Event:
    if isinstance(change.after, Run):
        return of_run(
            change.before,
            change.after,
            task_name=names.get(change.after.task_id),
            seen_at=change.seen_at,
        )
    return of_execution(change.before, change.after, seen_at=change.seen_at)
