"""The runner's script in every shell that is here, and cut at any byte."""

import os
import pwd
import random
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cronhop.ssh import runner
from cronhop.ssh.connection import Answer
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import wait_until

MARKER = "0123456789abcdef0123456789abcdef"
KEY = "01J0000000000000000000000A-01J00000000000000000SHELLS-1"
NASTY = "'\"$(touch pwned)`touch pwned`\\0101\\n%s!é\u2028 \t\x01\x7f\x81\n\n"
#: CRONHOP_TEST_SHELLS names more, as "mksh=/opt/mksh busybox=/opt/busybox sh".
SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "mksh": ["mksh"],
    "yash": ["yash"],
}
for entry in filter(None, os.environ.get("CRONHOP_TEST_SHELLS", "").split(",")):
    SHELLS[entry.partition("=")[0]] = entry.partition("=")[2].split()
HERE = {name: command for name, command in SHELLS.items() if shutil.which(command[0])}

shells = pytest.mark.parametrize(
    "shell", [pytest.param(command, id=name) for name, command in HERE.items()]
)


def visit(shell, home, text):
    """Feed a script to a shell, which its supervisor uses too; return stdout."""
    return subprocess.run(
        [*shell, "-s"],
        input=text.replace(b"/bin/sh -s", " ".join([*shell, "-s"]).encode()),
        capture_output=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        cwd=home,
        timeout=60,
        check=False,
    ).stdout


def ask(shell, home, words):
    stdout = visit(shell, home, runner.script(MARKER, words))
    answer = Answer(stdout=stdout, stderr=b"")
    return runner.parse_report(MARKER.encode(), answer, inline_bytes=65536)


def start(shell, home, command, *, wait_s=20, **changes):
    job = Job(
        **{"key": KEY, "command": command, "environment": {}, "timeout_s": 60} | changes
    )
    return ask(shell, home, runner.start_words(job, wait_s=wait_s, inline_bytes=65536))


@pytest.fixture
def home(tmp_path):
    directory = tmp_path / "ho me's"
    directory.mkdir()
    return directory


@shells
def test_it_runs_a_command(shell, home):
    """Output, exit code and environment are exact, in a home with an odd name."""
    every_byte = "".join(map(chr, range(1, 0x100)))

    report = start(
        shell,
        home,
        'printf %s "$NASTY$ALL" && pwd && env | grep -c ch_ >&2; exit 7',
        environment={"NASTY": NASTY, "ALL": every_byte, "PATH_": "/x"},
    )

    assert report.state is RemoteState.EXITED
    assert report.exit_code == 7
    assert report.stdout_head == f"{NASTY}{every_byte}{home}\n".encode()
    assert report.stderr_head == b"0\n"
    assert not (home / "pwned").exists()


@shells
def test_its_end_is_found_later(shell, home):
    """A command goes on when its visit is over, and a later one learns its end."""
    go = home / "go"
    first = start(
        shell,
        home,
        f"while [ ! -e '{go.name}' ]; do sleep 0.05; done; exit 5",
        wait_s=0,
    )
    again = start(shell, home, "exit 1", wait_s=0)
    go.touch()
    last = ask(shell, home, ["attach", KEY, "2000", "100"])

    assert (first.state, first.started_here) == (RemoteState.RUNNING, True)
    assert (again.state, again.started_here) == (RemoteState.RUNNING, False)
    assert (last.state, last.exit_code) == (RemoteState.EXITED, 5)


@shells
def test_its_timeout_strikes(shell, home):
    """TERM, the grace and KILL come from the host itself, and reach the children."""
    report = start(
        shell,
        home,
        "trap '' TERM; sleep 60 & echo $! >pid; wait",
        timeout_s=1,
        kill_grace_s=1,
    )

    assert report.state is RemoteState.EXITED
    assert report.timed_out
    assert report.exit_code == 137
    assert wait_until(lambda: not is_alive((home / "pid").read_text()))


@shells
def test_clean_leaves_the_guard(shell, home):
    """After cleaning, the directory is empty, and still the guard."""
    start(shell, home, "true")
    visit(shell, home, runner.script(MARKER, ["clean", KEY]))
    again = start(shell, home, f"touch '{home}/twice'")

    assert list((home / ".cronhop" / KEY).iterdir()) == []
    assert (again.state, again.reason[:7]) == (RemoteState.LOST, "cleaned")
    assert not (home / "twice").exists()


def read(shell, home, offset, limit):
    words = ["read", KEY, "stdout", *map(str, divmod(offset, 8192)), str(limit)]
    answer = visit(shell, home, runner.script(MARKER, words))
    data = answer.partition(b" data\n")[2]
    return data.partition(MARKER.encode())[0]


@shells
def test_its_output_is_capped(shell, home):
    """Both halves are kept, exactly, and the rest is counted."""
    data = random.Random(3).randbytes(2_000_003)
    (home / "data").write_bytes(data)

    report = start(shell, home, "cat data; exit 3", cap_bytes=200_000)

    assert (report.exit_code, report.stdout_bytes) == (3, len(data))
    (_, head), (tail, end) = report.stdout_kept
    assert min(head, end - tail) >= 100_000
    assert report.stdout_head == data[:65536]
    assert read(shell, home, 0, 500_000) == data[:head]
    assert read(shell, home, tail, 500_000) == data[tail:]
    assert read(shell, home, tail + 12345, 10) == data[tail + 12345 :][:10]
    assert read(shell, home, tail - 1, 10) == b""


@shells
def test_offsets_beyond_32_bits(shell, home):
    """Some shells do not count so far."""
    start(shell, home, "printf '%0100000d' 0", cap_bytes=100)
    guard = home / ".cronhop" / KEY
    names = [path.name for path in guard.glob("stdout.1.*")]
    for name in names:
        number = int(name.split(".")[2])
        (guard / name).rename(guard / f"stdout.1.{number + 1_000_000}")

    report = ask(shell, home, ["attach", KEY, "0", "100"])

    assert report.stdout_bytes == 1_000_000 * 8192 + 100_000
    assert read(shell, home, report.stdout_bytes - 5, 10) == b"00000"


@shells
def test_a_line_can_be_read_at_once(shell, home):
    """It does not wait for more."""
    start(shell, home, "echo x; until [ -e go ]; do sleep 0.02; done", wait_s=0)
    wait_until(lambda: read(shell, home, 0, 10) == b"x\n", timeout_s=5)
    (home / "go").touch()

    assert ask(shell, home, ["attach", KEY, "2000", "100"]).stdout_bytes == 2


@shells
def test_a_daemon_holds_neither_end_nor_output(shell, home):
    """It goes on, and what the command itself wrote is there."""
    report = start(
        shell,
        home,
        "setsid sh -c 'until [ -e go ]; do sleep 0.02; done; head -c 200000 /dev/zero;"
        " touch written' & head -c 60000 /dev/zero; exit 4",
    )
    (home / "go").touch()
    wait_until((home / "written").exists)

    assert (report.exit_code, report.stdout_bytes) == (4, 60000)
    assert ask(shell, home, ["attach", KEY, "0", "100"]).stdout_bytes == 60000


@shells
def test_it_is_cancelled(shell, home):
    """TERM, the grace and KILL for the whole group; or it never starts."""
    free = ask(shell, home, ["cancel", "free", "1", "0", "100"])
    start(
        shell,
        home,
        "trap '' TERM; sleep 60 & echo $! >pid; touch ready; wait; wait",
        wait_s=0,
    )
    wait_until((home / "ready").exists)
    report = ask(shell, home, ["cancel", KEY, "1", "2000", "100"])
    again = ask(shell, home, ["cancel", "free", "1", "0", "100"])

    assert (report.state, report.exit_code) == (RemoteState.EXITED, 137)
    assert (report.cancelled, report.escaped) == (True, 0)
    assert not is_alive((home / "pid").read_text())
    assert free.state is again.state is RemoteState.ABSENT


@shells
def test_it_runs_for_somebody_else(shell, home):
    """All that he gets comes through sudo's stdin."""
    if os.geteuid() or not shutil.which("sudo"):
        pytest.skip("only root may become anybody, and there must be sudo")

    report = start(
        shell,
        home,
        "import os, sys; print(os.geteuid(), os.getcwd(), sys.argv[1:],"
        " ascii(os.environ['NASTY']), repr(sys.stdin.read())); sys.exit(1)",
        run_as="nobody",
        interpreter=("python3", "-B"),
        arguments=("", NASTY),
        workdir="/tmp",
        environment={"NASTY": NASTY},
    )

    assert report.stderr_head == b""
    uid = pwd.getpwnam("nobody").pw_uid
    expected = f"{uid} /tmp {['', NASTY]} {NASTY!a} ''\n"
    assert report.stdout_head.decode() == expected
    assert report.exit_code == 1


@shells
def test_old_guards_are_swept(shell, home):
    """Told by clean, and removed when that is asked for."""
    start(shell, home, "true")
    old = home / ".cronhop" / "old"
    old.mkdir(mode=0o500)
    os.utime(old, (time.time() - 200_000,) * 2)
    said = visit(shell, home, runner.script(MARKER, ["clean", KEY]))
    visit(shell, home, runner.script(MARKER, ["sweep", "old"]))

    assert said.split() == [MARKER.encode(), b"done", b"./old", MARKER.encode(), b"end"]
    assert not old.exists()


@shells
def test_a_script_that_is_cut_starts_nothing(shell, tmp_path):
    """Cut at any byte, the script runs nothing and leaves nothing.

    Every byte of both ends, and a sample of what is between.
    """
    job = Job(key=KEY, command="true", environment={"A": "b c"}, timeout_s=9)
    text = runner.script(
        MARKER, runner.start_words(job, wait_s=0, inline_bytes=100)
    ).rstrip()
    size = len(text)
    cuts = sorted({*range(60), *range(60, size - 200, 67), *range(size - 200, size)})

    def effect(cut):
        home = tmp_path / str(cut)
        home.mkdir()
        said = visit(shell, home, text[:cut])
        return said, [path.name for path in home.rglob("*")]

    with ThreadPoolExecutor(4) as pool:
        effects = dict(zip(cuts, pool.map(effect, cuts), strict=True))

    assert {cut: seen for cut, seen in effects.items() if seen != (b"", [])} == {}


def test_a_verb_brings_what_it_needs():
    """Every function of runner.sh is found, and those that it calls come along."""
    functions = runner._functions()

    for verb in ("start", "attach", "forbid", "cancel", "read", "clean", "sweep"):
        text = runner.script(MARKER, [verb, KEY]).decode()
        called = {name for name in functions if re.search(rf"\b{name}\b", text)}
        assert {name for name in called if f"{name}() {{" not in text} == set()
    source = Path(runner.__file__).with_name("runner.sh").read_text()
    assert list(functions) == re.findall(r"^(ch_\w+)\(\)", source, re.MULTILINE)


def is_alive(pid):
    """Whether a process runs; one that nobody reaps does not."""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
