"""Host keys: what a server is known by."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from cronhop.errors import Invalid

#: Key types that can be pinned, each with the number of strings in its blob
#: (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4).
KEY_TYPES: Final = {
    "ssh-ed25519": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "ssh-rsa": 3,
}
_MAX_LINE: Final = 8192  # characters; an RSA key of 16384 bits has 2,800
_ED25519_BYTES: Final = 32


def parse_host_key(line: str) -> tuple[str, bytes]:
    """Return type and blob of a public key as in `/etc/ssh/ssh_host_*_key.pub`.

    The line is `ssh-ed25519 AAAA…`, perhaps with a comment. Raises `Invalid` for
    `host_keys` if it is anything else.
    """
    words = line.split() if len(line) <= _MAX_LINE else []
    if len(words) < 2 or "\n" in line.strip():  # noqa: PLR2004  # type and blob
        raise Invalid("host_keys", "write each key as 'ssh-ed25519 AAAA…'")
    key_type, encoded = words[0], words[1]
    if key_type not in KEY_TYPES and encoded in KEY_TYPES:
        # As ssh-keyscan and known_hosts have it.
        raise Invalid("host_keys", f"leave out the host name before {encoded}")
    if key_type not in KEY_TYPES:
        known = ", ".join(KEY_TYPES)
        raise Invalid("host_keys", f"the key's type is none of {known}")
    try:
        blob = base64.b64decode(encoded, validate=True)
        strings = _strings(blob)
    except (binascii.Error, ValueError):
        raise Invalid("host_keys", "the key is cut or not base64") from None
    if strings[:1] != [key_type.encode()]:
        raise Invalid("host_keys", f"the key inside is no {key_type}")
    if not _is_whole(key_type, strings):
        raise Invalid("host_keys", f"the {key_type} key is malformed")
    return key_type, blob


def fingerprint(key_line: str) -> str:
    """Return the fingerprint `SHA256:…` of a public key, as ssh-keygen prints it."""
    return fingerprint_of(parse_host_key(key_line)[1])


def fingerprint_of(blob: bytes) -> str:
    """Return the fingerprint `SHA256:…` of a public key's blob."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def line_of(key_type: str, blob: bytes) -> str:
    """Return the line that `parse_host_key` reads as this type and blob."""
    return f"{key_type} {base64.b64encode(blob).decode()}"


def _is_whole(key_type: str, strings: list[bytes]) -> bool:
    """Return whether a blob has the parts that its type asks for."""
    if len(strings) != KEY_TYPES[key_type] or not all(strings):
        return False
    if key_type == "ssh-ed25519":
        return len(strings[1]) == _ED25519_BYTES
    if key_type.startswith("ecdsa-"):
        return key_type.endswith(strings[1].decode("latin-1"))
    return True


def _strings(blob: bytes) -> list[bytes]:
    """Return the length-prefixed strings of a blob; raises ValueError if cut."""
    strings = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < max(end, 4):
            raise ValueError("cut")
        strings.append(blob[4:end])
        blob = blob[end:]
    return strings
