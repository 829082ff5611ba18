"""Who may do what: roles, what they allow, and in which environments.

Whatever is not granted here is denied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cronhop.errors import Forbidden


class Role(StrEnum):
    """What somebody is to cronhop; each may do what those before it may."""

    VIEWER = "viewer"  #: sees tasks, runs, output and servers
    OPERATOR = "operator"  #: runs, cancels and changes tasks
    ADMIN = "admin"  #: keeps servers and credentials, reads the audit


class Action(StrEnum):
    """What a route does."""

    TASKS_READ = "tasks.read"
    TASKS_WRITE = "tasks.write"
    SCHEDULE_PREVIEW = "schedule.preview"
    RUNS_READ = "runs.read"
    RUNS_START = "runs.start"
    RUNS_CANCEL = "runs.cancel"
    RUNS_POLL = "runs.poll"
    SERVERS_READ = "servers.read"
    SERVERS_WRITE = "servers.write"
    SERVERS_CHECK = "servers.check"
    CREDENTIALS_READ = "credentials.read"
    CREDENTIALS_WRITE = "credentials.write"
    CALENDARS_READ = "calendars.read"
    CALENDARS_WRITE = "calendars.write"
    FREEZE_READ = "freeze.read"
    FREEZE_WRITE = "freeze.write"
    NOTIFICATIONS_READ = "notifications.read"
    NOTIFICATIONS_WRITE = "notifications.write"
    STATS_READ = "stats.read"
    AUDIT_READ = "audit.read"


_VIEWER: Final = frozenset(
    {
        Action.TASKS_READ,
        Action.RUNS_READ,
        Action.SERVERS_READ,
        Action.CALENDARS_READ,
        Action.FREEZE_READ,
        Action.STATS_READ,
    }
)
_OPERATOR: Final = _VIEWER | {
    Action.TASKS_WRITE,
    Action.SCHEDULE_PREVIEW,
    Action.RUNS_START,
    Action.RUNS_CANCEL,
    Action.RUNS_POLL,
    Action.NOTIFICATIONS_READ,
}
GRANTS: Final[Mapping[Role, frozenset[Action]]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Action),
}

# These concern every environment: a role that is limited to some does not do them.
STACK_WIDE: Final = frozenset(
    {
        Action.CREDENTIALS_READ,
        Action.CREDENTIALS_WRITE,
        Action.CALENDARS_WRITE,
        Action.FREEZE_WRITE,
        Action.NOTIFICATIONS_READ,
        Action.NOTIFICATIONS_WRITE,
        Action.STATS_READ,
        Action.AUDIT_READ,
    }
)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The environments in which somebody may do something; None: all, and none."""

    environments: frozenset[str] | None

    @property
    def is_everywhere(self) -> bool:
        """Whether it has no limit."""
        return self.environments is None

    def admits(self, environment: str | None) -> bool:
        """Return whether what is of this environment, or of none, is within it."""
        return self.environments is None or environment in self.environments

    def require(self, environment: str | None) -> None:
        """Ensure that something may be put there. Raises Forbidden."""
        if not self.admits(environment):
            yours = ", ".join(sorted(self.environments or ()))
            raise Forbidden(f"you may do this in {yours} only", field="environment")


EVERYWHERE: Final = Scope(environments=None)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A role, in one environment or, with None, without a limit."""

    role: Role
    environment: str | None = None

    def __str__(self) -> str:
        return f"{self.role}:{self.environment}" if self.environment else self.role

    def allows(self, action: Action) -> bool:
        """Return whether somebody with this role may do it, there."""
        if self.environment is not None and action in STACK_WIDE:
            return False
        return action in GRANTS[self.role]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks.

    | field   | meaning                                            |
    |---------|----------------------------------------------------|
    | name    | how people know them; stands in `created_by`       |
    | subject | the issuer's id of them, which is never used again |
    """

    name: str
    subject: str
    grants: frozenset[Grant]

    def may(self, action: Action) -> bool:
        """Return whether they may do it, be it in one environment only."""
        return any(grant.allows(action) for grant in self.grants)

    def scope(self, action: Action) -> Scope:
        """Return where they may do it; several roles add up."""
        places = {grant.environment for grant in self.grants if grant.allows(action)}
        if None in places:
            return EVERYWHERE
        return Scope(environments=frozenset(one for one in places if one is not None))

    @property
    def actions(self) -> tuple[Action, ...]:
        """What they may do, be it in one environment only."""
        return tuple(action for action in Action if self.may(action))


def grants_of(claim: object) -> frozenset[Grant]:
    """Return what the groups of a token grant: `operator`, `operator:staging` ….

    The claim is a list of names, one name, or as the HTTP API passes lists:
    `[a b]`. Groups that are not known grant nothing, and of a claim in any other
    shape none does: what cannot be read for sure gives no rights.
    """
    return frozenset(filter(None, map(_grant, _names(claim))))


# A list that somebody else wrote as text, JSON for example, is not guessed at.
_LIST: Final = re.compile(r"\[([^\[\]{}\"',]*)\]")


def _names(claim: object) -> list[str]:
    if isinstance(claim, list):
        is_readable = all(isinstance(name, str) for name in claim)
        return claim if is_readable else []
    if not isinstance(claim, str):
        return []
    listed = _LIST.fullmatch(claim)
    return listed[1].split(" ") if listed else [claim]


def _grant(name: str) -> Grant | None:
    role, colon, environment = name.partition(":")
    if role not in set(Role) or (colon and not environment):
        return None
    return Grant(role=Role(role), environment=environment if colon else None)
