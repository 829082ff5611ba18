"""The command line as a user has it: a program, a terminal, the deployed stack."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.stack import Stack
from tests.e2e.test_journey import Create, create, server

__all__ = ["create", "server"]  # fixtures

PROGRAM = (sys.executable, "-m", "cronhop_cli.main")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user of his own."""
    kept = {key: value for key, value in os.environ.items() if "CRONHOP" not in key}
    return {**kept, "CRONHOP_CONFIG_DIR": str(tmp_path / "config"), "TERM": "xterm"}


@pytest.fixture
def login(stack: Stack, environ: dict[str, str]) -> dict[str, str]:
    """That environment, logged in by a password on stdin."""
    notes = stack.notes()
    words = (
        *("login", "--url", notes["api_url"], "--username", notes["username"]),
        *("--auth-endpoint", notes["endpoint_url"], "--password-stdin"),
    )
    done = cronhop(environ, *words, stdin=notes["password"])
    assert done.returncode == 0, done.stderr
    return environ


def cronhop(
    environ: dict[str, str], *words: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*PROGRAM, *words],
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def started(login: dict[str, str]) -> Iterator[Any]:
    """Starts commands; none is left behind."""
    processes = []

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *words],
            env=login,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def read_until(terminal: int, wanted: str) -> str:
    """Return what a terminal shows, up to a text."""
    shown = ""
    while wanted not in shown:
        shown += os.read(terminal, 4096).decode()
    return shown


def test_login_on_a_terminal(stack: Stack, environ: dict[str, str]) -> None:
    """User and password are asked for, and the password is not shown."""
    notes = stack.notes()
    ours, theirs = pty.openpty()
    words = ("login", "--url", notes["api_url"])
    with subprocess.Popen(
        [*PROGRAM, *words, "--auth-endpoint", notes["endpoint_url"]],
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        read_until(ours, "Username: ")
        os.write(ours, f"{notes['username']}\n".encode())
        read_until(ours, "Password: ")
        while is_echoing(ours):
            pass
        os.write(ours, f"{notes['password']}\n".encode())
        shown = read_until(ours, "(profile default).")
        assert process.wait(30) == 0

    assert notes["password"] not in shown
    me = cronhop(environ, "whoami")
    assert (me.returncode, "admin" in me.stdout) == (0, True)


def is_echoing(terminal: int) -> bool:
    """Return whether what is typed is shown."""
    import termios  # noqa: PLC0415

    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def test_follow_is_live(create: Create, started: Any, tmp_path: Path) -> None:
    """Output is there while the command runs, and its exit code is the program's."""
    gate = tmp_path / "gate"
    task = create(f"echo begun; until [ -e {gate} ]; do sleep 0.2; done; exit 7")

    following = started("run", task["name"], "--follow")
    first = following.stdout.readline()
    assert (first, following.poll()) == ("begun\n", None)
    gate.touch()

    assert following.wait(90) == 7
    assert "[failed: exit code 7]" in following.stderr.read()


def test_logs_follow(
    create: Create, started: Any, login: dict[str, str], api: httpx.Client
) -> None:
    """A run that goes on is followed, cancelled from elsewhere, and ends with that."""
    task = create("echo begun; sleep 600")
    run_id = cronhop(login, "run", task["name"]).stdout.strip()

    following = started("logs", run_id, "-f")
    assert following.stdout.readline() == "begun\n"
    cancelled = cronhop(login, "runs", "cancel", run_id)

    assert cancelled.returncode == 0, cancelled.stderr
    assert following.wait(90) == 120
    assert api.get(f"/v1/runs/{run_id}").json()["state"] == "cancelled"


def test_a_token_is_renewed(login: dict[str, str]) -> None:
    """When the access token is over the pool gives another one."""
    path = Path(login["CRONHOP_CONFIG_DIR"]) / "tokens-default.json"
    before = path.read_text()
    lines = [line for line in before.splitlines() if "expires_at" not in line]
    path.write_text("\n".join(lines).replace(",\n}", "\n}"))

    listed = cronhop(login, "tasks", "list", "--json")

    assert listed.returncode == 0, listed.stderr
    assert path.read_text() != before
    assert path.stat().st_mode & 0o777 == 0o600
