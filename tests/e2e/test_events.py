"""What the deployed stack tells on its bus."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.stack import NAME, Stack


@pytest.fixture
def failures(stack: Stack) -> Iterator[str]:
    """A queue to which a user's rule sends the runs that end badly."""
    events, sqs = stack.client("events"), stack.client("sqs")
    url: str = sqs.create_queue(QueueName="failures")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    pattern = {
        "source": ["cronhop"],
        "detail-type": ["Run State Change"],
        "detail": {"state": ["failed", "timeout", "lost", "missed"]},
    }
    events.put_rule(
        Name="failures", EventBusName=NAME, EventPattern=json.dumps(pattern)
    )
    events.put_targets(
        Rule="failures",
        EventBusName=NAME,
        Targets=[{"Id": "queue", "Arn": arn["Attributes"]["QueueArn"]}],
    )
    yield url
    events.remove_targets(Rule="failures", EventBusName=NAME, Ids=["queue"])
    events.delete_rule(Name="failures", EventBusName=NAME)
    sqs.delete_queue(QueueUrl=url)


def test_a_rule_on_the_bus_hears_of_a_failure(
    stack: Stack, api: httpx.Client, failures: str
) -> None:
    """Under the function's own role, with what a receiver wants to know."""
    body = {
        "name": f"task {uuid.uuid4()}",
        "spec": {"command": "true"},
        "targets": {"selector": {"environment": f"none {uuid.uuid4()}"}},
    }
    task_id = api.post("/v1/tasks", json=body).json()["task_id"]
    run_id = api.post(f"/v1/tasks/{task_id}/run").json()["run_id"]

    detail = heard(stack, failures, run_id)["detail"]

    assert detail["event_id"] == f"{run_id}#failed"
    assert detail["task_name"] == body["name"]
    assert detail["previous_state"] == "pending"
    assert detail["reason"] == "no enabled server matches"


def heard(stack: Stack, queue: str, run_id: str) -> dict[str, Any]:
    """Return the event about this run once it is there."""
    sqs = stack.client("sqs")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2)
        for message in answer.get("Messages", []):
            event: dict[str, Any] = json.loads(message["Body"])
            if event["detail"]["run_id"] == run_id:
                return event
    raise AssertionError("no event came")
