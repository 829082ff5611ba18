"""A thousand starts, each asked for by up to forty visits at once."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from cronhop.domain.credential import Secret
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import LOOPBACK
from tests.users import noisy_user, shells_here

STARTS = 1000  # by all login shells together
CONNECTIONS = 3  # with eight channels each
HERE = shells_here()


@pytest.fixture
def user(request, tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    with noisy_user(request.param, tmp_path) as made:
        yield made


def duplicates(shell):
    """Return how many visits ask for each start: 1 to 40, four on average."""
    numbers = random.Random(shell)
    count = len(range(HERE.index(shell), STARTS, len(HERE)))
    return [40] + [
        min(40, 1 + int(numbers.expovariate(1 / 3.2))) for _ in range(count - 1)
    ]


@pytest.mark.parametrize("user", HERE, indirect=True)
def test_whoever_asks_however_often_it_starts_once(sshd, user, request):
    """Every visit is told the one exit code and output, and one that it was first."""
    crowds = duplicates(request.node.callspec.params["user"])
    jobs = [
        Job(
            key=f"start-{number}",
            command=f'echo "$CRONHOP_EXECUTION" >>"$HOME/marks"; echo {number};'
            f" exit {number % 256}",
            environment={},
            timeout_s=60,
        )
        for number in range(len(crowds))
    ]
    asked = [
        number for number, crowd in enumerate(crowds) for _ in range(crowd)
    ]  # those of a crowd behind each other: they meet on the host

    with ExitStack() as stack:
        secret = Secret(private_key=sshd.login_of(user))
        connections = [
            stack.enter_context(
                Connection.open(
                    sshd.server(username=user.name),
                    secret,
                    deadline=time.monotonic() + 280,
                    allowed=LOOPBACK,
                )
            )
            for _ in range(CONNECTIONS)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(8 * CONNECTIONS))

        def visit(turn, number):
            return number, runner.start(
                connections[turn % CONNECTIONS],
                jobs[number],
                wait_s=20,
                inline_bytes=100,
            )

        noise = connections[0].execute(b"true", limit=1000)
        visits = list(pool.map(visit, range(len(asked)), asked))

    assert b"report exited 1 0 0 1 2 3\n" in noise
    marks = (user.home / "marks").read_text().split()
    assert sorted(marks) == sorted(job.key for job in jobs)
    for number, report in visits:
        assert report.state is RemoteState.EXITED
        assert report.exit_code == number % 256
        assert report.stdout_head == f"{number}\n".encode()
    first = [number for number, report in visits if report.started_here]
    assert sorted(first) == list(range(len(crowds)))


def test_the_crowds_are_what_is_promised():
    """All shells together: a thousand starts, four visits each, at most forty."""
    if os.geteuid():
        pytest.skip("only root can make the users")
    crowds = [crowd for shell in HERE for crowd in duplicates(shell)]

    assert len(crowds) == STARTS
    assert (min(crowds), max(crowds)) == (1, 40)
    assert 3.5 <= sum(crowds) / STARTS <= 4.5
