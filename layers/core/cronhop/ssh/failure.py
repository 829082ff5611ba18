"""What paramiko and the socket raise, in cronhop's own words."""

from __future__ import annotations

import socket
from enum import StrEnum
from typing import Final

from paramiko import auth_strategy, ber, buffered_pipe, hostkeys, packet, pkey, sftp
from paramiko import ssh_exception as ssh

from cronhop.errors import (
    Busy,
    LoginRefused,
    ProtocolError,
    RemoteError,
    Unreachable,
)

_MAX_QUOTED: Final = 200  # characters of a peer's bytes in a message


class Phase(StrEnum):
    """How far a connection has come."""

    CONNECTING = "connecting"  #: name, route, TCP
    HANDSHAKE = "handshake"  #: banner and key exchange: it may yet be dropped
    LOGIN = "login"  #: the host key is right, the credential is shown
    SESSION = "session"  #: commands


#: Each of paramiko's exceptions; the nearest class of its MRO counts.
MEANING: Final[dict[type[Exception], tuple[type[RemoteError], str]]] = {
    ssh.AuthenticationException: (LoginRefused, "the server refused the login"),
    ssh.PasswordRequiredException: (LoginRefused, "the key needs a passphrase"),
    ssh.BadAuthenticationType: (
        LoginRefused,
        "the server does not take this kind of credential",
    ),
    ssh.PartialAuthentication: (LoginRefused, "the server asks for a second factor"),
    ssh.UnableToAuthenticate: (LoginRefused, "the server refused the login"),
    auth_strategy.AuthFailure: (LoginRefused, "the server refused the login"),
    ssh.ChannelException: (Busy, "the server opens no further session"),
    ssh.BadHostKeyException: (ProtocolError, "the host key changed on the way"),
    ssh.IncompatiblePeer: (ProtocolError, "no algorithm in common with the server"),
    ssh.MessageOrderError: (ProtocolError, "a message out of order"),
    ssh.ProxyCommandFailure: (Unreachable, "the proxy failed"),
    ssh.NoValidConnectionsError: (Unreachable, "no address of the server answers"),
    ssh.CouldNotCanonicalize: (Unreachable, "the name cannot be resolved"),
    ssh.ConfigParseError: (ProtocolError, "the configuration makes no sense"),
    ssh.SSHException: (ProtocolError, "the server broke the protocol"),
    ber.BERException: (ProtocolError, "a malformed key"),
    hostkeys.InvalidHostKey: (ProtocolError, "a malformed host key"),
    pkey.UnknownKeyType: (ProtocolError, "an unknown type of key"),
    sftp.SFTPError: (ProtocolError, "the file transfer failed"),
    packet.NeedRekeyException: (ProtocolError, "new keys were not agreed on"),
    buffered_pipe.PipeTimeout: (Unreachable, "no answer"),
}

# paramiko has one class for what the peer did wrong and for what became of the
# connection; only the text tells them apart.
_LOST: Final = (
    "SSH session not active",
    "Channel closed.",
    "Unable to open channel.",
    "Timeout opening channel.",
    "Key-exchange timed out",
    "Negotiation failed.",
)
# What sshd sends instead of its version when it drops a connection: MaxStartups,
# PerSourcePenalties.
_DROPPED: Final = (b"Exceeded MaxStartups", b"Not allowed at this time")


def explain(
    error: Exception, *, phase: Phase, head: bytes = b"", is_alive: bool = False
) -> RemoteError:
    """Return the `RemoteError` that stands for an error of paramiko or the socket.

    `head` is what the server sent first; `is_alive` tells a login that was refused
    from one during which the connection broke. No byte of the peer comes into the
    message: it may be any service, of a network that the user cannot look into.
    """
    is_lost = isinstance(error, EOFError | OSError) or str(error).startswith(_LOST)
    if phase is Phase.HANDSHAKE:
        if head and not head.startswith((b"SSH-", *_DROPPED)) and b"\nSSH-" not in head:
            return ProtocolError("no SSH server answers there")
        if is_lost or str(error).startswith("Error reading SSH protocol banner"):
            return Busy("the server dropped the connection before the handshake")
    if isinstance(error, OSError):
        return Unreachable(_of_socket(error))
    if is_lost or (
        phase is Phase.LOGIN
        and type(error) is ssh.AuthenticationException
        and not is_alive
    ):
        return Unreachable(f"the connection broke ({phase})")
    for kind in type(error).__mro__:
        if kind in MEANING:
            meaning, words = MEANING[kind]
            return meaning(words)
    return ProtocolError(f"the server broke the protocol ({type(error).__name__})")


def quote(data: bytes, limit: int = _MAX_QUOTED) -> str:
    """Return a peer's bytes for a message: one line, printable ASCII, bounded."""
    text = data[:limit].decode("ascii", "replace")
    clean = "".join(
        char if char.isascii() and char.isprintable() else "·" for char in text
    )
    return repr(clean.strip("· ")) + ("…" if len(data) > limit else "")


def _of_socket(error: OSError) -> str:
    """Return what a socket's error says, in words that are the system's own."""
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, TimeoutError):
        return "no answer"
    return (error.strerror or type(error).__name__).lower()
