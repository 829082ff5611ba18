"""The template: what AWS will do with it, and ministack cannot show."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cronhop.domain.transfer import MAX_BYTES
from tests import template

# table: its key, and each index with its key and the attributes it carries besides
SCHEMA: dict[str, tuple[list[str], dict[str, tuple[list[str], list[str] | None]]]] = {
    "servers": (
        ["server_id S"],
        {
            "listing": (
                ["listed S", "server_id S"],
                ["name", "environment", "status", "tags"],
            ),
            "by_environment": (["environment S", "server_id S"], None),
        },
    ),
    "tasks": (
        ["task_id S"],
        {
            "next_run": (["due_shard N", "next_run N"], None),
            "listing": (
                ["listed S", "task_id S"],
                ["name", "kind", "enabled", "created_by"],
            ),
            "by_creator": (["created_by S", "task_id S"], None),
        },
    ),
    "task_versions": (["task_id S", "version N"], {}),
    "task_targets": (["server_id S", "task_id S"], {}),
    "runs": (
        ["run_id S"],
        {
            "by_task": (["task_id S", "run_id S"], None),
            "open": (["open_shard N", "check_at N"], None),
            "recent": (["day_shard S", "run_id S"], None),
            "by_creator": (["created_by S", "run_id S"], None),
        },
    ),
    "executions": (
        ["run_id S", "server_id S"],
        {
            "by_server": (["server_id S", "run_id S"], None),
            "next_poll": (["poll_shard N", "next_poll N"], None),
        },
    ),
    "credentials": (["name S"], {"listing": (["listed S", "name S"], None)}),
    "notifications": (["kind S", "name S"], {}),
    "requests": (["request S"], {}),
    "audit": (
        ["entity S", "at_ulid S"],
        {
            "by_actor": (["actor S", "at_ulid S"], None),
            "by_day": (["day S", "at_ulid S"], None),
        },
    ),
    "stats": (
        ["subject S", "part S"],
        {"unsuccessful": (["unsuccessful S", "subject S"], ["first_end"])},
    ),
}

# Statements that may name no resource, and why.
UNBOUND = {
    "Trace": "X-Ray has no resources",
    "ListStreams": "the call names no table, and tells names only",
    "Network": "Lambda makes network interfaces, whose names are not known before",
}

# What no role of ours may do, wherever.
FORBIDDEN = (
    "dynamodb:CreateTable",
    "dynamodb:DeleteTable",
    "dynamodb:Scan",
    "iam:PassRole",
    "s3:DeleteObject",
    "secretsmanager:ListSecrets",
    "sts:AssumeRole",
)


TEMPLATE = template.load()
RESOURCES = TEMPLATE["Resources"]
FUNCTIONS = template.resources("AWS::Serverless::Function")
QUEUES = template.resources("AWS::SQS::Queue")
QUEUE_POLICIES = template.resources("AWS::SQS::QueuePolicy")
ROLES = template.resources("AWS::IAM::Role")
ALARMS = template.resources("AWS::CloudWatch::Alarm")
TABLE_PROPERTIES = {
    properties["TableName"]["Fn::Sub"].removeprefix("${AWS::StackName}-"): properties
    for properties in template.resources("AWS::DynamoDB::Table").values()
}


def _statements(role: str) -> Iterator[dict[str, Any]]:
    """Yield a role's statements, those under a condition too."""
    for policy in ROLES[role]["Policies"]:
        given = policy["Fn::If"][1] if "Fn::If" in policy else policy
        yield from given["PolicyDocument"]["Statement"]


def _actions(role: str) -> set[str]:
    return {
        action
        for statement in _statements(role)
        for action in _list(statement, "Action")
    }


def _list(statement: dict[str, Any], name: str) -> list[Any]:
    value = statement[name]
    return value if isinstance(value, list) else [value]


def _source(function: str) -> dict[str, Any]:
    """Return the one event source of a function."""
    (event,) = FUNCTIONS[function]["Events"].values()
    properties: dict[str, Any] = event["Properties"]
    return properties


def test_there_is_a_table_for_each_store() -> None:
    """The template and the code name the same tables."""
    assert sorted(TABLE_PROPERTIES) == sorted(SCHEMA)


@pytest.mark.parametrize("noun", SCHEMA)
def test_a_table_has_its_key_and_indexes(noun: str) -> None:
    """A key cannot be changed, and an update makes one index: each is as designed."""
    table = TABLE_PROPERTIES[noun]
    types = {
        attribute["AttributeName"]: attribute["AttributeType"]
        for attribute in table["AttributeDefinitions"]
    }

    def key(schema: list[dict[str, str]]) -> list[str]:
        assert [part["KeyType"] for part in schema] == ["HASH", "RANGE"][: len(schema)]
        names = [part["AttributeName"] for part in schema]
        return [f"{name} {types[name]}" for name in names]

    indexes = {}
    for index in table.get("GlobalSecondaryIndexes", []):
        projection = index["Projection"]
        carried = projection.get("NonKeyAttributes")
        assert projection["ProjectionType"] == ("INCLUDE" if carried else "KEYS_ONLY")
        indexes[index["IndexName"]] = (key(index["KeySchema"]), carried)

    assert (key(table["KeySchema"]), indexes) == SCHEMA[noun]


@pytest.mark.parametrize("noun", SCHEMA)
def test_a_table_is_kept_safe(noun: str) -> None:
    """Encrypted, restorable, protected by parameter, billed by use, rid of old rows."""
    table = TABLE_PROPERTIES[noun]

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
    assert table["SSESpecification"]["SSEEnabled"]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}


@pytest.mark.parametrize(
    "kind",
    ["AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Cognito::UserPool"],
)
def test_what_users_put_in_outlives_the_stack(kind: str) -> None:
    """Neither an update nor the stack's end takes data along."""
    for resource in RESOURCES.values():
        if resource["Type"] == kind:
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
            assert resource["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_imports(function: str) -> None:
    """Each Handler names something that can be called."""
    module, _, name = FUNCTIONS[function]["Handler"].rpartition(".")

    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("function", "queue"),
    [("ExecutorFunction", "Queue"), ("DispatcherFunction", "DeadLetterQueue")],
)
def test_a_message_stays_hidden_while_it_is_worked_on(
    function: str, queue: str
) -> None:
    """AWS advises six times the function's timeout, and refuses less than one."""
    source = _source(function)

    assert source["Queue"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert QUEUES[queue]["VisibilityTimeout"] >= 6 * FUNCTIONS[function]["Timeout"]
    assert source["BatchSize"] == 10
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize("noun", ["Runs", "Executions"])
def test_no_change_of_the_ledger_is_left_out(noun: str) -> None:
    """A stream is followed from its beginning, and a day's failures are kept."""
    source = FUNCTIONS["EventsFunction"]["Events"][noun]["Properties"]
    queue = {"Fn::GetAtt": ["EventsDeadLetterQueue", "Arn"]}
    (only,) = source["FilterCriteria"]["Filters"]

    assert source["Stream"] == {"Fn::GetAtt": [f"{noun}Table", "StreamArn"]}
    assert source["StartingPosition"] == "TRIM_HORIZON"
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["MaximumRecordAgeInSeconds"] == 24 * 3600
    assert "MaximumRetryAttempts" not in source
    assert source["DestinationConfig"] == {"OnFailure": {"Destination": queue}}
    assert json.loads(only["Pattern"]) == {
        "eventName": ["INSERT", "MODIFY"],
        "dynamodb": {"NewImage": {"state": {"S": [{"exists": True}]}}},
    }


def test_the_streams_tell_what_was_before() -> None:
    """What a change is cannot be seen from the new row alone."""
    streams = {
        noun: properties["StreamSpecification"]["StreamViewType"]
        for noun, properties in TABLE_PROPERTIES.items()
        if "StreamSpecification" in properties
    }

    assert streams == {"runs": "NEW_AND_OLD_IMAGES", "executions": "NEW_AND_OLD_IMAGES"}


def test_the_executors_are_bounded() -> None:
    """As many as the parameter says, by the event source and not by reservation."""
    limit = TEMPLATE["Parameters"]["MaxConcurrency"]

    assert _source("ExecutorFunction")["ScalingConfig"] == {
        "MaximumConcurrency": {"Ref": "MaxConcurrency"}
    }
    assert (limit["Default"], limit["MinValue"]) == (50, 2)
    assert not any("ReservedConcurrentExecutions" in f for f in FUNCTIONS.values())


def test_the_executor_may_send_to_its_own_queue() -> None:
    """Lambda would stop it after 16 rounds; only it needs that."""
    loops = {name: f.get("RecursiveLoop") for name, f in FUNCTIONS.items()}

    assert loops.pop("ExecutorFunction") == "Allow"
    assert set(loops.values()) == {None}


def test_what_nobody_can_handle_ends_in_the_dead_letter_queue() -> None:
    """After five attempts, for fourteen days."""
    redrive = QUEUES["Queue"]["RedrivePolicy"]

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert redrive["maxReceiveCount"] == 5
    assert QUEUES["DeadLetterQueue"]["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_queues_and_bucket_are_encrypted_and_private() -> None:
    """At rest, and on the way unless an emulator cannot."""
    bucket = RESOURCES["OutputBucket"]["Properties"]
    policies = json.dumps([QUEUE_POLICIES, RESOURCES["OutputBucketPolicy"]])

    assert all(queue["SqsManagedSseEnabled"] for queue in QUEUES.values())
    assert bucket["BucketEncryption"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert policies.count('"aws:SecureTransport": "false"') == len(QUEUES) + 1
    assert TEMPLATE["Parameters"]["TlsOnly"]["Default"] == "true"


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_has_a_policy_of_its_own(queue: str) -> None:
    """SQS refuses a policy that names another queue, or more than one resource."""
    policy = QUEUE_POLICIES[f"{queue}Policy"]
    given = policy["PolicyDocument"]["Statement"]
    statements = [each["Fn::If"][1] if "Fn::If" in each else each for each in given]
    sids = {statement["Sid"] for statement in statements}

    assert len(QUEUE_POLICIES) == len(QUEUES)
    assert policy["Queues"] == [{"Ref": queue}]
    for statement in statements:
        assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert ("UndeliveredTicks" in sids) == (queue == "TickDeadLetterQueue")


def test_a_policy_has_a_statement_without_tls() -> None:
    """A policy that would hold nothing but TlsOnly is not made without it."""
    for name, resource in RESOURCES.items():
        if resource["Type"] in {"AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"}:
            statements = resource["Properties"]["PolicyDocument"]["Statement"]
            always = [each for each in statements if "Fn::If" not in each]
            only_tls = [each["Sid"] for each in always] == ["TlsOnly"]
            assert always, name
            assert resource.get("Condition") == ("HasTls" if only_tls else None), name


def test_a_first_deployment_can_be_rolled_back() -> None:
    """Protected tables would stop that: protection is turned on afterwards."""
    assert TEMPLATE["Parameters"]["DeletionProtection"]["Default"] == "false"


def test_output_is_kept_thirty_days_longer_than_its_run() -> None:
    """A row never points to nothing."""
    allowed = TEMPLATE["Parameters"]["RetentionDays"]["AllowedValues"]
    (rule,) = RESOURCES["OutputBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]

    days = {
        key: v["Days"] for key, v in TEMPLATE["Mappings"]["OutputRetention"].items()
    }

    assert days == {value: int(value) + 30 for value in allowed}
    assert rule["ExpirationInDays"] == {
        "Fn::FindInMap": ["OutputRetention", {"Ref": "RetentionDays"}, "Days"]
    }
    assert min(map(int, allowed)) >= 15  # a late duplicate must still meet its row


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_a_role_and_a_log_of_its_own(function: str) -> None:
    """Nothing is shared, and logs do not stay for ever."""
    noun = function.removesuffix("Function")
    properties = FUNCTIONS[function]
    group = RESOURCES[f"{noun}LogGroup"]["Properties"]

    assert properties["Role"] == {"Fn::GetAtt": [f"{noun}Role", "Arn"]}
    assert properties["LoggingConfig"]["LogGroup"] == {"Ref": f"{noun}LogGroup"}
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_log_group_has_a_retention() -> None:
    """The access log too."""
    for group in template.resources("AWS::Logs::LogGroup").values():
        assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_it_needs_only(role: str) -> None:
    """No action of a star, no resource of one without a reason, no passing on."""
    for statement in _statements(role):
        actions = _list(statement, "Action")
        assert statement["Effect"] == "Allow"
        assert not any(
            "*" in action for action in actions if action != "sqs:SendMessage*"
        )
        if "*" in _list(statement, "Resource"):
            assert statement["Sid"] in UNBOUND
    assert not _actions(role) & set(FORBIDDEN)
    assert "ManagedPolicyArns" not in ROLES[role]


def test_who_reads_secrets() -> None:
    """The executor logs in, the notifier signs; the API never reads one back."""
    readers = {
        role for role in ROLES if "secretsmanager:GetSecretValue" in _actions(role)
    }

    assert readers == {"ExecutorRole", "NotifierRole"}
    assert not any("secret" in action for action in _actions("DispatcherRole"))


def test_who_changes_servers() -> None:
    """Users through the API, and the executor what its checks have found."""
    given = {
        role: {
            action
            for statement in _statements(role)
            if {"Fn::GetAtt": ["ServersTable", "Arn"]} in _list(statement, "Resource")
            for action in _list(statement, "Action")
        }
        for role in ROLES
    }

    assert given["ExecutorRole"] == {
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:UpdateItem",
    }
    assert given["DispatcherRole"] == set()
    assert "dynamodb:PutItem" in given["ApiRole"]


def test_only_the_executor_reaches_the_transfer_bucket() -> None:
    """To get and put objects, and only in a stack that was given one."""
    users = {
        role: policy["Fn::If"][0]
        for role, properties in ROLES.items()
        for policy in properties["Policies"]
        if "TransferBucket" in json.dumps(policy)
    }
    (statement,) = (
        statement
        for statement in _statements("ExecutorRole")
        if "TransferBucket" in json.dumps(statement["Resource"])
    )

    assert users == {"ExecutorRole": "HasTransferBucket"}
    assert statement["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert TEMPLATE["Parameters"]["TransferBucket"]["Default"] == ""


def test_ten_transfers_fit_on_the_disk() -> None:
    """What comes from servers is put there before it is kept, a batch at a time."""
    disk = FUNCTIONS["ExecutorFunction"]["EphemeralStorage"]["Size"]

    assert disk * 2**20 > _source("ExecutorFunction")["BatchSize"] * MAX_BYTES


def test_nobody_changes_the_audit() -> None:
    """Whoever reaches that table puts and reads, and does nothing else."""
    for role in ROLES:
        for statement in _statements(role):
            if "AuditTable" in json.dumps(statement["Resource"]):
                assert set(_list(statement, "Action")) <= {
                    "dynamodb:PutItem",
                    "dynamodb:Query",
                }


def test_only_the_executor_carries_ssh() -> None:
    """The API and the dispatcher never reach paramiko."""
    layers = {
        name: [layer["Ref"] for layer in function["Layers"]]
        for name, function in FUNCTIONS.items()
    }

    assert layers == {
        "ApiFunction": ["CoreLayer", "DepsLayer"],
        "DispatcherFunction": ["CoreLayer", "DepsLayer"],
        "EventsFunction": ["CoreLayer", "DepsLayer"],
        "NotifierFunction": ["CoreLayer", "DepsLayer"],
        "ExecutorFunction": ["CoreLayer", "DepsLayer", "DepsSshLayer"],
    }


def test_layers_are_built_by_their_makefiles() -> None:
    """SAM's own builders want the runtime's interpreter on PATH."""
    for name, resource in RESOURCES.items():
        if resource["Type"].startswith("AWS::Serverless::"):
            assert resource["Metadata"] == {"BuildMethod": "makefile"}, name


def test_every_route_but_health_needs_a_token() -> None:
    """Deny by default."""
    routes = {
        route["RouteKey"]: route["AuthorizationType"]
        for route in template.resources("AWS::ApiGatewayV2::Route").values()
    }

    assert routes == {
        "GET /v1/health": "NONE",
        "OPTIONS /v1/{proxy+}": "NONE",  # with CORS only; it shows nothing
        "ANY /v1/{proxy+}": "JWT",
    }


def test_no_page_calls_the_api_but_of_stated_origins() -> None:
    """CORS is off; a star cannot be stated, and nothing is allowed by default."""
    (api,) = template.resources("AWS::ApiGatewayV2::Api").values()
    condition, cors, otherwise = api["CorsConfiguration"]["Fn::If"]
    origins = TEMPLATE["Parameters"]["CorsOrigins"]
    pattern = re.compile(origins["AllowedPattern"])

    assert origins["Default"] == ""
    assert TEMPLATE["Conditions"]["HasCors"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "CorsOrigins"}, ""]}]
    }
    assert (condition, otherwise) == ("HasCors", {"Ref": "AWS::NoValue"})
    assert RESOURCES["PreflightRoute"]["Condition"] == "HasCors"
    assert cors["AllowOrigins"] == {"Fn::Split": [",", {"Ref": "CorsOrigins"}]}
    assert "AllowCredentials" not in cors
    assert {"authorization", "idempotency-key", "if-match"} <= set(cors["AllowHeaders"])
    assert "etag" in cors["ExposeHeaders"]
    assert pattern.fullmatch("https://a.example,http://localhost:3000")
    for refused in ("*", "https://*", "https://a.example,*", "a.example"):
        assert not pattern.fullmatch(refused), refused


def test_the_api_takes_so_many_requests() -> None:
    """As many as the parameters say, which have bounds."""
    limits = RESOURCES["Stage"]["Properties"]["DefaultRouteSettings"]

    assert limits == {
        "ThrottlingBurstLimit": {"Ref": "ThrottleBurst"},
        "ThrottlingRateLimit": {"Ref": "ThrottleRate"},
    }
    for name in ("ThrottleBurst", "ThrottleRate"):
        limit = TEMPLATE["Parameters"][name]
        assert 1 <= limit["MinValue"] < limit["Default"] < limit["MaxValue"] <= 1000


def test_clients_are_told_whose_tokens_the_api_takes() -> None:
    """What health says is what the authorizer wants, and the client may log in."""
    (authorizer,) = template.resources("AWS::ApiGatewayV2::Authorizer").values()
    (client,) = template.resources("AWS::Cognito::UserPoolClient").values()
    function = template.resources("AWS::Serverless::Function")["ApiFunction"]
    told = function["Environment"]["Variables"]

    wanted = authorizer["JwtConfiguration"]
    assert told["CRONHOP_ISSUER"] == wanted["Issuer"]
    ((_, own_client, _),) = [one["Fn::If"] for one in wanted["Audience"]]
    assert told["CRONHOP_CLIENT_ID"]["Fn::If"] == ["HasOwnPool", own_client, ""]
    flows = {"ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}
    assert flows <= set(client["ExplicitAuthFlows"])
    assert client["GenerateSecret"] is False


def test_the_access_log_shows_no_token() -> None:
    """Neither headers nor queries are logged, and each line is JSON."""
    written = RESOURCES["Stage"]["Properties"]["AccessLogSettings"]["Format"]

    assert "header" not in written.lower()
    assert "query" not in written.lower()
    assert json.loads(written)


def test_users_are_made_by_an_admin() -> None:
    """Nobody signs himself up, and a password is no short one."""
    pool = RESOURCES["UserPool"]["Properties"]
    groups = template.resources("AWS::Cognito::UserPoolGroup").values()

    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 14
    assert {group["GroupName"] for group in groups} == {"viewer", "operator", "admin"}


def test_another_issuer_means_no_pool() -> None:
    """Users are somewhere else then, and the authorizer asks there."""
    own = {
        name
        for name, resource in RESOURCES.items()
        if resource["Type"].startswith("AWS::Cognito::")
    }
    outputs = {name for name in TEMPLATE["Outputs"] if name.startswith("UserPool")}
    config = RESOURCES["Authorizer"]["Properties"]["JwtConfiguration"]
    (audience,), issuer = config["Audience"], config["Issuer"]

    assert {RESOURCES[name].get("Condition") for name in own} == {"HasOwnPool"}
    assert {TEMPLATE["Outputs"][name]["Condition"] for name in outputs} == {
        "HasOwnPool"
    }
    assert audience["Fn::If"] == [
        "HasOwnPool",
        {"Ref": "UserPoolClient"},
        {"Ref": "OidcAudience"},
    ]
    assert issuer["Fn::If"][0] == "HasOwnPool"
    assert issuer["Fn::If"][2] == {"Ref": "OidcIssuer"}
    assert TEMPLATE["Parameters"]["OidcIssuer"]["Default"] == ""


def test_the_api_knows_whose_tokens_it_takes() -> None:
    """The issuer, the claim of the groups and the audit's days are its settings."""
    variables = FUNCTIONS["ApiFunction"]["Environment"]["Variables"]

    assert variables["CRONHOP_OIDC_ISSUER"] == {"Ref": "OidcIssuer"}
    assert variables["CRONHOP_GROUPS_CLAIM"] == {"Ref": "GroupsClaim"}
    assert variables["CRONHOP_AUDIT_DAYS"] == {"Ref": "AuditRetentionDays"}


def test_the_tick_comes_every_minute() -> None:
    """By a rule that may call the dispatcher, and keeps what it cannot deliver."""
    rule = RESOURCES["Tick"]["Properties"]
    (target,) = rule["Targets"]

    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    assert target["Arn"] == {"Fn::GetAtt": ["DispatcherFunction", "Arn"]}
    assert target["DeadLetterConfig"]["Arn"] == {
        "Fn::GetAtt": ["TickDeadLetterQueue", "Arn"]
    }
    assert RESOURCES["TickPermission"]["Properties"]["SourceArn"] == {
        "Fn::GetAtt": ["Tick", "Arn"]
    }


VISIBLE = "ApproximateNumberOfMessagesVisible"
# alarm: whose metric it watches, and what is too much of it
WATCHED = {
    "NoTickAlarm": "dispatcher Ticks Sum < 1 in 180 s",
    "LateSlotsAlarm": "dispatcher LateSlots Sum > 0 in 300 s",
    "InvalidTasksAlarm": "dispatcher InvalidTasks Sum > 0 in 300 s",
    "DeadLettersAlarm": "dispatcher DeadLetters Sum > 0 in 300 s",
    "FailedMessagesAlarm": "executor FailedMessages Sum > 4 in 300 s",
    "UnreadableRowsAlarm": "events UnreadableRows Sum > 0 in 300 s",
    "DeadLetterQueueAlarm": f"DeadLetterQueue {VISIBLE} Maximum > 0 in 300 s",
    "TickDeadLetterQueueAlarm": f"TickDeadLetterQueue {VISIBLE} Maximum > 0 in 300 s",
    "EventsDeadLetterQueueAlarm": f"EventsDeadLetterQueue {VISIBLE} Maximum > 0 in 300 s",
    "NoticeDeadLetterQueueAlarm": f"NoticeDeadLetterQueue {VISIBLE} Maximum > 0 in 300 s",
    "ApiErrorsAlarm": "HttpApi 5xx Average > 0.05 in 300 s",
    "DispatcherErrorsAlarm": "DispatcherFunction Errors Average > 0.05 in 300 s",
    "ExecutorErrorsAlarm": "ExecutorFunction Errors Average > 0.05 in 300 s",
    "LateEventsAlarm": "EventsFunction IteratorAge Maximum > 600000 in 300 s",
}
COMPARISONS = {"LessThanThreshold": "<", "GreaterThanThreshold": ">"}
OWN_NAMESPACE = {"Fn::Sub": "cronhop/${AWS::StackName}"}


def _of(dimension: dict[str, Any]) -> str:
    """Return the resource or the service that a dimension names."""
    value = dimension["Value"]
    if isinstance(value, dict):
        (value,) = value.values()
    return str(value[0] if isinstance(value, list) else value)


def _watched(alarm: dict[str, Any]) -> str:
    (dimension,) = alarm["Dimensions"]
    limit = f"{COMPARISONS[alarm['ComparisonOperator']]} {alarm['Threshold']}"
    seconds = alarm["Period"] * alarm["EvaluationPeriods"]
    metric = f"{_of(dimension)} {alarm['MetricName']} {alarm['Statistic']}"
    return f"{metric} {limit} in {seconds} s"


def test_what_is_watched() -> None:
    """A tick each minute, queues of what failed, what is late, and errors."""
    assert {name: _watched(alarm) for name, alarm in ALARMS.items()} == WATCHED


@pytest.mark.parametrize("name", WATCHED)
def test_an_alarm_says_what_to_do(name: str) -> None:
    """To the address of all alarms, in two sentences at least that name a place."""
    alarm = ALARMS[name]
    text = alarm["AlarmDescription"]["Fn::Sub"]

    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    assert alarm["AlarmName"]["Fn::Sub"].startswith("${AWS::StackName}-")
    assert text.count(". ") >= 1
    assert text.endswith(".")
    assert "/aws/lambda/${AWS::StackName}-" in text or "queue" in text
    assert 150 <= len(text) <= 700  # a mail; CloudWatch takes 1024


@pytest.mark.parametrize("name", WATCHED)
def test_only_a_missing_tick_is_alarming(name: str) -> None:
    """All other metrics are missing while there is nothing to count."""
    missing = "breaching" if name == "NoTickAlarm" else "notBreaching"

    assert ALARMS[name]["TreatMissingData"] == missing


def test_our_own_metrics_are_those_that_are_told() -> None:
    """The functions tell them in the namespace that the alarms look into."""
    told = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    services = {
        function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for function in FUNCTIONS.values()
    }

    assert told["POWERTOOLS_METRICS_NAMESPACE"] == OWN_NAMESPACE
    for alarm in ALARMS.values():
        (dimension,) = alarm["Dimensions"]
        if alarm["Namespace"] == OWN_NAMESPACE:
            assert dimension["Name"] == "service"
            assert dimension["Value"] in services
        else:
            assert alarm["Namespace"] in {"AWS/ApiGateway", "AWS/Lambda", "AWS/SQS"}
