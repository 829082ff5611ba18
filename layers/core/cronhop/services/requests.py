"""Requests that their senders may repeat: each is done once, by its key."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from cronhop.domain.ids import new_id
from cronhop.domain.request import LEASE, KeptAnswer, Request
from cronhop.errors import InProgress, KeyReused
from cronhop.store import requests as store


class _Made(Protocol):
    """What somebody has put on record under a name."""

    @property
    def version(self) -> int: ...
    @property
    def created_by(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


def is_own(kept: _Made | None, made: _Made) -> bool:
    """Return whether what is kept is what the same request has made, or was.

    A request is told by its maker and its millisecond; two of the same one by what
    they have made, unless that was changed since.
    """
    return (
        kept is not None
        and (kept.created_by, kept.created_at) == (made.created_by, made.created_at)
        and (kept == made or kept.version > made.version)
    )


class Requests:
    """Who works on a request, and what was answered."""

    def begin(self, subject: str, key: str, digest: str, *, now: datetime) -> Request:
        """Return the request that somebody sends by this key.

        With its answer if it has one; else it is the caller's to work on, and to end
        by `keep` or `forget`. If its first worker died, `made_id` is still the first
        one's. Raises KeyReused if the key was another request's, InProgress if
        somebody works on it.
        """
        owner, lease_until = secrets.token_hex(8), now + LEASE
        fresh = Request(
            key=hashlib.sha256(f"{subject}\0{key}".encode()).hexdigest(),
            digest=digest,
            made_id=new_id(now),
            owner=owner,
            lease_until=lease_until,
        )
        if store.add(fresh, now=now):
            return fresh
        known = store.get(fresh.key)
        if known is None:
            raise InProgress  # it has just been refused
        if known.digest != digest:
            raise KeyReused
        if known.answer or known.owner == owner:  # ours: only the answer was lost
            return known
        if known.lease_until > now or not store.take(
            known, owner=owner, lease_until=lease_until
        ):
            raise InProgress
        return replace(known, owner=owner, lease_until=lease_until)

    def keep(self, request: Request, answer: KeptAnswer) -> None:
        """Have whoever repeats the request get this answer, for a day."""
        store.keep(request, answer)

    def forget(self, request: Request) -> None:
        """Leave the key as if it had not been used: nothing was changed."""
        store.remove(request)
