"""Rollouts: steps over many servers, decided from how far a run has come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.rollout import (
    Progress,
    Rollout,
    next_sent,
    share_of,
    stop_reason,
    verdict,
)
from cronhop.domain.run import State

DONE, FAILED, SKIPPED = State.COMPLETED, State.FAILED, State.SKIPPED


def progress(total, sent=0, stopped=None, **ended):
    """Return progress; outcomes as lists of positions, by name."""
    return Progress(
        total=total,
        sent=sent,
        stopped=stopped,
        ended={State(name): frozenset(some) for name, some in ended.items()},
    )


@pytest.mark.parametrize(
    ("share", "total", "up", "number"),
    [
        (3, 10, True, 3),
        ("25%", 10, True, 3),
        ("25%", 10, False, 2),
        ("100%", 7, True, 7),
        ("7%", 100, True, 7),  # as floats 7.000000000000001
        ("0%", 50, False, 0),
    ],
)
def test_share(share, total, up, number):
    """A number is itself; a percentage is exact before it is rounded."""
    assert share_of(share, total, up=up) == number


@pytest.mark.parametrize(
    ("rollout", "present", "upto"),
    [
        (Rollout(), progress(1000), 1000),
        (Rollout(max_parallel=10), progress(1000), 10),
        (Rollout(max_parallel="1%"), progress(50), 1),
        (Rollout(max_parallel=10), progress(1000, 10, completed=[3, 7]), 12),
        (Rollout(max_parallel=10), progress(1000, 10), 10),
        (Rollout(max_parallel=10), progress(11, 10, completed=range(10)), 11),
        (Rollout(max_parallel=5, batches=True), progress(20, 5, completed=[0, 1]), 5),
        (
            Rollout(max_parallel=5, batches=True),
            progress(20, 5, completed=[0, 1, 2, 3], failed=[4]),
            10,
        ),
        (Rollout(canary=2), progress(20), 2),
        (Rollout(canary=2), progress(20, 2, completed=[1]), 2),
        (Rollout(canary=2), progress(20, 2, completed=[0, 1]), 20),
        (Rollout(canary=2, max_parallel=1), progress(20, 1), 1),
        (Rollout(canary=2), progress(20, 2, completed=[0], failed=[1]), 2),
        (Rollout(max_failures=0), progress(20, 5, failed=[1]), 5),
        (Rollout(), progress(20, 5, stopped="cancelled"), 5),
    ],
)
def test_how_many_start(rollout, present, upto):
    """Within the limit, batch by batch, the canary before all others."""
    assert next_sent(rollout, present) == upto


@pytest.mark.parametrize(
    ("rollout", "present", "reason"),
    [
        (Rollout(), progress(20, 10, failed=range(10)), None),
        (Rollout(max_failures=0), progress(20, 10, completed=[1]), None),
        (Rollout(max_failures=0), progress(20, 10, failed=[1]), "max failures"),
        (Rollout(max_failures=2), progress(20, 10, failed=[1], lost=[2]), None),
        (
            Rollout(max_failures=2),
            progress(20, 10, failed=[1], lost=[2], timeout=[3]),
            "max failures",
        ),
        (Rollout(max_failures="10%"), progress(29, 10, failed=[1, 2]), None),
        (Rollout(max_failures=0), progress(20, 10, skipped=[1]), None),
        (Rollout(canary=1), progress(20, 1, failed=[0]), "canary did not succeed"),
        (Rollout(canary=1), progress(20, 1, skipped=[0]), "canary did not succeed"),
        (Rollout(canary=1), progress(20, 5, completed=[0], failed=[3]), None),
        (Rollout(max_failures=0), progress(5, 5, failed=[1]), None),
    ],
)
def test_when_it_stops(rollout, present, reason):
    """A canary that did not succeed, or more failures than are allowed."""
    assert stop_reason(rollout, present) == reason


@pytest.mark.parametrize(
    ("rollout", "present", "cancel_by", "state", "reason"),
    [
        (Rollout(), progress(3, 3, completed=[0, 1, 2]), None, DONE, None),
        (Rollout(), progress(3, 3, completed=[0, 1, 2]), "ada", DONE, None),
        (
            Rollout(),
            progress(3, 3, completed=[0, 1], skipped=[2]),
            None,
            DONE,
            "2 completed, 1 skipped",
        ),
        (Rollout(), progress(2, 2, skipped=[0, 1]), None, SKIPPED, "2 skipped"),
        (
            Rollout(),
            progress(4, 4, completed=[0, 1], failed=[2], lost=[3]),
            None,
            State.LOST,
            "2 completed, 1 failed, 1 lost",
        ),
        (
            Rollout(success_threshold="50%"),
            progress(4, 4, completed=[0, 1], failed=[2], lost=[3]),
            None,
            DONE,
            "2 completed, 1 failed, 1 lost",
        ),
        (
            Rollout(success_threshold="100%"),
            progress(2, 2, completed=[0], skipped=[1]),
            None,
            FAILED,
            "1 completed, 1 skipped; 2 had to be completed",
        ),
        (
            Rollout(max_failures=0),
            progress(9, 2, "max failures", completed=[0], timeout=[1]),
            None,
            State.TIMEOUT,
            "1 completed, 1 timeout, 7 not started: max failures",
        ),
        (
            Rollout(canary=1),
            progress(9, 1, "canary did not succeed", skipped=[0]),
            None,
            FAILED,
            "1 skipped, 8 not started: canary did not succeed",
        ),
        (
            Rollout(),
            progress(9, 2, "cancelled", completed=[0], cancelled=[1]),
            "ada",
            State.CANCELLED,
            "cancelled by ada: 1 completed, 1 cancelled, 7 not started: cancelled",
        ),
        (
            Rollout(),
            progress(9, 0, "cancelled"),
            "ada",
            State.CANCELLED,
            "cancelled by ada: 9 not started: cancelled",
        ),
    ],
)
def test_how_it_ends(rollout, present, cancel_by, state, reason):
    """Successes enough, else cancelled, else the worst; with counts in words."""
    assert present.is_over
    assert verdict(rollout, present, cancel_by=cancel_by) == (state, reason)


shares = st.none() | st.integers(1, 30) | st.integers(1, 100).map("{}%".format)
rollouts = st.builds(
    Rollout,
    max_parallel=shares,
    batches=st.booleans(),
    canary=shares,
    max_failures=shares | st.just(0),
    success_threshold=shares,
)
outcomes = st.sampled_from([DONE, DONE, DONE, *State]).filter(lambda s: s.is_terminal)


@given(rollouts, st.integers(2, 25), st.randoms(use_true_random=False), st.data())
def test_every_rollout_ends(rollout, total, random, data):
    """Whatever happens to targets, it never stalls, and never overdoes it."""
    sent, stopped, ended = 0, None, {}

    def present():
        by_state = {
            state: frozenset(one for one, how in ended.items() if how is state)
            for state in State
        }
        return Progress(total=total, sent=sent, stopped=stopped, ended=by_state)

    while not present().is_over:
        stopped = stopped or stop_reason(rollout, present())
        before, sent = sent, next_sent(rollout, present())
        open_ones = present().under_way()
        if rollout.max_parallel:
            assert len(open_ones) <= share_of(rollout.max_parallel, total, up=True)
        assert not (stopped and sent > before)
        if present().is_over:
            break
        assert open_ones, "it stalls"
        ended[random.choice(open_ones)] = data.draw(outcomes)

    canary = min(share_of(rollout.canary or 0, total, up=True), total)
    if sent > canary:
        assert all(ended[one] is DONE for one in range(canary))
    state, _ = verdict(rollout, present(), cancel_by=None)
    assert state.is_terminal
    if all(how is DONE for how in ended.values()) and sent == total:
        threshold = share_of(rollout.success_threshold or 1, total, up=True)
        assert (state is DONE) == (threshold <= total)
