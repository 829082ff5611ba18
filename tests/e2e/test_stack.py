"""The stack itself: what it shows to the world, and what survives a restart."""

from __future__ import annotations

import asyncio
import json
import secrets
import stat
from contextlib import suppress
from pathlib import Path

import asyncssh
import httpx
import pytest

from local.sshd import Sshd
from local.stack import DEPLOY_BUCKET, Stack

LISTENING = "0A"  # man 5 proc: TCP_LISTEN
LOOPBACK = {
    "0100007F",
    "00000000000000000000000001000000",
    "0000000000000000FFFF00000100007F",
}


def test_health_needs_no_login(stack: Stack) -> None:
    """Whether it is there, anybody may ask."""
    answer = httpx.get(f"{stack.api_url}/v1/health", trust_env=False)

    assert answer.status_code == 200


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x.y.z"}])
def test_all_else_needs_a_token(stack: Stack, header: dict[str, str]) -> None:
    """No token or a wrong one is 401, before our code runs."""
    answer = httpx.get(f"{stack.api_url}/v1/tasks", headers=header, trust_env=False)

    assert answer.status_code == 401


def test_a_token_opens_it(stack: Stack, api: httpx.Client) -> None:
    """The token of `make token` is one that the API takes."""
    answer = api.get("/v1/tasks")

    assert answer.status_code == 200


def test_the_login_is_for_its_owner_only(stack: Stack) -> None:
    """stack.json holds a password: nobody else reads it."""
    path = stack.directory / "stack.json"

    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_text())["api_url"] == stack.api_url


def test_its_folder_is_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is new, or has been there open to all."""
    for folder in (tmp_path / "new", tmp_path / "there"):
        if folder.name == "there":
            folder.mkdir()
            folder.chmod(0o755)
        monkeypatch.setenv("CRONHOP_LOCAL", str(folder))
        monkeypatch.delenv("CRONHOP_PORT", raising=False)

        assert Stack.from_env().directory == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_it_keeps_is_for_its_owner_only(stack: Stack, api: httpx.Client) -> None:
    """ministack writes secrets in the clear, when it ends: nobody else reads them."""
    secret = f"open-{secrets.token_hex(8)}"
    body = {"name": "kept", "password": secret}
    assert api.post("/v1/credentials", json=body).is_success
    stack.client("s3").put_object(Bucket=DEPLOY_BUCKET, Key="kept", Body=b"kept")

    stack.stop()
    try:
        kept = [
            path
            for name in ("state", "s3", "log/ministack.log")
            for path in (stack.directory / name, *(stack.directory / name).rglob("*"))
        ]
        open_to_others = [path for path in kept if path.stat().st_mode & 0o077]
        found = [
            path
            for path in kept
            if path.is_file() and secret.encode() in path.read_bytes()
        ]
    finally:
        stack.up()

    assert open_to_others == []
    assert found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp")
def test_it_listens_on_loopback_only(stack: Stack, sshd: Sshd) -> None:
    """Nothing that a stack starts can be reached from another machine."""
    roots = [pid for pid in (stack.ministack.pid, sshd.pid) if pid]
    sockets = _sockets_of(*_family(*roots))

    listening = _listening()

    ours = {listening[inode] for inode in sockets & listening.keys()}
    assert {port for _, port in ours} >= {stack.ministack.port, sshd.port}
    assert {address for address, _ in ours} <= LOOPBACK


def test_the_dispatcher_answers_a_dry_run(stack: Stack) -> None:
    """A function can be invoked by hand."""
    answer = stack.invoke("dispatcher", {"dry_run": True})

    assert isinstance(answer, dict)


def test_the_ssh_server_runs_commands(sshd: Sshd) -> None:
    """The demo server runs a shell, and its home is a folder of its own."""

    async def run() -> asyncssh.SSHCompletedProcess:
        known = f"[{sshd.host}]:{sshd.port} {sshd.host_keys[0]}"
        async with asyncssh.connect(
            sshd.host,
            sshd.port,
            username=sshd.username,
            client_keys=[asyncssh.import_private_key(sshd.private_key)],
            known_hosts=asyncssh.import_known_hosts(known),
            agent_path=None,
            config=None,
        ) as connection:
            return await connection.run("cat; echo $HOME; exit 3", input="in\n")

    result = asyncio.run(run())

    assert result.stdout == f"in\n{sshd.home}\n"
    assert result.exit_status == 3


def _listening() -> dict[str, tuple[str, int]]:
    """Return address and port of each listening socket by its inode."""
    found = {}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for fields in map(str.split, lines):
            address, port = fields[1].split(":")
            if fields[3] == LISTENING:
                found[fields[9]] = (address, int(port, 16))
    return found


def _family(*pids: int) -> set[int]:
    """Return processes and all that came of them."""
    family = set(pids)
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            family |= _family(*map(int, children.read_text().split()))
    return family


def _sockets_of(*pids: int) -> set[str]:
    """Return the inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                target = str(handle.readlink())
                if target.startswith("socket:"):
                    found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found
