"""The freeze of the stack: while it lasts no slot of any task is started."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cronhop.domain.hold import Hold
from cronhop.errors import Invalid
from cronhop.store import holds


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """What people do with the freeze."""

    def put(
        self, *, until: datetime | None, reason: str, by: str, now: datetime
    ) -> Hold:
        """Freeze the stack from now on, instead of how it was frozen before.

        Raises Invalid if `until` has passed.
        """
        hold = new_hold(until=until, reason=reason, by=by, now=now)
        holds.put_freeze(hold)
        return hold

    def get(self, now: datetime) -> Hold | None:
        """Return the freeze in force, None if there is none."""
        hold = holds.freeze()
        return hold if hold and hold.covers(now) else None

    def lift(self) -> None:
        """Ensure that the stack is not frozen."""
        holds.lift_freeze()


def new_hold(*, until: datetime | None, reason: str, by: str, now: datetime) -> Hold:
    """Return a hold from now on. Raises Invalid if `until` has passed."""
    hold = Hold(by=by, at=now, until=until, reason=reason)
    if hold.is_over(now):
        raise Invalid("until", "it has passed; write a later instant, or null")
    return hold
