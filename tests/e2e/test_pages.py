"""The pages, as a reader would type them: each from its top to its end.

What needs an account of AWS is checked in tests/integration/test_pages.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import demo
from local.sshd import Sshd
from local.stack import Stack
from tests.hook import receiver
from tests.pages import ROOT, pages, script

README, QUICKSTART, CURL = "README.md", "docs/quickstart.md", "docs/howto/curl.md"
FIRST_TASK = "docs/howto/first-task.md"  # the others go on with its server
IN_THE_PROJECT = {README, QUICKSTART, CURL}  # where `make` is

# What a page has to show, in this order; a reader would miss it.
SHOWN: dict[str, list[str]] = {
    QUICKSTART: ["part 3 as app\n15\n", "It is being ended"],
    CURL: ["dumping as app", '"name": "web-2"'],
    FIRST_TASK: ["not ok: host_key: no host key is pinned", "Pinned the key", "\nok\n"],
    "docs/howto/private-servers.md": ["not ok: host_key", "Pinned the key", "\nok\n"],
    "docs/howto/rotate-a-key.md": [
        "\nok\n",
        "Replaced ops-key",
        "\nok\n",
        "Replaced report-pass",
    ],
    "docs/howto/notifications.md": [
        "Created ops.\nok\n",
        "Created alerts.\nok\n",
        "clean up",
    ],
    "docs/howto/users.md": ["admin"],
    "docs/howto/import-crontabs.md": ["backup", "tasks were made", "dumped"],
    "docs/howto/tasks-as-code.md": [
        "Done: 1 of 1.",
        "30 2 * * 7 -> 45 2 * * 7",
        "Done: 1 of 1.",
    ],
    "docs/howto/upgrade.md": ['"status": "ok"'],
    "docs/howto/restore-from-backup.md": ["weekly report", "0 6 * * 1"],
}
SECRETS = ["battery staple", "correct horse", "the old one", "a better one"]

Read = Callable[[str], str]


@pytest.fixture(scope="module")
def hook() -> Iterator[str]:
    """Take the place of what the pages' examples send messages to."""
    with receiver() as server:
        yield f"http://127.0.0.1:{server.port}/"


@pytest.fixture(scope="module")
def read(
    stack: Stack, sshd: Sshd, hook: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Read]:
    """Do what a page says, once, and return what was shown.

    A reader has one login and one home for all pages, a folder for each, and in
    place of the pages' examples a server on loopback.
    """
    folder = tmp_path_factory.mktemp("reader")
    key = folder / "own-key"
    key.write_text(sshd.private_key)
    (host_key,) = sshd.host_keys
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", "-"],
        input=host_key,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    examples = {
        "KEY": str(key),
        "HOST": sshd.host,
        "PORT": str(sshd.port),
        "LOGIN": sshd.username,
        "FINGERPRINT": fingerprint,
        "HOST_KEY": f"'{host_key}'",
        "SLACK": f"{hook}slack",
        "HOOK": f"{hook}alerts",
    }
    shown: dict[str, str] = {}

    def read(page: str) -> str:
        if page not in shown:
            if page not in IN_THE_PROJECT:
                read(README)
            if page not in {README, QUICKSTART, CURL, FIRST_TASK}:
                read(FIRST_TASK)
            where = folder / Path(page).stem
            where.mkdir(exist_ok=True)
            commands = adapted(script(page), examples)
            commands = commands.replace(":4566", f":{stack.ministack.port}")
            commands = commands.replace(
                ".local/stack.json", f"{stack.directory}/stack.json"
            )
            shown[page] = bash(
                commands,
                stack,
                cwd=ROOT if page in IN_THE_PROJECT else where,
                CRONHOP_CONFIG_DIR=str(folder / "config"),
            )
        return shown[page]

    try:
        yield read
    finally:
        demo.sshd_of(stack).stop()


def adapted(commands: str, examples: dict[str, str]) -> str:
    """Return commands whose examples (`HOST=10.0.3.7`) are the reader's own."""

    def one(line: re.Match[str]) -> str:
        names = re.findall(r"(\w+)=(?:'[^']*'|\S+)", line[0])
        return " ".join(f"{name}={examples[name]}" for name in names)

    words = "|".join(examples)
    return re.sub(rf"^(?:(?:{words})=(?:'[^']*'|\S+) ?)+$", one, commands, flags=re.M)


def bash(commands: str, stack: Stack, *, cwd: Path = ROOT, **environ: str) -> str:
    """Run commands against this stack."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=cwd,
        env={
            **os.environ,
            "CI": "true",
            "CRONHOP_LOCAL": str(stack.directory),
            "CRONHOP_PORT": str(stack.ministack.port),
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "no_proxy": "127.0.0.1",
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_run_shows_the_demo(read: Read, stack: Stack) -> None:
    """Without a terminal it does everything, checks itself and ends with 0."""
    printed = read(README)

    assert f"  {demo.EXPECTED}" in printed
    assert "hello from " in printed


def test_its_curl_lines_work_as_pasted(read: Read, stack: Stack) -> None:
    """The three lines that it prints are answered."""
    printed = read(README)
    lines = [
        line.strip() for line in printed.splitlines() if line.startswith("  curl ")
    ]
    assert len(lines) == 3

    answers = [json.loads(bash(line, stack)) for line in lines]

    runs, task, run = answers
    assert runs["items"]
    assert task["name"] == demo.TASK
    assert run["state"] == "pending"


@pytest.mark.parametrize("page", [page for page in pages() if script(page)])
def test_a_page(page: str, read: Read) -> None:
    """Each of its commands ends well, and shows what it is there for."""
    if page == "docs/howto/rotate-a-key.md" and not shutil.which(
        "sshd", path=f"{os.environ['PATH']}:/usr/sbin"
    ):
        pytest.skip("no sshd: apt-get install openssh-server")
    output = read(page)

    at = 0
    for wanted in SHOWN.get(page, []):
        assert wanted in output[at:], output
        at = output.index(wanted, at) + len(wanted)
    assert not [secret for secret in SECRETS if secret in output]
