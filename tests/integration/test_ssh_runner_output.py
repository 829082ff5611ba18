"""What a command writes, on a real sshd: capped, counted, never in its way."""

import os
import random
import signal
from contextlib import suppress

import pytest

from cronhop.errors import Invalid
from cronhop.ssh import runner
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import wait_until

KEY = "01J0000000000000000000000A-01J00000000000000000OUTPUT-1"
CAP = 256 * 1024


def start(connection, command, *, wait_s=20, **changes):
    job = Job(
        **{"key": KEY, "command": command, "environment": {}, "timeout_s": 250}
        | changes
    )
    return runner.start(connection, job, wait_s=wait_s, inline_bytes=1000)


def attach(connection, *, wait_s=20):
    return runner.attach(connection, KEY, wait_s=wait_s, inline_bytes=1000)


def kept(connection, ranges, stream="stdout"):
    """The bytes of each range, read in pieces."""
    parts = []
    for first, end in ranges:
        part = b""
        while first + len(part) < end:
            offset = first + len(part)
            data = runner.read(
                connection, KEY, stream, offset, min(1_000_003, end - offset)
            )
            assert data
            part += data
        parts.append(part)
    return parts


def disk_bytes(guard):
    """What the files take on the disk."""
    total = 0
    for path in guard.iterdir():
        with suppress(FileNotFoundError):
            total += path.lstat().st_blocks * 512
    return total


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_halves_of_a_long_stream_are_kept(connection, home):
    """Offsets are those of the stream, and what is dropped is counted."""
    data = random.Random(1).randbytes(3_000_001)
    (home / "data").write_bytes(data)

    report = start(connection, "cat data; cat data >&2; exit 3", cap_bytes=CAP)

    assert (report.exit_code, report.stdout_bytes) == (3, len(data))
    assert report.stdout_kept == report.stderr_kept
    (zero, head), (tail, end) = report.stdout_kept
    assert (zero, end) == (0, len(data))
    assert head >= CAP // 2
    assert end - tail >= CAP // 2
    assert not report.stdout_cut
    assert report.stdout_head == data[:1000]
    for stream in ("stdout", "stderr"):
        assert kept(connection, report.stdout_kept, stream) == [
            data[:head],
            data[tail:],
        ]
    assert runner.read(connection, KEY, "stdout", head, 10) == b""
    assert runner.read(connection, KEY, "stdout", tail - 1, 10) == b""
    assert runner.read(connection, KEY, "stdout", head - 5, 10) == data[head - 5 : head]
    assert runner.read(connection, KEY, "stdout", end, 10) == b""


@pytest.mark.parametrize(
    "size", [CAP // 8, 5 * CAP // 8, 6 * CAP // 8 - 1, 11 * CAP // 8 - 1]
)
def test_what_fits_is_whole(connection, home, size):
    """Up to the cap, and some way beyond, nothing is dropped."""
    data = random.Random(size).randbytes(size)
    (home / "data").write_bytes(data)

    report = start(connection, "cat data", cap_bytes=CAP)

    assert report.stdout_kept == ((0, size),)
    assert kept(connection, report.stdout_kept) == [data]


def test_any_bytes_in_any_pieces_are_exact(connection, home):
    """NUL, invalid UTF-8, a line of 10 MB, written in pieces of all sizes."""
    data = bytes(range(256)) * 8 + b"x" * 10_000_000 + b"\n\xff\xfe\0end"
    (home / "data").write_bytes(data)
    code = (
        "import os, random\n"
        "data = open('data', 'rb').read()\n"
        "while data:\n"
        "    n = os.write(1, data[: random.choice([1, 100, 8191, 8193, 70000])])\n"
        "    data = data[n:]\n"
    )
    (home / "write.py").write_text(code)

    report = start(connection, "python3 write.py", cap_bytes=11_000_000)

    assert report.stdout_kept == ((0, len(data)),)
    assert kept(connection, report.stdout_kept) == [data]


def wait_for(connection, offset, line):
    wait_until(
        lambda: runner.read(connection, KEY, "stdout", offset, 9) == line, timeout_s=5
    )


def test_a_line_can_be_read_at_once(connection, home):
    """However short, and however often one comes."""
    start(
        connection,
        "for i in 1 2 3; do echo $i; echo e$i >&2; until [ -e go$i ]; do sleep 0.02;"
        " done; done",
        wait_s=0,
    )
    for number in (1, 2, 3):
        wait_for(connection, 2 * (number - 1), b"%d\n" % number)
        (home / f"go{number}").touch()

    report = attach(connection)
    assert (report.stdout_head, report.stderr_head) == (b"1\n2\n3\n", b"e1\ne2\ne3\n")


def test_a_flood_neither_blocks_nor_fills_the_disk(connection, guard):
    """The disk holds the cap and 3/8 of it, and the exit code is the command's."""
    size = 300_000_000
    start(connection, f"head -c {size} /dev/zero; printf end; exit 7", wait_s=0)
    peak = 0
    while (report := attach(connection, wait_s=0)).state is RemoteState.RUNNING:
        peak = max(peak, disk_bytes(guard))

    assert (report.exit_code, report.stdout_bytes) == (7, size + 3)
    assert max(peak, disk_bytes(guard)) <= 11 * 1024 * 1024 * 10 // 8 + 200_000
    assert runner.read(connection, KEY, "stdout", size - 2, 100) == b"\0\0end"


def test_who_reads_during_a_flood_gets_no_gap(connection, home):
    """A read is right, or empty where the bytes fell out meanwhile."""
    start(
        connection,
        f"i=0; while [ ! -e {home}/go ]; do seq -f %09.0f $i $((i + 9999));"
        " i=$((i + 10000)); done",
        wait_s=0,
        cap_bytes=CAP,
    )
    wait_until(lambda: len(attach(connection, wait_s=0).stdout_kept) == 2)
    seen = 0
    for _ in range(30):
        first, end = attach(connection, wait_s=0).stdout_kept[1]
        first += -first % 10
        data = runner.read(connection, KEY, "stdout", first, end - first)
        for index in range(0, len(data) - 9, 10):
            assert data[index : index + 10] == b"%09d\n" % ((first + index) // 10)
        seen += len(data)
    (home / "go").touch()

    assert attach(connection).exit_code == 0


def test_many_small_writes_do_not_slow_a_command(connection):
    """A hundred thousand lines, one write each."""
    report = start(
        connection,
        "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i + 1)); done",
        cap_bytes=CAP,
    )

    assert report.exit_code == 0
    assert report.stdout_bytes == sum(len(f"{i}\n") for i in range(100_000))


@pytest.mark.parametrize("leave", ["sleep 600", "setsid sleep 600"])
def test_a_daemon_holds_neither_end_nor_output(connection, home, leave):
    """What the command wrote is complete, whoever keeps its stdout."""
    report = start(
        connection, f"{leave} & echo $! >pid; head -c 60000 /dev/zero; printf x; exit 6"
    )
    pid = int((home / "pid").read_text())
    os.kill(pid, signal.SIGKILL)

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 6)
    assert report.stdout_bytes == 60001
    assert runner.read(connection, KEY, "stdout", 59999, 9) == b"\0x"


def test_a_daemon_may_go_on_writing(connection, home, guard):
    """It gets no SIGPIPE, does not block, and adds nothing to the record."""
    daemon = (
        "setsid sh -c 'echo $$ >pid; until [ -e go ]; do sleep 0.02; done;"
        " head -c 3000000 /dev/zero; touch written' &"
        " until [ -s pid ]; do sleep 0.02; done; echo mine"
    )
    report = start(connection, daemon)
    pid = int((home / "pid").read_text())
    assert alive(pid)
    (home / "go").touch()
    wait_until((home / "written").exists)
    again = attach(connection)

    assert report.stdout_head == again.stdout_head == b"mine\n"
    assert again.stdout_bytes == 5
    assert runner.clean(connection, KEY).done
    assert list(guard.iterdir()) == []


def test_a_daemon_that_floods_does_not_hold_the_end(connection, home):
    """There is always more in the pipe, and still the end is told."""
    report = start(
        connection,
        "echo mine; setsid sh -c 'echo $$ >pid; exec yes' & sleep 0.2; exit 5",
    )
    pid = int((home / "pid").read_text())
    still = alive(pid)
    os.kill(pid, signal.SIGKILL)

    assert (report.exit_code, report.stdout_head[:5]) == (5, b"mine\n")
    assert report.duration_s < 10
    assert still
    assert attach(connection).stdout_bytes == report.stdout_bytes


def test_a_full_disk_cuts_the_output_only(connection, home):
    """The command neither fails nor waits, and the report says so."""
    if os.geteuid() or os.system(
        f"mount -t tmpfs -o size=300k tmpfs {home} 2>/dev/null"
    ):
        pytest.skip("only root can mount a small file system")
    try:
        report = start(connection, "head -c 5000000 /dev/zero; echo fine >&2; exit 9")
        data = runner.read(connection, KEY, "stdout", 0, 5_000_000)
    finally:
        os.system(f"umount -l {home}")

    assert (report.exit_code, report.stdout_cut) == (9, True)
    assert 100_000 < report.stdout_bytes == len(data) < 307_200


def test_cleaning_up_is_final(connection, home, guard):
    """Even a keeper that nobody supervises any more puts nothing into a clean guard."""
    start(
        connection,
        "until [ -e go ]; do sleep 0.02; done; head -c 9000000 /dev/zero; touch done",
        wait_s=0,
        cap_bytes=CAP,
    )
    supervisor = int(next(guard.glob("run.*")).name.split(".")[1])
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: attach(connection, wait_s=0).state is RemoteState.LOST)

    assert runner.clean(connection, KEY).done
    (home / "go").touch()
    wait_until((home / "done").exists)
    assert list(guard.iterdir()) == []


@pytest.mark.parametrize("cap", [0, -1, 2**30 + 1])
def test_a_cap_has_bounds(cap):
    with pytest.raises(Invalid, match="cap_bytes"):
        Job(key=KEY, command="true", environment={}, timeout_s=1, cap_bytes=cap)
