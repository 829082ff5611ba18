"""Servers: the SSH hosts that commands run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cronhop.domain.server_check import HostKeyAlert, ServerCheck

MAX_HOST_KEYS: Final = 10  # pinned for one server


class ServerStatus(StrEnum):
    """Whether commands may be started on a server."""

    ENABLED = "enabled"  #: they may
    DISABLED = "disabled"  #: they may not: runs are skipped
    MAINTENANCE = "maintenance"  #: the same, for a while

    @property
    def why_not(self) -> str | None:
        """Why no command may be started, None if one may."""
        return _WHY_NOT.get(self)


_WHY_NOT: Final = {
    ServerStatus.DISABLED: "the server is disabled",
    ServerStatus.MAINTENANCE: "the server is in maintenance",
}


@dataclass(frozen=True, kw_only=True)
class ServerDefinition:
    """What a user says of an SSH host.

    | field           | meaning                                                 |
    |-----------------|---------------------------------------------------------|
    | host            | DNS name or address                                     |
    | credential      | name of the credential to log in with                   |
    | host_keys       | the pinned keys, `ssh-ed25519 AAAA…`; with none of them |
    |                 | nothing is started                                      |
    | tags            | free words to select servers by                         |
    | max_concurrency | commands at once, None for no limit                     |
    | via_server      | the server that is its jump host, None for none         |
    """

    name: str
    host: str
    port: int
    username: str
    credential: str
    host_keys: tuple[str, ...]
    environment: str | None
    tags: Mapping[str, str]
    max_concurrency: int | None
    status: ServerStatus
    via_server: str | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a selector looks at of a server."""

    server_id: str
    name: str
    environment: str | None
    tags: Mapping[str, str]
    status: ServerStatus


@dataclass(frozen=True, kw_only=True)
class Server(ServerDefinition):
    """An SSH host as it is on record.

    | field          | meaning                                                  |
    |----------------|----------------------------------------------------------|
    | version        | counts the changes of users                              |
    | active         | attempts that have a place on it, `<run id>#<attempt>`   |
    | waiting        | runs that found no place free                            |
    | jump_for       | the servers that it is the jump host of                  |
    | check_id       | the newest check that was asked for                      |
    | last_check     | the newest that was made where the server is now         |
    | host_key_alert | the host showed a key that is not pinned                 |
    """

    server_id: str
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    active: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    jump_for: frozenset[str] = frozenset()
    check_id: str | None = None
    last_check: ServerCheck | None = None
    host_key_alert: HostKeyAlert | None = None

    @property
    def pending_check(self) -> str | None:
        """The check that was asked for and is not answered, None if there is none."""
        done = self.last_check.check_id if self.last_check else ""
        return self.check_id if self.check_id and self.check_id > done else None
