"""The dispatcher's entry point: the tick, dead letters, direct invocation."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from cronhop.aws.function import Function
from cronhop.aws.queue import Queue
from cronhop.aws.session import Session
from cronhop.errors import Invalid
from cronhop.observe import log, measure
from cronhop.services.dead_letters import revive
from cronhop.services.dispatch import Dispatcher
from cronhop.settings import Settings
from cronhop.store import connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

STOP_BEFORE_MS = 5000  # the function's end: what is begun is brought to its end


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do a tick, take dead letters, or say what a tick would do.

    - from EventBridge, or `{}`: a tick; answers with what was done
    - `{"shards": [<number> …]}`: a tick about these partitions of the tasks only
    - from the dead-letter queue: brings what was lost back to the tick
    - `{"dry_run": true, "now"?: "<RFC 3339>"}`: answers with what is due, and
      starts nothing
    """
    if "Records" in event:
        return _dead_letters(event["Records"])
    now = datetime.now(UTC)
    if event.get("dry_run"):
        return _dry_run(event, now)
    if "now" in event:
        raise Invalid("now", "it is only for a dry run")
    report = asdict(
        _dispatcher().tick(
            now,
            stop_at=time.monotonic() + _left_s(context),
            shards=_shards(event),
        )
    )
    counts = {name: len(ids) for name, ids in report.items() if name != "complete"}
    log.info("Ticked", action="ticked", complete=report["complete"], counts=counts)
    measure(
        {
            "Ticks": 0 if "shards" in event else 1,
            "LateSlots": counts["late"],
            "InvalidTasks": counts["parked"],
            "IncompleteTicks": 0 if report["complete"] else 1,
        }
    )
    return report


@cache
def _dispatcher() -> Dispatcher:
    settings = Settings.from_env()
    session = Session(settings)
    connection.connect(settings, session.botocore)
    queue = Queue(session.client("sqs"), settings.queue_url)
    itself = Function(
        partial(session.client, "lambda"), os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    )
    return Dispatcher(
        queue,
        shards=settings.shards,
        spread=lambda shards: itself.call({"shards": list(shards)}),
    )


def _shards(event: dict[str, Any]) -> list[int] | None:
    """Return which shards a tick is about, None: all. Raises Invalid."""
    shards = event.get("shards")
    if shards is None:
        return None
    count = connection.shards()
    if not isinstance(shards, list) or not all(
        type(shard) is int and 0 <= shard < count for shard in shards
    ):
        raise Invalid("shards", f"not a list of numbers from 0 to {count - 1}")
    return shards


def _dry_run(event: dict[str, Any], now: datetime) -> dict[str, Any]:
    if "now" in event:
        try:
            now = datetime.fromisoformat(event["now"]).astimezone(UTC)
        except (TypeError, ValueError) as exc:
            raise Invalid("now", "not an RFC 3339 time") from exc
    due = _dispatcher().due(now)
    return {
        "dry_run": True,
        "now": now.isoformat(),
        "due": [
            {"task_id": task_id, "slot": slot.isoformat()} for task_id, slot in due
        ],
    }


def _dead_letters(records: list[dict[str, Any]]) -> dict[str, Any]:
    _dispatcher()
    failed = []
    now = datetime.now(UTC)
    for record in records:
        try:
            revive(record["body"], now)
        except Exception:  # noqa: BLE001  one dead letter never holds up the others
            log.exception(
                "A dead letter could not be revived", action="dead_letter_failed"
            )
            failed.append({"itemIdentifier": record["messageId"]})
    measure({"DeadLetters": len(records)})
    return {"batchItemFailures": failed}


def _left_s(context: LambdaContext) -> float:
    return max(context.get_remaining_time_in_millis() - STOP_BEFORE_MS, 0) / 1000
