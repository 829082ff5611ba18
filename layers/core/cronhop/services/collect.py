"""Output: from the host into the table or the bucket, masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cronhop.aws.output import OutputBucket
from cronhop.domain.mask import mask
from cronhop.domain.run import Chunk, Execution, Stream, StreamRecord
from cronhop.errors import OutputUnavailable, RemoteError
from cronhop.observe import log
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Report
from cronhop.store import executions

INLINE_BYTES = 8 * 1024  # of each stream, in the table
CAP_BYTES = 10 * 1024 * 1024  # of each stream: its first and its last half are kept
CHUNK_BYTES = 256 * 1024  # one object in the bucket, and one step over a slow link


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What is kept of both streams.

    | field    | meaning                                       |
    |----------|-----------------------------------------------|
    | complete | whether it is all there will be               |
    | note     | why something was not kept, None if all was   |
    """

    stdout: StreamRecord
    stderr: StreamRecord
    complete: bool
    note: str | None = None


def collect(
    execution: Execution,
    report: Report,
    connection: Connection,
    bucket: OutputBucket,
    secrets: Sequence[bytes],
    now: datetime,
) -> Collected:
    """Keep what the command wrote, masked, and return what is kept.

    A stream of at most 8 KiB lies in the table, a longer one in the bucket, of
    one beyond 10 MiB the first and the last 5 MiB. Chunks that the execution has
    already are not fetched again, so that a slow link gets on from visit to
    visit. If host or bucket fail meanwhile, what was kept by then is returned.
    """
    heads = {Stream.STDOUT: report.stdout_head, Stream.STDERR: report.stderr_head}
    totals = {Stream.STDOUT: report.stdout_bytes, Stream.STDERR: report.stderr_bytes}
    kept = {Stream.STDOUT: execution.stdout, Stream.STDERR: execution.stderr}
    inline = {
        stream: mask(heads[stream][:total], secrets)
        for stream, total in totals.items()
        if total <= INLINE_BYTES
    }
    if any(inline.values()):
        executions.keep_output(
            execution,
            stdout=inline.get(Stream.STDOUT, b""),
            stderr=inline.get(Stream.STDERR, b""),
            now=now,
        )
    records: dict[Stream, StreamRecord] = {}
    complete = True
    for stream, total in totals.items():
        if stream in inline:
            records[stream] = StreamRecord(total_bytes=total, inline=True)
            continue
        earlier = kept[stream]
        # The sizes are those of the first look: what is there is not cut anew.
        size = earlier.total_bytes if earlier else total
        chunks = list(earlier.chunks) if earlier else []
        try:
            for planned in list(_chunks(size))[len(chunks) :]:
                data = _masked(connection, execution, stream, planned, size, secrets)
                # Shorter if what the command left running has truncated the file.
                chunk = replace(planned, end=planned.first + len(data))
                bucket.keep(execution.key, stream, chunk, data)
                chunks.append(chunk)
        except (RemoteError, OutputUnavailable) as exc:
            complete = False
            log.warning(
                "Output is still on the host",
                action="output_uncollected",
                execution=execution.key,
                why=str(exc),
            )
        records[stream] = StreamRecord(total_bytes=size, chunks=tuple(chunks))
    return Collected(
        stdout=records[Stream.STDOUT],
        stderr=records[Stream.STDERR],
        complete=complete,
    )


def withheld(execution: Execution, report: Report) -> Collected:
    """Return the record of output of which nothing more may be kept."""
    return replace(
        later(execution, report),
        complete=True,
        note="output withheld: a secret of the task was replaced while it ran",
    )


def later(execution: Execution, report: Report) -> Collected:
    """Return the record of output of which nothing more can be kept just now."""
    return Collected(
        stdout=execution.stdout or _nothing_of(report.stdout_bytes),
        stderr=execution.stderr or _nothing_of(report.stderr_bytes),
        complete=False,
    )


def _nothing_of(total: int) -> StreamRecord:
    return StreamRecord(total_bytes=total, inline=total == 0)


def _chunks(total: int) -> Iterator[Chunk]:
    """Yield the pieces to keep of a stream of `total` bytes."""
    half = CAP_BYTES // 2
    parts = [(0, total)] if total <= CAP_BYTES else [(0, half), (total - half, total)]
    for first, end in parts:
        for start in range(first, end, CHUNK_BYTES):
            yield Chunk(first=start, end=min(start + CHUNK_BYTES, end))


def _masked(
    connection: Connection,
    execution: Execution,
    stream: Stream,
    chunk: Chunk,
    total: int,
    secrets: Sequence[bytes],
) -> bytes:
    """Read a piece with a margin, so that no secret hides across its edges."""
    margin = max((len(secret) for secret in secrets), default=1) - 1
    first = max(chunk.first - margin, 0)
    end = min(chunk.end + margin, total)
    data = runner.read(
        connection, execution.key, stream.value, offset=first, limit=end - first
    )
    return mask(data, secrets)[chunk.first - first : chunk.end - first]
