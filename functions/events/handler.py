"""The entry point for changes of the ledger: batches of the tables' streams."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cronhop.aws.bus import Bus
from cronhop.aws.queue import Queue
from cronhop.aws.session import Session
from cronhop.services.changes import Changes
from cronhop.services.notify import Notifier
from cronhop.settings import Settings
from cronhop.store import connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Follow a batch of changes; answers with the first that failed.

    The stream comes again with that one and all after it.
    """
    failed = _changes().follow(event["Records"])
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed[:1]]}


@cache
def _changes() -> Changes:
    settings = Settings.from_env()
    session = Session(settings)
    connection.connect(settings, session.botocore)
    return Changes(
        Bus(session.client("events"), settings.bus_name),
        Notifier(Queue(session.client("sqs"), settings.notice_queue_url)),
    )
