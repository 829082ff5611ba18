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


def choose(targets: Targets, *, after: str | None) -> tuple[str, ...] | Refusal:
    """Return the ids of the servers in the order of the run, or why there are none.

    Ids are taken as they are if all are: a server among them that is disabled is
    skipped with its reason. Otherwise only enabled servers count. Those that a
    selector matches are in the order of their names. `after` is the server that
    the round-robin took last.
    """
    if targets.selector is None and targets.pick is Pick.ALL:
        return targets.server_ids
    found = _candidates(targets)
    if not found:
        return Refusal(state=State.FAILED, reason="no enabled server matches")
    if len(found) > MAX_TARGETS:
        return Refusal(
            state=State.FAILED, reason=f"more than {MAX_TARGETS} servers match"
        )
    return _picked(found, targets.pick, after)


def _candidates(targets: Targets) -> list[str]:
    """Return the ids of the enabled servers that the targets may mean."""
    selector = targets.selector
    if selector is None:
        known = servers.get_many(targets.server_ids)
        return [
            one
            for one in targets.server_ids
            if one in known and known[one].status is ServerStatus.ENABLED
        ]
    matching = [
        (server.name, server.server_id)
        for server in servers.candidates(selector.environment)
        if server.status is ServerStatus.ENABLED and selector.matches(server)
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
