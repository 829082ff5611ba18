"""One connection for all models, and how DynamoDB's errors are told apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pynamodb.connection import Connection
from pynamodb.exceptions import PynamoDBException
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

if TYPE_CHECKING:
    from cronhop.settings import Settings

CONNECT_TIMEOUT_S = 1
READ_TIMEOUT_S = 2
RETRIES = 3
CONFLICT_PAUSES_S = (0.05, 0.1, 0.2)  # before a write that met a transaction
CONNECTIONS = 12  # an invocation runs ten messages side by side

MAX_KEY_BYTES = (2048, 1024)  # of the two parts of a key, DynamoDB's limits

R = TypeVar("R", bound=Model)

_models: dict[str, type[Model]] = {}
_state: dict[str, Any] = {}


def table(noun: str) -> Any:
    """Return a class decorator that makes a model the one of table `noun`."""

    def register(model: type[Model]) -> type[Model]:
        _models[noun] = model
        return model

    return register


def connect(settings: Settings, session: Any) -> None:
    """Bind every model to the stack's tables over one shared client.

    `session` is a botocore session. pynamodb would make a session and a client
    for each model, some 45 ms of CPU each at a cold start, and wait 30 s for a
    silent endpoint, four times.
    """
    shared = Connection(
        region=settings.region,
        connect_timeout_seconds=CONNECT_TIMEOUT_S,
        read_timeout_seconds=READ_TIMEOUT_S,
        max_retry_attempts=RETRIES,
        max_pool_connections=CONNECTIONS,
    )
    shared._local.session = session  # noqa: SLF001
    for noun, model in _models.items():
        name = settings.table_prefix + noun
        model.Meta.table_name = name
        model._connection = None  # noqa: SLF001
        own = model._get_connection()  # noqa: SLF001
        shared.add_meta_table(own.connection.get_meta_table(name))
        own.connection = shared
    # Made now, in this thread: the session is thread-local to pynamodb.
    _ = shared.client
    _state["connection"] = shared
    _state["settings"] = settings


def shards() -> int:
    """Return the number of partitions of the time indexes."""
    return int(_state["settings"].shards)


def retention_s() -> int:
    """Return how long a terminal row is kept, in seconds.

    Never under 15 days: the queue keeps messages for four, its dead-letter
    queue for fourteen, and a late one must still meet the row.
    """
    return int(max(_state["settings"].retention_days, 15)) * 86400


def transaction() -> TransactWrite:
    """Return a transaction over the shared connection."""
    return TransactWrite(connection=_state["connection"])


def client() -> Any:
    """Return the one DynamoDB client."""
    return _state["connection"].client


def read(model: type[R], key: str, second: Any = None) -> R | None:
    """Return the row with this key as of now, None if there is none.

    Nor can there be one of a key that DynamoDB refuses to look for: names come from
    paths and bodies as people write them.
    """
    if not all(map(_is_possible, (key, second), MAX_KEY_BYTES)):
        return None
    try:
        return model.get(key, second, consistent_read=True)
    except model.DoesNotExist:
        return None


def _is_possible(part: object, most: int) -> bool:
    return not isinstance(part, str) or 1 <= len(part.encode()) <= most


def put(row: Model, condition: Condition) -> bool:
    """Put the item if the condition holds; False if it does not.

    A write whose answer was lost is repeated by the client and then fails on
    itself: callers must be content with that, here and in `update`.
    """
    return _written(lambda: row.save(condition=condition))


def update(row: Model, actions: list[Action], condition: Condition) -> bool:
    """Update the item if the condition holds; False if it does not.

    The row is then the whole item as it is now: nobody need read it again.
    """
    return _written(lambda: row.update(actions=actions, condition=condition))


def delete(row: Model, condition: Condition) -> bool:
    """Delete the item if the condition holds; False if it does not."""
    return _written(lambda: row.delete(condition=condition))


def _written(write: Callable[[], object]) -> bool:
    for pause_s in (*CONFLICT_PAUSES_S, None):
        try:
            write()
        except PynamoDBException as exc:
            code = exc.cause_response_code
            if code == "ConditionalCheckFailedException":
                return False
            # A user's transaction is on the item just now; the client does not
            # repeat this by itself.
            if code != "TransactionConflictException" or pause_s is None:
                raise
            time.sleep(pause_s)
        else:
            break
    return True
