"""The runner's script in every shell that is here, and cut at any byte."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cronhop.ssh import runner
from cronhop.ssh.connection import Answer
from cronhop.ssh.runner import Job, RemoteState
from tests.sshd import wait_until

MARKER = "0123456789abcdef0123456789abcdef"
KEY = "01J0000000000000000000000A-01J0000000000000000000000B-1"
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


def is_alive(pid):
    """Whether a process runs; one that nobody reaps does not."""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
