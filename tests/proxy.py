"""Servers on loopback that misbehave: they stall, break off, or are none."""

import select
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto


@contextmanager
def listening(serve):
    """Serve each connection to a port of 127.0.0.1 in a thread; yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def accept():
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                accepted.append(peer)
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for peer in accepted:
        with suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)
        peer.close()
    acceptor.join(5)


def proxy(port, *, stall_at, drip_s=None):
    """Pass bytes on, but only the first `stall_at` that come from the server.

    With `drip_s` the others follow one by one, each so many seconds later.
    """

    def serve(client):
        upstream = socket.create_connection(("127.0.0.1", port))

        def pump(source, target, limit):
            with suppress(OSError):
                while limit and (data := source.recv(min(65536, limit))):
                    target.sendall(data)
                    limit -= len(data)
            with suppress(OSError):
                if limit:
                    target.shutdown(socket.SHUT_WR)

        back = threading.Thread(
            target=pump, args=(client, upstream, 1 << 40), daemon=True
        )
        back.start()
        pump(upstream, client, stall_at)
        with suppress(OSError):
            while drip_s and (byte := upstream.recv(1)):
                time.sleep(drip_s)
                client.sendall(byte)
        back.join(30)
        upstream.close()
        client.close()

    return serve


class Fault(Enum):
    """What becomes of a connection."""

    STALL = auto()  #: the rest in this direction is lost, and nobody is told
    CLOSE = auto()  #: both ends are told that the other has closed it
    RESET = auto()  #: both ends are told that it broke


@dataclass(kw_only=True)
class Breaking:
    """Passes the bytes of one connection on, until one direction has its fault.

    For `listening`. `up` is how many bytes the client's end may send, `down` how many
    the server's; None: all. `passed` is how many have been passed, up and down.
    """

    port: int
    fault: Fault
    up: int | None = None
    down: int | None = None
    passed: list[int] = field(default_factory=lambda: [0, 0])
    struck: bool = False
    has_begun: bool = False
    is_over: bool = False

    def __call__(self, client):
        self.has_begun = True
        upstream = socket.create_connection(("127.0.0.1", self.port))
        ends = (client, upstream)
        # ValueError: `listening` has closed the client's end.
        try:
            for end in ends:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not (self.struck and self.fault is not Fault.STALL):
                for end in select.select(ends, (), ())[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    self._pass(ends.index(end), data, ends)
        except (OSError, ValueError):
            pass
        finally:
            self._close(ends)

    def _pass(self, way, data, ends):
        limit = (self.up, self.down)[way]
        left = len(data) if limit is None else limit - self.passed[way]
        if data[:left]:
            ends[1 - way].sendall(data[:left])
        self.passed[way] += len(data[:left])
        self.struck = self.struck or left < len(data)

    def _close(self, ends):
        for end in ends:
            with suppress(OSError):
                if self.struck and self.fault is Fault.RESET:
                    end.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            end.close()
        self.is_over = True
