"""The deployed template, and an SSH server for it to run commands on."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from local.sshd import Sshd
from local.stack import DEPLOY_BUCKET, Stack
from tests.canary import leaks, plain

DENIED = re.compile("AccessDenied|not authorized to perform")
LOGIN = 2  # secrets that there are without a credential
MIN_SECRET = 8  # characters: shorter ones are words of commands as well


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, new and empty: nothing of `make run` is touched.

    In the end no value of a secret that any test has used is anywhere in it, and no
    function was denied what it asked of AWS.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stack = Stack(tmp_path_factory.mktemp("stack"), port)
    try:
        stack.up()
        yield stack
        assert _found(stack) == []
        assert _denied(stack) == []
    finally:
        stack.stop()


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the API, logged in as operator and admin."""
    with stack.http() as client:
        yield client


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An SSH server on loopback: sshd if there is one, else asyncssh."""
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _found(stack: Stack) -> list[tuple[str, str, str]]:
    """Return where secrets are; ensure that there was something to look through."""
    canaries = _secrets(stack)
    found, seen = [], ""
    for name, content in _places(stack):
        found += leaks(canaries, {name: content})
        seen += name if content else ""
    assert "log /aws/lambda/cronhop-dispatcher" in seen
    assert "table cronhop-credentials" in seen or len(canaries) == LOGIN
    return found


def _denied(stack: Stack) -> list[str]:
    """Return what the functions have logged of calls that their roles do not allow."""
    return [
        f"{name}: {line[:500]}"
        for name, content in _places(stack)
        if name.startswith("log ")
        for line in content.splitlines()
        if DENIED.search(line)
    ]


def _secrets(stack: Stack) -> dict[str, str]:
    """Return what is secret by now: values of credentials, the login and a token."""
    manager = stack.client("secretsmanager")
    found = {"login": stack.notes()["password"], "token": stack.token()}
    for page in manager.get_paginator("list_secrets").paginate():
        for secret in page["SecretList"]:
            text = manager.get_secret_value(SecretId=secret["ARN"])["SecretString"]
            for kind, value in json.loads(text).items():
                if len(value) >= MIN_SECRET:
                    found[f"{kind} of {secret['Name']}"] = value
    return found


def _places(stack: Stack) -> Iterator[tuple[str, Any]]:
    """Yield all that the stack holds but its secrets: a name, the text."""
    dynamodb, s3 = stack.client("dynamodb"), stack.client("s3")
    for table in dynamodb.list_tables()["TableNames"]:
        for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            yield f"table {table}", "\n".join(map(plain, page["Items"]))
    sqs = stack.client("sqs")
    for queue in sqs.list_queues().get("QueueUrls", []):
        got = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        yield f"queue {queue}", json.dumps(got.get("Messages", []), default=str)
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        if name == DEPLOY_BUCKET:
            continue
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for one in page.get("Contents", []):
                body = s3.get_object(Bucket=name, Key=one["Key"])["Body"].read()
                yield f"object {name}/{one['Key']}", body
    logs = stack.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=name)
        for page in pages:
            lines = [event["message"] for event in page["events"]]
            yield f"log {name}", "\n".join(lines)
