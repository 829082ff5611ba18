"""Servers: on record, changed, removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cronhop.domain.address import check_host
from cronhop.domain.host_key import parse_host_key
from cronhop.domain.ids import is_id, new_id
from cronhop.domain.server import Server, ServerDefinition
from cronhop.errors import Conflict, NotFound, PreconditionFailed
from cronhop.services.credentials import require_credential
from cronhop.store import servers as store
from cronhop.store import tasks
from cronhop.store.page import Page


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What people do with servers.

    `allowed_networks` are CIDRs that a server may lie in although they are
    loopback or the like, `refused_networks` those that it may never lie in.
    """

    allowed_networks: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()

    def create(self, definition: ServerDefinition, *, by: str, now: datetime) -> Server:
        """Put a server on record. Raises Invalid, Conflict if its name is taken."""
        self._check(definition)
        server = Server(
            server_id=new_id(now),
            version=1,
            created_by=by,
            created_at=now,
            updated_at=now,
            **vars(definition),
        )
        store.add(server)
        return server

    def change(
        self,
        server_id: str,
        definition: ServerDefinition,
        *,
        version: int | None,
        now: datetime,
    ) -> Server:
        """Let the server be as defined. Raises Invalid, NotFound, Conflict.

        Raises PreconditionFailed if `version` is given and not the present one.
        """
        old = self.get(server_id, version=version)
        self._check(definition)
        new = replace(old, version=old.version + 1, updated_at=now, **vars(definition))
        store.replace(old, new)
        return new

    def get(self, server_id: str, *, version: int | None = None) -> Server:
        """Return the server. Raises NotFound, PreconditionFailed."""
        server = store.get(server_id) if is_id(server_id) else None
        if server is None:
            raise NotFound(f"there is no server {server_id}")
        if version not in {None, server.version}:
            raise PreconditionFailed("it was changed since you read it")
        return server

    def listing(self, *, limit: int, after: str | None) -> Page[Server]:
        """Return servers, oldest first."""
        return store.listing(limit=limit, after=after)

    def delete(self, server_id: str, *, version: int | None) -> None:
        """Remove a server that no task names. Raises NotFound, Conflict."""
        server = self.get(server_id, version=version)
        users = tasks.naming(server_id, limit=5)
        if users:
            raise Conflict(f"server {server.name} is named by task {', '.join(users)}")
        store.remove(server)

    def _check(self, definition: ServerDefinition) -> None:
        check_host(
            definition.host,
            allowed=self.allowed_networks,
            refused=self.refused_networks,
        )
        for line in definition.host_keys:
            parse_host_key(line)
        require_credential(definition.credential, field="credential")
