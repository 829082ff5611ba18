"""Servers on loopback that misbehave: they stall, or are none."""

import socket
import threading
import time
from contextlib import contextmanager, suppress


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
