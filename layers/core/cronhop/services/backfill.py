"""Backfill: slots of the past that did not run to their end, run now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cronhop.domain.ids import derived_id, id_time, is_id, new_id, slot_run_id
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.schedule import slots
from cronhop.domain.task import Overlap, Task
from cronhop.errors import Invalid, NotFound
from cronhop.services.dispatch import Dispatcher
from cronhop.services.overlap import MAX_WAITING
from cronhop.services.plan import new_run
from cronhop.store import runs, tasks

MAX_SLOTS = 100  # of one request
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class PastSlot:
    """A slot of the past.

    | field  | meaning                                                      |
    |--------|--------------------------------------------------------------|
    | before | its run at the time, None if there is none of its own        |
    | run    | the run that was made for it now, None if none was           |
    """

    at: datetime
    before: Run | None
    run: Run | None = None


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """Runs what should have been run."""

    dispatcher: Dispatcher

    def backfill(
        self,
        task_id: str,
        start: datetime,
        end: datetime,
        *,
        by: str,
        now: datetime,
        dry_run: bool,
        again: bool = False,
        made_id: str | None = None,
    ) -> list[PastSlot]:
        """Run the slots in [start, end] by the present schedule, oldest first.

        Those that are completed, or not over yet, are left out but for `again`.
        Each gets a run of its own, which waits for the ones before it where the
        task's runs may not overlap. With `dry_run` nothing is made; with a `made_id`
        each is made once, however often this is repeated: what was made is all of it
        if the task is gone by then, or has other slots. Raises NotFound; Invalid if
        that is not the past, there is no slot, or too many.
        """
        made = _made(made_id) if made_id and not dry_run else {}
        try:
            task = _task(task_id)
            found = _slots(task, start, end, now)
        except (NotFound, Invalid):
            if made:
                return self._sent(_past_slots(made.values()))
            raise
        if any(
            found[number : number + 1] != [one.slot] for number, one in made.items()
        ):
            return self._sent(_past_slots(made.values()))
        ids = {slot: slot_run_id(task_id, slot) for slot in found}
        known = runs.get_many(ids.values())
        chosen = [
            PastSlot(at=slot, before=known.get(run_id))
            for number, (slot, run_id) in enumerate(ids.items())
            if again or number in made or _is_wanted(known.get(run_id))
        ]
        if dry_run:
            return chosen
        first = made_id or new_id(now)
        asked = [
            replace(
                one,
                run=new_run(
                    task,
                    Trigger.BACKFILL,
                    by=by,
                    now=now,
                    run_id=_run_id(first, found.index(one.at)),
                    slot=one.at,
                ),
            )
            for one in chosen
        ]
        new = [one.run for one in asked if one.run]
        for run in new:
            runs.add(run)
        if new and task.definition.overlap is not Overlap.ALLOW:
            # Whichever message comes first: none begins before an older one.
            tasks.wait_all(task_id, [run.run_id for run in new], limit=MAX_WAITING)
        return self._sent(asked)

    def _sent(self, made: list[PastSlot]) -> list[PastSlot]:
        for one in made:
            if one.run and not one.run.state.is_terminal:
                self.dispatcher.send_run(one.run)
        return made


def _task(task_id: str) -> Task:
    task = tasks.get(task_id) if is_id(task_id) else None
    if task is None:
        raise NotFound(f"there is no task {task_id}")
    return task


def _made(made_id: str) -> Mapping[int, Run]:
    """Return the runs that a request has made by now, by the number of their slot."""
    ids = [_run_id(made_id, number) for number in range(MAX_SLOTS)]
    known = runs.get_many(ids)
    return {number: known[one] for number, one in enumerate(ids) if one in known}


def _past_slots(made: Iterable[Run]) -> list[PastSlot]:
    """Return what runs of a backfill are for."""
    slot_of = [
        (slot_run_id(run.task_id, run.slot), run.slot, run) for run in made if run.slot
    ]
    known = runs.get_many(own for own, *_ in slot_of)
    return [
        PastSlot(at=slot, before=known.get(own), run=run) for own, slot, run in slot_of
    ]


def _run_id(first: str, number: int) -> str:
    """Return the id of a slot's run: in the order of the slots, as often as asked."""
    return derived_id(id_time(first) + number * _MILLISECOND, first)


def _slots(task: Task, start: datetime, end: datetime, now: datetime) -> list[datetime]:
    """Return the slots of a window of the past. Raises Invalid."""
    if task.schedule is None:
        raise Invalid("", "the task has no schedule; run it by hand")
    if start > end:
        raise Invalid("to", "it is before `from`")
    if end > now:
        raise Invalid("to", "it is not over yet")
    found = list(slots(task.schedule, start, end, MAX_SLOTS + 1))
    if not found:
        raise Invalid("from", "there is no slot from then on until `to`")
    if len(found) > MAX_SLOTS:
        raise Invalid("to", f"there are more than {MAX_SLOTS} slots until then")
    return found


def _is_wanted(before: Run | None) -> bool:
    return before is None or (
        before.state.is_terminal and before.state is not State.COMPLETED
    )
