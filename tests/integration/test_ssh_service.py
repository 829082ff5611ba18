"""Service control on a real sshd, against a stand-in for systemctl on its PATH.

No systemd runs where these tests do. `tests/systemctl.py` answers in its place, from
what systemd is documented to say; that systemd says so is not tested here.
"""

import shlex
import shutil
import socket
import subprocess
import threading
import time

import pytest

from cronhop.domain.credential import Secret
from cronhop.domain.service import Action, Probe, ServiceControl
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState
from cronhop.ssh.service import command
from tests import systemctl
from tests.sshd import LOOPBACK, free_port, wait_until


@pytest.fixture
def units(tmp_path):
    """Where the stand-in lies, with its units."""
    return systemctl.install(tmp_path)


@pytest.fixture
def connect(sshd):
    """Open a connection with a PATH that begins with a directory."""
    opened = []

    def open_one(path):
        secret = Secret(
            private_key=sshd.login(sshd.new_home(), f',environment="PATH={path}"')
        )
        connection = Connection.open(
            sshd.server(), secret, deadline=time.monotonic() + 60, allowed=LOOPBACK
        )
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def do(connect, units):
    """Do something with a unit; return exit code, stdout and stderr."""
    connection = connect(f"{units}:/usr/bin:/bin")
    keys = iter(range(100))

    def run(action, unit="app", **changes):
        spec = ServiceControl(unit=unit, action=Action(action), **changes)
        spec.check()
        text, arguments = command(spec)
        report = runner.start(
            connection,
            Job(
                key=f"key-{next(keys)}",
                command=text,
                arguments=arguments,
                environment={},
                timeout_s=60,
            ),
            wait_s=30,
            inline_bytes=65536,
        )
        assert report.state is RemoteState.EXITED
        return (
            report.exit_code,
            report.stdout_head.decode(),
            report.stderr_head.decode(),
        )

    return run


def state(units, name="app.service"):
    return systemctl.unit(units, name)


def test_the_script_never_changes():
    """Values are arguments, and never become text that a shell reads."""
    one = ServiceControl(unit="a", action=Action.STATUS)
    other = ServiceControl(
        unit="b.timer",
        action=Action.RESTART,
        wait_s=7,
        probe=Probe(tcp_port=80, wait_s=9),
        journal_lines=0,
    )

    assert command(one)[0] == command(other)[0]
    assert command(one)[1] == ("status", "a.service", "30", "0", "0", "20")
    assert command(other)[1] == ("restart", "b.timer", "7", "80", "9", "0")


# -- what goes well


@pytest.mark.parametrize(
    ("action", "way"),
    [("start", "good"), ("restart", "slow"), ("reload", "late"), ("start", "late")],
)
def test_it_waits_until_the_unit_is_active(do, units, action, way):
    """At once, after a while, and when systemctl returned before."""
    systemctl.add_unit(units, "app.service", way)

    assert do(action) == (0, "app.service: active (running)\n", "")
    assert [
        "systemctl",
        "--no-pager",
        "--no-ask-password",
        action,
        "--",
        "app.service",
    ] in systemctl.calls(units)


def test_a_oneshot_is_done_when_it_has_ended_well(do, units):
    """It is not active then, and need not be."""
    systemctl.add_unit(units, "app.service", "oneshot")

    assert do("start")[0] == 0


def test_it_waits_until_the_unit_is_stopped(do, units):
    """And tells so; stopped twice is stopped."""
    systemctl.add_unit(units, "app.service", active="active")

    assert do("stop") == (0, "app.service: inactive (dead)\n", "")
    assert do("stop")[0] == 0


def test_status_is_shown(do, units):
    """0 if it is active, else 3."""
    systemctl.add_unit(units, "app.service", active="active")
    systemctl.add_unit(units, "other.timer")

    assert do("status") == (0, "* app.service: active\n", "")
    assert do("status", "other.timer") == (3, "* other.timer: inactive\n", "")


def test_a_unit_is_enabled_and_disabled(do, units):
    """And what it is then is told."""
    systemctl.add_unit(units, "app.service")

    assert do("enable") == (0, "app.service: enabled\n", "")
    assert state(units)["enabled"]
    assert do("disable") == (0, "app.service: disabled\n", "")


# -- what does not


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("fails", "start failed (exit-code)"),
        ("dies", "it failed (exit-code)"),
        ("ends", "it has ended, and is not active"),
        ("flaps", "it is started again and again"),
        ("hangs", "start is not done after 1 s; it is"),
    ],
)
def test_a_unit_that_is_not_active_is_a_failure(do, units, way, message):
    """Exit code 3, the reason, the unit's status and its last words."""
    systemctl.add_unit(units, "app.service", way)

    code, stdout, stderr = do("start", wait_s=1, journal_lines=7)

    assert (code, stdout) == (3, "")
    assert f"app.service: {message}" in stderr
    assert "* app.service: " in stderr
    assert "the last words" in stderr
    journal = [call for call in systemctl.calls(units) if call[0] == "journalctl"]
    assert journal[0][journal[0].index("-n") + 1] == "7"
    assert journal[0][-2:] == ["-u", "app.service"]


def test_a_unit_that_stays_is_a_failure(do, units):
    """It should have stopped."""
    systemctl.add_unit(units, "app.service", "stays", active="active")

    code, _, stderr = do("stop", wait_s=1)

    assert code == 3
    assert "still active (running) after 1 s" in stderr


def test_a_refusal_is_told_in_the_words_of_systemctl(do, units):
    """Exit code 1; without lines of the journal when none are asked for."""
    systemctl.add_unit(units, "app.service", "refuses", active="active")

    code, _, stderr = do("restart", journal_lines=0)

    assert code == 1
    assert "Failed to start app.service: Access denied" in stderr
    assert "systemctl refused to restart it (exit code 1)" in stderr
    assert "journal" not in stderr


@pytest.mark.parametrize("action", ["start", "stop", "status", "reload"])
def test_an_unknown_unit_is_called_so(do, units, action):
    """Exit code 6."""
    assert do(action, "typo") == (6, "", "typo.service: there is no such unit\n")


def test_an_unknown_unit_is_not_enabled(do, units):
    """In the words of systemctl, which alone knows the files."""
    code, _, stderr = do("enable", "typo")

    assert code == 1
    assert "Unit file typo.service does not exist" in stderr


def test_a_host_without_systemctl_is_called_so(connect, tmp_path):
    """Exit code 5."""
    for program in ("setsid", "sh", "cat", "mkdir", "mv", "rm", "sleep", "id"):
        (tmp_path / program).symlink_to(shutil.which(program))
    text, arguments = command(ServiceControl(unit="a", action=Action.START))
    hidden = text.replace("/usr/bin:/bin:/usr/sbin:/sbin", "")
    script = f"set -- {shlex.join(arguments)}\n({hidden})\necho $?"

    answer = connect(tmp_path).run(script.encode(), limit=1000)

    assert answer.stdout == b"5\n"
    assert b"no systemctl" in answer.stderr


# -- the probe


def test_a_port_that_is_listened_on_passes(do, units):
    """Over IPv4 as over IPv6, as soon as it is there."""
    systemctl.add_unit(units, "app.service")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        port = free_port()
        listener = socket.socket(family)
        try:
            listener.bind((address, port))
        except OSError:
            listener.close()
            continue  # no IPv6 here
        with listener:

            def listen(listener=listener):
                wait_until(lambda: state(units)["active"] == "active")
                listener.listen()

            thread = threading.Thread(target=listen)
            thread.start()
            answer = do("restart", probe=Probe(tcp_port=port))
            thread.join()
        assert answer[0] == 0
        systemctl.add_unit(units, "app.service")


def test_a_port_that_nobody_listens_on_is_a_failure(do, units):
    """Exit code 4; a connection to it or from it is no listener."""
    systemctl.add_unit(units, "app.service")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        port = client.getsockname()[1]
        with client:
            code, _, stderr = do("start", probe=Probe(tcp_port=port, wait_s=1))

    assert code == 4
    assert f"nothing listens on port {port} after 1 s" in stderr
    assert "the last words" in stderr


# -- shells


@pytest.mark.parametrize("shell", ["dash", "bash", "mksh", "busybox sh"])
def test_every_shell_does_the_same(units, shell):
    """Whatever /bin/sh is."""
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"no {shell}")
    systemctl.add_unit(units, "good.service", "slow")
    systemctl.add_unit(units, "bad.service", "fails")

    def run(unit):
        script, arguments = command(
            ServiceControl(unit=unit, action=Action.START, probe=None)
        )
        done = subprocess.run(
            [*shell.split(), "-c", script, "sh", *arguments],
            env={"PATH": f"{units}:/usr/bin:/bin"},
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout

    assert run("good") == (0, b"good.service: active (running)\n")
    assert run("bad") == (3, b"")
