"""What the deployed stack tells on its bus."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cronhop.services.deliver import signature
from local.stack import NAME, Stack
from tests.hook import receiver
from tests.sshd import wait_until


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


def test_a_webhook_hears_of_a_failure(api: httpx.Client) -> None:
    """Signed by a credential, under the roles of both functions."""
    name = f"hook-{uuid.uuid4().hex}"
    with receiver() as server:
        assert api.post("/v1/credentials", json={"name": name, "password": "key"})
        channel = {
            "name": name,
            "kind": "webhook",
            "url": f"http://127.0.0.1:{server.port}/",
            "credential": name,
        }
        assert api.post("/v1/channels", json=channel).status_code == 201
        assert api.post(f"/v1/channels/{name}/test").status_code == 202
        wait_until(lambda: server.got, timeout_s=60)
        wait_until(lambda: api.get(f"/v1/channels/{name}").json()["last_delivery"])
        body = {
            "name": f"task {uuid.uuid4()}",
            "spec": {"command": "true"},
            "targets": {"selector": {"environment": f"none {uuid.uuid4()}"}},
        }
        task_id = api.post("/v1/tasks", json=body).json()["task_id"]
        rule = {
            "name": name,
            "on": ["failure", "recovery"],
            "channels": [name],
            "task_id": task_id,
        }
        assert api.post("/v1/rules", json=rule).status_code == 201
        run_id = api.post(f"/v1/tasks/{task_id}/run").json()["run_id"]
        wait_until(lambda: server.got[1:], timeout_s=60)

    _, headers, told = server.got[1]
    stamp = headers["X-Cronhop-Signature"].partition("t=")[2].partition(",")[0]
    assert headers["X-Cronhop-Signature"] == signature("key", told, at=int(stamp))
    assert json.loads(told)["run"]["run_id"] == run_id
    assert api.get(f"/v1/channels/{name}").json()["last_delivery"]["ok"]


def test_changes_are_told_after_a_restart(stack: Stack) -> None:
    """The streams of the tables begin anew, and are followed from there."""
    stack.stop()
    stack.up()
    with stack.http() as api:
        body = {
            "name": f"task {uuid.uuid4()}",
            "spec": {"command": "true"},
            "targets": {"selector": {"environment": f"none {uuid.uuid4()}"}},
        }
        task_id = api.post("/v1/tasks", json=body).json()["task_id"]
        assert api.post(f"/v1/tasks/{task_id}/run").status_code == 202
        path = f"/v1/tasks/{task_id}/stats"
        wait_until(lambda: "failed" in api.get(path).text, timeout_s=60)


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
