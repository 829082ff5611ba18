"""Ending commands on a real sshd, whoever else is dead by then."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cronhop.errors import NoWorkdir, RemoteError
from cronhop.ssh import runner
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import wait_until

KEY = "01J0000000000000000000000A-01J000000000000000000CANCEL-1"
READY = "touch ready; while :; do sleep 0.05; done"


def start(connection, command, *, wait_s=0, **changes):
    job = Job(
        **{"key": KEY, "command": command, "environment": {}, "timeout_s": 60} | changes
    )
    return runner.start(connection, job, wait_s=wait_s, inline_bytes=1000)


def start_until_ready(connection, home, command, **changes):
    start(connection, command, **changes)
    wait_until((home / "ready").exists)


def attach(connection, *, wait_s=20):
    return runner.attach(connection, KEY, wait_s=wait_s, inline_bytes=1000)


def cancel(connection, *, key=KEY, grace_s=10, wait_s=20):
    return runner.cancel(
        connection, key, grace_s=grace_s, wait_s=wait_s, inline_bytes=1000
    )


def pids_of(guard, kind):
    return [int(path.name.split(".")[1]) for path in guard.glob(f"{kind}.*.*")]


def is_alive(pid):
    """Whether a process runs; one that nobody reaps does not."""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_it_ends_a_command(connection, home):
    """With its children, by TERM; what it wrote is kept."""
    start_until_ready(
        connection,
        home,
        "echo before; sleep 50 & echo $! >child; touch ready; sleep 50",
    )

    report = cancel(connection)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 143)
    assert (report.cancelled, report.timed_out, report.escaped) == (True, False, 0)
    assert report.stdout_head == b"before\n"
    assert report.duration_s < 9
    assert not is_alive((home / "child").read_text())
    assert attach(connection).cancelled


def test_it_kills_what_ignores_term(connection, home):
    """After the grace, nobody is asked."""
    start_until_ready(connection, home, f"trap '' TERM; {READY}")

    report = cancel(connection, grace_s=1)

    assert (report.exit_code, report.cancelled) == (137, True)
    assert report.duration_s >= 1


def test_a_command_may_end_well(connection, home):
    """It traps TERM, and its own exit code is the one that is told."""
    start_until_ready(
        connection, home, f"trap 'echo bye; sleep 0.3; echo end; exit 0' TERM; {READY}"
    )

    report = cancel(connection)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 0)
    assert report.cancelled
    assert report.stdout_head == b"bye\nend\n"


def test_children_that_ignore_term_are_killed_too(connection, home):
    """The command ends at once, its child only by force."""
    start_until_ready(
        connection,
        home,
        "(trap '' TERM; sleep 50 & echo $! >child; touch ready; wait; sleep 50) & wait",
    )

    report = cancel(connection, grace_s=1)

    assert (report.exit_code, report.cancelled, report.escaped) == (143, True, 0)
    assert not is_alive((home / "child").read_text())


def test_who_left_the_group_is_counted(connection, home):
    """Nobody outside the command's group is killed."""
    start_until_ready(
        connection, home, f"setsid sleep 50 & echo $! >child; touch ready; {READY}"
    )

    report = cancel(connection)

    child = int((home / "child").read_text())
    assert is_alive(child)
    os.kill(child, signal.SIGKILL)
    assert (report.exit_code, report.escaped) == (143, 1)


def test_what_was_not_started_never_will_be(connection, guard, home):
    """Told again and again, to everybody."""
    first, again = cancel(connection), cancel(connection)
    late = start(connection, f"touch {home}/ran", wait_s=5)

    for report in (first, again, late, attach(connection)):
        assert (report.state, report.started_here) == (RemoteState.ABSENT, False)
        assert not report.cancelled
    assert not (home / "ran").exists()
    assert guard.stat().st_mode & 0o777 == 0o100


def test_an_end_stays_what_it_was(connection):
    """Who comes too late changes nothing."""
    start(connection, "exit 3", wait_s=20)

    report = cancel(connection)

    assert (report.exit_code, report.cancelled) == (3, False)


def test_a_guard_that_cannot_be_taken_is_told(connection, home):
    (home / ".cronhop").write_text("a file")

    with pytest.raises(NoWorkdir):
        cancel(connection)


def test_ten_visits_end_it_once(connect, home):
    """One TERM only, and an attached visit sees the end as well."""
    connections = [connect() for _ in range(3)]
    start_until_ready(
        connections[0],
        home,
        "trap 'echo TERM; n=1' TERM; n=; touch ready;"
        " until [ $n ]; do sleep 0.05; done; sleep 1; exit 4",
    )

    with ThreadPoolExecutor(11) as pool:
        watching = pool.submit(attach, connections[2])
        reports = list(pool.map(cancel, [connections[n % 2] for n in range(10)]))

    for report in [*reports, watching.result()]:
        assert (report.exit_code, report.cancelled) == (4, True)
        assert report.stdout_head == b"TERM\n"


def test_it_meets_the_end_at_any_moment(connect, guard):
    """Cancelled or ended by itself: both is told alike to everybody."""
    one, two = connect(), connect()
    seen = set()
    with ThreadPoolExecutor(2) as pool:
        for number in range(15):
            key = f"race-{number}"
            job = Job(
                key=key,
                command=f"sleep 0.0{number % 10}; exit 7",
                environment={},
                timeout_s=60,
            )
            started = pool.submit(runner.start, one, job, wait_s=20, inline_bytes=100)
            report = cancel(two, key=key, grace_s=1)
            other = started.result()
            assert (report.state, report.exit_code, report.cancelled) == (
                other.state,
                other.exit_code,
                other.cancelled,
            )
            assert report.state in (RemoteState.EXITED, RemoteState.ABSENT)
            assert report.exit_code in (None, 7, 143)
            seen.add((report.state, report.exit_code))
    assert seen


def test_it_goes_on_without_a_connection(connect, home, guard):
    """Between TERM and KILL nobody needs to be there."""
    first = connect()
    start_until_ready(first, home, f"trap 'touch term' TERM; {READY}")
    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(cancel, first, grace_s=1)
        wait_until((home / "term").exists)
        first.close()
        assert isinstance(broken.exception(), RemoteError)

    report = attach(connect())

    assert (report.exit_code, report.cancelled) == (137, True)


def test_a_timeout_that_came_first_stays_one(connection, home):
    """But the command is not given the rest of its long grace."""
    start_until_ready(
        connection,
        home,
        f"trap 'touch term' TERM; {READY}",
        timeout_s=1,
        kill_grace_s=300,
    )
    wait_until((home / "term").exists)

    report = cancel(connection, grace_s=1)

    assert (report.exit_code, report.timed_out, report.cancelled) == (137, True, False)


def test_a_stopped_supervisor_goes_on(connection, home, guard):
    """It is woken up, and tells the end that it then sees."""
    start_until_ready(connection, home, READY)
    os.kill(pids_of(guard, "run")[0], signal.SIGSTOP)

    report = cancel(connection)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 143)
    assert report.cancelled


def test_a_stopped_command_ends(connection, home, guard):
    """TERM reaches it, as it is woken up for that."""
    start_until_ready(connection, home, f"trap 'exit 5' TERM; {READY}")
    os.kill(-pids_of(guard, "group")[0], signal.SIGSTOP)

    assert cancel(connection).exit_code == 5


def test_a_dead_watcher_is_not_needed(connection, home, guard):
    """Even if nobody is left who would keep the time-out."""
    start_until_ready(connection, home, READY)
    supervisor = pids_of(guard, "run")[0]
    command = pids_of(guard, "group")[0]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
    for pid in {int(pid) for pid in children.split()} - {command}:
        if (
            Path(f"/proc/{pid}/task/{pid}/children").read_text()
            and b"sleep"
            in Path(
                "/proc/{}/comm".format(
                    Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
                )
            ).read_bytes()
        ):
            os.kill(pid, signal.SIGKILL)

    report = cancel(connection)

    assert (report.exit_code, report.cancelled) == (143, True)


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_a_command_without_supervisor_ends(connection, home, guard, trap):
    """Its exit code is lost, but it is over, and that is told."""
    start_until_ready(connection, home, f"{trap} {READY}")
    os.kill(pids_of(guard, "run")[0], signal.SIGKILL)
    command = pids_of(guard, "group")[0]
    wait_until(lambda: attach(connection, wait_s=0).state is RemoteState.LOST)
    assert is_alive(command)

    report = cancel(connection, grace_s=1)

    assert report.state is RemoteState.LOST
    assert report.reason.startswith("runner died")
    assert (report.cancelled, report.escaped) == (True, 0)
    assert wait_until(lambda: not is_alive(command), timeout_s=2)


def test_a_number_of_another_process_is_left_alone(connection, home, guard):
    """A pid that means another process by now is not signalled."""
    start_until_ready(connection, home, READY)
    [mark] = guard.glob("group.*")
    supervisor, command = pids_of(guard, "run")[0], pids_of(guard, "group")[0]
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: attach(connection, wait_s=0).state is RemoteState.LOST)
    mark.rename(guard / f"group.{command}.1")

    report = cancel(connection, grace_s=0, wait_s=1)

    assert report.state is RemoteState.LOST
    assert is_alive(command)
    os.killpg(command, signal.SIGKILL)


def test_one_that_is_starting_is_waited_for(connection, home, guard):
    """The supervisor takes over late, and the command ends all the same."""
    start_until_ready(connection, home, READY)
    [state] = guard.glob("run.*")
    boot = state.name.split(".")[3]
    hidden = state.rename(guard / f"new.{boot}")

    early = cancel(connection, wait_s=0)
    hidden.rename(state)
    report = attach(connection)

    assert early.state is RemoteState.STARTING
    assert (report.exit_code, report.cancelled) == (143, True)
