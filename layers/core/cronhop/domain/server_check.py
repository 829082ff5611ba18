"""What a check of a server found, and what is known of its host keys besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from cronhop.domain.instant import instant


@dataclass(frozen=True, kw_only=True)
class SeenKey:
    """A host key as a server showed it: `key` is the line that would pin it."""

    type: str
    fingerprint: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a check: whether it went well, and what it found in words."""

    step: str
    ok: bool
    outcome: str


@dataclass(frozen=True, kw_only=True)
class ServerCheck:
    """One check of a server.

    | field          | meaning                                                  |
    |----------------|----------------------------------------------------------|
    | ok             | commands could be started; else `reason` says why not    |
    | steps          | each step that was come to, in order                     |
    | host_keys_seen | what the server showed, whether it is pinned or not      |
    | address        | what was connected to; None behind a jump host           |
    | latency_ms     | from looking up the name to being logged in              |
    | sudo           | whether `sudo -n` works, without a password              |
    | free_bytes     | of the file system of the home directory                 |
    | free_inodes    | likewise; None where it has no such number               |
    | clock_skew_ms  | the host's clock less ours, half the round trip allowed  |
    | system         | kernel and distribution                                  |

    What was not come to is None.
    """

    check_id: str
    at: datetime
    ok: bool
    reason: str | None = None
    steps: tuple[Step, ...] = ()
    host_keys_seen: tuple[SeenKey, ...] = ()
    address: str | None = None
    latency_ms: int | None = None
    sudo: bool | None = None
    free_bytes: int | None = None
    free_inodes: int | None = None
    clock_skew_ms: int | None = None
    system: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is kept and shown; times RFC 3339."""
        return {
            **asdict(self),
            "at": instant(self.at),
            "steps": [asdict(step) for step in self.steps],
            "host_keys_seen": [asdict(key) for key in self.host_keys_seen],
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the check that `to_dict` made this of."""
        return cls(
            **{
                **kept,
                "at": datetime.fromisoformat(kept["at"]),
                "steps": tuple(Step(**step) for step in kept["steps"]),
                "host_keys_seen": tuple(
                    SeenKey(**key) for key in kept["host_keys_seen"]
                ),
            }
        )


@dataclass(frozen=True, kw_only=True)
class HostKeyAlert:
    """The host showed a key that is not pinned: `seen` is its fingerprint."""

    seen: str
    at: datetime

    @property
    def why_not(self) -> str:
        """Why no command may be started meanwhile."""
        at = instant(self.at.replace(microsecond=0))
        return (
            f"host_key: the host showed another key ({self.seen}) at {at}; "
            "approve it or check again"
        )
