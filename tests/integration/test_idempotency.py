"""Idempotency-Key: whoever repeats a POST gets one of it, and one answer."""

import json
from datetime import timedelta

import pytest

from api import idempotency, wiring
from cronhop.domain.instant import instant
from cronhop.domain.notification import Delivery
from cronhop.domain.request import KEPT_FOR, LEASE, KeptAnswer
from cronhop.domain.run import Trigger
from cronhop.errors import InProgress
from cronhop.services.dispatch import Dispatcher
from cronhop.services.requests import Requests
from cronhop.store import notifications, runs
from tests.integration.test_api import CLAIMS, server_body, task_body
from tests.world import Killed

KEY = {"idempotency-key": "4cbd1f1e-6b0b-4c53-9cf1-2d6de0d3f9b7"}
OTHER = {**CLAIMS, "sub": "0001", "username": "bob"}


@pytest.fixture
def clock(world, monkeypatch):
    """The time that requests are begun at; it does not go back for real."""
    world.clock.now = wiring.now()
    monkeypatch.setattr(idempotency, "now", world.clock)
    return world.clock


@pytest.fixture
def server(api):
    api("POST", "/v1/credentials", {"name": "ops-key", "password": "x1"})
    hook = {"kind": "webhook", "url": "https://example.org/"}
    api("POST", "/v1/channels", {"name": "ops", **hook})
    return api("POST", "/v1/servers", server_body()).body


@pytest.fixture
def task(api, server):
    return api("POST", "/v1/tasks", task_body(server)).body


def kinds(server, task):
    """Return a POST of each kind that makes something: path, body."""
    template = task_body(server, name="template")
    return {
        "credential": ("/v1/credentials", {"name": "new", "password": "x1"}),
        "server": ("/v1/servers", server_body(name="new")),
        "task": ("/v1/tasks", task_body(server, name="new")),
        "template": ("/v1/templates", template),
        "run": (f"/v1/tasks/{task['task_id']}/run", None),
        "calendar": ("/v1/calendars", {"name": "new", "dates": ["2026-12-24"]}),
        "channel": (
            "/v1/channels",
            {"name": "new", "kind": "webhook", "url": "https://example.org/"},
        ),
        "rule": (
            "/v1/rules",
            {"name": "new", "on": ["failure"], "channels": ["ops"]},
        ),
        "import": (
            "/v1/import/crontab",
            {
                "text": "0 4 * * 0 true\n0 5 * * 0 false\n",
                "server_ids": [server["server_id"]],
                "dry_run": False,
            },
        ),
    }


KINDS = list(kinds({"server_id": ""}, {"task_id": ""}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_request_is_answered_as_the_first(api, world, server, task, kind):
    """Status, body and ETag are the first one's; nothing is made, told or sent twice."""
    path, body = kinds(server, task)[kind]
    first = api("POST", path, body, headers=KEY)
    assert first.status in {201, 202}, first.body
    left = world.dump()

    again = api("POST", path, body, headers=KEY)

    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers.get("etag") == first.headers.get("etag")
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert world.dump() == left


def test_without_a_key_each_request_counts(api, task):
    """Nothing is remembered of who does not ask for it."""
    path = f"/v1/tasks/{task['task_id']}/run"

    ids = {api("POST", path).body["run_id"] for _ in range(2)}

    assert len(ids) == 2


def test_a_key_is_its_sender_s(api, task):
    """Two people may take the same key."""
    path = f"/v1/tasks/{task['task_id']}/run"

    mine = api("POST", path, headers=KEY)
    theirs = api("POST", path, headers=KEY, claims=OTHER)

    assert mine.body["run_id"] != theirs.body["run_id"]
    assert theirs.body["created_by"] == "bob"


@pytest.mark.parametrize("change", ["body", "path"])
def test_a_key_of_another_request_is_refused(api, server, task, change):
    """It is a mistake of the sender's, and nothing is done."""
    path, body = "/v1/tasks", task_body(server, name="new")
    api("POST", path, body, headers=KEY)
    if change == "body":
        body = {**body, "name": "newer"}
    else:
        path = "/v1/templates"

    refused = api("POST", path, body, headers=KEY)

    assert refused.status == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert len(api("GET", "/v1/tasks").body["items"]) == 2


@pytest.mark.parametrize(
    "key",
    ["", " ", "k" * 256, "tab\there", "ü"],
    ids=["empty", "blank", "long", "control", "not ASCII"],
)
def test_a_key_has_to_be_printable_and_short(api, key):
    """Anything else is refused before it is looked up."""
    body = {"name": "new", "password": "x1"}

    answer = api("POST", "/v1/credentials", body, headers={"idempotency-key": key})

    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == "Idempotency-Key"


def test_a_refused_request_leaves_its_key_free(api, server):
    """It has changed nothing: corrected, it may be sent by the same key."""
    refused = api("POST", "/v1/tasks", task_body(server, timeout_s=0), headers=KEY)
    assert refused.status == 400
    missing = api("POST", f"/v1/tasks/{'0' * 26}/run", headers=KEY)
    assert missing.status == 404

    made = api("POST", "/v1/tasks", task_body(server), headers=KEY)

    assert made.status == 201


def test_a_key_is_forgotten_after_a_day(api, world, task, clock):
    """It counts as new, though DynamoDB may not have removed it yet."""
    path = f"/v1/tasks/{task['task_id']}/run"
    first = api("POST", path, headers=KEY)
    clock.now += KEPT_FOR - timedelta(minutes=1)
    assert api("POST", path, headers=KEY).body == first.body

    clock.now += timedelta(minutes=2)

    assert api("POST", path, headers=KEY).body["run_id"] != first.body["run_id"]


def test_two_at_once_are_one(world):
    """One of them works on it, whoever comes meanwhile is told to come again."""
    requests, now = Requests(), world.clock()
    first = requests.begin("ada", "key", "digest", now=now)
    with pytest.raises(InProgress):
        requests.begin("ada", "key", "digest", now=now)
    late = now + LEASE + timedelta(seconds=1)
    second = requests.begin("ada", "key", "digest", now=late)
    with pytest.raises(InProgress):
        requests.begin("ada", "key", "digest", now=late)

    requests.keep(first, KeptAnswer(status=202, body="late", etag=None))
    requests.forget(first)
    requests.keep(second, KeptAnswer(status=202, body="{}", etag=None))

    assert second.made_id == first.made_id
    assert requests.begin("ada", "key", "digest", now=late).answer.body == "{}"


def made(world):
    """Return what there is, but for what tells of requests."""
    nouns = ("credentials", "servers", "tasks", "runs", "notifications")
    secrets = world.session.client("secretsmanager").list_secrets()["SecretList"]
    return [world.rows(noun) for noun in nouns], [one["Name"] for one in secrets]


def raise_killed(*args):
    raise Killed


def lose(api, monkeypatch, path, body, **how):
    """Let a request be done whose worker dies before it can answer."""
    with monkeypatch.context() as patch:
        patch.setattr(Requests, "keep", raise_killed)
        with pytest.raises(Killed):
            api("POST", path, body, headers=KEY, **how)


@pytest.mark.parametrize("kind", ["credential", "calendar", "channel", "rule"])
def test_a_name_of_another_request_is_taken(api, server, task, clock, kind):
    """Though the same person asks for the same once more, by another key."""
    path, body = kinds(server, task)[kind]
    assert api("POST", path, body, headers=KEY).status == 201
    clock.move(milliseconds=1)

    again = api("POST", path, body, headers={"idempotency-key": "another"})

    assert (again.status, again.body["errors"][0]["field"]) == (409, "name")


def test_a_channel_that_was_used_meanwhile_is_still_of_its_request(
    api, world, server, task, clock, monkeypatch
):
    """What was sent over it has changed nothing that anybody asked for."""
    path, body = kinds(server, task)["channel"]
    lose(api, monkeypatch, path, body)
    sent = Delivery(notice_id="1", at=clock.now, ok=True, reason="delivered")
    notifications.record_delivery("new", sent, is_test=True)

    clock.now += LEASE + timedelta(seconds=1)
    answer = api("POST", path, body, headers=KEY)

    assert (answer.status, answer.body["name"]) == (201, "new")


@pytest.mark.parametrize("kind", KINDS)
def test_who_died_half_way_is_followed_by_one_with_the_same_ids(
    api, world, server, task, clock, monkeypatch, kind
):
    """Whatever the first one had come to, there is one of it in the end."""
    path, body = kinds(server, task)[kind]
    keep, answers = Requests.keep, []

    def die(requests, request, answer):
        answers.append(json.loads(answer.body))
        raise Killed

    monkeypatch.setattr(Requests, "keep", die)
    with pytest.raises(Killed):
        api("POST", path, body, headers=KEY)
    monkeypatch.setattr(Requests, "keep", keep)
    left = made(world)
    refused = api("POST", path, body, headers=KEY)
    assert (refused.status, refused.headers["retry-after"]) == (409, "2")

    clock.now += LEASE + timedelta(seconds=1)
    answer = api("POST", path, body, headers=KEY)

    assert (answer.status, [answer.body]) == (202 if kind == "run" else 201, answers)
    assert made(world) == left
    assert api("POST", path, body, headers=KEY).body == answer.body


def move_server(api, server, task):
    path = f"/v1/servers/{server['server_id']}"
    return api("PATCH", path, {"environment": "elsewhere"})


def remove_task(api, server, task):
    return api("DELETE", f"/v1/tasks/{task['task_id']}")


def remove_template(api, server, task):
    (template,) = api("GET", "/v1/templates").body["items"]
    return api("DELETE", f"/v1/templates/{template['template_id']}")


@pytest.mark.parametrize(
    ("kind", "change"),
    [("import", move_server), ("rule", remove_task), ("instance", remove_template)],
)
def test_what_was_made_is_found_whatever_has_changed_since(
    api, world, server, task, clock, monkeypatch, kind, change
):
    """That it could not be made any more is no answer to a request that made it."""
    path = f"/v1/servers/{server['server_id']}"
    assert api("PATCH", path, {"environment": "here"}).status == 200
    template = api("POST", "/v1/templates", task_body(server, name="template")).body
    if kind == "instance":
        path = f"/v1/templates/{template['template_id']}/tasks"
        body = {"name": "made of it"}
    else:
        path, body = kinds(server, task)[kind]
        about = {
            "import": {"environment": "here"},
            "rule": {"task_id": task["task_id"]},
        }
        body = {**body, **about[kind]}
    lose(api, monkeypatch, path, body)
    assert change(api, server, task).status < 300
    left = made(world)

    clock.now += LEASE + timedelta(seconds=1)
    answer = api("POST", path, body, headers=KEY)

    assert answer.status == 201, answer.body
    assert made(world) == left


CHANGES = {
    "credential": ("PUT", {"password": "x2"}),
    "server": ("PATCH", {"port": 23}),
    "task": ("PATCH", {"timeout_s": 5}),
    "template": ("PATCH", {"timeout_s": 5}),
    "calendar": ("PUT", {"dates": []}),
    "channel": ("PUT", {"kind": "webhook", "url": "https://example.org/2"}),
    "rule": ("PUT", {"on": ["success"], "channels": ["ops"]}),
    "import": ("PATCH", {"timeout_s": 5}),
}


def made_by(api, path):
    """Return where the newest thing of a list is."""
    listed = "/v1/tasks" if path.endswith(("crontab", "/tasks")) else path
    newest = api("GET", listed).body["items"][-1]
    ids = [value for name, value in newest.items() if name.endswith("_id")]
    return f"{listed}/{newest['name'] if listed in NAMED else ids[0]}"


NAMED = {"/v1/credentials", "/v1/calendars", "/v1/channels", "/v1/rules"}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_was_changed_since_is_shown_as_it_is(
    api, world, server, task, clock, monkeypatch, kind
):
    """It is what the request has made; who changed it, the audit says."""
    path, body = kinds(server, task)[kind]
    lose(api, monkeypatch, path, body)
    method, change = CHANGES[kind]
    where = f"{path}/new" if path in NAMED else made_by(api, path)
    assert api(method, where, change).status == 200
    left = made(world)
    clock.now += LEASE + timedelta(seconds=1)

    answer = api("POST", path, body, headers=KEY)

    assert answer.status == 201, answer.body
    assert made(world) == left
    audit = api("GET", "/v1/audit").body["items"]
    written = [one["after"] for one in audit if one["request"] == f"POST {path}"]
    if kind == "import":
        (shown,) = [one for one in answer.body["tasks"] if one["task"] is None]
        assert shown["reason"] == "it was changed since it was made"
        assert {"task_id": shown["task_id"]} in written
    else:
        assert answer.body["version"] == written[0]["version"] == 2
        assert written[0].keys() <= {"version", "value"}


@pytest.mark.parametrize("kind", ["task", "template", "instance", "import"])
def test_what_has_left_one_s_environment_is_not_shown(
    api, server, task, clock, monkeypatch, kind
):
    """Who has made it sees it no more, by whatever way he asks."""
    limited = CLAIMS | {"cognito:groups": "[operator:here]"}
    path = f"/v1/servers/{server['server_id']}"
    assert api("PATCH", path, {"environment": "here"}).status == 200
    if kind == "instance":
        body = task_body(server, name="template", environment="here")
        template = api("POST", "/v1/templates", body).body["template_id"]
        path, body = f"/v1/templates/{template}/tasks", {"name": "made of it"}
    else:
        path, body = kinds(server, task)[kind]
        body = {**body, "environment": "here"}
    lose(api, monkeypatch, path, body, claims=limited)
    change = {
        "environment": "there",
        "spec": {"command": "echo foreign"},
        "targets": {"server_ids": None, "selector": {"name": "*"}},
    }
    assert api("PATCH", made_by(api, path), change).status == 200
    clock.now += LEASE + timedelta(seconds=1)

    answer = api("POST", path, body, headers=KEY, claims=limited)

    assert answer.status == 403
    assert "foreign" not in json.dumps(answer.body)


def test_an_answer_is_repeated_though_its_place_is_gone(api, server, clock):
    """Also to those who may do it in one environment only."""
    limited = CLAIMS | {"cognito:groups": "[operator:here]"}
    path = f"/v1/servers/{server['server_id']}"
    assert api("PATCH", path, {"environment": "here"}).status == 200
    body = task_body(server, name="template", environment="here")
    template = f"/v1/templates/{api('POST', '/v1/templates', body).body['template_id']}"
    asked = ("POST", f"{template}/tasks", {"name": "made of it"})
    first = api(*asked, headers=KEY, claims=limited)
    assert first.status == 201
    assert api("DELETE", template).status == 204

    again = api(*asked, headers=KEY, claims=limited)
    other = api(*asked, headers={"idempotency-key": "other"}, claims=limited)

    assert (again.status, again.body) == (201, first.body)
    assert other.status == 404


def test_a_run_is_made_once_wherever_its_request_died(world, clock):
    """At every step that reaches AWS: one row, and one of each of its items."""
    server = world.add_server()
    for step in range(40):
        task = world.add_task(server)
        requests = Requests()

        def ask(task=task, requests=requests, step=step):
            now = world.clock()
            begun = requests.begin("ada", f"key {step}", "digest", now=now)
            return world.tasks.run(
                task.task_id, by="ada", now=now, run_id=begun.made_id
            )

        world.deathtrap.set(step)
        try:
            ask()
        except Killed:
            died = True
        else:
            died = False
        world.deathtrap.set(None)
        clock.now += LEASE + timedelta(seconds=1)

        run = ask()

        made = [one for one in world.all_runs() if one.task_id == task.task_id]
        assert [one.run_id for one in made] == [run.run_id]
        if not died:
            break
    assert step > 4  # claim, task, row, message, each before and after


def test_a_backfill_is_made_once(api, world, server, clock, monkeypatch):
    """Its runs have the same ids however often it is asked for."""
    task = api("POST", "/v1/tasks", task_body(server, name="hourly")).body
    now = wiring.now().replace(microsecond=0)
    body = {
        "from": (now - timedelta(days=4)).isoformat(),
        "to": (now - timedelta(days=1)).isoformat(),
        "dry_run": False,
    }
    path = f"/v1/tasks/{task['task_id']}/backfill"
    sent, send = [], Dispatcher.send_run

    def die(self, run):
        sent.append(run)
        raise Killed

    monkeypatch.setattr(Dispatcher, "send_run", die)
    with pytest.raises(Killed):
        api("POST", path, body, headers=KEY)
    monkeypatch.setattr(Dispatcher, "send_run", send)
    before = [run.run_id for run in world.all_runs()]
    clock.now += LEASE + timedelta(seconds=1)

    answer = api("POST", path, body, headers=KEY)

    assert answer.status == 202
    assert len(before) == 3
    assert [slot["run_id"] for slot in answer.body["slots"]] == before
    assert [run.run_id for run in world.all_runs()] == before


@pytest.mark.parametrize("change", ["removed", "another schedule", "no schedule"])
@pytest.mark.parametrize("left", [1, 3])
def test_a_backfill_is_what_it_was(
    api, world, server, clock, monkeypatch, change, left
):
    """The runs that were made stay those of their slots, whatever the task is now."""
    body = task_body(server, name="hourly", schedule={"cron": "0 * * * *"})
    path = f"/v1/tasks/{api('POST', '/v1/tasks', body).body['task_id']}"
    asked = {
        "from": instant(clock().replace(microsecond=0) - timedelta(seconds=10799)),
        "to": instant(clock().replace(microsecond=0)),
        "dry_run": False,
    }
    added, add = [], runs.add

    def die(run):
        if len(added) == left:
            raise Killed
        added.append(run)
        return add(run)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "add", die)
        if left == 3:
            patch.setattr(Requests, "keep", raise_killed)
        with pytest.raises(Killed):
            api("POST", f"{path}/backfill", asked, headers=KEY)
    assert len(added) == left
    patched = {"another schedule": {"cron": "30 * * * *"}, "no schedule": None}
    if change == "removed":
        assert api("DELETE", path).status == 204
    else:
        assert api("PATCH", path, {"schedule": patched[change]}).status == 200
    clock.now += LEASE + timedelta(seconds=1)

    answer = api("POST", f"{path}/backfill", asked, headers=KEY)

    assert answer.status == 202, answer.body
    made = [
        (instant(run.slot), run.run_id)
        for run in world.all_runs()
        if run.trigger is Trigger.BACKFILL  # a slot of its own may be near
    ]
    assert [(one["at"], one["run_id"]) for one in answer.body["slots"]] == made
    assert len(made) == left


def test_no_secret_is_kept_of_a_request(api, world):
    """Nor a digest that could be tried: another value by the same key is the same."""
    first = api(
        "POST", "/v1/credentials", {"name": "new", "password": "1234"}, headers=KEY
    )
    row = world.rows("requests")

    again = api(
        "POST", "/v1/credentials", {"name": "new", "password": "4321"}, headers=KEY
    )

    assert (again.status, again.body) == (first.status, first.body)
    assert world.rows("requests") == row


def test_an_answer_that_cannot_be_kept_is_given(api, world, task, monkeypatch):
    """What was done does not look as if it were not."""

    def fail(*args):
        raise OSError

    monkeypatch.setattr(Requests, "keep", fail)

    answer = api("POST", f"/v1/tasks/{task['task_id']}/run", headers=KEY)

    assert answer.status == 202
    assert runs.get(answer.body["run_id"])


def test_a_large_answer_fits(api, world, server):
    """The largest task there can be, in letters that JSON writes with six."""
    command = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(21_000))
    body = task_body(server, name="large", spec={"command": command})

    first = api("POST", "/v1/tasks", body, headers=KEY)
    again = api("POST", "/v1/tasks", body, headers=KEY)

    assert first.status == 201, first.body
    assert again.body == first.body
    (row,) = world.rows("requests")
    assert len(row["body"]["B"]) < 300_000
