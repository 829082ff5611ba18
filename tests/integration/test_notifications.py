"""Notifications: who wants to be told of a run is, once, however often it is tried."""

import hashlib
import hmac
import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

from api.views import channel_view
from cronhop.domain.credential import Secret
from cronhop.domain.instant import instant
from cronhop.domain.notification import ChannelKind, Notice, Occasion
from cronhop.domain.retry import Retry
from cronhop.domain.run import State
from cronhop.services.channels import ChannelForm, RuleForm
from cronhop.services.deliver import signature
from cronhop.store import notifications, runs
from cronhop.store.runs import RunRow
from notifier import handler as notifier_handler
from tests.hook import receiver
from tests.world import ACCOUNT, REGION

DOCS = Path(__file__).parents[2] / "docs"
SECRET = "s3cret of the hook"


@pytest.fixture
def hook():
    with receiver() as server:
        yield server


def add_channel(world, name, *, port=None, credential=None, topic=None, kind=None):
    form = ChannelForm(
        kind=ChannelKind(kind or ("sns" if topic else "webhook")),
        url=f"http://127.0.0.1:{port}/hook" if port else None,
        topic_arn=topic,
        credential=credential,
    )
    return world.channels.create(name, form, by="me", now=world.clock())


def add_rule(world, *on, channels=("ops",), **changes):
    form = RuleForm(
        on=tuple(map(Occasion, on)),
        channels=channels,
        task_id=None,
        environment=None,
        late_s=30,
    )
    name = f"rule-{'-'.join(on)}"
    return world.rules.create(
        name, replace(form, **changes), by="me", now=world.clock()
    )


def run_once(world, task):
    """Let the task run by hand, to its end."""
    world.clock.move(seconds=1)
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    return world.settle(run.run_id)


def told(world):
    """Return (occasion, channel) of what is to be told."""
    return [(one.occasion.value, one.channel) for one in world.notices()]


def test_a_failure_is_told_to_who_wants_it(world, server):
    """Once a run, after its last retry; not to others."""
    add_channel(world, "ops", port=1)
    add_channel(world, "night", port=1)
    task = world.add_task(server, command="exit 3", retry=Retry(max_attempts=3))
    other = world.add_task(server)
    add_rule(world, "failure")
    add_rule(world, "failure", "success", channels=("night",), task_id=other.task_id)

    run = run_once(world, task)
    assert run.state is State.FAILED
    assert told(world) == [("failure", "ops")]

    run_once(world, other)
    assert told(world) == [("success", "night")]


def test_two_rules_tell_a_channel_once(world, server):
    """Whoever named it."""
    add_channel(world, "ops", port=1)
    task = world.add_task(server, command="false")
    add_rule(world, "failure")
    add_rule(world, "failure", "late", task_id=task.task_id)

    run_once(world, task)

    assert told(world) == [("failure", "ops")]


def test_a_recovery_follows_a_failure(world, server, tmp_path):
    """The first that completes; what was held back meanwhile says nothing."""
    add_channel(world, "ops", port=1)
    add_rule(world, "recovery")
    mark = tmp_path / "works"
    task = world.add_task(server, command=f"test -e {mark}")

    run_once(world, task)
    run_once(world, task)
    held = world.tasks.run(task.task_id, by="me", now=world.clock())
    runs.refuse(held.run_id, state=State.SKIPPED, reason="x", now=world.clock())
    assert told(world) == []
    mark.touch()
    run_once(world, task)
    assert told(world) == [("recovery", "ops")]
    run_once(world, task)
    assert told(world) == []


def test_a_run_before_that_cannot_be_read_holds_up_nothing(world, server):
    """Whether it is a recovery nobody knows; the others are told."""
    add_channel(world, "ops", port=1)
    add_rule(world, "recovery", "success")
    task = world.add_task(server)
    before = run_once(world, task)
    assert told(world) == [("success", "ops")]
    RunRow(run_id=before.run_id).update(
        actions=[RunRow.state.set("of a later version")]
    )

    run_once(world, task)

    assert told(world) == [("success", "ops")]


def test_what_is_late_and_missed_is_told(world, server):
    """Late as the rule says, when it begins; missed with its range."""
    add_channel(world, "ops", port=1)
    task = world.add_task(server, cron="*/5 * * * *")
    add_rule(world, "late", "missed", late_s=90)
    world.clock.move(minutes=4)  # 10:05
    world.tick()
    world.clock.move(seconds=80)
    world.deliver()
    assert told(world) == []

    world.clock.move(minutes=60, seconds=120)
    world.tick()
    world.deliver()
    assert sorted(told(world)) == [("late", "ops"), ("missed", "ops")]
    assert task.task_id in {run.task_id for run in world.all_runs()}


def test_what_takes_longer_than_usual_is_told(world, server, gate, impatient):
    """Once, while it runs; of a task that has run often enough to say."""
    add_channel(world, "ops", port=1)
    add_rule(world, "long")
    command = f"until [ -e {gate} ]; do sleep 0.02; done"
    task = world.add_task(server, command=command, timeout_s=3600)
    gate.touch()
    for _ in range(10):
        run_once(world, task)
    assert told(world) == []
    gate.unlink()
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.deliver()
    began = world.only_execution(run).started_at

    def visit(**later):
        world.clock.now = began + timedelta(**later)
        world.tick()
        world.deliver()
        return {notice.notice_id for notice in world.notices()}

    assert visit(seconds=50) == set()
    notice_id = f"{run.run_id}#long#ops"
    assert visit(minutes=3) == {notice_id}
    assert visit(minutes=9) == {notice_id}  # delivered once
    gate.touch()
    world.settle(run.run_id)


def test_what_is_usual_needs_some_runs(world, server, gate, impatient):
    """Nothing is said of a task that has run but nine times."""
    add_channel(world, "ops", port=1)
    add_rule(world, "long")
    command = f"until [ -e {gate} ]; do sleep 0.02; done"
    task = world.add_task(server, command=command, timeout_s=3600)
    gate.touch()
    for _ in range(9):
        run_once(world, task)
    gate.unlink()
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.deliver()
    world.clock.move(minutes=30)
    world.tick()
    world.deliver()
    assert told(world) == []
    gate.touch()
    world.settle(run.run_id)


def test_a_rule_of_an_environment(world, sshd):
    """Is about the tasks of it."""
    add_channel(world, "ops", port=1)
    add_rule(world, "success", environment="prod")
    server = world.add_server(sshd, environment="prod")
    run_once(world, world.add_task(server, environment="prod"))
    assert told(world) == [("success", "ops")]
    run_once(world, world.add_task(server))
    assert told(world) == []


def test_a_webhook_gets_what_it_needs(world, server, hook):
    """Signed, with the run and where it failed."""
    world.credentials.create(
        "hook-key", Secret(password=SECRET), by="me", now=world.clock()
    )
    add_channel(world, "ops", port=hook.port, credential="hook-key")
    add_rule(world, "failure")
    task = world.add_task(server, command="exit 3")
    run = run_once(world, task)
    (notice,) = world.notices()

    assert world.deliverer.deliver(notice, received=1) is None

    ((path, headers, body),) = hook.got
    assert path == "/hook"
    assert headers["X-Cronhop-Id"] == f"{run.run_id}#failure#ops"
    stamp, signed = headers["X-Cronhop-Signature"].split(",")
    message = stamp.removeprefix("t=").encode() + b"." + body
    expected = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
    assert signed == f"v1={expected}"
    told = json.loads(body)
    assert (told["version"], told["occasion"]) == (1, "failure")
    assert (told["rule"], told["channel"]) == ("rule-failure", "ops")
    assert told["text"].startswith(f"failed: {task.definition.name}\n")
    assert told["run"]["run_id"] == run.run_id
    assert told["run"]["state"] == "failed"
    assert told["run"]["servers"] == [
        {"server_id": server.server_id, "name": server.name}
    ]
    assert SECRET not in body.decode()
    shown = world.channels.get("ops").last_delivery
    assert (shown.ok, shown.reason) == (True, "delivered")


def test_a_notice_is_delivered_once(world, server, hook):
    """Though the queue and the stream hand it over again."""
    add_channel(world, "ops", port=hook.port)
    add_rule(world, "success")
    run_once(world, world.add_task(server))
    records = world.records()
    for _ in range(2):
        world.changes.follow(records)
    notices = world.notices()
    assert len(notices) == 2

    for notice in [*notices, *notices]:
        assert world.deliverer.deliver(notice, received=1) is None

    assert len(hook.got) == 1


def test_what_a_channel_does_not_take_is_tried_again(world, server, hook):
    """Less and less often, as late as it asks for; it shows why meanwhile."""
    add_channel(world, "ops", port=hook.port)
    add_rule(world, "success")
    run_once(world, world.add_task(server))
    (notice,) = world.notices()

    hook.answer = (503, {}, b"not now")
    waits = [world.deliverer.deliver(notice, received=n) for n in (1, 2, 3, 9, 99)]
    assert waits == [30, 60, 120, 3600, 3600]
    hook.answer = (429, {"Retry-After": "100"}, b"")
    assert world.deliverer.deliver(notice, received=1) == 100
    shown = world.channels.get("ops").last_delivery
    assert (shown.ok, shown.reason) == (False, "HTTP 429")

    hook.answer = (204, {}, b"")
    assert world.deliverer.deliver(notice, received=7) is None
    assert world.channels.get("ops").last_delivery.ok
    assert len(hook.got) == 7


def test_two_at_once_deliver_once(world, server, hook):
    """The other comes back, should the first one die."""
    add_channel(world, "ops", port=hook.port)
    add_rule(world, "success")
    run_once(world, world.add_task(server))
    (notice,) = world.notices()
    now = world.clock()
    notifications.claim(
        notice.notice_id, now=now, until=now + timedelta(minutes=2)
    )  # and dies

    assert world.deliverer.deliver(notice, received=1) == 120
    assert hook.got == []
    world.clock.move(seconds=120)
    assert world.deliverer.deliver(notice, received=2) is None
    assert len(hook.got) == 1


def test_slack_gets_its_own_form(world, server, hook):
    """Its URL is a secret; names can put no link and no mention into it."""
    url = f"http://127.0.0.1:{hook.port}/services/T0/B0/xyz"
    world.credentials.create("slack", Secret(password=url), by="me", now=world.clock())
    add_channel(world, "ops", kind="slack", credential="slack")
    add_rule(world, "failure")
    task = world.add_task(server, command="false", name="<!channel> & co")
    run_once(world, task)
    (notice,) = world.notices()

    assert world.deliverer.deliver(notice, received=1) is None

    ((path, _, body),) = hook.got
    assert path == "/services/T0/B0/xyz"
    text = json.loads(body)["text"]
    assert text.startswith("```failed: &lt;!channel&gt; &amp; co\n")
    assert "xyz" not in str(world.channels.get("ops"))


def test_a_topic_is_told(world, server):
    """With subject and text, as a mail has them."""
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:test-alarms"
    add_channel(world, "ops", topic=topic)
    add_rule(world, "success")
    task = world.add_task(server)
    run_once(world, task)
    (notice,) = world.notices()

    assert world.deliverer.deliver(notice, received=1) is None

    ((subject, text),) = world.alarms()
    assert subject == f"cronhop: completed: {task.definition.name}"
    assert f"server:   {server.name}" in text


def test_a_topic_that_is_gone_is_tried_again(world):
    """It shows that nobody was told."""
    add_channel(world, "ops", topic=f"arn:aws:sns:{REGION}:{ACCOUNT}:test-none")
    world.channels.test("ops")
    (notice,) = world.notices()

    assert world.deliverer.deliver(notice, received=1) == 30
    assert not world.channels.get("ops").last_delivery.ok


def test_a_channel_can_be_tried(world, hook):
    """It shows what became of it."""
    add_channel(world, "ops", port=hook.port)

    test_id = world.channels.test("ops")
    (notice,) = world.notices()
    assert world.deliverer.deliver(notice, received=1) is None

    body = json.loads(hook.got[0][2])
    assert (body["occasion"], body["run"]) == ("test", None)
    assert test_id in body["text"]
    channel = world.channels.get("ops")
    assert channel.last_delivery.ok
    assert channel.last_delivery.notice_id == body["id"] == f"{test_id}#test#ops"
    assert channel.last_test == channel.last_delivery


def test_a_test_is_told_of_until_the_next_one(world, server, hook):
    """Whatever is sent over the channel after it."""
    add_channel(world, "ops", port=hook.port)
    add_rule(world, "success")
    world.channels.test("ops")
    (test,) = world.notices()
    world.deliverer.deliver(test, received=1)
    run = run_once(world, world.add_task(server))
    (notice,) = world.notices()

    world.deliverer.deliver(notice, received=1)

    channel = world.channels.get("ops")
    assert channel.last_test.notice_id == test.notice_id
    assert channel.last_delivery.notice_id == f"{run.run_id}#success#ops"


def test_a_delivery_without_an_id(world, hook):
    """What was recorded before there were ids is still shown."""
    add_channel(world, "ops", port=hook.port)
    row = notifications.NotificationRow(kind="channel", name="ops")
    row.update(
        actions=[
            notifications.NotificationRow.last_at.set(world.clock()),
            notifications.NotificationRow.last_ok.set(True),
            notifications.NotificationRow.last_reason.set("delivered"),
        ]
    )

    channel = world.channels.get("ops")

    assert channel_view(channel)["last_delivery"] == {
        "id": None,
        "at": instant(world.clock()),
        "ok": True,
        "reason": "delivered",
    }
    assert channel.last_test is None


def test_a_channel_that_is_gone_is_left(world, server, hook):
    """Its notices too."""
    add_channel(world, "ops", port=hook.port)
    rule = add_rule(world, "success")
    run_once(world, world.add_task(server))
    (notice,) = world.notices()
    world.rules.delete(rule.name, version=None)
    world.channels.delete("ops", version=None)

    assert world.deliverer.deliver(notice, received=1) is None
    assert hook.got == []


def test_what_the_queue_refuses_comes_again(world, server, monkeypatch):
    """With the record of the stream."""
    add_channel(world, "ops", port=1)
    add_rule(world, "success")
    run_once(world, world.add_task(server))
    records = world.records()
    queue = world.changes._notifier._queue
    monkeypatch.setattr(queue, "send", lambda sent: [one for one, _ in sent])

    (number,) = world.changes.follow(records)

    (record,) = [one for one in records if one["dynamodb"]["SequenceNumber"] == number]
    assert record["dynamodb"]["NewImage"]["state"] == {"S": "completed"}


def test_the_function_hides_what_failed(world, hook, monkeypatch):
    """Until it is to be tried again; what was delivered is gone."""
    add_channel(world, "ops", port=hook.port)
    sqs = boto3.client("sqs", region_name=REGION)
    url = world.settings.notice_queue_url
    put_off = []
    parts = (
        world.deliverer,
        SimpleNamespace(
            put_off=lambda receipt, after: put_off.append((receipt, after))
        ),
    )
    monkeypatch.setattr(notifier_handler, "_parts", lambda: parts)
    world.channels.test("ops")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": {"ApproximateReceiveCount": "2"},
    }

    hook.answer = (500, {}, b"")
    answer = notifier_handler.handler({"Records": [record]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert put_off == [(record["receiptHandle"], 60)]

    hook.answer = (200, {}, b"")
    assert notifier_handler.handler({"Records": [record]}, None) == {
        "batchItemFailures": []
    }
    assert Notice.from_json(record["body"]).occasion is Occasion.TEST


def test_a_receiver_checks_as_the_documentation_says():
    """What it shows takes our signature, and no other's or older one."""
    text = (DOCS / "howto" / "notifications.md").read_text()
    shown = {}
    exec(text.partition("```python\n")[2].partition("```")[0], shown)
    body, now = b'{"x": 1}', int(time.time())

    assert shown["is_ours"]("key", signature("key", body, at=now), body)
    assert not shown["is_ours"]("other", signature("key", body, at=now), body)
    assert not shown["is_ours"]("key", signature("key", body, at=now - 600), body)
    assert not shown["is_ours"]("key", signature("key", b"{}", at=now), body)
