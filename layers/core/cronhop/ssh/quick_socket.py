"""The socket under an SSH connection."""

from __future__ import annotations

import socket
import threading
from typing import Any

from cronhop.ssh.stream import CHUNK, Meter

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux only
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux only


class QuickSocket(socket.socket):
    """A TCP socket that does not wait, does not take everything, and closes once.

    paramiko leaves Nagle's algorithm on, and so does sshd until a session is open:
    each then waits some 40 ms for the other's delayed acknowledgement. TCP_NODELAY
    and TCP_QUICKACK (which the kernel clears again and again) take a login and one
    command from 115 ms to 26 ms.

    A `Stream`. Only `reader` closes the descriptor.
    """

    meter: Meter
    reader: threading.Thread | None

    def __init__(self, family: int, *, allowance: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.meter = Meter(allowance)
        self.reader = None
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if _USER_TIMEOUT is not None:
            # Unacknowledged for 30 s: the peer is gone, do not wait for a quarter
            # of an hour of retransmissions.
            self.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, 30_000)

    @property
    def address(self) -> str | None:
        """The peer's address, None if it is not connected any more."""
        try:
            return str(self.getpeername()[0])
        except OSError:
            return None

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what is there, at most `bufsize` bytes; acknowledge it at once."""
        self.meter.check()
        data = super().recv(min(bufsize, CHUNK), flags)
        self.meter.count(data)
        if _QUICKACK is not None and data:
            self._rearm()
        return data

    def _rearm(self) -> None:
        """Ask for acknowledgements without delay, for the next segments."""
        try:
            self.setsockopt(socket.IPPROTO_TCP, _QUICKACK or 0, 1)
        except OSError:
            return  # closed or reset meanwhile: the next recv says so

    def close(self) -> None:
        """Wake the reader and end the connection.

        The descriptor itself is closed by the reader alone. Closed by another
        thread, its number could go to a new connection while the reader still
        polls it, and the reader would take that connection's bytes.
        """
        if self.fileno() < 0:
            return
        reader: Any = self.reader
        if reader in (None, threading.current_thread()) or not reader.is_alive():
            super().close()
            return
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # not connected any more
