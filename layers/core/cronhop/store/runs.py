"""The table of runs: the ledger."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    ListAttribute,
    NumberAttribute,
    NumberSetAttribute,
    UnicodeAttribute,
)
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from cronhop.domain.ids import first_id, id_time, last_id, shard_of
from cronhop.domain.run import OPEN_STATES, SCHEDULER, Run, State, Trigger
from cronhop.store.attributes import InstantAttribute, PlainAttribute, set_or_remove
from cronhop.store.batch import insertion, write_all
from cronhop.store.connection import put, read, retention_s, shards, table, update
from cronhop.store.page import NEWEST, Page, Window, cut
from cronhop.store.readable import passed_over, read_each

DAYS_A_PAGE = 7  # that a list over all tasks looks at for one page
OPEN_AT_MOST_S = 400 * 86400  # a run is open: twenty attempts of a week, and more
_TICK = timedelta(milliseconds=1)  # the precision of an id


class _ByTask(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_task"
        projection = KeysOnlyProjection()

    task_id = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class _Open(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "open"
        projection = KeysOnlyProjection()

    open_shard = NumberAttribute(hash_key=True)
    check_at = InstantAttribute(range_key=True)


class _Recent(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "recent"
        projection = KeysOnlyProjection()

    day_shard = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class _ByCreator(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_creator"
        projection = KeysOnlyProjection()

    created_by = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


@table("runs")
class RunRow(Model):
    """A run as DynamoDB keeps it, or what belongs to one on several servers.

    Of such a run the ids of its servers and how far it has come are items of their
    own, `<run id>#<fleet>#<page>` and `<run id>#progress`; so are targets that
    somebody gave it, `<run id>#wanted`: see fleets.py, and values of parameters,
    `<run id>#parameters`: see values.py.
    `open_shard` and `check_at` are there while the run is not terminal, and until
    the alarm of its end has been raised, `ttl` once it is terminal, `created_by`
    only on runs made by hand: the schedule's own would all have one index key.
    """

    class Meta:
        table_name = ""

    run_id = UnicodeAttribute(hash_key=True)
    task_id = UnicodeAttribute(null=True)
    open_shard = NumberAttribute(null=True)
    check_at = InstantAttribute(null=True)
    day_shard = UnicodeAttribute(null=True)
    created_by = UnicodeAttribute(null=True)
    trigger = UnicodeAttribute(null=True)
    slot = InstantAttribute(null=True)
    state = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    schedule_version = NumberAttribute(null=True)
    task_version = NumberAttribute(null=True)
    targets: ListAttribute[Any] = ListAttribute(null=True)
    target_count = NumberAttribute(null=True)
    retry_of = UnicodeAttribute(null=True)
    has_own_targets = BooleanAttribute(null=True)
    has_parameters = BooleanAttribute(null=True)
    wanted = PlainAttribute(null=True)
    parameters = PlainAttribute(null=True)
    secrets = PlainAttribute(null=True)
    fleet = UnicodeAttribute(null=True)
    created_at = InstantAttribute(null=True)
    started_at = InstantAttribute(null=True)
    finished_at = InstantAttribute(null=True)
    missed_to = InstantAttribute(null=True)
    missed_count = NumberAttribute(null=True)
    cancel_by = UnicodeAttribute(null=True)
    cancel_at = InstantAttribute(null=True)
    environment = UnicodeAttribute(null=True)
    telling_until = InstantAttribute(null=True)
    ttl = NumberAttribute(null=True)
    sent = NumberAttribute(null=True)
    stopped = UnicodeAttribute(null=True)
    sender = UnicodeAttribute(null=True)
    completed = NumberSetAttribute(null=True)
    failed = NumberSetAttribute(null=True)
    timeout = NumberSetAttribute(null=True)
    cancelled = NumberSetAttribute(null=True)
    skipped = NumberSetAttribute(null=True)
    missed = NumberSetAttribute(null=True)
    lost = NumberSetAttribute(null=True)
    by_task = _ByTask()
    by_check = _Open()
    recent = _Recent()
    by_creator = _ByCreator()


_IS_OPEN = RunRow.state.is_in(*(state.value for state in sorted(OPEN_STATES)))


def add(run: Run) -> bool:
    """Put the run; False if a row of its id is there already."""
    return _put(_new_row(run))


def add_many(many: Sequence[Run]) -> list[bool | Exception]:
    """Put the runs; return of each what `add` would return or raise."""
    rows = map(_new_row, many)
    return write_all([insertion(row, partial(_put, row)) for row in rows])


def _put(row: RunRow) -> bool:
    return put(row, condition=RunRow.run_id.does_not_exist())


def _new_row(run: Run) -> RunRow:
    return RunRow(
        run_id=run.run_id,
        task_id=run.task_id,
        open_shard=shard_of(run.run_id, shards()) if run.check_at else None,
        check_at=run.check_at,
        day_shard=_day_shard(run.run_id),
        created_by=None if run.trigger is Trigger.SCHEDULE else run.created_by,
        trigger=run.trigger.value,
        slot=run.slot,
        state=run.state.value,
        reason=run.reason,
        schedule_version=run.schedule_version,
        task_version=run.task_version,
        retry_of=run.retry_of,
        has_own_targets=run.has_own_targets or None,
        has_parameters=run.has_parameters or None,
        created_at=run.created_at,
        finished_at=run.finished_at,
        missed_to=run.missed_to,
        missed_count=run.missed_count,
        environment=run.environment,
        ttl=_ttl(run.created_at) if run.state.is_terminal else None,
    )


def get(run_id: str) -> Run | None:
    """Return the run as of now, None if there is none."""
    row = read(RunRow, run_id)
    return run_of(row) if row else None


def get_many(run_ids: Iterable[str]) -> Mapping[str, Run]:
    """Return those of the runs that exist, by id, as of now."""
    rows = RunRow.batch_get(list(run_ids), consistent_read=True)
    return {row.run_id: run_of(row) for row in rows}


def of_ids(run_ids: Iterable[str]) -> Mapping[str, Run]:
    """Return those of the runs that exist, by id, as of now.

    One that cannot be read is told of and left out.
    """
    found, broken = read_each(RunRow, run_ids, run_of)
    for run_id, exc in broken.items():
        passed_over(run_id, exc)
    return {run.run_id: run for run in found}


def begin(
    run_id: str,
    *,
    task_version: int,
    targets: tuple[str, ...],
    now: datetime,
    fleet: str | None = None,
    environment: str | None = None,
) -> Run | None:
    """Let the run through its gate: fix what it runs and where; return it.

    Several targets are listed by the items that `fleet` names. None if the run is
    no longer pending: somebody else passed it, it has ended, or the answer of the
    write was lost.
    """
    where = (
        [RunRow.fleet.set(fleet), RunRow.target_count.set(len(targets))]
        if fleet
        else [RunRow.targets.set(list(targets))]
    )
    row = RunRow(run_id=run_id)
    begun = update(
        row,
        actions=[
            RunRow.state.set(State.RUNNING.value),
            RunRow.task_version.set(task_version),
            *where,
            RunRow.started_at.set(now),
            RunRow.reason.remove(),
            *set_or_remove((RunRow.environment, environment)),
        ],
        condition=RunRow.state == State.PENDING.value,
    )
    return run_of(row) if begun else None


def refuse(run_id: str, *, state: State, reason: str, now: datetime) -> Run | None:
    """End a run at its gate and return it; None if it is no longer pending.

    Another executor may have let it through meanwhile: what has begun is never
    refused.
    """
    return _end(run_id, state, reason, now, RunRow.state == State.PENDING.value)


def end(run_id: str, *, state: State, reason: str | None, now: datetime) -> Run | None:
    """Write the run's terminal state and return it; None if it has one already.

    If somebody should be told of such an end, the tick looks after the run until
    `told` says that somebody was.
    """
    return _end(run_id, state, reason, now, _IS_OPEN)


def tell(run_id: str, *, now: datetime, again: datetime) -> bool:
    """Let the caller raise the alarm of a run's end; False if somebody else does.

    The tick looks after it `again`, should the caller not come to `told`.
    """
    return update(
        RunRow(run_id=run_id),
        actions=[RunRow.telling_until.set(again), RunRow.check_at.set(again)],
        condition=RunRow.check_at.exists()
        & ~_IS_OPEN
        & (RunRow.telling_until.does_not_exist() | (RunRow.telling_until <= now)),
    )


def told(run_id: str) -> None:
    """Record that the alarm of a run's end has been raised."""
    update(
        RunRow(run_id=run_id),
        actions=[
            RunRow.open_shard.remove(),
            RunRow.check_at.remove(),
            RunRow.telling_until.remove(),
        ],
        condition=RunRow.check_at.exists() & ~_IS_OPEN,
    )


def ask_cancel(run_id: str, *, by: str, now: datetime) -> bool:
    """Record that somebody wants the run to end; False if it is not under way.

    The tick looks after it at once, in case nobody else does. Who asked first
    stays on record: for a second one it is False as well.
    """
    return update(
        RunRow(run_id=run_id),
        actions=[
            RunRow.cancel_by.set(by),
            RunRow.cancel_at.set(now),
            RunRow.check_at.set(now),
        ],
        condition=(RunRow.state == State.RUNNING.value)
        & RunRow.cancel_by.does_not_exist(),
    )


def item_ttl(now: datetime) -> int:
    """Return when an item beside a run's row may go: surely not before the row does."""
    return int(now.timestamp()) + OPEN_AT_MOST_S + retention_s()


def _end(
    run_id: str,
    state: State,
    reason: str | None,
    now: datetime,
    condition: Condition,
) -> Run | None:
    actions: list[Action] = [
        RunRow.state.set(state.value),
        *set_or_remove((RunRow.reason, reason)),
        RunRow.finished_at.set(now),
        RunRow.ttl.set(_ttl(now)),
    ]
    if state.is_alarming:
        actions.append(RunRow.check_at.set(now))
    else:
        actions += [RunRow.open_shard.remove(), RunRow.check_at.remove()]
    row = RunRow(run_id=run_id)
    return run_of(row) if update(row, actions=actions, condition=condition) else None


def note(run_id: str, reason: str | None) -> None:
    """Record why an open run waits, None: it does not wait any more."""
    update(
        RunRow(run_id=run_id),
        actions=set_or_remove((RunRow.reason, reason)),
        condition=_IS_OPEN,
    )


def to_check(shard: int, until: datetime) -> Iterator[tuple[datetime, str]]:
    """Yield (check_at, run id) of a shard's runs to look after by then, oldest first."""
    for row in RunRow.by_check.query(shard, RunRow.check_at <= until):
        yield row.check_at, row.run_id


def move_check(run_id: str, *, old: datetime, new: datetime) -> bool:
    """Let the tick look again at `new`; False if it is no longer due at `old`."""
    return update(
        RunRow(run_id=run_id),
        actions=[RunRow.check_at.set(new)],
        condition=RunRow.check_at == old,
    )


def of_task(
    task_id: str, *, limit: int, after: str | None, window: Window = NEWEST
) -> Page[Run]:
    """Return runs of the task in the window, those behind the id `after`."""
    index, key = RunRow.by_task, RunRow.run_id
    return page_of(window.ids(index, task_id, key, limit=limit, after=after), limit)


def of_creator(
    created_by: str, *, limit: int, after: str | None, window: Window = NEWEST
) -> Page[Run]:
    """Return runs that somebody made, in the window, those behind the id `after`."""
    index, key = RunRow.by_creator, RunRow.run_id
    return page_of(window.ids(index, created_by, key, limit=limit, after=after), limit)


def recent(
    *, now: datetime, limit: int, after: str | None, window: Window = NEWEST
) -> Page[Run]:
    """Return runs of all tasks in the window, those behind the id `after`.

    Slots inside the look-ahead are on record before they are due. A page covers
    seven days at most, so it may be short, even empty, and yet be followed by
    another one; the list ends where the retention does.
    """
    tomorrow = now + timedelta(days=1)
    kept = now - timedelta(seconds=retention_s())
    oldest = max(window.since or kept, kept).date()
    newest = min(window.until or tomorrow, tomorrow).date()
    day = newest if window.newest_first else oldest
    if after:
        day = id_time(after).date()
    ids: list[str] = []
    for _ in range(DAYS_A_PAGE):
        if not oldest <= day <= newest or len(ids) > limit:
            break
        ids += _ids_of_day(day, after, limit, window)
        day += timedelta(days=-1 if window.newest_first else 1)
    page = page_of(ids, limit)
    if page.last is not None or not oldest <= day <= newest:
        return page
    edge = datetime.combine(day, time.min, tzinfo=UTC)
    if window.newest_first:
        return Page(items=page.items, last=last_id(edge + timedelta(days=1) - _TICK))
    return Page(items=page.items, last=first_id(edge))


def _ids_of_day(day: date, after: str | None, limit: int, window: Window) -> list[str]:
    index, key = RunRow.recent, RunRow.run_id
    found = [
        window.ids(index, f"{day.isoformat()}#{shard}", key, limit=limit, after=after)
        for shard in range(shards())
    ]
    merged = heapq.merge(*found, reverse=window.newest_first)
    return list(itertools.islice(merged, limit + 1))


def page_of(ids: Iterable[str], limit: int) -> Page[Run]:
    """Return a page of the runs with these ids, as far as they are on record."""
    keys, last = cut(ids, limit)
    runs = get_many(keys)
    return Page(items=[runs[one] for one in keys if one in runs], last=last)


def _day_shard(run_id: str) -> str:
    return f"{id_time(run_id).date().isoformat()}#{shard_of(run_id, shards())}"


def _ttl(ended: datetime) -> int:
    return int(ended.timestamp()) + retention_s()


def run_of(row: RunRow) -> Run:
    """Return the run that a row is."""
    return Run(
        run_id=row.run_id,
        task_id=row.task_id,
        trigger=Trigger(row.trigger),
        slot=row.slot,
        state=State(row.state),
        reason=row.reason,
        created_by=row.created_by or SCHEDULER,
        created_at=row.created_at,
        schedule_version=int(row.schedule_version),
        check_at=row.check_at,
        task_version=int(row.task_version) if row.task_version else None,
        targets=tuple(row.targets or ()),
        target_count=int(row.target_count or len(row.targets or ())),
        fleet=row.fleet,
        retry_of=row.retry_of,
        has_own_targets=bool(row.has_own_targets),
        has_parameters=bool(row.has_parameters),
        started_at=row.started_at,
        finished_at=row.finished_at,
        missed_to=row.missed_to,
        missed_count=int(row.missed_count) if row.missed_count else None,
        cancel_by=row.cancel_by,
        cancel_at=row.cancel_at,
        environment=row.environment,
    )
