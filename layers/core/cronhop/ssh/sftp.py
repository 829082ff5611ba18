"""Files to servers and from them: whole or not at all, and checked.

The bytes go by SFTP; where a file really lies, its checksum, mode and owner are the
business of sftp.sh, which runs on the host as any script.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

from cronhop.errors import FileChanged, FileRefused, ProtocolError, RemoteError
from cronhop.ssh.connection import Connection
from cronhop.ssh.failure import quote
from cronhop.ssh.sftp_session import (
    Digest,
    SftpSession,
    Sink,
    Source,
    StatusError,
    sftp,
)

_ANSWER_S: Final = 30.0  # seconds for an answer, beyond what its work takes
_DIGEST_BYTES_S: Final = 5_000_000  # bytes a second that the slowest host reads
_NOISE_BYTES: Final = 256 * 1024  # what a login shell's rc files may print
_SHA256: Final = re.compile(rb"\b[0-9a-f]{64}\b")
_TOOL: Final = re.compile(rb"(?:sum|sealed) (sha256sum|openssl|busybox|shasum|none)")
_TARGET: Final = re.compile(
    rb"done (?P<login>\d{1,10}) (?P<umask>[0-7]{1,4}) (?P<mode>[0-7]{1,4}|-)"
    rb" (?P<uid>\d{1,10}|-) (?P<gid>\d{1,10}|-)"
)
_MAX_ID: Final = 2**32 - 1
_READ_BACK: Final = "read back"
_INERT: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-"
)
_REFUSED: Final = {
    b"no_home": "HOME is not set on the server",
    b"no_user": "the server has no user of the owner's name",
    b"no_group": "the server has no group of the owner's name",
    b"no_root": "the root is no directory that can be entered",
    b"missing": "its directory does not exist",
    b"no_directory": "a part of the path is no directory",
    b"closed": "permission denied: its directory cannot be entered",
    b"newline": "its real path has a line break in it",
    b"directory": "it is a directory",
    b"special": "it is no regular file",
    b"read_only": "permission denied: its directory cannot be written to",
    b"dangling": "it is a symlink to nothing",
    b"no_readlink": "it is a symlink, and the host has no readlink to resolve it",
    b"no_file": "no such file",
    b"unreadable": "permission denied: it cannot be read",
}
_WHY: Final = {
    b"No space left on device": "the disk is full: no space or no inodes left",
    b"Disk quota exceeded": "the quota is used up",
    b"Read-only file system": "the file system is read-only",
    b"File too large": "it is larger than the file system or the login's limit allows",
    b"Permission denied": "permission denied",
    b"Operation not permitted": "permission denied",
    b"File name too long": "its name is too long",
    b"Input/output error": "the disk has an error",
}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A file that has arrived.

    | field       | meaning                                                     |
    |-------------|-------------------------------------------------------------|
    | size        | in bytes                                                    |
    | sha256      | in hexadecimal                                              |
    | verified_by | what computed it at the other end too: a program's name, or |
    |             | "read back" where the host has none                         |
    """

    size: int
    sha256: str
    verified_by: str


def upload(
    connection: Connection,
    path: str,
    source: Source,
    *,
    key: str,
    limit: int,
    root: str | None = None,
    mode: str | None = None,
    owner: str | None = None,
) -> Moved:
    """Ensure that the file on the server holds what `source` gives.

    1. find the real directory, which must lie in `root`; remove what an earlier
       transfer left there under the same `key`, or any a day ago
    2. write a new file in it, which only the login can read; have it on the disk
    3. compare its size and SHA-256, set owner and mode
    4. let it take the name in one step

    Who reads the path meets the old file or the new one, whole. A symlink of that
    name is replaced itself, not followed. `mode` is octal; without it the mode of the
    file that is replaced is kept, and root keeps its owner too. `owner` needs root,
    or `sudo -n chown`.

    Raises `FileRefused` with the reason, `FileChanged` if the host has other bytes
    than were sent, any other `RemoteError` if the connection breaks: the file is the
    old one, or (cut in step 4) the new one; a temporary file may be left. Doing it
    again is safe. Errors of `source` are passed on.

    Between step 1 and the others, who may write to the directories above could put a
    symlink in their place; `root` holds against links that are there, not against
    somebody who moves them meanwhile. Owner and mode are set on the open file, where
    no link can come between, but for an owner by sudo: do not let that write to a
    directory in which others may write.
    """
    place = _place(connection, path, key, root=root, mode=mode, owner=owner)
    try:
        digest = _write(connection, place, source, limit=limit)
        verified_by = _seal(connection, place, digest)
        with sftp(connection) as session:
            try:
                session.replace(place.new, place.target)
            except StatusError as exc:
                raise FileRefused(f"it cannot be put in its place: {exc}") from exc
    except BaseException:
        # What is left when this fails too is removed by a later transfer.
        with suppress(RemoteError):
            _ask(connection, ["discard", place.new])
        raise
    return Moved(size=digest.size, sha256=digest.sha256, verified_by=verified_by)


def download(
    connection: Connection,
    path: str,
    sink: Sink,
    *,
    limit: int,
    root: str | None = None,
) -> Moved:
    """Write the file on the server to `sink`, as long as it is when it is opened.

    Symlinks are followed; with `root`, the directory of what they lead to must lie in
    it, and the race is that of `upload`. What a file gains while it is read is left
    out. Raises `FileRefused` with the reason, `FileChanged` if it became shorter or
    was rewritten meanwhile: `sink` then holds what is to be thrown away.
    """
    _, location = _locate(connection, ["source", path, root or ""])
    with sftp(connection, limit=limit) as session:
        digest = _read(session, location, sink, limit=limit)
    words, body = _ask(
        connection,
        ["digest", location, str(digest.size)],
        timeout_s=_digest_s(digest.size),
    )
    if words == b"unsummed":
        verified_by = _READ_BACK
        with sftp(connection, limit=digest.size) as session:
            again = _read(session, location, _Nowhere(), limit=limit, size=digest.size)
        is_same = again == digest
    else:
        verified_by = _tool(words)
        is_same = _SHA256.findall(body) == [digest.sha256.encode()]
    if not is_same:
        raise FileChanged("the file was changed while it was read")
    return Moved(size=digest.size, sha256=digest.sha256, verified_by=verified_by)


class _Nowhere:
    """A sink that keeps nothing."""

    def write(self, data: bytes, /) -> None:
        """Let them go."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a new file is written, and what it becomes.

    | field       | meaning                                                     |
    |-------------|-------------------------------------------------------------|
    | new, target | real paths: of the temporary file, of what it replaces      |
    | mode        | what it has in the end                                      |
    | uid, gid    | whose it becomes, by the open file; None: as it is          |
    | owner       | whose it becomes, by sudo; "": done without                 |
    """

    new: bytes
    target: bytes
    mode: int
    uid: int | None
    gid: int | None
    owner: str

    @property
    def left_mode(self) -> str:
        """The mode that cannot be set before the checksum, "-" for none.

        Not before the owner, and not where the login could not read it any more.
        """
        return f"{self.mode:04o}" if self.owner or not self.mode & 0o400 else "-"


def _place(
    connection: Connection,
    path: str,
    key: str,
    *,
    root: str | None,
    mode: str | None,
    owner: str | None,
) -> _Place:
    """Return where a file is written, after the leavings there are gone."""
    name = path.rpartition("/")[2]
    tag, mine = _hash(name), _hash(key)
    words, directory = _locate(
        connection, ["target", path, root or "", tag, mine, owner or ""]
    )
    found = _TARGET.fullmatch(words)
    if found is None:
        raise ProtocolError("the host gave no answer that makes sense")
    login, uid, gid = (
        None if found[one] == b"-" else int(found[one])
        for one in ("login", "uid", "gid")
    )
    if max(uid or 0, gid or 0) > _MAX_ID:
        raise ProtocolError("the host gave no answer that makes sense")
    if mode is not None:
        wanted = int(mode, 8)
    elif found["mode"] != b"-":
        wanted = int(found["mode"], 8) & 0o777  # set-id bits are not inherited
    else:
        wanted = 0o666 & ~int(found["umask"], 8)
    is_by_sudo = login != 0 and owner is not None and (uid != login or gid is not None)
    temporary = f".cronhop-{tag}-{mine}-{secrets.token_hex(8)}"
    return _Place(
        new=_join(directory, temporary.encode()),
        target=_join(directory, name.encode()),
        mode=wanted,
        uid=uid if login == 0 else None,
        gid=gid if login == 0 else None,
        owner=(owner or "") if is_by_sudo else "",
    )


def _write(
    connection: Connection, place: _Place, source: Source, *, limit: int
) -> Digest:
    """Write a new file, and explain why it cannot be written."""
    try:
        with sftp(connection) as session:
            if not session.can_replace:
                raise FileRefused(
                    "the server's SFTP cannot replace a file in one step"
                    " (posix-rename@openssh.com)"
                )
            handle = session.create(place.new)
            digest = session.write(handle, source, limit=limit)
            if place.uid is not None or place.gid is not None:
                session.set_owner(handle, place.uid, place.gid)
            if place.left_mode == "-":
                session.set_mode(handle, place.mode)
            session.sync(handle)
            session.end(handle)
    except StatusError as exc:
        _, body = _ask(connection, ["why", place.new])
        reasons = [why for text, why in _WHY.items() if text in body]
        raise FileRefused(
            f"it cannot be written: {reasons[0] if reasons else exc}"
        ) from exc
    return digest


def _read(
    session: SftpSession,
    path: bytes,
    sink: Sink,
    *,
    limit: int,
    size: int | None = None,
) -> Digest:
    """Read a file, the first `size` bytes or all that it has."""
    try:
        handle = session.open(path)
        present = session.size(handle)
        size = present if size is None else size
        if size > limit:
            raise FileRefused(f"the file has more than {limit} bytes")
        if present == 0 and not session.is_empty(handle):
            raise FileRefused("it has bytes but no size, as files of /proc have")
        digest = session.read(handle, sink, size=size)
        session.end(handle)
    except StatusError as exc:
        raise FileRefused(f"it cannot be read: {exc}") from exc
    return digest


def _seal(connection: Connection, place: _Place, digest: Digest) -> str:
    """Compare a new file with what was sent, give it what owner and mode are left.

    Returns what computed the checksum.
    """

    def seal(sha256: str) -> tuple[bytes, bytes]:
        size = str(digest.size)
        return _ask(
            connection,
            ["seal", place.new, size, sha256, place.owner, place.left_mode],
            timeout_s=_digest_s(digest.size),
        )

    words, body = seal(digest.sha256)
    is_summed = words != b"unsummed"
    if not is_summed:
        with sftp(connection, limit=digest.size) as session:
            again = _read(session, place.new, _Nowhere(), limit=digest.size)
        if again != digest:
            raise FileChanged("the server has other bytes than were sent")
        words, body = seal("-")
    if words == b"changed":
        raise FileChanged("the server has other bytes than were sent")
    if words == b"owner":
        raise FileRefused(f"its owner cannot be set: {quote(body)}")
    if words == b"mode":
        raise FileRefused(f"its mode cannot be set: {quote(body)}")
    return _tool(words) if is_summed else _READ_BACK


def _locate(connection: Connection, words: list[str | bytes]) -> tuple[bytes, bytes]:
    """Return the words of the answer and the real path of a directory or a file."""
    answer, body = _ask(connection, words)
    if answer == b"outside":
        raise FileRefused(f"it lies outside its root, in {quote(body)}")
    if answer in _REFUSED:
        raise FileRefused(_REFUSED[answer])
    if not answer.startswith(b"done") or body[:1] != b"/" or b"\0" in body:
        raise ProtocolError("the host gave no answer that makes sense")
    return answer, body


def _ask(
    connection: Connection,
    words: list[str | bytes],
    *,
    timeout_s: float = _ANSWER_S,
) -> tuple[bytes, bytes]:
    """Ask sftp.sh, and return the words and the text of its answer."""
    marker = secrets.token_hex(16).encode()
    answer = connection.execute(
        _script(marker, words), limit=_NOISE_BYTES, timeout_s=timeout_s
    )
    _, found, rest = answer.partition(b"\n" + marker + b" ")
    said, newline, rest = rest.partition(b"\n")
    body, end, _ = rest.partition(b"\n" + marker + b" end\n")
    if not (found and newline and end):
        raise ProtocolError("the host gave no answer that makes sense")
    return said.rstrip(), body


def _script(marker: bytes, words: list[str | bytes]) -> bytes:
    """Return the text for a shell's stdin: sftp.sh, and one question to it."""
    question = b" ".join(b"'" + _escaped(word) + b"'" for word in words)
    return b"{\n%s\ncf_visit %s %s\n}\n" % (_functions(), marker, question)


@lru_cache(maxsize=1)
def _functions() -> bytes:
    """Return sftp.sh without comments: some shells read stdin byte by byte."""
    text = files("cronhop.ssh").joinpath("sftp.sh").read_text()
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and line[0] != "#").encode()


def _escaped(word: str | bytes) -> bytes:
    """Return a word in characters that no shell sees anything in."""
    data = word.encode() if isinstance(word, str) else word
    return b"".join(
        bytes([byte]) if byte in _INERT else b"\\0%03o" % byte for byte in data
    )


def _join(directory: bytes, name: bytes) -> bytes:
    return directory.rstrip(b"/") + b"/" + name


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tool(words: bytes) -> str:
    found = _TOOL.fullmatch(words)
    if found is None:
        raise ProtocolError("the host gave no answer that makes sense")
    return found[1].decode()


def _digest_s(size: int) -> float:
    return _ANSWER_S + size / _DIGEST_BYTES_S
