"""Runs as people read them: the ledger, its executions, their output."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cronhop.aws.output import OutputBucket
from cronhop.domain.ids import is_id
from cronhop.domain.run import Execution, Run, Stream, StreamRecord
from cronhop.errors import NotFound
from cronhop.store import executions
from cronhop.store import runs as store
from cronhop.store.page import Page


@dataclass(frozen=True, kw_only=True)
class OutputPage:
    """A piece of a stream.

    | field           | meaning                                              |
    |-----------------|------------------------------------------------------|
    | data            | the bytes from `offset`, secrets masked              |
    | next_offset     | where to go on; beyond a gap, behind it              |
    | total_bytes     | what the command wrote, as far as it is known        |
    | complete        | whether `next_offset` is the end and no more comes   |
    | truncated_bytes | how many bytes of the middle were dropped            |
    """

    data: bytes
    offset: int
    next_offset: int
    total_bytes: int
    complete: bool
    truncated_bytes: int


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What people read of runs."""

    bucket: OutputBucket

    def get(self, run_id: str) -> Run:
        """Return the run. Raises NotFound."""
        run = store.get(run_id) if is_id(run_id) else None
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        return run

    def listing(
        self, *, task_id: str | None, now: datetime, limit: int, after: str | None
    ) -> Page[Run]:
        """Return runs, newest first: of one task, or of all."""
        if task_id:
            return store.of_task(task_id, limit=limit, after=after)
        return store.recent(now=now, limit=limit, after=after)

    def executions(
        self, run_id: str, *, limit: int, after: str | None
    ) -> Page[Execution]:
        """Return the executions of a run by server. Raises NotFound."""
        self.get(run_id)
        return executions.of_run(run_id, limit=limit, after=after)

    def execution(self, run_id: str, server_id: str) -> Execution:
        """Return one execution. Raises NotFound."""
        if is_id(run_id) and is_id(server_id):
            execution = executions.get(run_id, server_id)
            if execution:
                return execution
        raise NotFound(f"run {run_id} has no execution on server {server_id}")

    def output(
        self, run_id: str, server_id: str, stream: Stream, *, offset: int, limit: int
    ) -> OutputPage:
        """Return a piece of a stream from `offset`. Raises NotFound.

        A read in a part that was dropped returns nothing, and `next_offset` is
        where the kept part goes on.
        """
        execution = self.execution(run_id, server_id)
        record = execution.stdout if stream is Stream.STDOUT else execution.stderr
        record = record or StreamRecord(total_bytes=0)
        total = record.total_bytes
        start = min(offset, total)
        if record.chunks:
            data, following = self._chunked(execution, stream, record, start, limit)
        elif total:
            data = executions.output(execution, stream)[start : start + limit]
            following = start + len(data)
        else:
            data, following = b"", start
        return OutputPage(
            data=data,
            offset=start,
            next_offset=following,
            total_bytes=total,
            complete=execution.state.is_terminal and following >= total,
            truncated_bytes=record.truncated_bytes,
        )

    def _chunked(
        self,
        execution: Execution,
        stream: Stream,
        record: StreamRecord,
        start: int,
        limit: int,
    ) -> tuple[bytes, int]:
        for chunk in record.chunks:
            if start < chunk.first:
                return b"", chunk.first
            if start < chunk.end:
                data = self.bucket.read(
                    execution.key, stream, chunk, offset=start, limit=limit
                )
                return data, start + len(data)
        return b"", record.total_bytes
