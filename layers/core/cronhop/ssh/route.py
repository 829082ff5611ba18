"""The way to a server: its addresses, and a socket to one of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from cronhop.domain import address
from cronhop.domain.server import Server
from cronhop.errors import AddressRefused, Deadline, Invalid, Unreachable
from cronhop.ssh.failure import Phase, explain
from cronhop.ssh.quick_socket import QuickSocket

OVER: Final = "the time for this visit is over"


def connect(
    server: Server,
    *,
    opened_by: float,
    deadline: float,
    allowed: Sequence[str],
    refused: Sequence[str],
    allowance: int,
) -> QuickSocket:
    """Return a socket that is connected to an address of the server.

    `opened_by` and `deadline` are instants of the monotonic clock: over the former
    the server is unreachable, over the latter it is our own time that is over.
    `allowed` and `refused` are those of `is_refused`, `allowance` the `Meter`'s.
    """
    candidates = _resolve(server, opened_by, deadline)
    usable = [
        (family, sockaddr)
        for family, sockaddr in candidates
        if not address.is_refused(sockaddr[0], allowed=allowed, refused=refused)
    ]
    if not usable:
        raise AddressRefused("the name leads to an address that is never connected to")
    failure: OSError = TimeoutError()
    for index, (family, sockaddr) in enumerate(usable):
        remaining = opened_by - time.monotonic()
        if remaining <= 0:
            break
        try:
            sock = QuickSocket(family, allowance=allowance)
        except OSError as exc:  # a family that is not there
            failure = exc
            continue
        try:
            sock.settimeout(remaining / (len(usable) - index))
            sock.connect(sockaddr)
        except OSError as exc:
            sock.close()
            failure = exc
        else:
            return sock
    if time.monotonic() >= deadline:
        raise Deadline(OVER) from failure
    raise explain(failure, phase=Phase.CONNECTING) from failure


def forwarded(
    server: Server, *, allowed: Sequence[str], refused: Sequence[str]
) -> tuple[str, int]:
    """Return host and port of the server, for its jump host to connect to.

    A name is resolved there, where nobody of us can look; an address is held to
    the same rules as one that we connect to, and named in its plain form.
    """
    try:
        address.check_host(server.host, allowed=allowed, refused=refused)
        return address.literal(server.host) or server.host, server.port
    except Invalid as exc:
        raise AddressRefused("its address is one that is never connected to") from exc


def _resolve(
    server: Server, opened_by: float, deadline: float
) -> list[tuple[int, tuple[str, int]]]:
    """Return family and socket address of each address of the server.

    The resolver has no time-out of its own, so a name is left to a thread that
    may be abandoned.
    """
    try:
        literal = address.literal(server.host)
    except Invalid as exc:
        raise AddressRefused("the host is neither a name nor an address") from exc
    answer: Future[list[tuple[int, tuple[str, int]]]] = Future()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(
                literal or server.host, server.port, type=socket.SOCK_STREAM
            )
            answer.set_result([(entry[0], entry[4]) for entry in found])  # type: ignore[misc]
        except (OSError, UnicodeError) as exc:
            answer.set_exception(exc)

    if literal:
        look_up()
    else:
        threading.Thread(target=look_up, name="ssh-resolver", daemon=True).start()
    try:
        return answer.result(max(0.0, opened_by - time.monotonic()))
    except (OSError, UnicodeError) as exc:
        if not answer.done() and opened_by >= deadline:
            raise Deadline(OVER) from exc
        raise Unreachable("the name cannot be resolved") from exc
