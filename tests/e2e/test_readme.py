"""The README, as a reader would type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import demo
from local.stack import Stack

ROOT = Path(__file__).parents[2]


def blocks(section: str) -> str:
    """Return the commands of a section of the README."""
    text = (ROOT / "README.md").read_text()
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", text, re.M | re.S)
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", body, re.M | re.S))


def bash(commands: str, stack: Stack) -> str:
    """Run commands in the project's folder against this stack."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=ROOT,
        env={
            **os.environ,
            "CI": "true",
            "CRONHOP_LOCAL": str(stack.directory),
            "CRONHOP_PORT": str(stack.ministack.port),
            "no_proxy": "127.0.0.1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(stack: Stack) -> Iterator[str]:
    """What `make run` prints, of a stack that is up already."""
    try:
        yield bash("make run", stack)
    finally:
        demo.sshd_of(stack).stop()


def test_make_run_shows_the_demo(printed: str) -> None:
    """Without a terminal it does everything, checks itself and ends with 0."""
    assert f"  {demo.EXPECTED}" in printed


def test_its_curl_lines_work_as_pasted(printed: str, stack: Stack) -> None:
    """The three lines that it prints are answered."""
    lines = [
        line.strip() for line in printed.splitlines() if line.startswith("  curl ")
    ]
    assert len(lines) == 3

    answers = [json.loads(bash(line, stack)) for line in lines]

    runs, task, run = answers
    assert runs["items"]
    assert task["name"] == demo.TASK
    assert run["state"] == "pending"


def test_a_first_task(printed: str, stack: Stack, tmp_path: Path) -> None:
    """The README's commands log in, make a task, follow it and apply a file."""
    sshd = demo.sshd_of(stack)
    key = tmp_path / "own-key"
    key.write_text(sshd.private_key)
    own = f"KEY={key} HOST={sshd.host} PORT={sshd.port} LOGIN={sshd.username}"
    commands = blocks("A first task")
    commands = commands.replace(":4566", f":{stack.ministack.port}")
    commands = commands.replace("tasks.yaml", str(tmp_path / "tasks.yaml"))
    commands, replaced = re.subn(r"^KEY=.*$", own, commands, flags=re.MULTILINE)
    assert replaced == 1

    output = bash(f"export CRONHOP_CONFIG_DIR={tmp_path}/config\n{commands}", stack)

    assert "part 3 as app\n15\n" in output
    assert "battery staple" not in output
    assert "    schedule.cron: 30 1 * * * -> 45 2 * * *\n" in output
    assert "Done: 1 of 1." in output
    assert "not ok: host_key: no host key is pinned" in output


def test_a_first_task_with_curl(printed: str, stack: Stack) -> None:
    """The README's commands make a task, run it and read what it wrote."""
    sshd = demo.sshd_of(stack)
    key = stack.directory / "own-key"
    key.write_text(sshd.private_key)
    own = f"KEY={key} HOST={sshd.host} PORT={sshd.port} LOGIN={sshd.username}"
    commands = blocks("A first task with curl")
    commands = commands.replace(".local/stack.json", f"{stack.directory}/stack.json")
    commands, replaced = re.subn(r"^KEY=.*$", own, commands, flags=re.MULTILINE)
    assert replaced == 1

    output = bash(commands, stack)

    assert '"state": "completed"' in output
    assert "dumping as app" in output
    assert "correct horse" not in output
    server = json.loads(output.splitlines()[-1])
    assert (server["name"], server["status"]) == ("web-1", "enabled")
