"""Identifiers: ULIDs that sort by time, and the shard a key belongs to.

A ULID (https://github.com/ulid/spec) is 48 bits of milliseconds and 80 bits of
something else, as 26 characters of Crockford's base 32: in the order of the
characters they are in the order of time.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(now: datetime) -> str:
    """Return a ULID of this instant that nobody else has."""
    return _ulid(now, secrets.token_bytes(10))


def slot_run_id(task_id: str, slot: datetime) -> str:
    """Return the one run id that this slot of this task can have.

    Its time is the slot, the rest a hash of task and slot, so that every
    dispatcher arrives at the same id and rows sort by slot.
    """
    return derived_id(slot, f"{task_id}/{int(slot.timestamp())}")


def derived_id(instant: datetime, seed: str) -> str:
    """Return the one ULID that this instant has with this seed."""
    return _ulid(instant, hashlib.sha256(seed.encode()).digest()[:10])


def id_time(ulid: str) -> datetime:
    """Return the instant a ULID was made for. Raises ValueError if it is none."""
    if not is_id(ulid):
        raise ValueError("not a ULID")
    milliseconds = 0
    for character in ulid[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(character)
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError("not a ULID of our era") from None


def is_id(text: str) -> bool:
    """Return whether the text is a ULID as this module writes them."""
    return (
        len(text) == _LENGTH
        and text[0] in "01234567"
        and all(character in _ALPHABET for character in text)
    )


def first_id(instant: datetime) -> str:
    """Return the lowest ULID of this instant, for ranges of ids by time."""
    return _ulid(instant, b"\0" * 10)


def last_id(instant: datetime) -> str:
    """Return the highest ULID of this instant, for ranges of ids by time."""
    return _ulid(instant, b"\xff" * 10)


def beyond(ulid: str, *, newest_first: bool) -> str:
    """Return a ULID that a list may go on after instead of this one.

    It does not tell this one: half of what is random in it is left out. Between the
    two lies no other, as far as chance goes.
    """
    return ulid[:18] + ("0" if newest_first else "Z") * 8


def shard_of(key: str, shards: int) -> int:
    """Return which of `shards` partitions a key belongs to, from 0."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % shards


def _ulid(instant: datetime, rest: bytes) -> str:
    milliseconds = (instant - _EPOCH) // timedelta(milliseconds=1)
    number = milliseconds << 80 | int.from_bytes(rest, "big")
    characters = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, 32)
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))
