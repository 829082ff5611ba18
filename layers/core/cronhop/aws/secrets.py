"""Values of credentials, in Secrets Manager."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from cronhop.domain.credential import Secret

if TYPE_CHECKING:
    from cronhop.settings import Settings

CACHE_S = 300  # a rotated secret is used after this at the latest


class SecretMissing(Exception):
    """Secrets Manager has no value under this id."""


class Secrets:
    """Keeps and fetches the values of credentials.

    `client` is a Secrets Manager client.
    """

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._prefix = settings.secret_prefix
        self._cache: dict[tuple[str, int], tuple[float, Secret]] = {}

    def add(self, secret: Secret) -> str:
        """Keep a value under a new random id, and return the id.

        Secrets Manager reserves the names of deleted secrets for days, so the
        id is not the credential's name.
        """
        secret_id = self._prefix + secrets.token_hex(16)
        self._client.create_secret(Name=secret_id, SecretString=_to_text(secret))
        return secret_id

    def change(self, secret_id: str, secret: Secret) -> None:
        """Keep another value under this id."""
        self._client.put_secret_value(SecretId=secret_id, SecretString=_to_text(secret))

    def remove(self, secret_id: str) -> None:
        """Ensure that the value is gone, for good after seven days."""
        self._client.delete_secret(SecretId=secret_id, RecoveryWindowInDays=7)

    def get(self, secret_id: str, *, version: int) -> Secret:
        """Return the value of a credential's version, kept for five minutes.

        Raises SecretMissing if there is none.
        """
        kept = self._cache.get((secret_id, version))
        if kept and kept[0] > time.monotonic():
            return kept[1]
        try:
            answer = self._client.get_secret_value(SecretId=secret_id)
        except (
            self._client.exceptions.ResourceNotFoundException,
            self._client.exceptions.InvalidRequestException,  # marked for deletion
        ) as exc:
            raise SecretMissing(secret_id) from exc
        secret = Secret(**json.loads(answer["SecretString"]))
        self._cache[secret_id, version] = (time.monotonic() + CACHE_S, secret)
        return secret


def _to_text(secret: Secret) -> str:
    return json.dumps(
        {
            name: value
            for name, value in (
                ("private_key", secret.private_key),
                ("passphrase", secret.passphrase),
                ("password", secret.password),
            )
            if value is not None
        }
    )
