"""Templates: kept by version, and the tasks that are made of them."""

from dataclasses import replace

import pytest

from cronhop.domain.credential import Secret
from cronhop.domain.ids import new_id
from cronhop.domain.run import State, Stream, Trigger
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.server import ServerStatus
from cronhop.store import tasks
from tests.integration.test_api import CLAIMS, fields


@pytest.fixture
def parked(world):
    """A server that nobody visits."""
    return world.add_server(name="web-1", status=ServerStatus.MAINTENANCE)


def template_body(**changes):
    return {
        "name": "deploy",
        "spec": {
            "command": 'printf "%s %s %s" "$1" "$VERSION" "${#TOKEN}"',
            "arguments": [{"parameter": "VERSION"}],
        },
        "targets": {"parameter": "WHERE"},
        "schedule": {"cron": "30 1 * * *"},
        "timeout_s": 60,
        "parameters": [
            {"name": "VERSION", "type": "string", "pattern": r"v\d+"},
            {"name": "WHERE", "type": "server"},
            {"name": "TOKEN", "type": "secret"},
        ],
        **changes,
    }


@pytest.fixture
def template(api):
    made = api("POST", "/v1/templates", template_body())
    assert made.status == 201, made.body
    return made.body


@pytest.fixture
def token(world):
    world.credentials.create(
        "token", Secret(password="correct horse"), by="ada", now=world.clock()
    )


def path_of(template):
    return f"/v1/templates/{template['template_id']}"


def values_of(server, **changes):
    return {"VERSION": "v1", "WHERE": server.name, "TOKEN": "token", **changes}


def make(api, template, server, name="deploy to web-1", **changes):
    body = {"name": name, "parameters": values_of(server), **changes}
    return api("POST", f"{path_of(template)}/tasks", body)


def test_a_template_is_kept_and_shown(api, template):
    """As a task is, but it is never due."""
    shown = api("GET", path_of(template))

    assert (shown.status, shown.body) == (200, template)
    assert shown.headers["etag"] == '"1"'
    assert template["name"] == "deploy"
    assert template["created_by"] == "ada"
    assert [one["default"] for one in template["parameters"]] == [None] * 3
    assert "next_run" not in template
    assert api("GET", "/v1/tasks").body["items"] == []


def test_each_change_is_a_version(api, template, world):
    """Counted, each kept as it was; who has read an older one is refused."""
    put = api(
        "PUT",
        path_of(template),
        template_body(timeout_s=90),
        headers={"if-match": '"1"'},
    )
    patched = api("PATCH", path_of(template), {"name": "deploy it"})
    late = api(
        "PATCH", path_of(template), {"timeout_s": 1}, headers={"if-match": '"2"'}
    )

    assert (put.status, put.body["version"], put.body["timeout_s"]) == (200, 2, 90)
    assert (patched.status, patched.body["version"]) == (200, 3)
    assert patched.body["timeout_s"] == 90
    assert late.status == 412
    assert patched.body == api("GET", path_of(template)).body
    kept = [
        tasks.get_version(f"template#{template['template_id']}", number)
        for number in (1, 2, 3)
    ]
    assert [(one.name, one.timeout_s) for one in kept] == [
        ("deploy", 60),
        ("deploy", 90),
        ("deploy it", 90),
    ]


def test_a_name_is_one_templates(api, template, parked):
    """Not that of two, and free when it is not used any more; tasks have their own."""
    taken = api("POST", "/v1/templates", template_body())
    other = api("POST", "/v1/templates", template_body(name="other")).body
    renamed = api("PATCH", path_of(other), {"name": "deploy"})
    task = api(
        "POST",
        "/v1/tasks",
        template_body(
            targets={"server_ids": [parked.server_id]},
            schedule=None,
            parameters=[],
            spec={"command": "true"},
        ),
    )
    api("PATCH", path_of(template), {"name": "renamed"})

    assert (taken.status, fields(taken)) == (409, ["name"])
    assert (renamed.status, fields(renamed)) == (409, ["name"])
    assert task.status == 201
    assert api("PATCH", path_of(other), {"name": "deploy"}).status == 200
    assert api("DELETE", path_of(other)).status == 204
    assert api("POST", "/v1/templates", template_body()).status == 201


def test_templates_are_listed_by_pages(api):
    """Oldest first, and no task among them."""
    names = [f"template {number}" for number in range(5)]
    for name in names:
        assert api("POST", "/v1/templates", template_body(name=name)).status == 201

    first = api("GET", "/v1/templates", query="limit=3").body
    rest = api(
        "GET", "/v1/templates", query=f"limit=3&next_token={first['next_token']}"
    ).body

    assert [one["name"] for one in first["items"] + rest["items"]] == names
    assert rest["next_token"] is None
    assert api("GET", "/v1/tasks").body["items"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"schedule": {"cron": "0 0 31 2 *"}}, "schedule.cron"),
        ({"parameters": []}, "spec.arguments.0"),
        ({"targets": {"server_ids": ["nope"]}}, "targets.server_ids.0"),
        ({"targets": {"parameter": "VERSION"}}, "targets.parameter"),
        ({"spec": {"command": "true", "secrets": {"P": "no"}}}, "spec.secrets.P"),
        ({"template_id": "x"}, "template_id"),
        ({"next_run": None}, "next_run"),
    ],
)
def test_a_bad_template_is_refused_by_its_field(api, world, changes, field):
    """As a task is."""
    refused = api("POST", "/v1/templates", template_body(**changes))

    assert (refused.status, fields(refused)) == (400, [field])
    assert world.rows("tasks") == []


def test_a_task_is_made_of_it(api, template, parked, token):
    """With the values as its defaults, and what it was made of."""
    made = make(api, template, parked, timeout_s=5, enabled=False)

    assert made.status == 201, made.body
    task = made.body
    assert task["template"] == {"template_id": template["template_id"], "version": 1}
    assert task["spec"] == template["spec"]
    assert [one["default"] for one in task["parameters"]] == [
        "v1",
        parked.server_id,
        "token",
    ]
    assert (task["timeout_s"], task["enabled"]) == (5, False)
    assert task["schedule"]["cron"] == "30 1 * * *"
    assert task == api("GET", f"/v1/tasks/{task['task_id']}").body


def test_what_it_was_made_of_stays(api, template, parked, token):
    """Whatever becomes of the task, and of the template."""
    task = make(api, template, parked).body
    path = f"/v1/tasks/{task['task_id']}"

    api("PATCH", path, {"name": "mine", "spec": {"command": "false"}})
    api("PATCH", path_of(template), {"timeout_s": 90})
    changed = api("GET", path).body
    assert api("DELETE", path_of(template)).status == 204
    left = api("GET", path).body

    assert changed["template"] == left["template"] == task["template"]
    assert changed["timeout_s"] == 60
    assert api("GET", path_of(template)).status == 404
    assert api("GET", f"{path_of(template)}/tasks").status == 404
    assert make(api, template, parked, name="late").status == 404
    assert api("PUT", path, {**changed, "template": None}).status == 400
    assert api("DELETE", path).status == 204


def test_its_tasks_are_listed_with_their_version(api, template, parked, token):
    """By pages, those that are behind told from the others; the deleted are gone."""
    for number in range(3):
        assert make(api, template, parked, name=f"old {number}").status == 201
    api("PATCH", path_of(template), {"timeout_s": 90})
    new = make(api, template, parked, name="new").body
    other = api("POST", "/v1/templates", template_body(name="other")).body
    make(api, other, parked, name="of another")
    path = f"{path_of(template)}/tasks"
    gone = api("GET", path).body["items"][1]
    api("DELETE", f"/v1/tasks/{gone['task_id']}")

    first = api("GET", path, query="limit=2").body
    rest = api("GET", path, query=f"limit=2&next_token={first['next_token']}").body

    assert [
        (one["name"], one["template_version"], one["behind"])
        for one in first["items"] + rest["items"]
    ] == [("old 0", 1, True), ("old 2", 1, True), ("new", 2, False)]
    assert rest["items"][0]["task_id"] == new["task_id"]
    assert rest["next_token"] is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"parameters": {"VERSION": "v1", "TOKEN": "token"}}, "parameters.WHERE"),
        ({"parameters": {"VERSION": "main"}}, "parameters.VERSION"),
        ({"parameters": {"VERSION": 1}}, "parameters.VERSION"),
        ({"parameters": {"WHERE": "nowhere"}}, "parameters.WHERE"),
        ({"parameters": {"TOKEN": "nothing"}}, "parameters.TOKEN"),
        ({"parameters": {"NO": "x"}}, "parameters.NO"),
        ({"parameters": []}, "parameters"),
        ({"spec": {"command": "true"}}, "spec"),
        ({"kind": "script"}, "kind"),
        ({"targets": {"server_ids": ["nope"]}}, "targets.server_ids.0"),
        ({"schedule": {"cron": "* *"}}, "schedule.cron"),
        ({"task_id": "x"}, "task_id"),
    ],
)
def test_a_task_is_refused_by_the_field_at_fault(
    api, template, parked, token, changes, field
):
    """And none is made."""
    refused = make(api, template, parked, **changes)

    assert (refused.status, fields(refused)) == (400, [field]), refused.body
    assert api("GET", "/v1/tasks").body["items"] == []
    assert api("GET", f"{path_of(template)}/tasks").body["items"] == []


def test_a_task_without_schedule_may_leave_values_open(api, template, parked, token):
    """Whoever runs it gives them."""
    made = make(
        api,
        template,
        parked,
        schedule=None,
        targets={"server_ids": [parked.server_id]},
        parameters={"TOKEN": "token", "WHERE": "web-1"},
    )
    run = f"/v1/tasks/{made.body['task_id']}/run"

    assert made.status == 201, made.body
    refused = api("POST", run, {})
    assert (refused.status, fields(refused)) == (400, ["parameters.VERSION"])
    assert api("POST", run, {"parameters": {"VERSION": "v2"}}).status == 202


def test_a_name_that_is_taken_makes_nothing(api, template, parked, token):
    """As with tasks."""
    make(api, template, parked)

    again = make(api, template, parked)

    assert (again.status, fields(again)) == (409, ["name"])
    assert len(api("GET", f"{path_of(template)}/tasks").body["items"]) == 1


def test_an_older_version_of_the_template_makes_nothing(api, template, parked, token):
    """If-Match says which one was meant."""
    api("PATCH", path_of(template), {"timeout_s": 90})
    body = {"name": "late", "parameters": values_of(parked)}

    made = api("POST", f"{path_of(template)}/tasks", body, headers={"if-match": '"1"'})

    assert made.status == 412


def test_a_template_that_is_not_there(api, world):
    """Ids of nothing, and of what is no template."""
    for one in (new_id(world.clock()), "nope", "#"):
        for method, path in (
            ("GET", f"/v1/templates/{one}"),
            ("DELETE", f"/v1/templates/{one}"),
            ("GET", f"/v1/templates/{one}/tasks"),
        ):
            assert api(method, path).status == 404


def test_from_a_template_to_output(api, template, world, server, token):
    """A slot runs with the values of the task, a run by hand with its own."""
    kept = world.templates.get(template["template_id"])
    definition = replace(
        kept.definition, name="made", schedule=CronSchedule(cron="5 10 * * *")
    )
    task = world.templates.make(
        kept, definition, values_of(server), by="ada", now=world.clock()
    )
    by_hand = world.tasks.run(
        task.task_id, by="ada", now=world.clock(), parameters={"VERSION": "v2"}
    )
    ended = world.settle(by_hand.run_id)
    world.clock.move(minutes=3)
    world.tick()
    (slot,) = [one for one in world.all_runs() if one.trigger is Trigger.SCHEDULE]

    slot = world.settle(slot.run_id)

    for run, wrote in ((ended, b"v2 v2 13"), (slot, b"v1 v1 13")):
        assert (run.state, run.targets) == (State.COMPLETED, (server.server_id,))
        assert world.output(run, Stream.STDOUT).data == wrote
    assert "correct horse" not in world.dump()


# Whose it is

STAGING = {**CLAIMS, "username": "bob", "cognito:groups": "[operator:staging]"}


def test_a_template_of_another_environment_is_not_there(api, world, token):
    """For whom a role is limited: to see, to change, to make tasks of, in lists."""
    template, hidden = (
        api(
            "POST",
            "/v1/templates",
            template_body(name=environment, environment=environment),
        ).body
        for environment in ("staging", "prod")
    )

    page = api("GET", "/v1/templates", claims=STAGING).body
    answers = [
        api(method, path, body, claims=STAGING).status
        for method, path, body in (
            ("GET", path_of(hidden), None),
            ("PATCH", path_of(hidden), {"timeout_s": 1}),
            ("DELETE", path_of(hidden), None),
            ("GET", f"{path_of(hidden)}/tasks", None),
            ("POST", f"{path_of(hidden)}/tasks", {"name": "x"}),
        )
    ]
    moved = api("PATCH", path_of(template), {"environment": "prod"}, claims=STAGING)

    assert [one["name"] for one in page["items"]] == ["staging"]
    assert answers == [404] * 5
    assert (moved.status, fields(moved)) == (403, ["environment"])


def test_a_task_is_made_where_ones_role_is(api, world):
    """Not elsewhere by an override, and with no value from elsewhere."""
    for environment in ("staging", "prod"):
        world.add_server(
            name=f"web-{environment}",
            environment=environment,
            status=ServerStatus.MAINTENANCE,
        )
        made = api(
            "POST",
            "/v1/credentials",
            {"name": environment, "password": "x" * 12, "environment": environment},
        )
        assert made.status == 201, made.body
    template = api("POST", "/v1/templates", template_body(environment="staging")).body
    own = {"VERSION": "v1", "WHERE": "web-staging", "TOKEN": "staging"}

    def make_with(values, **changes):
        body = {"name": "made", "parameters": {**own, **values}, **changes}
        return api("POST", f"{path_of(template)}/tasks", body, claims=STAGING)

    elsewhere = make_with({}, environment="prod")
    server = make_with({"WHERE": "web-prod"})
    secret = make_with({"TOKEN": "prod"})
    made = make_with({})
    run = f"/v1/tasks/{made.body['task_id']}/run"
    runs_with = [
        api("POST", run, {"parameters": values}, claims=STAGING)
        for values in ({"WHERE": "web-prod"}, {"TOKEN": "prod"}, {"VERSION": "v2"})
    ]

    assert (elsewhere.status, fields(elsewhere)) == (403, ["environment"])
    assert (server.status, fields(server)) == (400, ["parameters.WHERE"])
    assert (secret.status, fields(secret)) == (400, ["parameters.TOKEN"])
    assert made.status == 201, made.body
    assert [one.status for one in runs_with] == [400, 400, 202]
    assert [fields(one) for one in runs_with[:2]] == [
        ["parameters.WHERE"],
        ["parameters.TOKEN"],
    ]


def test_a_change_of_a_template_is_in_the_audit(api, template, parked, token):
    """What it was and what it became; a task made of it is a task's record."""
    api("PATCH", path_of(template), {"timeout_s": 90})
    task = make(api, template, parked).body

    (changed, _) = api(
        "GET", "/v1/audit", query=f"entity=template#{template['template_id']}"
    ).body["items"]
    (made,) = api("GET", "/v1/audit", query=f"entity=task#{task['task_id']}").body[
        "items"
    ]

    assert (changed["before"]["timeout_s"], changed["after"]["timeout_s"]) == (60, 90)
    assert made["after"]["template"] == task["template"]


def test_a_task_that_comes_back_is_listed_again(api, template, parked, token):
    """With what it was made of; a template is in no list of tasks."""
    task = make(api, template, parked).body
    path = f"/v1/tasks/{task['task_id']}"
    api("DELETE", path)
    gone = api("GET", f"{path_of(template)}/tasks").body["items"]

    back = api("POST", f"{path}/restore")

    assert (gone, back.status) == ([], 200)
    assert back.body["template"] == task["template"]
    (made,) = api("GET", f"{path_of(template)}/tasks").body["items"]
    (listed,) = api("GET", "/v1/tasks", query="created_by=ada").body["items"]
    assert made["task_id"] == listed["task_id"] == task["task_id"]


def test_what_a_template_names_is_in_use(api, world, parked, token):
    """Once the template is removed, or names it no more, it can be removed."""
    api("POST", "/v1/calendars", {"name": "holidays", "dates": ["2026-12-24"]})
    for name in ("hook", "free"):
        api("POST", "/v1/credentials", {"name": name, "password": "x1"})
    body = template_body(
        spec={"command": "true", "secrets": {"PW": "hook"}},
        targets={"server_ids": [parked.server_id]},
        schedule={"cron": "30 1 * * *", "exclude_calendars": ["holidays"]},
        parameters=[{"name": "TOKEN", "type": "secret", "default": "token"}],
    )
    made = api("POST", "/v1/templates", body)
    assert made.status == 201, made.body
    named = [
        "/v1/credentials/hook",
        "/v1/credentials/token",
        "/v1/calendars/holidays",
        f"/v1/servers/{parked.server_id}",
    ]

    refused = [api("DELETE", path) for path in named]

    assert [one.status for one in refused] == [409] * 4
    assert all("template deploy" in one.body["detail"] for one in refused)
    assert api("DELETE", "/v1/credentials/free").status == 204
    api("DELETE", path_of(made.body))
    assert [api("DELETE", path).status for path in named] == [204] * 4
