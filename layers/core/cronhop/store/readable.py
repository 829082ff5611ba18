"""Rows that cannot be read: damaged, or of another version. They hold up no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pynamodb.exceptions import PynamoDBException
from pynamodb.models import Model

from cronhop.observe import log, measure

R = TypeVar("R", bound=Model)
T = TypeVar("T")


def read_each(
    model: type[R], keys: Iterable[Any], of: Callable[[R], T]
) -> tuple[list[T], Mapping[Any, Exception]]:
    """Return what `of` makes of the rows that exist, as of now, in no order.

    And of which keys it cannot be said: why. What DynamoDB refuses just now is
    raised.
    """
    wanted = list(keys)
    try:
        return [of(row) for row in model.batch_get(wanted, consistent_read=True)], {}
    except PynamoDBException:
        raise
    except Exception as exc:  # noqa: BLE001  one of the rows; which?
        if len(wanted) == 1:
            return [], {wanted[0]: exc}
    middle = len(wanted) // 2
    found, broken = read_each(model, wanted[:middle], of)
    others, why = read_each(model, wanted[middle:], of)
    return found + others, {**broken, **why}


def passed_over(key: object, exc: Exception) -> None:
    """Tell, by the log and a metric, of a row that cannot be read."""
    log.error("A row cannot be read", action="row_unreadable", keys=key, exc_info=exc)
    measure({"UnreadableRows": 1})
