"""An SSH server for where no sshd is installed: `python -m local.sshd_substitute DIR`.

It listens on loopback, lets in whom authorized_keys in the folder names, and runs
what they ask for in this user's own shell.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sys
from pathlib import Path

import asyncssh


async def serve(directory: Path) -> None:
    """Serve until the process is ended."""
    server = await asyncssh.listen(
        "127.0.0.1",
        int((directory / "port").read_text()),
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=lambda process: _run(process, directory / "home"),
        encoding=None,
        sftp_factory=True,
    )
    await server.wait_closed()


async def _run(process: asyncssh.SSHServerProcess[bytes], home: Path) -> None:
    """Run one command as sshd would: the user's shell, at home, with its status."""
    shell = _shell()
    arguments = ["-c", process.command] if process.command else ["-l"]
    child = await asyncio.create_subprocess_exec(
        shell,
        *arguments,
        cwd=home,
        env={
            **os.environ,
            **{name: str(value) for name, value in process.env.items()},
            "HOME": str(home),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    status = await child.wait()
    if status >= 0:
        process.exit(status)
    else:
        process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))


def _shell() -> str:
    """Return this user's shell, or sh where there is none to log in with."""
    try:
        shell = pwd.getpwuid(os.geteuid()).pw_shell
    except KeyError:
        return "/bin/sh"
    return "/bin/sh" if Path(shell).name in {"", "false", "nologin"} else shell


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
