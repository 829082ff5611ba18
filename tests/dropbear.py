"""A dropbear on loopback, for tests: the other SSH server that hosts have."""

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest

from tests.sshd import free_port, keypair, record, wait_until


def _binary(name):
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"no {name}: apt-get install dropbear-bin")
    return found


def _listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def dropbear(user, directory):
    """Run a dropbear that lets the user in; yield its record and the private key."""
    key = directory / "dropbear_key"
    made = subprocess.run(
        [_binary("dropbearkey"), "-t", "ed25519", "-f", key],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (line,) = [line for line in made.splitlines() if line.startswith("ssh-ed25519")]
    host_key = " ".join(line.split()[:2])
    private, public = keypair()
    authorized = user.home / ".ssh" / "authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(f"{public}\n")
    for path in (authorized.parent, authorized):
        shutil.chown(path, user.name)
    port = free_port()
    with (
        (directory / "dropbear.log").open("wb") as log,
        subprocess.Popen(
            [
                _binary("dropbear"),
                *("-F", "-E", "-s", "-p", f"127.0.0.1:{port}"),
                *("-r", key, "-P", directory / "pid"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):
        wait_until(lambda: process.poll() is not None or _listens(port))
        yield record(port, user.name, host_key), private
        process.terminate()
