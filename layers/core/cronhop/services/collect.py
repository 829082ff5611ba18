"""Output: from the host into the table or the bucket, masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from cronhop.aws.output import OutputBucket
from cronhop.domain.mask import mask
from cronhop.domain.run import Chunk, Execution, Stream, StreamRecord
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Report
from cronhop.store import executions

INLINE_BYTES = 8 * 1024  # of each stream, in the table
CAP_BYTES = 10 * 1024 * 1024  # of each stream: its first and its last half are kept
CHUNK_BYTES = 1024 * 1024  # one object in the bucket


def collect(
    execution: Execution,
    report: Report,
    connection: Connection,
    bucket: OutputBucket,
    secrets: Sequence[bytes],
    now: datetime,
) -> tuple[StreamRecord, StreamRecord]:
    """Keep what the command wrote, and return the records of stdout and stderr.

    A stream of at most 8 KiB lies in the table, a longer one in the bucket, of
    one beyond 10 MiB the first and the last 5 MiB. Collecting twice keeps the
    same. Raises RemoteError if the host went away meanwhile.
    """
    heads = {Stream.STDOUT: report.stdout_head, Stream.STDERR: report.stderr_head}
    totals = {Stream.STDOUT: report.stdout_bytes, Stream.STDERR: report.stderr_bytes}
    inline: dict[Stream, bytes] = {}
    records: dict[Stream, StreamRecord] = {}
    for stream, total in totals.items():
        if total <= INLINE_BYTES:
            inline[stream] = mask(heads[stream], secrets)
            records[stream] = StreamRecord(total_bytes=total)
            continue
        chunks = []
        for planned in _chunks(total):
            data = _masked(connection, execution, stream, planned, total, secrets)
            # Shorter if what the command left running has truncated the file.
            chunk = replace(planned, end=planned.first + len(data))
            bucket.keep(execution.key, stream, chunk, data)
            chunks.append(chunk)
        records[stream] = StreamRecord(total_bytes=total, chunks=tuple(chunks))
    if any(inline.values()):
        executions.keep_output(
            execution,
            stdout=inline.get(Stream.STDOUT, b""),
            stderr=inline.get(Stream.STDERR, b""),
            now=now,
        )
    return records[Stream.STDOUT], records[Stream.STDERR]


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
