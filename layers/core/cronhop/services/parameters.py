"""Parameters: their values checked against what is on record, and bound to a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.credential import CredentialKind
from cronhop.domain.ids import is_id
from cronhop.domain.parameter import (
    Parameter,
    ParameterType,
    Value,
    value_text,
)
from cronhop.domain.run import Run
from cronhop.domain.server import Server
from cronhop.domain.task import TaskDefinition
from cronhop.errors import Invalid
from cronhop.services.credentials import require_credential
from cronhop.store import servers, tasks
from cronhop.store import values as given


def declared(definition: TaskDefinition, scope: Scope) -> TaskDefinition:
    """Return the definition as it is kept: servers among the defaults by id.

    Raises Invalid for parameters that cannot be declared so, and for defaults that
    are not there, or not for the task's environment or the scope.
    """
    definition.check_parameters()
    return replace(
        definition,
        parameters=tuple(
            replace(
                one,
                default=_kept(
                    one,
                    one.default,
                    field=f"parameters.{number}.default",
                    environment=definition.environment,
                    scope=scope,
                ),
            )
            if one.default is not None
            else one
            for number, one in enumerate(definition.parameters)
        ),
    )


def accepted(
    definition: TaskDefinition, values: Mapping[str, Any], scope: Scope = EVERYWHERE
) -> Mapping[str, Value]:
    """Return these values as they are kept: servers by id.

    Raises Invalid naming the one that does not fit, is not there, or is not for the
    task's environment or the scope.
    """
    definition.check_values(values)
    parameters = {one.name: one for one in definition.parameters}
    return {
        name: _kept(
            parameters[name],
            value,
            field=f"parameters.{name}",
            environment=definition.environment,
            scope=scope,
        )
        for name, value in values.items()
    }


def bound(run: Run, definition: TaskDefinition) -> TaskDefinition:
    """Return what the run runs: the definition with the values of its own.

    Raises Invalid if they do not fit it, as those of another version may not, or
    one is missing or not there any more. What was given as a text is no credential's
    name, whatever the parameter is by now: who gave it may not be allowed that one.
    """
    values = given.of_run(run)
    for name in sorted(secrets_among(definition, values) - given.secrets_of(run)):
        raise Invalid(f"parameters.{name}", "it was no secret when it was given")
    # The server of a default may have moved since the task was written.
    servers_named = {
        one.name: one.default
        for one in definition.parameters
        if one.type is ParameterType.SERVER and one.default is not None
    }
    complete = definition.filled(accepted(definition, {**servers_named, **values}))
    complete.check_complete()
    return complete


def secrets_among(definition: TaskDefinition, values: Mapping[str, Any]) -> set[str]:
    """Return which of the values name credentials."""
    return {
        one.name
        for one in definition.parameters
        if one.type is ParameterType.SECRET and one.name in values
    }


def definition_of(
    run: Run, version: TaskDefinition | None = None
) -> TaskDefinition | None:
    """Return what the run runs, as its gate has fixed it, None if it is gone.

    `version` is that of the run, if the caller has just come by it. The gate has
    checked the values: whatever is thought of them later, a command that they
    started is looked after.
    """
    definition = version or tasks.get_version(run.task_id, run.task_version or 0)
    return definition and definition.filled(given.of_run(run))


def texts(definition: TaskDefinition) -> Mapping[str, str]:
    """Return the values, as the command gets them, but for the secrets.

    Raises Invalid if a server is not there any more, or has moved.
    """
    return {
        one.name: value_text(
            _server(
                str(one.default), f"parameters.{one.name}", definition.environment
            ).host
            if one.type is ParameterType.SERVER
            else one.default
        )
        for one in definition.parameters
        if one.type is not ParameterType.SECRET and one.default is not None
    }


def _kept(
    parameter: Parameter,
    value: Value,
    *,
    field: str,
    environment: str | None,
    scope: Scope,
) -> Value:
    """Return the value as it is kept. Raises Invalid if what it names is not there."""
    match parameter.type:
        case ParameterType.SERVER:
            return _server(str(value), field, environment).server_id
        case ParameterType.SECRET:
            require_credential(
                str(value),
                field=field,
                kind=CredentialKind.PASSWORD,
                environment=environment,
                scope=scope,
            )
    return value


def _server(wanted: str, field: str, environment: str | None) -> Server:
    """Return the server of this id or name, in the environment or with None in any.

    Raises Invalid naming the field, in one way for one that is not there and for
    one that is elsewhere.
    """
    server = servers.get(wanted) if is_id(wanted) else None
    server = server or servers.named(wanted)
    if server is None or environment not in {None, server.environment}:
        there = f" in environment {environment!r}" if environment else ""
        raise Invalid(field, f"there is no server {wanted[:100]!r}{there}")
    return server
