"""Executors are killed while two hundred commands run."""

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from cronhop.domain.run import State, Stream
from cronhop.store import runs
from tests.world import REGION, World

COMMANDS = 200
EXECUTORS = 8
INVOCATION_S = 25  # a visit needs 10 s to attach, and the last 10 s are for closing
VISIBLE_AGAIN_S = 60
TICK_S = 2
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a command does: prints, and exits."""

    code: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def world(monkeypatch):
    """A cronhop on a moto that other processes reach too, by the real clock."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.aws_server"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        port = int(server.stdout.readline())
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        # Ours, not the executors': a busy machine makes the server slow.
        monkeypatch.setattr("cronhop.store.connection.READ_TIMEOUT_S", 60)
        environ = dict(os.environ)
        made = World(environ)
        made.clock = lambda: datetime.now(UTC)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        boto3.client("sqs").set_queue_attributes(
            QueueUrl=environ["CRONHOP_QUEUE_URL"],
            Attributes={"VisibilityTimeout": str(VISIBLE_AGAIN_S)},
        )
        yield made
        server.stdin.close()


@pytest.fixture
def executors(world, tmp_path):
    """The executors, and what kills them."""
    with (
        (tmp_path / "executors.log").open("wb") as log,
        subprocess.Popen(
            [
                sys.executable,
                *("-m", "tests.slow.executors"),
                *(str(EXECUTORS), str(INVOCATION_S)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'functions'}:{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        yield process
        if not process.stdin.closed:
            process.stdin.close()


def durations():
    """Return how long the commands run: most a moment, some a minute, in seconds."""
    numbers = random.Random(1)
    return [
        *(numbers.uniform(1, 5) for _ in range(COMMANDS - 50)),
        *(numbers.uniform(5, 20) for _ in range(35)),
        *(numbers.uniform(20, 60) for _ in range(14)),
        60,
    ]


def add_command(world, server, home, number, seconds):
    """Run a command of its own now; return its run and what it does."""
    numbers = random.Random(number)
    # Some beyond what the table takes, which go to the bucket.
    size = 40_000 if number % 20 == 0 else numbers.randrange(3000)
    data = numbers.randbytes(size)
    (home / f"data-{number}").write_bytes(data)
    task = world.add_task(
        server,
        command=f'echo $CRONHOP_EXECUTION >>"$HOME/starts"; echo {number};'
        f' sleep {seconds / 2}; cat "$HOME/data-{number}"; echo e{number} >&2;'
        f' sleep {seconds / 2}; echo x >>"$HOME/ends"; exit {number % 256}',
        timeout_s=600,
    )
    run = world.tasks.run(task.task_id, by="tester", now=world.clock())
    return run.run_id, Expected(
        code=number % 256,
        stdout=b"%d\n%b" % (number, data),
        stderr=b"e%d\n" % number,
    )


def lines(path):
    return path.read_text().split() if path.exists() else []


def settle(world, run_ids, is_done, *, timeout_s):
    """Tick until it is done; run ids are removed from the set as they end."""
    end = time.monotonic() + timeout_s
    while not is_done():
        assert time.monotonic() < end, [runs.get(one) for one in run_ids]
        world.dispatcher.tick(world.clock(), stop_at=time.monotonic() + 30)
        ended = [one for one in sorted(run_ids) if runs.get(one).state.is_terminal]
        run_ids.difference_update(ended)
        time.sleep(TICK_S)  # the tick has a rhythm of its own


def whole(world, run, stream):
    """Return a stream of the run's one execution, all of it."""
    data = b""
    while not (page := world.output(run, stream, offset=len(data))).complete:
        assert page.data
        data += page.data
    return data + page.data


@pytest.mark.timeout(900)
def test_two_hundred_commands_survive_it(world, sshd, executors):
    """Each is started once, and its exit code and output are exact.

    Killed processes leave their messages to the queue, and their leases to time; the
    killing goes on until the last command has ended on the host.
    """
    server = world.add_server(sshd)
    home = sshd.home
    expected = dict(
        add_command(world, server, home, number, seconds)
        for number, seconds in enumerate(durations())
    )
    waiting = set(expected)

    settle(
        world,
        waiting,
        lambda: len(lines(home / "ends")) >= COMMANDS,
        timeout_s=400,
    )
    executors.stdin.write("calm\n")
    executors.stdin.flush()
    settle(world, waiting, lambda: not waiting, timeout_s=400)
    executors.stdin.close()
    killed = executors.stdout.read().split()

    assert len(killed) >= 50
    starts = lines(home / "starts")
    assert len(starts) == len(set(starts)) == COMMANDS
    for run_id, wanted in expected.items():
        run = runs.get(run_id)
        execution = world.only_execution(run)
        ended = State.FAILED if wanted.code else State.COMPLETED
        assert (run.state, execution.exit_code) == (ended, wanted.code), run
        assert f"{execution.key}" in starts
        assert whole(world, run, Stream.STDOUT) == wanted.stdout
        assert whole(world, run, Stream.STDERR) == wanted.stderr
