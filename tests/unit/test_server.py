"""Servers: what keeps commands from being started on them."""

import pytest

from cronhop.domain.server import ServerStatus


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (ServerStatus.ENABLED, None),
        (ServerStatus.DISABLED, "the server is disabled"),
        (ServerStatus.MAINTENANCE, "the server is in maintenance"),
    ],
)
def test_status_says_why_nothing_is_started(status, reason):
    """Each status that keeps commands back has words for it."""
    assert status.why_not == reason
