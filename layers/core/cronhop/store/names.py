"""Unique names: an item `name#<name>` in the same transaction as its holder.

`space` stands instead of `name` where a table holds names of more than one kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pynamodb.exceptions import TransactWriteError
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from cronhop.errors import Conflict, PreconditionFailed
from cronhop.store.connection import read, transaction


def name_key(name: str, *, space: str = "name") -> str:
    """Return the key of the item that holds this name."""
    return f"{space}#{name}"


@contextlib.contextmanager
def named_write(
    model: type[Model], *, name: str, holder: str, space: str = "name"
) -> Iterator[TransactWrite]:
    """Yield a transaction that writes `holder` and its name, or nothing.

    Raises Conflict if the name is another's, or if the rows are just being
    changed; PreconditionFailed if the holder is not as the caller read it. The
    client gives each transaction a token, so that one whose answer was lost is
    not taken for a race lost.
    """
    try:
        with transaction() as write:
            yield write
    except TransactWriteError as exc:
        codes = {reason.code for reason in exc.cancellation_reasons if reason}
        if "ConditionalCheckFailed" in codes:
            require_name(model, name=name, holder=holder, space=space)
            raise PreconditionFailed("it was changed since you read it") from exc
        if "TransactionConflict" in codes:
            raise Conflict("it is just being changed by somebody else") from exc
        raise


def require_name(
    model: type[Model], *, name: str, holder: str, space: str = "name"
) -> None:
    """Ensure that nobody else has this name just now. Raises Conflict."""
    row: Any = read(model, name_key(name, space=space))
    if row is not None and row.holder != holder:
        raise Conflict(f"the name {name!r} is taken", field="name")
