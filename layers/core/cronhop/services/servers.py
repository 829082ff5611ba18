"""Servers: on record, changed, removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from cronhop.aws.queue import Queue
from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.address import check_host
from cronhop.domain.host_key import fingerprint as fingerprint_of_line
from cronhop.domain.host_key import parse_host_key
from cronhop.domain.ids import is_id, new_id
from cronhop.domain.message import Probe
from cronhop.domain.run import Execution, State
from cronhop.domain.server import MAX_HOST_KEYS, Server, ServerDefinition
from cronhop.domain.task import Task
from cronhop.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    QueueUnavailable,
)
from cronhop.services.credentials import require_credential
from cronhop.services.sift import sift
from cronhop.services.uses import SHOWN, Use, of_templates, require_unused
from cronhop.store import executions, runs, tasks
from cronhop.store import servers as store
from cronhop.store.page import Listing, Page, Window


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What people do with servers. Nothing here touches one: executors do.

    A `scope` says in which environments somebody may do it.
    `allowed_networks` are CIDRs that a server may lie in although they are
    loopback or the like, `refused_networks` those that it may never lie in.
    """

    queue: Queue
    allowed_networks: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()

    def create(
        self,
        definition: ServerDefinition,
        *,
        by: str,
        now: datetime,
        scope: Scope = EVERYWHERE,
        server_id: str | None = None,
    ) -> Server:
        """Put a server on record; once, if its id is given.

        Raises Invalid, Conflict if its name is taken, Forbidden.
        """
        if server_id and (made := store.get(server_id)):
            scope.require(made.environment)
            return made
        self._check(definition, None, scope)
        server = Server(
            server_id=server_id or new_id(now),
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
        scope: Scope = EVERYWHERE,
    ) -> Server:
        """Let the server be as defined. Raises Invalid, NotFound, Conflict, Forbidden.

        Raises PreconditionFailed if `version` is given and not the present one.
        """
        old = self.get(server_id, version=version)
        scope.require(old.environment)
        self._check(definition, old, scope)
        new = replace(old, version=old.version + 1, updated_at=now, **vars(definition))
        if set(new.host_keys) != set(old.host_keys):
            new = replace(new, host_key_alert=None)
        if _place(new) != _place(old):
            # What was seen there is not to be approved here.
            new = replace(new, check_id=None, last_check=None)
        store.replace(old, new)
        return new

    def check(self, server_id: str, *, now: datetime) -> str:
        """Ask an executor to check the server, and return the check's id.

        Raises NotFound, QueueUnavailable.
        """
        server = self.get(server_id)
        probe = Probe(server_id=server.server_id, check_id=new_id(now))
        # First the message: what is on record as asked for must be on its way.
        if self.queue.send([(probe, 0)]):
            raise QueueUnavailable("the check could not be asked for; try again")
        store.ask_check(server.server_id, probe.check_id)
        return probe.check_id

    def approve(
        self,
        server_id: str,
        fingerprint: str,
        *,
        only: bool,
        version: int | None,
        now: datetime,
    ) -> Server:
        """Pin the host key of this fingerprint, which the last check has seen.

        `only` unpins all others. Raises NotFound, Conflict, PreconditionFailed.
        """
        old = self.get(server_id, version=version)
        seen = old.last_check.host_keys_seen if old.last_check else ()
        line = next((one.key for one in seen if one.fingerprint == fingerprint), None)
        if line is None:
            raise Conflict(
                "the last check has not seen this key: check the server, then approve"
                " what it has shown",
                field="fingerprint",
            )
        others = [
            key for key in old.host_keys if fingerprint_of_line(key) != fingerprint
        ]
        pinned = (line,) if only else (*others, line)
        if len(pinned) > MAX_HOST_KEYS:
            raise Conflict(
                f"{MAX_HOST_KEYS} keys are pinned already; replace them",
                field="replace",
            )
        new = replace(
            old,
            version=old.version + 1,
            updated_at=now,
            host_keys=pinned,
            host_key_alert=None,
        )
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

    def listing(
        self, *, limit: int, after: str | None, scope: Scope = EVERYWHERE
    ) -> Page[Server]:
        """Return servers, oldest first."""
        return sift(
            store.listing,
            limit=limit,
            after=after,
            wanted=None
            if scope.is_everywhere
            else lambda server: scope.admits(server.environment),
            key=lambda server: server.server_id,
        )

    def executions(
        self,
        server_id: str,
        *,
        states: frozenset[State],
        window: Window,
        limit: int,
        after: str | None,
        scope: Scope = EVERYWHERE,
    ) -> Page[Execution]:
        """Return the executions on a server that are in one of the states, or all.

        Sorted by their runs' ids. An execution is where its run is, which may be
        in no environment on a server that is in one. Raises NotFound.
        """
        server = self.get(server_id)
        if not scope.admits(server.environment):
            raise NotFound(f"there is no server {server_id}")
        every = partial(executions.of_server, server_id, window=window)
        is_all = scope.is_everywhere and not states
        return sift(
            every if scope.is_everywhere else partial(_of_runs_within, scope, every),
            limit=limit,
            after=after,
            wanted=None if is_all else lambda one: not states or one.state in states,
            key=lambda one: one.run_id,
            newest_first=window.newest_first,
        )

    def delete(
        self, server_id: str, *, version: int | None, scope: Scope = EVERYWHERE
    ) -> None:
        """Remove a server that nothing names. Raises NotFound, Conflict."""
        server = self.get(server_id, version=version)
        require_unused(f"server {server.name}", _uses(server_id), scope)
        if server.jump_for:
            behind = _names(server.jump_for, scope)
            raise Conflict(f"server {server.name} is the jump host of {behind}")
        store.remove(server)

    def _check(
        self, definition: ServerDefinition, old: Server | None, scope: Scope
    ) -> None:
        scope.require(definition.environment)
        check_host(
            definition.host,
            allowed=self.allowed_networks,
            refused=self.refused_networks,
        )
        for line in definition.host_keys:
            parse_host_key(line)
        require_credential(
            definition.credential,
            field="credential",
            environment=definition.environment,
            scope=scope,
        )
        if definition.via_server is not None:
            _check_jump(definition.via_server, old, scope)


def _of_runs_within(
    scope: Scope, listing: Listing[Execution], *, limit: int, after: str | None
) -> Page[Execution]:
    """Return of a page the executions whose runs lie in the scope."""
    page = listing(limit=limit, after=after)
    known = runs.get_many(one.run_id for one in page.items)
    items = [
        one
        for one in page.items
        if one.run_id in known and scope.admits(known[one.run_id].environment)
    ]
    return Page(items=items, last=page.last)


def _check_jump(via_server: str, server: Server | None, scope: Scope) -> None:
    """Ensure that `via_server` may be the jump host of the server: one hop only.

    One that lies outside the scope may stay, and is not there to be chosen.
    """
    jump = store.get(via_server) if is_id(via_server) else None
    is_kept = server is not None and server.via_server == via_server
    if jump is None or not (is_kept or scope.admits(jump.environment)):
        raise Invalid("via_server", f"there is no server {via_server}")
    if server and jump.server_id == server.server_id:
        raise Invalid("via_server", "a server is not its own jump host")
    if jump.via_server:
        raise Invalid("via_server", f"{jump.name} is behind a jump host itself")
    if server and server.jump_for:
        behind = _names(server.jump_for, scope)
        raise Invalid("via_server", f"it is the jump host of {behind} itself")


def _names(server_ids: Iterable[str], scope: Scope) -> str:
    """Return the names of some servers, at most five, of those in the scope."""
    some = sorted(server_ids)[:5]
    names = [
        server.name
        for server in store.get_many(some).values()
        if scope.admits(server.environment)
    ]
    return ", ".join(names) or "others"


def _uses(server_id: str) -> Iterator[Use]:
    named = tasks.get_many(tasks.naming(server_id, limit=SHOWN + 1))
    for task_id, task in named.items():
        if isinstance(task, Task):
            yield Use("task", task.definition.name, task.definition.environment)
        else:  # it cannot be read
            yield Use("task", task_id)
    yield from of_templates(lambda made: server_id in made.server_ids)


def _place(server: Server) -> tuple[str, int, str | None]:
    return server.host, server.port, server.via_server
