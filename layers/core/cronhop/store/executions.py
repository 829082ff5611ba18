"""The table of executions; what their attempts left behind is in attempts.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from cronhop.domain.ids import shard_of
from cronhop.domain.run import (
    OPEN_STATES,
    Chunk,
    Execution,
    Outcome,
    State,
    StreamRecord,
)
from cronhop.store.attributes import InstantAttribute, PlainAttribute, set_or_remove
from cronhop.store.connection import put, read, retention_s, shards, table, update
from cronhop.store.page import NEWEST, Page, Window, cut
from cronhop.store.readable import passed_over, read_each


class _ByServer(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_server"
        projection = KeysOnlyProjection()

    server_id = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class _NextPoll(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "next_poll"
        projection = KeysOnlyProjection()

    poll_shard = NumberAttribute(hash_key=True)
    next_poll = InstantAttribute(range_key=True)


@table("executions")
class ExecutionRow(Model):
    """An execution as DynamoDB keeps it, or what one of its attempts left behind.

    `poll_shard` and `next_poll` are there until everything that follows the
    outcome is done as well. An attempt's inline output, and its outcome if another
    one followed, have keys of their own, `output#<run id>` and
    `<server id>#<attempt>`, so that a run's executions stay one small query.
    """

    class Meta:
        table_name = ""

    run_id = UnicodeAttribute(hash_key=True)
    server_id = UnicodeAttribute(range_key=True)
    state = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    attempt = NumberAttribute(null=True)
    owner = UnicodeAttribute(null=True)
    lease_until = InstantAttribute(null=True)
    poll_shard = NumberAttribute(null=True)
    next_poll = InstantAttribute(null=True)
    first_visit = UnicodeAttribute(null=True)
    first_at = InstantAttribute(null=True)
    held_since = InstantAttribute(null=True)
    secret_ids = PlainAttribute(null=True)
    due_at = InstantAttribute(null=True)
    position = NumberAttribute(null=True)
    cancel_by = UnicodeAttribute(null=True)
    asked_at = InstantAttribute(null=True)
    seen_at = InstantAttribute(null=True)
    uncollected = BooleanAttribute(null=True)
    polls = NumberAttribute(null=True)
    started_at = InstantAttribute(null=True)
    finished_at = InstantAttribute(null=True)
    exit_code = NumberAttribute(null=True)
    stdout = PlainAttribute(null=True)
    stderr = PlainAttribute(null=True)
    stdout_data = BinaryAttribute(legacy_encoding=False, null=True)
    stderr_data = BinaryAttribute(legacy_encoding=False, null=True)
    ttl = NumberAttribute(null=True)
    by_server = _ByServer()
    by_next_poll = _NextPoll()


_IS_OPEN = ExecutionRow.state.is_in(*(state.value for state in sorted(OPEN_STATES)))


def claim(
    run_id: str,
    server_id: str,
    *,
    owner: str,
    now: datetime,
    lease_until: datetime,
    early: bool = False,
    position: int | None = None,
) -> Execution | None:
    """Take the execution for this owner until the lease ends, and return it.

    The row is made if there is none; `position` is the server's among several
    targets, whose turn comes when it is first claimed. The tick comes back at the end of the
    lease, should the owner die. An execution that has ended is taken only for
    the output that is still on the host, one whose next attempt is not due only
    if `early` says so. None if it is another's, or needs nobody: read it to see
    which. A claim whose answer was lost succeeds again, and changes nothing: it
    is mine.
    """
    row = ExecutionRow(run_id=run_id, server_id=server_id)
    needed = _IS_OPEN | ExecutionRow.uncollected.exists()
    if not early:
        needed &= ExecutionRow.due_at.does_not_exist() | (ExecutionRow.due_at <= now)
    free = (ExecutionRow.owner == owner) | (ExecutionRow.lease_until <= now)
    taken = update(
        row,
        actions=[
            ExecutionRow.state.set(ExecutionRow.state | State.PENDING.value),
            ExecutionRow.attempt.set(ExecutionRow.attempt | 1),
            ExecutionRow.first_visit.set(ExecutionRow.first_visit | owner),
            ExecutionRow.first_at.set(ExecutionRow.first_at | now),
            ExecutionRow.owner.set(owner),
            ExecutionRow.lease_until.set(lease_until),
            ExecutionRow.poll_shard.set(_shard(run_id, server_id)),
            ExecutionRow.next_poll.set(lease_until),
            *_place(position, now),
        ],
        condition=ExecutionRow.run_id.does_not_exist() | (needed & free),
    )
    return execution_of(row) if taken else None


def give_back(
    execution: Execution,
    *,
    now: datetime,
    next_poll: datetime,
    reason: str | None,
    visited: bool,
    started_at: datetime | None = None,
    seen_at: datetime | None = None,
    is_extra: bool = False,
    held_since: datetime | None = None,
    secret_ids: Mapping[str, str] | None = None,
    streams: tuple[StreamRecord, StreamRecord] | None = None,
) -> bool:
    """End the lease, to be taken up again at `next_poll`.

    `visited` says that this visit may have started the command, `started_at`
    that it runs, and since when, `seen_at` when the host last said anything of
    it, `is_extra` that a reader wanted this visit, beside the others, `streams` what is kept by now of its stdout and stderr. False if the lease
    is another's.
    """
    actions: list[Action] = [
        ExecutionRow.lease_until.set(now),
        ExecutionRow.next_poll.set(next_poll),
        *set_or_remove((ExecutionRow.reason, reason)),
    ]
    if not visited and execution.first_visit == execution.owner:
        actions += [ExecutionRow.first_visit.remove(), ExecutionRow.first_at.remove()]
    if held_since:
        actions.append(ExecutionRow.held_since.set(held_since))
    if secret_ids:
        actions.append(ExecutionRow.secret_ids.set(dict(secret_ids)))
    if seen_at:
        actions.append(ExecutionRow.seen_at.set(seen_at))
    if started_at:
        actions += [
            ExecutionRow.state.set(State.RUNNING.value),
            ExecutionRow.started_at.set(started_at),
            ExecutionRow.polls.set(execution.polls + (0 if is_extra else 1)),
        ]
    if streams:
        stdout, stderr = streams
        actions += [
            ExecutionRow.stdout.set(plain_stream(stdout)),
            ExecutionRow.stderr.set(plain_stream(stderr)),
        ]
    return update(
        ExecutionRow(run_id=execution.run_id, server_id=execution.server_id),
        actions=actions,
        condition=_mine(execution, now) & _IS_OPEN,
    )


def finish(
    execution: Execution,
    outcome: Outcome,
    *,
    now: datetime,
    attempt: int | None = None,
) -> Execution | None:
    """Write how the execution ended with this attempt, and return it.

    `attempt` is an earlier one if this one was not started, and the outcome is
    that one's. None if an end is on record already, or another attempt has
    followed.
    """
    actions: list[Action] = [
        *ended(outcome, now),
        ExecutionRow.attempt.set(attempt or execution.attempt),
        ExecutionRow.ttl.set(int(now.timestamp()) + retention_s()),
        *set_or_remove((ExecutionRow.uncollected, outcome.uncollected or None)),
    ]
    row = ExecutionRow(run_id=execution.run_id, server_id=execution.server_id)
    is_written = update(
        row,
        actions=actions,
        condition=_IS_OPEN & (ExecutionRow.attempt == execution.attempt),
    )
    return execution_of(row) if is_written else None


def retry(
    execution: Execution,
    *,
    due_at: datetime,
    next_poll: datetime,
    reason: str,
    now: datetime,
) -> bool:
    """Let the next attempt be due; this one's outcome has to be on record.

    False if there is to be none: somebody wants the execution to end, it has
    ended, or another attempt has followed already.
    """
    return update(
        ExecutionRow(run_id=execution.run_id, server_id=execution.server_id),
        actions=[
            ExecutionRow.state.set(State.PENDING.value),
            ExecutionRow.attempt.set(execution.attempt + 1),
            ExecutionRow.due_at.set(due_at),
            ExecutionRow.next_poll.set(next_poll),
            ExecutionRow.lease_until.set(now),
            ExecutionRow.reason.set(reason),
            ExecutionRow.first_visit.remove(),
            ExecutionRow.first_at.remove(),
            ExecutionRow.held_since.remove(),
            ExecutionRow.secret_ids.remove(),
            ExecutionRow.polls.remove(),
            ExecutionRow.seen_at.remove(),
            ExecutionRow.started_at.remove(),
            ExecutionRow.exit_code.remove(),
            ExecutionRow.stdout.remove(),
            ExecutionRow.stderr.remove(),
        ],
        condition=_IS_OPEN
        & (ExecutionRow.attempt == execution.attempt)
        & ExecutionRow.cancel_by.does_not_exist(),
    )


def ask_cancel(
    run_id: str,
    server_id: str,
    *,
    by: str,
    now: datetime,
    position: int | None = None,
) -> None:
    """Let the execution end: no further attempt follows from here.

    One that nobody has claimed is written `cancelled`, so that nobody can. One
    that has ended stays as it is.
    """
    is_new = put(
        ExecutionRow(
            run_id=run_id,
            server_id=server_id,
            state=State.CANCELLED.value,
            reason=f"cancelled by {by} before it was started",
            attempt=1,
            owner=by,
            lease_until=now,
            cancel_by=by,
            finished_at=now,
            position=position,
            ttl=int(now.timestamp()) + retention_s(),
        ),
        condition=ExecutionRow.run_id.does_not_exist(),
    )
    if not is_new:
        update(
            ExecutionRow(run_id=run_id, server_id=server_id),
            actions=[ExecutionRow.cancel_by.set(ExecutionRow.cancel_by | by)],
            condition=_IS_OPEN,
        )


def ask_poll(
    run_id: str, server_id: str, *, now: datetime, not_after: datetime
) -> bool:
    """Record that a reader wants a visit now.

    False if the command does not run, somebody is visiting it just now, or a
    visit was asked for after `not_after`.
    """
    return update(
        ExecutionRow(run_id=run_id, server_id=server_id),
        actions=[ExecutionRow.asked_at.set(now)],
        condition=(ExecutionRow.state == State.RUNNING.value)
        & (ExecutionRow.lease_until <= now)
        & (
            ExecutionRow.asked_at.does_not_exist() | (ExecutionRow.asked_at < not_after)
        ),
    )


def keep_streams(
    execution: Execution,
    stdout: StreamRecord,
    stderr: StreamRecord,
    *,
    next_poll: datetime | None,
    now: datetime,
    note: str | None = None,
) -> None:
    """Record what is kept of an ended execution's output, and end the lease.

    `next_poll` is when somebody comes back for the rest, None if there is none,
    `note` is put to its reason. Nothing is recorded by who has lost the lease, or
    when all is settled.
    """
    actions: list[Action] = [
        ExecutionRow.lease_until.set(now),
        *set_or_remove(
            (ExecutionRow.stdout, plain_stream(stdout)),
            (ExecutionRow.stderr, plain_stream(stderr)),
        ),
    ]
    if note:
        reasons = [text for text in (execution.reason, note) if text]
        actions.append(ExecutionRow.reason.set("; ".join(reasons)))
    if next_poll:
        actions.append(ExecutionRow.next_poll.set(next_poll))
    else:
        actions.append(ExecutionRow.uncollected.remove())
    update(
        ExecutionRow(run_id=execution.run_id, server_id=execution.server_id),
        actions=actions,
        condition=(ExecutionRow.owner == execution.owner)
        & ExecutionRow.uncollected.exists(),
    )


def settle(run_id: str, server_id: str) -> None:
    """Record that nobody needs to come back: what is not kept by now never is."""
    update(
        ExecutionRow(run_id=run_id, server_id=server_id),
        actions=[
            ExecutionRow.poll_shard.remove(),
            ExecutionRow.next_poll.remove(),
            ExecutionRow.uncollected.remove(),
        ],
        condition=ExecutionRow.next_poll.exists(),
    )


def get(run_id: str, server_id: str) -> Execution | None:
    """Return the execution as of now, None if there is none."""
    row = read(ExecutionRow, run_id, server_id)
    return execution_of(row) if row else None


def get_many(run_id: str, server_ids: Iterable[str]) -> Mapping[str, Execution]:
    """Return those of the run's executions that exist, by server id, as of now."""
    keys = [(run_id, server_id) for server_id in server_ids]
    rows = ExecutionRow.batch_get(keys, consistent_read=True)
    return {row.server_id: execution_of(row) for row in rows}


def of_keys(keys: Iterable[tuple[str, str]]) -> list[Execution]:
    """Return those of the executions (run id, server id) that exist, as of now.

    One that cannot be read is told of and left out.
    """
    found, broken = read_each(ExecutionRow, keys, execution_of)
    for key, exc in broken.items():
        passed_over(key, exc)
    return found


def of_run(run_id: str, *, limit: int, after: str | None) -> Page[Execution]:
    """Return executions of the run by server id, those after the id `after`."""
    found = list(
        ExecutionRow.query(
            run_id,
            ExecutionRow.server_id > after if after else None,
            consistent_read=True,
            limit=limit + 1,
        )
    )
    items = [execution_of(row) for row in found[:limit]]
    last = items[-1].server_id if len(found) > limit else None
    return Page(items=items, last=last)


def run_ids_of_server(
    server_id: str, *, limit: int, after: str | None, window: Window = NEWEST
) -> Iterator[str]:
    """Yield ids of the runs that were on a server, those behind the id `after`."""
    index, key = ExecutionRow.by_server, ExecutionRow.run_id
    return window.ids(index, server_id, key, limit=limit, after=after)


def of_server(
    server_id: str, *, limit: int, after: str | None, window: Window = NEWEST
) -> Page[Execution]:
    """Return executions on a server in the window, those behind the run `after`."""
    found = run_ids_of_server(server_id, limit=limit, after=after, window=window)
    run_ids, last = cut(found, limit)
    rows = ExecutionRow.batch_get([(run_id, server_id) for run_id in run_ids])
    known = {row.run_id: execution_of(row) for row in rows}
    items = [known[run_id] for run_id in run_ids if run_id in known]
    return Page(items=items, last=last)


def to_poll(shard: int, until: datetime) -> Iterator[tuple[datetime, str, str]]:
    """Yield (next_poll, run id, server id) of a shard, due by then, oldest first."""
    for row in ExecutionRow.by_next_poll.query(shard, ExecutionRow.next_poll <= until):
        yield row.next_poll, row.run_id, row.server_id


def move_poll(run_id: str, server_id: str, *, old: datetime, new: datetime) -> bool:
    """Let the tick look again at `new`; False if it is no longer due at `old`."""
    return update(
        ExecutionRow(run_id=run_id, server_id=server_id),
        actions=[ExecutionRow.next_poll.set(new)],
        condition=ExecutionRow.next_poll == old,
    )


def _place(position: int | None, now: datetime) -> list[Action]:
    """Return the actions that record the execution's position, and its turn."""
    if position is None:
        return []
    return [
        ExecutionRow.position.set(position),
        ExecutionRow.due_at.set(ExecutionRow.due_at | now),
    ]


def _mine(execution: Execution, now: datetime) -> Condition:
    """Return the condition that the lease is this owner's, and not over."""
    mine: Condition = (ExecutionRow.owner == execution.owner) & (
        ExecutionRow.lease_until > now
    )
    return mine


def ended(outcome: Outcome, now: datetime) -> list[Action]:
    """Return the actions that put an outcome on record."""
    actions: list[Action] = [
        ExecutionRow.state.set(outcome.state.value),
        ExecutionRow.finished_at.set(outcome.finished_at or now),
        *set_or_remove(
            (ExecutionRow.reason, outcome.reason),
            (ExecutionRow.exit_code, outcome.exit_code),
        ),
    ]
    if outcome.started_at:
        actions.append(ExecutionRow.started_at.set(outcome.started_at))
    if outcome.secret_ids:
        actions.append(ExecutionRow.secret_ids.set(dict(outcome.secret_ids)))
    # An outcome that knows nothing of the output leaves what was kept of it.
    if outcome.stdout and outcome.stderr:
        actions += [
            ExecutionRow.stdout.set(plain_stream(outcome.stdout)),
            ExecutionRow.stderr.set(plain_stream(outcome.stderr)),
        ]
    return actions


def _shard(run_id: str, server_id: str) -> int:
    return shard_of(f"{run_id}/{server_id}", shards())


def plain_stream(record: StreamRecord | None) -> dict[str, Any] | None:
    """Return what is kept of a stream as the table has it."""
    if record is None:
        return None
    return {
        "total_bytes": record.total_bytes,
        "chunks": [[chunk.first, chunk.end] for chunk in record.chunks],
        "inline": record.inline,
    }


def stream_of(plain: Any) -> StreamRecord | None:
    """Return the record that `plain_stream` made this of."""
    if plain is None:
        return None
    return StreamRecord(
        total_bytes=plain["total_bytes"],
        chunks=tuple(Chunk(first=first, end=end) for first, end in plain["chunks"]),
        inline=plain["inline"],
    )


def execution_of(row: ExecutionRow) -> Execution:
    """Return the execution that a row is."""
    return Execution(
        run_id=row.run_id,
        server_id=row.server_id,
        state=State(row.state),
        reason=row.reason,
        attempt=int(row.attempt),
        owner=row.owner,
        lease_until=row.lease_until,
        next_poll=row.next_poll,
        first_visit=row.first_visit,
        due_at=row.due_at,
        position=int(row.position) if row.position is not None else None,
        first_at=row.first_at,
        held_since=row.held_since,
        secret_ids=row.secret_ids,
        cancel_by=row.cancel_by,
        seen_at=row.seen_at,
        uncollected=bool(row.uncollected),
        polls=int(row.polls or 0),
        started_at=row.started_at,
        finished_at=row.finished_at,
        exit_code=int(row.exit_code) if row.exit_code is not None else None,
        stdout=stream_of(row.stdout),
        stderr=stream_of(row.stderr),
    )
