"""What the bodies that clients send are made of."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic.fields import FieldInfo

T = TypeVar("T")


class StrictBody(BaseModel):
    """What a client sends: nothing is converted, nothing unknown is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


def not_yet(what: str) -> BeforeValidator:
    """Return a validator of a field that is not there yet: only null passes."""

    def refuse(value: object) -> None:
        if value is not None:
            raise ValueError(f"{what} not there yet: only null")

    return BeforeValidator(refuse)


def told(**schema: Any) -> FieldInfo:
    """Return what the OpenAPI document says of a field that the domain checks."""
    info: FieldInfo = Field(json_schema_extra=schema)
    return info


def _printable(text: str) -> str:
    # It stands in mails and logs, where a line of its own would look like ours.
    if not text.isprintable():
        raise ValueError("it may hold printable characters only")
    return text


def _each_once(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("it names one twice")
    return values


# After the bounds of a text: pydantic words those behind it as those of a list.
PRINTABLE = AfterValidator(_printable)
Word = Annotated[str, StringConstraints(min_length=1, max_length=100), PRINTABLE]
Slug = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    ),
]
EachOnce = Annotated[list[T], told(uniqueItems=True), AfterValidator(_each_once)]
