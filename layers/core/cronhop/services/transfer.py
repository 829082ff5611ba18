"""File transfers: between a server and the transfer bucket, or a task's own text."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryFile
from typing import Final

from cronhop.aws.files import Files
from cronhop.domain.run import Outcome, State, StreamRecord
from cronhop.domain.task import TaskDefinition
from cronhop.domain.transfer import MAX_BYTES, Direction, FileTransfer
from cronhop.errors import Deadline, ObjectRefused, ObjectUnavailable, RemoteError
from cronhop.services.finish import Finisher
from cronhop.services.passwords import Passwords
from cronhop.services.visit import Visit
from cronhop.ssh import sftp
from cronhop.ssh.connection import Connection
from cronhop.ssh.sftp import Moved
from cronhop.ssh.sftp_session import Source
from cronhop.store import attempts

FULL: Final = "the executor's own disk is full just now"


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What has arrived; `summary` is for the record, as a command's stdout would be."""

    bytes: int
    sha256: str
    summary: str


class Transfers:
    """Takes file transfers from their start to their end, within a visit each.

    `now` is the clock.
    """

    def __init__(
        self,
        files: Files,
        passwords: Passwords,
        finisher: Finisher,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._files = files
        self._passwords = passwords
        self._finisher = finisher
        self._now = now

    def visit(
        self, visit: Visit, definition: TaskDefinition, spec: FileTransfer
    ) -> None:
        """Do the transfer, or put it off; the caller has the lease and a server.

        It has a connection of its own, which ends with the task's timeout: there is
        nobody on the host to enforce it. Raises what `Visit.connect` raises.
        """
        server, invocation = visit.server, visit.invocation
        if server is None:
            raise ValueError("there is no server to transfer to")
        began, timeout_at = self._now(), time.monotonic() + definition.timeout_s
        connection = visit.connect_apart(
            server, self._passwords, deadline=min(invocation.stop_at, timeout_at)
        )
        try:
            done = transfer(connection, spec, self._files, key=visit.execution.key)
        except Deadline as exc:
            if time.monotonic() < timeout_at:
                raise  # our own time was over before the task's
            self._end(visit, began, State.TIMEOUT, f"ended by its timeout: {exc}")
        except ObjectUnavailable as exc:
            self._finisher.put_off(visit, f"transfer bucket: {exc}")
        except ObjectRefused as exc:
            self._end(visit, began, State.FAILED, f"transfer bucket: {exc}")
        except RemoteError as exc:
            if not exc.permanent:
                raise
            self._end(visit, began, State.FAILED, f"{exc.reason}: {exc}")
        else:
            self._end(visit, began, State.COMPLETED, None, done.summary)
        finally:
            connection.close()

    def _end(
        self,
        visit: Visit,
        began: datetime,
        state: State,
        reason: str | None,
        summary: str = "",
    ) -> None:
        now, data = self._now(), summary.encode()
        if data:
            attempts.keep_output(visit.execution, stdout=data, stderr=b"", now=now)
        outcome = Outcome(
            state=state,
            reason=reason,
            started_at=began,
            finished_at=now,
            stdout=StreamRecord(total_bytes=len(data), inline=True),
            stderr=StreamRecord(total_bytes=0, inline=True),
            is_attempt=True,
        )
        self._finisher.finish(visit, outcome)


def transfer(
    connection: Connection,
    spec: FileTransfer,
    files: Files,
    *,
    key: str,
    limit: int = MAX_BYTES,
) -> Transferred:
    """Ensure that the file of `spec` has arrived, whole.

    `key` names the execution: what an earlier visit left on the host under it is
    removed first. Doing it again gives the same file, so after an error that is not
    permanent it is simply done again.

    Raises a `RemoteError` for the server, `ObjectRefused` or `ObjectUnavailable` for
    the bucket.
    """
    if spec.direction is Direction.DOWNLOAD:
        moved = _download(connection, spec, files, limit=limit)
    elif spec.object_key is None:
        moved = _upload(connection, spec, io.BytesIO(spec.data()), key, limit)
    else:
        with files.reading(spec.object_key) as source:
            if source.size > limit:
                raise ObjectRefused(
                    f"object {spec.object_key!r}: it has more than {limit} bytes"
                )
            moved = _upload(connection, spec, source, key, limit)
    return Transferred(
        bytes=moved.size, sha256=moved.sha256, summary=_summary(spec, moved)
    )


def _upload(
    connection: Connection, spec: FileTransfer, source: Source, key: str, limit: int
) -> Moved:
    return sftp.upload(
        connection,
        spec.path,
        source,
        key=key,
        limit=limit,
        root=spec.root,
        mode=spec.mode,
        owner=spec.owner,
    )


def _download(
    connection: Connection, spec: FileTransfer, files: Files, *, limit: int
) -> Moved:
    """Read a file to this machine's disk, and keep it when it is whole."""
    files.check()
    with TemporaryFile(buffering=0) as file:
        moved = sftp.download(
            connection, spec.path, _Disk(file), limit=limit, root=spec.root
        )
        files.put(spec.object_key or "", file, sha256=moved.sha256)
    return moved


class _Disk:
    """A sink on this machine's disk, which others fill as well."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def write(self, data: bytes, /) -> None:
        try:
            written = self._file.write(data)
        except OSError as exc:
            raise ObjectUnavailable(FULL) from exc
        if written != len(data):
            raise ObjectUnavailable(FULL)


def _summary(spec: FileTransfer, moved: Moved) -> str:
    """Return what a user reads of it: each thing on a line of its own."""
    end = spec.object_key if spec.object_key is not None else "inline content"
    ways = {
        Direction.UPLOAD: f"{end} -> {spec.path}",
        Direction.DOWNLOAD: f"{spec.path} -> {end}",
    }
    return (
        f"{ways[spec.direction]}\n"
        f"{moved.size} bytes\n"
        f"sha256 {moved.sha256} (on the server: {moved.verified_by})\n"
    )
