"""The audit: who did what, and what it was before and after."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from api import handler
from cronhop.domain.audit import MAX_BYTES, AuditRecord
from cronhop.domain.ids import new_id
from cronhop.services import tasks as tasks_module
from cronhop.services.audit import Audit
from tests.integration.test_api import CLAIMS, server_body
from tests.world import PREFIX, REGION

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def server(api):
    """A server and its credential, on record."""
    api("POST", "/v1/credentials", {"name": "ops-key", "password": "hunter2"})
    return api("POST", "/v1/servers", server_body()).body


def task_body(server, **changes):
    return {
        "name": "dump",
        "spec": {"command": "true", "environment": {"A": "1"}},
        "targets": {"server_ids": [server["server_id"]]},
        **changes,
    }


@pytest.fixture
def task(api, server):
    return api("POST", "/v1/tasks", task_body(server)).body


def audited(api, query):
    answer = api("GET", "/v1/audit", query=query)
    assert answer.status == 200, answer.body
    return answer.body["items"]


def entities(records):
    return [one["entity"] for one in records]


def add(entity="task#1", *, actor="ada", at=NOON, days=400, **changes):
    """Put a record that nothing has happened for."""
    fields = {
        "audit_id": new_id(at),
        "entity": entity,
        "action": "tasks.write",
        "actor": actor,
        "subject": "0000",
        "request": "PUT /v1/tasks/1",
        "status": 200,
        "before": None,
        "after": {"timeout_s": 7},
        "request_id": "r",
        "source_address": "192.0.2.7",
        "user_agent": "tests/1",
    }
    record = AuditRecord(**{**fields, **changes})
    Audit(days=days).add(record)
    return record


def test_a_change_is_on_record(api, task):
    """Who, when, from where, what, and what it was before and after."""
    path = f"/v1/tasks/{task['task_id']}"
    before = datetime.now(UTC)

    api("PATCH", path, {"timeout_s": 7}, query="")

    newest, first = audited(api, f"entity=task#{task['task_id']}")
    assert newest.pop("audit_id") > first["audit_id"]
    at = datetime.fromisoformat(newest.pop("at"))
    assert before - timedelta(seconds=1) < at < datetime.now(UTC)
    old, new = newest.pop("before"), newest.pop("after")
    assert newest == {
        "entity": f"task#{task['task_id']}",
        "action": "tasks.write",
        "actor": "ada",
        "subject": "0000",
        "request": f"PATCH {path}",
        "status": 200,
        "request_id": "1",
        "source_address": "192.0.2.7",
        "user_agent": "tests/1",
    }
    differ = {name for name in old if old[name] != new[name]}
    assert differ == {"timeout_s", "version", "updated_at"}
    assert (old["timeout_s"], new["timeout_s"]) == (3600, 7)
    assert (first["before"], first["after"]["timeout_s"]) == (None, 3600)


def test_what_is_gone_is_shown_as_it_was(api, task):
    """The last of a thing: before all of it, after nothing."""
    api("DELETE", f"/v1/tasks/{task['task_id']}")

    newest = audited(api, f"entity=task#{task['task_id']}")[0]

    assert newest["before"]["name"] == "dump"
    assert newest["after"] is None
    assert newest["status"] == 204


def test_each_kind_of_change(api, server, task):
    """Servers, tasks, calendars, the freeze, runs: by what was done, newest first."""
    path = f"/v1/tasks/{task['task_id']}"
    server_path = f"/v1/servers/{server['server_id']}"
    run_id = api("POST", f"{path}/run", {}).body["run_id"]
    api("POST", f"/v1/runs/{run_id}/cancel", {})
    api("POST", f"{path}/pause", {"reason": "a move"})
    api("POST", f"{path}/resume", {})
    api("POST", f"{server_path}/check", {})
    api("PATCH", server_path, {"status": "disabled"})
    api("POST", "/v1/calendars", {"name": "c", "dates": []})
    api("PUT", "/v1/freeze", {"reason": "xmas"})
    api("DELETE", "/v1/freeze")

    found = audited(api, "actor=ada&limit=9")

    by_task, by_server = f"task#{task['task_id']}", f"server#{server['server_id']}"
    assert [(one["entity"], one["action"]) for one in found] == [
        ("stack#freeze", "freeze.write"),
        ("stack#freeze", "freeze.write"),
        ("calendar#c", "calendars.write"),
        (by_server, "servers.write"),
        (by_server, "servers.check"),
        (by_task, "tasks.write"),
        (by_task, "tasks.write"),
        (f"run#{run_id}", "runs.cancel"),
        (f"run#{run_id}", "runs.start"),
    ]
    lifted, frozen, _, disabled, _, resumed, paused, cancelled, started = found
    assert (lifted["before"]["reason"], lifted["after"]) == ("xmas", None)
    assert (frozen["before"], frozen["after"]["by"]) == (None, "ada")
    assert disabled["before"]["status"] == "enabled"
    assert paused["after"]["pause"]["reason"] == "a move"
    assert resumed["before"]["pause"]["reason"] == "a move"
    assert resumed["after"]["pause"] is None
    assert cancelled["before"]["state"] == "pending"
    assert cancelled["after"]["state"] == "cancelled"
    assert started["after"]["task_id"] == task["task_id"]


def test_a_retry_is_the_new_run(api, world, sshd):
    """Not the one that it is a retry of, which does not change."""
    task = world.add_task(world.add_server(sshd), command="false")
    run = world.tasks.run(task.task_id, by="ada", now=world.clock())
    world.deliver()

    again = api("POST", f"/v1/runs/{run.run_id}/retry", {})

    assert again.status == 202, again.body
    (record,) = audited(api, f"entity=run#{again.body['run_id']}")
    assert record["after"]["retry_of"] == run.run_id
    assert audited(api, f"entity=run#{run.run_id}") == []


def test_an_import_is_a_record_for_each_task(api, server):
    """And none for a dry run."""
    body = {"text": "1 2 * * * a\n3 4 * * * b", "server_ids": [server["server_id"]]}
    api("POST", "/v1/import/crontab", body)
    made = api("POST", "/v1/import/crontab", {**body, "dry_run": False})

    found = audited(api, "actor=ada&limit=2")

    ids = [f"task#{one['task_id']}" for one in made.body["tasks"]]
    assert sorted(entities(found)) == sorted(ids)
    assert {one["after"]["spec"]["command"] for one in found} == {"a", "b"}
    assert len(audited(api, "actor=ada")) == 4  # and the server and its credential


def test_a_secret_is_changed_and_never_shown(api, world, server):
    """That it was, by whom and when; neither the old value nor the new one."""
    api("PUT", "/v1/credentials/ops-key", {"password": "correct horse"})
    api("POST", "/v1/servers", server_body(credential="hunter2"))

    newest, first = audited(api, "entity=credential#ops-key")

    assert (newest["before"]["version"], newest["after"]["version"]) == (1, 2)
    assert newest["after"]["value"] == first["after"]["value"] == "changed"
    kept = json.dumps(world.rows("audit"))
    assert "correct horse" not in kept
    assert "hunter2" not in kept


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/tasks", {"name": "x"}),
        ("PATCH", "/v1/tasks/{task_id}", {"timeout_s": -1}),
        ("PATCH", "/v1/tasks/01J00000000000000000000000", {"timeout_s": 1}),
        ("POST", "/v1/credentials", {"name": "ops-key", "password": "x"}),
        ("POST", "/v1/import/crontab", {"text": "@reboot x", "server_ids": []}),
        ("GET", "/v1/tasks/{task_id}", None),
        ("POST", "/v1/schedule/preview", {"schedule": {"cron": "@daily"}}),
    ],
)
def test_what_changed_nothing_is_not_there(api, world, task, method, path, body):
    """Reads, previews, and what was refused as it was sent."""
    before = len(world.rows("audit"))

    api(method, path.format(**task), body)

    assert len(world.rows("audit")) == before


def test_a_change_that_may_have_been_made(api, task, monkeypatch):
    """After an error of ours nobody knows: the request is on record, and its status."""

    def broken(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(tasks_module, "new_hold", broken)

    answer = api("POST", f"/v1/tasks/{task['task_id']}/pause", {})

    newest = audited(api, f"entity=task#{task['task_id']}")[0]
    assert answer.status == newest["status"] == 500
    assert newest["after"] is None


def test_a_refusal_is_on_record(api):
    """Who tried what without the right to, with what they were told."""
    claims = {**CLAIMS, "username": "eve", "cognito:groups": "[viewer]"}

    answer = api("PUT", "/v1/freeze", {"reason": "x"}, claims=claims)

    (record,) = audited(api, "entity=login#eve")
    assert answer.status == record["status"] == 403
    assert record["action"] == "freeze.write"
    assert record["request"] == "PUT /v1/freeze"
    assert record["after"] == {"refused": answer.body["detail"]}


def test_a_request_that_says_little_is_on_record(api, world):
    """One without user agent, address and id of its own."""
    context = {"authorizer": {"jwt": {"claims": CLAIMS}}, "http": {"method": "DELETE"}}
    event = {"version": "2.0", "rawPath": "/v1/freeze", "headers": {}}
    context["http"]["path"], context["stage"] = "/v1/freeze", "$default"

    answer = handler.handler({**event, "requestContext": context}, None)

    assert answer["statusCode"] == 204
    (record,) = audited(api, "entity=stack#freeze")
    assert (record["user_agent"], record["source_address"]) == ("", "")


def test_a_token_that_is_none_for_this_is_on_record(api):
    """One that the authorizer let pass."""
    claims = {**CLAIMS, "username": "eve", "token_use": "id"}

    answer = api("GET", "/v1/tasks", claims=claims)

    (record,) = audited(api, "entity=login#eve")
    assert answer.status == record["status"] == 401
    assert record["action"] == "login"


def test_a_record_that_cannot_be_written_is_in_the_log(api, task, caplog):
    """The change stands and is answered as such; the log says that it is missing."""
    dynamodb = boto3.client("dynamodb", region_name=REGION)
    dynamodb.delete_table(TableName=f"{PREFIX}audit")

    answer = api("PATCH", f"/v1/tasks/{task['task_id']}", {"timeout_s": 7})

    assert (answer.status, answer.body["timeout_s"]) == (200, 7)
    (lost,) = (vars(one) for one in caplog.records)
    assert lost["action"] == "audit_lost"
    assert lost["entity"] == f"task#{task['task_id']}"
    assert (lost["actor"], lost["audited"]) == ("ada", "tasks.write")


def test_a_large_thing_is_cut(api, server):
    """A row has its limit: a long text keeps its beginning, its length, its digest."""
    body = task_body(server, spec={"command": "true\n" + "x" * 60_000})
    task_id = api("POST", "/v1/tasks", body).body["task_id"]
    other = {"spec": {"command": "true\n" + "x" * 59_999 + "y"}}
    api("PATCH", f"/v1/tasks/{task_id}", other)

    newest, first = audited(api, f"entity=task#{task_id}")

    command = newest["after"]["spec"]["command"]
    assert len(json.dumps(newest)) < 2 * MAX_BYTES
    assert command.startswith("true\nxxx")
    assert "cut: 60005 bytes, sha256" in command
    assert newest["before"] == first["after"]
    assert command != newest["before"]["spec"]["command"]


def test_what_is_large_in_every_part_is_its_digest(api, world):
    """Nothing makes a record too large to be kept."""
    after = {str(number): "x" * 900 for number in range(100)}

    record = add(after=after)

    (kept,) = audited(api, "entity=task#1&from=2026-06-01T00:00:00Z")
    assert kept["audit_id"] == record.audit_id
    assert list(kept["after"]) == ["cut"]


def test_by_entity_actor_and_time(api, world):
    """Each alone, together, and nothing else than what was asked for."""
    noon, one = NOON, timedelta(hours=1)
    add("task#1", actor="ada", at=noon)
    add("task#1", actor="bob", at=noon + one)
    add("task#2", actor="bob", at=noon + 2 * one)
    add("task#2", actor="ada", at=noon + 50 * one)
    since = "from=2026-06-01T00:00:00Z"

    def found(query):
        return [(x["entity"][-1], x["actor"][0]) for x in audited(api, query)]

    assert found(f"{since}&entity=task#1") == [("1", "b"), ("1", "a")]
    assert found(f"{since}&actor=bob") == [("2", "b"), ("1", "b")]
    assert found(f"{since}&entity=task#2&actor=ada") == [("2", "a")]
    assert found(f"{since}&to=2026-06-04T00:00:00Z") == [
        ("2", "a"),
        ("2", "b"),
        ("1", "b"),
        ("1", "a"),
    ]
    window = "from=2026-06-01T12:30:00Z&to=2026-06-01T13:00:00Z"
    assert found(window) == [("1", "b")]
    assert found(f"{window}&actor=bob") == [("1", "b")]
    assert found(f"{window}&entity=task#1") == [("1", "b")]
    assert found(f"{since}&to=2026-06-01T11:00:00Z") == []


@pytest.mark.parametrize("query", ["entity=task#1", "actor=ada", ""])
def test_pages(api, world, query):
    """Every record once, newest first, however far apart they are."""
    days = [0, 0, 0, 1, 40, 41, 90]
    made = [add(at=NOON + timedelta(days=day)) for day in days]
    ids, token = [], ""
    window = "&from=2026-05-01T00:00:00Z&to=2026-09-30T00:00:00Z&limit=2"

    while token is not None:
        answer = api("GET", "/v1/audit", query=f"{query}{window}{token}").body
        ids += [one["audit_id"] for one in answer["items"]]
        following = answer["next_token"]
        token = f"&next_token={following}" if following else None

    assert ids == sorted((one.audit_id for one in made), reverse=True)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-06-01", "to"),
        ("from=2026-06-02T00:00:00Z&to=2026-06-01T00:00:00Z", "to"),
        ("entity=", "entity"),
        ("who=ada", "who"),
        ("limit=0", "limit"),
    ],
)
def test_a_query_that_cannot_be_read(api, query, field):
    """It is refused by name."""
    answer = api("GET", "/v1/audit", query=query)

    assert answer.status == 400
    assert [one["field"] for one in answer.body["errors"]] == [field]


def test_a_token_belongs_to_its_query(api, world):
    """Not to another entity, nor to another window."""
    for _ in range(3):
        add()
    since = "from=2026-06-01T00:00:00Z&limit=1"
    token = api("GET", "/v1/audit", query=f"{since}&entity=task#1").body["next_token"]

    other = api("GET", "/v1/audit", query=f"{since}&actor=ada&next_token={token}")

    assert other.status == 400


def test_a_record_is_never_replaced(world):
    """One that is put again stays as it was."""
    record = add(after={"timeout_s": 7})

    add(audit_id=record.audit_id, after={"timeout_s": 8})

    (row,) = world.rows("audit")
    assert json.loads(row["after"]["S"]) == {"timeout_s": 7}


def test_a_record_ends_with_its_time(world):
    """As many days after it as the stack's parameter says."""
    add(at=NOON, days=30)

    (row,) = world.rows("audit")

    assert int(row["ttl"]["N"]) == (NOON + timedelta(days=30)).timestamp()
