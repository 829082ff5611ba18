"""Ten gigabytes of output."""

import time
from contextlib import suppress

import pytest

from cronhop.domain.credential import Secret
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import LOOPBACK, Sshd

KEY = "01J0000000000000000000000A-01J00000000000000000000FLOOD-1"
SIZE = 10_000_000_000
CAP = 10 * 1024 * 1024
OTHER_FILES = 200_000  # bytes, at most


def disk_bytes(guard):
    """Return what the files take on the disk."""
    total = 0
    for path in guard.iterdir():
        with suppress(FileNotFoundError):
            total += path.lstat().st_blocks * 512
    return total


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_ten_gigabytes_neither_block_nor_fill_the_disk(stream):
    """At no time the disk holds more than the cap and 3/8 of it.

    The exit code is the command's, every byte is counted, and the last ones are kept.
    """
    with Sshd() as sshd:
        home = sshd.new_home()
        secret = Secret(private_key=sshd.login(home))
        job = Job(
            key=KEY,
            command=f"exec >&{1 + (stream == 'stderr')};"
            f" head -c {SIZE} /dev/zero; printf end; exit 7",
            environment={},
            timeout_s=800,
            cap_bytes=CAP,
        )
        with Connection.open(
            sshd.server(), secret, deadline=time.monotonic() + 850, allowed=LOOPBACK
        ) as connection:
            report = runner.start(connection, job, wait_s=0, inline_bytes=10)
            looks, peak = 0, 0
            while report.state in (RemoteState.STARTING, RemoteState.RUNNING):
                report = runner.attach(connection, KEY, wait_s=0.2, inline_bytes=10)
                peak = max(peak, disk_bytes(home / ".cronhop" / KEY))
                looks += 1
            end = runner.read(connection, KEY, stream, SIZE - 2, 100)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 7)
    written = {"stdout": report.stdout_bytes, "stderr": report.stderr_bytes}
    assert written.pop(stream) == SIZE + 3
    assert set(written.values()) == {0}
    assert looks > 5
    assert CAP <= peak <= 11 * CAP // 8 + OTHER_FILES
    assert end == b"\0\0end"
