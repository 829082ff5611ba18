"""Servers: the SSH hosts that commands run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


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
    | host_keys       | the pinned keys, `ssh-ed25519 AAAA…`, at least one      |
    | tags            | free words to select servers by                         |
    | max_concurrency | commands at once, None for no limit                     |
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
class Server(ServerDefinition):
    """An SSH host as it is on record; `version` counts the changes."""

    server_id: str
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime
