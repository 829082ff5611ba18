"""Targets: which servers a selector means."""

import pytest

from cronhop.domain.server import Candidate, ServerStatus
from cronhop.domain.targets import Pick, Selector, Targets

WEB = Candidate(
    server_id="01J0000000000000000000000A",
    name="web-1",
    environment="prod",
    tags={"role": "web", "zone": "a"},
    status=ServerStatus.ENABLED,
)


@pytest.mark.parametrize(
    ("selector", "is_match"),
    [
        (Selector(environment="prod"), True),
        (Selector(environment="Prod"), False),
        (Selector(tags={"role": "web"}), True),
        (Selector(tags={"role": "db"}), False),
        (Selector(tags={"role": "web", "rack": "7"}), False),
        (Selector(name="web-*"), True),
        (Selector(name="web"), False),
        (Selector(name="WEB-*"), False),
        (Selector(name="*-[0-4]"), True),
        (Selector(name="web-?"), True),
        (Selector(environment="prod", tags={"zone": "a"}, name="*"), True),
        (Selector(environment="test", tags={"zone": "a"}, name="*"), False),
    ],
)
def test_all_has_to_hold(selector, is_match):
    """Environment, tags and name, each where it is given."""
    assert selector.matches(WEB) is is_match


@pytest.mark.parametrize(
    "targets",
    [
        Targets(server_ids=("a", "b")),
        Targets(server_ids=("a", "b"), pick=Pick.ROUND_ROBIN),
        Targets(selector=Selector(environment="prod"), pick=3),
        Targets(selector=Selector(tags={"role": "web"}, name="w*"), pick=Pick.ANY),
    ],
)
def test_it_is_kept_as_plain_values(targets):
    """And comes back as it was."""
    assert Targets.from_dict(targets.to_dict()) == targets
