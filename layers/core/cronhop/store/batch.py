"""Many conditional writes in few requests.

A BatchExecuteStatement takes 25 statements of PartiQL. Each holds or fails by
itself and costs what it costs alone; a transaction would be all or nothing, and
cost twice the write units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pynamodb.attributes import Attribute
from pynamodb.models import Model

from cronhop.store.connection import client

STATEMENTS = 25  # in a request, DynamoDB's limit
AT_ONCE = 8  # requests
WORTH = 10  # fewer writes than this are made one by one

# What a statement says whose condition does not hold (BatchStatementError).
_REFUSED = frozenset({"ConditionalCheckFailed", "DuplicateItem"})


@dataclass(frozen=True, kw_only=True)
class Write:
    """A conditional write of one item.

    | field      | meaning                                                       |
    |------------|---------------------------------------------------------------|
    | statement  | it in PartiQL, a `?` for each of `parameters`                 |
    | parameters | values, with their DynamoDB types                             |
    | alone      | makes it in a request of its own; False: its condition does   |
    |            | not hold                                                      |
    """

    statement: str
    parameters: tuple[dict[str, Any], ...]
    alone: Callable[[], bool]


def insertion(row: Model, alone: Callable[[], bool]) -> Write:
    """Return the write that puts an item if there is none of its key."""
    attributes = row.serialize()
    names = ", ".join(f"'{name}': ?" for name in attributes)
    return Write(
        statement=f'INSERT INTO "{row.Meta.table_name}" VALUE {{{names}}}',
        parameters=tuple(attributes.values()),
        alone=alone,
    )


def value_of(attribute: Attribute[Any], value: Any) -> dict[str, Any]:
    """Return a value of the attribute as a statement's parameter."""
    return {attribute.attr_type: attribute.serialize(value)}


def write_all(writes: Sequence[Write]) -> list[bool | Exception]:
    """Make the writes; return of each whether its condition held, or what failed.

    None waits for another, and there is no order. As with a single write, one
    whose answer was lost is repeated and may fail on itself.
    """
    if len(writes) < WORTH:
        return [_alone(write) for write in writes]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return _chained(pool.map(_write_some, _chunks(writes, STATEMENTS)))


def _write_some(writes: Sequence[Write]) -> list[bool | Exception]:
    try:
        answer = client().batch_execute_statement(
            Statements=[
                {"Statement": write.statement, "Parameters": list(write.parameters)}
                for write in writes
            ]
        )
    except Exception as exc:  # noqa: BLE001  told of each
        return [exc] * len(writes)
    outcomes: list[bool | Exception] = []
    for write, response in zip(writes, answer["Responses"], strict=True):
        code = response.get("Error", {}).get("Code")
        if code is None or code in _REFUSED:
            outcomes.append(code is None)
        else:
            # Throttled, or it met a transaction: alone it is tried again.
            outcomes.append(_alone(write))
    return outcomes


def _alone(write: Write) -> bool | Exception:
    try:
        return write.alone()
    except Exception as exc:  # noqa: BLE001  told of each
        return exc


def _chunks(writes: Sequence[Write], size: int) -> Iterable[Sequence[Write]]:
    return (writes[start : start + size] for start in range(0, len(writes), size))


def _chained(parts: Iterable[list[bool | Exception]]) -> list[bool | Exception]:
    return [one for part in parts for one in part]
