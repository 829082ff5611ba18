"""Holds: nothing of a schedule starts while one is in force.

A task's pause is one, and the freeze of the whole stack. They hold back slots,
never a run by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Hold:
    """That somebody holds back slots, and why.

    | field  | meaning                                            |
    |--------|----------------------------------------------------|
    | by     | who                                                |
    | at     | since when                                         |
    | until  | when it ends by itself; None: when it is taken off |
    | reason | in words, may be empty                             |
    """

    by: str
    at: datetime
    until: datetime | None
    reason: str

    def covers(self, instant: datetime) -> bool:
        """Return whether it is in force at this instant."""
        return self.at <= instant and not self.is_over(instant)

    def is_over(self, instant: datetime) -> bool:
        """Return whether it has ended by itself."""
        return self.until is not None and self.until <= instant

    def __str__(self) -> str:
        end = f" until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else ""
        return f"by {self.by}{end}{': ' if self.reason else ''}{self.reason}"
