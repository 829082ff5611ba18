"""A request that its sender may repeat, and what was answered to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

KEPT_FOR: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=35)  # who works on it is dead by then: 29 s and some


@dataclass(frozen=True, kw_only=True)
class KeptAnswer:
    """What was answered; `etag` is None where none was given."""

    status: int
    body: str
    etag: str | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request by the key that its sender gave it.

    | field       | meaning                                                     |
    |-------------|-------------------------------------------------------------|
    | key         | a hash of who sent it and the key                           |
    | digest      | of what was asked, without values of secrets                |
    | made_id     | a ULID for what it makes, the same each time it is repeated |
    | owner       | who works on it, a random token                             |
    | lease_until | until then, unless it has an answer                         |
    | answer      | None until there is one                                     |
    """

    key: str
    digest: str
    made_id: str
    owner: str
    lease_until: datetime
    answer: KeptAnswer | None = None
