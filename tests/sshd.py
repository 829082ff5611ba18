"""A real OpenSSH server on loopback, for tests.

It needs no root, though it takes it. Each login key carries its own HOME
(`environment="HOME=…"` in authorized_keys), so commands litter a temporary
directory and several homes can share one server.
"""

import getpass
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cronhop.domain.credential import Secret
from cronhop.domain.server import Server, ServerStatus

LOOPBACK = ("127.0.0.1/32",)  # what tests allow, as nobody else should
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def keypair():
    """Return an ed25519 key: the private text, the public line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return private.decode(), public.decode()


def free_port():
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def record(port, username, host_key):
    """Return the record of a server on loopback."""
    return Server(
        server_id="01JSERVER0000000000000000A",
        name="loopback",
        host="127.0.0.1",
        port=port,
        username=username,
        credential="test-key",
        host_keys=(host_key,),
        environment=None,
        tags={},
        max_concurrency=None,
        status=ServerStatus.ENABLED,
        version=1,
        created_by="test",
        created_at=EPOCH,
        updated_at=EPOCH,
    )


class Sshd:
    """An sshd with keys, configuration and homes of its own; ended by `stop()`.

    | attribute   | meaning                                              |
    |-------------|------------------------------------------------------|
    | host, port  | where it listens                                     |
    | username    | whom commands run as: who runs the tests             |
    | host_key    | its public key, `ssh-ed25519 AAAA…`                  |
    | private_key | a key that is let in, in OpenSSH format              |
    | home        | HOME of who comes with that key                      |
    | log         | what it logged, as text                              |
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        max_startups="100:30:200",
        max_sessions=10,
        subsystem="sftp internal-sftp",
        options=(),
    ):
        binary = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if binary is None:
            pytest.skip("no sshd: apt-get install openssh-server")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.username = getpass.getuser()
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._directory = Path(tempfile.mkdtemp(prefix="sshd-"))
        self._authorized = self._file("authorized_keys", "")
        self._log = self._file("log", "")
        host_private, self.host_key = keypair()
        host_key = self._file("host_key", host_private)
        self.home = self.new_home()
        self.private_key = self.login(self.home)
        config = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {host_key}",
            f"AuthorizedKeysFile {self._authorized}",
            f"PidFile {self._directory / 'pid'}",
            f"MaxStartups {max_startups}",
            f"MaxSessions {max_sessions}",
            "PermitUserEnvironment yes",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "UseDNS no",
            "StrictModes no",
            "LogLevel VERBOSE",
            f"Subsystem {subsystem}",
            *options,
        ]
        path = self._file("config", "\n".join(config) + "\n")
        self._process = subprocess.Popen(
            [binary, "-D", "-f", path, "-E", self._log],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: "listening on" in self.log or self._process.poll())
        if self._process.poll() is not None:
            raise RuntimeError(f"sshd did not start: {self.log}")

    @property
    def pid(self):
        return self._process.pid

    @property
    def log(self):
        return self._log.read_text()

    @property
    def secret(self):
        """The credential for `private_key`."""
        return Secret(private_key=self.private_key)

    def sessions(self):
        """Return how many connections it has."""
        found = subprocess.run(
            ["pgrep", "-c", "-P", str(self.pid)],
            check=False,
            capture_output=True,
        )
        return int(found.stdout)

    def new_home(self):
        """Make a home directory."""
        home = self._directory / f"home-{next(self._numbers)}"
        home.mkdir(mode=0o700)
        return home

    def login_of(self, user):
        """Let a new key in for another user of this host; return its private text."""
        # sshd reads the keys as that user.
        self._directory.chmod(0o711)
        self._authorized.chmod(0o644)
        return self.login(user.home)

    def login(self, home, options=""):
        """Let a new key in, whose HOME is `home`; return its private text."""
        private, public = keypair()
        with self._authorized.open("a") as file:
            file.write(f'environment="HOME={home}"{options} {public}\n')
        return private

    def server(self, **changes):
        """Return the server's record."""
        return replace(record(self.port, self.username, self.host_key), **changes)

    def stop(self):
        """End it and remove its files; open sessions end by themselves."""
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _file(self, name, text):
        path = self._directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path


def wait_until(condition, timeout_s=20.0):
    """Return what `condition()` returns as soon as it is true."""
    end = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s")
        time.sleep(0.01)
    return result
