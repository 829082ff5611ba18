"""Commands on a real sshd: started once, found again, ended in time."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cronhop.errors import Invalid, NoWorkdir, ProtocolError
from cronhop.ssh import runner
from cronhop.ssh.connection import Answer
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import wait_until

KEY = "01J0000000000000000000000A-01J00000000000000000RUNNER-1"
MARKER = b"0123456789abcdef0123456789abcdef"


def start(connection, command, *, wait_s=20, inline_bytes=65536, **changes):
    job = Job(
        **{"key": KEY, "command": command, "environment": {}, "timeout_s": 60} | changes
    )
    return runner.start(connection, job, wait_s=wait_s, inline_bytes=inline_bytes)


def attach(connection, *, wait_s=20):
    return runner.attach(connection, KEY, wait_s=wait_s, inline_bytes=65536)


def forbid(connection, key=KEY):
    return runner.forbid(connection, key, inline_bytes=65536)


def cancel(connection):
    return runner.cancel(connection, KEY, grace_s=1, wait_s=10, inline_bytes=65536)


def visitors(home):
    """The processes whose HOME is `home`, with a visit's or a command's environment."""
    mark = f"HOME={home}".encode()
    return {
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/environ")
        if mark in read_or_nothing(path).split(b"\0") and is_alive(path.parent.name)
    }


def is_sleep(pid):
    return read_or_nothing(Path(f"/proc/{pid}/comm")) == b"sleep\n"


def state_file(guard, kind):
    """A file whose name is a state, None if that was not come to."""
    return next(guard.glob(f"{kind}.*"), None)


def is_alive(pid):
    """Whether a process runs; one that nobody reaps does not."""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_it_reports_a_command(connection, home):
    """Streams, exit code, duration and place are the command's."""
    report = start(connection, "echo out; echo err >&2; pwd; sleep 0.2; exit 3")

    assert report.state is RemoteState.EXITED
    assert report.started_here
    assert (report.exit_code, report.timed_out, report.reason) == (3, False, None)
    assert report.stdout_head == f"out\n{home}\n".encode()
    assert report.stderr_head == b"err\n"
    assert report.stdout_bytes == len(report.stdout_head)
    assert report.stderr_bytes == 4
    assert 0.2 <= report.duration_s <= report.age_s < 10


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("exit 255", 255),
        ("no-such-command-here", 127),
        ("kill -KILL $$", 137),
        ("kill -INT $$; sleep 9", 130),
        ("kill -QUIT $$; sleep 9", 131),
        ("if", 2),
        ("#!/bin/sh -e\nfalse\n", 1),
        ("#!/no/such/interpreter\n", 127),
    ],
)
def test_exit_codes_are_exact(connection, command, code):
    """Signals count as shells count them, and are not blocked on the way."""
    report = start(connection, command)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, code)


def test_a_script_names_its_interpreter(connection):
    """A command that begins with #! is executed itself."""
    report = start(connection, '#!/usr/bin/env bash\necho "${BASH_VERSION:+bash}"\n')

    assert report.stdout_head == b"bash\n"


def test_stdin_is_empty(connection):
    """A command that reads stdin does not wait, nor reads our script."""
    report = start(connection, "cat; readlink /proc/self/fd/0")

    assert report.stdout_head == b"/dev/null\n"


def test_it_stands_apart_from_the_connection(connection):
    """The command leads a session of its own, and so does its supervisor."""
    report = start(
        connection,
        "set -- $(ps -o pid=,pgid=,sid= -p $$); echo $1 $2 $3; ps -o sid= $PPID",
    )

    pid, group, session, supervisors = report.stdout_head.split()
    assert pid == group == session
    assert supervisors not in (session, str(os.getsid(0)).encode())


def test_the_environment_arrives_and_is_nowhere_else(connection, home, guard):
    """Values are byte-identical, in no argument of any process and in no file."""
    secret = "canary'\"$(id)`id`\\0101\\n %s\té\n\n"
    values = {
        "SECRET": secret,
        "EMPTY": "",
        "PATH_LIKE": ":/x:",
        "Z": "\U0001f600 \x7f",
    }
    go = home / "go"

    first = start(
        connection,
        f'for n in SECRET EMPTY PATH_LIKE Z; do eval "printf \'%s|\' \\"\\$$n\\""; done\n'
        f"echo $CRONHOP_EXECUTION; env | grep -c '^ch_' >&2; env | grep -c OLDPWD >&2\n"
        f"while [ ! -e {go} ]; do sleep 0.02; done",
        environment=values,
        wait_s=0,
    )
    arguments = b"".join(
        read_or_nothing(path) for path in Path("/proc").glob("[0-9]*/cmdline")
    )
    written = b"".join(
        path.read_bytes() + path.name.encode()
        for path in [*home.rglob("*")]
        if path.is_file() and not path.name.startswith("stdout")
    )
    go.touch()
    report = attach(connection)

    assert first.state is RemoteState.RUNNING
    assert b"canary" not in arguments
    assert b"canary" not in written
    expected = "".join(f"{value}|" for value in values.values()) + f"{KEY}\n"
    assert report.stdout_head == expected.encode()
    assert report.stderr_head == b"0\n0\n"


def read_or_nothing(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_broken_environment_does_not_break_the_runner(connection):
    """What the job does to PATH and the like, it does to its own command only."""
    values = {"PATH": "/nowhere", "HOME": "/nowhere", "LC_ALL": "xx_XX", "ENV": "/x"}

    report = start(connection, "echo $HOME; ls", environment=values)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 127)
    assert report.stdout_head == b"/nowhere\n"


def test_forty_visits_start_it_once(connect, home):
    """Whoever comes at the same time attaches to the one that was first."""
    connections = [connect() for _ in range(5)]
    with ThreadPoolExecutor(40) as pool:
        reports = list(
            pool.map(
                lambda number: start(
                    connections[number % 5], f"echo {number} >>{home}/runs; sleep 0.3"
                ),
                range(40),
            )
        )

    assert len((home / "runs").read_text().splitlines()) == 1
    assert sum(report.started_here for report in reports) == 1
    assert {report.state for report in reports} == {RemoteState.EXITED}
    assert {report.exit_code for report in reports} == {0}


def test_the_timeout_ends_the_whole_group(connection, home):
    """TERM, the grace, KILL; what was written before is kept."""
    report = start(
        connection,
        f"trap '' TERM; echo before; for i in 1 2 3; do sleep 60 & echo $! >>{home}/pids;"
        " done; wait; wait",
        timeout_s=1,
        kill_grace_s=1,
    )

    assert (report.exit_code, report.timed_out) == (137, True)
    assert report.stdout_head == b"before\n"
    assert 1.9 <= report.duration_s < 10
    pids = (home / "pids").read_text().split()
    assert len(pids) == 3
    assert wait_until(lambda: not any(map(is_alive, pids)))


def test_the_timeout_strikes_without_any_connection(connect, connection, guard):
    """Nobody needs to watch."""
    start(connection, "exec sleep 60", wait_s=0, timeout_s=1)
    connection.close()
    wait_until(lambda: state_file(guard, "exit"))

    report = attach(connect())

    assert (report.exit_code, report.timed_out) == (143, True)


def test_who_left_the_group_is_counted(connection, home):
    """A process in a session of its own outlives the time-out, and is told of."""
    report = start(
        connection,
        f"setsid sleep 60 & echo $! >{home}/pid; exec sleep 60",
        timeout_s=1,
    )
    os.kill(int((home / "pid").read_text()), signal.SIGKILL)

    assert (report.timed_out, report.escaped) == (True, 1)


def test_it_goes_on_without_us(connect, home):
    """The connection breaks, the command does not; its end is found later."""
    first = connect()
    started = start(
        first, f"while [ ! -e {home}/go ]; do sleep 0.02; done; exit 42", wait_s=0
    )
    first.close()
    second = connect()
    running = attach(second, wait_s=0)
    (home / "go").touch()
    ended = attach(second)

    assert started.state is running.state is RemoteState.RUNNING
    assert (ended.state, ended.exit_code) == (RemoteState.EXITED, 42)
    assert not ended.started_here


def test_a_killed_supervisor_is_lost(connection, guard):
    """If nobody is left to see the end, nobody claims to know it."""
    start(connection, "exec sleep 60", wait_s=0)
    supervisor = int(state_file(guard, "run").name.split(".")[1])
    command = int(state_file(guard, "group").name.split(".")[1])
    os.kill(supervisor, signal.SIGKILL)
    os.kill(command, signal.SIGKILL)

    report = attach(connection)
    again = start(connection, "true")

    assert report.state is RemoteState.LOST
    assert report.reason.startswith("runner died")
    assert again.state is RemoteState.LOST


def test_a_visit_learns_that_nobody_will_wake_it(connection, guard):
    """The supervisor and its watcher die together: the visit ends all the same."""
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(start, connection, "exec sleep 60", wait_s=60)
        wait_until(lambda: list(guard.glob("group.*.*")))
        supervisor = int(state_file(guard, "run").name.split(".")[1])
        command = int(state_file(guard, "group").name.split(".")[1])
        os.kill(supervisor, signal.SIGSTOP)
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        for child in {int(pid) for pid in children.split()} - {command}:
            os.kill(child, signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
        report = visit.result(timeout=20)

    os.kill(command, signal.SIGKILL)
    assert report.state is RemoteState.LOST
    assert report.reason.startswith("runner died")


def test_who_comes_after_the_cleaning_starts_nothing(connection, guard, home):
    """A supervisor that was held up, while it went on record that it never was."""
    job = Job(key=KEY, command=f"touch {home}/ran", environment={}, timeout_s=9)
    words = runner.start_words(job, wait_s=0, inline_bytes=10)
    held = f"touch {home}/held; until [ -e {home}/go ]; do sleep 0.1; done; ch_state="
    script = runner.script("0" * 32, words).replace(b"ch_state=", held.encode(), 1)
    assert script.index(b"ch_supervise()") < script.index(b"/held")
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(connection.execute, script, limit=10_000)
        wait_until((home / "held").exists)
        for path in guard.iterdir():
            path.unlink()
        guard.chmod(0o500)
        (home / "go").touch()
        assert b"report lost" in visit.result(timeout=20)

    wait_until(lambda: not visitors(home))
    assert not (home / "ran").exists()
    assert list(guard.iterdir()) == []


def test_a_long_grace_does_not_hold_the_visit(connection, guard):
    """It has waited long enough while the command is given time to end."""
    report = start(
        connection,
        "trap : TERM; while :; do sleep 0.1; done",
        wait_s=2,
        timeout_s=1,
        kill_grace_s=60,
    )
    os.kill(-int(state_file(guard, "timeout").name.split(".")[1]), signal.SIGKILL)

    assert report.state is RemoteState.RUNNING
    assert attach(connection).timed_out


def test_a_pid_of_another_process_is_no_supervisor(connection, guard):
    """A pid counts with its start time only."""
    start(connection, "true")
    file = state_file(guard, "exit")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    file.rename(guard / f"run.{os.getpid()}.1.{boot}.100")

    report = attach(connection, wait_s=0)

    assert report.state is RemoteState.LOST
    assert report.reason.startswith("runner died")


def test_a_reboot_is_seen(connection, guard):
    """Under another boot id nothing of it runs any more."""
    start(connection, "exec sleep 60", wait_s=0)
    file = state_file(guard, "run")
    _, pid, ticks, boot, started = file.name.split(".")
    file.rename(guard / f"run.{pid}.{ticks}.{boot[::-1]}.{started}")

    report = attach(connection)
    os.kill(int(state_file(guard, "group").name.split(".")[1]), signal.SIGKILL)

    assert (report.state, report.reason) == (RemoteState.LOST, "host rebooted")


def test_a_guard_without_pid_is_given_a_minute(connection, guard):
    """A supervisor may be about to take over; after a minute it will not."""
    guard.mkdir(parents=True)

    young = start(connection, "true", wait_s=0)
    past = time.time() - 61
    os.utime(guard, (past, past))
    old = attach(connection)

    assert (young.state, young.started_here) == (RemoteState.STARTING, False)
    assert old.state is RemoteState.LOST
    assert old.reason.startswith("never started")


def test_no_guard_is_absent(connection, home):
    """Attaching starts nothing and makes nothing."""
    report = attach(connection)

    assert report.state is RemoteState.ABSENT
    assert list(home.iterdir()) == []


def test_a_daemon_does_not_hold_the_end(connection, home):
    """The command has ended when it ends, whoever keeps its stdout."""
    report = start(connection, f"sleep 60 & echo $! >{home}/pid; exit 6")
    os.kill(int((home / "pid").read_text()), signal.SIGKILL)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 6)
    assert report.escaped == 1
    assert report.duration_s < 30


def test_noise_of_the_login_shell_does_not_matter(connection, home):
    """rc files may print what they like, even our own words."""
    noise = "printf 'Welcome! report exited 1 0 0'; echo oops >&2; set -v\n"
    (home / ".bashrc").write_text(noise * 50)

    report = start(connection, "echo fine")

    assert report.stdout_head == b"fine\n"


def test_output_is_kept_byte_by_byte(connection):
    """Every byte, in any part of it."""
    every = bytes(range(256)) * 40
    line = "".join(f"\\{byte:03o}" for byte in range(256))

    report = start(
        connection,
        f"for i in $(seq 40); do printf '{line}'; done; printf 'x%.0s' 1 2 3 >&2",
        inline_bytes=1000,
    )

    assert report.stdout_bytes == len(every)
    assert report.stdout_head == every[:1000]
    assert report.stderr_head == b"xxx"
    assert runner.read(connection, KEY, "stdout", 0, 20_000) == every
    assert runner.read(connection, KEY, "stdout", 9_999, 300) == every[9_999:10_299]
    assert runner.read(connection, KEY, "stdout", len(every), 10) == b""
    assert runner.read(connection, KEY, "stderr", 1, 1) == b"x"


def test_reading_what_is_not_there(connection):
    """There is no output without an execution."""
    with pytest.raises(ProtocolError, match="no such output"):
        runner.read(connection, KEY, "stdout", 0, 10)


def test_a_running_command_can_be_read(connection, home):
    """Its output is there as it grows, its size in every report."""
    start(
        connection, f"echo one; while [ ! -e {home}/go ]; do sleep 0.02; done", wait_s=0
    )
    wait_until(lambda: attach(connection, wait_s=0).stdout_bytes == 4)
    data = runner.read(connection, KEY, "stdout", 0, 100)
    (home / "go").touch()

    assert data == b"one\n"
    assert attach(connection).state is RemoteState.EXITED


def test_clean_leaves_an_empty_guard(connection, guard, home):
    """The files go, the guard stays, and nothing starts again."""
    start(connection, "echo output")

    assert runner.clean(connection, KEY).done
    assert list(guard.iterdir()) == []
    again = start(connection, f"touch {home}/twice")
    assert (again.state, again.started_here) == (RemoteState.LOST, False)
    assert again.reason.startswith("cleaned")
    assert not (home / "twice").exists()
    assert runner.clean(connection, KEY).done


def test_clean_does_not_touch_what_runs(connection, guard):
    """Files of a running command are not removed."""
    start(connection, "exec sleep 60", wait_s=0)

    assert not runner.clean(connection, KEY).done
    assert (guard / "stdout").exists()
    os.kill(int(state_file(guard, "group").name.split(".")[1]), signal.SIGKILL)
    assert attach(connection).exit_code == 137


def test_files_are_private(connection, home, guard):
    """Nobody else on the host reads them, whatever umask the command has."""
    report = start(connection, "umask")

    assert report.stdout_head != b"0077\n"
    assert {oct(path.stat().st_mode & 0o077) for path in [guard, *home.rglob("*")]} == {
        "0o0"
    }


def test_what_is_forbidden_never_starts(connection, guard, home):
    """The guard is taken for ever, and whoever comes later is told so."""
    reports = [
        forbid(connection),
        forbid(connection),
        start(connection, f"touch {home}/ran"),
        attach(connection),
        cancel(connection),
    ]

    for report in reports:
        assert (report.state, report.started_here) == (RemoteState.ABSENT, False)
    assert not (home / "ran").exists()
    assert list(guard.iterdir()) == []
    assert guard.stat().st_mode & 0o777 == 0o100
    assert guard.parent.stat().st_mode & 0o777 == 0o700
    assert runner.clean(connection, KEY).done


def test_what_was_started_is_not_forbidden(connection, home):
    """The report is that of attach, and nothing is waited for."""
    start(
        connection, f"while [ ! -e {home}/go ]; do sleep 0.02; done; exit 4", wait_s=0
    )
    running = forbid(connection)
    (home / "go").touch()
    attach(connection)
    ended = forbid(connection)

    assert running.state is RemoteState.RUNNING
    assert (ended.state, ended.exit_code) == (RemoteState.EXITED, 4)


def test_it_is_started_or_forbidden(connect, home):
    """Whoever comes first, of twenty starts and twenty that forbid them."""
    connections = [connect() for _ in range(5)]

    def visit(key, number):
        connection = connections[number % 5]
        if number % 2:
            return forbid(connection, key)
        return start(connection, f"echo >>{home}/{key}", key=key)

    outcomes = set()
    with ThreadPoolExecutor(40) as pool:
        for key in map(str, range(6)):
            # Each side is first in turn.
            numbers = sorted(range(40), key=lambda number: (number + int(key)) % 2)
            reports = list(pool.map(visit, [key] * 40, numbers))
            told = sum(report.state is RemoteState.ABSENT for report in reports)
            ran = (home / key).read_text().count("\n") if (home / key).exists() else 0
            assert sum(report.started_here for report in reports) == ran
            outcomes.add((told, ran))

    assert outcomes <= {(0, 1), (40, 0)}


def test_a_guard_that_cannot_be_taken_is_told(connection, home):
    """What was not forbidden is not said to be."""
    (home / ".cronhop").write_text("a file")

    with pytest.raises(NoWorkdir):
        forbid(connection)


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_a_stream_that_is_no_file_is_not_read(connection, guard, home, kind):
    """It is empty, and no visit waits for it."""
    start(connection, "echo out; echo err >&2")
    (home / "secret").write_text("canary")
    (segment := state_file(guard, "stdout")).unlink()
    if kind == "fifo":
        os.mkfifo(segment)
    elif kind == "link":
        segment.symlink_to(home / "secret")
    else:
        segment.mkdir()

    report = attach(connection)

    assert (report.state, report.stdout_bytes) == (RemoteState.EXITED, 0)
    assert (report.stdout_head, report.stderr_head) == (b"", b"err\n")
    assert runner.read(connection, KEY, "stdout", 0, 100) == b""
    assert wait_until(lambda: not visitors(home))


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_a_directory_that_was_replaced_is_left_alone(connection, guard, home, kind):
    """Nothing is read, believed, started or removed through it."""
    start(connection, "echo canary")
    moved = guard.rename(home / "moved")
    files = {path.name for path in moved.iterdir()}
    if kind == "file":
        guard.touch()
    else:
        guard.symlink_to(moved if kind == "link" else home / "nowhere")

    reports = [
        attach(connection),
        forbid(connection),
        start(connection, f"touch {home}/twice"),
    ]

    for report in reports:
        assert report.state is RemoteState.LOST
        assert report.reason == "its directory was replaced"
        assert (report.stdout_bytes, report.stdout_head) == (0, b"")
    with pytest.raises(ProtocolError, match="no such output"):
        runner.read(connection, KEY, "stdout", 0, 10)
    assert not runner.clean(connection, KEY).done
    assert {path.name for path in moved.iterdir()} == files
    assert guard.is_symlink() == (kind != "file")
    assert not (home / "twice").exists()


def test_a_visit_ends_with_its_connection(connect, guard, home):
    """Who waited for a command leaves nothing on the host but the command."""
    waiting = connect()
    start(waiting, "exec sleep 60", wait_s=0)
    before = wait_until(
        # The command and its time-out.
        lambda: sum(map(is_sleep, found := visitors(home))) == 2 and found
    )
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(attach, waiting, wait_s=25)
        wait_until(lambda: visitors(home) - before)
        waiting.close()
        assert report.exception()

    wait_until(lambda: visitors(home) <= before, timeout_s=5)
    assert attach(connect(), wait_s=0).state is RemoteState.RUNNING
    os.kill(int(state_file(guard, "group").name.split(".")[1]), signal.SIGKILL)


@pytest.mark.parametrize(
    "name",
    [
        "exit.0.999999999999999.1",
        "exit.0.999999999999999.999999999999998",
        "exit.256.200.100",
        "exit.0.100.200",
        "exit.-1.200.100",
        "exit.0.200",
        "exit.0",
    ],
)
def test_numbers_that_cannot_be_are_not_believed(connection, guard, name):
    """Whatever somebody has made of the record."""
    start(connection, "true")
    state_file(guard, "exit").rename(guard / name)

    with pytest.raises(ProtocolError):
        attach(connection)


def test_an_end_before_a_reboot_is_believed(connection, guard):
    """The uptime of that boot may be later than now; the end is not in the future."""
    start(connection, "true")
    state_file(guard, "exit").rename(guard / "exit.3.99999999900.99999999000")

    report = attach(connection)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 3)
    assert report.duration_s == report.age_s == 9


def test_a_missing_home_is_told_before_anything_starts(connection, home):
    """No home, no command."""
    home.rmdir()

    with pytest.raises(NoWorkdir, match="missing"):
        start(connection, "true")


def test_a_home_that_takes_no_directory_is_told(connection, home):
    """What is in the way is told, and nothing was started."""
    (home / ".cronhop").write_text("a file")

    with pytest.raises(NoWorkdir):
        start(connection, "true")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_is_not_writable_is_told(connection, home):
    home.chmod(0o500)

    with pytest.raises(NoWorkdir, match="not writable"):
        start(connection, "true")


def test_a_full_home_is_told(connection, home):
    """Without space for the command's text nothing starts, and no guard stays."""
    mount = f"mount -t tmpfs -o size=16k,nr_inodes=40 tmpfs {home}"
    if os.geteuid() or os.system(f"{mount} 2>/dev/null"):
        pytest.skip("only root can mount a small file system")
    try:
        with pytest.raises(NoWorkdir, match="full"):
            start(connection, f"# {'x' * 20_000}\ntrue")
        left = [path.name for path in home.rglob("*")]
        report = start(connection, f"head -c 100000 /dev/zero >{home}/big; exit 9")
    finally:
        os.system(f"umount {home}")

    assert left == [".cronhop"]
    assert report.exit_code == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "../x"},
        {"key": ""},
        {"command": ""},
        {"command": "a\0b"},
        {"timeout_s": 0},
        {"environment": {"A B": "x"}},
        {"environment": {"PPID": "1"}},
        {"environment": {"CRONHOP_X": "1"}},
        {"environment": {"A": "\0"}},
    ],
)
def test_what_no_host_can_run_is_refused(changes):
    """Refused before a connection is made."""
    fine = {"key": KEY, "command": "true", "environment": {}, "timeout_s": 1}

    with pytest.raises(Invalid):
        Job(**fine | changes)


@pytest.mark.parametrize(
    "stdout",
    [
        b"",
        b"This account is currently not available.\n",
        MARKER,
        MARKER + b" report\n",
        MARKER + b" report exited 1 0 0 1 2 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0\n",
        MARKER
        + b" report exited 1 - 0 1 2 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0\n%b stderr\n%b end\n"
        % (MARKER, MARKER),
        MARKER
        + b" report dancing 1 0 0 1 2 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0\n%b stderr\n%b end\n"
        % (MARKER, MARKER),
        MARKER
        + b" report exited 1 0 0 1 2 3 1:5:5:0:9:0 0:5:5:0:0:0 - - 0\nmuch too much%b stderr\n%b end\n"
        % (MARKER, MARKER),
        MARKER + b" report exited 1 9999999999 0 1 2 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0\n",
        MARKER + b" fail \xff\x1b[2J\n",
        *(
            b"%b report %b\n%b stderr\n%b end\n" % (MARKER, numbers, MARKER, MARKER)
            for numbers in (
                b"exited 0 256 0 1 2 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0",
                b"exited 0 0 0 2 1 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0",
                b"exited 0 0 0 - 2 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0",
                b"exited 0 0 0 1 1000000000000 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0",
                b"exited 0 0 0 1 2 1000000000000 0:5:5:0:0:0 0:5:5:0:0:0 - - 0",
                b"running 0 - 0 4 - 3 0:5:5:0:0:0 0:5:5:0:0:0 - - 0",
                b"lost 0 - 0 999999999999999 - 3 0:5:5:0:0:0 0:5:5:0:0:0 - died 0",
            )
        ),
    ],
)
def test_an_answer_without_sense_is_a_protocol_error(stdout):
    """A host's bytes are not believed, and not repeated as they are."""
    with pytest.raises(ProtocolError) as caught:
        runner.parse_report(MARKER, Answer(stdout=stdout, stderr=b""), inline_bytes=10)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
