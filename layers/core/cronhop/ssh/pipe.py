"""Bytes to and from a subsystem of a server, within the connection's deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from paramiko import Channel

from cronhop.errors import Deadline
from cronhop.ssh.route import OVER
from cronhop.ssh.transport import Transport

_PAUSE_S: Final = 0.25  # between two looks at the clock
_PACKET_BYTES: Final = 32 * 1024


class Pipe:
    """An open channel of a connection that others use as well.

    Made by `Connection.subsystem`. Raises nothing but `RemoteError`s: `Deadline`
    when the connection's is over, `Unreachable` when it breaks.
    """

    def __init__(
        self,
        transport: Transport,
        channel: Channel,
        translated: Callable[[], AbstractContextManager[None]],
        *,
        deadline: float,
    ) -> None:
        self._transport = transport
        self._channel = channel
        self._translated = translated
        self._deadline = deadline
        channel.settimeout(_PAUSE_S)

    def send(self, data: bytes) -> bool:
        """Send all of it; False if the other end is closed and it cannot be sent."""
        unsent = memoryview(data)
        while unsent:
            self._check_time()
            with self._translated():
                try:
                    sent = self._transport.write(
                        self._channel, unsent[:_PACKET_BYTES].tobytes(), is_last=False
                    )
                except TimeoutError:
                    continue
                if sent == 0:
                    self._check_alive()
                    return False
            unsent = unsent[sent:]
        return True

    def receive(self, limit: int) -> bytes:
        """Return what is there, at most `limit` bytes, b"" at the end."""
        while True:
            self._check_time()
            with self._translated():
                try:
                    data = self._channel.recv(limit)
                except TimeoutError:
                    continue
                if not data:
                    self._check_alive()
                return data

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise Deadline(OVER)

    def _check_alive(self) -> None:
        """Tell an end that the server has said from that of the connection."""
        if not self._channel.eof_received and not self._transport.is_active():
            raise EOFError
