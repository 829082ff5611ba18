"""What integration tests share: moto."""

import os
import sys

import botocore.loaders
import botocore.session
import pytest
from moto import mock_aws

from cronhop.services import commands
from cronhop.store import batch
from tests.world import REGION, World


@pytest.fixture(scope="session", autouse=True)
def service_models():
    """Parse botocore's models once, not anew for every session of a test."""
    make, loader = botocore.session.get_session, botocore.loaders.create_loader()

    def get_session(*args, **kwargs):
        session = make(*args, **kwargs)
        session.register_component("data_loader", loader)
        return session

    botocore.session.get_session = get_session
    yield
    botocore.session.get_session = make


@pytest.fixture
def world(monkeypatch):
    """A cronhop of its own on moto."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # moto reads no parameters of a statement; tests/e2e/test_batches.py has batches.
    monkeypatch.setattr(batch, "WORTH", sys.maxsize)
    with mock_aws():
        environ = dict(os.environ)
        made = World(environ)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def server(world, sshd):
    """The real sshd, on record."""
    return world.add_server(sshd)


@pytest.fixture
def impatient(monkeypatch):
    """Visits leave at once what is still running."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)


@pytest.fixture
def gate(tmp_path):
    """A file that a command waits for."""
    return tmp_path / "gate"
