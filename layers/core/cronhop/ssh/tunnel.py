"""The stream to a server behind a jump host: a channel of the jump's connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from paramiko import Channel, ChannelException, SSHException

from cronhop.errors import Busy, RemoteError, Unreachable
from cronhop.ssh.stream import CHUNK, Meter
from cronhop.ssh.transport import Transport

#: What a jump host says that opens no tunnel (RFC 4254 section 5.1).
_REFUSALS: Final[dict[int, tuple[type[RemoteError], str]]] = {
    1: (Unreachable, "the jump host does not forward connections"),
    2: (Unreachable, "the jump host cannot connect to it"),
    4: (Busy, "the jump host opens no further tunnel"),
}
_NO_TUNNEL: Final = "the jump host opens no tunnel"


def open_channel(
    transport: Transport, target: tuple[str, int], *, timeout_s: float
) -> Channel:
    """Return a channel to host and port, as the server of `transport` sees them.

    Raises Unreachable, Busy if that server refuses it.
    """
    try:
        return transport.open_channel(
            "direct-tcpip", target, ("127.0.0.1", 0), timeout=max(0.001, timeout_s)
        )
    except ChannelException as exc:
        kind, words = _REFUSALS.get(exc.code, (Unreachable, _NO_TUNNEL))
        raise kind(words) from exc


class Tunnel:
    """A `direct-tcpip` channel as the `Stream` of a connection of its own.

    It has no thread and no descriptor: it ends with the jump host's transport at
    the latest, and whoever reads it is woken then. `on_close` is called once.
    """

    def __init__(
        self,
        transport: Transport,
        channel: Channel,
        *,
        allowance: int,
        on_close: Callable[[], None],
    ) -> None:
        self.meter = Meter(allowance, outer=transport.stream.meter)
        self.reader: threading.Thread | None = None
        self._closed = False  # paramiko looks at it
        self._transport = transport
        self._channel = channel
        self._on_close = on_close
        self._lock = threading.Lock()

    @property
    def address(self) -> str | None:
        """None: the name was resolved by the jump host, if it is one."""
        return None

    def settimeout(self, seconds: float | None) -> None:
        """Let reading and writing wait so long."""
        self._channel.settimeout(seconds)

    def recv(self, bufsize: int) -> bytes:
        """Return what is there, at most `bufsize` bytes; none when it has ended."""
        self.meter.check()
        data = self._channel.recv(min(bufsize, CHUNK))
        self.meter.count(data)
        return data

    def send(self, data: bytes) -> int:
        """Send what the window takes. Raises OSError if the other end is closed."""
        sent = self._transport.write(self._channel, data, is_last=False)
        if not sent:
            raise OSError("the tunnel is closed")
        return sent

    def close(self) -> None:
        """End the channel; the jump host's connection goes on."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._on_close()
        # The jump host's connection may be gone, and the channel with it.
        with suppress(EOFError, OSError, SSHException):
            self._channel.close()
