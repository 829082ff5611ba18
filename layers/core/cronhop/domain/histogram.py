"""Durations in logarithmic buckets: small enough to count in, and to add up.

Eight buckets a doubling, from a millisecond to thirty days: 252 of them, of which a
task fills a dozen. A quantile is told as the geometric middle of its bucket, so it is
wrong by a sixteenth of a doubling at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

BUCKETS_A_DOUBLING = 8
RELATIVE_ERROR = 2 ** (1 / (2 * BUCKETS_A_DOUBLING)) - 1  # 4.5 %
SHORTEST = timedelta(milliseconds=1)
LONGEST = timedelta(days=30)


def milliseconds(duration: timedelta) -> int:
    """Return the duration as what is counted: one beyond the limits is at the limit.

    It comes from a host's clock, which may say anything.
    """
    return min(max(duration, SHORTEST), LONGEST) // SHORTEST


def bucket_of(duration: timedelta) -> int:
    """Return the number of the bucket that a duration is counted in, from 0.

    Bucket n ends at 2^(n/8) milliseconds, and with that.
    """
    return math.ceil(BUCKETS_A_DOUBLING * math.log2(milliseconds(duration)))


def quantile(counts: Mapping[int, int], share: float) -> timedelta | None:
    """Return the duration that this share of those counted do not exceed.

    `counts` is how many there are in each bucket, `share` above 0 and up to 1. It is
    that of one of them (nearest rank), by `RELATIVE_ERROR` too long or too short at
    most. None if nothing was counted.
    """
    rank = math.ceil(share * sum(counts.values()))
    reached = 0
    for bucket in sorted(counts):
        reached += counts[bucket]
        if reached >= rank > 0:
            return _middle(bucket)
    return None


def _middle(bucket: int) -> timedelta:
    if bucket == 0:
        return SHORTEST  # nothing shorter is counted
    return SHORTEST * 2 ** ((bucket - 0.5) / BUCKETS_A_DOUBLING)
