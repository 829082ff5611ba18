"""What attempts left behind: items of their own in the table of executions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cronhop.domain.run import Attempt, Execution, Outcome, State, Stream
from cronhop.store.attributes import set_or_remove
from cronhop.store.connection import retention_s, update
from cronhop.store.executions import ExecutionRow, ended, stream_of


def record(execution: Execution, outcome: Outcome, *, now: datetime) -> None:
    """Put on record how an attempt ended that is followed by another.

    What is on record stays, unless some of its output was missing then.
    """
    update(
        _row(execution),
        actions=[
            *ended(outcome, now),
            *set_or_remove((ExecutionRow.uncollected, outcome.uncollected or None)),
            ExecutionRow.attempt.set(execution.attempt),
            ExecutionRow.ttl.set(int(now.timestamp()) + retention_s()),
        ],
        condition=ExecutionRow.state.does_not_exist()
        | ExecutionRow.uncollected.exists(),
    )


def get(execution: Execution, number: int) -> Attempt | None:
    """Return how an attempt ended, None if that is not on record."""
    row = _row(replace(execution, attempt=number))
    try:
        row.refresh(consistent_read=True)
    except ExecutionRow.DoesNotExist:
        return None
    return _attempt(row) if row.state else None


def of_execution(run_id: str, server_id: str) -> list[Attempt]:
    """Return the attempts that were followed by another, oldest first."""
    rows = ExecutionRow.query(
        f"output#{run_id}",
        ExecutionRow.server_id.startswith(f"{server_id}#"),
        consistent_read=True,
    )
    # Items without a state hold the output of the last attempt alone.
    found = [_attempt(row) for row in rows if row.state]
    return sorted(found, key=lambda attempt: attempt.attempt)


def keep_output(
    execution: Execution, *, stdout: bytes, stderr: bytes, now: datetime
) -> None:
    """Keep output that is small enough to lie in the table."""
    _row(execution).update(
        actions=[
            *set_or_remove(
                (ExecutionRow.stdout_data, stdout or None),
                (ExecutionRow.stderr_data, stderr or None),
            ),
            ExecutionRow.ttl.set(int(now.timestamp()) + retention_s()),
        ]
    )


def output(execution: Execution, stream: Stream) -> bytes:
    """Return the inline output of a stream, empty if nothing was kept."""
    row = _row(execution)
    try:
        row.refresh(consistent_read=True)
    except ExecutionRow.DoesNotExist:
        return b""
    data = row.stdout_data if stream is Stream.STDOUT else row.stderr_data
    return data or b""


def _row(execution: Execution) -> ExecutionRow:
    return ExecutionRow(
        run_id=f"output#{execution.run_id}",
        server_id=f"{execution.server_id}#{execution.attempt}",
    )


def _attempt(row: ExecutionRow) -> Attempt:
    return Attempt(
        attempt=int(row.attempt),
        state=State(row.state),
        reason=row.reason,
        exit_code=int(row.exit_code) if row.exit_code is not None else None,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stdout=stream_of(row.stdout),
        stderr=stream_of(row.stderr),
    )
