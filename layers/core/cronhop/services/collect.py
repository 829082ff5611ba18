"""Output: from the host into the table or the bucket, masked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cronhop.aws.output import OutputBucket
from cronhop.domain.mask import forms, mask
from cronhop.domain.run import Chunk, Execution, Stream, StreamRecord
from cronhop.domain.task import TaskDefinition
from cronhop.errors import OutputUnavailable, RemoteError, SecretUnavailable
from cronhop.observe import log
from cronhop.services.passwords import Environment, Passwords
from cronhop.services.visit import Visit
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import RemoteState, Report
from cronhop.store import attempts

INLINE_BYTES = 8 * 1024  # of each stream, in the table
CHUNK_BYTES = 256 * 1024  # one object in the bucket, and one step over a slow link
MAX_READ_CHUNKS = 32  # at once, 8 MiB
QUICK_S = 1.0  # a read that took less may be followed by one of twice the size


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What is kept of both streams.

    | field    | meaning                                                     |
    |----------|-------------------------------------------------------------|
    | complete | whether it is all that can be had of the command as it is   |
    | note     | why something was not kept, None if all was                 |
    """

    stdout: StreamRecord
    stderr: StreamRecord
    complete: bool
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Brings output into `bucket`, with the values of `passwords` masked."""

    passwords: Passwords
    bucket: OutputBucket

    def collect(
        self,
        visit: Visit,
        definition: TaskDefinition,
        report: Report,
        connection: Connection,
        *,
        environment: Environment | None,
        now: datetime,
    ) -> Collected:
        """Keep the output, or nothing of it if its secrets are not known any more.

        What this visit started has the values of `environment`. What an earlier
        one did has those of the time; a credential that was replaced since then
        may stand in the output with a value that nobody can mask.
        """
        values = environment.values if environment else None
        if values is None or not report.started_here:
            try:
                values = self.passwords.since(visit.execution, definition)
            except SecretUnavailable:
                return later(visit.execution, report)
        if values is None:
            return withheld(visit.execution, report)
        return collect(
            visit.execution,
            report,
            connection,
            self.bucket,
            [
                form
                for name in definition.secrets
                for form in forms(values[name].encode())
            ],
            cap_bytes=definition.output_cap_bytes,
            now=now,
        )


def collect(
    execution: Execution,
    report: Report,
    connection: Connection,
    bucket: OutputBucket,
    secrets: Sequence[bytes],
    *,
    cap_bytes: int,
    now: datetime,
) -> Collected:
    """Keep what the command wrote, masked, and return what is kept.

    A stream of at most 8 KiB lies in the table once the command has ended, any
    other in the bucket, of one beyond the cap the first and the last half; while
    the command runs, the first half as far as it has got. Chunks that the
    execution has already are not fetched again, so that a slow link gets on from
    visit to visit. If host or bucket fail meanwhile, what was kept by then is
    returned.
    """
    has_ended = report.state in {RemoteState.EXITED, RemoteState.LOST}
    has_heads = report.state is RemoteState.EXITED
    sources = _sources(execution, report)
    inline = {
        source.stream: mask(source.head[: source.total], secrets)
        for source in sources
        if has_heads and source.total <= INLINE_BYTES
    }
    if any(inline.values()):
        attempts.keep_output(
            execution,
            stdout=inline.get(Stream.STDOUT, b""),
            stderr=inline.get(Stream.STDERR, b""),
            now=now,
        )
    records, notes = {}, []
    complete = True
    for source in sources:
        if source.is_cut:
            notes.append(f"{source.stream}: the server's disk was full, more was lost")
        if source.stream in inline:
            record = StreamRecord(total_bytes=source.total, inline=True)
        else:
            reader = _Reader(connection, execution.key, source, secrets)
            pieces = list(reader.pieces(cap_bytes, has_ended=has_ended))
            record, is_whole = _in_bucket(reader, pieces, bucket)
            complete = complete and is_whole
        records[source.stream] = record
    return Collected(
        stdout=records[Stream.STDOUT],
        stderr=records[Stream.STDERR],
        complete=complete,
        note="; ".join(notes) or None,
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
    stdout, stderr = (
        StreamRecord(
            total_bytes=max(source.total, _total(source.earlier)),
            chunks=source.earlier.chunks if source.earlier else (),
            inline=source.total == 0 and not _total(source.earlier),
        )
        for source in _sources(execution, report)
    )
    return Collected(stdout=stdout, stderr=stderr, complete=False)


def _total(record: StreamRecord | None) -> int:
    return record.total_bytes if record else 0


def _in_bucket(
    reader: _Reader, pieces: Sequence[Chunk], bucket: OutputBucket
) -> tuple[StreamRecord, bool]:
    """Bring pieces into the bucket; False if host or bucket failed meanwhile.

    What was there before and has not been replaced by then stays.
    """
    source = reader.source
    before = source.earlier.chunks if source.earlier else ()
    if not source.kept and before:
        return replace(reader.record(before), total_bytes=_total(source.earlier)), True
    chunks: list[Chunk] = []
    try:
        for piece, data in reader.read([one for one in pieces if one not in before]):
            # Shorter if what the command left running has truncated the file.
            chunk = replace(piece, end=piece.first + len(data))
            if data:
                bucket.keep(reader.key, source.stream, chunk, data)
                chunks.append(chunk)
            if len(data) < piece.end - piece.first:
                break  # the host says that there is more than it gives
    except (RemoteError, OutputUnavailable) as exc:
        log.warning(
            "Output is still on the host",
            action="output_uncollected",
            execution=reader.key,
            why=str(exc),
        )
        return reader.record(_joined(chunks, before)), False
    return reader.record(
        _joined(chunks, [one for one in pieces if one in before])
    ), True


def _joined(chunks: Sequence[Chunk], others: Sequence[Chunk]) -> list[Chunk]:
    """Return the chunks, and of the others those that they have not replaced."""
    firsts = {chunk.first for chunk in chunks}
    left = [chunk for chunk in others if chunk.first not in firsts]
    return sorted([*chunks, *left], key=lambda chunk: chunk.first)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A stream on the host: its bytes by now, the parts that are there, its head."""

    stream: Stream
    total: int
    kept: tuple[tuple[int, int], ...]
    head: bytes
    is_cut: bool
    earlier: StreamRecord | None


def _sources(execution: Execution, report: Report) -> list[_Source]:
    found = [
        _Source(
            stream=Stream.STDOUT,
            total=report.stdout_bytes,
            kept=report.stdout_kept,
            head=report.stdout_head,
            is_cut=report.stdout_cut,
            earlier=execution.stdout,
        ),
        _Source(
            stream=Stream.STDERR,
            total=report.stderr_bytes,
            kept=report.stderr_kept,
            head=report.stderr_head,
            is_cut=report.stderr_cut,
            earlier=execution.stderr,
        ),
    ]
    if not execution.uncollected:
        return found
    # Once it has ended, the sizes are those of the first look: what the command
    # left running may write on, and what is there is not cut anew.
    return [
        replace(one, total=one.earlier.total_bytes) if one.earlier else one
        for one in found
    ]


@dataclass(frozen=True)
class _Reader:
    """Reads pieces of a stream with a margin: no secret hides across their edges."""

    connection: Connection
    key: str
    source: _Source
    secrets: Sequence[bytes]

    @property
    def margin(self) -> int:
        """How much of a secret may lie beyond the edge of a piece."""
        return max((len(secret) for secret in self.secrets), default=1) - 1

    def pieces(self, cap_bytes: int, *, has_ended: bool) -> Iterator[Chunk]:
        """Yield the pieces that are to be kept of what is there.

        Where the stream was cut, and where it still grows, the last bytes may be a
        part of a secret: they are left out.
        """
        total, half = self.source.total, cap_bytes // 2
        if not has_ended:
            wanted = [(0, half)]
        elif total <= cap_bytes:
            wanted = [(0, total)]
        else:
            wanted = [(0, half), (total - half, total)]
        for kept_first, kept_end in self.source.kept:
            is_end = has_ended and kept_end >= total
            least = kept_first + (self.margin if kept_first else 0)
            most = min(kept_end, total) - (0 if is_end else self.margin)
            for first, end in wanted:
                last = min(end, most)
                for start in range(max(first, least), last, CHUNK_BYTES):
                    yield Chunk(first=start, end=min(start + CHUNK_BYTES, last))

    def record(self, chunks: Sequence[Chunk]) -> StreamRecord:
        """Return the record of the stream with these chunks."""
        return StreamRecord(total_bytes=self.source.total, chunks=tuple(chunks))

    def read(self, pieces: Sequence[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
        """Yield the bytes of each piece, masked; fewer if there are no more.

        Several are read at once as long as that is quick, as each look at the host
        has its price; a slow link gets them one by one, and keeps each.
        """
        waiting, step = list(pieces), 1
        while waiting:
            batch = _adjacent(waiting[:step])
            del waiting[: len(batch)]
            began = time.monotonic()
            data = self._read(Chunk(first=batch[0].first, end=batch[-1].end))
            is_quick = time.monotonic() - began < QUICK_S
            step = min(2 * step, MAX_READ_CHUNKS) if is_quick else 1
            for piece in batch:
                at = piece.first - batch[0].first
                yield piece, data[at : at + piece.end - piece.first]

    def _read(self, part: Chunk) -> bytes:
        first = max(part.first - self.margin, 0)
        end = min(part.end + self.margin, self.source.total)
        data = runner.read(
            self.connection,
            self.key,
            self.source.stream.value,
            offset=first,
            limit=end - first,
        )
        return mask(data, self.secrets)[part.first - first : part.end - first]


def _adjacent(pieces: Sequence[Chunk]) -> list[Chunk]:
    """Return the pieces up to the first gap between two."""
    found = [pieces[0]]
    for piece in pieces[1:]:
        if piece.first != found[-1].end:
            break
        found.append(piece)
    return found
