"""Backfill: slots of the past that did not run to their end, run now."""

from datetime import timedelta

import pytest

from api import wiring
from cronhop.domain.ids import slot_run_id
from cronhop.domain.run import State, Stream
from cronhop.domain.task import Overlap, Script
from cronhop.store import runs
from tests.integration.test_api import fields

HOUR = timedelta(hours=1)


@pytest.fixture
def api(api, world, monkeypatch):
    """The API over the world's tables, at the world's time."""
    monkeypatch.setattr(wiring, "now", world.clock)
    monkeypatch.setattr("api.tasks.now", world.clock)
    return api


@pytest.fixture
def task(world, server, tmp_path):
    """An hourly task that notes its slots, four hours later."""
    made = world.add_task(
        server,
        cron="0 * * * *",
        spec=Script(command=f"echo $CRONHOP_SLOT >>{tmp_path}/slots"),
        overlap=Overlap.SKIP,
    )
    world.clock.now = made.next_run + 4 * HOUR
    return made


def window(task, hours=3):
    return {
        "from": task.next_run.isoformat(),
        "to": (task.next_run + hours * HOUR).isoformat(),
    }


def test_it_shows_what_it_would_run(api, world, task):
    """Nothing is made; the slot that was completed is left out."""
    done = slot_run_id(task.task_id, task.next_run)
    world.clock.now = task.next_run
    world.tick()
    assert world.settle(done).state is State.COMPLETED
    world.clock.now = task.next_run + 4 * HOUR
    before = len(world.all_runs())

    shown = api("POST", f"/v1/tasks/{task.task_id}/backfill", window(task))

    assert shown.status == 200
    assert [one["before"] for one in shown.body["slots"]] == [None] * 3
    assert shown.body["slots"][0]["at"] == (
        (task.next_run + HOUR).isoformat().replace("+00:00", "Z")
    )
    assert len(world.all_runs()) == before


def test_each_slot_runs_once_in_order(api, world, task, tmp_path):
    """Although they come together, and the task's runs may not overlap."""
    body = {**window(task), "dry_run": False}

    made = api("POST", f"/v1/tasks/{task.task_id}/backfill", body)

    assert made.status == 202
    ids = [one["run_id"] for one in made.body["slots"]]
    ended = [world.settle(run_id, minutes=30) for run_id in ids]
    assert [run.state for run in ended] == [State.COMPLETED] * 4
    assert {run.trigger.value for run in ended} == {"backfill"}
    assert (tmp_path / "slots").read_text().split() == [
        one["at"] for one in made.body["slots"]
    ]


def test_the_oldest_is_first_whichever_message_is(api, world, task, tmp_path):
    """Executors take messages side by side, and the queue keeps no order."""
    body = {**window(task), "dry_run": False}
    api("POST", f"/v1/tasks/{task.task_id}/backfill", body)
    messages = [message for message, _ in world.messages()]

    while messages:
        world.deliver(reversed(messages))
        messages = [message for message, _ in world.messages()]

    slots = (tmp_path / "slots").read_text().split()
    assert len(slots) == 4
    assert slots == sorted(slots)


def test_again_takes_all_of_them(api, world, task):
    """Also those that were completed."""
    done = slot_run_id(task.task_id, task.next_run)
    world.clock.now = task.next_run
    world.tick()
    world.settle(done)
    world.clock.now = task.next_run + 4 * HOUR

    shown = api(
        "POST", f"/v1/tasks/{task.task_id}/backfill", {**window(task), "again": True}
    )

    assert [one["before"] for one in shown.body["slots"]] == ["completed"] + [None] * 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": "2026-01-01T00:00:00Z"}, "to"),
        ({"to": "2099-01-01T00:00:00Z"}, "to"),
        ({"from": "2025-01-01T00:00:00Z"}, "to"),
        ({"from": "soon"}, "from"),
        ({"what": 1}, "what"),
    ],
)
def test_what_is_no_window_of_the_past_is_refused(api, world, task, change, field):
    """It names the field, and makes nothing."""
    body = {**window(task), "dry_run": False, **change}

    answer = api("POST", f"/v1/tasks/{task.task_id}/backfill", body)

    assert (answer.status, fields(answer)) == (400, [field])
    assert runs.of_task(task.task_id, limit=10, after=None).items == []


def test_a_slot_is_told_to_its_own_run_too(world, server):
    """A command may want to know which night it is for."""
    task = world.add_task(server, cron="0 * * * *", command="echo $CRONHOP_SLOT")
    world.clock.now = task.next_run
    world.tick()

    run = world.settle(slot_run_id(task.task_id, task.next_run))

    said = world.output(run, Stream.STDOUT).data.decode().strip()
    assert said == task.next_run.strftime("%Y-%m-%dT%H:%M:%SZ")
