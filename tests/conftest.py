"""A real sshd, and connections to a home of their own on it."""

import time
from contextlib import ExitStack

import botocore.loaders
import botocore.session
import pytest
from xdist.scheduler import LoadScopeScheduling

from cronhop.domain.credential import Secret
from cronhop.ssh.connection import Connection
from tests.sshd import LOOPBACK, Sshd

PATIENCE_S = 250  # less than a test may take


class _ByStack(LoadScopeScheduling):
    """Leaves what shares something to one worker.

    The end-to-end tests share one deployed stack, those of a module a server
    and the names of executions; the runner looks for these in all processes.
    """

    def _split_scope(self, nodeid):
        path = nodeid.partition("::")[0]
        return "tests/e2e" if path.startswith("tests/e2e/") else path


def pytest_xdist_make_scheduler(config, log):
    """Say how tests are spread over several workers."""
    return _ByStack(config, log)


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


@pytest.fixture(scope="session")
def sshd():
    """A real sshd, for the whole session; tests that read its log have their own."""
    with Sshd(max_sessions=20) as server:
        yield server


@pytest.fixture
def home(sshd):
    """A home that is nobody else's."""
    return sshd.new_home()


@pytest.fixture
def guard(request, home):
    """The directory of the execution that the test module calls `KEY`."""
    return home / ".cronhop" / request.module.KEY


@pytest.fixture
def secret(sshd, home):
    """A key whose HOME is `home`."""
    return Secret(private_key=sshd.login(home))


@pytest.fixture
def connect(sshd, home, secret):
    """Open connections whose HOME is `home`; closed at the end.

    `options` are those of authorized_keys, `changes` of the server's record.
    """
    with ExitStack() as stack:

        def open_one(*, seconds=PATIENCE_S, options="", **changes):
            login = secret
            if options:
                login = Secret(private_key=sshd.login(home, options))
            return stack.enter_context(
                Connection.open(
                    sshd.server(**changes),
                    login,
                    deadline=time.monotonic() + seconds,
                    allowed=LOOPBACK,
                )
            )

        yield open_one


@pytest.fixture
def connection(connect):
    """A connection whose HOME is `home`."""
    return connect()
