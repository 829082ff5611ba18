"""/v1/stats: what the counters say of some days."""

from datetime import UTC, datetime

import pytest

from cronhop.services import statistics
from tests.integration.test_api import CLAIMS, fields
from tests.world import NOW

TODAY = NOW.date().isoformat()
DAYS = f"from=2026-05-31&to={TODAY}"


def run(world, task):
    """Let a task run to its end, and be counted."""
    world.tasks.run(task.task_id, by="me", now=world.clock())
    world.deliver()
    world.follow()


def cancel(world, task):
    """Let a run of a task be cancelled before it begins, and be counted."""
    made = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.runs.cancel(made.run_id, by="me", now=world.clock())
    world.follow()


def test_what_the_fleet_did(world, api, server):
    """By state and day, with the rate of all days together."""
    good = world.add_task(server, command="sleep 0.1")
    bad = world.add_task(server, command="exit 1")
    for task in (good, good, bad):
        run(world, task)
    cancel(world, bad)

    body = api("GET", "/v1/stats", query=DAYS).body

    today = {
        "runs": 4,
        "states": {"completed": 2, "failed": 1, "cancelled": 1},
        "success_rate": 2 / 3,
        "late": 0,
    }
    nothing = {"runs": 0, "states": {}, "success_rate": None, "late": 0}
    (busiest,) = body["busiest_servers"].pop("items")
    assert busiest.pop("busy_s") >= 0.2
    assert busiest == {
        "server_id": server.server_id,
        "name": server.name,
        "executions": 3,
        "states": {"completed": 2, "failed": 1},
    }
    assert body == {
        "from": "2026-05-31",
        "to": TODAY,
        **today,
        "days": [{"day": "2026-05-31", **nothing}, {"day": TODAY, **today}],
        "busiest_servers": {"since": "2026-05-31"},
        "never_successful": {
            "items": [
                {
                    "task_id": bad.task_id,
                    "name": bad.definition.name,
                    "first_end": "2026-06-01T10:01:00Z",
                }
            ],
            "complete": True,
        },
    }


def test_what_a_task_did(world, api, server):
    """With the durations of its commands."""
    task = world.add_task(server, command="sleep 0.5")
    run(world, task)
    done = world.clock()
    world.clock.move(days=1)
    cancel(world, task)

    path = f"/v1/tasks/{task.task_id}/stats"
    body = api("GET", path, query=f"from={TODAY}&to=2026-06-02").body

    first, second = body["days"]
    assert body["task_id"] == task.task_id
    assert body["last_success"] == done.isoformat().replace("+00:00", "Z")
    assert (body["runs"], first["runs"], second["runs"]) == (2, 1, 1)
    assert body["p50_s"] == body["p95_s"] == first["p50_s"]
    assert 0.47 <= body["p50_s"] <= 1
    assert (second["p50_s"], second["success_rate"]) == (None, None)


def test_the_last_success_may_be_before_the_window(world, api, server, tmp_path):
    """It is the last one ever, as far as is known; what failed later is none."""
    flag = tmp_path / "flag"
    flag.touch()
    task = world.add_task(server, command=f"test -e {flag}")
    run(world, task)
    world.clock.move(days=1, milliseconds=1)
    flag.unlink()
    run(world, task)

    path = f"/v1/tasks/{task.task_id}/stats"
    body = api("GET", path, query="from=2026-07-01&to=2026-07-02").body
    other = world.add_task(server, command="exit 1")
    run(world, other)
    none = api("GET", f"/v1/tasks/{other.task_id}/stats").body

    assert (body["runs"], body["last_success"]) == (0, "2026-06-01T10:01:00Z")
    assert none["last_success"] is None


def test_servers_are_looked_at_for_so_many_days(world, api, server, monkeypatch):
    """The newest first, a day whole; the answer says since when."""
    task = world.add_task(server)
    for _ in range(3):
        run(world, task)
        world.clock.move(days=1)
    monkeypatch.setattr(statistics, "SERVER_DAYS_READ", 2)

    body = api("GET", "/v1/stats", query=f"from={TODAY}&to=2026-06-03").body

    assert body["busiest_servers"]["since"] == "2026-06-02"
    assert body["busiest_servers"]["items"][0]["executions"] == 2
    assert body["runs"] == 3


def test_ten_servers_are_shown(world, api):
    """Of eleven; one that was deleted has no name."""
    many = [world.add_server() for _ in range(11)]
    for server in many:
        task = world.add_task(server, command="true")
        made = world.tasks.run(task.task_id, by="me", now=world.clock())
        world.deliver()
        world.runs.cancel(made.run_id, by="me", now=world.clock())
        world.settle(made.run_id)
        world.tasks.delete(task.task_id, version=None, now=world.clock())
        world.servers.delete(server.server_id, version=None)
    world.follow()

    day = world.clock().date().isoformat()
    body = api("GET", "/v1/stats", query=f"from={TODAY}&to={day}").body

    items = body["busiest_servers"]["items"]
    assert [(one["name"], one["executions"]) for one in items] == [(None, 1)] * 10


def test_deleted_tasks_are_no_more_unsuccessful(world, api, server, monkeypatch):
    """They hide no living one; if there are more than are shown it says so."""
    monkeypatch.setattr(statistics, "UNSUCCESSFUL", 2)
    tasks = [world.add_task(server, command="exit 1") for _ in range(6)]
    for task in tasks:
        run(world, task)
    for task in tasks[:3]:
        world.tasks.delete(task.task_id, version=None, now=world.clock())

    def shown():
        return api("GET", "/v1/stats").body["never_successful"]

    assert not shown()["complete"]
    assert len(shown()["items"]) == 2
    world.tasks.delete(tasks[3].task_id, version=None, now=world.clock())
    left = sorted(task.task_id for task in tasks[4:])
    assert sorted(one["task_id"] for one in shown()["items"]) == left
    assert shown()["complete"]


def test_the_last_seven_days_are_shown(api):
    """If nothing else is said, or only the end."""
    before = datetime.now(UTC).date()
    body = api("GET", "/v1/stats").body
    after = datetime.now(UTC).date()
    until = api("GET", "/v1/stats", query="to=2026-03-03").body
    quarter = api("GET", "/v1/stats", query="from=2026-01-01&to=2026-04-02").body

    assert body["to"] in {before.isoformat(), after.isoformat()}
    assert [len(one["days"]) for one in (body, until, quarter)] == [7, 7, 92]
    assert until["from"] == "2026-02-25"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("to=20260601", "to"),
        ("to=2026-W01-1", "to"),
        ("to=0001-01-01", "to"),
        ("from=2026-06-02&to=2026-06-01", "to"),
        ("from=2026-01-01&to=2026-04-03", "from"),
        ("day=2026-06-01", "day"),
    ],
)
def test_days_that_cannot_be_are_refused(api, query, field):
    """With the parameter at fault."""
    answer = api("GET", "/v1/stats", query=query)

    assert (answer.status, fields(answer)) == (400, [field])


@pytest.mark.parametrize("task_id", ["01KT1A29V0D3WKZ6R6T4K5RW5E", "x"])
def test_what_is_no_task_has_no_statistics(api, task_id):
    """As it is shown by no other route."""
    assert api("GET", f"/v1/tasks/{task_id}/stats").status == 404


def test_the_fleet_is_for_those_who_see_all_of_it(world, api):
    """A role in one environment does not read what all of them did together."""
    task = world.add_task(world.add_server(environment="prod"), environment="prod")

    def asked(path, *groups):
        claims = {**CLAIMS, "cognito:groups": f"[{' '.join(groups)}]"}
        return api("GET", path, claims=claims).status

    path = f"/v1/tasks/{task.task_id}/stats"
    assert asked("/v1/stats", "viewer") == asked(path, "viewer") == 200
    assert asked("/v1/stats", "admin:prod") == 403
    assert asked(path, "viewer:prod") == 200
    assert asked(path, "viewer:staging") == 404
