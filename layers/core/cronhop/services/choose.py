"""The choice of servers: what a task's targets mean at the moment a run begins."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from cronhop.domain.gate import Refusal
from cronhop.domain.run import State
from cronhop.domain.server import ServerStatus
from cronhop.domain.targets import MAX_TARGETS, Pick, Targets
from cronhop.store import servers

_RANDOM = secrets.SystemRandom()


def choose(
    targets: Targets, *, after: str | None, environment: str | None = None
) -> tuple[str, ...] | Refusal:
    """Return the ids of the servers in the order of the run, or why there are none.

    Ids are taken as they are if all are: a server among them that is disabled is
    skipped with its reason. Otherwise only enabled servers count. Those that a
    selector matches are in the order of their names. `after` is the server that
    the round-robin took last. With an `environment` no server of another one
    is taken: of a task that names such a server by id, nothing runs.
    """
    if targets.selector is None and targets.pick is Pick.ALL:
        return within(environment, targets.server_ids)
    found = _candidates(targets, environment)
    if not found:
        return Refusal(state=State.FAILED, reason="no enabled server matches")
    if len(found) > MAX_TARGETS:
        return Refusal(
            state=State.FAILED, reason=f"more than {MAX_TARGETS} servers match"
        )
    return _picked(found, targets.pick, after)


def within(
    environment: str | None, server_ids: tuple[str, ...]
) -> tuple[str, ...] | Refusal:
    """Return the servers if all are of the environment, or why nothing may run.

    A server was moved since the task named it. One that is gone is let through:
    its execution says so.
    """
    if environment is None:
        return server_ids
    known = servers.get_many(server_ids)
    for one in server_ids:
        if one in known and known[one].environment != environment:
            return Refusal(
                state=State.FAILED,
                reason=f"server {one} is not in environment {environment} any more",
            )
    return server_ids


def _candidates(targets: Targets, environment: str | None) -> list[str]:
    """Return the ids of the enabled servers that the targets may mean."""
    selector = targets.selector
    if selector is None:
        known = servers.get_many(targets.server_ids)
        return [
            one
            for one in targets.server_ids
            if one in known
            and known[one].status is ServerStatus.ENABLED
            and environment in {None, known[one].environment}
        ]
    matching = [
        (server.name, server.server_id)
        for server in servers.candidates(environment or selector.environment)
        if server.status is ServerStatus.ENABLED
        and selector.matches(server)
        and environment in {None, server.environment}
    ]
    return [server_id for _, server_id in sorted(matching)]


def _picked(
    found: Sequence[str], pick: Pick | int, after: str | None
) -> tuple[str, ...]:
    if isinstance(pick, int):
        chosen = set(_RANDOM.sample(found, min(pick, len(found))))
        return tuple(one for one in found if one in chosen)
    match pick:
        case Pick.ALL:
            return tuple(found)
        case Pick.ANY:
            return (_RANDOM.choice(found),)
        case Pick.ROUND_ROBIN:
            later = [one for one in found if after and one > after]
            return (min(later or found),)
