"""Settings: read from the environment, or refused by name."""

import pytest

from cronhop.settings import Settings, SettingsError

ENV = {
    "AWS_REGION": "eu-central-1",
    "CRONHOP_TABLE_PREFIX": "test-",
    "CRONHOP_QUEUE_URL": "https://queue",
    "CRONHOP_BUCKET": "bucket",
    "CRONHOP_SECRET_PREFIX": "test/",
}


def test_networks_are_lists():
    """Empty is none; spaces and host bits do no harm."""
    none = Settings.from_env(ENV | {"CRONHOP_REFUSED_NETWORKS": " "})
    some = Settings.from_env(
        ENV
        | {
            "CRONHOP_ALLOWED_NETWORKS": "127.0.0.1",
            "CRONHOP_REFUSED_NETWORKS": "10.0.9.7/24, fd12::/64,",
        }
    )

    assert (none.allowed_networks, none.refused_networks) == ((), ())
    assert some.allowed_networks == ("127.0.0.1/32",)
    assert some.refused_networks == ("10.0.9.0/24", "fd12::/64")


@pytest.mark.parametrize(
    "name", ["CRONHOP_ALLOWED_NETWORKS", "CRONHOP_REFUSED_NETWORKS"]
)
def test_a_network_that_cannot_be_read_stops_everything(name):
    """A typo must not let servers lie where they may not."""
    with pytest.raises(SettingsError, match=name):
        Settings.from_env(ENV | {name: "10.0.9.0/24, 10.0.0/8x"})
