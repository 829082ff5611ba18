"""The executor's entry point: a batch of messages side by side, or one run."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from cronhop.aws.files import Files
from cronhop.aws.output import OutputBucket
from cronhop.aws.queue import Queue
from cronhop.aws.secrets import Secrets
from cronhop.aws.session import Session
from cronhop.aws.topic import Topic
from cronhop.domain.message import Message, MessageKind, Probe, read
from cronhop.domain.run import Run
from cronhop.observe import log, measure
from cronhop.services.alarms import Alarms
from cronhop.services.check import Checker
from cronhop.services.execute import Executor
from cronhop.services.visit import Invocation
from cronhop.settings import Settings
from cronhop.ssh.connections import Connections
from cronhop.store import connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

CLOSE_BEFORE_S = 10.0  # the function's end: all connections are closed
END_BEFORE_S = 3.0  # and then the process, if a thread still lives


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle the messages of a batch, or start one run.

    - from the queue: answers with the messages that failed
    - `{"run_id": …, "server_id"?: …}`: answers with the run as it is afterwards
    """
    if "Records" in event:
        bodies = {record["messageId"]: record["body"] for record in event["Records"]}
        failed, _ = _handle(bodies, context)
        return {
            "batchItemFailures": [{"itemIdentifier": one} for one in sorted(failed)]
        }
    message = _direct(event)
    failed, runs = _handle({"direct": message.to_json()}, context)
    if failed:
        return {"run_id": message.run_id, "error": "it failed; see the log"}
    run = runs["direct"]
    if run is None:
        return {"run_id": message.run_id, "error": "there is no such run"}
    return {"run_id": run.run_id, "state": run.state.value, "reason": run.reason}


def _direct(event: dict[str, Any]) -> Message:
    server_id = event.get("server_id")
    return Message.from_json(
        Message(
            kind=MessageKind.POLL if server_id else MessageKind.START,
            run_id=event.get("run_id", ""),
            server_id=server_id,
            group="direct",
        ).to_json()
    )


def _handle(
    bodies: dict[str, str], context: LambdaContext
) -> tuple[set[str], dict[str, Run | None]]:
    """Handle messages side by side; return the failed ids, and runs by id.

    Returns only when every thread has ended. A thread that lives on when the
    function returns is frozen with it, and would thaw hours later with a lease
    long over: if one cannot be ended, the process is, and the messages come back.
    """
    executor, checker, settings = _executor()
    left_s = context.get_remaining_time_in_millis() / 1000
    failed: set[str] = set()
    runs: dict[str, Run | None] = {}
    pool = ThreadPoolExecutor(max_workers=len(bodies) or 1)
    with Connections(
        allowed=settings.allowed_networks, refused=settings.refused_networks
    ) as connections:
        invocation = Invocation(
            connections=connections,
            ends_at=datetime.now(UTC) + timedelta(seconds=left_s),
            stop_at=time.monotonic() + left_s - CLOSE_BEFORE_S,
        )
        futures: dict[Future[Run | None], str] = {
            pool.submit(_one, executor, checker, body, invocation): name
            for name, body in bodies.items()
        }
        done, alive = wait(futures, timeout=max(left_s - END_BEFORE_S, 0))
    if alive:
        log.error("Threads would not end", action="threads_stuck", count=len(alive))
        os._exit(1)
    pool.shutdown()
    for future in done:
        name = futures[future]
        if future.exception() is None:
            runs[name] = future.result()
        else:
            failed.add(name)
            log.error(
                "A message failed",
                action="message_failed",
                message_id=name,
                exc_info=future.exception(),
            )
    measure({"FailedMessages": len(failed)})
    return failed, runs


def _one(
    executor: Executor, checker: Checker, body: str, invocation: Invocation
) -> Run | None:
    message = read(body)
    if isinstance(message, Probe):
        checker.check(message, invocation.connections, deadline=invocation.stop_at)
        return None
    return executor.handle(message, invocation)


@cache
def _executor() -> tuple[Executor, Checker, Settings]:
    settings = Settings.from_env()
    session = Session(settings)
    connection.connect(settings, session.botocore)
    secrets = Secrets(session.client("secretsmanager"), settings)
    topic = Topic(session.client("sns"), settings.topic_arn)
    executor = Executor(
        Queue(session.client("sqs"), settings.queue_url),
        secrets,
        OutputBucket(session.client("s3"), settings.bucket),
        Files(session.client("s3"), settings.transfer_bucket),
        topic,
        now=lambda: datetime.now(UTC),
        sleep=time.sleep,
    )
    alarms = Alarms(topic, now=lambda: datetime.now(UTC))
    checker = Checker(secrets=secrets, alarms=alarms, now=lambda: datetime.now(UTC))
    return executor, checker, settings
