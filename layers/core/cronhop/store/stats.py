"""The table of statistics: counters by day, and what has been counted.

| subject               | part      | what it is                                      |
|-----------------------|-----------|-------------------------------------------------|
| `all#<shard>`         | day       | counters of all runs, one of several parts      |
| `task#<id>`           | day       | counters of a task's runs                       |
| `task#<id>`           | `ever`    | whether it was ever completed                   |
| `server#<day>#<shard>`| server id | counters of the executions on a server          |
| `ended#<run id>`      | `run`, or a server id | that this end has been counted      |
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

from cronhop.domain.ids import shard_of
from cronhop.domain.tally import Counts, Subject, Tally, Whose, together, total
from cronhop.store.attributes import LISTED, InstantAttribute
from cronhop.store.connection import client, table, transaction, update

KEPT = timedelta(days=400)  # a year, and the same month of the one before
# That an end was counted: streams hand over again what is a day old at most, and
# are tried for another day.
REMEMBERED = timedelta(days=4)
# Of the counters of all runs, and of a day's servers. Fewer would not be found again.
SHARDS = 4
ENDS_AT_ONCE = 25  # four items each at most, and a transaction takes a hundred
NEWEST = 32  # days in a page, where the newest are asked for first
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)  # before a transaction that met another one

_RUN, _EVER = "run", "ever"
_AGAIN = frozenset({"TransactionCanceledException", "TransactionInProgressException"})
_NO_COUNTERS = frozenset({"subject", "part", "ttl", "last_success"})

Key = tuple[Subject, date]


class _Unsuccessful(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "unsuccessful"
        projection = IncludeProjection(["first_end"])

    unsuccessful = UnicodeAttribute(hash_key=True)
    subject = UnicodeAttribute(range_key=True)


@table("stats")
class StatRow(Model):
    """What is kept of a subject; counters are further attributes, numbers all.

    `unsuccessful` is there on a task that was never completed, so that its index
    is as small as that is rare.
    """

    class Meta:
        table_name = ""

    subject = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True)
    last_success = InstantAttribute(null=True)
    first_end = InstantAttribute(null=True)
    first_success = InstantAttribute(null=True)
    unsuccessful = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)
    by_unsuccessful = _Unsuccessful()


@dataclass(frozen=True, kw_only=True)
class Unsuccessful:
    """A task of which no run was ever completed; `first_end` is that of its first."""

    task_id: str
    first_end: datetime


def count(tallies: Sequence[Tally]) -> None:
    """Add ends to the counters of their days, each of them once.

    An end that was counted already adds nothing. Raises if that cannot be done
    now; what was counted by then stays so.
    """
    distinct = list({tally.end_id: tally for tally in tallies}.values())
    for start in range(0, len(distinct), ENDS_AT_ONCE):
        _count(distinct[start : start + ENDS_AT_ONCE])


def _count(tallies: Sequence[Tally]) -> None:
    """Count the ends in one transaction, those that are not counted yet.

    Whoever else counts one of them at the same time, one transaction is refused:
    it puts what says that the end was counted, if that is not there.
    """
    left = list(tallies)
    superseded: set[Key] = set()  # a later success is on record
    pauses = iter(PAUSES_S)
    while left:
        added = list(total(left).items())
        successes = _successes(left)
        try:
            with transaction() as write:
                for tally in left:
                    write.save(_mark(tally), StatRow.subject.does_not_exist())
                for key, adds in added:
                    success = None if key in superseded else successes.get(key)
                    _add(write, _row(key, left[0].run_id), adds, key[1], success)
            return
        except TransactWriteError as exc:
            refused = _refused(exc)
            # pynamodb has what is put before what is updated.
            superseded |= {
                key
                for number, (key, _) in enumerate(added, start=len(left))
                if number in refused
            }
            left = [one for number, one in enumerate(left) if number not in refused]
            if not refused:
                _pause(exc, next(pauses, None))


def _refused(exc: TransactWriteError) -> set[int]:
    """Return which items of the transaction, from 0, had a condition that fails."""
    return {
        number
        for number, reason in enumerate(exc.cancellation_reasons)
        if reason is not None and reason.code == "ConditionalCheckFailed"
    }


def _pause(exc: TransactWriteError, pause_s: float | None) -> None:
    """Wait before the same transaction once more, or raise that it was refused."""
    if pause_s is None or exc.cause_response_code not in _AGAIN:
        raise exc
    time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311


def _mark(tally: Tally) -> StatRow:
    return StatRow(
        subject=f"ended#{tally.run_id}",
        part=tally.server_id or _RUN,
        ttl=_ttl(tally.seen_at + REMEMBERED),
    )


def _successes(tallies: Iterable[Tally]) -> Mapping[Key, datetime]:
    """Return the latest success of each task and day."""
    found: dict[Key, datetime] = {}
    for tally in tallies:
        if tally.task_id and tally.is_success:
            key = ((Whose.TASK, tally.task_id), tally.day)
            found[key] = max(tally.at, found.get(key, tally.at))
    return found


def _add(
    write: Any,
    row: StatRow,
    adds: Mapping[str, int],
    day: date,
    success: datetime | None,
) -> None:
    actions: list[Action] = [Path(name).add(by) for name, by in sorted(adds.items())]
    actions.append(StatRow.ttl.set(_ttl(_midnight(day) + KEPT)))
    condition = None
    if success:
        actions.append(StatRow.last_success.set(success))
        condition = StatRow.last_success.does_not_exist() | (
            StatRow.last_success < success
        )
    write.update(row, actions=actions, condition=condition)


def _row(key: Key, who: str) -> StatRow:
    """Return the item of the counters; `who` chooses one where there are several."""
    (whose, name), day = key
    if whose is Whose.SERVER:
        return StatRow(_servers(day, shard_of(name, SHARDS)), name)
    if whose is Whose.TASK:
        return StatRow(_task(name), day.isoformat())
    return StatRow(_all(shard_of(who, SHARDS)), day.isoformat())


def judge(tallies: Sequence[Tally]) -> None:
    """Keep on record which tasks were never completed. It can be repeated.

    It costs a read: nothing is written of a task that goes on as before.
    """
    judged: dict[str, list[Tally]] = {}
    for tally in tallies:
        if tally.task_id:
            judged.setdefault(tally.task_id, []).append(tally)
    keys = [(_task(task_id), _EVER) for task_id in judged]
    known = {row.subject: row for row in StatRow.batch_get(keys)}
    for task_id, ends in judged.items():
        row = known.get(_task(task_id))
        at = min(tally.at for tally in ends)
        is_success = any(tally.is_success for tally in ends)
        if is_success and not (row and row.first_success):
            _note_success(task_id, at)
        elif row is None:
            _note_failure(task_id, at)
        elif row.ttl < _ttl(at + KEPT / 2):
            _renew(task_id, at)


def _note_success(task_id: str, at: datetime) -> None:
    update(
        StatRow(_task(task_id), _EVER),
        actions=[
            StatRow.first_success.set(at),
            StatRow.unsuccessful.remove(),
            StatRow.ttl.set(_ttl(at + KEPT)),
        ],
        condition=StatRow.first_success.does_not_exist(),
    )


def _note_failure(task_id: str, at: datetime) -> None:
    update(
        StatRow(_task(task_id), _EVER),
        actions=[
            StatRow.first_end.set(at),
            StatRow.unsuccessful.set(LISTED),
            StatRow.ttl.set(_ttl(at + KEPT)),
        ],
        condition=StatRow.subject.does_not_exist(),
    )


def _renew(task_id: str, at: datetime) -> None:
    update(
        StatRow(_task(task_id), _EVER),
        actions=[StatRow.ttl.set(_ttl(at + KEPT))],
        condition=StatRow.subject.exists(),
    )


def of_all(first: date, last: date) -> Mapping[date, Counts]:
    """Return the counters of all runs, of each day that has any."""
    found: dict[date, list[Counts]] = {}
    for shard in range(SHARDS):
        for day, counts in _days(_all(shard), first, last):
            found.setdefault(day, []).append(counts)
    return {day: together(found[day]) for day in sorted(found)}


def of_task(task_id: str, first: date, last: date) -> Mapping[date, Counts]:
    """Return the counters of a task's runs, of each day that has any."""
    return dict(_days(_task(task_id), first, last))


def last_success(task_id: str) -> datetime | None:
    """Return when a run of the task was last completed, None if none is known."""
    days = (date.min.isoformat(), date.max.isoformat())
    for _, counts in _query(_task(task_id), days, newest_first=True):
        if counts.last_success:
            return counts.last_success
    return None


def of_servers(day: date) -> Mapping[str, Counts]:
    """Return the counters of the executions of a day, by server id."""
    return {
        part: counts
        for shard in range(SHARDS)
        for part, counts in _query(_servers(day, shard))
    }


def unsuccessful() -> Iterator[Unsuccessful]:
    """Yield the tasks of which no run was ever completed, deleted ones too."""
    for row in StatRow.by_unsuccessful.query(LISTED):
        yield Unsuccessful(
            task_id=row.subject.removeprefix(_task("")), first_end=row.first_end
        )


def _days(subject: str, first: date, last: date) -> Iterator[tuple[date, Counts]]:
    window = (first.isoformat(), last.isoformat())
    for part, counts in _query(subject, window):
        yield date.fromisoformat(part), counts


def _query(
    subject: str,
    window: tuple[str, str] | None = None,
    *,
    newest_first: bool = False,
) -> Iterator[tuple[str, Counts]]:
    """Yield the parts of a subject and their counters, in the order of the parts.

    Not by pynamodb's model: it leaves out what it has no name for.
    """
    condition, values = "subject = :subject", {":subject": {"S": subject}}
    if window:
        condition += " AND part BETWEEN :first AND :last"
        values |= {":first": {"S": window[0]}, ":last": {"S": window[1]}}
    pages = (
        client()
        .get_paginator("query")
        .paginate(
            TableName=StatRow.Meta.table_name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
        )
    )
    for page in pages:
        for item in page["Items"]:
            yield item["part"]["S"], _counts(item)


def _counts(item: Mapping[str, Mapping[str, str]]) -> Counts:
    success = item.get("last_success")
    return Counts(
        counters={
            name: int(value["N"])
            for name, value in item.items()
            if name not in _NO_COUNTERS
        },
        last_success=StatRow.last_success.deserialize(success["N"])
        if success
        else None,
    )


def _all(shard: int) -> str:
    return f"all#{shard}"


def _task(task_id: str) -> str:
    return f"task#{task_id}"


def _servers(day: date, shard: int) -> str:
    return f"server#{day.isoformat()}#{shard}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), tzinfo=UTC)


def _ttl(moment: datetime) -> int:
    return int(moment.timestamp())
