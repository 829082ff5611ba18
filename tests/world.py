"""A whole cronhop in one process: the real code on moto, on a clock of its own."""

import copy
import itertools
import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import boto3
import botocore.session
import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.signers import RequestSigner
from moto import mock_aws
from moto.core import responses
from moto.core.serialize import AttributePicker
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from cronhop.aws.bus import Bus
from cronhop.aws.files import Files
from cronhop.aws.output import OutputBucket
from cronhop.aws.queue import Queue
from cronhop.aws.secrets import Secrets
from cronhop.aws.session import Session
from cronhop.aws.topic import Topic
from cronhop.domain.credential import Secret
from cronhop.domain.message import Probe, read
from cronhop.domain.notification import Notice
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.server import ServerDefinition, ServerStatus
from cronhop.domain.targets import Targets
from cronhop.domain.task import (
    CatchUp,
    Overlap,
    Script,
    TaskDefinition,
    TaskKind,
)
from cronhop.services.alarms import Alarms
from cronhop.services.calendars import Calendars
from cronhop.services.changes import Changes
from cronhop.services.channels import Channels, Rules
from cronhop.services.check import Checker
from cronhop.services.credentials import Credentials
from cronhop.services.deliver import Deliverer
from cronhop.services.dispatch import Dispatcher
from cronhop.services.execute import Executor
from cronhop.services.freeze import Freeze
from cronhop.services.notify import Notifier
from cronhop.services.runs import Runs
from cronhop.services.servers import Servers
from cronhop.services.tasks import Tasks
from cronhop.services.templates import Templates
from cronhop.services.visit import Invocation
from cronhop.settings import Settings
from cronhop.ssh.connections import Connections
from cronhop.store import batch, connection, executions, runs
from cronhop.web.hook import Hook
from tests.keys import strict
from tests.sshd import LOOPBACK
from tests.template import tables

REGION = "eu-central-1"
ACCOUNT = "123456789012"
PREFIX = "test-"
NOW = datetime(2026, 6, 1, 10, 1, tzinfo=UTC)  # no slot of */5 is within two minutes


# How much of what has no end is tried: `make test-slow` wants more.
THOROUGH = int(os.environ.get("CRONHOP_THOROUGH", "1"))


class Clock:
    """Time that stands still until somebody moves it."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now

    def move(self, **delta):
        """Let time pass, and return what it is then."""
        self.now += timedelta(**delta)
        return self.now

    def sleep(self, seconds):
        self.move(seconds=seconds)


class Killed(BaseException):
    """The process ends here. No handler for exceptions catches it."""


_traps = WeakKeyDictionary()  # by session


class Deathtrap:
    """Counts the steps a process takes outside itself, and kills it at one.

    A step is a call to AWS or a visit to a host. Steps are counted twice: before
    they take effect, and when they have but nobody has heard.
    """

    def __init__(self):
        self.steps = self.calls = 0
        self.deadly = self.lossy = None

    def set(self, step):
        """Kill the process at this step, counted from now."""
        self.steps, self.deadly = 0, step

    def step(self):
        self.steps += 1
        if self.steps - 1 == self.deadly:
            raise Killed

    def lose(self):
        """Lose the answer of one call that took effect; the client repeats it."""
        self.calls += 1
        if self.calls - 1 == self.lossy:
            raise ConnectionClosedError(endpoint_url="moto")

    def set_lossy(self, call):
        """Lose the answer of this call, counted from now."""
        self.calls, self.lossy = 0, call

    def install(self, session):
        """Lie on the way of the session's clients, in place of the one before."""
        is_watched = session in _traps
        _traps[session] = self
        if is_watched:
            return
        emitter = session.get_component("event_emitter")

        def lose(**kwargs):
            _traps[session].lose()

        def step(**kwargs):
            _traps[session].step()

        # Last: moto has applied it by then.
        emitter.register_last("before-send", lose)
        # First: moto answers, and so applies, in an event of the same name.
        emitter.register_first("before-send", step)
        emitter.register_first("response-received", step)


class World:
    """The stack's tables, queue and bucket, and the use cases on top of them.

    Messages stay in the queue until `deliver` hands them to an executor.
    """

    def __init__(self, environ):
        aws("s3").create_bucket(
            Bucket="test-output",
            CreateBucketConfiguration={"LocationConstraint": REGION},
        )
        sqs = aws("sqs")
        _make_tables()
        environ.update(
            AWS_REGION=REGION,
            CRONHOP_TABLE_PREFIX=PREFIX,
            CRONHOP_QUEUE_URL=sqs.create_queue(QueueName="test-queue")["QueueUrl"],
            CRONHOP_BUCKET="test-output",
            CRONHOP_SECRET_PREFIX="test/",
            CRONHOP_ALLOWED_NETWORKS=LOOPBACK[0],
            CRONHOP_SHARDS="2",
            CRONHOP_TOPIC_ARN=self._subscribed_topic(),
            CRONHOP_BUS_NAME=self._watched_bus(),
            CRONHOP_NOTICE_QUEUE_URL=sqs.create_queue(QueueName="test-notices")[
                "QueueUrl"
            ],
            CRONHOP_TOPICS=f"arn:aws:sns:{REGION}:{ACCOUNT}:test-",
        )
        self.clock = Clock()
        self.deathtrap = Deathtrap()
        self._listeners = []
        self.settings = Settings.from_env(environ)
        self.restart()

    def restart(self):
        """Make everything anew, as in a fresh Lambda environment."""
        self.session = Session(self.settings)
        self.deathtrap.install(self.session.botocore)
        connection.connect(self.settings, self.session.botocore)
        self.queue = Queue(self.session.client("sqs"), self.settings.queue_url)
        self.secrets = Secrets(self.session.client("secretsmanager"), self.settings)
        self.bucket = OutputBucket(self.session.client("s3"), self.settings.bucket)
        self.dispatcher = Dispatcher(self.queue, shards=self.settings.shards)
        self.files = Files(self.session.client("s3"), self.settings.transfer_bucket)
        self.topic = Topic(self.session.client("sns"), self.settings.topic_arn)
        self.bus = Bus(self.session.client("events"), self.settings.bus_name)
        notices = Queue(self.session.client("sqs"), self.settings.notice_queue_url)
        self.changes = Changes(self.bus, Notifier(notices))
        self.deliverer = Deliverer(
            self.secrets,
            partial(Topic, self.session.client("sns")),
            Hook(allowed=self.settings.allowed_networks),
            now=self.clock,
        )
        self.channels = Channels(
            queue=notices,
            topics=self.settings.topics,
            allowed_networks=self.settings.allowed_networks,
            refused_networks=(),
        )
        self.rules = Rules()
        self.executor = Executor(
            self.queue,
            self.secrets,
            self.bucket,
            self.files,
            self.topic,
            now=self.clock,
            sleep=self.clock.sleep,
        )
        self.credentials = Credentials(secrets=self.secrets)
        alarms = Alarms(self.topic, now=self.clock)
        self.checker = Checker(secrets=self.secrets, alarms=alarms, now=self.clock)
        self.servers = Servers(
            queue=self.queue, allowed_networks=self.settings.allowed_networks
        )
        self.tasks = Tasks(dispatcher=self.dispatcher)
        self.templates = Templates(tasks=self.tasks)
        self.calendars = Calendars()
        self.freeze = Freeze()
        self.runs = Runs(bucket=self.bucket, dispatcher=self.dispatcher)

    def close(self):
        """Let nobody listen any longer: clients are shared with later worlds."""
        for events, handler in self._listeners:
            events.unregister("before-send", handler)

    def listen(self, client, handler, *, first=False):
        """Let a handler see each request of a client, before it is sent or after.

        First is before, for moto answers, and so applies, in an event of the same
        name; whoever comes last may still lose the answer.
        """
        events = client.meta.events
        register = events.register_first if first else events.register_last
        register("before-send", handler)
        self._listeners.append((events, handler))

    def _subscribed_topic(self):
        """Make the topic of alarms, and a queue that they all come to."""
        sns = aws("sns")
        topic = sns.create_topic(Name="test-alarms")["TopicArn"]
        self._alarms = aws("sqs").create_queue(QueueName="test-alarms")["QueueUrl"]
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:test-alarms",
        )
        return topic

    def _watched_bus(self):
        """Make the bus of events, and a queue that they all come to."""
        events = aws("events")
        events.create_event_bus(Name="test-bus")
        self._events = aws("sqs").create_queue(QueueName="test-events")["QueueUrl"]
        events.put_rule(
            Name="all", EventBusName="test-bus", EventPattern='{"source": ["cronhop"]}'
        )
        queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:test-events"
        events.put_targets(
            Rule="all", EventBusName="test-bus", Targets=[{"Id": "all", "Arn": queue}]
        )
        return "test-bus"

    # Making things

    def add_server(self, sshd=None, *, login=None, **changes):
        """Put a server on record: a real one, or one that nobody will visit."""
        number = next(self._numbers)
        secret = (
            Secret(private_key=login or sshd.private_key)
            if sshd
            else Secret(password="none")
        )
        credential = self.credentials.create(
            f"key-{number}", secret, by="tester", now=self.clock()
        )
        definition = ServerDefinition(
            name=f"server {number}",
            host=sshd.host if sshd else "10.0.0.1",
            port=sshd.port if sshd else 22,
            username=sshd.username if sshd else "nobody",
            credential=credential.name,
            host_keys=(sshd.host_key,) if sshd else (SOME_HOST_KEY,),
            environment=None,
            tags={},
            max_concurrency=None,
            status=ServerStatus.ENABLED,
        )
        return self.servers.create(
            replace(definition, **changes), by="tester", now=self.clock()
        )

    _numbers = itertools.count(1)

    def definition(self, *servers, command="true", cron=None, zone="UTC", **changes):
        """Return the definition of a task on these servers."""
        definition = TaskDefinition(
            name=f"task {next(self._numbers)}",
            kind=TaskKind.SCRIPT,
            spec=Script(command=command),
            targets=Targets(server_ids=tuple(one.server_id for one in servers)),
            schedule=CronSchedule(cron=cron, timezone=zone) if cron else None,
            timeout_s=60,
            kill_grace_s=2,
            overlap=Overlap.SKIP,
            start_deadline_s=600,
            catch_up=CatchUp.ONE,
            enabled=True,
        )
        return replace(definition, **changes)

    def add_task(self, *servers, **changes):
        """Put a task on record."""
        return self.tasks.create(
            self.definition(*servers, **changes), by="tester", now=self.clock()
        )

    # Letting things happen

    def tick(self):
        """Let the dispatcher tick at the present time."""
        return self.dispatcher.tick(self.clock(), stop_at=time.monotonic() + 60)

    def messages(self):
        """Take what lies in the queue: (message, delay in seconds), as sent."""
        queue = sqs_backends[ACCOUNT][REGION].queues["test-queue"]
        taken = [
            (
                read(one.body),
                max(round(one.delayed_until / 1000 - _sent(one)), 0),
            )
            for one in queue._messages
        ]
        queue._messages.clear()
        return taken

    def deliver(self, messages=None, *, times=1):
        """Hand messages to an executor: those given, or all in the queue."""
        if messages is None:
            messages = [message for message, _ in self.messages()]
        for message in messages:
            for _ in range(times):
                self.handle(message)

    def handle(self, message):
        """Let an executor handle one message, in an invocation of its own."""
        with Connections(allowed=LOOPBACK) as connections:
            invocation = Invocation(
                connections=connections,
                ends_at=self.clock() + timedelta(seconds=60),
                stop_at=time.monotonic() + 50,
            )
            if isinstance(message, Probe):
                return self.checker.check(
                    message, connections, deadline=invocation.stop_at
                )
            return self.executor.handle(message, invocation)

    def settle(self, run_id, *, minutes=30):
        """Tick and deliver, each message in its time, until the run has ended."""
        waiting, tick_at = [], self.clock() + timedelta(minutes=1)
        end = self.clock() + timedelta(minutes=minutes)
        while self.clock() < end:
            run = runs.get(run_id)
            if run.state.is_terminal:
                return run
            for message, delay_s in self.messages():
                waiting.append((self.clock() + timedelta(seconds=delay_s), message))
            due = [message for at, message in waiting if at <= self.clock()]
            waiting = [one for one in waiting if one[0] > self.clock()]
            if due:
                self.deliver(due)
                continue
            self.clock.now = min([tick_at, *(at for at, _ in waiting)])
            if self.clock() == tick_at:
                tick_at += timedelta(minutes=1)
                self.tick()
        raise AssertionError(f"run {run_id} did not end: {runs.get(run_id)}")

    # Looking

    def all_runs(self):
        """Return every row of the ledger, oldest first."""
        keys = sorted(item["run_id"]["S"] for item in self.rows("runs"))
        return [runs.get(key) for key in keys if "#" not in key]

    def only_execution(self, run):
        """Return the run's one execution."""
        (execution,) = executions.of_run(run.run_id, limit=10, after=None).items
        return execution

    def output(self, run, stream, **window):
        """Return a page of a stream of the run's one execution."""
        execution = self.only_execution(run)
        return self.runs.output(
            run.run_id,
            execution.server_id,
            stream,
            offset=window.get("offset", 0),
            limit=window.get("limit", 65536),
        )

    def alarms(self):
        """Return (subject, text) of every alarm since the last look."""
        taken = _take(self._alarms)
        return [(body["Subject"], body["Message"]) for body in taken]

    def events(self):
        """Return (kind, detail) of every event on the bus since the last look."""
        taken = _take(self._events)
        return [(body["detail-type"], body["detail"]) for body in taken]

    def notices(self):
        """Let the streams be followed, and take what channels are to be told."""
        self.follow()
        return [
            Notice.from_json(json.dumps(body))
            for body in _take(self.settings.notice_queue_url)
        ]

    def follow(self):
        """Let the ledger's streams be followed to their present ends."""
        for noun in ("runs", "executions"):
            assert self.changes.follow(self.records(noun)) == []

    def records(self, noun="runs"):
        """Return what a table's stream has told since the last look.

        As Lambda hands it over, at the present time; the template's filter leaves
        some of it out.
        """
        table = dynamodb_backends[ACCOUNT][REGION].tables[PREFIX + noun]
        found = []
        for item in table.stream_shard.items:
            stream = dict(item.to_json()["dynamodb"])
            at = int(self.clock().timestamp())
            stream["ApproximateCreationDateTime"] = at
            found.append({**item.to_json(), "dynamodb": stream})
        table.stream_shard.items = []
        return found

    def dump(self):
        """Return everything the tables and the queue hold, as one text."""
        nouns = ("servers", "tasks", "task_versions", "runs", "executions", "stats")
        rows = [self.rows(noun) for noun in (*nouns, "credentials", "audit")]
        queue = sqs_backends[ACCOUNT][REGION].queues["test-queue"]
        bodies = [message.body for message in queue._messages]
        return json.dumps([rows, bodies], default=str)

    def spoil(self, noun, attribute, value, **key):
        """Let an attribute of the row with this key be what no code of ours writes."""
        aws("dynamodb").update_item(
            TableName=PREFIX + noun,
            Key={name: {"S": part} for name, part in key.items()},
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": attribute},
            ExpressionAttributeValues={":value": value},
        )

    def empty(self, noun):
        """Let a table have no items, at once: on moto only."""
        dynamodb_backends[ACCOUNT][REGION].tables[PREFIX + noun].items.clear()

    def rows(self, noun):
        """Return the items of a table, as DynamoDB has them."""
        return aws("dynamodb").scan(TableName=PREFIX + noun)["Items"]


_tables = {}  # as moto has made them first, by name


def _make_tables():
    """Make the template's tables.

    On moto they are copied once they were made: nothing else takes as long there.
    """
    on_moto = "AWS_ENDPOINT_URL" not in os.environ
    if not (on_moto and _tables):
        for table in tables(PREFIX):
            aws("dynamodb").create_table(**table)
    if on_moto:
        made = dynamodb_backends[ACCOUNT][REGION].tables
        if _tables:
            made.update(copy.deepcopy(_tables))
        else:
            _tables.update(copy.deepcopy(made))


def _take(queue):
    """Return the bodies of all messages of a queue, and empty it."""
    sqs = aws("sqs")
    found = []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return found


def aws(service):
    """Return the tests' own client of a service, which no deathtrap watches."""
    return _client(service, os.environ.get("AWS_ENDPOINT_URL"))


@cache
def _client(service, endpoint_url):
    return boto3.client(service, region_name=REGION, endpoint_url=endpoint_url)


def _sent(message):
    return int(message.sent_timestamp) / 1000


# What a row may hold that this version cannot read: (attribute's part, its value).
# The one is read by pynamodb, the other only when the row is made sense of.
UNREADABLE = pytest.mark.parametrize(
    ("attribute", "value"),
    [
        pytest.param("state", {"S": "of a later version"}, id="value"),
        pytest.param("started_at", {"S": "yesterday"}, id="type"),
    ],
)

SOME_HOST_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
)


_pick = AttributePicker.__call__


def _pick_at_once(picker, context):
    """Return a member of what an attribute of an item is: a mapping of one type.

    moto would look for each of the ten types under several spellings, a third of
    what a call costs.
    """
    parent = getattr(context.shape, "parent", None)
    if getattr(parent, "name", None) == "AttributeValue" and type(context.obj) is dict:
        return context.obj.get(context.key)
    return _pick(picker, context)


_sign = RequestSigner.sign


def _sign_at_once(signer, operation_name, request, *args, **kwargs):
    """Say of a request to DynamoDB who sends it, for which region.

    That is all that moto reads of a signature, which takes an eighth of a call.
    """
    if signer.signing_name != "dynamodb":
        return _sign(signer, operation_name, request, *args, **kwargs)
    scope = f"20260601/{signer.region_name}/dynamodb/aws4_request"
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=testing/{scope}, SignedHeaders=host, Signature=0"
    )
    return None


# Of the class of a service, which moto would go through again for each call.
_method_names = cache(responses.method_names_from_class)
_make_session = Session.__init__


@cache
def _shared(region):
    """Return a session that makes each client once.

    Making one anew, and its clients, would take longer than most tests.
    """
    session = object.__new__(Session)
    _make_session(session, SimpleNamespace(region=region))
    session.client = cache(session.client)
    return session


def _share(session, settings):
    session.__dict__ = _shared(settings.region).__dict__


@contextmanager
def on_moto():
    """Make a world on moto, for as long as it is wanted."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setattr(Session, "__init__", _share)
        patch.setattr(AttributePicker, "__call__", _pick_at_once)
        patch.setattr(responses, "method_names_from_class", _method_names)
        patch.setattr(RequestSigner, "sign", _sign_at_once)
        # moto reads no parameters of a statement; e2e/test_batches.py has batches.
        patch.setattr(batch, "WORTH", sys.maxsize)
        get_session = botocore.session.get_session
        patch.setattr(botocore.session, "get_session", lambda: strict(get_session()))
        environ = dict(os.environ)
        made = World(environ)
        for name, value in environ.items():
            patch.setenv(name, value)
        try:
            yield made
        finally:
            made.close()
