"""A connection to a server: pinned host keys, one credential, an absolute deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from paramiko import Channel, ChannelException, SSHException

from cronhop.domain.credential import Secret
from cronhop.domain.server import Server
from cronhop.errors import (
    Busy,
    CronhopError,
    Deadline,
    HostKeyMissing,
    LoginRefused,
    ProtocolError,
    RemoteError,
    Unreachable,
)
from cronhop.ssh.failure import Phase, explain
from cronhop.ssh.login import check_host_key, log_in, pinned_keys, shown_key
from cronhop.ssh.pipe import Pipe
from cronhop.ssh.route import OVER, connect, forwarded
from cronhop.ssh.stream import Stream
from cronhop.ssh.transport import Transport, Watchdog
from cronhop.ssh.tunnel import Tunnel, open_channel

OPENING_S: Final = 20.0  # seconds from the name to the login, or the host is silent
MAX_CHANNELS: Final = 8  # at once on one connection; sshd's MaxSessions is 10
MAX_TUNNELS: Final = 16  # on one connection; sshd does not count them as sessions

_LOGIN_BYTES: Final = 512 * 1024  # what a server may send until it is logged in to
_SLACK_BYTES: Final = 4 * 1024 * 1024  # beyond an answer: windows, framing, stderr
_STDERR_BYTES: Final = 400  # kept, for messages
_STDERR_PAUSE_S: Final = 0.25  # between two looks at stderr
_CROWDED_S: Final = 2.0  # how long a server may refuse a session, for it counts late
_CROWDED_PAUSE_S: Final = 0.02
_PACKET_BYTES: Final = 32 * 1024
_TOO_MANY_FAILURES: Final = 2  # goodbye code that sshd uses for it
_NO_MORE_METHODS: Final = 14  # RFC 4253 section 11.1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a script wrote: all of stdout, and how stderr began."""

    stdout: bytes
    stderr: bytes


class Connection:
    """A login on a server, which up to eight commands share at once.

    Made by `Connection.open`. Every call ends within a second of `deadline`
    (an instant of the monotonic clock), whatever the server does. Thread-safe.
    """

    def __init__(
        self,
        server: Server,
        transport: Transport,
        watchdog: Watchdog,
        *,
        deadline: float,
    ) -> None:
        self.deadline: Final = deadline
        self._server = server
        self._transport = transport
        self._watchdog = watchdog
        self._channels = threading.BoundedSemaphore(MAX_CHANNELS)
        self._tunnels = threading.BoundedSemaphore(MAX_TUNNELS)
        self._sessions: list[Channel] = []  # one at most, opened along with the login

    @classmethod
    def open(
        cls,
        server: Server,
        secret: Secret,
        *,
        deadline: float,
        allowed: Sequence[str] = (),
        refused: Sequence[str] = (),
        jump: Connection | None = None,
        with_session: bool = True,
    ) -> Self:
        """Connect and log in; nothing of the secret is sent to a wrong host.

        `with_session` is that of `log_in`. Raises what `meet` and `log_in` raise; HostKeyMissing before anything is
        sent at all.
        """
        if not server.host_keys:
            raise HostKeyMissing
        connection = cls.meet(
            server, deadline=deadline, allowed=allowed, refused=refused, jump=jump
        )
        try:
            connection.log_in(secret, with_session=with_session)
        except BaseException:
            connection.close()
            raise
        return connection

    @classmethod
    def meet(
        cls,
        server: Server,
        *,
        deadline: float,
        allowed: Sequence[str] = (),
        refused: Sequence[str] = (),
        jump: Connection | None = None,
    ) -> Self:
        """Connect, and let the server show its host key; who it is is not checked.

        1. resolve the name, refuse addresses that are never connected to (see
           `is_refused`), connect to that very address; or have `jump` connect
        2. agree on keys, of the pinned types if the server has one

        Raises a `RemoteError`: `AddressRefused`, `Unreachable`, `Busy`,
        `Deadline`, `ProtocolError`.
        """
        pinned = pinned_keys(server)
        opened_by = min(deadline, time.monotonic() + OPENING_S)
        stream: Stream
        if jump is None:
            stream = connect(
                server,
                opened_by=opened_by,
                deadline=deadline,
                allowed=allowed,
                refused=refused,
                allowance=_LOGIN_BYTES,
            )
        else:
            target = forwarded(server, allowed=allowed, refused=refused)
            stream = jump.tunnel(
                target,
                opened_by=opened_by,
                deadline=deadline,
                allowance=_LOGIN_BYTES,
            )
        transport = Transport(stream, tuple(key_type for key_type, _ in pinned))
        watchdog = Watchdog(transport, opened_by)
        connection = cls(server, transport, watchdog, deadline=deadline)
        try:
            with connection._translated(Phase.HANDSHAKE):
                transport.start_client()
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def address(self) -> str | None:
        """The address that is connected to, None behind a jump host."""
        return self._transport.stream.address

    @property
    def host_key(self) -> tuple[str, bytes]:
        """Type and blob of the key that the server has shown."""
        with self._translated(Phase.HANDSHAKE):
            return shown_key(self._transport)

    def check_host_key(self) -> None:
        """Ensure that the key which the server has shown is a pinned one.

        Raises `HostKeyRefused`, `HostKeyMissing`.
        """
        check_host_key(self._server, pinned_keys(self._server), self.host_key)

    def log_in(self, secret: Secret, *, with_session: bool = True) -> None:
        """Log in, if the host key is a pinned one.

        `with_session` opens a session on the way if that saves time: for whom
        commands will be run, and not only tunnels opened.
        Raises a `RemoteError`: `HostKeyRefused`, `HostKeyMissing`, `LoginRefused`,
        `Unreachable`, `Deadline`, `ProtocolError`.
        """
        self.check_host_key()
        with self._translated(Phase.LOGIN):
            session = log_in(
                self._transport,
                self._server.username,
                secret,
                with_session=with_session,
            )
        if session is not None:
            self._sessions.append(session)
        self._watchdog.expires_at = self.deadline

    @property
    def is_open(self) -> bool:
        """Whether the connection can still be used."""
        return self._transport.is_active() and not self._watchdog.has_fired

    def tunnel(
        self,
        target: tuple[str, int],
        *,
        opened_by: float,
        deadline: float,
        allowance: int,
    ) -> Tunnel:
        """Return a stream to host and port, as the server reaches them.

        The instants and `allowance` are those of `connect`. Raises `Unreachable`,
        `Busy`, `Deadline`.
        """
        if not self._tunnels.acquire(blocking=False):
            raise Busy("too many connections are open over the jump host")
        try:
            with self._translated(Phase.SESSION):
                channel = open_channel(
                    self._transport, target, timeout_s=opened_by - time.monotonic()
                )
        except BaseException as exc:
            self._tunnels.release()
            if isinstance(exc, RemoteError) and time.monotonic() >= deadline:
                raise Deadline(OVER) from exc
            raise
        return Tunnel(
            self._transport,
            channel,
            allowance=allowance,
            on_close=self._tunnels.release,
        )

    def execute(
        self, stdin: bytes, *, limit: int, timeout_s: float | None = None
    ) -> bytes:
        """Run the shell script `stdin` and return its stdout.

        Raises `ProtocolError` if it writes more than `limit` bytes, `Unreachable`
        if it does not end within `timeout_s`, any other `RemoteError` if the
        connection breaks. The script may then have run, in part or whole.
        """
        return self.run(stdin, limit=limit, timeout_s=timeout_s).stdout

    def run(
        self, stdin: bytes, *, limit: int, timeout_s: float | None = None
    ) -> Answer:
        """Run a shell script like `execute`, and return stderr's beginning too."""
        until = self.deadline
        if timeout_s is not None:
            until = min(until, time.monotonic() + timeout_s)
        self._transport.stream.meter.allow(limit + _SLACK_BYTES)
        if not self._channels.acquire(timeout=max(0.0, until - time.monotonic())):
            raise self._too_late(until)
        try:
            with self._translated(Phase.SESSION):
                channel = self._open_session(until)
                try:
                    # The login shell may be anything: it only has to start sh,
                    # which reads the script from stdin.
                    self._transport.request_exec(channel, "exec /bin/sh -s")
                    return self._converse(channel, stdin, limit, until)
                finally:
                    channel.close()
        finally:
            self._channels.release()

    @contextmanager
    def subsystem(self, name: str, *, limit: int) -> Iterator[Pipe]:
        """Open a subsystem, from which no more than `limit` bytes are expected.

        Use no other channel meanwhile: those who each hold one would wait for each
        other's second.
        """
        self._transport.stream.meter.allow(limit + _SLACK_BYTES)
        left_s = self.deadline - time.monotonic()
        if not self._channels.acquire(timeout=max(0.0, left_s)):
            raise Deadline(OVER)
        try:
            with self._translated(Phase.SESSION):
                channel = self._open_session(self.deadline)
            try:
                with self._translated(Phase.SESSION):
                    self._transport.request_subsystem(channel, name)
                yield Pipe(
                    self._transport,
                    channel,
                    partial(self._translated, Phase.SESSION),
                    deadline=self.deadline,
                )
            finally:
                with self._translated(Phase.SESSION):
                    channel.close()
        finally:
            self._channels.release()

    def close(self) -> None:
        """End the connection; its threads are gone when this returns."""
        self._watchdog.stop()
        self._transport.end()
        for thread in (self._transport, self._watchdog):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open_session(self, until: float) -> Channel:
        """Return a new channel, in spite of a server that counts sessions late.

        sshd takes a session that ended off its MaxSessions only after it has read
        all that we sent meanwhile, the request for the next one included.
        """
        with suppress(IndexError):
            return self._sessions.pop()
        crowded_until = min(until, time.monotonic() + _CROWDED_S)
        while True:
            try:
                return self._transport.open_session(
                    timeout=max(0.001, until - time.monotonic())
                )
            except SSHException as exc:
                # paramiko keeps one exception for all threads: of two that are
                # refused at once, one is told only that it has no channel.
                if not isinstance(exc, ChannelException) and (
                    str(exc) != "Unable to open channel." or not self.is_open
                ):
                    raise
                if time.monotonic() > crowded_until:
                    raise Busy("the server opens no further session") from exc
            time.sleep(_CROWDED_PAUSE_S)

    def _converse(
        self, channel: Channel, stdin: bytes, limit: int, until: float
    ) -> Answer:
        """Send stdin and read until the end, both at once: windows are finite."""
        channel.settimeout(_STDERR_PAUSE_S)
        stdout, stderr = bytearray(), bytearray()
        unsent = memoryview(stdin)
        while True:
            if time.monotonic() > until:
                raise self._too_late(until)
            try:
                if unsent and not channel.recv_ready():
                    unsent = unsent[self._send(channel, unsent) :]
                    continue
                data = channel.recv(_PACKET_BYTES)
            except TimeoutError:
                data = None
            while channel.recv_stderr_ready():
                stderr += channel.recv_stderr(_PACKET_BYTES)[
                    : max(0, _STDERR_BYTES - len(stderr))
                ]
            if data == b"":
                break
            stdout += data or b""
            if len(stdout) > limit:
                raise ProtocolError(f"the host answered more than {limit} bytes")
        if not channel.eof_received and not self._transport.is_active():
            raise EOFError
        return Answer(stdout=bytes(stdout), stderr=bytes(stderr))

    def _send(self, channel: Channel, unsent: memoryview) -> int:
        """Send what the window takes, end stdin behind the last byte of it."""
        packet = unsent[:_PACKET_BYTES].tobytes()
        try:
            sent = self._transport.write(
                channel, packet, is_last=len(packet) == len(unsent)
            )
        except TimeoutError:
            raise
        except OSError:
            if not self._transport.is_active():
                raise
            sent = 0
        # Closed: nothing more can be sent, and stdout may tell why.
        return sent or len(unsent)

    @contextmanager
    def _translated(self, phase: Phase) -> Iterator[None]:
        """Let nothing of paramiko's or the socket's out, only `RemoteError`s."""
        meter = self._transport.stream.meter
        try:
            yield
        except CronhopError:
            raise
        except Exception as exc:
            # Anything: the transport's thread meets a peer's bytes unprepared
            # (struct.error, UnicodeDecodeError, InvalidTag …) and passes it on.
            if self._watchdog.has_fired:
                raise self._too_late(self._watchdog.expires_at) from exc
            if meter.is_overrun:
                raise ProtocolError("the host sent more than it may") from exc
            if self._transport.disconnect_code in (
                _TOO_MANY_FAILURES,
                _NO_MORE_METHODS,
            ) and (phase is Phase.LOGIN):
                raise LoginRefused("the server refused the login") from exc
            raise explain(
                exc,
                phase=phase,
                head=meter.head,
                is_alive=self._transport.is_active(),
            ) from exc

    def _too_late(self, until: float) -> RemoteError:
        """Return the error for an instant that is over: ours, or the server's."""
        if until >= self.deadline:
            return Deadline(OVER)
        return Unreachable("the server does not answer")
