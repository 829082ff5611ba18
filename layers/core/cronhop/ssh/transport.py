"""paramiko's transport, with what it lacks: it never hangs, and takes no orders."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_CHANNEL_REQUEST
from paramiko.message import Message
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

from cronhop.ssh.stream import Stream

# Errors are told by exceptions; paramiko would also log each with its traceback,
# and bytes of the peer with it. The transport does not even ask, thirty times a login.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_CIPHERS: Final = (
    "aes128-gcm@openssh.com",  # twice as fast as ctr with a MAC
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_MACS: Final = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
#: Signature algorithms of a type of host key, where they have another name.
_ALGORITHMS: Final = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
#: Servers that read on, in order, while a login is yet to be decided on.
_PATIENT: Final = "SSH-2.0-OpenSSH_"
_KEEPALIVE_S: Final = 15
_REKEYING_S: Final = 0.1  # between two looks whether new keys are agreed on
_NEVER_S: Final = 24 * 3600  # paramiko's own time-outs; the watchdog is ours


class Transport(paramiko.Transport):
    """An SSH transport over a `Stream`, for pinned keys of the given types.

    `disconnect_code` is the reason code of the server's goodbye, None if it has not
    said goodbye (RFC 4253 section 11.1).
    """

    def __init__(self, stream: Stream, key_types: tuple[str, ...]) -> None:
        super().__init__(stream, packetizer_class=_Packetizer)  # type: ignore[arg-type]
        stream.reader = self
        self.stream: Final = stream
        self.disconnect_code: int | None = None
        self.banner_timeout = self.auth_timeout = self.channel_timeout = _NEVER_S
        options = self.get_security_options()
        options.ciphers = _CIPHERS
        options.digests = _MACS
        options.key_types = _preference(key_types, tuple(options.key_types))
        self.set_keepalive(_KEEPALIVE_S)

    def log_in(
        self, username: str, key: paramiko.PKey, *, with_session: bool
    ) -> tuple[list[str], paramiko.Channel | None]:
        """Authenticate with a key; return what else is asked for, and a session.

        OpenSSH is asked for the service, the login and a session at once, which takes
        one round trip instead of three. Other servers may end the connection for
        a session that is asked for before the login: there is none from them.
        Raises what `auth_publickey` raises.
        """
        if not self.remote_version.startswith(_PATIENT):
            return self.auth_publickey(username, key), None
        answered = threading.Event()
        handler = self.auth_handler = _AuthHandler(self)
        handler.auth_publickey(username, key, answered)
        channel = None
        try:
            if with_session:
                channel = self.open_session()
        except SSHException as exc:
            if not self.is_active():
                self.saved_exception = exc  # for who waits for the login
        missing = handler.wait_for_response(answered)
        return missing, channel

    def request_exec(self, channel: paramiko.Channel, command: str) -> None:
        """Ask for `command` on an open channel, and do not wait for the answer.

        A refusal closes the channel. `Channel.exec_command` would wait for the
        answer without any time-out, and for ever if the transport dies just before.
        """
        self._request(channel, "exec", command)

    def request_subsystem(self, channel: paramiko.Channel, name: str) -> None:
        """Ask for a subsystem on an open channel, like `request_exec`."""
        self._request(channel, "subsystem", name)

    def _request(self, channel: paramiko.Channel, kind: str, what: str) -> None:
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string(kind)
        message.add_boolean(True)  # else a refusal is not seen
        message.add_string(what)
        self._send_user_message(message)  # type: ignore[attr-defined]

    def write(self, channel: paramiko.Channel, data: bytes, *, is_last: bool) -> int:
        """Send what the channel's window takes; end its stdin behind the last byte.

        Returns how many bytes were sent, 0 if the other end is closed. paramiko's
        own `send` and `shutdown_write` make a message under the channel's lock and
        send it after that, when the reader may have sent the goodbye already: sshd
        ends the whole connection for a word to a channel that is gone.

        While new keys are agreed on nothing may be sent. To wait for that with the
        lock would be for ever: the reader needs it for what comes before the keys.
        Raises TimeoutError then, and when the window stays shut.
        """
        with channel.lock:
            size: int = channel._wait_for_send_window(len(data))  # type: ignore[attr-defined]  # noqa: SLF001
            if size == 0:
                return 0
            with self.clear_to_send_lock:
                if self.clear_to_send.is_set():
                    message = Message()
                    message.add_byte(cMSG_CHANNEL_DATA)
                    message.add_int(channel.remote_chanid)
                    message.add_string(data[:size])
                    self._send_message(message)  # type: ignore[attr-defined]
                    if is_last and size == len(data):
                        end = channel._send_eof()  # type: ignore[attr-defined]  # noqa: SLF001
                        if end is not None:
                            self._send_message(end)  # type: ignore[attr-defined]
                    return size
            channel.out_window_size += size
        if not self.is_active():
            raise EOFError
        self.clear_to_send.wait(_REKEYING_S)
        raise TimeoutError

    def _parse_disconnect(self, m: Message) -> None:
        """Keep the reason code of the server's goodbye."""
        self.disconnect_code = m.get_int()

    def _parse_debug(self, m: Message) -> None:
        """Do nothing: paramiko takes its time to make a line of log of it."""

    def _log(self, level: int, msg: object, *args: object) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Close everything, at whatever stage, without waiting."""
        self.close()
        self.stream.close()


class _AuthHandler(AuthHandler):
    """paramiko's part of a login, which does not wait for the service's answer."""

    def _request_auth(self) -> None:
        super()._request_auth()  # type: ignore[misc]
        accepted = Message()
        accepted.add_string("ssh-userauth")
        accepted.rewind()
        super()._parse_service_accept(accepted)  # type: ignore[misc]

    def _parse_service_accept(self, m: Message) -> None:
        """Do nothing: the login was sent along with the request for the service."""

    def _parse_userauth_failure(self, m: Message) -> None:
        """Let nobody wait for the session that will not be opened."""
        super()._parse_userauth_failure(m)  # type: ignore[misc]
        for event in tuple(self.transport.channel_events.values()):
            event.set()


class Watchdog(threading.Thread):
    """Ends a transport at an absolute instant, whatever it is doing.

    paramiko waits without limit in several places (the reply to exec, the exit
    status), and its own time-outs do not reach there. Ending the transport does.

    `expires_at` is by the monotonic clock and may be moved on while it runs.
    """

    def __init__(self, transport: Transport, expires_at: float) -> None:
        super().__init__(name="ssh-watchdog", daemon=True)
        self.expires_at = expires_at
        self.has_fired = False
        self._transport = transport
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while (remaining := self.expires_at - time.monotonic()) > 0:
            if self._stopped.wait(remaining):
                return
        self.has_fired = True
        self._transport.end()

    def stop(self) -> None:
        """Let it go; the transport is left as it is."""
        self._stopped.set()


class _Packetizer(Packetizer):
    """paramiko's packets without its handshake timer, a thread that outlives it.

    New keys when the server asks for them, or after as many bytes as OpenSSH takes
    (RFC 4344 section 3.2): paramiko's own half a gigabyte comes within a few files,
    and its reader then waits half a minute for itself if a channel is closed just
    before.
    """

    REKEY_BYTES = 2**36

    def start_handshake(self, timeout: float) -> None:
        """Do nothing: the watchdog covers the handshake."""


def _preference(
    key_types: tuple[str, ...], offered: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the algorithms for host keys, those of the pinned types first.

    The others stay, so that a server with other keys shows one: its fingerprint is
    what somebody has to compare.
    """
    pinned = [
        algorithm
        for key_type in key_types
        for algorithm in _ALGORITHMS.get(key_type, (key_type,))
    ]
    return tuple(dict.fromkeys([*pinned, *offered]))
