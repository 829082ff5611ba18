"""Credentials: names for secrets whose values never leave through the API."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

#: What all of a name is like.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class CredentialKind(StrEnum):
    """What the secret is."""

    PRIVATE_KEY = "private_key"  #: an SSH private key, perhaps with a passphrase
    PASSWORD = "password"  # noqa: S105  #: a login password, or a task's secret


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What is known of a secret without its value.

    | field       | meaning                                              |
    |-------------|------------------------------------------------------|
    | fingerprint | of the public key, `SHA256:…`; None for a password   |
    | secret_id   | the secret's own random name in Secrets Manager      |
    | environment | whose servers and tasks may name it; None: any       |
    """

    name: str
    kind: CredentialKind
    fingerprint: str | None
    secret_id: str
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    environment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Secret:
    """The value of a credential: a private key, or a password.

    Its representation shows nothing, so that no log or traceback can.
    """

    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
