"""The table of executions, and of the output small enough to lie in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
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
    Stream,
    StreamRecord,
)
from cronhop.store.attributes import InstantAttribute, set_or_remove
from cronhop.store.connection import retention_s, shards, table, update
from cronhop.store.page import Page


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
    """An execution as DynamoDB keeps it, or the inline output of one attempt.

    `poll_shard` and `next_poll` are there until everything that follows the
    outcome is done as well. Output has keys of its own, `output#<run id>` and
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
    seen_at = InstantAttribute(null=True)
    uncollected = BooleanAttribute(null=True)
    polls = NumberAttribute(null=True)
    started_at = InstantAttribute(null=True)
    finished_at = InstantAttribute(null=True)
    exit_code = NumberAttribute(null=True)
    stdout = JSONAttribute(null=True)
    stderr = JSONAttribute(null=True)
    stdout_data = BinaryAttribute(legacy_encoding=False, null=True)
    stderr_data = BinaryAttribute(legacy_encoding=False, null=True)
    ttl = NumberAttribute(null=True)
    by_server = _ByServer()
    by_next_poll = _NextPoll()


_IS_OPEN = ExecutionRow.state.is_in(*(state.value for state in sorted(OPEN_STATES)))


def claim(
    run_id: str, server_id: str, *, owner: str, now: datetime, lease_until: datetime
) -> Execution | None:
    """Take the execution for this owner until the lease ends, and return it.

    The row is made if there is none. The tick comes back at the end of the
    lease, should the owner die. An execution that has ended is taken only for
    the output that is still on the host. None if it is another's, or needs
    nobody: read it to see which. A claim whose answer was lost succeeds again,
    and changes nothing: it is mine.
    """
    row = ExecutionRow(run_id=run_id, server_id=server_id)
    needed = _IS_OPEN | ExecutionRow.uncollected.exists()
    free = (ExecutionRow.owner == owner) | (ExecutionRow.lease_until < now)
    taken = update(
        row,
        actions=[
            ExecutionRow.state.set(ExecutionRow.state | State.PENDING.value),
            ExecutionRow.attempt.set(ExecutionRow.attempt | 1),
            ExecutionRow.first_visit.set(ExecutionRow.first_visit | owner),
            ExecutionRow.owner.set(owner),
            ExecutionRow.lease_until.set(lease_until),
            ExecutionRow.poll_shard.set(_shard(run_id, server_id)),
            ExecutionRow.next_poll.set(lease_until),
        ],
        condition=ExecutionRow.run_id.does_not_exist() | (needed & free),
    )
    return _execution(row) if taken else None


def give_back(
    execution: Execution,
    *,
    now: datetime,
    next_poll: datetime,
    reason: str | None,
    visited: bool,
    started_at: datetime | None = None,
    seen_at: datetime | None = None,
) -> bool:
    """End the lease, to be taken up again at `next_poll`.

    `visited` says that this visit may have started the command, `started_at`
    that it runs, and since when, `seen_at` when the host last said anything of
    it. False if the lease is another's.
    """
    actions: list[Action] = [
        ExecutionRow.lease_until.set(now),
        ExecutionRow.next_poll.set(next_poll),
        *set_or_remove((ExecutionRow.reason, reason)),
    ]
    if not visited and execution.first_visit == execution.owner:
        actions.append(ExecutionRow.first_visit.remove())
    if seen_at:
        actions.append(ExecutionRow.seen_at.set(seen_at))
    if started_at:
        actions += [
            ExecutionRow.state.set(State.RUNNING.value),
            ExecutionRow.started_at.set(started_at),
            ExecutionRow.polls.set(execution.polls + 1),
        ]
    return update(
        ExecutionRow(run_id=execution.run_id, server_id=execution.server_id),
        actions=actions,
        condition=(ExecutionRow.owner == execution.owner)
        & (ExecutionRow.lease_until > now)
        & _IS_OPEN,
    )


def finish(execution: Execution, outcome: Outcome, *, now: datetime) -> bool:
    """Write how the execution ended; False if that is on record already."""
    actions: list[Action] = [
        ExecutionRow.state.set(outcome.state.value),
        ExecutionRow.finished_at.set(outcome.finished_at or now),
        ExecutionRow.ttl.set(int(now.timestamp()) + retention_s()),
        *set_or_remove(
            (ExecutionRow.reason, outcome.reason),
            (ExecutionRow.exit_code, outcome.exit_code),
            (ExecutionRow.stdout, _plain(outcome.stdout)),
            (ExecutionRow.stderr, _plain(outcome.stderr)),
            (ExecutionRow.uncollected, outcome.uncollected or None),
        ),
    ]
    if outcome.started_at:
        actions.append(ExecutionRow.started_at.set(outcome.started_at))
    return update(
        ExecutionRow(run_id=execution.run_id, server_id=execution.server_id),
        actions=actions,
        condition=_IS_OPEN,
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
            (ExecutionRow.stdout, _plain(stdout)), (ExecutionRow.stderr, _plain(stderr))
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
    try:
        row = ExecutionRow.get(run_id, server_id, consistent_read=True)
    except ExecutionRow.DoesNotExist:
        return None
    return _execution(row)


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
    items = [_execution(row) for row in found[:limit]]
    last = items[-1].server_id if len(found) > limit else None
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


def keep_output(
    execution: Execution, *, stdout: bytes, stderr: bytes, now: datetime
) -> None:
    """Keep output that is small enough to lie in the table."""
    run_id, server_id = _output_key(execution)
    ExecutionRow(
        run_id=run_id,
        server_id=server_id,
        stdout_data=stdout or None,
        stderr_data=stderr or None,
        ttl=int(now.timestamp()) + retention_s(),
    ).save()


def output(execution: Execution, stream: Stream) -> bytes:
    """Return the inline output of a stream, empty if nothing was kept."""
    try:
        row = ExecutionRow.get(*_output_key(execution), consistent_read=True)
    except ExecutionRow.DoesNotExist:
        return b""
    data = row.stdout_data if stream is Stream.STDOUT else row.stderr_data
    return data or b""


def _output_key(execution: Execution) -> tuple[str, str]:
    return f"output#{execution.run_id}", f"{execution.server_id}#{execution.attempt}"


def _shard(run_id: str, server_id: str) -> int:
    return shard_of(f"{run_id}/{server_id}", shards())


def _plain(record: StreamRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "total_bytes": record.total_bytes,
        "chunks": [[chunk.first, chunk.end] for chunk in record.chunks],
        "inline": record.inline,
    }


def _record(plain: Any) -> StreamRecord | None:
    if plain is None:
        return None
    return StreamRecord(
        total_bytes=plain["total_bytes"],
        chunks=tuple(Chunk(first=first, end=end) for first, end in plain["chunks"]),
        inline=plain["inline"],
    )


def _execution(row: ExecutionRow) -> Execution:
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
        seen_at=row.seen_at,
        uncollected=bool(row.uncollected),
        polls=int(row.polls or 0),
        started_at=row.started_at,
        finished_at=row.finished_at,
        exit_code=int(row.exit_code) if row.exit_code is not None else None,
        stdout=_record(row.stdout),
        stderr=_record(row.stderr),
    )
