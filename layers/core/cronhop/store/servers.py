"""The table of servers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.expressions.condition import size
from pynamodb.expressions.update import Action
from pynamodb.indexes import (
    GlobalSecondaryIndex,
    IncludeProjection,
    KeysOnlyProjection,
)
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from cronhop.domain.server import Candidate, Server, ServerStatus
from cronhop.domain.server_check import HostKeyAlert, ServerCheck
from cronhop.errors import Conflict, PreconditionFailed
from cronhop.store.attributes import (
    LISTED,
    InstantAttribute,
    PlainAttribute,
    set_or_remove,
)
from cronhop.store.connection import read, table, update
from cronhop.store.names import name_key, named_write
from cronhop.store.page import Page

MAX_ALERT_KEYS = 20  # told of one after the other; then the alert is as it is


class _Listing(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "listing"
        projection = IncludeProjection(["name", "environment", "status", "tags"])

    listed = UnicodeAttribute(hash_key=True)
    server_id = UnicodeAttribute(range_key=True)


class _ByEnvironment(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_environment"
        projection = KeysOnlyProjection()

    environment = UnicodeAttribute(hash_key=True)
    server_id = UnicodeAttribute(range_key=True)


@table("servers")
class ServerRow(Model):
    """A server as DynamoDB keeps it; `active`, `waiting` only where a limit is set."""

    class Meta:
        table_name = ""

    server_id = UnicodeAttribute(hash_key=True)
    listed = UnicodeAttribute(null=True)
    name = UnicodeAttribute(null=True)
    host = UnicodeAttribute(null=True)
    port = NumberAttribute(null=True)
    username = UnicodeAttribute(null=True)
    credential = UnicodeAttribute(null=True)
    host_keys: ListAttribute[Any] = ListAttribute(null=True)
    environment = UnicodeAttribute(null=True)
    tags = PlainAttribute(null=True)
    max_concurrency = NumberAttribute(null=True)
    active = UnicodeSetAttribute(null=True)
    waiting = UnicodeSetAttribute(null=True)
    status = UnicodeAttribute(null=True)
    version = NumberAttribute(null=True)
    created_by = UnicodeAttribute(null=True)
    created_at = InstantAttribute(null=True)
    updated_at = InstantAttribute(null=True)
    via_server = UnicodeAttribute(null=True)
    jump_for = UnicodeSetAttribute(null=True)
    check_id = UnicodeAttribute(null=True)  # asked for
    checked = UnicodeAttribute(null=True)  # the id of last_check
    last_check = PlainAttribute(null=True)
    alert_keys = UnicodeSetAttribute(null=True)  # seen since the alert is on
    alert_seen = UnicodeAttribute(null=True)
    alert_at = InstantAttribute(null=True)
    alert_told = UnicodeAttribute(null=True)
    holder = UnicodeAttribute(null=True)  # of a name item: whose name it is
    listing = _Listing()
    by_environment = _ByEnvironment()


def add(server: Server) -> None:
    """Put the server.

    Raises Conflict if another one has its name, or if its jump host has become
    none that may be one.
    """
    name, holder = server.name, server.server_id
    try:
        with named_write(ServerRow, name=name, holder=holder) as write:
            write.save(_row(server), condition=ServerRow.server_id.does_not_exist())
            _take_name(write, server)
            _move_jump(write, server.server_id, old=None, new=server.via_server)
    except PreconditionFailed as exc:
        raise Conflict("the jump host was just changed", field="via_server") from exc


def replace(old: Server, new: Server) -> None:
    """Change the server from `old` to `new`, of the next version.

    With other host keys the alert is over. A server that is somewhere else now
    has not been checked there. Raises PreconditionFailed if it is no longer of
    the version of `old`, or if the jump host has become none that may be one;
    Conflict if another server has the new name.
    """
    row = _row(new)
    actions = set_or_remove(
        (ServerRow.name, row.name),
        (ServerRow.host, row.host),
        (ServerRow.port, row.port),
        (ServerRow.username, row.username),
        (ServerRow.credential, row.credential),
        (ServerRow.host_keys, row.host_keys),
        (ServerRow.environment, row.environment),
        (ServerRow.tags, row.tags),
        (ServerRow.max_concurrency, row.max_concurrency),
        (ServerRow.status, row.status),
        (ServerRow.via_server, row.via_server),
        (ServerRow.version, row.version),
        (ServerRow.updated_at, row.updated_at),
    )
    if new.host_key_alert is None:
        actions += _without_alert()
    if new.check_id is None:
        actions += [
            ServerRow.check_id.remove(),
            ServerRow.checked.remove(),
            ServerRow.last_check.remove(),
        ]
    condition = ServerRow.version == old.version
    if new.via_server:
        condition &= ServerRow.jump_for.does_not_exist()
    with named_write(ServerRow, name=new.name, holder=new.server_id) as write:
        write.update(
            ServerRow(server_id=old.server_id),
            actions=actions,
            condition=condition,
        )
        _move_jump(write, old.server_id, old=old.via_server, new=new.via_server)
        if new.name != old.name:
            write.delete(ServerRow(server_id=name_key(old.name)))
            _take_name(write, new)


def remove(server: Server) -> None:
    """Ensure that the server is gone. Raises PreconditionFailed if it changed.

    Also if it has become the jump host of another one.
    """
    with named_write(ServerRow, name=server.name, holder=server.server_id) as write:
        write.delete(
            ServerRow(server_id=server.server_id),
            condition=(ServerRow.version == server.version)
            & ServerRow.jump_for.does_not_exist(),
        )
        _move_jump(write, server.server_id, old=server.via_server, new=None)
        write.delete(ServerRow(server_id=name_key(server.name)))


def ask_check(server_id: str, check_id: str) -> None:
    """Record that this check was asked for, unless a newer one was."""
    update(
        ServerRow(server_id=server_id),
        actions=[ServerRow.check_id.set(check_id)],
        condition=ServerRow.version.exists()
        & (ServerRow.check_id.does_not_exist() | (ServerRow.check_id < check_id)),
    )


def record_check(server: Server, check: ServerCheck) -> bool:
    """Record what a check of `server` found; False if that is of no use any more.

    A newer check was asked for or made, or the server is somewhere else now.
    """
    mine = check.check_id
    return update(
        ServerRow(server_id=server.server_id),
        actions=[
            ServerRow.last_check.set(check.to_dict()),
            ServerRow.checked.set(mine),
        ],
        condition=(ServerRow.host == server.host)
        & (ServerRow.port == server.port)
        & (
            ServerRow.via_server == server.via_server
            if server.via_server
            else ServerRow.via_server.does_not_exist()
        )
        & (ServerRow.check_id.does_not_exist() | (ServerRow.check_id <= mine))
        & (ServerRow.checked.does_not_exist() | (ServerRow.checked < mine)),
    )


def alert_host_key(server: Server, *, seen: str, now: datetime) -> bool:
    """Record that a visit to `server` met a key that is not pinned.

    True the first time for this fingerprint since the keys were last approved,
    so that one event is raised; also False if the server was changed since it
    was read, for the key may be pinned by now.
    """
    return update(
        ServerRow(server_id=server.server_id),
        actions=[
            ServerRow.alert_keys.add({seen}),
            ServerRow.alert_seen.set(seen),
            ServerRow.alert_at.set(now),
        ],
        condition=(ServerRow.version == server.version)
        & (
            ServerRow.alert_keys.does_not_exist()
            | (
                ~ServerRow.alert_keys.contains(seen)
                & (size(ServerRow.alert_keys) < MAX_ALERT_KEYS)
            )
        ),
    )


def tell_alert(server_id: str, *, seen: str) -> bool:
    """Let the caller raise the alarm of this alert; False if somebody else has."""
    return update(
        ServerRow(server_id=server_id),
        actions=[ServerRow.alert_told.set(seen)],
        condition=(ServerRow.alert_seen == seen)
        & (ServerRow.alert_told.does_not_exist() | (ServerRow.alert_told != seen)),
    )


def untell_alert(server_id: str, *, seen: str) -> None:
    """Record that the alarm of this alert could not be raised after all."""
    update(
        ServerRow(server_id=server_id),
        actions=[ServerRow.alert_told.remove()],
        condition=ServerRow.alert_told == seen,
    )


def end_alert(server: Server) -> None:
    """Record that `server`, as it was read, has shown a pinned key."""
    update(
        ServerRow(server_id=server.server_id),
        actions=_without_alert(),
        condition=ServerRow.version == server.version,
    )


def get(server_id: str) -> Server | None:
    """Return the server as of now, None if there is none."""
    row = read(ServerRow, server_id)
    return _server(row) if row else None


def named(name: str) -> Server | None:
    """Return the server of this name as of now, None if there is none."""
    row = read(ServerRow, name_key(name))
    if row is None:
        return None
    return get(row.holder)


def get_many(server_ids: Iterable[str]) -> Mapping[str, Server]:
    """Return those of the servers that exist, by id, as of now."""
    rows = ServerRow.batch_get(list(server_ids), consistent_read=True)
    return {row.server_id: _server(row) for row in rows}


def listing(*, limit: int, after: str | None) -> Page[Server]:
    """Return servers, oldest first, those after the id `after`."""
    found = ServerRow.listing.query(
        LISTED, ServerRow.server_id > after if after else None, limit=limit + 1
    )
    ids = [row.server_id for row in found]
    servers = get_many(ids[:limit])
    items = [servers[one] for one in ids[:limit] if one in servers]
    return Page(items=items, last=ids[limit - 1] if len(ids) > limit else None)


def candidates(environment: str | None) -> Iterator[Candidate]:
    """Yield the servers that a selector may match: of an environment, or all.

    By an index, which may lag: who was just enabled may be missing, and who was
    just disabled may be there, and is skipped when it is visited.
    """
    if environment is None:
        for row in ServerRow.listing.query(LISTED):
            yield _candidate(row)
        return
    keys = ServerRow.by_environment.query(environment)
    for row in ServerRow.batch_get([key.server_id for key in keys]):
        yield _candidate(row)


def _candidate(row: ServerRow) -> Candidate:
    return Candidate(
        server_id=row.server_id,
        name=row.name,
        environment=row.environment,
        tags=row.tags or {},
        status=ServerStatus(row.status),
    )


def _move_jump(
    write: TransactWrite, server_id: str, *, old: str | None, new: str | None
) -> None:
    """Let the jump hosts know who goes through them; none goes through another."""
    if old == new:
        return
    if old:
        write.update(
            ServerRow(server_id=old), actions=[ServerRow.jump_for.delete({server_id})]
        )
    if new:
        write.update(
            ServerRow(server_id=new),
            actions=[ServerRow.jump_for.add({server_id})],
            condition=ServerRow.version.exists()
            & ServerRow.via_server.does_not_exist(),
        )


def _without_alert() -> list[Action]:
    return [
        ServerRow.alert_keys.remove(),
        ServerRow.alert_seen.remove(),
        ServerRow.alert_at.remove(),
        ServerRow.alert_told.remove(),
    ]


def _take_name(write: TransactWrite, server: Server) -> None:
    write.save(
        ServerRow(server_id=name_key(server.name), holder=server.server_id),
        condition=ServerRow.server_id.does_not_exist(),
    )


def _row(server: Server) -> ServerRow:
    return ServerRow(
        server_id=server.server_id,
        listed=LISTED,
        name=server.name,
        host=server.host,
        port=server.port,
        username=server.username,
        credential=server.credential,
        host_keys=list(server.host_keys),
        environment=server.environment,
        tags=dict(server.tags),
        max_concurrency=server.max_concurrency,
        status=server.status.value,
        via_server=server.via_server,
        version=server.version,
        created_by=server.created_by,
        created_at=server.created_at,
        updated_at=server.updated_at,
    )


def _server(row: ServerRow) -> Server:
    return Server(
        server_id=row.server_id,
        name=row.name,
        host=row.host,
        port=int(row.port),
        username=row.username,
        credential=row.credential,
        host_keys=tuple(row.host_keys),
        environment=row.environment,
        tags=row.tags or {},
        max_concurrency=int(row.max_concurrency) if row.max_concurrency else None,
        status=ServerStatus(row.status),
        version=int(row.version),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        active=frozenset(row.active or ()),
        waiting=frozenset(row.waiting or ()),
        via_server=row.via_server,
        jump_for=frozenset(row.jump_for or ()),
        check_id=row.check_id,
        last_check=ServerCheck.from_dict(row.last_check) if row.last_check else None,
        host_key_alert=HostKeyAlert(seen=row.alert_seen, at=row.alert_at)
        if row.alert_seen
        else None,
    )
