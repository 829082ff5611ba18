"""Runs as people read them: the ledger, its executions, their output."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cronhop.aws.output import OutputBucket
from cronhop.domain.ids import id_time, is_id
from cronhop.domain.run import Execution, Run, Stream, StreamRecord
from cronhop.errors import Invalid, NotFound
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
        """Return runs, newest first: of one task, or of all.

        Raises Invalid if `after` can be no run's id.
        """
        if after is not None:
            try:
                id_time(after)
            except ValueError as exc:
                raise Invalid("next_token", "it is none of ours") from exc
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
        record = record or StreamRecord(total_bytes=0, inline=True)
        total = record.total_bytes
        start = min(offset, total)
        if record.inline:
            data = executions.output(execution, stream)[start : start + limit]
            following = start + len(data)
        else:
            data, following = self._chunked(execution, stream, record, start, limit)
        return OutputPage(
            data=data,
            offset=start,
            next_offset=following,
            total_bytes=total,
            complete=(
                execution.state.is_terminal
                and not execution.uncollected
                and following >= total
            ),
            truncated_bytes=0 if execution.uncollected else record.truncated_bytes,
        )

    def _chunked(
        self,
        execution: Execution,
        stream: Stream,
        record: StreamRecord,
        start: int,
        limit: int,
    ) -> tuple[bytes, int]:
        """Return what the chunks hold from `start`, and where to go on."""
        data, at = b"", start
        for chunk in record.chunks:
            if at < chunk.first and not data:
                return b"", chunk.first
            if chunk.first <= at < chunk.end and len(data) < limit:
                data += self.bucket.read(
                    execution.key, stream, chunk, offset=at, limit=limit - len(data)
                )
                at = start + len(data)
        if data or execution.uncollected:
            return data, at
        return b"", record.total_bytes
