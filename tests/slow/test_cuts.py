"""The script that is sent to a server, cut behind every byte of it."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from cronhop.domain.credential import Secret
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job
from tests.sshd import LOOPBACK, Sshd, wait_until

MARKER = "0123456789abcdef0123456789abcdef"
KEY = "01J0000000000000000000000A-01J000000000000000000000CUT-1"
#: What may be /bin/sh somewhere.
SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "mksh": ["mksh"],
}
HERE = [name for name, words in SHELLS.items() if shutil.which(words[0])]
BATCH = 200  # prefixes that share a home
WORKERS = 2


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The directory that the shells are started in."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def script(words):
    """Return what is sent, up to the last byte that matters."""
    return runner.script(MARKER, words).rstrip()


def start_words(command):
    job = Job(key=KEY, command=command, environment={"A": "b c"}, timeout_s=9)
    return runner.start_words(job, wait_s=5, inline_bytes=100)


def feed(shell, home, texts):
    """Give each text to a shell of its own; return what they print, together."""
    output = home.with_suffix(".out")
    words = [*SHELLS[shell], "-s"]
    program = shutil.which(words[0])
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    with (
        closing(os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")) as nowhere,
        output.open("wb") as stdout,
    ):
        for text in texts:
            # A pipe, as sshd has it; it takes the whole text.
            reading, writing = os.pipe()
            os.write(writing, text)
            os.close(writing)
            child = os.posix_spawn(
                program,
                words,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2),
                ],
            )
            os.close(reading)
            os.waitpid(child, 0)
    return output.read_bytes()


def effects(shell, directory, text, cuts):
    """Return (cut, what it printed, what it left) of each cut that has an effect."""

    def effect(cuts):
        home = directory / f"{cuts[0]}-{len(cuts)}"
        home.mkdir()
        said = feed(shell, home, [text[:cut] for cut in cuts])
        left = [path.name for path in home.rglob("*")]
        if not (said or left):
            return []
        if len(cuts) == 1:
            return [(cuts[0], said, left)]
        # One of them has an effect: which?
        return [found for cut in cuts for found in effect([cut])]

    batches = [cuts[first : first + BATCH] for first in range(0, len(cuts), BATCH)]
    with ThreadPoolExecutor(WORKERS) as pool:
        return [found for one in pool.map(effect, batches) for found in one]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shell", HERE)
def test_a_script_cut_anywhere_starts_nothing(shell, tmp_path, here):
    """Whatever shell reads it: every prefix leaves nothing, and all of it starts."""
    text = script(start_words('touch "$HOME/ran"'))
    whole = tmp_path / "whole"
    whole.mkdir()

    found = effects(shell, tmp_path, text, range(len(text)))
    said = feed(shell, whole, [text])

    assert found == []
    assert list(here.iterdir()) == []
    assert said.count(MARKER.encode() + b" report exited 1 0 ") == 1
    assert (whole / "ran").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["forbid", KEY, "100"],
        ["cancel", KEY, "0", "0", "100"],
        ["clean", KEY],
        ["sweep", KEY, f"{KEY}0"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("shell", HERE)
def test_other_questions_cut_do_nothing(shell, words, tmp_path, here):
    """Their last line is all in which they differ from a start."""
    text = script(words)
    question = text.rindex(b"\nch_visit ")
    whole = tmp_path / "whole"
    whole.mkdir()

    found = effects(shell, tmp_path, text, range(question, len(text)))
    said = feed(shell, whole, [text])

    assert found == []
    assert list(here.iterdir()) == []
    assert MARKER.encode() in said


def test_a_connection_that_ends_behind_any_part_starts_nothing():
    """The same through sshd: each 50th byte, and each of the last 100."""
    with Sshd(max_sessions=20) as sshd:
        home = sshd.new_home()
        text = script(start_words('touch "$HOME/ran"'))
        cuts = [*range(1, len(text) - 100, 50), *range(len(text) - 100, len(text))]
        with (
            Connection.open(
                sshd.server(),
                Secret(private_key=sshd.login(home)),
                deadline=time.monotonic() + 280,
                allowed=LOOPBACK,
            ) as connection,
            ThreadPoolExecutor(8) as pool,
        ):
            said = pool.map(
                lambda cut: connection.execute(text[:cut], limit=1000), cuts
            )
            printed = {cut for cut, one in zip(cuts, said, strict=True) if one}
            left = list(home.rglob("*"))
            answer = connection.execute(text, limit=1000)

        assert printed == set()
        assert left == []
        assert MARKER.encode() + b" report exited 1 0 " in answer
        assert (home / "ran").exists()
        wait_until(lambda: not sshd.sessions())
