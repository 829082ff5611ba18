"""Durations in logarithmic buckets, beside the exact quantiles."""

import math
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.histogram import (
    BUCKETS_A_DOUBLING,
    LONGEST,
    RELATIVE_ERROR,
    SHORTEST,
    bucket_of,
    quantile,
)

BUCKETS = 252
# As many short ones as long ones: what runs for days is as likely as what takes a second.
DURATIONS = st.floats(0, math.log2(LONGEST / SHORTEST)).map(
    lambda power: SHORTEST * 2**power
)


def counted(durations):
    return Counter(map(bucket_of, durations))


def exact(durations, share):
    """Return the nearest rank's duration."""
    return sorted(durations)[math.ceil(share * len(durations)) - 1]


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1]))
def test_a_quantile_is_as_near_as_promised(durations, share):
    """Within 4.5 % of the exact one, or a millisecond."""
    told = quantile(counted(durations), share)

    error = abs(told - exact(durations, share))
    assert error <= exact(durations, share) * RELATIVE_ERROR + SHORTEST


@given(DURATIONS, DURATIONS)
def test_what_is_longer_is_in_no_lower_bucket(one, other):
    """And no bucket is beyond the last one."""
    shorter, longer = sorted([one, other])

    assert 0 <= bucket_of(shorter) <= bucket_of(longer) < BUCKETS


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_buckets_of_two_days_add_up(some, others):
    """The quantile of two days is that of all their durations."""
    both = counted(some) + counted(others)

    assert quantile(both, 0.5) == quantile(counted(some + others), 0.5)


@pytest.mark.parametrize("power", [0, 1, 10, 31])
def test_a_bucket_ends_with_its_end(power):
    """A power of two is the last of its bucket."""
    end = SHORTEST * 2**power

    assert bucket_of(end) == BUCKETS_A_DOUBLING * power
    assert bucket_of(end + SHORTEST) > bucket_of(end)


@pytest.mark.parametrize("duration", [timedelta(0), timedelta(seconds=-5), SHORTEST])
def test_what_took_no_time_is_the_shortest(duration):
    """A host's clock may have been set meanwhile."""
    assert quantile(counted([duration]), 0.5) == SHORTEST


def test_what_took_months_is_the_longest():
    """Whatever a host says, there are no more buckets."""
    assert bucket_of(timedelta(days=9999)) == bucket_of(LONGEST) == BUCKETS - 1


def test_nothing_has_no_quantile():
    """None is another thing than zero."""
    assert quantile({}, 0.5) is None
