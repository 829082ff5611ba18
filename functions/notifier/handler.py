"""The entry point for notices: each is delivered over its channel."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from cronhop.aws.queue import Queue
from cronhop.aws.secrets import Secrets
from cronhop.aws.session import Session
from cronhop.aws.topic import Topic
from cronhop.domain.notification import Notice
from cronhop.services.deliver import Deliverer
from cronhop.settings import Settings
from cronhop.store import connection
from cronhop.web.hook import Hook

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Deliver the notices of a batch; answers with those that are to come again."""
    deliverer, queue = _parts()
    again = []
    for record in event["Records"]:
        after_s = deliverer.deliver(
            Notice.from_json(record["body"]),
            received=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        if after_s is not None:
            queue.put_off(record["receiptHandle"], after_s)
            again.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": again}


@cache
def _parts() -> tuple[Deliverer, Queue]:
    settings = Settings.from_env()
    session = Session(settings)
    connection.connect(settings, session.botocore)
    deliverer = Deliverer(
        Secrets(session.client("secretsmanager"), settings),
        partial(Topic, session.client("sns")),
        Hook(allowed=settings.allowed_networks, refused=settings.refused_networks),
        now=lambda: datetime.now(UTC),
    )
    return deliverer, Queue(session.client("sqs"), settings.notice_queue_url)
