"""Metrics: what the functions tell CloudWatch, by lines in their logs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cronhop.domain.ids import new_id, slot_run_id
from cronhop.domain.message import Message, MessageKind
from cronhop.store import runs, tasks
from dispatcher import handler as dispatcher
from events import handler as events
from executor import handler as executor
from tests.integration.test_handlers import context, records


@pytest.fixture
def told(world, monkeypatch, capsys):
    """What a function has told since the last look, as in a stack named prod."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "cronhop/prod")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "some function")
    world.clock.now = datetime.now(UTC)
    for made in (dispatcher._dispatcher, executor._executor, events._changes):
        made.cache_clear()

    def look():
        found = {}
        for line in capsys.readouterr().out.splitlines():
            emf = json.loads(line)
            for block in emf.get("_aws", {}).get("CloudWatchMetrics", []):
                assert block["Namespace"] == "cronhop/prod"
                assert block["Dimensions"] == [["service"]]
                for metric in block["Metrics"]:
                    assert metric["Unit"] == "Count"
                    assert metric["Name"] not in found
                    (found[metric["Name"]],) = emf[metric["Name"]]
        return found

    yield look
    for made in (dispatcher._dispatcher, executor._executor, events._changes):
        made.cache_clear()


def test_a_tick_is_told_and_nothing_else(world, told):
    """What there was none of costs nothing; a part of a tick is no tick."""
    dispatcher.handler({}, context())
    assert told() == {"Ticks": 1}

    dispatcher.handler({"shards": [0]}, context())
    assert told() == {}


def test_slots_that_are_sent_late_are_told(world, told):
    """As somebody may have waited for them."""
    at = (world.clock() - timedelta(minutes=3)).replace(second=0, microsecond=0)
    task = world.add_task(world.add_server(), cron=f"{at.minute} {at.hour} * * *")
    tasks.TaskRow(task_id=task.task_id).update([tasks.TaskRow.next_run.set(at)])

    report = dispatcher.handler({}, context())

    assert report["started"] == report["late"] == [slot_run_id(task.task_id, at)]
    assert told() == {"Ticks": 1, "LateSlots": 1}


@pytest.mark.parametrize(
    ("behind_s", "is_late"), [(-60, False), (20, False), (31, True)]
)
def test_a_slot_is_late_after_half_a_minute(world, behind_s, is_late):
    """One that is sent before it is due is not."""
    task = world.add_task(world.add_server(), cron="*/5 * * * *")
    world.clock.now = task.next_run + timedelta(seconds=behind_s)

    report = world.tick()

    assert len(report.started) == 1
    assert bool(report.late) == is_late


def test_a_parked_task_is_told(world, told):
    """Once: it is out of the schedule then."""
    task = world.add_task(world.add_server(), cron="0 4 1 1 *")
    plain = task.definition.to_dict()
    plain["schedule"]["timezone"] = "Mars/Olympus"
    row = tasks.TaskRow(task_id=task.task_id)
    row.update(
        [
            tasks.TaskRow.definition.set(plain),
            tasks.TaskRow.next_run.set(world.clock()),
        ]
    )

    dispatcher.handler({}, context())
    assert told() == {"Ticks": 1, "InvalidTasks": 1}

    dispatcher.handler({}, context())
    assert told() == {"Ticks": 1}


def test_a_tick_without_time_is_told(world, told):
    """It is a tick all the same."""
    task = world.add_task(world.add_server(), cron="0 4 1 1 *")
    row = tasks.TaskRow(task_id=task.task_id)
    row.update([tasks.TaskRow.next_run.set(world.clock())])

    dispatcher.handler({}, context(left_s=0))

    assert told() == {"Ticks": 1, "IncompleteTicks": 1}


def test_dead_letters_are_told(world, told):
    """They are taken from their queue before anybody sees them there."""
    dispatcher.handler(records("garbage", "poison"), context())

    assert told() == {"DeadLetters": 2}


def test_messages_that_fail_are_told(world, told):
    """Lambda counts no error where a part of a batch fails."""
    message = Message(kind=MessageKind.START, run_id=new_id(world.clock()), group="x")

    executor.handler(records(message.to_json()), context())
    assert told() == {}

    executor.handler(records("poison", message.to_json()), context())
    assert told() == {"FailedMessages": 1}


def test_rows_that_cannot_be_read_are_told(world, told):
    """They are passed over, and somebody should know."""
    task = world.add_task(world.add_server())
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    (record,) = world.records()
    record["dynamodb"]["NewImage"]["state"] = {"S": "of a later version"}

    events.handler({"Records": [record]}, context())

    assert told() == {"UnreadableRows": 1}
    assert runs.get(run.run_id)


def test_nothing_is_told_outside_a_stack(world, told, monkeypatch):
    """Where no namespace is named."""
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE")

    dispatcher.handler({}, context())

    assert told() == {}
