"""A whole session through a network that stalls or breaks at any part of it."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from cronhop.errors import RemoteError
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.connections import Connections
from cronhop.ssh.runner import Job, RemoteState
from cronhop.ssh.transport import Transport, Watchdog
from tests.proxy import Breaking, Fault, listening
from tests.sshd import LOOPBACK, wait_until

STEP = 10  # bytes of the session between two faults
MARGIN = 200  # bytes by which one session may be longer than another
WORKERS = 24
DEADLINE_S = 3.0

_keys = (f"fault-{number}" for number in itertools.count())


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a visit through the fault, and of the command."""

    at: int
    struck: bool
    end: str
    late_s: float
    started_before: bool
    report: runner.Report
    marks: str


@pytest.fixture
def direct(sshd, secret):
    """A connection that nothing happens to."""
    with Connection.open(
        sshd.server(), secret, deadline=time.monotonic() + 880, allowed=LOOPBACK
    ) as connection:
        yield connection


def start(connection, key):
    job = Job(
        key=key,
        command='echo x >>"marks-$CRONHOP_EXECUTION"; echo out; exit 3',
        environment={},
        timeout_s=60,
    )
    return runner.start(connection, job, wait_s=20, inline_bytes=100)


class Visits:
    """Counts the visits under way, and the threads that they may have."""

    def __init__(self):
        self._lock = threading.Lock()
        self._count = 1  # the direct connection
        self.leaks = []

    def __enter__(self):
        with self._lock:
            self._count += 1

    def __exit__(self, *_):
        with self._lock:
            self._count -= 1
            for kind in (Transport, Watchdog):
                alive = sum(isinstance(one, kind) for one in threading.enumerate())
                if alive > self._count:
                    self.leaks.append((kind.__name__, alive, self._count))


def visit(sshd, secret, key, network, visits):
    """Visit the command; return what ended the visit and how late that was."""
    with listening(network) as port:
        deadline = time.monotonic() + DEADLINE_S
        with visits, Connections(allowed=LOOPBACK) as connections:
            server = sshd.server(port=port)
            try:
                connection = connections.to(server, secret, deadline=deadline)
                end = start(connection, key).state.value
            except RemoteError as error:
                end = error.reason
        late_s = time.monotonic() - deadline
        # Before `listening` closes its sockets.
        wait_until(lambda: network.is_over or not network.has_begun)
        return end, late_s


def sweep(sshd, secret, direct, home, points, visits):
    """Visit a command of its own with each fault, then see what became of it."""
    gate = threading.BoundedSemaphore(8)  # as many channels has a connection

    def one(point):
        fault, way, at = point
        key = next(_keys)
        network = Breaking(port=sshd.port, fault=fault, **{way: at})
        end, late_s = visit(sshd, secret, key, network, visits)
        with gate:
            report = start(direct, key)
        return Result(
            at=at,
            struck=network.struck,
            end=end,
            late_s=late_s,
            started_before=not report.started_here,
            report=report,
            marks=(home / f"marks-{key}").read_text(),
        )

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(one, points))


def strangers(before):
    """Return the names of threads that were not there before and do not end."""
    for thread in threading.enumerate():
        if thread not in before:
            thread.join(5)
    return [one.name for one in threading.enumerate() if one not in before]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(
    "faults", [(Fault.STALL,), (Fault.CLOSE, Fault.RESET)], ids=["stall", "cut"]
)
def test_it_ends_in_time_and_starts_once(sshd, secret, direct, home, way, faults):
    """Each visit ends a second after its deadline at most, and leaves no thread.

    Whatever it has come to, the next visit finds the command started, or starts it,
    once, and its outcome is exact.
    """
    before = set(threading.enumerate())
    whole = Breaking(port=sshd.port, fault=Fault.STALL)
    visits = Visits()
    assert visit(sshd, secret, next(_keys), whole, visits)[0] == "exited"
    length = whole.passed[way == "down"]
    points = [
        (fault, way, at)
        for fault, at in zip(
            itertools.cycle(faults), range(0, length + MARGIN, STEP), strict=False
        )
    ]

    results = sweep(sshd, secret, direct, home, points, visits)

    assert [result for result in results if result.late_s > 1] == []
    for result in results:
        assert result.report.state is RemoteState.EXITED
        assert (result.report.exit_code, result.report.stdout_head) == (3, b"out\n")
        assert result.marks == "x\n"
    # The fault struck all along the session, before and behind the start.
    struck = [result for result in results if result.struck]
    assert len(struck) >= 0.9 * length / STEP
    assert {result.started_before for result in results} == {True, False}
    assert "exited" not in {
        result.end for result in struck if not result.started_before
    }
    assert visits.leaks == []
    assert strangers(before) == []
    wait_until(lambda: sshd.sessions() == 1)
