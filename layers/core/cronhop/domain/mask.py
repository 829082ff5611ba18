"""Secrets in output: replaced before it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MIN_LINE = 8  # bytes


def mask(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return the data with each secret in it as that many `*`.

    Secrets that overlap each other are masked as a whole.
    """
    masked = bytearray(data)
    for secret in secrets:
        at = data.find(secret) if secret else -1
        while at >= 0:
            # A secret that repeats itself may be found at every byte of a long run:
            # the run is taken at once.
            found = _repeated(secret).match(data, at + len(secret))
            end = found.end() if found else at + len(secret)
            masked[at:end] = b"*" * (end - at)
            at = data.find(secret, end - len(secret) + 1)
    return bytes(masked)


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Return what of a secret is masked: itself, as `$(…)` has it, and its lines.

    A shell drops newlines at the end, and tools print line by line. Lines of less
    than `MIN_LINE` bytes stand in too many other places.
    """
    lines = [line for line in secret.splitlines() if len(line) >= MIN_LINE]
    return tuple(dict.fromkeys([secret, secret.rstrip(b"\n"), *lines]))


@lru_cache(maxsize=32)
def _repeated(secret: bytes) -> re.Pattern[bytes]:
    """Return the pattern of what makes further, overlapping secrets of one.

    It is any number of the secret's last `p` bytes, `p` its smallest period.
    """
    borders = [0] * len(secret)
    length = 0
    for at in range(1, len(secret)):
        while length and secret[at] != secret[length]:
            length = borders[length - 1]
        length += secret[at] == secret[length]
        borders[at] = length
    period = len(secret) - borders[-1]
    return re.compile(b"(?:" + re.escape(secret[-period:]) + b")*", re.DOTALL)
