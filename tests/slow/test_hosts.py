"""Hosts on which nothing can be started, or only just."""

import os
import subprocess
import time
from contextlib import contextmanager

import pytest

from cronhop.domain.credential import Secret
from cronhop.errors import LoginRefused, NoWorkdir, ProtocolError
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import LOOPBACK
from tests.users import user

KEY = "01J0000000000000000000000A-01J00000000000000000000HOSTS-1"


@contextmanager
def mounted(home, options, *, kind="tmpfs"):
    """Mount a file system on a directory; yield what changes its options."""
    mount = ["mount", "-t", kind, "-o", options, kind, home]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small file system")

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", home], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", home], check=True)


def start(connection, command, **changes):
    job = Job(
        **{"key": KEY, "command": command, "environment": {}, "timeout_s": 60} | changes
    )
    return runner.start(connection, job, wait_s=20, inline_bytes=1000)


def outcome(connection, marks):
    """Start a command; return its exit code, None if the home was said to be full."""
    try:
        report = start(connection, f"echo x >>{marks}; echo out; exit 9")
    except NoWorkdir as error:
        if "full" not in str(error):
            raise
        return None
    assert (report.state, report.started_here) == (RemoteState.EXITED, True)
    return report.exit_code


def sweep(connection, home, tmp_path, sizes):
    """Start in homes of several sizes; return (exit code, starts) of each.

    Where the home was too small nothing may be left but the directory of all guards,
    and with more room the same start goes well.
    """
    found = []
    for number, (small, large) in enumerate(sizes):
        marks = tmp_path / f"marks-{number}"
        with mounted(home, small) as remount:
            code = outcome(connection, marks)
            if code is None:
                assert not marks.exists()
                assert {path.name for path in home.rglob("*")} <= {".cronhop"}
                remount(large)
                assert outcome(connection, marks) == 9
        assert marks.read_text() == "x\n"
        found.append(code)
    return found


def test_a_home_out_of_inodes(connection, home, tmp_path):
    """However many are left: it is told that there are too few, or all goes well."""
    sizes = [
        (f"size=1m,nr_inodes={count}", "size=1m,nr_inodes=100")
        for count in range(1, 20)
    ]

    codes = sweep(connection, home, tmp_path, sizes)

    assert set(codes) == {None, 9}
    assert codes == sorted(codes, key=lambda code: code == 9)


def test_a_home_out_of_space(connection, home, tmp_path):
    """However many pages are left."""
    sizes = [(f"size={4 * pages}k", "size=1m") for pages in range(1, 8)]

    codes = sweep(connection, home, tmp_path, sizes)

    assert set(codes) <= {None, 9}
    assert codes[-1] == 9


def test_a_disk_that_is_full_before(connection, home, tmp_path):
    """Not a byte is left: nothing is started, and nothing stays in the way."""
    with mounted(home, "size=64k"):
        subprocess.run(
            ["dd", "if=/dev/zero", "bs=4096", f"of={home}/full"],
            check=False,
            capture_output=True,
        )
        assert os.statvfs(home).f_bfree == 0
        code = outcome(connection, tmp_path / "marks")
        assert code is None
        assert {path.name for path in home.rglob("*")} <= {"full", ".cronhop"}
        (home / "full").unlink()
        assert outcome(connection, tmp_path / "marks") == 9

    assert (tmp_path / "marks").read_text() == "x\n"


def test_a_disk_that_fills_during_the_run(connection, home):
    """The command fills it itself: its exit code and its first output are kept."""
    with mounted(home, "size=300k"):
        report = start(
            connection, "echo first; cat /dev/zero >big; echo x >more; exit 21"
        )

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 21)
    assert report.stdout_head == b"first\n"


def test_inodes_that_run_out_during_the_run(connection, home):
    """No name can be added any more: the exit code takes the place of another."""
    with mounted(home, "size=1m,nr_inodes=60"):
        report = start(
            connection, "n=0; while touch $n; do n=$((n + 1)); done 2>&-; exit 21"
        )
        names = {
            path.name.split(".")[0] for path in (home / ".cronhop" / KEY).iterdir()
        }

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 21)
    assert "exit" in names
    assert "run" not in names


def test_a_home_that_becomes_read_only(connection, home, tmp_path):
    """It is told so, for root too, and nothing is started; later all goes well."""
    with mounted(home, "size=1m") as remount:
        remount("ro")
        with pytest.raises(NoWorkdir, match="not writable"):
            start(connection, f"echo x >>{tmp_path}/marks")
        assert list(home.iterdir()) == []
        remount("rw")
        assert outcome(connection, tmp_path / "marks") == 9

    assert (tmp_path / "marks").read_text() == "x\n"


@contextmanager
def locked(somebody):
    """Lock the account as an administrator does."""
    # What is locked is a password: there has to be one.
    subprocess.run(["usermod", "-p", "$6$x$y", somebody.name], check=True)
    subprocess.run(["usermod", "-L", somebody.name], check=True)
    yield
    subprocess.run(["usermod", "-U", somebody.name], check=True)


def to(sshd, somebody, secret):
    return Connection.open(
        sshd.server(username=somebody.name),
        secret,
        deadline=time.monotonic() + 60,
        allowed=LOOPBACK,
    )


def test_a_locked_account(sshd):
    """A refused login while it is locked, with the right key too."""
    with user() as somebody:
        secret = Secret(private_key=sshd.login_of(somebody))
        with locked(somebody), pytest.raises(LoginRefused):
            to(sshd, somebody, secret)
        with to(sshd, somebody, secret) as connection:
            assert start(connection, "exit 5").exit_code == 5


def test_an_account_without_shell(sshd):
    """What nologin says is told, and nothing was started."""
    with user("/usr/sbin/nologin") as somebody:
        secret = Secret(private_key=sshd.login_of(somebody))
        with (
            to(sshd, somebody, secret) as connection,
            pytest.raises(ProtocolError, match="account is currently not available"),
        ):
            start(connection, "touch $HOME/ran")
        assert not (somebody.home / ".cronhop").exists()
        assert not (somebody.home / "ran").exists()


def test_an_account_that_has_expired(sshd):
    """A refused login as well."""
    with user() as somebody:
        secret = Secret(private_key=sshd.login_of(somebody))
        subprocess.run(["usermod", "-e", "1", somebody.name], check=True)
        with pytest.raises(LoginRefused):
            to(sshd, somebody, secret)
