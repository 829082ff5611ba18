"""The probe's script in every shell that is here, and cut at any byte."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cronhop.ssh import probe

MARKER = "0123456789abcdef0123456789abcdef"
SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "mksh": ["mksh"],
    "yash": ["yash"],
}
HERE = {name: command for name, command in SHELLS.items() if shutil.which(command[0])}

shells = pytest.mark.parametrize(
    "shell", [pytest.param(command, id=name) for name, command in HERE.items()]
)


def answer(shell, home, text, *, path=None):
    return subprocess.run(
        [shutil.which(shell[0]), *shell[1:], "-s"],
        input=text,
        capture_output=True,
        env={"HOME": str(home), "PATH": path or os.environ["PATH"]},
        timeout=60,
        check=False,
    ).stdout


def only(directory, *names):
    """Return a PATH with these programs alone."""
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).symlink_to(shutil.which(name))
    return str(directory)


@shells
def test_a_host_tells_of_itself(shell, tmp_path):
    """The same in each shell."""
    facts = probe.read_facts(answer(shell, tmp_path, probe.script(MARKER)), MARKER)

    space = os.statvfs(tmp_path)
    assert facts.is_writable
    assert abs(facts.free_bytes - space.f_bavail * space.f_frsize) < 1 << 30
    assert facts.free_inodes is None or facts.free_inodes >= 0
    assert (facts.has_setsid, facts.has_proc) == (True, True)
    assert facts.sudo in {"yes", "no", "missing"}
    assert facts.system.startswith("Linux ")
    assert abs(facts.middle - time.time()) < 30
    assert list(tmp_path.iterdir()) == []


@shells
def test_a_bare_host_is_told_too(shell, tmp_path):
    """Without setsid, sudo or df, and without a home, there is an answer still."""
    path = only(tmp_path / "bin", "date", "uname", "sed", "head", "tail", "printf")

    text = answer(shell, tmp_path / "none", probe.script(MARKER), path=path)

    facts = probe.read_facts(text, MARKER)
    assert (facts.is_writable, facts.has_setsid) == (False, False)
    assert (facts.free_bytes, facts.free_inodes) == (None, None)
    assert facts.sudo == "missing"


def test_sudo_is_tried_without_a_password(tmp_path):
    """It works, or it asks and gets nothing."""
    for code, said in ((0, "yes"), (1, "no")):
        path = only(tmp_path / said, "date", "uname", "sed", "head", "tail", "df")
        sudo = Path(path) / "sudo"
        sudo.write_text(f'#!/bin/sh\n[ "$*" = "-n true" ] && exit {code}\nexit 9\n')
        sudo.chmod(0o755)
        text = answer(["dash"], tmp_path, probe.script(MARKER), path=path)
        assert probe.read_facts(text, MARKER).sudo == said


def test_a_script_that_is_cut_says_nothing():
    """A stream that ends early runs nothing."""
    whole = probe.script(MARKER)
    call = whole.rindex(b"\npr_probe ") + 1
    for end in (*range(0, call, 97), call):
        assert answer(["dash"], "/nowhere", whole[:end]) == b""
