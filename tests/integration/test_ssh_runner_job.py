"""As whom, where and by what a command runs, on a real sshd; and old guards."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cronhop.domain.credential import Secret
from cronhop.errors import Invalid, ProtocolError
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import LOOPBACK, wait_until
from tests.users import User, user

KEY = "01J0000000000000000000000A-01J0000000000000000000JOBS-1"
DAY = 86400


@pytest.fixture(scope="module")
def users():
    """Two users with homes: the first may become the second with sudo."""
    if os.geteuid() or not shutil.which("sudo"):
        pytest.skip("only root can make users, and there must be sudo")
    with user() as login, user() as app:
        rule = Path(f"/etc/sudoers.d/{login.name}")
        rule.write_text(f"{login.name} ALL=({app.name}) NOPASSWD: /bin/sh -s\n")
        rule.chmod(0o440)
        yield login.name, app.name
        rule.unlink()


@pytest.fixture
def from_login(sshd, users):
    """A connection of the first user, and its home."""
    login, _ = users
    home = Path(pwd.getpwnam(login).pw_dir)
    secret = Secret(private_key=sshd.login_of(User(name=login, home=home)))
    with Connection.open(
        sshd.server(username=login),
        secret,
        deadline=time.monotonic() + 60,
        allowed=LOOPBACK,
    ) as connection:
        yield connection
    shutil.rmtree(home / ".cronhop", ignore_errors=True)


def start(connection, command, *, wait_s=20, **changes):
    job = Job(
        **{"key": KEY, "command": command, "environment": {}, "timeout_s": 60} | changes
    )
    return runner.start(connection, job, wait_s=wait_s, inline_bytes=65536)


def cancel(connection, *, grace_s=10):
    return runner.cancel(
        connection, KEY, grace_s=grace_s, wait_s=20, inline_bytes=65536
    )


def read_or_nothing(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def processes_of(user):
    """The pids of a user's processes, other than zombies."""
    out = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-u", user],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    return [line.split()[0] for line in out.splitlines() if "Z" not in line.split()[1]]


NASTY = ["", "a b", "'\"$(id)`id`\\0101\\n", "%s\té\n\n", "*", "-n"]
SHOW = "import sys, os; print(sys.argv[1:]); print(os.getcwd())\n"


def test_an_interpreter_and_arguments(connection, home):
    """Its words come before the text, the command's behind."""
    report = start(
        connection, SHOW, interpreter=("python3", "-B"), arguments=tuple(NASTY)
    )

    assert report.stderr_head == b""
    assert report.stdout_head.decode() == f"{NASTY!r}\n{home}\n"


@pytest.mark.parametrize("command", ["", "#!/bin/sh\n"])
def test_arguments_of_scripts(connection, command):
    """Of those for /bin/sh, and of those that name their interpreter."""
    report = start(
        connection,
        command + "printf '<%s>' \"$@\"; echo $FOO",
        arguments=tuple(NASTY),
        environment={"FOO": "foo", "PATH": os.environ["PATH"]},
    )

    expected = "".join(f"<{word}>" for word in NASTY) + "foo\n"
    assert report.stdout_head.decode() == expected


def test_an_interpreter_that_is_not_there(connection):
    """Its absence is the command's, and told where the command would tell it."""
    report = start(connection, "x", interpreter=("no-such-program",))

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 127)
    assert b"no-such-program" in report.stderr_head


def test_a_directory(connection, home):
    """With whatever is in its name."""
    place = home / "a 'b'\n$x"
    place.mkdir()

    report = start(connection, "pwd; env | grep -c OLDPWD", workdir=str(place))

    assert report.stdout_head.decode() == f"{place}\n0\n"


def test_a_directory_that_is_missing(connection, home):
    """The command is not run, and stderr says why."""
    report = start(connection, f"touch {home}/ran", workdir="/no/such place")

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 126)
    assert report.stderr_head.startswith(b"cronhop: ")
    assert b"/no/such place" in report.stderr_head
    assert not (home / "ran").exists()


def test_as_another_user(from_login, users):
    """With his home and rights, our variables, and an empty stdin."""
    _, app = users
    report = start(
        from_login,
        'id -un; pwd; echo $HOME; cat; printf \'<%s>\' "$@" "$V";'
        " echo $CRONHOP_EXECUTION; exit 3",
        run_as=app,
        arguments=tuple(NASTY),
        environment={"V": NASTY[3]},
    )

    assert report.stderr_head == b""
    words = "".join(f"<{word}>" for word in [*NASTY, NASTY[3]])
    assert (
        report.stdout_head.decode()
        == f"{app}\n/home/{app}\n/home/{app}\n{words}{KEY}\n"
    )
    assert report.exit_code == 3


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 143])
def test_codes_come_through_sudo(from_login, users, code):
    """Also those that sudo uses itself."""
    assert start(from_login, f"exit {code}", run_as=users[1]).exit_code == code


@pytest.mark.parametrize(
    ("command", "interpreter"),
    [
        (SHOW, ("python3", "-B")),
        ("#!/usr/bin/env python3\n" + SHOW, ()),
        ("#! /usr/bin/python3 -B \n" + SHOW, ()),
    ],
)
def test_interpreters_for_another_user(from_login, users, command, interpreter):
    """The text reaches them without a file of ours."""
    report = start(
        from_login,
        command + "#" * 200_000,
        run_as=users[1],
        interpreter=interpreter,
        arguments=("x",),
        workdir="/tmp",
    )

    assert report.stdout_head == b"['x']\n/tmp\n"


def test_what_sudo_refuses(from_login):
    """Not run, not hung, and sudo's words are there."""
    report = start(from_login, "touch /tmp/never", run_as="root", wait_s=20)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 126)
    assert b"password" in report.stderr_head or b"not allowed" in report.stderr_head


def test_an_unknown_user(connection):
    report = start(connection, "true", run_as="no-such-user")

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 126)
    assert b"no-such-user" in report.stderr_head


def test_a_missing_directory_for_another_user(from_login, users):
    report = start(from_login, "true", run_as=users[1], workdir="/no/such")

    assert report.exit_code == 126
    assert b"/no/such" in report.stderr_head


def test_values_for_another_user_are_in_no_argument(from_login, users):
    """Nor in a file."""
    home = Path(pwd.getpwnam(users[0]).pw_dir)
    first = start(
        from_login,
        "echo ready; sleep 50",
        run_as=users[1],
        environment={"SECRET": "canary-value"},
        wait_s=0,
    )
    wait_until(lambda: runner.read(from_login, KEY, "stdout", 0, 9) == b"ready\n")
    arguments = b"".join(
        read_or_nothing(path) for path in Path("/proc").glob("[0-9]*/cmdline")
    )
    files = [path for path in (home / ".cronhop").rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files)
    cancel(from_login)

    assert first.state is RemoteState.RUNNING
    assert b"canary" not in arguments
    assert b"canary" not in written


def test_another_users_timeout(from_login, users):
    """TERM and KILL reach his processes, whom we may not signal."""
    report = start(
        from_login,
        "trap '' TERM; sleep 50 & sleep 50; sleep 50",
        run_as=users[1],
        timeout_s=1,
        kill_grace_s=1,
    )

    assert (report.exit_code, report.timed_out, report.escaped) == (137, True, 0)
    assert wait_until(lambda: not processes_of(users[1]), timeout_s=3)


def test_another_users_command_is_cancelled(from_login, users):
    """It may end well, and who has left its group is counted."""
    start(
        from_login,
        "setsid sleep 50 & trap 'echo bye; sleep 0.3; exit 5' TERM; echo ready;"
        " while :; do sleep 0.05; done",
        run_as=users[1],
        wait_s=0,
    )
    wait_until(lambda: runner.read(from_login, KEY, "stdout", 0, 9) == b"ready\n")

    report = cancel(from_login)

    assert (report.exit_code, report.cancelled, report.escaped) == (5, True, 1)
    assert report.stdout_head == b"ready\nbye\n"
    subprocess.run(["pkill", "-KILL", "-u", users[1]], check=True)


def test_root_becomes_somebody(connection, users):
    """The same for a login that needs no permission."""
    report = start(connection, "id -un; exit 1", run_as=users[1])

    assert (report.stdout_head, report.exit_code) == (users[1].encode() + b"\n", 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"interpreter": ("a\0",)},
        {"interpreter": ("",)},
        {"interpreter": ("-x",)},
        {"arguments": ("a\0b",)},
        {"arguments": ("x",) * 101},
        {"workdir": "here"},
        {"workdir": ""},
        {"workdir": "/a\0"},
        {"run_as": ""},
        {"run_as": "-u"},
        {"run_as": "A"},
        {"run_as": "a b"},
        {"run_as": "a" * 33},
        {"run_as": "a\n"},
        {"run_as": "#0"},
    ],
)
def test_what_no_host_can_run_is_refused(changes):
    fine = {"key": KEY, "command": "true", "environment": {}, "timeout_s": 1}

    with pytest.raises(Invalid):
        Job(**fine | changes)


def guards(home, names, *, mode=0o500, age_s=2 * DAY):
    """Make guards, the first one the oldest."""
    for number, name in enumerate(names):
        path = home / ".cronhop" / name
        path.mkdir(parents=True)
        path.chmod(mode)
        then = time.time() - age_s + number
        os.utime(path, (then, then))


def test_old_guards_are_told(connection, home):
    """Those that were emptied, not the young ones nor what is not ours."""
    start(connection, "true")
    guards(home, ["z-cleaned", "b-cleaned"])
    guards(home, ["forbidden"], mode=0o100, age_s=3 * DAY)
    guards(home, ["young"], age_s=DAY - 600)
    guards(home, ["used"], mode=0o700)
    guards(home, ["not.ours", "nor this"])

    cleaned = runner.clean(connection, KEY)

    assert cleaned.done
    assert cleaned.old == ("forbidden", "z-cleaned", "b-cleaned")


def test_at_most_twenty_are_told(connection, home):
    """The oldest."""
    names = [f"guard-{99 - number}" for number in range(30)]
    guards(home, names)

    assert runner.clean(connection, KEY).old == tuple(names[:20])


def test_sweep_removes_what_it_is_told(connection, home):
    """Those guards only, and only empty ones."""
    start(connection, "true")
    guards(home, ["one", "two", "-dash", "stays"])
    (home / ".cronhop" / "link").symlink_to(home / ".cronhop" / "stays")

    runner.sweep(connection, ["one", "two", "-dash", "link", "missing", KEY])
    runner.sweep(connection, [])

    assert {path.name for path in (home / ".cronhop").iterdir()} == {
        "stays",
        "link",
        KEY,
    }
    with pytest.raises(Invalid):
        runner.sweep(connection, ["stays", "../stays"])


def test_sweep_of_nothing(connection):
    """Without any guard there is nothing to do."""
    runner.sweep(connection, ["one"])
    with pytest.raises(ProtocolError):
        runner.read(connection, "one", "stdout", 0, 1)
