"""Values of credentials, in Secrets Manager."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from cronhop.domain.credential import Secret
from cronhop.errors import SecretMissing, SecretUnavailable

if TYPE_CHECKING:
    from cronhop.settings import Settings

CACHE_S = 300  # how long a value stays in the memory of an environment


class Secrets:
    """Keeps and fetches the values of credentials.

    `client` is a Secrets Manager client.
    """

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._prefix = settings.secret_prefix
        self._cache: dict[str, tuple[float, Secret]] = {}

    def add(self, secret: Secret) -> str:
        """Keep a value under a new random id, and return the id.

        Secrets Manager reserves the names of deleted secrets for days, so the
        id is not the credential's name.
        """
        secret_id = self._prefix + secrets.token_hex(16)
        self._client.create_secret(Name=secret_id, SecretString=_to_text(secret))
        return secret_id

    def remove(self, secret_id: str) -> None:
        """Ensure that the value is gone, for good after seven days."""
        gone = (
            self._client.exceptions.ResourceNotFoundException,
            self._client.exceptions.InvalidRequestException,  # marked already
        )
        with contextlib.suppress(*gone):
            self._client.delete_secret(SecretId=secret_id, RecoveryWindowInDays=7)

    def get(self, secret_id: str) -> Secret:
        """Return the value under this id, kept for five minutes.

        An id has one value for ever. Raises SecretMissing if there is none,
        SecretUnavailable if it cannot be had just now.
        """
        kept = self._cache.get(secret_id)
        if kept and kept[0] > time.monotonic():
            return kept[1]
        try:
            answer = self._client.get_secret_value(SecretId=secret_id)
            secret = Secret(**json.loads(answer["SecretString"]))
        except (
            self._client.exceptions.ResourceNotFoundException,
            self._client.exceptions.InvalidRequestException,  # marked for deletion
        ) as exc:
            raise SecretMissing from exc
        except (BotoCoreError, ClientError) as exc:
            raise SecretUnavailable(type(exc).__name__) from exc
        except (ValueError, TypeError, KeyError):
            # Without its cause: a parser's message may quote the value.
            raise SecretUnavailable("its value is none of ours") from None
        self._cache[secret_id] = (time.monotonic() + CACHE_S, secret)
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
