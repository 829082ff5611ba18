"""Places on servers: how many commands run there at once.

A server with a limit has a set of the attempts that run on it. Whoever frees a
place calls the oldest run that waits for one, and whoever finds none free removes
what died without freeing its own.
"""

from __future__ import annotations

from collections.abc import Callable

from cronhop.domain.run import Execution
from cronhop.domain.server import Server
from cronhop.observe import log
from cronhop.store import executions, servers
from cronhop.store import places as store

MAX_WAITING = 200  # on record for a server; others come back by themselves


def take(server: Server, execution: Execution) -> bool:
    """Let the execution's attempt have a place; False if it has to wait.

    A run waits behind the older ones that wait already.
    """
    limit = server.max_concurrency
    if limit is None:
        return True
    if _may_take(server, execution, limit):
        return True
    present = _cleared(server)
    if present and _may_take(present, execution, limit):
        return True
    store.wait(server.server_id, execution.run_id, limit=MAX_WAITING)
    return False


def free(
    server: Server | None, execution: Execution, call: Callable[[str], None]
) -> None:
    """Ensure that the attempt has no place, and call the run whose turn it is."""
    if server is None or (server.max_concurrency is None and not server.active):
        return
    store.free(server.server_id, places=[_place(execution)], waiters=[execution.run_id])
    present = servers.get(server.server_id)
    for run_id in sorted(present.waiting) if present else ():
        waiter = executions.get(run_id, server.server_id)
        if waiter and not waiter.state.is_terminal:
            call(run_id)
            return
        store.free(server.server_id, waiters=[run_id])


def _may_take(server: Server, execution: Execution, limit: int) -> bool:
    place = _place(execution)
    older = [run_id for run_id in server.waiting if run_id < execution.run_id]
    if place not in server.active and len(server.active) + len(older) >= limit:
        return False
    return store.take(server.server_id, place, limit=limit, waiter=execution.run_id)


def _cleared(server: Server) -> Server | None:
    """Free the places, and forget the waiters, of what has ended; return the server.

    Only as many waiters are looked at as could have a place.
    """
    limit = server.max_concurrency or 0
    places = [place for place in server.active if _is_over(place, server.server_id)]
    room = limit - len(server.active) + len(places)
    waiters = []
    for run_id in sorted(server.waiting):
        if room <= 0:
            break
        if _is_over(f"{run_id}#", server.server_id):
            waiters.append(run_id)
        else:
            room -= 1
    if not places and not waiters:
        return None
    log.warning(
        "Places were freed that nobody had freed",
        action="places_freed",
        server_id=server.server_id,
        places=places,
        waiters=waiters,
    )
    store.free(server.server_id, places=places, waiters=waiters)
    return servers.get(server.server_id)


def _is_over(place: str, server_id: str) -> bool:
    """Return whether the attempt that has this place can run no more."""
    run_id, _, attempt = place.partition("#")
    execution = executions.get(run_id, server_id)
    if execution is None or execution.state.is_terminal:
        return True
    return bool(attempt) and execution.attempt != int(attempt)


def _place(execution: Execution) -> str:
    return f"{execution.run_id}#{execution.attempt}"
