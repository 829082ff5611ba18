"""Rollouts: in which steps a run goes over its servers, and when it stops.

A target is known by its position, from 0, in the list that the gate has frozen.
All is decided from how far the run has come, so that whoever asks, and however
often, arrives at the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from cronhop.domain.run import State

Share = int | str  #: a number, or a percentage of all targets: "25%"

FAILURES = (State.LOST, State.FAILED, State.TIMEOUT, State.MISSED)  # the worst first
CANARY = "canary did not succeed"
TOO_MANY = "max failures"
CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """In which steps a run goes over its servers.

    | field             | meaning                                               |
    |-------------------|-------------------------------------------------------|
    | max_parallel      | how many are under way at once; None: all             |
    | batches           | the next ones start when all of a batch have ended    |
    | canary            | so many have to succeed before the others start       |
    | max_failures      | how many may fail; with one more no other one starts  |
    | success_threshold | with so many successes the run is completed; None:    |
    |                   | with all that were not skipped                        |
    """

    max_parallel: Share | None = None
    batches: bool = False
    canary: Share | None = None
    max_failures: Share | None = None
    success_threshold: Share | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run over several servers has come.

    | field   | meaning                                                         |
    |---------|-----------------------------------------------------------------|
    | total   | how many targets it has                                         |
    | sent    | the cursor: every target before it is or will be started        |
    | stopped | why no other one will be, None while they may                   |
    | sender  | token of who moved the cursor last                              |
    | ended   | the positions that have ended, by outcome                       |
    """

    total: int
    sent: int = 0
    stopped: str | None = None
    sender: str | None = None
    ended: Mapping[State, frozenset[int]] = field(default_factory=dict)

    def count(self, *states: State) -> int:
        """Return how many targets have ended in one of these states."""
        return sum(len(self.ended.get(state, ())) for state in states)

    @property
    def ended_count(self) -> int:
        """How many targets have ended."""
        return self.count(*self.ended)

    @property
    def is_over(self) -> bool:
        """Whether all targets have ended that were or will be started."""
        may_go_on = self.sent < self.total and self.stopped is None
        return self.ended_count >= self.sent and not may_go_on

    def under_way(self) -> list[int]:
        """Return the positions that are or will be started and have not ended."""
        over = frozenset().union(*self.ended.values())
        return [one for one in range(self.sent) if one not in over]


def share_of(share: Share, total: int, *, up: bool) -> int:
    """Return what a share is of so many targets; `up` says how to round."""
    if isinstance(share, int):
        return share
    part = Fraction(int(share.removesuffix("%")) * total, 100)
    return ceil(part) if up else floor(part)


def next_sent(rollout: Rollout, progress: Progress) -> int:
    """Return up to where targets may be started now: the cursor, or beyond it."""
    total, sent = progress.total, progress.sent
    if progress.stopped or stop_reason(rollout, progress):
        return sent
    limit = total
    if rollout.max_parallel is not None:
        limit = max(share_of(rollout.max_parallel, total, up=True), 1)
    canary = _canary(rollout, total)
    completed = progress.ended.get(State.COMPLETED, frozenset())
    ceiling = canary if not completed.issuperset(range(canary)) else total
    open_count = sent - progress.ended_count
    if rollout.batches and open_count:
        return sent
    return max(sent, min(sent - open_count + limit, ceiling))


def stop_reason(rollout: Rollout, progress: Progress) -> str | None:
    """Return why no other target may be started any more, None if they may.

    None as well where all have been started already.
    """
    if progress.sent >= progress.total:
        return None
    canary = _canary(rollout, progress.total)
    for state, positions in progress.ended.items():
        if state is not State.COMPLETED and any(one < canary for one in positions):
            return CANARY
    if rollout.max_failures is not None:
        allowed = share_of(rollout.max_failures, progress.total, up=False)
        if progress.count(*FAILURES) > allowed:
            return TOO_MANY
    return None


def verdict(
    rollout: Rollout, progress: Progress, *, cancel_by: str | None
) -> tuple[State, str | None]:
    """Return how a run has ended whose targets all have, and the reason in words.

    Completed if there are successes enough, else cancelled if somebody asked for
    that, else the worst that happened.
    """
    completed = progress.count(State.COMPLETED)
    words = _words(progress)
    if completed and completed >= _needed(rollout, progress):
        return State.COMPLETED, words if completed < progress.total else None
    if cancel_by:
        return State.CANCELLED, f"cancelled by {cancel_by}: {words}"
    for state in FAILURES:
        if progress.count(state):
            return state, words
    if progress.count(State.SKIPPED) == progress.total:
        return State.SKIPPED, words
    # Nothing failed, and yet it is not what was asked for.
    if rollout.success_threshold is not None:
        words += f"; {_needed(rollout, progress)} had to be completed"
    return State.FAILED, words


def _needed(rollout: Rollout, progress: Progress) -> int:
    if rollout.success_threshold is not None:
        return share_of(rollout.success_threshold, progress.total, up=True)
    return progress.total - progress.count(State.SKIPPED)


def _canary(rollout: Rollout, total: int) -> int:
    if rollout.canary is None:
        return 0
    return min(share_of(rollout.canary, total, up=True), total)


def _words(progress: Progress) -> str:
    counts = [
        f"{len(progress.ended[state])} {state.value}"
        for state in State
        if progress.ended.get(state)
    ]
    left = progress.total - progress.sent
    if left:
        counts.append(f"{left} not started: {progress.stopped}")
    return ", ".join(counts)
