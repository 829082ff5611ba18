"""Events: every change of a state is told, in order, whoever dies."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from cronhop.domain.event import EventKind
from cronhop.domain.retry import Retry
from cronhop.domain.rollout import Rollout
from cronhop.store import runs
from events import handler as events_handler
from tests.world import NOW

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "events.schema.json"


@pytest.fixture(scope="module")
def schema():
    return Draft202012Validator(
        json.loads(SCHEMA.read_text()), format_checker=FormatChecker()
    )


def states(events, kind=EventKind.RUN):
    return [
        (detail["previous_state"], detail["state"])
        for told, detail in events
        if told == kind
    ]


def test_a_run_tells_of_itself(world, server, schema):
    """From its slot to its end; so does its execution."""
    task = world.add_task(server, command="exit 3", cron="*/5 * * * *")
    world.clock.move(minutes=4)
    world.tick()
    world.deliver()

    world.follow()
    events = world.events()

    (run,) = world.all_runs()
    assert states(events) == [
        (None, "pending"),
        ("pending", "running"),
        ("running", "failed"),
    ]
    assert states(events, EventKind.EXECUTION) == [
        (None, "pending"),
        ("pending", "failed"),
    ]
    last = [detail for kind, detail in events if kind == EventKind.RUN][-1]
    assert last["event_id"] == f"{run.run_id}#failed"
    assert last["task_name"] == task.definition.name
    assert last["slot"] == "2026-06-01T10:05:00Z"
    assert last["at"] == last["finished_at"]
    assert last["late_s"] >= 0
    ended = [detail for kind, detail in events if kind == EventKind.EXECUTION][-1]
    assert ended["exit_code"] == 3
    for kind, detail in events:
        schema.validate({"detail-type": kind, "detail": detail})


def test_what_changes_no_state_is_not_told(world):
    """A reason, a check, a lease."""
    task = world.add_task(world.add_server())
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.follow()
    world.events()

    runs.note(run.run_id, "it waits")

    world.follow()
    assert world.events() == []


def test_a_missed_range_is_told_once(world, schema):
    """With how many slots it has; the newest one of them is a run of its own."""
    task = world.add_task(world.add_server(), cron="*/5 * * * *")
    world.clock.move(hours=2)
    world.tick()

    world.follow()

    (missed,) = [detail for _, detail in world.events() if detail["state"] == "missed"]
    assert missed["task_id"] == task.task_id
    assert missed["missed"] == {
        "from": "2026-06-01T10:05:00Z",
        "to": "2026-06-01T11:55:00Z",
        "at_least": 23,
    }
    schema.validate({"detail-type": "Run State Change", "detail": missed})


def test_each_attempt_is_told(world, server):
    """And the run's end after the last one only."""
    task = world.add_task(server, command="exit 1", retry=Retry(max_attempts=2))
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.settle(run.run_id)

    world.follow()
    events = world.events()

    attempts = [
        (detail["attempt"], detail["state"])
        for kind, detail in events
        if kind == EventKind.EXECUTION
    ]
    assert attempts == [(1, "pending"), (2, "pending"), (2, "failed")]
    assert states(events)[-1] == ("running", "failed")
    assert len(states(events)) == 3


def test_a_fleet_tells_of_each_server(world, server, sshd):
    """What belongs to a run in its table is no run."""
    other = world.add_server(sshd)
    task = world.add_task(server, other, rollout=Rollout(max_parallel=1))
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.settle(run.run_id)

    world.follow()
    events = world.events()

    assert states(events)[-1] == ("running", "completed")
    completed = {
        detail["server_id"]
        for kind, detail in events
        if kind == EventKind.EXECUTION and detail["state"] == "completed"
    }
    assert completed == {server.server_id, other.server_id}


def test_what_comes_twice_is_known_by_its_id(world):
    """A stream hands over at least once; the event is the same."""
    task = world.add_task(world.add_server())
    world.tasks.run(task.task_id, by="me", now=world.clock())
    records = world.records()

    world.changes.follow(records)
    world.changes.follow(records)

    (first, again) = world.events()
    assert first == again


def test_refused_events_come_again(world, monkeypatch):
    """From the first of them on, in their order."""
    tasks = [world.add_task(world.add_server()) for _ in range(12)]
    for task in tasks:
        world.tasks.run(task.task_id, by="me", now=world.clock())
    records = world.records()
    put_events = world.bus._client.put_events

    def throttled(Entries):  # noqa: N803
        entries = [
            {"ErrorCode": "ThrottlingException"} if number == 3 else {"EventId": "x"}
            for number in range(len(Entries))
        ]
        return {"Entries": entries[: len(Entries)]}

    monkeypatch.setattr(
        world.bus, "_client", SimpleNamespace(put_events=throttled), raising=True
    )
    monkeypatch.setattr(events_handler, "_changes", lambda: world.changes)
    answer = events_handler.handler({"Records": records}, None)
    failed = records[3]["dynamodb"]["SequenceNumber"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": failed}]}

    monkeypatch.setattr(world.bus, "_client", SimpleNamespace(put_events=put_events))
    answer = events_handler.handler({"Records": records[3:]}, None)
    assert answer == {"batchItemFailures": []}
    assert [detail["task_id"] for _, detail in world.events()] == [
        task.task_id for task in tasks[3:]
    ]


def test_a_row_that_cannot_be_read_holds_up_nothing(world):
    """It is logged; the others are told."""
    for _ in range(2):
        task = world.add_task(world.add_server())
        world.tasks.run(task.task_id, by="me", now=world.clock())
    bad, good = world.records()
    bad["dynamodb"]["NewImage"]["state"] = {"S": "of a later version"}

    assert world.changes.follow([bad, good]) == []

    ((_, told),) = world.events()
    assert told["run_id"] == good["dynamodb"]["Keys"]["run_id"]["S"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        pytest.param("definition", {"S": '{"kind": "of a later version"}'}, id="value"),
        pytest.param("version", {"S": "first"}, id="type"),
    ],
)
def test_a_task_that_cannot_be_read_has_no_name(world, attribute, value):
    """Its runs are told of all the same, the others with theirs."""
    bad, good = (world.add_task(world.add_server()) for _ in range(2))
    for task in (bad, good):
        world.tasks.run(task.task_id, by="me", now=world.clock())
    world.spoil("tasks", attribute, value, task_id=bad.task_id)

    world.follow()

    names = {told["task_id"]: told["task_name"] for _, told in world.events()}
    assert names == {bad.task_id: None, good.task_id: good.definition.name}


def test_a_deleted_task_has_no_name(world):
    """Its runs are told of all the same."""
    task = world.add_task(world.add_server())
    world.tasks.run(task.task_id, by="me", now=world.clock())
    world.tasks.delete(task.task_id, version=None, now=world.clock())

    world.follow()

    ((_, told), *_) = world.events()
    assert (told["task_id"], told["task_name"]) == (task.task_id, None)
    assert told["created_at"] == NOW.isoformat().replace("+00:00", "Z")
