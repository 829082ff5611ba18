"""Targets: on which servers a task runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from cronhop.domain.server import Candidate

MAX_SERVER_IDS = 90  # a task and what it names are written in one transaction
MAX_TARGETS = 5000  # of a run


class Pick(StrEnum):
    """Which of the servers that may be are taken; a number: so many at random."""

    ALL = "all"  #: each of them
    ANY = "any"  #: one at random
    ROUND_ROBIN = "round_robin"  #: the one after that of the run before


@dataclass(frozen=True, kw_only=True)
class Selector:
    """What servers have to be like: all of it has to hold.

    | field       | meaning                                                   |
    |-------------|-----------------------------------------------------------|
    | environment | their environment; None: any                              |
    | tags        | tags that they have, with these values, among others      |
    | name        | a pattern as the shell's, `web-*`; None: any              |
    """

    environment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None

    def matches(self, server: Candidate) -> bool:
        """Return whether the server is such a one."""
        if self.environment is not None and server.environment != self.environment:
            return False
        if self.name is not None and not fnmatchcase(server.name, self.name):
            return False
        return self.tags.items() <= server.tags.items()


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The servers of a task, in one of three ways.

    | field      | meaning                                                       |
    |------------|---------------------------------------------------------------|
    | server_ids | those with these ids                                          |
    | selector   | those that match at the time                                  |
    | parameter  | the one that is the value of this parameter                   |
    """

    server_ids: tuple[str, ...] = ()
    selector: Selector | None = None
    parameter: str | None = None
    pick: Pick | int = Pick.ALL

    @property
    def may_be_several(self) -> bool:
        """Whether a run may be on more than one server."""
        if self.pick is Pick.ALL:
            return self.selector is not None or len(self.server_ids) > 1
        return isinstance(self.pick, int) and self.pick > 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        where: dict[str, Any] = {"server_ids": list(self.server_ids)}
        if self.selector:
            where = {"selector": asdict(self.selector)}
        if self.parameter is not None:
            where = {"parameter": self.parameter}
        return {**where, "pick": self.pick}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Targets:
        """Return what `to_dict` made these plain values of."""
        selector, pick = plain.get("selector"), plain.get("pick", Pick.ALL)
        return cls(
            server_ids=tuple(plain.get("server_ids", ())),
            selector=Selector(**selector) if selector else None,
            parameter=plain.get("parameter"),
            pick=pick if isinstance(pick, int) else Pick(pick),
        )
