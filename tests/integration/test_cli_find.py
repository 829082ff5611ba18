"""Lists of the command line, and what is asked of them."""

import re

import pytest


@pytest.fixture
def api(cronhop):
    """The API that the program talks to."""
    return cronhop.transport.call


def names(cronhop, *args):
    """Return the names of the tasks in a list, in its order."""
    return [one["name"] for one in cronhop.json("tasks", "list", *args)["items"]]


def test_tasks_are_found(cronhop, world, api):
    """Each option is asked of the API; servers by name, tags as elsewhere here."""
    web, db = world.add_server(name="web-1"), world.add_server(name="db-1")
    dump = world.add_task(db, name="dump")
    world.clock.move(seconds=1)  # ids sort by time
    deploy = world.add_task(web, name="deploy")
    path = f"/v1/tasks/{deploy.task_id}"
    api("PATCH", path, {"tags": {"team": "web"}, "schedule": {"every_s": 60}})
    cronhop("tasks", "disable", "dump")

    assert names(cronhop) == ["dump", "deploy"]
    assert names(cronhop, "--newest") == ["deploy", "dump"]
    assert names(cronhop, "--oldest", "--created-by", "nobody") == []
    assert names(cronhop, "--server", "web-1") == ["deploy"]
    assert names(cronhop, "--tag", "team") == ["deploy"]
    assert names(cronhop, "--tag", "team=web") == ["deploy"]
    assert names(cronhop, "--tag", "team=db") == []
    assert names(cronhop, "--name", "du", "--kind", "script") == ["dump"]
    assert names(cronhop, "--status", "disabled") == ["dump"]
    assert names(cronhop, "--due-before", "2999-01-01T00:00:00+02:00") == ["deploy"]
    assert names(cronhop, "--due-before", dump.created_at.isoformat()) == []
    none = cronhop("tasks", "list", "--name", "zzz")
    assert (none.code, none.err) == (0, "There are none like that.\n")
    refused = cronhop("tasks", "list", "--status", "sleepy")
    assert (refused.code, refused.out) == (1, "")
    assert "status: " in refused.err


def test_a_deleted_task_comes_back(cronhop, world):
    """By its name, if only one had it; else by its id."""
    web = world.add_server(name="web-1")
    for _ in range(2):
        world.add_task(web, name="dump")
        cronhop("tasks", "delete", "dump", "--yes")
        world.clock.move(seconds=2)
    listed = cronhop("tasks", "list", "--status", "deleted")
    ids = [
        one["task_id"]
        for one in cronhop.json("tasks", "list", "--status", "deleted")["items"]
    ]

    several = cronhop("tasks", "restore", "dump")
    by_id = cronhop("tasks", "restore", ids[0])
    cronhop("tasks", "delete", ids[0], "--yes")
    unknown = cronhop("tasks", "restore", "dmup")

    assert re.search(r"deleted [0-9-]+T..:..:..Z", listed.out)
    assert (several.code, by_id.out) == (1, "Restored dump.\n")
    assert all(one in several.err for one in ids)
    assert "did you mean 'dump'" in unknown.err


def test_runs_are_found(cronhop, world, server):
    """Of a task, a server, a state, a trigger, a maker, a time; and of a server."""
    other = world.add_server(name="db-1")
    world.add_task(server, name="fails", command="exit 3")
    world.add_task(other, name="waits")
    failed = cronhop.json("run", "fails")["run_id"]
    world.settle(failed)
    world.clock.move(seconds=5)
    waits = cronhop.json("run", "waits")["run_id"]

    def found(*args):
        return [one["run_id"] for one in cronhop.json(*args)["items"]]

    for args, wanted in {
        (): [waits, failed],
        ("--oldest",): [failed, waits],
        ("--oldest", "--limit", "1"): [failed],
        ("--server", server.name): [failed],
        ("--state", "failed"): [failed],
        ("--state", "failed", "--state", "pending"): [waits, failed],
        ("--trigger", "schedule"): [],
        ("--trigger", "manual", "--created-by", "scheduler"): [],
        ("--to", "2020-01-01T00:00:00Z", "--from", "2019-12-31T00:00:00Z"): [],
    }.items():
        assert found("runs", "list", *args) == wanted, args
    on = ("servers", "executions", server.name)
    assert found(*on) == [failed]
    assert found(*on, "--state", "completed") == []
    assert "exit code 3" in cronhop(*on).out
    assert "cancelled" in cronhop.json("cancel", waits)["state"]
