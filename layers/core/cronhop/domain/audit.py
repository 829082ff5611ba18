"""The audit: who did what, when, and what it was before and after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cronhop.domain.ids import id_time

MAX_BYTES: Final = 24 * 1024  # of what something was, as JSON: twice that in a row
MAX_TEXT: Final = 1024  # characters left of a text in something larger
MAX_NAME: Final = 256  # characters of what names somebody or something


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """One change, run, cancel or refusal, as it is kept.

    | field      | meaning                                                     |
    |------------|-------------------------------------------------------------|
    | audit_id   | a ULID: its time is when it was                             |
    | entity     | what it was done to, `task#<id>`; `login#<name>`: a refusal |
    | action     | as roles allow it, `tasks.write`                            |
    | actor      | the name of who asked                                       |
    | subject    | their id at the issuer of the token                         |
    | request    | method and path                                             |
    | status     | of the answer; from 500 on nobody knows what was changed    |
    | before     | what it was, None if it was not there, or does not change   |
    | after      | what it has become, None if it is gone                      |
    | request_id | that of the API Gateway, which is in its log as well        |
    """

    audit_id: str
    entity: str
    action: str
    actor: str
    subject: str
    request: str
    status: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    request_id: str
    source_address: str
    user_agent: str

    @property
    def at(self) -> datetime:
        """When it was."""
        return id_time(self.audit_id)


def bounded(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what is kept of a value: all of it, unless that is more than a row takes.

    A long text in it then keeps its beginning, its length and its digest, so that
    two of them can still be told apart; what is too large even so is its digest.
    """
    if value is None or _size(value) <= MAX_BYTES:
        return value
    cut: Mapping[str, Any] = {name: _cut(one) for name, one in value.items()}
    if _size(cut) <= MAX_BYTES:
        return cut
    return {"cut": _digest(json.dumps(value, sort_keys=True))}


def _size(value: object) -> int:
    return len(json.dumps(value))  # as it is kept: in ASCII


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_cut(one) for one in value]
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]} … cut: {_digest(value)}"
    return value


def _digest(text: str) -> str:
    data = text.encode()
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
