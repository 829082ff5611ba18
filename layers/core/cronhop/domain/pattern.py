"""Regular expressions that users write: in linear time, whatever they write.

Python's own engine backtracks: a pattern like `(a+)+b`, or a few `.*` in a row,
keeps it busy for hours with a value of a hundred characters. The engine here is
that of Rust's regex crate, which knows neither look-around nor back-references, and
limits what a pattern may grow to. It comes with pydantic, and is imported only where
there is a pattern.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cronhop.errors import Invalid

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

MAX_CHARACTERS = 200  # of a pattern


def check_pattern(pattern: str, field: str) -> None:
    """Ensure that it is a regular expression. Raises Invalid naming the field."""
    from pydantic_core import SchemaError  # noqa: PLC0415

    if len(pattern) > MAX_CHARACTERS:
        raise Invalid(field, f"it has more than {MAX_CHARACTERS} characters")
    try:
        _compile(pattern)  # by itself, that no bracket of it closes one of ours
        _compiled(_anchored(pattern))
    except SchemaError as exc:
        why = str(exc).rpartition("rror: ")[2].strip()
        raise Invalid(field, f"it is no regular expression: {why}") from exc


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern matches all of the text."""
    from pydantic_core import ValidationError  # noqa: PLC0415

    try:
        _compiled(_anchored(pattern)).validate_python(text)
    except ValidationError:
        return False
    return True


def _anchored(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


@lru_cache(maxsize=8)  # one may take 10 MB
def _compiled(pattern: str) -> SchemaValidator:
    return _compile(pattern)


def _compile(pattern: str) -> SchemaValidator:
    from pydantic_core import SchemaValidator, core_schema  # noqa: PLC0415

    return SchemaValidator(
        core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True)
    )
