"""The runner through a dropbear."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from cronhop.domain.credential import Secret
from cronhop.errors import LoginRefused, ProtocolError, Unreachable
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState
from tests.dropbear import dropbear
from tests.sshd import LOOPBACK, keypair
from tests.users import user

KEY = "01J0000000000000000000000A-01J00000000000000000DROPBEAR-1"


@pytest.fixture
def somebody():
    with user() as made:
        yield made


@pytest.fixture
def login(somebody, tmp_path):
    """The server's record and a key that is let in."""
    with dropbear(somebody, tmp_path) as made:
        yield made


def connect(server, private):
    return Connection.open(
        server,
        Secret(private_key=private),
        deadline=time.monotonic() + 60,
        allowed=LOOPBACK,
    )


def start(connection, command, *, key=KEY, wait_s=20):
    job = Job(key=key, command=command, environment={"A": "b'c"}, timeout_s=60)
    return runner.start(connection, job, wait_s=wait_s, inline_bytes=1000)


def patiently(login, visit):
    """Visit over a connection of its own, again if it breaks, as an executor does.

    dropbear 2022.83 loses a session now and then, and ends the connection where
    several run side by side, for OpenSSH's client too.
    """
    for _ in range(9):
        with suppress(Unreachable, ProtocolError), connect(*login) as connection:
            return visit(connection)
    with connect(*login) as connection:
        return visit(connection)


def test_a_command_from_start_to_clean(login, somebody):
    """Started once by a crowd, found running, read, and cleaned."""
    data = os.urandom(300_000)
    (somebody.home / "data").write_bytes(data)
    command = (
        'echo x >>marks; echo "$A"; until [ -e go ]; do sleep 0.02; done;'
        " cat data; exit 7"
    )
    with ThreadPoolExecutor(4) as pool:
        reports = list(
            pool.map(
                lambda _: patiently(login, partial(start, command=command, wait_s=0.5)),
                range(20),
            )
        )
    (somebody.home / "go").touch()
    ended = patiently(
        login, lambda one: runner.attach(one, KEY, wait_s=20, inline_bytes=1000)
    )
    read = patiently(login, lambda one: runner.read(one, KEY, "stdout", 4, 300_000))
    cleaned = patiently(login, lambda one: runner.clean(one, KEY))
    again = patiently(login, partial(start, command="echo x >>marks"))

    # Whose answer was lost cannot tell that it was the first.
    assert sum(report.started_here for report in reports) <= 1
    assert {report.state for report in reports} == {RemoteState.RUNNING}
    assert (ended.state, ended.exit_code) == (RemoteState.EXITED, 7)
    assert ended.stdout_head == (b"b'c\n" + data)[:1000]
    assert read == data
    assert cleaned.done
    assert again.state is RemoteState.LOST
    assert (somebody.home / "marks").read_text() == "x\n"


def test_it_goes_on_without_the_connection_and_is_cancelled(login):
    """The end of a session ends no command; a later visit does."""
    attach = partial(runner.attach, key=KEY, wait_s=0, inline_bytes=10)
    cancel = partial(runner.cancel, grace_s=1, wait_s=10, inline_bytes=10)
    started = patiently(login, partial(start, command="exec sleep 60", wait_s=0))
    running = patiently(login, attach)
    report = patiently(login, partial(cancel, key=KEY))
    free = patiently(login, partial(cancel, key="free"))

    assert started.state is running.state is RemoteState.RUNNING
    assert (report.exit_code, report.cancelled) == (143, True)
    assert free.state is RemoteState.ABSENT


def test_a_key_that_is_not_let_in(login):
    """A refused login, as by any other server."""
    server, _ = login

    with pytest.raises(LoginRefused):
        connect(server, keypair()[0])
