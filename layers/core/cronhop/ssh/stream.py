"""What an SSH connection runs over: bytes of a peer that may be hostile."""

from __future__ import annotations

import errno
import threading
from typing import Final, Protocol

CHUNK: Final = 64 * 1024  # bytes; a hostile packet length must not size a buffer
_HEAD: Final = 256  # bytes


class Meter:
    """Counts what a peer sends, and stops it where it may send no more.

    | attribute | meaning                                                        |
    |-----------|----------------------------------------------------------------|
    | allowance | bytes that the peer may send in all; beyond it reading fails   |
    | received  | bytes that it has sent                                         |
    | head      | the first of them                                              |

    `outer` counts the stream that carries this one: what is allowed here is
    allowed there too, twice, for packets in packets. Thread-safe.
    """

    def __init__(self, allowance: int, *, outer: Meter | None = None) -> None:
        self.allowance = 0
        self.received = 0
        self.head = b""
        self._outer = outer
        self._lock = threading.Lock()
        self.allow(allowance)

    @property
    def is_overrun(self) -> bool:
        """Whether the peer sent more than it may."""
        return self.received > self.allowance

    def allow(self, more: int) -> None:
        """Let the peer send so many bytes more."""
        with self._lock:
            self.allowance += more
        if self._outer is not None:
            self._outer.allow(2 * more)

    def check(self) -> None:
        """Raise OSError if nothing more of the peer is to be read."""
        if self.is_overrun:
            raise OSError(errno.EMSGSIZE, "the peer sent more than it may")

    def count(self, data: bytes) -> None:
        """Take down what was read."""
        self.received += len(data)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]


class Stream(Protocol):
    """What a `Transport` runs over: a `QuickSocket`, or a `Tunnel` in another one.

    | attribute | meaning                                                        |
    |-----------|----------------------------------------------------------------|
    | meter     | what the peer may send                                         |
    | reader    | the thread that reads                                          |
    | address   | of the peer, None where it is not known                        |
    """

    meter: Meter
    reader: threading.Thread | None

    @property
    def address(self) -> str | None: ...

    def close(self) -> None:
        """End it and wake the reader; once is enough, twice does no harm."""
