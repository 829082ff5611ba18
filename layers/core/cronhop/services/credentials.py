"""Credentials: kept, replaced, removed; their values are never shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cronhop.aws.secrets import Secrets
from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.credential import NAME, Credential, CredentialKind, Secret
from cronhop.domain.private_key import private_key_fingerprint
from cronhop.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    SecretMissing,
)
from cronhop.services.uses import Use, of_definitions, require_unused
from cronhop.store import credentials as store
from cronhop.store import notifications, servers
from cronhop.store.page import Page, walk


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What people do with credentials."""

    secrets: Secrets

    def create(
        self,
        name: str,
        secret: Secret,
        *,
        by: str,
        now: datetime,
        environment: str | None = None,
    ) -> Credential:
        """Keep a secret under a name. Raises Invalid, Conflict if it is taken.

        With an `environment` only servers and tasks of it may name it. What the same
        request has kept by then, whose answer was lost, is returned as it is.
        """
        kind, fingerprint = _inspect(secret)
        if kept := store.get(name):
            return _own(kept, by=by, now=now)
        credential = Credential(
            name=name,
            kind=kind,
            fingerprint=fingerprint,
            # First the value: a row must never name a secret that is not there.
            secret_id=self.secrets.add(secret),
            environment=environment,
            version=1,
            created_by=by,
            created_at=now,
            updated_at=now,
        )
        if not store.add(credential):
            kept = store.get(name)
            if kept and kept.secret_id == credential.secret_id:
                return kept  # only the answer had been lost
            self.secrets.remove(credential.secret_id)
            raise _taken(name)
        return credential

    def replace(
        self, name: str, secret: Secret, *, version: int | None, now: datetime
    ) -> Credential:
        """Keep another value under this name; servers use it from then on.

        Raises Invalid, NotFound, Conflict, PreconditionFailed if `version` is
        given and not the present one.
        """
        kind, fingerprint = _inspect(secret)
        old = self.get(name)
        if version not in {None, old.version}:
            raise PreconditionFailed("it was changed since you read it")
        if kind is not old.kind:
            raise Conflict(f"credential {name!r} is a {old.kind}, not a {kind}")
        # A value has an id of its own, so that row and value change as one.
        secret_id = self.secrets.add(secret)
        changed = store.change(
            old, secret_id=secret_id, fingerprint=fingerprint, now=now
        )
        present = store.get(name)
        if not changed and (present is None or present.secret_id != secret_id):
            self.secrets.remove(secret_id)
            raise Conflict("it is just being changed by somebody else")
        self.secrets.remove(old.secret_id)
        return present or self.get(name)

    def get(self, name: str) -> Credential:
        """Return what is known of a credential. Raises NotFound."""
        credential = store.get(name)
        if credential is None:
            raise NotFound(f"there is no credential {name!r}")
        return credential

    def listing(self, *, limit: int, after: str | None) -> Page[Credential]:
        """Return credentials by name."""
        return store.listing(limit=limit, after=after)

    def delete(self, name: str, *, version: int | None) -> None:
        """Remove a credential that nothing uses. Raises NotFound, Conflict."""
        credential = self.get(name)
        if version not in {None, credential.version}:
            raise PreconditionFailed("it was changed since you read it")
        require_unused(f"credential {name!r}", _uses(name))
        # First the row: from here on nobody can use it.
        if not store.remove(credential) and store.get(name):
            raise Conflict("it is just being changed by somebody else")
        self.secrets.remove(credential.secret_id)


def secret_of(secrets: Secrets, name: str) -> Secret:
    """Return the value of a credential. Raises SecretMissing, SecretUnavailable."""
    for _ in range(2):
        credential = store.get(name)
        if credential is None:
            raise SecretMissing(f"there is no credential {name!r}")
        try:
            return secrets.get(credential.secret_id)
        except SecretMissing:
            continue  # replaced since its row was read
    raise SecretMissing(f"credential {name!r} has no value")


def require_credential(
    name: str,
    *,
    field: str,
    kind: CredentialKind | None = None,
    environment: str | None = None,
    scope: Scope = EVERYWHERE,
) -> None:
    """Ensure that something of the environment may name this credential.

    Raises Invalid naming the field, in one way for what is not there and for what
    the scope does not admit.
    """
    credential = store.get(name) if NAME.fullmatch(name) else None
    if credential is None or not scope.admits(credential.environment):
        yours = "" if scope.is_everywhere else " for your environments"
        raise Invalid(field, f"there is no credential {name!r}{yours}")
    if credential.environment not in {None, environment}:
        raise Invalid(
            field,
            f"credential {name!r} is for environment {credential.environment!r} only",
        )
    if kind and credential.kind is not kind:
        raise Invalid(field, f"credential {name!r} is not a {kind}")


def _own(kept: Credential, *, by: str, now: datetime) -> Credential:
    """Return what is kept if the request of then made it. Raises Conflict."""
    if (kept.created_by, kept.created_at) != (by, now):
        raise _taken(kept.name)
    return kept


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a credential {name!r} already", field="name")


def _inspect(secret: Secret) -> tuple[CredentialKind, str | None]:
    if (secret.private_key is None) == (secret.password is None):
        raise Invalid("", "give either a private_key or a password")
    if secret.private_key is not None:
        fingerprint = private_key_fingerprint(secret.private_key, secret.passphrase)
        return CredentialKind.PRIVATE_KEY, fingerprint
    if secret.passphrase is not None:
        raise Invalid("passphrase", "a password has none")
    return CredentialKind.PASSWORD, None


def _uses(name: str) -> Iterator[Use]:
    for server in walk(servers.listing):
        if server.credential == name:
            yield Use("server", server.name)
    yield from of_definitions(lambda made: name in made.secrets.values())
    for channel in walk(notifications.channels):
        if channel.credential == name:
            yield Use("channel", channel.name)
