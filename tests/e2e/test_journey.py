"""A user's way over the API alone: credential, server, task, run, output."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.sshd import Sshd
from local.stack import Stack

TERMINAL = {
    "completed",
    "failed",
    "timeout",
    "cancelled",
    "skipped",
    "missed",
    "lost",
}
Create = Callable[..., dict[str, Any]]


def until(condition: Callable[[], Any], *, within_s: float) -> Any:
    """Return the condition's value as soon as it is true."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.2)
    return value


def ended(api: httpx.Client, run_id: str, *, within_s: float = 60) -> dict[str, Any]:
    """Return the run once it has ended."""

    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = api.get(f"/v1/runs/{run_id}").json()
        return run if run["state"] in TERMINAL else None

    run: dict[str, Any] = until(look, within_s=within_s)
    return run


@pytest.fixture
def server(api: httpx.Client, sshd: Sshd) -> dict[str, Any]:
    """The SSH server, on record with a credential of its own."""
    return register(api, sshd)


def register(api: httpx.Client, sshd: Sshd) -> dict[str, Any]:
    """Put the SSH server on record, with a credential of its own."""
    name = f"key-{uuid.uuid4()}"
    made = api.post(
        "/v1/credentials", json={"name": name, "private_key": sshd.private_key}
    )
    assert made.status_code == 201, made.text
    made = api.post(
        "/v1/servers",
        json={
            "name": f"server {uuid.uuid4()}",
            "host": sshd.host,
            "port": sshd.port,
            "username": sshd.username,
            "credential": name,
            "host_keys": sshd.host_keys,
        },
    )
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


@pytest.fixture
def create(api: httpx.Client, server: dict[str, Any]) -> Iterator[Create]:
    """Makes tasks on the server, and removes them afterwards."""
    made: list[str] = []

    def create(command: str | None, **changes: Any) -> dict[str, Any]:
        body = {
            "name": f"task {uuid.uuid4()}",
            "spec": {"command": command},
            "targets": {"server_ids": [server["server_id"]]},
            **changes,
        }
        answer = api.post("/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        task: dict[str, Any] = answer.json()
        made.append(task["task_id"])
        return task

    yield create
    for task_id in made:
        assert api.delete(f"/v1/tasks/{task_id}").status_code == 204


@pytest.fixture(scope="module", autouse=True)
def minutely(
    stack: Stack, sshd: Sshd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """A task that is due each minute: the first one passes during the other tests."""
    marks = tmp_path_factory.mktemp("minutely") / "marks"
    command = f'echo "$CRONHOP_EXECUTION" >> {marks}; echo scheduled'
    with stack.http() as api:
        body = {
            "name": f"task {uuid.uuid4()}",
            "spec": {"command": command},
            "targets": {"server_ids": [register(api, sshd)["server_id"]]},
            "schedule": {"cron": "* * * * *"},
        }
        answer = api.post("/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        task: dict[str, Any] = answer.json()
        left = datetime.fromisoformat(task["next_run"]) - datetime.now(UTC)
        assert left <= timedelta(minutes=1)
        yield {**task, "marks": marks}
        assert api.delete(f"/v1/tasks/{task['task_id']}").status_code == 204


def run_now(api: httpx.Client, task: dict[str, Any]) -> dict[str, Any]:
    """Run the task by hand; return the run as it ended."""
    answer = api.post(f"/v1/tasks/{task['task_id']}/run", json={})
    assert answer.status_code == 202, answer.text
    return ended(api, answer.json()["run_id"])


def output(api: httpx.Client, run: dict[str, Any], **query: Any) -> dict[str, Any]:
    """Return a page of the output of the run's one execution."""
    (execution,) = run["executions"]
    path = f"/v1/runs/{run['run_id']}/executions/{execution['server_id']}/output"
    answer = api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def test_run_by_hand(api: httpx.Client, create: Create) -> None:
    """A command runs once, its exit code and both streams are there."""
    task = create("echo out; echo err >&2; exit 4")

    run = run_now(api, task)

    assert (run["state"], run["reason"]) == ("failed", "exit code 4")
    assert run["counts"] == {"failed": 1}
    (execution,) = run["executions"]
    assert execution["exit_code"] == 4
    assert execution["output_bytes"] == {"stdout": 4, "stderr": 4}
    assert output(api, run)["data"] == "out\n"
    assert output(api, run, stream="stderr")["data"] == "err\n"
    shown = api.get(f"/v1/tasks/{task['task_id']}").json()
    assert shown["last_run"]["run_id"] == run["run_id"]


def test_long_output_is_paged(api: httpx.Client, create: Create) -> None:
    """Output beyond the inline size is in the bucket, byte for byte."""
    run = run_now(api, create("seq 1 200000"))

    expected = "".join(f"{number}\n" for number in range(1, 200001))
    read, offset = "", 0
    while True:
        page = output(api, run, offset=offset, limit=400_000)
        read += page["data"]
        offset = page["next_offset"]
        if page["complete"]:
            break
    assert read == expected


def test_secret_never_shows(api: httpx.Client, create: Create, stack: Stack) -> None:
    """A secret reaches its command, and no answer, table, log or output."""
    canary = f"canary-{uuid.uuid4()}"
    name = f"secret-{uuid.uuid4()}"
    made = api.post("/v1/credentials", json={"name": name, "password": canary})
    assert made.status_code == 201

    task = create(
        'echo "$TOKEN"; echo "$TOKEN" | wc -c',
        spec={
            "command": 'echo "$TOKEN"; echo "$TOKEN" | wc -c',
            "secrets": {"TOKEN": name},
        },
    )
    run = run_now(api, task)

    text = output(api, run)["data"]
    assert text == f"{'*' * len(canary)}\n{len(canary) + 1}\n"
    answers = [
        made.text,
        api.get(f"/v1/credentials/{name}").text,
        api.get(f"/v1/tasks/{task['task_id']}").text,
        api.get(f"/v1/runs/{run['run_id']}").text,
    ]
    assert not [answer for answer in answers if canary in answer]
    assert canary not in everything(stack)


def everything(stack: Stack) -> str:
    """Return all rows and all log lines of the stack, as one text."""
    dynamodb = stack.client("dynamodb")
    found: list[Any] = []
    for table in dynamodb.list_tables()["TableNames"]:
        for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            found += page["Items"]
    assert found
    logs = stack.client("logs")
    lines = []
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"]
        )
        lines += [event["message"] for page in pages for event in page["events"]]
    assert lines
    return json.dumps([found, lines], default=str)


def test_wrong_host_key_is_refused(
    api: httpx.Client, server: dict[str, Any], create: Create
) -> None:
    """A server with another key than the pinned one gets nothing from us."""
    other = (
        "ssh-ed25519 "
        "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    )
    path = f"/v1/servers/{server['server_id']}"
    assert api.patch(path, json={"host_keys": [other]}).status_code == 200

    run = run_now(api, create("true"))

    assert run["state"] == "failed"
    assert run["reason"].startswith("host_key: ")
    assert run["reason"].count("SHA256:") == 2


def check(api: httpx.Client, path: str) -> dict[str, Any]:
    """Have the server checked; return it as it is shown then."""
    asked = api.post(f"{path}/check")
    assert asked.status_code == 202, asked.text

    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = api.get(path).json()
        return None if shown["pending_check"] else shown

    shown: dict[str, Any] = until(look, within_s=60)
    assert shown["last_check"]["check_id"] == asked.json()["check_id"]
    return shown


def test_key_is_approved_and_jump_host_kept(
    api: httpx.Client, server: dict[str, Any], create: Create
) -> None:
    """A check shows the key; approved, commands run, as they do behind the server."""
    path = f"/v1/servers/{server['server_id']}"
    assert api.patch(path, json={"host_keys": None}).json()["host_keys"] == []
    run = run_now(api, create("true"))
    assert run["reason"].startswith("host_key: no host key is pinned")
    (seen,) = check(api, path)["last_check"]["host_keys_seen"]

    approved = api.post(f"{path}/host-keys", json={"fingerprint": seen["fingerprint"]})

    assert approved.status_code == 200, approved.text
    assert check(api, path)["last_check"]["ok"]
    assert run_now(api, create("true"))["state"] == "completed"
    names = ("host", "port", "username", "credential")
    body = {name: server[name] for name in names} | {
        "name": f"behind {uuid.uuid4()}",
        "host_keys": approved.json()["host_keys"],
        "via_server": server["server_id"],
    }
    behind = api.post("/v1/servers", json=body)
    assert behind.status_code == 201, behind.text
    beyond = f"/v1/servers/{behind.json()['server_id']}"
    steps = check(api, beyond)["last_check"]["steps"]
    assert (steps[0]["step"], steps[0]["ok"]) == ("jump", True)
    assert api.delete(path).status_code == 409
    assert api.delete(beyond).status_code == 204


def test_running_command_is_read_and_cancelled(
    api: httpx.Client, create: Create, tmp_path: Path
) -> None:
    """Its output is there before it ends; cancelled, it ends within seconds."""
    task = create(
        "trap '' TERM; echo begun; sleep 300 & wait; sleep 300", kill_grace_s=1
    )
    run_id = api.post(f"/v1/tasks/{task['task_id']}/run", json={}).json()["run_id"]
    server_id = task["targets"]["server_ids"][0]
    path = f"/v1/runs/{run_id}/executions/{server_id}"

    def has_begun() -> bool:
        if api.get(path).status_code != 200:
            return False
        assert api.post(f"{path}/poll").status_code == 202
        return bool(api.get(f"{path}/output").json()["data"] == "begun\n")

    until(has_begun, within_s=60)
    assert not api.get(f"{path}/output").json()["complete"]
    asked = api.post(f"/v1/runs/{run_id}/cancel")
    assert (asked.status_code, asked.json()["state"]) == (202, "running")
    assert asked.json()["cancel"]["by"]

    run = ended(api, run_id, within_s=40)
    assert run["state"] == "cancelled"
    assert run["reason"].startswith("cancelled by ")
    assert output(api, run)["data"] == "begun\n"
    assert api.post(f"/v1/runs/{run_id}/cancel").status_code == 409


def test_failed_command_is_tried_again_and_told_of(
    api: httpx.Client, create: Create, stack: Stack, tmp_path: Path
) -> None:
    """Each attempt is on record; one alarm comes after the last one."""
    marks = tmp_path / "marks"
    alarms = subscribe(stack)
    task = create(
        f"echo x >> {marks}; echo attempt $(wc -l < {marks}); exit 9",
        retry={"max_attempts": 2, "interval_s": 1},
    )

    run = run_now(api, task)

    assert (run["state"], run["reason"]) == ("failed", "exit code 9")
    server_id = task["targets"]["server_ids"][0]
    path = f"/v1/runs/{run['run_id']}/executions/{server_id}"
    first, second = api.get(path).json()["attempts"]
    assert (first["attempt"], first["exit_code"]) == (1, 9)
    assert (second["attempt"], second["state"]) == (2, "failed")
    assert output(api, run)["data"] == "attempt 2\n"
    assert output(api, run, attempt=1)["data"] == "attempt 1\n"
    assert marks.read_text() == "x\n" * 2
    (alarm,) = until(
        lambda: [one for one in alarms() if run["run_id"] in one["Message"]],
        within_s=30,
    )
    assert alarm["Subject"] == f"cronhop: failed: {task['name']}"


def subscribe(stack: Stack) -> Callable[[], list[dict[str, Any]]]:
    """Have alarms come to a queue; return what looks for more of them."""
    sqs = stack.client("sqs")
    found: list[dict[str, Any]] = []
    url = sqs.create_queue(QueueName=f"alarms-{uuid.uuid4()}")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    queue, topic = (
        attributes["Attributes"]["QueueArn"],
        stack.outputs()["AlarmTopicArn"],
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    stack.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)

    def look() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=url).get("Messages", [])
        found.extend(json.loads(message["Body"]) for message in messages)
        return found

    return look


def test_limit_of_a_server_lets_others_wait(
    api: httpx.Client, server: dict[str, Any], create: Create, tmp_path: Path
) -> None:
    """Of two commands on a server that takes one, the second begins after the first."""
    path = f"/v1/servers/{server['server_id']}"
    assert api.patch(path, json={"max_concurrency": 1}).status_code == 200
    gate = tmp_path / "gate"
    tasks = [create(f"until [ -e {gate} ]; do sleep 0.1; done"), create("true")]
    first, second = (
        api.post(f"/v1/tasks/{task['task_id']}/run", json={}).json()["run_id"]
        for task in tasks
    )

    def busy() -> list[str]:
        shown = [api.get(f"/v1/runs/{run_id}").json() for run_id in (first, second)]
        return [run["run_id"] for run in shown if run["reason"] == "server busy"]

    until(busy, within_s=60)
    gate.touch()
    for run_id in (first, second):
        assert ended(api, run_id, within_s=120)["state"] == "completed"


def test_file_arrives(api: httpx.Client, create: Create, tmp_path: Path) -> None:
    """A file of the task's own text is on the server, with its mode."""
    path = tmp_path / "app.conf"
    spec = {
        "direction": "upload",
        "path": str(path),
        "content": "x = 1\n",
        "mode": "0600",
    }

    run = run_now(api, create(None, kind="file_transfer", spec=spec))

    assert run["state"] == "completed", run
    assert path.read_text() == "x = 1\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(path) in output(api, run)["data"]


def test_token_of_another_pool_is_refused(stack: Stack, api: httpx.Client) -> None:
    """Who is logged in somewhere else is nobody here; an id token opens nothing."""
    notes = stack.notes()
    cognito = stack.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="other")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool,
        ClientName="other",
        ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
    )["UserPoolClient"]["ClientId"]
    password = f"Aa1-{uuid.uuid4()}"
    cognito.admin_create_user(UserPoolId=pool, Username="eve")
    cognito.admin_set_user_password(
        UserPoolId=pool, Username="eve", Password=password, Permanent=True
    )
    foreign = cognito.initiate_auth(
        ClientId=client,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "eve", "PASSWORD": password},
    )["AuthenticationResult"]["AccessToken"]
    own_id = cognito.initiate_auth(
        ClientId=notes["client_id"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": notes["username"], "PASSWORD": notes["password"]},
    )["AuthenticationResult"]["IdToken"]

    for token in (foreign, own_id):
        answer = httpx.get(
            f"{notes['api_url']}/v1/tasks",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert answer.status_code == 401
    cognito.delete_user_pool(UserPoolId=pool)


def test_dry_run_lists_and_starts_nothing(
    api: httpx.Client, create: Create, stack: Stack
) -> None:
    """The dispatcher says what is due at a time, and does nothing about it."""
    task = create("true", schedule={"cron": "0 4 1 1 *"})
    at = datetime.fromisoformat(task["next_run"])

    answer = stack.invoke("dispatcher", {"dry_run": True, "now": at.isoformat()})

    assert task["task_id"] in [one["task_id"] for one in answer["due"]]
    runs = api.get("/v1/runs", params={"task_id": task["task_id"]}).json()["items"]
    assert runs == []
    assert (
        api.get(f"/v1/tasks/{task['task_id']}").json()["next_run"] == task["next_run"]
    )


def test_scheduled_minute(api: httpx.Client, minutely: dict[str, Any]) -> None:
    """A minute passes, and its run is there: one for the slot, started once."""
    slot, query = minutely["next_run"], {"task_id": minutely["task_id"], "limit": 100}

    def look() -> dict[str, Any] | None:
        runs = api.get("/v1/runs", params=query).json()["items"]
        done = [run for run in runs if run["slot"] == slot and run["state"] in TERMINAL]
        return done[0] if done else None

    found = until(look, within_s=90)

    assert found["trigger"] == "schedule"
    assert found["state"] == "completed"
    started = datetime.fromisoformat(found["started_at"])
    assert started >= datetime.fromisoformat(slot)
    run = api.get(f"/v1/runs/{found['run_id']}").json()
    assert output(api, run)["data"] == "scheduled\n"
    lines = minutely["marks"].read_text().splitlines()
    assert len([line for line in lines if run["run_id"] in line]) == 1
