"""Values of parameters: written as text, sent as what a task declares them to be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from . import names
from .api import Api
from .command import pairs
from .errors import Usage

_INTEGER = re.compile(r"[-+]?[0-9]{1,19}", re.ASCII)
_TRUTHS = {"true": True, "false": False}

Declared = Sequence[Mapping[str, Any]]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="A parameter; a server or a credential by name; may be repeated.",
    ),
]


def typed(api: Api, declared: Declared, given: Sequence[str]) -> dict[str, Any]:
    """Return the values that `--param KEY=VALUE` options give, by their types.

    What only the API can tell (patterns, credentials) is left to it. Raises Usage
    naming the parameter.
    """
    of_name = {one["name"]: one for one in declared}
    found = {}
    for name, text in pairs(given, "--param").items():
        if name not in of_name:
            hint = names.near(name, of_name) or (
                f"it declares {', '.join(of_name) or 'none'}"
            )
            raise Usage(f"no parameter {name!r} is declared", hint=hint)
        found[name] = _value(api, of_name[name], text)
    return found


def check_complete(declared: Declared, values: Mapping[str, Any]) -> None:
    """Ensure that each parameter has a value. Raises Usage naming those without."""
    without = [
        one
        for one in declared
        if one.get("default") is None and one["name"] not in values
    ]
    if without:
        raise Usage(
            "these parameters have no default",
            details=tuple(_described(one) for one in without),
            hint=f"--param {without[0]['name']}=…",
        )


def _described(parameter: Mapping[str, Any]) -> str:
    described = f"{parameter['name']}: {parameter['type']}"
    if parameter.get("values"):
        described += f", one of {', '.join(parameter['values'])}"
    if parameter.get("description"):
        described += f": {parameter['description']}"
    return described


def _value(api: Api, parameter: Mapping[str, Any], text: str) -> Any:
    match parameter["type"]:
        case "integer":
            return _integer(parameter, text)
        case "boolean":
            if text not in _TRUTHS:
                raise _refused(parameter, text, "is neither true nor false")
            return _TRUTHS[text]
        case "enum":
            if text not in parameter["values"]:
                among = ", ".join(parameter["values"])
                raise _refused(parameter, text, f"is none of {among}")
        case "server":
            (server_id,) = names.server_ids(api, [text])
            return server_id
        case "string":
            longest = parameter.get("max_length")
            if longest is not None and len(text) > longest:
                raise _refused(parameter, text, f"has more than {longest} characters")
    return text


def _integer(parameter: Mapping[str, Any], text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _refused(parameter, text, "is not a whole number of 64 bits")
    number = int(text)
    least, most = parameter.get("minimum"), parameter.get("maximum")
    if least is not None and number < least:
        raise _refused(parameter, text, f"is less than {least}")
    if most is not None and number > most:
        raise _refused(parameter, text, f"is more than {most}")
    return number


def _refused(parameter: Mapping[str, Any], text: str, why: str) -> Usage:
    return Usage(f"{parameter['name']}: {text!r} {why}")
