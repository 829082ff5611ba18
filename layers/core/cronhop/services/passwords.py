"""Secrets as commands and logins need them: by the names of credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from cronhop.aws.secrets import Secrets
from cronhop.domain.credential import Secret
from cronhop.domain.run import Execution
from cronhop.domain.task import Script, TaskDefinition
from cronhop.errors import SecretMissing
from cronhop.services.credentials import secret_of
from cronhop.services.parameters import texts
from cronhop.store import credentials

WRITE_MARGIN = timedelta(minutes=1)  # a value may be written later than its row says


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The variables of a command.

    | field      | meaning                                                     |
    |------------|-------------------------------------------------------------|
    | values     | all of them, secrets too                                    |
    | secret_ids | which value of its credential each secret is                |
    """

    values: Mapping[str, str] = field(repr=False)
    secret_ids: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Passwords:
    """The present values of credentials.

    Everything here raises SecretMissing for a credential without the value, and
    SecretUnavailable if there is none to be had just now.
    """

    secrets: Secrets

    def secret(self, name: str) -> Secret:
        """Return the value of a credential."""
        return secret_of(self.secrets, name)

    def environment(self, task: TaskDefinition) -> Environment:
        """Return the command's variables, parameters and secrets among them.

        Raises Invalid if a parameter's server is not there any more.
        """
        values, ids = {}, {}
        for variable, name in task.secrets.items():
            ids[variable], values[variable] = self._password(name)
        plain = task.spec.environment if isinstance(task.spec, Script) else {}
        return Environment(values={**plain, **texts(task), **values}, secret_ids=ids)

    def since(
        self, execution: Execution, task: TaskDefinition
    ) -> Mapping[str, str] | None:
        """Return the secrets that an earlier visit started the command with.

        None if one of them was replaced or removed since.
        """
        values = {}
        for variable, name in task.secrets.items():
            try:
                secret_id, values[variable] = self._password(name)
            except SecretMissing:
                return None
            if not _is_of(execution, variable, secret_id, name):
                return None
        return values

    def _password(self, name: str) -> tuple[str, str]:
        """Return which value a credential has, and the password that it is."""
        for _ in range(2):
            credential = credentials.get(name)
            if credential is None:
                raise SecretMissing(f"there is no credential {name!r}")
            try:
                password = self.secrets.get(credential.secret_id).password
            except SecretMissing:
                continue  # replaced since its row was read
            if password is None:
                raise SecretMissing(f"credential {name!r} is not a password")
            return credential.secret_id, password
        raise SecretMissing(f"credential {name!r} has no value")


def _is_of(execution: Execution, variable: str, secret_id: str, name: str) -> bool:
    """Return whether the command was started with this value."""
    if execution.secret_ids is not None:
        return execution.secret_ids.get(variable) == secret_id
    # Who started it died before it could say with what. What is older than that
    # was there already.
    credential = credentials.get(name)
    return (
        credential is not None
        and credential.secret_id == secret_id
        and execution.first_at is not None
        and credential.updated_at + WRITE_MARGIN <= execution.first_at
    )
