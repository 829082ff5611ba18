"""Secrets in output: replaced before it is kept."""

from __future__ import annotations

from collections.abc import Iterable


def mask(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return the data with each secret in it as that many `*`.

    Secrets that overlap each other are masked as a whole.
    """
    masked = bytearray(data)
    for secret in secrets:
        at = data.find(secret) if secret else -1
        while at >= 0:
            masked[at : at + len(secret)] = b"*" * len(secret)
            at = data.find(secret, at + 1)
    return bytes(masked)
