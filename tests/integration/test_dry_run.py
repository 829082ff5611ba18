"""Dry runs of tasks and templates: all is checked as for real, nothing is written."""

from dataclasses import replace

import pytest

from tests.integration.test_api import CLAIMS, server_body, task_body

HERE = CLAIMS | {"cognito:groups": "[operator:here]"}
VIEWER = CLAIMS | {"cognito:groups": "[viewer]"}
DRY = "dry_run=true"
NO_ID = "0" * 26


@pytest.fixture
def server(api):
    api("POST", "/v1/credentials", {"name": "ops-key", "password": "x1"})
    return api("POST", "/v1/servers", server_body()).body


@pytest.fixture
def paths(api, server):
    """Where a definition can be written, by a word: method, path."""
    task = api("POST", "/v1/tasks", task_body(server, name="there")).body
    body = task_body(server, name="there", schedule=None)
    template = api("POST", "/v1/templates", body).body
    for what in ("tasks", "templates"):  # their names are taken
        api("POST", f"/v1/{what}", task_body(server, name="other", schedule=None))
    of_task = f"/v1/tasks/{task['task_id']}"
    of_template = f"/v1/templates/{template['template_id']}"
    return {
        "new task": ("POST", "/v1/tasks"),
        "task": ("PUT", of_task),
        "patched task": ("PATCH", of_task),
        "new template": ("POST", "/v1/templates"),
        "template": ("PUT", of_template),
        "patched template": ("PATCH", of_template),
        "made task": ("POST", f"{of_template}/tasks"),
    }


WAYS = ["new task", "task", "patched task"]
WAYS += ["new template", "template", "patched template", "made task"]


def body_for(way, server, **changes):
    """Return a body with these changes: whole, or only what a patch needs."""
    if way.startswith("patched"):
        return {"timeout_s": 5, **changes}
    if way == "made task":
        return {"name": "new", "timeout_s": 5, **changes}
    return task_body(server, **{"name": "new", "timeout_s": 5, **changes})


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_written(api, world, server, paths, way):
    """Nor sent, nor put on record; then it can be done."""
    method, path = paths[way]
    body = body_for(way, server)
    world.messages()
    before = world.dump()

    answer = api(method, path, body, query=DRY, headers={"idempotency-key": "k"})

    assert (answer.status, answer.body) == (204, None)
    assert (world.dump(), world.messages()) == (before, [])
    # The key was not used up either.
    done = api(method, path, body, headers={"idempotency-key": "k"})
    assert done.status in {200, 201}
    assert "idempotency-replayed" not in done.headers
    assert world.dump() != before


def test_a_slot_that_is_overdue_is_not_sent(world):
    """A change for real sends what was due before it."""
    task = world.add_task(world.add_server(), cron="* * * * *")
    world.messages()
    known = world.all_runs()
    world.clock.move(minutes=3)

    def change(**how):
        return world.tasks.change(
            task.task_id,
            replace(task.definition, schedule=None),
            version=1,
            by="ada",
            now=world.clock(),
            **how,
        )

    assert change(dry_run=True).definition.schedule is None
    assert (world.messages(), world.all_runs()) == ([], known)
    assert world.tasks.get(task.task_id).version == 1
    change()
    assert world.messages()


REFUSED = [
    {"name": "other"},
    {"timeout_s": 0},
    {"tiemout_s": 5},
    {"schedule": {"cron": "0 0 30 2 *"}},
    {"schedule": {"cron": "30 1 * * *", "exclude_calendars": ["none"]}},
    {"targets": {"server_ids": [NO_ID]}},
    {"spec": {"command": "true", "secrets": {"PW": "none"}}},
    {"environment": "elsewhere"},
]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_as_for_real(api, world, server, paths, way):
    """With the same status, in the same words."""
    method, path = paths[way]
    before = world.dump()
    for changes in REFUSED:
        body = body_for(way, server, **changes)

        dry = api(method, path, body, query=DRY)

        assert 400 <= dry.status < 500, changes
        real = api(method, path, body)
        assert (real.status, real.body) == (dry.status, dry.body)
    assert world.dump() == before


@pytest.mark.parametrize("what", ["tasks", "templates"])
def test_what_is_gone_is_refused_as_for_real(api, server, paths, what):
    """Before anything else is looked at."""
    gone = paths[what.removesuffix("s")][1]
    assert api("DELETE", gone).status == 204
    for path in (gone, f"/v1/{what}/{NO_ID}"):
        for method in ("PUT", "PATCH"):
            for body, headers in (
                ({"tiemout_s": 5}, {}),
                (task_body(server), {"if-match": '"x"'}),
            ):
                dry = api(method, path, body, query=DRY, headers=headers)
                real = api(method, path, body, headers=headers)

                assert dry.status == 404
                assert (real.status, real.body) == (dry.status, dry.body)


def test_a_key_that_is_none_is_refused(api, server):
    """Though it would not be looked up."""
    for key in ("ü", "k" * 256):
        headers = {"idempotency-key": key}
        answer = api("POST", "/v1/tasks", task_body(server), query=DRY, headers=headers)

        assert (answer.status, answer.body["errors"][0]["field"]) == (
            400,
            "Idempotency-Key",
        )


def test_the_version_counts(api, server, paths):
    """Who has read another one is told so."""
    for way in ("task", "patched task", "template", "patched template", "made task"):
        method, path = paths[way]
        stale = {"if-match": '"7"'}

        answer = api(method, path, body_for(way, server), query=DRY, headers=stale)

        assert answer.status == 412


def test_it_takes_the_same_right(api, world, server, paths):
    """What may not be written may not be tried; nothing of it is put on record."""
    before = world.dump()
    for way, (method, path) in paths.items():
        body = body_for(way, server)

        viewer = api(method, path, body, query=DRY, claims=VIEWER)
        limited = api(method, path, body, query=DRY, claims=HERE)

        assert viewer.status == 403
        assert limited.status == (403 if way.startswith("new") else 404)
    assert world.dump() == before


def test_a_word_that_is_neither_is_refused(api, world, server):
    """What was meant to be tried only must not be done."""
    before = world.dump()
    for text in ("yes", "1", "True", "", "true,false", "false,true"):
        answer = api("POST", "/v1/tasks", task_body(server), query=f"dry_run={text}")

        assert answer.status == 400, text
        assert [one["field"] for one in answer.body["errors"]] == ["dry_run"]
    assert world.dump() == before


def test_other_routes_do_not_know_it(api, world, server):
    """They would do what shall only be tried."""
    before = world.dump()

    answer = api("POST", "/v1/servers", server_body(name="new"), query=DRY, headers={})

    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "dry_run")
    assert world.dump() == before
