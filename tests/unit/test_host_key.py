"""Reading pinned host keys."""

import base64
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cronhop.domain.host_key import fingerprint, parse_host_key
from cronhop.errors import Invalid


def public_line(key):
    """The line of a .pub file."""
    public = key.public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


KEYS = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-sha2-nistp521": ec.generate_private_key(ec.SECP521R1()),
    "ssh-rsa": rsa.generate_private_key(65537, 2048),
}
LINES = {key_type: public_line(key) for key_type, key in KEYS.items()}
ED25519 = LINES["ssh-ed25519"]


@pytest.mark.parametrize("key_type", list(KEYS))
def test_it_reads_each_type(key_type):
    """Type and blob are those of the line; a comment does not matter."""
    line = LINES[key_type]

    assert parse_host_key(f"{line} root@web 1\n") == (
        key_type,
        base64.b64decode(line.split()[1]),
    )


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
@pytest.mark.parametrize("key_type", list(KEYS))
def test_the_fingerprint_is_what_ssh_keygen_prints(key_type, tmp_path):
    """A user can compare by eye."""
    file = tmp_path / "key.pub"
    file.write_text(LINES[key_type] + "\n")

    printed = subprocess.run(
        ["ssh-keygen", "-l", "-f", file], check=True, capture_output=True, text=True
    ).stdout

    assert printed.split()[1] == fingerprint(LINES[key_type])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        f"10.0.3.7 {ED25519}",
        f"ssh-rsa {ED25519.split()[1]}",
        f"ssh-dss {ED25519.split()[1]}",
        ED25519[:-8],
        f"ssh-ed25519 {base64.b64encode(bytes(40)).decode()}",
        "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519").decode(),
        "ssh-ed25519 "
        + base64.b64encode(base64.b64decode(ED25519.split()[1]) + b"x").decode(),
        "ecdsa-sha2-nistp384 " + LINES["ecdsa-sha2-nistp256"].split()[1],
        f"{ED25519}\n{ED25519}",
        "ssh-ed25519 " + "A" * 10_000,
    ],
    ids=lambda line: line.partition(" ")[0],  # keys are new in each process
)
def test_it_refuses_anything_else(line):
    """Garbage is refused when written, not found out at three in the morning."""
    with pytest.raises(Invalid) as caught:
        parse_host_key(line)

    assert caught.value.field == "host_keys"
