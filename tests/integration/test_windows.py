"""Windows: pauses, the freeze and calendars; every slot says why it did not start."""

from datetime import date, timedelta

import pytest

from cronhop.domain.ids import slot_run_id
from cronhop.domain.run import State
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.server import ServerStatus
from cronhop.store import connection, runs, tasks
from tests.integration.test_api import fields


@pytest.fixture
def server(world):
    """A server that nobody visits: what starts there stays running."""
    return world.add_server(status=ServerStatus.MAINTENANCE)


def go_through(world, task, slots=1):
    """Let the next slots of a task come to their gate; return their runs."""
    found = []
    for _ in range(slots):
        slot = tasks.get(task.task_id).next_run
        world.clock.now = slot - timedelta(seconds=30)
        world.tick()
        world.clock.now = slot
        world.deliver()
        found.append(runs.get(slot_run_id(task.task_id, slot)))
    return found


def pause(world, task, until=None):
    world.tasks.pause(
        task.task_id, until=until, reason="a move", by="ada", now=world.clock()
    )


def test_a_paused_task_starts_nothing_until_it_is_resumed(world, server):
    """Each of its slots is skipped and says who, why and since when it is."""
    task = world.add_task(server, cron="0 * * * *")
    pause(world, task)

    held = go_through(world, task, slots=2)
    world.tasks.resume(task.task_id)
    (free,) = go_through(world, task)

    assert [run.state for run in held] == [State.SKIPPED] * 2
    assert held[0].reason == "the task is paused by ada: a move"
    assert "maintenance" in free.reason


def test_a_pause_ends_by_itself(world, server):
    """The first slot at or after its end starts."""
    task = world.add_task(server, cron="0 * * * *")
    pause(world, task, until=task.next_run + timedelta(hours=1))

    held, free = go_through(world, task, slots=2)

    assert held.state is State.SKIPPED
    assert (
        held.reason == "the task is paused by ada until 2026-06-01 12:00:00 UTC: a move"
    )
    assert "maintenance" in free.reason


def test_a_pause_stops_what_is_on_its_way(world, server):
    """A slot that was sent before the pause does not pass its gate after it."""
    task = world.add_task(server, cron="0 * * * *")
    world.clock.now = task.next_run - timedelta(seconds=30)
    world.tick()
    world.clock.move(seconds=10)
    pause(world, task)
    world.clock.move(seconds=20)

    world.deliver()

    assert runs.get(slot_run_id(task.task_id, task.next_run)).state is State.SKIPPED


def test_a_paused_task_runs_by_hand(world, server):
    """Whoever asks for it now knows what he does."""
    task = world.add_task(server, cron="0 * * * *")
    pause(world, task)
    world.freeze.put(until=None, reason="", by="ada", now=world.clock())

    run = world.tasks.run(task.task_id, by="ada", now=world.clock())
    world.deliver()

    assert "maintenance" in runs.get(run.run_id).reason


def test_the_freeze_holds_back_every_task(world, server):
    """While it lasts; then all go on by themselves."""
    one = world.add_task(server, cron="0 * * * *")
    other = world.add_task(server, cron="0 * * * *")
    world.freeze.put(
        until=one.next_run + timedelta(minutes=1),
        reason="year's end",
        by="ada",
        now=world.clock(),
    )

    go_through(world, one)
    held = [runs.get(slot_run_id(t.task_id, t.next_run)) for t in (one, other)]
    (free,) = go_through(world, one)

    assert {run.reason for run in held} == {
        "the stack is frozen by ada until 2026-06-01 11:01:00 UTC: year's end"
    }
    assert "maintenance" in free.reason
    assert world.freeze.get(world.clock()) is None


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_throttled_gate_asks_again(world, server, is_frozen):
    """Half an answer is none: the task is not taken for deleted, nor the freeze."""
    task = world.add_task(server, cron="0 * * * *")
    if is_frozen:
        world.freeze.put(until=None, reason="", by="ada", now=world.clock())
    left_out = []

    def leave_out(parsed, **kwargs):
        ((table, items),) = parsed["Responses"].items()
        # An item at a time, another one each time.
        for item in items:
            key = {"task_id": item["task_id"]}
            if key not in left_out:
                left_out.append(key)
                items.remove(item)
                parsed["UnprocessedKeys"] = {table: {"Keys": [key]}}
                return

    events = connection.client().meta.events
    events.register("after-call.dynamodb.BatchGetItem", leave_out)
    (run,) = go_through(world, task)

    assert {"task_id": {"S": task.task_id}} in left_out
    assert len(left_out) == 1 + is_frozen
    assert ("frozen" if is_frozen else "maintenance") in run.reason


def test_a_lifted_freeze_holds_back_nothing(world, server):
    """From the moment it is lifted."""
    task = world.add_task(server, cron="0 * * * *")
    world.freeze.put(until=None, reason="", by="ada", now=world.clock())
    world.freeze.lift()

    (free,) = go_through(world, task)

    assert "maintenance" in free.reason


def test_a_calendar_excludes_dates(world, server):
    """Its dates are those of now, not of when the task was made."""
    world.calendars.create("holidays", (date(2026, 6, 2),), by="ada", now=world.clock())
    task = world.add_task(
        server,
        schedule=CronSchedule(cron="0 9 * * *", exclude_calendars=("holidays",)),
    )

    (holiday,) = go_through(world, task)
    world.calendars.replace(
        "holidays", (date(2026, 6, 4),), version=None, now=world.clock()
    )
    third, fourth = go_through(world, task, slots=2)

    assert holiday.reason == "calendar holidays excludes 2026-06-02"
    assert "maintenance" in third.reason
    assert fourth.reason == "calendar holidays excludes 2026-06-04"


@pytest.mark.parametrize("held_by", ["pause", "freeze"])
def test_an_outage_of_what_is_held_back_is_no_alarm(world, server, held_by):
    """Its slots share one row that says so; nobody is told."""
    task = world.add_task(server, cron="0 * * * *")
    if held_by == "pause":
        pause(world, task)
    else:
        world.freeze.put(until=None, reason="", by="ada", now=world.clock())
    world.clock.now = task.next_run + timedelta(hours=72, minutes=10)

    world.tick()
    world.deliver()

    row = runs.get(slot_run_id(task.task_id, task.next_run))
    assert (row.state, row.missed_count, row.check_at) == (State.SKIPPED, 72, None)
    assert "by ada" in row.reason
    assert world.alarms() == []


def test_an_outage_before_a_pause_is_missed(world, server):
    """A pause that began later explains nothing."""
    task = world.add_task(server, cron="0 * * * *")
    world.clock.now = task.next_run + timedelta(hours=72, minutes=10)
    pause(world, task)

    world.tick()

    row = runs.get(slot_run_id(task.task_id, task.next_run))
    assert row.state is State.MISSED


def task_body(server, **schedule):
    return {
        "name": "task",
        "spec": {"command": "true"},
        "targets": {"server_ids": [server.server_id]},
        "schedule": {"cron": "@daily", **schedule},
    }


def test_pause_and_resume_by_the_api(api, server):
    """The task shows its pause, which is no change of it."""
    made = api("POST", "/v1/tasks", task_body(server)).body
    path = f"/v1/tasks/{made['task_id']}"

    paused = api(
        "POST", f"{path}/pause", {"until": "2099-01-01T00:00:00Z", "reason": "a move"}
    )
    shown = api("GET", path)
    resumed = api("POST", f"{path}/resume")

    assert paused.status == 200, paused.body
    assert shown.body == paused.body
    assert shown.body["version"] == made["version"]
    assert (
        shown.body["pause"].items()
        >= {
            "by": "ada",
            "until": "2099-01-01T00:00:00Z",
            "reason": "a move",
        }.items()
    )
    assert resumed.body["pause"] is None
    assert api("POST", f"{path}/pause").body["pause"]["until"] is None
    changed = api("PATCH", path, {"timeout_s": 5})
    assert changed.body["pause"] is not None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"for": "a day"}, "for"),
    ],
)
def test_a_hold_that_cannot_be_is_refused(world, api, server, body, field):
    """A pause and the freeze alike; nothing is held back then."""
    made = api("POST", "/v1/tasks", task_body(server)).body
    path = f"/v1/tasks/{made['task_id']}"

    paused, frozen = api("POST", f"{path}/pause", body), api("PUT", "/v1/freeze", body)

    assert (paused.status, fields(paused)) == (400, [field])
    assert (frozen.status, fields(frozen)) == (400, [field])
    assert api("GET", path).body["pause"] is None
    assert api("GET", "/v1/freeze").body == {"freeze": None}


def test_pausing_what_is_not_there(api):
    """404, as for every task that is not there."""
    for verb in ("pause", "resume"):
        assert api("POST", f"/v1/tasks/01J00000000000000000000000/{verb}").status == 404


def test_the_freeze_by_the_api(api):
    """Put, shown, lifted."""
    put = api("PUT", "/v1/freeze", {"reason": "year's end"})

    assert put.status == 200
    assert put.body["freeze"]["reason"] == "year's end"
    assert api("GET", "/v1/freeze").body == put.body
    assert api("DELETE", "/v1/freeze").status == 204
    assert api("GET", "/v1/freeze").body == {"freeze": None}


def test_the_life_of_a_calendar(api, server):
    """Made, listed by name, replaced, and removed once no task names it."""
    made = api(
        "POST",
        "/v1/calendars",
        {"name": "holidays", "dates": ["2026-12-25", "2026-01-01", "2026-12-25"]},
    )
    api("POST", "/v1/calendars", {"name": "audits", "dates": []})
    task = api("POST", "/v1/tasks", task_body(server, exclude_calendars=["holidays"]))

    assert made.status == 201, made.body
    assert made.body["dates"] == ["2026-01-01", "2026-12-25"]
    assert api("POST", "/v1/calendars", {"name": "audits", "dates": []}).status == 409
    assert task.status == 201, task.body
    assert task.body["schedule"]["exclude_calendars"] == ["holidays"]
    page = api("GET", "/v1/calendars", query="limit=1").body
    rest = api("GET", "/v1/calendars", query=f"next_token={page['next_token']}").body
    assert [one["name"] for one in page["items"] + rest["items"]] == [
        "audits",
        "holidays",
    ]
    assert [one["name"] for one in api("GET", "/v1/tasks").body["items"]] == ["task"]
    path = "/v1/calendars/holidays"
    stale = api("PUT", path, {"dates": []}, headers={"if-match": '"7"'})
    changed = api("PUT", path, {"dates": []}, headers={"if-match": '"1"'})
    assert (stale.status, changed.status) == (412, 200)
    assert api("GET", path).body == changed.body
    assert api("DELETE", path).status == 409
    assert api("DELETE", f"/v1/tasks/{task.body['task_id']}").status == 204
    assert api("DELETE", path).status == 204
    assert api("GET", path).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a b", "dates": []}, "name"),
        ({"name": "holidays"}, "dates"),
        ({"name": "holidays", "dates": ["25.12.2026"]}, "dates.0"),
        ({"name": "holidays", "dates": ["2026-02-30"]}, "dates.0"),
        ({"name": "holidays", "dates": ["2026-12-25"] * 1001}, "dates"),
        ({"name": "holidays", "dates": [], "include": True}, "include"),
    ],
)
def test_a_calendar_that_cannot_be_is_refused(world, api, body, field):
    """The field is named, and nothing is kept."""
    refused = api("POST", "/v1/calendars", body)

    assert (refused.status, fields(refused)) == (400, [field])
    assert world.rows("tasks") == []


def test_a_calendar_that_is_not_there_cannot_be_named(api, server):
    """The task is refused."""
    refused = api("POST", "/v1/tasks", task_body(server, exclude_calendars=["nope"]))

    assert (refused.status, fields(refused)) == (400, ["schedule.exclude_calendars.0"])
