"""What integration tests share: moto."""

from datetime import UTC, datetime

import pytest

from api import handler, wiring
from cronhop.services import commands
from tests.cli import URL, Cronhop, Handler
from tests.integration.test_api import Client
from tests.world import on_moto


@pytest.fixture
def world():
    """A cronhop of its own on moto."""
    with on_moto() as made:
        yield made


@pytest.fixture(scope="module")
def shared_world():
    """One for all tests of a module, which leave it as they find it."""
    with on_moto() as made:
        yield made


@pytest.fixture
def api(world):
    """The API over the world's tables."""
    wiring.services.cache_clear()
    yield Client(handler.handler)
    wiring.services.cache_clear()


@pytest.fixture
def server(world, sshd):
    """The real sshd, on record."""
    return world.add_server(sshd)


@pytest.fixture
def cronhop(world, tmp_path):
    """The command line over the API's handler; while it waits, the executor works."""
    world.clock.now = datetime.now(UTC)
    wiring.services.cache_clear()
    yield Cronhop(
        Handler(Client(handler.handler)),
        tmp_path / "config",
        pause=lambda seconds: world.deliver(),
        CRONHOP_URL=URL,
        CRONHOP_TOKEN="t",
    )
    wiring.services.cache_clear()


@pytest.fixture
def impatient(monkeypatch):
    """Visits leave at once what is still running."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)


@pytest.fixture
def gate(tmp_path):
    """A file that a command waits for."""
    return tmp_path / "gate"
