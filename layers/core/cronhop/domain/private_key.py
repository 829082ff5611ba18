"""Private keys as users send them: readable or not, and their fingerprint."""

from __future__ import annotations

from cronhop.domain.host_key import fingerprint
from cronhop.errors import Invalid

MAX_CHARACTERS = 16 * 1024  # an RSA key of 16,384 bits has some 12,000


def private_key_fingerprint(text: str, passphrase: str | None) -> str:
    """Return the `SHA256:…` of the public half of a private key.

    Raises Invalid naming `private_key` or `passphrase`. The message never holds
    any of the text.
    """
    # Here, because only who keeps a key needs it: it costs 30 ms at a cold start.
    from cryptography.exceptions import (  # noqa: PLC0415
        InvalidTag,
        UnsupportedAlgorithm,
    )
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    data = text.encode()
    password = passphrase.encode() if passphrase else None
    load = (
        serialization.load_ssh_private_key
        if "OPENSSH PRIVATE KEY" in text
        else serialization.load_pem_private_key
    )
    try:
        key = load(data, password=password)
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    except TypeError as exc:
        # Which of the two: encrypted without a passphrase, or the reverse.
        problem = "the key is not encrypted" if password else "the key needs one"
        raise Invalid("passphrase", problem) from exc
    except (ValueError, UnsupportedAlgorithm, InvalidTag) as exc:
        if password:
            raise Invalid("passphrase", "it does not open this private key") from exc
        raise Invalid(
            "private_key", "not a private key in OpenSSH or PEM form"
        ) from exc
    try:
        return fingerprint(public.decode())
    except Invalid as exc:
        raise Invalid("private_key", "keys of this type are not accepted") from exc
