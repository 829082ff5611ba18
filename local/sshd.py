"""The demo server: an SSH host on loopback, made of this machine.

A real sshd, if there is one and it lets us in, under its own configuration and as
whoever calls; else one made of asyncssh. Its keys and its port are kept: the API
knows it by them.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import sys
import time
from pathlib import Path

import asyncssh

from local.process import Background
from local.progress import Failed, step, tail
from local.tools import ROOT

START_S = 20  # seconds until it must let us in
HOST = "127.0.0.1"
CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys {directory}/home/.ssh/authorized_keys
AllowUsers {username}
PidFile none
# The folder may lie below one that others may write to.
StrictModes no
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
X11Forwarding no
# All commands of all tasks come from one address.
MaxStartups 100
MaxSessions 100
# What cronhop keeps on a server, it keeps here.
SetEnv HOME={directory}/home
Subsystem sftp internal-sftp
"""


class Sshd:
    """The server in one folder."""

    host = HOST

    def __init__(self, directory: Path) -> None:
        self.username = _username()
        self._directory = directory
        self._process = Background(
            name="the demo server",
            pid_file=directory / "sshd.pid",
            log=directory / "sshd.log",
        )

    @property
    def port(self) -> int:
        """Where it listens, from its first start on."""
        return int((self._directory / "port").read_text())

    @property
    def private_key(self) -> str:
        """The key that opens it, as OpenSSH writes keys."""
        return (self._directory / "client_key").read_text()

    @property
    def host_keys(self) -> list[str]:
        """By what it is known, as in known_hosts."""
        line = (self._directory / "host_key.pub").read_text()
        return [" ".join(line.split()[:2])]

    @property
    def home(self) -> Path:
        """Where its users are at home."""
        return self._directory / "home"

    @property
    def pid(self) -> int | None:
        """Its process, or None if it is not running."""
        return self._process.pid()

    def start(self) -> None:
        """Start it, if it is not running, and wait until it lets us in.

        Raises Failed if it does not.
        """
        if self._process.is_running():
            return
        self._prepare()
        with step("Starting the demo server"):
            if not self._start_real():
                self._start_substitute()

    def stop(self) -> None:
        """End it; commands that it has started go on."""
        self._process.stop()

    def _prepare(self) -> None:
        """Make its keys and choose its port, once."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        for name in ("client_key", "host_key"):
            path = self._directory / name
            if not path.exists():
                key = asyncssh.generate_private_key("ssh-ed25519", comment="cronhop")
                path.touch(mode=0o600)
                key.write_private_key(path)
                key.write_public_key(path.with_suffix(".pub"))
        public = (self._directory / "client_key.pub").read_bytes()
        (self._directory / "authorized_keys").write_bytes(public)
        port = self._directory / "port"
        if not port.exists():
            port.write_text(str(_free_port()))

    def _start_real(self) -> bool:
        """Return whether a real sshd is there, starts, and lets us in."""
        program = shutil.which(
            "sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
        )
        if program is None:
            return False
        if os.geteuid() == 0 and sys.platform == "linux":
            # Where sshd locks its unprivileged part in; a service makes it else.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self._directory / "sshd_config"
        config.write_text(
            CONFIG.format(
                directory=self._directory,
                host=HOST,
                port=self.port,
                username=self.username,
            )
        )
        self._start([program, "-D", "-e", "-f", config])
        if self._lets_us_in():
            return True
        self._process.stop()
        print(f"sshd does not serve here; asyncssh does.\n{tail(self._process.log)}")
        return False

    def _start_substitute(self) -> None:
        self._start([sys.executable, "-m", "local.sshd_substitute", self._directory])
        if not self._lets_us_in():
            raise Failed(f"The demo server does not start.\n{tail(self._process.log)}")

    def _start(self, command: list[str | Path]) -> None:
        kept = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        self._process.start(command, env=env, cwd=ROOT)

    def _lets_us_in(self) -> bool:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.is_running():
            try:
                asyncio.run(self._log_in())
            except (asyncssh.PermissionDenied, asyncssh.ProcessError):
                return False
            except (OSError, asyncssh.Error):
                time.sleep(0.1)
            else:
                return True
        return False

    async def _log_in(self) -> None:
        known = asyncssh.import_known_hosts(f"[{HOST}]:{self.port} {self.host_keys[0]}")
        async with asyncssh.connect(
            HOST,
            self.port,
            username=self.username,
            client_keys=[str(self._directory / "client_key")],
            known_hosts=known,
            agent_path=None,
            config=None,
        ) as connection:
            await connection.run("true", check=True)


def _username() -> str:
    """Return who calls. In a container that may be nobody in particular."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "demo"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
