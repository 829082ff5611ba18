"""The connections of an invocation: shared, bounded to a host, closed at its end."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from cronhop.domain.credential import Secret
from cronhop.domain.server import Server
from cronhop.errors import Busy, Deadline, RemoteError, Unreachable
from cronhop.ssh.connection import OPENING_S, Connection
from cronhop.ssh.route import OVER

MAX_OPENING: Final = 4  # connections to one host at once, until they are logged in
BUSY_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)  # before a dropped one is opened anew


class Connections:
    """The connections of one invocation: one to a server, shared, closed at its end.

    A context manager; thread-safe. A connection keeps the deadline that it was
    opened with.
    """

    def __init__(
        self, *, allowed: Sequence[str] = (), refused: Sequence[str] = ()
    ) -> None:
        self._allowed = tuple(allowed)
        self._refused = tuple(refused)
        self._lock = threading.Lock()
        self._is_closed = False
        self._opened: dict[tuple[Hashable, ...], Future[Connection]] = {}
        self._opening: defaultdict[tuple[Hashable, ...], threading.Semaphore] = (
            defaultdict(lambda: threading.BoundedSemaphore(MAX_OPENING))
        )

    def to(
        self,
        server: Server,
        secret: Secret,
        *,
        deadline: float,
        via: tuple[Server, Secret] | None = None,
    ) -> Connection:
        """Return the connection to a server, opened if there is none that works.

        `via` is the server's jump host, whose own connection is shared likewise;
        its failures are told as its own ("via jump: …").

        Who asks while it is being opened waits for it and shares its failure. A
        failure that would only repeat itself (wrong key, wrong login) is kept for
        the invocation: each further attempt would count against our address.
        """
        return self._share(server, secret, deadline=deadline, via=via)

    def to_jump(
        self,
        server: Server,
        via: tuple[Server, Secret] | None,
        *,
        deadline: float,
    ) -> Connection | None:
        """Return the connection to the server's jump host, None if it has none.

        Raises what `to` raises, as an error of the jump host.
        """
        if server.via_server != (via[0].server_id if via else None):
            # Never around the jump host: there may be another host at its address.
            raise Unreachable("its jump host was not found")
        if via is None:
            return None
        try:
            return self._share(*via, deadline=deadline, is_jump=True)
        except RemoteError as exc:
            raise exc.via(via[0].name) from exc

    def meet(
        self,
        server: Server,
        *,
        deadline: float,
        via: tuple[Server, Secret] | None = None,
    ) -> Connection:
        """Return a connection of its own that is not logged in; the caller's to close.

        Raises what `Connection.meet` raises, and what its jump host failed with.
        """
        jump = self.to_jump(server, via, deadline=deadline)
        with self._turn(server, deadline):
            return _patiently(
                lambda: Connection.meet(
                    server,
                    deadline=deadline,
                    allowed=self._allowed,
                    refused=self._refused,
                    jump=jump,
                ),
                deadline,
            )

    def close(self) -> None:
        """Close every connection, and those that are yet being opened as they are."""
        with self._lock:
            self._is_closed = True
            futures = list(self._opened.values())
        for future in futures:
            _close(future)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _share(
        self,
        server: Server,
        secret: Secret,
        *,
        deadline: float,
        via: tuple[Server, Secret] | None = None,
        is_jump: bool = False,
    ) -> Connection:
        """Do what `to` says; a jump host's connection is opened without a session."""
        key: tuple[Hashable, ...] = (server.server_id, server.version)
        if via is not None:
            key += (via[0].server_id, via[0].version)
        with self._lock:
            former = self._opened.get(key)
            if former is None or not _is_usable(former):
                future = self._opened[key] = Future()
            else:
                future = former
        if future is not former:
            if former is not None:
                _close(former)
            self._open(future, server, secret, deadline, via, is_jump=is_jump)
        try:
            return future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise Deadline(OVER) from None

    def _open(
        self,
        future: Future[Connection],
        server: Server,
        secret: Secret,
        deadline: float,
        via: tuple[Server, Secret] | None,
        *,
        is_jump: bool,
    ) -> None:
        """Open a connection into `future`."""
        try:
            jump = self.to_jump(server, via, deadline=deadline)
            with self._turn(server, deadline):
                connection = _patiently(
                    lambda: Connection.open(
                        server,
                        secret,
                        deadline=deadline,
                        allowed=self._allowed,
                        refused=self._refused,
                        jump=jump,
                        with_session=not is_jump,
                    ),
                    deadline,
                )
        except BaseException as exc:
            future.set_exception(exc)
            raise
        future.set_result(connection)
        if self._is_closed:
            connection.close()

    @contextmanager
    def _turn(self, server: Server, deadline: float) -> Iterator[None]:
        """Wait until one of the few connections to a host may be opened."""
        with self._lock:
            turn = self._opening[server.via_server, server.host, server.port]
        if not turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Deadline(OVER)
        try:
            yield
        finally:
            turn.release()


def _patiently(attempt: Callable[[], Connection], deadline: float) -> Connection:
    """Open a connection, again if the server drops it for having too many.

    MaxStartups counts everybody who is not logged in yet, us and others.
    """
    give_up_at = min(deadline, time.monotonic() + OPENING_S)
    pauses = iter(BUSY_PAUSES_S)
    while True:
        try:
            return attempt()
        except Busy:
            pause_s = next(pauses, OPENING_S)
            if time.monotonic() + pause_s >= give_up_at:
                raise
        # Not all of those who were dropped come back at once.
        time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311


def _close(future: Future[Connection]) -> None:
    """Close a connection, if it was ever opened."""
    if future.done() and future.exception() is None:
        future.result().close()


def _is_usable(future: Future[Connection]) -> bool:
    """Return whether a connection works, is on its way, or cannot ever work."""
    if not future.done():
        return True
    error = future.exception()
    if error is not None:
        return isinstance(error, RemoteError) and error.permanent
    return future.result().is_open
