"""What is to come for the whole fleet: slots in order, and the load they make."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.calendar import Calendar
from cronhop.domain.gate import calendar_reason, hold_reason
from cronhop.domain.hold import Hold
from cronhop.domain.schedule import slots
from cronhop.domain.task import Task
from cronhop.errors import Invalid
from cronhop.store import calendars, holds, tasks

MAX_TASKS = 500  # looked at of those in the scope: the ones that are due first
MAX_READ = 5000  # to find them
READ = 100  # at once
MAX_SLOTS = 1000  # shown


@dataclass(frozen=True, kw_only=True)
class ComingSlot:
    """A slot to come; `held_back` says in words why it will not start, None: it will."""

    at: datetime
    task_id: str
    name: str
    held_back: str | None


@dataclass(frozen=True, kw_only=True)
class Coming:
    """The slots of a window.

    | field       | meaning                                                       |
    |-------------|---------------------------------------------------------------|
    | slots       | in order of time                                              |
    | load        | (minute, how many start in it), those in which any do         |
    | is_complete | False: there are more slots, or may be, than are shown        |
    """

    slots: tuple[ComingSlot, ...]
    load: tuple[tuple[datetime, int], ...]
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """What people ask of the coming hours; `shards` as in the dispatcher."""

    shards: int

    def upcoming(
        self, after: datetime, until: datetime, *, scope: Scope = EVERYWHERE
    ) -> Coming:
        """Return the slots in (after, until] of all tasks in the scope.

        `after` is not before now: what is past is in the ledger. Bounded work:
        the tasks that are due first, and their slots as far as they are shown.
        """
        by_id, are_all = self._tasks(until, scope)
        merged = heapq.merge(*(_slots(task, after, until) for task in by_id.values()))
        shown = list(itertools.islice(merged, MAX_SLOTS + 1))
        freeze = holds.freeze()
        named = _calendars(by_id.values())
        coming = tuple(
            ComingSlot(
                at=slot,
                task_id=task_id,
                name=by_id[task_id].definition.name,
                held_back=_held_back(by_id[task_id], slot, freeze, named),
            )
            for slot, task_id in shown[:MAX_SLOTS]
        )
        load = Counter(
            one.at.replace(second=0) for one in coming if one.held_back is None
        )
        return Coming(
            slots=coming,
            load=tuple(sorted(load.items())),
            is_complete=are_all and len(shown) <= MAX_SLOTS,
        )

    def _tasks(self, until: datetime, scope: Scope) -> tuple[Mapping[str, Task], bool]:
        """Return the tasks in the scope that are due first, and whether these are all.

        Tasks of other environments leave room for those that are wanted, as far as
        so many are read. What cannot be read has no slots that could be told.
        """
        due = heapq.merge(*(tasks.due(one, until) for one in range(self.shards)))
        found: dict[str, Task] = {}
        for _ in range(0, MAX_READ, READ):
            ids = [task_id for _, task_id in itertools.islice(due, READ)]
            if not ids:
                return found, True
            read = tasks.get_many(set(ids))
            for task_id in ids:
                task = read.get(task_id)
                if not isinstance(task, Task) or task_id in found:
                    continue
                if not scope.admits(task.definition.environment):
                    continue
                if len(found) == MAX_TASKS:
                    return found, False
                found[task_id] = task
        return found, next(due, None) is None


def _slots(
    task: Task, after: datetime, until: datetime
) -> Iterator[tuple[datetime, str]]:
    """Yield (slot, task id) of a task, none of one whose schedule is not possible."""
    if task.schedule is None or not task.definition.enabled:
        return
    try:
        for slot in slots(task.schedule, after, until, limit=MAX_SLOTS + 1):
            if slot > after:
                yield slot, task.task_id
    except Invalid:
        return


def _calendars(known: Iterable[Task]) -> dict[str, Calendar | None]:
    names = {
        name
        for task in known
        if task.schedule
        for name in task.schedule.exclude_calendars
    }
    return {name: calendars.get(name) for name in sorted(names)}


def _held_back(
    task: Task,
    slot: datetime,
    freeze: Hold | None,
    named: dict[str, Calendar | None],
) -> str | None:
    return hold_reason(task, slot, slot, freeze) or calendar_reason(task, slot, named)
