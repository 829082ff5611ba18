"""Who the server is, by its pinned host keys, and then who we are."""

from __future__ import annotations

from collections.abc import Sequence

from paramiko import Channel

from cronhop.domain.credential import Secret
from cronhop.domain.host_key import fingerprint_of, parse_host_key
from cronhop.domain.server import Server
from cronhop.errors import (
    HostKeyMissing,
    HostKeyRefused,
    Invalid,
    LoginRefused,
    ProtocolError,
)
from cronhop.ssh.private_key import private_key
from cronhop.ssh.transport import Transport


def pinned_keys(server: Server) -> list[tuple[str, bytes]]:
    """Return type and blob of the server's pinned keys."""
    try:
        return [parse_host_key(line) for line in server.host_keys]
    except Invalid as exc:
        raise ProtocolError("a pinned host key of the server cannot be read") from exc


def shown_key(transport: Transport) -> tuple[str, bytes]:
    """Return type and blob of the key that the server has shown."""
    key = transport.get_remote_server_key()
    return key.get_name(), key.asbytes()


def check_host_key(
    server: Server, pinned: Sequence[tuple[str, bytes]], shown: tuple[str, bytes]
) -> None:
    """Ensure that the key which the server has shown is a pinned one."""
    if not pinned:
        raise HostKeyMissing
    if shown not in pinned:
        raise HostKeyRefused(
            expected=tuple(fingerprint_of(blob) for _, blob in pinned),
            seen=fingerprint_of(shown[1]),
            server_id=server.server_id,
        )


def log_in(
    transport: Transport, username: str, secret: Secret, *, with_session: bool
) -> Channel | None:
    """Authenticate with the key, or else the password, of the credential.

    Returns a session if one is wanted and could be opened on the way.
    """
    session = None
    if secret.private_key is not None:
        key = private_key(secret.private_key, secret.passphrase)
        missing, session = transport.log_in(username, key, with_session=with_session)
    elif secret.password is not None:
        missing = transport.auth_password(username, secret.password)
    else:
        raise LoginRefused("the credential is empty")
    if missing:
        raise LoginRefused("the server asks for a second factor")
    return session
