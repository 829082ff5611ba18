"""What the roles may do, and the call that needs each of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests import template

# What no code of ours calls: Lambda does, with the role of the function.
LAMBDA = "Lambda itself"
_RUNTIME = {
    "logs:CreateLogStream": LAMBDA,
    "logs:PutLogEvents": LAMBDA,
    "xray:PutTelemetryRecords": LAMBDA,
    "xray:PutTraceSegments": LAMBDA,
}
_RECEIVING = {
    "sqs:ChangeMessageVisibility": LAMBDA,
    "sqs:DeleteMessage": LAMBDA,
    "sqs:GetQueueAttributes": LAMBDA,
    "sqs:ReceiveMessage": LAMBDA,
}
SEND = "cronhop.aws.queue.Queue.send"

# role: what it reaches: action: a call that needs it
CALLS: dict[str, dict[str, dict[str, str]]] = {
    "ApiRole": {
        "CredentialsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.credentials.listing",
            "dynamodb:DeleteItem": "cronhop.store.credentials.remove",
            "dynamodb:GetItem": "cronhop.store.credentials.get",
            "dynamodb:PutItem": "cronhop.store.credentials.add",
            "dynamodb:UpdateItem": "cronhop.store.credentials.change",
        },
        "CredentialsTable/index/listing": {
            "dynamodb:Query": "cronhop.store.credentials.listing"
        },
        "ServersTable": {
            "dynamodb:BatchGetItem": "cronhop.store.servers.get_many",
            "dynamodb:DeleteItem": "cronhop.store.servers.remove",
            "dynamodb:GetItem": "cronhop.store.servers.get",
            "dynamodb:PutItem": "cronhop.store.servers.add",
            "dynamodb:UpdateItem": "cronhop.store.servers.replace",
        },
        "ServersTable/index/listing": {
            "dynamodb:Query": "cronhop.store.servers.listing"
        },
        "TasksTable": {
            "dynamodb:BatchGetItem": "cronhop.store.tasks.get_many",
            "dynamodb:DeleteItem": "cronhop.store.tasks.remove",
            "dynamodb:GetItem": "cronhop.store.tasks.get",
            "dynamodb:PutItem": "cronhop.store.tasks.add",
            "dynamodb:UpdateItem": "cronhop.store.tasks.replace",
        },
        "TasksTable/index/by_creator": {
            "dynamodb:Query": "cronhop.store.tasks.of_creator"
        },
        "TasksTable/index/listing": {"dynamodb:Query": "cronhop.store.tasks.listing"},
        "TasksTable/index/next_run": {"dynamodb:Query": "cronhop.store.tasks.due"},
        "TaskVersionsTable": {
            "dynamodb:GetItem": "cronhop.store.tasks.get_version",
            "dynamodb:PutItem": "cronhop.store.tasks.add",
            "dynamodb:Query": "cronhop.store.tasks.remove",
            "dynamodb:UpdateItem": "cronhop.store.tasks.restore",
        },
        "TaskTargetsTable": {
            "dynamodb:DeleteItem": "cronhop.store.tasks.remove",
            "dynamodb:PutItem": "cronhop.store.tasks.add",
            "dynamodb:Query": "cronhop.store.tasks.naming",
        },
        "RunsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.runs.get_many",
            "dynamodb:GetItem": "cronhop.store.runs.get",
            "dynamodb:PartiQLInsert": "cronhop.store.runs.add_many",
            "dynamodb:PutItem": "cronhop.store.runs.add",
            "dynamodb:UpdateItem": "cronhop.store.runs.ask_cancel",
        },
        "RunsTable/index/by_creator": {
            "dynamodb:Query": "cronhop.store.runs.of_creator"
        },
        "RunsTable/index/by_task": {"dynamodb:Query": "cronhop.store.runs.of_task"},
        "RunsTable/index/recent": {"dynamodb:Query": "cronhop.store.runs.recent"},
        "ExecutionsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.executions.get_many",
            "dynamodb:GetItem": "cronhop.store.executions.get",
            "dynamodb:Query": "cronhop.store.executions.of_run",
            "dynamodb:UpdateItem": "cronhop.store.executions.ask_poll",
        },
        "ExecutionsTable/index/by_server": {
            "dynamodb:Query": "cronhop.store.executions.of_server"
        },
        "AuditTable": {
            "dynamodb:PutItem": "cronhop.store.audit.add",
            "dynamodb:Query": "cronhop.store.audit.of_entity",
        },
        "AuditTable/index/by_actor": {"dynamodb:Query": "cronhop.store.audit.of_actor"},
        "AuditTable/index/by_day": {"dynamodb:Query": "cronhop.store.audit.recent"},
        "RequestsTable": {
            "dynamodb:DeleteItem": "cronhop.store.requests.remove",
            "dynamodb:GetItem": "cronhop.store.requests.get",
            "dynamodb:PutItem": "cronhop.store.requests.add",
            "dynamodb:UpdateItem": "cronhop.store.requests.take",
        },
        "StatsTable": {"dynamodb:Query": "cronhop.store.stats.of_task"},
        "StatsTable/index/unsuccessful": {
            "dynamodb:Query": "cronhop.store.stats.unsuccessful"
        },
        "NotificationsTable": {
            "dynamodb:DeleteItem": "cronhop.store.notifications.remove",
            "dynamodb:GetItem": "cronhop.store.notifications.channel",
            "dynamodb:PutItem": "cronhop.store.notifications.add",
            "dynamodb:Query": "cronhop.store.notifications.rules",
            "dynamodb:UpdateItem": "cronhop.store.notifications.change",
        },
        "Queue": {"sqs:SendMessage*": SEND},
        "NoticeQueue": {"sqs:SendMessage*": SEND},
        "KeepSecrets": {
            "secretsmanager:CreateSecret": "cronhop.aws.secrets.Secrets.add",
            "secretsmanager:DeleteSecret": "cronhop.aws.secrets.Secrets.remove",
        },
        "OutputBucket": {"s3:GetObject": "cronhop.aws.output.OutputBucket.read"},
        "Runtime": _RUNTIME,
    },
    "DispatcherRole": {
        "TasksTable": {
            "dynamodb:BatchGetItem": "cronhop.store.tasks.get_many",
            "dynamodb:GetItem": "cronhop.store.tasks.get",
            "dynamodb:PartiQLUpdate": "cronhop.store.tasks.advance_many",
            "dynamodb:UpdateItem": "cronhop.store.tasks.advance",
        },
        "TasksTable/index/next_run": {"dynamodb:Query": "cronhop.store.tasks.due"},
        "RunsTable": {
            "dynamodb:GetItem": "cronhop.store.runs.get",
            "dynamodb:PartiQLInsert": "cronhop.store.runs.add_many",
            "dynamodb:PutItem": "cronhop.store.runs.add",
            "dynamodb:UpdateItem": "cronhop.store.runs.move_check",
        },
        "RunsTable/index/open": {"dynamodb:Query": "cronhop.store.runs.to_check"},
        "ExecutionsTable": {
            "dynamodb:GetItem": "cronhop.store.executions.get",
            "dynamodb:UpdateItem": "cronhop.store.executions.move_poll",
        },
        "ExecutionsTable/index/next_poll": {
            "dynamodb:Query": "cronhop.store.executions.to_poll"
        },
        "Queue": {"sqs:SendMessage*": SEND},
        "DeadLetterQueue": _RECEIVING,
        "Spread": {"lambda:InvokeFunction": "cronhop.aws.function.Function.call"},
        "Runtime": _RUNTIME,
    },
    "EventsRole": {
        "TasksTable": {"dynamodb:BatchGetItem": "cronhop.store.tasks.get_many"},
        "RunsTable": {"dynamodb:BatchGetItem": "cronhop.store.runs.of_ids"},
        "RunsTable/index/by_task": {"dynamodb:Query": "cronhop.store.runs.of_task"},
        "NotificationsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.notifications.readable_rules",
            "dynamodb:Query": "cronhop.store.notifications.readable_rules",
        },
        "ExecutionsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.executions.of_keys"
        },
        "StatsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.stats.judge",
            "dynamodb:PutItem": "cronhop.store.stats.count",
            "dynamodb:Query": "cronhop.store.stats.of_task",
            "dynamodb:UpdateItem": "cronhop.store.stats.count",
        },
        "Bus": {"events:PutEvents": "cronhop.aws.bus.Bus.put"},
        "NoticeQueue": {"sqs:SendMessage*": SEND},
        "EventsDeadLetterQueue": {"sqs:SendMessage": LAMBDA},
        "ListStreams": {"dynamodb:ListStreams": LAMBDA},
        "Streams": {
            "dynamodb:DescribeStream": LAMBDA,
            "dynamodb:GetRecords": LAMBDA,
            "dynamodb:GetShardIterator": LAMBDA,
        },
        "Runtime": _RUNTIME,
    },
    "NotifierRole": {
        "TasksTable": {"dynamodb:GetItem": "cronhop.store.tasks.get"},
        "TaskVersionsTable": {"dynamodb:GetItem": "cronhop.store.tasks.get_version"},
        "RunsTable": {"dynamodb:GetItem": "cronhop.store.runs.get"},
        "ServersTable": {"dynamodb:GetItem": "cronhop.store.servers.get"},
        "CredentialsTable": {"dynamodb:GetItem": "cronhop.store.credentials.get"},
        "NotificationsTable": {
            "dynamodb:GetItem": "cronhop.store.notifications.channel",
            "dynamodb:UpdateItem": "cronhop.store.notifications.claim",
        },
        "NoticeQueue": _RECEIVING,
        "ReadSecrets": {
            "secretsmanager:GetSecretValue": "cronhop.aws.secrets.Secrets.get"
        },
        "Topics": {"sns:Publish": "cronhop.aws.topic.Topic.publish"},
        "Runtime": _RUNTIME,
    },
    "ExecutorRole": {
        "TasksTable": {
            "dynamodb:BatchGetItem": "cronhop.store.holds.task_and_freeze",
            "dynamodb:GetItem": "cronhop.store.tasks.get",
            "dynamodb:UpdateItem": "cronhop.store.tasks.hold",
        },
        "TaskVersionsTable": {"dynamodb:GetItem": "cronhop.store.tasks.get_version"},
        "RunsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.runs.get_many",
            "dynamodb:GetItem": "cronhop.store.runs.get",
            "dynamodb:UpdateItem": "cronhop.store.runs.begin",
        },
        "ServersTable": {
            "dynamodb:BatchGetItem": "cronhop.store.servers.candidates",
            "dynamodb:GetItem": "cronhop.store.servers.get",
            "dynamodb:UpdateItem": "cronhop.store.servers.record_check",
        },
        "ServersTable/index/by_environment": {
            "dynamodb:Query": "cronhop.store.servers.candidates"
        },
        "ServersTable/index/listing": {
            "dynamodb:Query": "cronhop.store.servers.candidates"
        },
        "CredentialsTable": {"dynamodb:GetItem": "cronhop.store.credentials.get"},
        "ExecutionsTable": {
            "dynamodb:BatchGetItem": "cronhop.store.executions.get_many",
            "dynamodb:GetItem": "cronhop.store.executions.get",
            "dynamodb:PutItem": "cronhop.store.attempts.keep_output",
            "dynamodb:UpdateItem": "cronhop.store.executions.claim",
        },
        "Queue": {"sqs:SendMessage*": SEND} | _RECEIVING,
        "ReadSecrets": {
            "secretsmanager:GetSecretValue": "cronhop.aws.secrets.Secrets.get"
        },
        "OutputBucket": {"s3:PutObject": "cronhop.aws.output.OutputBucket.keep"},
        "AlarmTopic": {"sns:Publish": "cronhop.aws.topic.Topic.publish"},
        "Transfers": {
            "s3:GetObject": "cronhop.aws.files.Files.reading",
            "s3:PutObject": "cronhop.aws.files.Files.put",
        },
        "Network": {
            "ec2:AssignPrivateIpAddresses": LAMBDA,
            "ec2:CreateNetworkInterface": LAMBDA,
            "ec2:DeleteNetworkInterface": LAMBDA,
            "ec2:DescribeNetworkInterfaces": LAMBDA,
            "ec2:DescribeSubnets": LAMBDA,
            "ec2:UnassignPrivateIpAddresses": LAMBDA,
        },
        "Runtime": _RUNTIME,
    },
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _reached(sid: str, resource: Any) -> str:
    """Return a short name of what a statement is about."""
    if sid in {"Log", "Trace"}:
        return "Runtime"
    match resource:
        case {"Fn::GetAtt": [name, "Arn"]} | {"Ref": name}:
            return str(name)
        case {"Fn::Sub": text} if text.startswith("${") and ".Arn}" in text:
            table, _, rest = text.removeprefix("${").partition(".Arn}")
            return table + rest.removesuffix("/*")
    return sid


def _granted(role: str) -> Iterator[tuple[str, str]]:
    """Yield (what is reached, action) of all that a role may do."""
    for policy in template.resources("AWS::IAM::Role")[role]["Policies"]:
        given = policy["Fn::If"][1] if "Fn::If" in policy else policy
        for statement in given["PolicyDocument"]["Statement"]:
            for resource in _list(statement["Resource"]):
                for action in _list(statement["Action"]):
                    yield _reached(statement["Sid"], resource), action


@pytest.mark.parametrize("role", sorted(template.resources("AWS::IAM::Role")))
def test_every_grant_has_a_call_that_needs_it(role: str) -> None:
    """Nothing is granted that nothing calls, and nothing is listed that is not."""
    listed = {
        (reached, action)
        for reached, actions in CALLS.get(role, {}).items()
        for action in actions
    }

    assert set(_granted(role)) == listed


def test_every_call_is_there() -> None:
    """What a grant is for is code that exists."""
    calls = {
        call
        for role in CALLS.values()
        for actions in role.values()
        for call in actions.values()
    }
    for call in sorted(calls - {LAMBDA}):
        package, room, noun, *names = call.split(".")
        found: Any = importlib.import_module(f"{package}.{room}.{noun}")
        for name in names:
            found = getattr(found, name)
        assert callable(found), call
