"""Retries: whether a command that ended is started again, and when."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cronhop.domain.run import Outcome, State

MAX_INTERVAL_S = 3600  # unless the task says else
RETRIED = (State.FAILED, State.TIMEOUT)  # what may be asked for


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often a command is started, and on what.

    | field          | meaning                                                   |
    |----------------|-----------------------------------------------------------|
    | max_attempts   | starts in all; 1: no retry                                |
    | interval_s     | from the end of the first attempt to the second           |
    | backoff        | each further interval is so many times as long            |
    | max_interval_s | but no longer than this                                   |
    | jitter         | each interval is made longer by up to this part of it     |
    | on             | outcomes that are tried again, of `failed` and `timeout`  |
    | exit_codes     | of `failed`, only these; empty: any                       |
    """

    max_attempts: int = 1
    interval_s: int = 30
    backoff: float = 2.0
    max_interval_s: int = MAX_INTERVAL_S
    jitter: float = 0.0
    on: tuple[State, ...] = RETRIED
    exit_codes: tuple[int, ...] = ()

    def delay_s(self, outcome: Outcome, *, attempt: int, seed: str) -> float | None:
        """Return how long after this attempt the next one is due.

        None if there is none: attempts are used up, the outcome is not asked for,
        or it is not the command's own. `seed` names the attempt: the jitter is
        drawn from it, so that asking again gives the same.
        """
        if not outcome.is_attempt or attempt >= self.max_attempts:
            return None
        if outcome.state not in self.on:
            return None
        if (
            outcome.state is State.FAILED
            and self.exit_codes
            and outcome.exit_code not in self.exit_codes
        ):
            return None
        return self._interval_s(attempt) * (1 + self.jitter * _draw(seed))

    def _interval_s(self, attempt: int) -> float:
        interval_s = float(self.interval_s)
        for _ in range(attempt - 1):
            if interval_s >= self.max_interval_s:
                break
            interval_s *= self.backoff
        return min(interval_s, float(self.max_interval_s))


def _draw(seed: str) -> float:
    """Return a number from 0 to 1 that only depends on the seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 0xFFFFFFFF
