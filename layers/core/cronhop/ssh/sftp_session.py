"""SFTP, version 3, as far as one file at a time needs it.

draft-ietf-secsh-filexfer-02, and the extensions of OpenSSH (its PROTOCOL file). Not
paramiko's client: that one keeps what it reads ahead without bounds, waits without
end, and sends outside the channel's lock.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from stat import S_ISREG
from typing import Final, Protocol

from cronhop.errors import FileChanged, FileRefused, ProtocolError, Unreachable
from cronhop.ssh.connection import Connection
from cronhop.ssh.pipe import Pipe

BLOCK_BYTES: Final = 32 * 1024  # what every server takes in one request
_AHEAD: Final = 64  # requests under way: 2 MiB, enough for 20 MB/s at 100 ms
_MAX_PACKET_BYTES: Final = 256 * 1024  # OpenSSH's own bound
_VERSION: Final = 3
_RENAME: Final = b"posix-rename@openssh.com"
_FSYNC: Final = b"fsync@openssh.com"
_HAS_SIZE, _HAS_OWNER, _HAS_MODE = 1, 2, 4  # flags of attributes


class _Type(IntEnum):
    """Types of packets."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    FSTAT = 8
    FSETSTAT = 10
    STATUS = 101
    HANDLE = 102
    DATA = 103
    ATTRS = 105
    EXTENDED = 200


class _Flag(IntEnum):
    """How a file is opened."""

    READ = 0x01
    WRITE = 0x02
    CREATE = 0x08
    EXCLUSIVE = 0x20


_OK: Final = 0
_EOF: Final = 1
_STATUS: Final = {
    2: "no such file",
    3: "permission denied",
    4: "failure",
    5: "bad message: a name too long, or an argument that it does not take",
    8: "not supported",
}


class Source(Protocol):
    """Bytes to upload, from the beginning to the end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`, b"" at the end."""


class Sink(Protocol):
    """Where downloaded bytes go."""

    def write(self, data: bytes, /) -> object:
        """Keep the next bytes."""


class StatusError(Exception):
    """The server answered a request with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(_STATUS.get(code, f"error {code}"))


@dataclass(frozen=True, kw_only=True)
class Digest:
    """How many bytes, and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


@contextmanager
def sftp(connection: Connection, *, limit: int = 0) -> Iterator[SftpSession]:
    """Open a session, in which `limit` bytes of files are read at most."""
    with connection.subsystem("sftp", limit=limit) as pipe:
        yield SftpSession(pipe)


class SftpSession:
    """Files of a server.

    Raises `StatusError` for what the server answers with an error; that is for the
    caller to explain, and no `RemoteError`.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._received = bytearray()
        self._numbers = 0
        self._extensions = self._greet()

    @property
    def can_replace(self) -> bool:
        """Whether a file can take another's name in one step."""
        return _RENAME in self._extensions

    def create(self, path: bytes) -> bytes:
        """Make a file that was not there, for its owner alone; return its handle."""
        attributes = struct.pack(">II", _HAS_MODE, 0o600)
        flags = _Flag.WRITE | _Flag.CREATE | _Flag.EXCLUSIVE
        return self._open(path, flags, attributes)

    def open(self, path: bytes) -> bytes:
        """Return the handle of a file that can be read."""
        return self._open(path, _Flag.READ, struct.pack(">I", 0))

    def size(self, handle: bytes) -> int:
        """Return how many bytes an open file has.

        Raises `FileRefused` if it is no regular file.
        """
        body = _Body(self._ask(_Type.FSTAT, _string(handle), _Type.ATTRS))
        flags = body.number()
        size = body.long() if flags & _HAS_SIZE else None
        if flags & _HAS_OWNER:
            body.long()  # two numbers
        mode = body.number() if flags & _HAS_MODE else None
        if size is None or (mode is not None and not S_ISREG(mode)):
            raise FileRefused("it is no regular file")
        return size

    def is_empty(self, handle: bytes) -> bool:
        """Return whether an open file has no first byte."""
        try:
            self._data(self._ask_for(handle, 0, 1), {}, set())
        except FileChanged:
            return True
        return False

    def write(self, handle: bytes, source: Source, *, limit: int) -> Digest:
        """Write all of `source` to an open file, many requests at a time.

        Raises `FileRefused` as soon as there are more than `limit` bytes.
        """
        size, digest, under_way = 0, hashlib.sha256(), 0
        while data := source.read(BLOCK_BYTES):
            if size + len(data) > limit:
                raise FileRefused(f"the file has more than {limit} bytes")
            self._send(
                _Type.WRITE,
                _string(handle) + struct.pack(">Q", size) + _string(data),
            )
            digest.update(data)
            size += len(data)
            under_way += 1
            if under_way == _AHEAD:
                self._expect_ok()
                under_way -= 1
        for _ in range(under_way):
            self._expect_ok()
        return Digest(size=size, sha256=digest.hexdigest())

    def read(self, handle: bytes, sink: Sink, *, size: int) -> Digest:
        """Write the first `size` bytes of an open file to `sink`.

        Many requests at a time, a bounded part of the file in memory. Raises
        `FileChanged` if the file ends before.
        """
        digest = hashlib.sha256()
        asked, done = 0, 0
        waiting: deque[tuple[int, int]] = deque()  # request and length, in order
        early: dict[int, bytes] = {}
        while done < size:
            while asked < size and len(waiting) < _AHEAD:
                length = min(BLOCK_BYTES, size - asked)
                waiting.append((self._ask_for(handle, asked, length), length))
                asked += length
            number, length = waiting.popleft()
            data = self._data(number, early, {one for one, _ in waiting})
            if not 0 < len(data) <= length:
                raise ProtocolError("the server gave other data than it was asked for")
            digest.update(data)
            sink.write(data)
            done += len(data)
            if len(data) < length:
                # A server may give less than it is asked for; the rest comes first.
                rest = length - len(data)
                waiting.appendleft((self._ask_for(handle, done, rest), rest))
        return Digest(size=size, sha256=digest.hexdigest())

    def set_owner(self, handle: bytes, uid: int | None, gid: int | None) -> None:
        """Give an open file to a user, a group, or both; None: as it is."""
        body = _Body(self._ask(_Type.FSTAT, _string(handle), _Type.ATTRS))
        flags = body.number()
        if flags & _HAS_SIZE:
            body.long()
        if not flags & _HAS_OWNER:
            raise ProtocolError("the server does not tell whose a file is")
        present = body.number(), body.number()
        wanted = (
            present[0] if uid is None else uid,
            present[1] if gid is None else gid,
        )
        self._set(handle, struct.pack(">III", _HAS_OWNER, *wanted))

    def set_mode(self, handle: bytes, mode: int) -> None:
        """Set the permissions of an open file: of that very one, whatever its path."""
        self._set(handle, struct.pack(">II", _HAS_MODE, mode))

    def _set(self, handle: bytes, attributes: bytes) -> None:
        self._send(_Type.FSETSTAT, _string(handle) + attributes)
        self._expect_ok()

    def sync(self, handle: bytes) -> None:
        """Ensure that what was written is on the disk, if the server can do that."""
        if _FSYNC in self._extensions:
            self._send(_Type.EXTENDED, _string(_FSYNC) + _string(handle))
            self._expect_ok()

    def end(self, handle: bytes) -> None:
        """Close a file; an error of writing may come as late as this."""
        self._send(_Type.CLOSE, _string(handle))
        self._expect_ok()

    def replace(self, path: bytes, target: bytes) -> None:
        """Give a file another's name in one step: there is always one of them."""
        self._send(_Type.EXTENDED, _string(_RENAME) + _string(path) + _string(target))
        self._expect_ok()

    # Packets

    def _greet(self) -> dict[bytes, bytes]:
        """Agree on the version, and return the server's extensions."""
        self._put(_Type.INIT, struct.pack(">I", _VERSION))
        packet = self._packet(is_first=True)
        body = _Body(packet[1:])
        if packet[0] != _Type.VERSION or body.number() < _VERSION:
            raise ProtocolError("the server speaks another SFTP than version 3")
        extensions = {}
        while body.has_more:
            name = body.string()
            extensions[name] = body.string()
        return extensions

    def _open(self, path: bytes, flags: int, attributes: bytes) -> bytes:
        payload = _string(path) + struct.pack(">I", flags) + attributes
        return _Body(self._ask(_Type.OPEN, payload, _Type.HANDLE)).string()

    def _ask_for(self, handle: bytes, offset: int, length: int) -> int:
        return self._send(
            _Type.READ, _string(handle) + struct.pack(">QI", offset, length)
        )

    def _data(self, number: int, early: dict[int, bytes], others: set[int]) -> bytes:
        """Return the data that a request was answered with, keeping others' answers.

        A server may answer in another order than it was asked.
        """
        while number not in early:
            kind, answered, body = self._answer()
            if answered != number and (answered not in others or answered in early):
                raise ProtocolError("the server answered what nobody had asked")
            if kind == _Type.DATA:
                early[answered] = _Body(body).string()
                continue
            code = _Body(body).number() if kind == _Type.STATUS else None
            if code == _EOF:
                raise FileChanged("the file became shorter while it was read")
            if code is None or code == _OK:
                raise ProtocolError("the server gave no data")
            raise StatusError(code)
        return early.pop(number)

    def _ask(self, kind: _Type, payload: bytes, answer: _Type) -> bytes:
        """Send a request and return the body of its answer."""
        number = self._send(kind, payload)
        got, answered, body = self._answer()
        if answered != number:
            raise ProtocolError("the server answered what nobody had asked")
        if got == _Type.STATUS:
            raise StatusError(_Body(body).number())
        if got != answer:
            raise ProtocolError("the server gave another answer than it was asked for")
        return body

    def _expect_ok(self) -> None:
        kind, _, body = self._answer()
        if kind != _Type.STATUS:
            raise ProtocolError("the server gave another answer than it was asked for")
        if (code := _Body(body).number()) != _OK:
            raise StatusError(code)

    def _send(self, kind: _Type, payload: bytes) -> int:
        """Send a request and return its number."""
        self._numbers += 1
        self._put(kind, struct.pack(">I", self._numbers) + payload)
        return self._numbers

    def _put(self, kind: _Type, payload: bytes) -> None:
        # What could not be sent is not answered either: the end of the answers says
        # so, behind an error that is still on its way.
        self._pipe.send(struct.pack(">IB", len(payload) + 1, kind) + payload)

    def _answer(self) -> tuple[int, int, bytes]:
        """Return type, request number and body of the next answer."""
        packet = self._packet()
        body = _Body(packet[1:])
        return packet[0], body.number(), body.rest()

    def _packet(self, *, is_first: bool = False) -> bytes:
        length = int.from_bytes(self._take(4, is_first=is_first))
        if not 1 <= length <= _MAX_PACKET_BYTES:
            raise ProtocolError(
                "the server speaks no SFTP, or its login shell prints something"
            )
        return self._take(length, is_first=is_first)

    def _take(self, size: int, *, is_first: bool) -> bytes:
        """Return the next `size` bytes that the server sent."""
        while len(self._received) < size:
            data = self._pipe.receive(_MAX_PACKET_BYTES)
            if not data and is_first:
                raise FileRefused("the server offers no SFTP")
            if not data:
                raise Unreachable("the server ended the file transfer")
            self._received += data
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


class _Body:
    """The fields of a packet, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def has_more(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        return int.from_bytes(self._next(4))

    def long(self) -> int:
        return int.from_bytes(self._next(8))

    def string(self) -> bytes:
        return self._next(self.number())

    def rest(self) -> bytes:
        return self._next(len(self._data) - self._at)

    def _next(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ProtocolError("the server sent a packet that is cut short")
        taken, self._at = self._data[self._at : end], end
        return taken


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
