"""The table of servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pynamodb.attributes import (
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.indexes import (
    GlobalSecondaryIndex,
    IncludeProjection,
    KeysOnlyProjection,
)
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from cronhop.domain.server import Server, ServerStatus
from cronhop.store.attributes import LISTED, InstantAttribute, set_or_remove
from cronhop.store.connection import table
from cronhop.store.names import name_key, named_write
from cronhop.store.page import Page


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
    """A server as DynamoDB keeps it; `active` only where a limit is set."""

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
    tags = JSONAttribute(null=True)
    max_concurrency = NumberAttribute(null=True)
    active = UnicodeSetAttribute(null=True)
    status = UnicodeAttribute(null=True)
    version = NumberAttribute(null=True)
    created_by = UnicodeAttribute(null=True)
    created_at = InstantAttribute(null=True)
    updated_at = InstantAttribute(null=True)
    holder = UnicodeAttribute(null=True)  # of a name item: whose name it is
    listing = _Listing()
    by_environment = _ByEnvironment()


def add(server: Server) -> None:
    """Put the server. Raises Conflict if another one has its name."""
    with named_write(ServerRow, name=server.name, holder=server.server_id) as write:
        write.save(_row(server), condition=ServerRow.server_id.does_not_exist())
        _take_name(write, server)


def replace(old: Server, new: Server) -> None:
    """Change the server from `old` to `new`, of the next version.

    Raises PreconditionFailed if it is no longer of the version of `old`,
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
        (ServerRow.version, row.version),
        (ServerRow.updated_at, row.updated_at),
    )
    with named_write(ServerRow, name=new.name, holder=new.server_id) as write:
        write.update(
            ServerRow(server_id=old.server_id),
            actions=actions,
            condition=ServerRow.version == old.version,
        )
        if new.name != old.name:
            write.delete(ServerRow(server_id=name_key(old.name)))
            _take_name(write, new)


def remove(server: Server) -> None:
    """Ensure that the server is gone. Raises PreconditionFailed if it changed."""
    with named_write(ServerRow, name=server.name, holder=server.server_id) as write:
        write.delete(
            ServerRow(server_id=server.server_id),
            condition=ServerRow.version == server.version,
        )
        write.delete(ServerRow(server_id=name_key(server.name)))


def get(server_id: str) -> Server | None:
    """Return the server as of now, None if there is none."""
    try:
        row = ServerRow.get(server_id, consistent_read=True)
    except ServerRow.DoesNotExist:
        return None
    return _server(row)


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
    )
