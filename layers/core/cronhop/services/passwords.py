"""Secrets as commands and logins need them: by the names of credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from cronhop.aws.secrets import Secrets
from cronhop.domain.credential import Secret
from cronhop.domain.run import Run
from cronhop.domain.task import Script, TaskDefinition
from cronhop.errors import SecretMissing
from cronhop.services.credentials import secret_of
from cronhop.store import credentials

REPLACE_MARGIN = timedelta(minutes=1)  # a request of the API takes half as long


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

    def password(self, name: str) -> str:
        """Return the password that a credential is."""
        password = self.secret(name).password
        if password is None:
            raise SecretMissing(f"credential {name!r} is not a password")
        return password

    def environment(self, task: TaskDefinition) -> Mapping[str, str]:
        """Return the command's variables, its secrets among them."""
        secrets = {
            variable: self.password(name) for variable, name in task.secrets.items()
        }
        plain = task.spec.environment if isinstance(task.spec, Script) else {}
        return {**plain, **secrets}

    def since(self, run: Run, task: TaskDefinition) -> Mapping[str, str] | None:
        """Return the secrets of a command that began with its run.

        None if one of them was replaced or removed since.
        """
        values = {}
        for variable, name in task.secrets.items():
            credential = credentials.get(name)
            if credential is None:
                return None
            # The first value has no other before it. A later one was written some
            # time after the instant that its row bears.
            replaced_by = credential.updated_at + REPLACE_MARGIN
            if credential.version > 1 and replaced_by > (run.started_at or run.due):
                return None
            try:
                values[variable] = self.password(name)
            except SecretMissing:
                return None
        return values
