"""Places on servers, in the table of servers: who runs there, who waits."""

from __future__ import annotations

from collections.abc import Collection

from pynamodb.expressions.condition import size
from pynamodb.expressions.update import Action

from cronhop.store.connection import update
from cronhop.store.servers import ServerRow


def take(server_id: str, place: str, *, limit: int, waiter: str) -> bool:
    """Let an attempt have one of the server's `limit` places; it waits no more.

    False if all are taken. True also if it has one already.
    """
    return update(
        ServerRow(server_id=server_id),
        actions=[ServerRow.active.add({place}), ServerRow.waiting.delete({waiter})],
        condition=ServerRow.version.exists()
        & (
            ServerRow.active.does_not_exist()
            | (size(ServerRow.active) < limit)
            | ServerRow.active.contains(place)
        ),
    )


def wait(server_id: str, waiter: str, *, limit: int) -> None:
    """Put a run among those that wait for a place; no more than `limit` of them."""
    update(
        ServerRow(server_id=server_id),
        actions=[ServerRow.waiting.add({waiter})],
        condition=ServerRow.version.exists()
        & (ServerRow.waiting.does_not_exist() | (size(ServerRow.waiting) < limit)),
    )


def free(
    server_id: str, *, places: Collection[str] = (), waiters: Collection[str] = ()
) -> None:
    """Ensure that these attempts have no place, and that these runs do not wait."""
    actions: list[Action] = []
    if places:
        actions.append(ServerRow.active.delete(set(places)))
    if waiters:
        actions.append(ServerRow.waiting.delete(set(waiters)))
    if actions:
        update(
            ServerRow(server_id=server_id),
            actions=actions,
            condition=ServerRow.version.exists(),
        )
