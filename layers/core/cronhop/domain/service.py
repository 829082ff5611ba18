"""Control of services: one action on one systemd unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from cronhop.errors import Invalid

MAX_WAIT_S: Final = 3600
MAX_JOURNAL_LINES: Final = 200
_MAX_UNIT: Final = 255  # characters, systemd.unit(5)
_UNIT: Final = re.compile(r"[A-Za-z0-9:_@][A-Za-z0-9:_.@\\-]*")
_TYPES: Final = (
    ".service",
    ".socket",
    ".timer",
    ".path",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".slice",
)
_NOT_CONTROLLED: Final = (".device", ".scope")
_USER: Final = re.compile(r"(?=.{1,32}\Z)[a-z_][a-z0-9_.-]*[$]?")


class Action(StrEnum):
    """What is done with the unit, in systemctl's words."""

    START = "start"  #: and wait until it is active
    STOP = "stop"  #: and wait until it is not
    RESTART = "restart"  #: and wait until it is active
    RELOAD = "reload"  #: and wait until it is active
    STATUS = "status"  #: tell what it is
    ENABLE = "enable"  #: let it start with the host
    DISABLE = "disable"  #: and not any more


#: The actions after which it should be active.
STARTING: Final = frozenset({Action.START, Action.RESTART, Action.RELOAD})


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A TCP port on which something listens on the server, within `wait_s`."""

    tcp_port: int
    wait_s: int = 30


@dataclass(frozen=True, kw_only=True)
class ServiceControl:
    """An action on a unit.

    | field         | meaning                                                    |
    |---------------|------------------------------------------------------------|
    | unit          | its name; without a type it is a service                   |
    | wait_s        | how long the action may take until the unit is as it       |
    |               | should be                                                  |
    | probe         | what must hold besides when it is active                   |
    | journal_lines | how many of the unit's last lines a failure shows          |
    | run_as        | who does it, by `sudo -n`; None: the login                 |
    """

    unit: str
    action: Action
    wait_s: int = 30
    probe: Probe | None = None
    journal_lines: int = 20
    run_as: str | None = "root"

    @property
    def unit_name(self) -> str:
        """The unit's whole name, with its type."""
        return self.unit if self.unit.endswith(_TYPES) else f"{self.unit}.service"

    @property
    def longest_s(self) -> int:
        """How long it waits at most."""
        return self.wait_s + (self.probe.wait_s if self.probe else 0)

    def check(self) -> None:
        """Ensure that it can be meant. Raises Invalid naming the field."""
        if not _UNIT.fullmatch(self.unit):
            raise Invalid(
                "unit", "a unit's name has letters, digits and :-_.\\@, no - or . first"
            )
        if self.unit.endswith(_NOT_CONTROLLED):
            raise Invalid("unit", "systemd starts and stops no unit of this type")
        if len(self.unit_name) > _MAX_UNIT:
            raise Invalid("unit", f"it has more than {_MAX_UNIT} characters")
        _check_range("wait_s", self.wait_s, 1, MAX_WAIT_S)
        _check_range("journal_lines", self.journal_lines, 0, MAX_JOURNAL_LINES)
        if self.probe is not None:
            if self.action not in STARTING:
                raise Invalid("probe", f"there is none after {self.action}")
            _check_range("probe.tcp_port", self.probe.tcp_port, 1, 65535)
            _check_range("probe.wait_s", self.probe.wait_s, 1, MAX_WAIT_S)
        if self.run_as is not None and not _USER.fullmatch(self.run_as):
            raise Invalid("run_as", "no user has such a name")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, as the API shows and the store keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ServiceControl:
        """Return what `to_dict` made these plain values of."""
        probe = plain["probe"]
        return cls(
            **{
                **plain,
                "action": Action(plain["action"]),
                "probe": Probe(**probe) if probe else None,
            }
        )


def _check_range(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Invalid(field, f"it is not within {least} and {most}")
