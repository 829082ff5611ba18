"""Private keys as users paste them, made into paramiko's."""

from __future__ import annotations

import io
import threading
from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from paramiko import ECDSAKey, Ed25519Key, PKey, RSAKey
from paramiko.ssh_exception import SSHException

from cronhop.errors import LoginRefused

#: One thread parses at a time: ten that need the same key decrypt it once.
_parsing: Final = threading.Lock()


def private_key(text: str, passphrase: str | None) -> PKey:
    """Return the key of `text`: ed25519, ECDSA or RSA, in OpenSSH or PEM format.

    Opening a key with a passphrase takes 120 ms and more (bcrypt, on purpose), so
    the last few keys are kept for the life of the process. Raises `LoginRefused`
    if the text is no such key or the passphrase does not open it.
    """
    with _parsing:
        try:
            return _parse(text, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm, SSHException) as exc:
            raise LoginRefused(
                "the private key cannot be read, or its passphrase is wrong"
            ) from exc


@lru_cache(maxsize=64)
def _parse(text: str, passphrase: str | None) -> PKey:
    """Return the key, by way of one format for all."""
    data = text.replace("\r\n", "\n").strip().encode() + b"\n"
    password = passphrase.encode() if passphrase else None
    is_openssh = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = load_ssh_private_key if is_openssh else load_pem_private_key
    try:
        key = load(data, password)
    except TypeError:
        if password is None:
            raise
        key = load(data, None)  # a passphrase for a key that has none: no harm
    file = io.StringIO(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    )
    match key:
        case Ed25519PrivateKey():
            return Ed25519Key.from_private_key(file)
        case EllipticCurvePrivateKey():
            return ECDSAKey.from_private_key(file)
        case RSAPrivateKey():
            return RSAKey.from_private_key(file)
        case _:
            raise ValueError("not a type of key that SSH servers take")
