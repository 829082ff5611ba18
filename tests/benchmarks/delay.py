"""A proxy on loopback that makes the way to a server longer."""

from __future__ import annotations

import asyncio
import socket
import threading


class DelayingProxy:
    """Passes bytes on to a port of 127.0.0.1, each half a round trip late.

    A connection takes the round trip and a half of TCP's handshake until the server
    accepts it. The proxy works on bytes, not on packets: it acknowledges what the
    server sends at once, so that Nagle's algorithm there costs no client anything.
    A context manager; `port` is where it listens.
    """

    def __init__(self, target: int, *, round_trip_s: float) -> None:
        self.port = 0
        self._target = target
        self._round_trip_s = round_trip_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> DelayingProxy:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._pass_on, "127.0.0.1", 0), self._loop
        ).result()
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _pass_on(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(1.5 * self._round_trip_s)
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(
            self._pump(client, to_client, to_server),
            self._pump(server, to_server, to_client),
        )

    async def _pump(
        self,
        source: asyncio.StreamReader,
        its_writer: asyncio.StreamWriter,
        target: asyncio.StreamWriter,
    ) -> None:
        while True:
            try:
                data = await source.read(64 * 1024)
            except OSError:
                data = b""
            if not data:
                self._loop.call_later(self._round_trip_s / 2, target.close)
                return
            its_writer.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1
            )
            self._loop.call_later(self._round_trip_s / 2, target.write, data)
