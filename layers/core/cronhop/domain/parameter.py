"""Parameters: what a task leaves open, by type, until it is run.

A value is text, a whole number or a truth as JSON has it, never converted. It
reaches a command as a variable or as a word of its own, never as a part of a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from cronhop.domain.pattern import check_pattern, matches
from cronhop.domain.variable import check_variable
from cronhop.errors import Invalid

MAX_PARAMETERS = 20  # of a task
MAX_LENGTH = 1000  # characters of a value
MAX_BYTES = 8 * 1024  # of all values of a task or a run
MAX_VALUES = 100  # to choose one from
MAX_DESCRIPTION = 200  # characters
MAX_INTEGER = 2**63 - 1  # what a shell reckons with

Value = str | int  #: also True and False, which are int to Python


class ParameterType(StrEnum):
    """What a value is, and what of it reaches the command."""

    STRING = "string"  #: text
    ENUM = "enum"  #: one of some texts
    INTEGER = "integer"  #: a whole number, in decimal
    BOOLEAN = "boolean"  #: `true` or `false`
    SERVER = "server"  #: a server on record: its host
    SECRET = "secret"  # noqa: S105  #: a credential's name: the password it stands for


_OF_TYPE = {
    ParameterType.STRING: ("pattern", "max_length"),
    ParameterType.ENUM: ("values",),
    ParameterType.INTEGER: ("minimum", "maximum"),
    ParameterType.BOOLEAN: (),
    ParameterType.SERVER: (),
    ParameterType.SECRET: (),
}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter that a task declares.

    | field            | meaning                                                |
    |------------------|--------------------------------------------------------|
    | name             | of the variable in which the command has the value     |
    | default          | the value where none is given; None: one has to be     |
    | pattern          | of a string: what matches all of it; None: anything    |
    | max_length       | of a string, in characters; None: 1000                 |
    | values           | of an enum: those that there are                       |
    | minimum, maximum | of an integer; None: what 64 bits hold                 |
    """

    name: str
    type: ParameterType
    description: str = ""
    default: Value | None = None
    pattern: str | None = None
    max_length: int | None = None
    values: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    def check(self) -> None:
        """Ensure that it can be declared. Raises Invalid naming the field."""
        check_variable(self.name, "name")
        if len(self.description) > MAX_DESCRIPTION:
            raise Invalid(
                "description", f"it has more than {MAX_DESCRIPTION} characters"
            )
        for kind, names in _OF_TYPE.items():
            for name in names:
                if kind is not self.type and getattr(self, name) not in {None, ()}:
                    raise Invalid(name, f"it is for parameters of type {kind}")
        self._check_type()
        if self.default is not None:
            self._check_value(self.default, "default")

    def check_value(self, value: object) -> None:
        """Ensure that the parameter may have this value. Raises Invalid naming it."""
        self._check_value(value, f"parameters.{self.name}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values: what parameters of its type have."""
        shown = ("name", "type", "description", "default", *_OF_TYPE[self.type])
        plain = {name: getattr(self, name) for name in shown}
        return plain | ({"values": list(self.values)} if self.values else {})

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Parameter:
        """Return what `to_dict` made these plain values of."""
        return cls(
            **{
                **plain,
                "type": ParameterType(plain["type"]),
                "values": tuple(plain.get("values", ())),
            }
        )

    def _check_type(self) -> None:
        match self.type:
            case ParameterType.STRING:
                if self.pattern is not None:
                    check_pattern(self.pattern, "pattern")
                _check_range("max_length", self.max_length, 0, MAX_LENGTH)
            case ParameterType.ENUM:
                self._check_values()
            case ParameterType.INTEGER:
                _check_range("minimum", self.minimum, -MAX_INTEGER, MAX_INTEGER)
                least = -MAX_INTEGER if self.minimum is None else self.minimum
                _check_range("maximum", self.maximum, least, MAX_INTEGER)
            case _:
                pass

    def _check_values(self) -> None:
        if not 1 <= len(self.values) <= MAX_VALUES:
            raise Invalid("values", f"an enum has 1 to {MAX_VALUES} of them")
        if len(set(self.values)) < len(self.values):
            raise Invalid("values", "a value is in it twice")
        for number, value in enumerate(self.values):
            _check_text(value, f"values.{number}", MAX_LENGTH)

    def _check_value(self, value: object, field: str) -> None:
        match self.type:
            case ParameterType.INTEGER:
                if not isinstance(value, int) or isinstance(value, bool):
                    raise Invalid(field, "it is not a whole number")
                least = -MAX_INTEGER if self.minimum is None else self.minimum
                most = MAX_INTEGER if self.maximum is None else self.maximum
                _check_range(field, value, least, most)
            case ParameterType.BOOLEAN:
                if not isinstance(value, bool):
                    raise Invalid(field, "it is neither true nor false")
            case ParameterType.ENUM:
                if value not in self.values:
                    raise Invalid(field, "it is none of the enum's values")
            case _:
                longest = MAX_LENGTH if self.max_length is None else self.max_length
                text = _check_text(value, field, longest)
                if self.pattern is not None and not matches(self.pattern, text):
                    raise Invalid(field, f"it does not match {self.pattern}")


@dataclass(frozen=True, kw_only=True)
class ParameterWord:
    """A word of a command's arguments that is the value of a parameter."""

    parameter: str


def value_text(value: Value) -> str:
    """Return a value as a command gets it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_declared(parameters: Sequence[Parameter]) -> None:
    """Ensure that a task can declare these. Raises Invalid naming the field."""
    if len(parameters) > MAX_PARAMETERS:
        raise Invalid("parameters", f"there are more than {MAX_PARAMETERS}")
    names = set()
    for number, parameter in enumerate(parameters):
        try:
            parameter.check()
        except Invalid as exc:
            raise Invalid(f"parameters.{number}.{exc.field}", exc.message) from exc
        if parameter.name in names:
            raise Invalid(f"parameters.{number}.name", "it is declared twice")
        names.add(parameter.name)
    _check_size(parameters)


def check_values(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> None:
    """Ensure that the parameters may have these values.

    Raises Invalid naming what does not fit: `parameters.VERSION`.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    for name, value in values.items():
        if name not in declared:
            raise Invalid(
                f"parameters.{name[:100]}", "the task declares no such parameter"
            )
        declared[name].check_value(value)
    _check_size(fill(parameters, values))


def fill(
    parameters: Sequence[Parameter], values: Mapping[str, Any]
) -> tuple[Parameter, ...]:
    """Return the parameters with values that fit as their defaults."""
    return tuple(
        replace(parameter, default=values.get(parameter.name, parameter.default))
        for parameter in parameters
    )


def check_complete(parameters: Sequence[Parameter]) -> None:
    """Ensure that each of them has a value. Raises Invalid naming the one without."""
    for parameter in parameters:
        if parameter.default is None:
            raise Invalid(
                f"parameters.{parameter.name}", "it has no default: give a value"
            )


def _check_size(parameters: Sequence[Parameter]) -> None:
    size = sum(
        len(value_text(one.default).encode())
        for one in parameters
        if one.default is not None
    )
    if size > MAX_BYTES:
        raise Invalid(
            "parameters", f"the values have {size} bytes, more than {MAX_BYTES}"
        )


def _check_range(field: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise Invalid(field, f"it is not within {least} and {most}")


def _check_text(value: object, field: str, longest: int) -> str:
    if not isinstance(value, str):
        raise Invalid(field, "it is no text")
    if len(value) > longest:
        raise Invalid(field, f"it has more than {longest} characters")
    if "\0" in value:
        raise Invalid(field, "it may not hold a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Invalid(field, "it holds half a character, which no UTF-8 can say")
    return value
