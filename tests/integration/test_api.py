"""The API through its handler, as API Gateway calls it."""

import base64
import json
import subprocess
from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import wiring
from cronhop.domain.host_key import fingerprint
from cronhop.domain.run import Chunk, Outcome, State, StreamRecord
from cronhop.services import servers as servers_module
from cronhop.store import executions, runs, servers, tasks
from tests import contract
from tests.sshd import keypair
from tests.world import SOME_HOST_KEY

CLAIMS = {
    "sub": "0000",
    "username": "ada",
    "token_use": "access",
    "exp": "1",
    "cognito:groups": "[admin]",
}
CONTEXT = SimpleNamespace(
    aws_request_id="1", get_remaining_time_in_millis=lambda: 30_000
)


class Client:
    """Calls the handler with events of payload format 2.0.

    What it answers has to be what the OpenAPI document tells of it.
    """

    def __init__(self, handler):
        self._handler = handler

    def __call__(
        self,
        method,
        path,
        body=None,
        *,
        raw=None,
        query="",
        headers=None,
        claims=CLAIMS,
        base64_body=None,
    ):
        text = json.dumps(body) if body is not None else raw
        event = {
            "version": "2.0",
            "routeKey": "ANY /v1/{proxy+}",
            "rawPath": path,
            "rawQueryString": query,
            "queryStringParameters": dict(
                pair.split("=", 1) for pair in query.split("&") if pair
            ),
            "headers": {"content-type": "application/json", **(headers or {})},
            "requestContext": {
                "http": {
                    "method": method,
                    "path": path,
                    "sourceIp": "192.0.2.7",
                    "userAgent": "tests/1",
                },
                "stage": "$default",
                "requestId": "1",
                "authorizer": {"jwt": {"claims": claims, "scopes": None}},
            },
            "body": base64_body or text,
            "isBase64Encoded": base64_body is not None,
        }
        answer = self._handler(event, CONTEXT)
        headers = (
            {key.lower(): value for key, value in answer["headers"].items()}
            if ("headers" in answer)
            else {}
        )
        headers |= {
            key.lower(): value[0]
            for key, value in (answer.get("multiValueHeaders") or {}).items()
        }
        parsed = json.loads(answer["body"]) if answer.get("body") else None
        told = SimpleNamespace(
            status=answer["statusCode"], body=parsed, headers=headers
        )
        contract.check(method, path, told)
        return told


@pytest.fixture
def credential(api):
    made = api("POST", "/v1/credentials", {"name": "ops-key", "password": "x1"})
    assert made.status == 201
    return "ops-key"


def server_body(**changes):
    return {
        "name": "web-1",
        "host": "10.0.3.7",
        "username": "deploy",
        "credential": "ops-key",
        "host_keys": [SOME_HOST_KEY],
        **changes,
    }


@pytest.fixture
def server(api, credential):
    answer = api("POST", "/v1/servers", server_body())
    assert answer.status == 201, answer.body
    return answer.body


def task_body(server, **changes):
    return {
        "name": "nightly dump",
        "kind": "script",
        "spec": {"command": "true"},
        "targets": {"server_ids": [server["server_id"]]},
        "schedule": {"cron": "30 1 * * *", "timezone": "Europe/Berlin"},
        **changes,
    }


def fields(answer):
    return [error["field"] for error in answer.body["errors"]]


def test_health_needs_no_token(api):
    """Anybody may ask whether the service is up."""
    answer = api("GET", "/v1/health", claims={})

    assert answer.status == 200
    assert answer.body["status"] == "ok"
    assert answer.body["login"] is None


def test_health_says_where_to_log_in(api, monkeypatch):
    """Who has no token yet learns where to get one, and nothing else."""
    monkeypatch.setenv("CRONHOP_ISSUER", "https://issuer.example")
    monkeypatch.setenv("CRONHOP_CLIENT_ID", "abc")

    answer = api("GET", "/v1/health", claims={})

    login = {"issuer": "https://issuer.example", "client_id": "abc"}
    assert answer.body["login"] == login


@pytest.mark.parametrize(
    "claims",
    [{}, {**CLAIMS, "token_use": "id"}, {"sub": "1", "token_use": "access"}],
    ids=["none", "id-token", "no-exp"],
)
def test_no_access_token_no_answer(api, claims):
    """Everything else wants an access token, whatever the path is."""
    for path in ("/v1/tasks", "/v1/nothing", "/"):
        answer = api("GET", path, claims=claims)
        assert answer.status == 401
        assert answer.headers["content-type"] == "application/problem+json"


def test_credential_life(api, world):
    """A credential is made, shown, replaced and removed; its value never shown."""
    private, _ = keypair()
    made = api("POST", "/v1/credentials", {"name": "ops", "private_key": private})
    assert made.status == 201
    assert made.body["kind"] == "private_key"
    assert made.body["fingerprint"].startswith("SHA256:")
    assert made.body["created_by"] == "ada"
    got = api("GET", "/v1/credentials/ops")
    assert got.body == made.body
    listed = api("GET", "/v1/credentials")
    assert listed.body == {"items": [made.body], "next_token": None}

    other, _ = keypair()
    replaced = api("PUT", "/v1/credentials/ops", {"private_key": other})

    assert replaced.status == 200
    assert replaced.body["fingerprint"] != made.body["fingerprint"]
    secret = private.splitlines()[2]
    everything = json.dumps([made.body, got.body, replaced.body]) + world.dump()
    assert secret not in everything
    assert other.splitlines()[2] not in everything
    assert api("DELETE", "/v1/credentials/ops").status == 204
    assert api("GET", "/v1/credentials/ops").status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "k"}, None),
        ({"name": "k", "private_key": "x", "password": "y"}, None),
        ({"name": "k", "private_key": "not a key"}, "private_key"),
        ({"name": "a b", "password": "x"}, "name"),
        ({"name": "a" * 101, "password": "x"}, "name"),
        ({"name": "k", "password": ""}, "password"),
        ({"name": "k", "password": "x", "passphrase": "y"}, "passphrase"),
        ({"name": "k", "password": 3}, "password"),
        ({"name": "k", "password": "x", "extra": 1}, "extra"),
    ],
)
def test_bad_credential_is_refused(api, world, body, field):
    """The error names the field, and nothing is kept."""
    answer = api("POST", "/v1/credentials", body)

    assert answer.status == 400
    if field:
        assert fields(answer) == [field]
    assert api("GET", "/v1/credentials").body["items"] == []


def test_passphrase_is_tried_at_once(api):
    """A key that its passphrase does not open is refused before any run."""
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(b"right"),
    )
    body = {"name": "locked", "private_key": key.decode()}

    for passphrase in (None, "wrong"):
        answer = api("POST", "/v1/credentials", {**body, "passphrase": passphrase})
        assert (answer.status, fields(answer)) == (400, ["passphrase"])
    right = api("POST", "/v1/credentials", {**body, "passphrase": "right"})
    assert right.status == 201


def test_credential_in_use_stays(api, server):
    """What a server logs in with cannot be removed."""
    answer = api("DELETE", "/v1/credentials/ops-key")

    assert answer.status == 409
    assert "web-1" in answer.body["detail"]
    assert api("GET", "/v1/credentials/ops-key").status == 200


def test_server_life(api, credential):
    """A server is made, shown, changed and removed."""
    made = api(
        "POST", "/v1/servers", server_body(environment="prod", tags={"role": "web"})
    )
    assert made.status == 201
    assert made.headers["etag"] == '"1"'
    path = f"/v1/servers/{made.body['server_id']}"
    assert made.body["port"] == 22
    assert made.body["status"] == "enabled"
    assert api("GET", path).body == made.body

    changed = api("PATCH", path, {"port": 2222, "tags": {"zone": "a", "role": None}})

    assert changed.status == 200
    assert changed.body["port"] == 2222
    assert changed.body["tags"] == {"zone": "a"}
    assert changed.body["environment"] == "prod"
    assert changed.body["version"] == 2
    put = api("PUT", path, server_body(name="web-2"))
    assert put.body["environment"] is None
    assert [one["name"] for one in api("GET", "/v1/servers").body["items"]] == ["web-2"]
    assert api("POST", "/v1/servers", server_body()).status == 201  # the name is free
    assert api("DELETE", path).status == 204
    assert api("GET", path).status == 404
    assert api("POST", "/v1/servers", server_body(name="web-2")).status == 201


@pytest.mark.parametrize("key", ["S", "N", "B", "BOOL", "NULL", "L", "M", "SS"])
def test_a_tag_may_be_named_like_a_type_of_the_store(api, server, key):
    """What the store calls its types is no matter of the users'."""
    path = f"/v1/servers/{server['server_id']}"

    changed = api("PATCH", path, {"tags": {key: "x"}})

    assert changed.status == 200, changed.body
    assert api("GET", path).body["tags"] == {key: "x"}
    assert api("GET", "/v1/servers").body["items"][0]["tags"] == {key: "x"}


def test_a_name_that_is_too_long_is_told_in_characters(api, credential):
    """A text is no list of items."""
    answer = api("POST", "/v1/servers", server_body(name="a" * 101))

    (error,) = answer.body["errors"]
    assert error == {
        "field": "name",
        "message": "string should have at most 100 characters",
    }


def test_two_servers_never_share_a_name(api, server):
    """The second one is a conflict that names the field."""
    answer = api("POST", "/v1/servers", server_body())
    assert (answer.status, fields(answer)) == (409, ["name"])
    other = api("POST", "/v1/servers", server_body(name="web-2")).body
    answer = api("PATCH", f"/v1/servers/{other['server_id']}", {"name": "web-1"})
    assert (answer.status, fields(answer)) == (409, ["name"])


def test_stale_change_is_refused(api, server):
    """If-Match with an old version changes nothing."""
    path = f"/v1/servers/{server['server_id']}"
    assert api("PATCH", path, {"port": 23}, headers={"if-match": '"1"'}).status == 200

    for method, body in (("PATCH", {"port": 24}), ("PUT", server_body())):
        answer = api(method, path, body, headers={"if-match": '"1"'})
        assert answer.status == 412
    assert api("DELETE", path, headers={"if-match": '"1"'}).status == 412
    assert api("GET", path).body["port"] == 23


# -- checks of servers, their keys and their jump hosts


@pytest.fixture
def unknown(api, world, sshd):
    """A server whose host key nobody has pinned."""
    world.clock.now = wiring.now()  # ids of the API's clock and the executor's
    key = {"name": "login", "private_key": sshd.private_key}
    assert api("POST", "/v1/credentials", key).status == 201
    body = server_body(
        host=sshd.host, port=sshd.port, username=sshd.username, credential="login"
    )
    del body["host_keys"]
    made = api("POST", "/v1/servers", body)
    assert made.status == 201, made.body
    assert made.body["host_keys"] == []
    return f"/v1/servers/{made.body['server_id']}"


def test_check_is_answered_by_the_executor(api, world, unknown):
    """The API only asks; the server shows that it is pending, then what was found."""
    before = api("GET", unknown).body
    assert (before["pending_check"], before["last_check"]) == (None, None)

    asked = api("POST", f"{unknown}/check")

    assert asked.status == 202
    pending = api("GET", unknown).body
    assert pending == before | {"pending_check": asked.body["check_id"]}
    world.deliver()
    shown = api("GET", unknown)
    assert shown.body["pending_check"] is None
    assert shown.body["last_check"]["check_id"] == asked.body["check_id"]
    assert shown.body["last_check"]["ok"] is False
    assert shown.headers["etag"] == '"1"'
    assert api("GET", "/v1/servers").body["items"] == [shown.body]
    assert api("POST", f"{unknown}x/check").status == 404


@pytest.mark.parametrize("way", ["refuses", "raises"])
def test_check_that_cannot_be_sent_is_an_error(api, unknown, monkeypatch, way):
    """Nothing is on record as pending that is not on its way."""
    queue = wiring.services().servers.queue
    refuses = {"refuses": lambda batch: [batch[0][0]], "raises": lambda batch: 1 / 0}
    monkeypatch.setattr(queue, "_send_batch", refuses[way])

    assert api("POST", f"{unknown}/check").status in {500, 503}
    assert api("GET", unknown).body["pending_check"] is None


def test_host_key_is_approved(api, world, sshd, unknown):
    """By the fingerprint that the check has shown, and nothing else."""
    path, seen = f"{unknown}/host-keys", {"fingerprint": fingerprint(sshd.host_key)}
    early = api("POST", path, seen)
    assert (early.status, fields(early)) == (409, ["fingerprint"])
    api("POST", f"{unknown}/check")
    world.deliver()
    (shown,) = api("GET", unknown).body["last_check"]["host_keys_seen"]
    assert shown["fingerprint"] == seen["fingerprint"]
    other = api("POST", path, {"fingerprint": fingerprint(SOME_HOST_KEY)})
    assert (other.status, fields(other)) == (409, ["fingerprint"])
    for bad in ("", "SHA256:", seen["fingerprint"][7:], sshd.host_key, None):
        answer = api("POST", path, {"fingerprint": bad})
        assert (answer.status, fields(answer)) == (400, ["fingerprint"])
    forged = api("POST", path, seen | {"key": SOME_HOST_KEY})
    assert (forged.status, fields(forged)) == (400, ["key"])
    assert api("POST", path, seen, headers={"if-match": '"2"'}).status == 412
    assert api("GET", unknown).body["host_keys"] == []

    approved = api("POST", path, seen, headers={"if-match": '"1"'})

    assert approved.status == 200
    assert approved.headers["etag"] == '"2"'
    assert approved.body["host_keys"] == [sshd.host_key]
    assert api("GET", unknown).body == approved.body


def test_alert_is_shown_until_the_key_is_approved(api, world, sshd, unknown):
    """A changed key is told with its fingerprint; approving it replaces the old one."""
    api("PATCH", unknown, {"host_keys": [SOME_HOST_KEY]})
    api("POST", f"{unknown}/check")
    world.deliver()
    alert = api("GET", unknown).body["host_key_alert"]
    assert alert["seen"] == fingerprint(sshd.host_key)
    assert alert["at"].endswith("Z")

    approved = api(
        "POST",
        f"{unknown}/host-keys",
        {"fingerprint": alert["seen"], "replace": True},
    )

    assert approved.body["host_keys"] == [sshd.host_key]
    assert approved.body["host_key_alert"] is None


def via(server, **changes):
    return server_body(via_server=server["server_id"], **changes)


def test_jump_host_is_one_hop(api, server):
    """Neither behind another one, nor itself, nor nobody; each names the field."""
    behind = api("POST", "/v1/servers", via(server, name="behind")).body
    assert behind["via_server"] == server["server_id"]
    other = api("POST", "/v1/servers", server_body(name="other")).body
    path = f"/v1/servers/{server['server_id']}"

    for method, target, body in [
        ("POST", "/v1/servers", via(behind, name="third")),
        ("POST", "/v1/servers", via({"server_id": "x"}, name="third")),
        ("POST", "/v1/servers", via({"server_id": "0" * 26}, name="third")),
        ("POST", "/v1/servers", via({"server_id": 3}, name="third")),
        ("PATCH", path, {"via_server": server["server_id"]}),
        ("PATCH", path, {"via_server": other["server_id"]}),
        ("PUT", path, via(other)),
        ("PATCH", path, {"via_server": behind["server_id"]}),
    ]:
        answer = api(method, target, body)
        assert (answer.status, fields(answer)) == (400, ["via_server"]), body
    assert api("GET", path).body == server
    assert len(api("GET", "/v1/servers").body["items"]) == 3


def test_jump_host_in_use_stays(api, server):
    """It can be removed when nobody goes through it any more."""
    path = f"/v1/servers/{server['server_id']}"
    behind = [
        api("POST", "/v1/servers", via(server, name=f"behind-{number}")).body
        for number in range(3)
    ]
    paths = [f"/v1/servers/{one['server_id']}" for one in behind]
    other = api("POST", "/v1/servers", server_body(name="other")).body

    refused = api("DELETE", path)
    assert refused.status == 409
    assert "behind-0" in refused.body["detail"]
    assert api("PATCH", path, {"port": 23}).status == 200

    assert api("DELETE", paths[0]).status == 204
    assert api("PATCH", paths[1], {"via_server": None}).body["via_server"] is None
    assert api("DELETE", path).status == 409
    assert api("PATCH", paths[2], {"via_server": other["server_id"]}).status == 200
    assert api("DELETE", path).status == 204
    assert api("DELETE", f"/v1/servers/{other['server_id']}").status == 409


@pytest.mark.parametrize("race", ["removed", "behind"])
def test_jump_host_that_changes_meanwhile(api, server, monkeypatch, race):
    """Whoever comes second changes nothing, however close it was."""
    path = f"/v1/servers/{server['server_id']}"
    other = api("POST", "/v1/servers", server_body(name="other")).body
    check = servers_module._check_jump

    def changed(via_server, present, scope):
        check(via_server, present, scope)
        monkeypatch.setattr(servers_module, "_check_jump", check)
        if race == "removed":
            assert api("DELETE", path).status == 204
        else:
            body = {"via_server": other["server_id"]}
            assert api("PATCH", path, body).status == 200

    monkeypatch.setattr(servers_module, "_check_jump", changed)

    answer = api("POST", "/v1/servers", via(server, name="late"))

    assert (answer.status, fields(answer)) == (409, ["via_server"])
    names = [one["name"] for one in api("GET", "/v1/servers").body["items"]]
    assert "late" not in names
    assert api("POST", "/v1/servers", server_body(name="late")).status == 201


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "::ffff:169.254.169.254",
        "[::1]",
        "localhost",
        "127.1",
        "0",
        "fd00:ec2::254",
        "",
    ],
)
def test_dangerous_host_is_refused(api, credential, host, monkeypatch):
    """No spelling of a link-local, loopback or metadata address gets in."""
    monkeypatch.delenv("CRONHOP_ALLOWED_NETWORKS")
    wiring.services.cache_clear()

    answer = api("POST", "/v1/servers", server_body(host=host))

    assert (answer.status, fields(answer)) == (400, ["host"])
    assert api("GET", "/v1/servers").body["items"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"port": 70000}, "port"),
        ({"port": "22"}, "port"),
        ({"port": True}, "port"),
        ({"name": "n" * 101}, "name"),
        ({"name": ""}, "name"),
        ({"host_keys": [SOME_HOST_KEY] * 11}, "host_keys"),
        ({"last_check": None}, "last_check"),
        ({"status": "broken"}, "status"),
        ({"host_keys": ["ssh-ed25519 nonsense"]}, "host_keys"),
        ({"credential": "nobody"}, "credential"),
        ({"username": "a b"}, "username"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": "4"}, "max_concurrency"),
        ({"via_server": "x"}, "via_server"),
        ({"tags": {"a": 1}}, "tags.a"),
    ],
)
def test_bad_server_is_refused(api, credential, change, field):
    """The error names the field, and nothing is kept."""
    answer = api("POST", "/v1/servers", server_body(**change))

    assert (answer.status, fields(answer)) == (400, [field])
    assert api("GET", "/v1/servers").body["items"] == []


def test_task_life(api, server):
    """A task is made with its next slot, shown, changed, and removed."""
    made = api("POST", "/v1/tasks", task_body(server))
    assert made.status == 201, made.body
    assert made.body["next_run"].endswith(":30:00Z")
    assert made.body["last_run"] is None
    assert made.body["timeout_s"] == 3600
    path = f"/v1/tasks/{made.body['task_id']}"
    assert api("GET", path).body == made.body

    changed = api("PATCH", path, {"schedule": {"cron": "0 5 * * *"}, "timeout_s": 60})

    assert changed.body["version"] == 2
    assert changed.body["schedule"] == {
        "cron": "0 5 * * *",
        "timezone": "Europe/Berlin",
        "seconds": False,
        "starts_at": None,
        "ends_at": None,
        "exclude_calendars": [],
    }
    off = api("PATCH", path, {"enabled": False})
    assert off.body["next_run"] is None
    by_hand = api("PATCH", path, {"enabled": True, "schedule": None})
    assert by_hand.body["schedule"] is None
    assert api("DELETE", f"/v1/servers/{server['server_id']}").status == 409
    assert api("DELETE", path).status == 204
    assert api("GET", path).status == 404
    assert api("GET", "/v1/tasks").body["items"] == []
    assert api("POST", f"{path}/run").status == 404
    assert api("DELETE", f"/v1/servers/{server['server_id']}").status == 204


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "n" * 101}, "name"),
        ({"spec": {"command": ""}}, "spec.command"),
        ({"spec": {"command": "  \n"}}, "spec.command"),
        ({"spec": {"command": "a\0b"}}, "spec.command"),
        ({"spec": {"command": "a", "environment": {"1A": "x"}}}, "spec.environment.1A"),
        (
            {"spec": {"command": "a", "environment": {"CRONHOP_X": "x"}}},
            "spec.environment.CRONHOP_X",
        ),
        (
            {"spec": {"command": "a", "environment": {"IFS": "x"}}},
            "spec.environment.IFS",
        ),
        ({"spec": {"command": "a", "secrets": {"UID": "x"}}}, "spec.secrets.UID"),
        ({"spec": {"command": "a", "secrets": {"P": "nope"}}}, "spec.secrets.P"),
        ({"targets": {"server_ids": []}}, "targets.server_ids"),
        ({"targets": {"server_ids": ["nope"]}}, "targets.server_ids.0"),
        ({"targets": {"server_ids": ["name#web-1"]}}, "targets.server_ids.0"),
        ({"targets": {"server_ids": [""]}}, "targets.server_ids.0"),
        ({"targets": {"server_ids": ["a", "a"]}}, "targets.server_ids"),
        (
            {"targets": {"server_ids": [f"{n}" for n in range(91)]}},
            "targets.server_ids",
        ),
        ({"spec": {"command": "🙂" * 16385}}, "spec.command"),
        ({"schedule": "* * * * *"}, "schedule"),
        ({"task_id": "x"}, "task_id"),
        ({"targets": {"selector": {}}}, "targets.selector"),
        (
            {"targets": {"selector": {"tags": {"a": 1}}, "server_ids": None}},
            "targets.selector.tags.a",
        ),
        (
            {"targets": {"selector": {"or": [{"name": "a"}]}, "server_ids": None}},
            "targets.selector.or",
        ),
        (
            {"targets": {"selector": {"not": {"name": "a"}}, "server_ids": None}},
            "targets.selector.not",
        ),
        (
            {"targets": {"selector": {"regex": "a"}, "server_ids": None}},
            "targets.selector.regex",
        ),
        ({"targets": {"server_ids": None}}, "targets"),
        ({"targets": {"server_ids": ["x"], "pick": 0}}, "targets.pick"),
        ({"targets": {"server_ids": ["x"], "pick": "some"}}, "targets.pick"),
        ({"targets": {"server_ids": ["x"], "pick": True}}, "targets.pick"),
        ({"schedule": {"cron": "0 0 31 2 *"}}, "schedule.cron"),
        ({"schedule": {"cron": "0 0 0 31 2 *"}}, "schedule.cron"),
        ({"schedule": {"cron": "*/5 * * * * *"}}, "schedule.cron"),
        ({"schedule": {"cron": "1," * 30 + "1 * * * *"}}, "schedule.cron"),
        ({"schedule": {"cron": "@reboot"}}, "schedule.cron"),
        (
            {"schedule": {"cron": "0 5 * * *", "timezone": "Mars/Olympus"}},
            "schedule.timezone",
        ),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": "60"}, "timeout_s"),
        ({"overlap": "wait"}, "overlap"),
        ({"overlap": "queue", "overlap_limit": 0}, "overlap_limit"),
        ({"overlap": "queue", "overlap_limit": 101}, "overlap_limit"),
        ({"kind": "sysv"}, "kind"),
        ({"kind": "file_transfer", "spec": {"path": "x"}}, "spec.direction"),
    ],
)
def test_bad_task_is_refused(api, server, change, field):
    """The error names the field, and nothing is kept, whether new or changed."""
    answer = api("POST", "/v1/tasks", task_body(server, **change))
    assert answer.status == 400
    assert field in fields(answer), answer.body
    assert api("GET", "/v1/tasks").body["items"] == []

    task = api("POST", "/v1/tasks", task_body(server)).body
    answer = api("PATCH", f"/v1/tasks/{task['task_id']}", change)
    assert answer.status == 400
    assert field in fields(answer), answer.body
    assert api("GET", f"/v1/tasks/{task['task_id']}").body == task


@pytest.mark.parametrize(
    ("rollout", "field"),
    [
        ({"max_parallel": 0}, "rollout.max_parallel"),
        ({"max_parallel": "0%"}, "rollout.max_parallel"),
        ({"max_parallel": "101%"}, "rollout.max_parallel"),
        ({"max_parallel": "25"}, "rollout.max_parallel"),
        ({"max_parallel": 2.5}, "rollout.max_parallel"),
        ({"max_parallel": True}, "rollout.max_parallel"),
        ({"max_parallel": 5001}, "rollout.max_parallel"),
        ({"canary": -1}, "rollout.canary"),
        ({"max_failures": "1 %"}, "rollout.max_failures"),
        ({"success_threshold": []}, "rollout.success_threshold"),
        ({"batches": True}, "rollout.batches"),
        ({"batches": 1, "max_parallel": 1}, "rollout.batches"),
        ({"speed": 1}, "rollout.speed"),
        (5, "rollout"),
    ],
)
def test_bad_rollout_is_refused(api, server, rollout, field):
    """The error names the field, and nothing is kept."""
    answer = api("POST", "/v1/tasks", task_body(server, rollout=rollout))

    assert (answer.status, fields(answer)) == (400, [field])
    assert api("GET", "/v1/tasks").body["items"] == []


def test_rollout_is_kept_and_patched(api, server):
    """As it was sent; what a patch leaves out stays."""
    rollout = {"max_parallel": "25%", "batches": True, "canary": 1, "max_failures": 0}
    made = api("POST", "/v1/tasks", task_body(server, rollout=rollout)).body
    assert made["rollout"] == {**rollout, "success_threshold": None}

    change = {"rollout": {"max_parallel": None, "batches": False}}
    patched = api("PATCH", f"/v1/tasks/{made['task_id']}", change)

    assert patched.body["rollout"]["max_parallel"] is None
    assert patched.body["rollout"]["canary"] == 1


@pytest.fixture
def fleet(api, credential):
    """Six servers that nobody visits."""
    return [
        api("POST", "/v1/servers", server_body(name=f"fleet-{number}")).body
        for number in range(6)
    ]


def ids_of(servers):
    return [server["server_id"] for server in servers]


def test_run_on_several_servers_is_shown(api, fleet, world):
    """Targets, counts and every execution, those not started as well, by pages."""
    ids = ids_of(reversed(fleet))
    body = task_body(fleet[0], targets={"server_ids": ids}, rollout={"max_parallel": 2})
    task = api("POST", "/v1/tasks", body).body
    run_id = api("POST", f"/v1/tasks/{task['task_id']}/run").body["run_id"]
    world.clock.now = wiring.now()
    world.deliver()
    start, _ = [message for message, _ in world.messages()]
    assert start.server_id == ids[0]
    executions.ask_cancel(run_id, ids[0], by="ada", now=world.clock(), position=0)

    run = api("GET", f"/v1/runs/{run_id}").body
    assert (run["targets"], run["target_count"]) == (ids, 6)
    assert run["counts"] == {"running": 2, "pending": 4}
    listed, token = [], ""
    while token is not None:
        page = api(
            "GET",
            f"/v1/runs/{run_id}/executions",
            query=f"limit=4&next_token={token}" if token else "limit=4",
        ).body
        listed += page["items"]
        token = page["next_token"]
    assert listed == run["executions"]
    assert [(one["server_id"], one["position"]) for one in listed] == [
        (server_id, position) for position, server_id in enumerate(ids)
    ]
    assert [(one["state"], one["reason"], one["attempt"]) for one in listed[1:]] == [
        ("pending", "about to be started", 0),
        *[("pending", "its turn has not come", 0)] * 4,
    ]
    assert api("GET", "/v1/runs").body["items"][0]["target_count"] == 6


def test_run_now_and_retry_elsewhere(api, fleet, server, world):
    """Targets of a run by hand are checked; what failed can be tried again."""
    task = api("POST", "/v1/tasks", task_body(server)).body
    path = f"/v1/tasks/{task['task_id']}/run"
    for targets, field in [
        ({"server_ids": ["nope"]}, "targets.server_ids.0"),
        ({"selector": {}}, "targets.selector"),
        ({}, "targets"),
        ({"server_ids": ids_of(fleet), "where": 1}, "targets.where"),
    ]:
        refused = api("POST", path, {"targets": targets})
        assert (refused.status, fields(refused)) == (400, [field])
    assert api("GET", "/v1/runs").body["items"] == []

    run = api("POST", path, {"targets": {"server_ids": ids_of(fleet)}}).body
    early = api("POST", f"/v1/runs/{run['run_id']}/retry")
    assert (early.status, early.body["detail"]) == (409, "the run is not over: pending")
    world.clock.now = wiring.now()
    world.deliver()
    api("POST", f"/v1/runs/{run['run_id']}/cancel")
    while messages := world.messages():
        world.deliver([message for message, _ in messages])
    again = api("POST", f"/v1/runs/{run['run_id']}/retry")

    assert again.status == 202
    assert again.body["retry_of"] == run["run_id"]
    assert (again.body["trigger"], again.body["created_by"]) == ("retry", "ada")
    world.clock.now = wiring.now()
    world.deliver()
    shown = api("GET", f"/v1/runs/{again.body['run_id']}").body
    assert shown["targets"] == ids_of(fleet)


def test_too_many_targets_change_at_once(api, fleet, world):
    """What would not fit in a transaction is refused, with a way out."""
    known = [world.add_server().server_id for _ in range(92)]
    body = task_body(fleet[0], targets={"server_ids": known[:90]})
    task = api("POST", "/v1/tasks", body).body
    other = {"targets": {"server_ids": ids_of(fleet) + known[90:]}}

    answer = api("PATCH", f"/v1/tasks/{task['task_id']}", other)

    assert (answer.status, fields(answer)) == (400, ["targets.server_ids"])
    fewer = {"targets": {"server_ids": known[85:]}}
    assert api("PATCH", f"/v1/tasks/{task['task_id']}", fewer).status == 200


def test_object_without_a_bucket_is_refused(api, server, monkeypatch):
    """When it is written, not at night when it runs."""
    spec = {"direction": "upload", "path": "/etc/app.conf", "object_key": "app.conf"}
    body = task_body(server, kind="file_transfer", spec=spec)

    refused = api("POST", "/v1/tasks", body)
    monkeypatch.setenv("CRONHOP_TRANSFER_BUCKET", "files")
    wiring.services.cache_clear()
    made = api("POST", "/v1/tasks", body)

    assert (refused.status, fields(refused)) == (400, ["spec.object_key"])
    assert made.status == 201


@pytest.mark.parametrize(
    ("targets", "status"),
    [
        ({"selector": {"name": "web-*"}}, 400),
        ({"selector": {"name": "web-*"}, "pick": 2}, 400),
        ({"selector": {"name": "web-*"}, "pick": "any"}, 201),
        ({"selector": {"name": "web-*"}, "pick": 1}, 201),
    ],
)
def test_a_download_is_from_one_server(api, server, monkeypatch, targets, status):
    """Each further one would overwrite the object of the one before."""
    monkeypatch.setenv("CRONHOP_TRANSFER_BUCKET", "files")
    wiring.services.cache_clear()
    spec = {"direction": "download", "path": "/etc/app.conf", "object_key": "app.conf"}
    body = task_body(server, kind="file_transfer", spec=spec)

    made = api("POST", "/v1/tasks", {**body, "name": "one"})
    path = f"/v1/tasks/{made.body['task_id']}/run"
    ran = api("POST", path, {"targets": targets})
    answer = api("POST", "/v1/tasks", {**body, "targets": targets})

    assert made.status == 201
    assert (answer.status, ran.status) == (status, 400 if status == 400 else 202)


def test_run_now_is_on_record_at_once(api, server, world):
    """Run now answers with the run's id; the run is pending and its start sent."""
    task = api("POST", "/v1/tasks", task_body(server)).body

    started = api("POST", f"/v1/tasks/{task['task_id']}/run")

    assert started.status == 202
    assert started.body["state"] == "pending"
    assert started.body["created_by"] == "ada"
    run = api("GET", f"/v1/runs/{started.body['run_id']}")
    assert run.body["trigger"] == "manual"
    assert run.body["executions"] == []
    (only,) = [message for message, _ in world.messages()]
    assert only.run_id == started.body["run_id"]
    for query in ("", f"task_id={task['task_id']}"):
        listed = api("GET", "/v1/runs", query=query).body["items"]
        assert [one["run_id"] for one in listed] == [started.body["run_id"]]


def test_run_now_survives_a_queue_that_is_away(api, server, world, monkeypatch):
    """The run is on record, so the tick sends what the API could not."""
    task = api("POST", "/v1/tasks", task_body(server, schedule=None)).body
    queue = wiring.services().tasks.dispatcher._queue
    monkeypatch.setattr(queue, "send", lambda messages: 1 / 0)

    started = api("POST", f"/v1/tasks/{task['task_id']}/run")

    assert started.status == 202
    world.clock.now = wiring.now() + timedelta(minutes=3)
    assert world.tick().checked == [started.body["run_id"]]


def test_lists_go_on_where_they_stopped(api, credential):
    """Pages hold everything once, and a cursor of another list is refused."""
    for number in range(5):
        api("POST", "/v1/servers", server_body(name=f"web-{number}"))

    first = api("GET", "/v1/servers", query="limit=2").body
    api("POST", "/v1/servers", server_body(name="web-9"))
    names = [one["name"] for one in first["items"]]
    token = first["next_token"]
    while token:
        page = api("GET", "/v1/servers", query=f"limit=2&next_token={token}").body
        names += [one["name"] for one in page["items"]]
        token = page["next_token"]

    assert names == ["web-0", "web-1", "web-2", "web-3", "web-4", "web-9"]
    for bad in (first["next_token"], "garbage", "e30="):
        answer = api("GET", "/v1/credentials", query=f"next_token={bad}")
        assert (answer.status, fields(answer)) == (400, ["next_token"])


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
def test_bad_limit_is_refused(api, query):
    """The error names the parameter."""
    answer = api("GET", "/v1/tasks", query=query)

    assert (answer.status, fields(answer)) == (400, ["limit"])


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ('{"name": ', 400),
        ("[]", 400),
        ('"text"', 400),
        ("null", 400),
        ('{"name": "\\ud800", "password": "x"}', 400),
        ("x" * (256 * 1024 + 1), 413),
        ("€" * (100 * 1024), 413),
        ("[" * 2_000 + "]" * 2_000, 400),
        ("[" * 100_000 + "]" * 100_000, 400),
        ('{"name": ' * 21 + "1" + "}" * 21, 400),
        ('{"name": ' + "1" * 5_000 + "}", 400),
        ('{"name": NaN, "password": "x"}', 400),
    ],
    ids=[
        "cut",
        "list",
        "string",
        "null",
        "surrogate",
        "too-large",
        "too-many-bytes",
        "deep",
        "deeper",
        "nested",
        "long-number",
        "nan",
    ],
)
def test_malformed_body_is_a_clear_error(api, raw, status):
    """No body, however odd, is more than a problem+json of ours."""
    answer = api("POST", "/v1/credentials", raw=raw)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert api("GET", "/v1/credentials").body["items"] == []


def test_body_that_is_no_text_is_refused(api):
    """A binary body is a bad request, not a crash."""
    body = base64.b64encode(b"\xff\xfe").decode()

    assert api("POST", "/v1/credentials", base64_body=body).status == 400


def test_body_without_json_type_is_refused(api):
    """curl -d without the header says what is missing, not twenty fields."""
    answer = api(
        "POST",
        "/v1/credentials",
        {"name": "a", "password": "b"},
        headers={"content-type": "application/x-www-form-urlencoded"},
    )

    assert answer.status == 415
    assert "application/json" in answer.body["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v1/tasks/nope"),
        ("GET", "/v1/servers/nope"),
        ("GET", "/v1/runs/nope"),
        ("GET", "/v1/runs/nope/executions"),
        ("GET", "/v1/runs/nope/executions/nope"),
        ("GET", "/v1/runs/nope/executions/nope/output"),
        ("GET", "/v1/tasks/name%23x"),
        ("GET", "/v1/tasks/" + "x" * 3000),
        ("GET", "/v1/servers/" + "x" * 3000),
        ("GET", "/v1/runs/" + "x" * 3000),
        ("GET", "/v1/servers/name%23web-1"),
        ("GET", "/v1/credentials/" + "x" * 3000),
        ("GET", "/v1/calendars/" + "x" * 3000),
        ("GET", "/v1/channels/" + "x" * 3000),
        ("GET", "/v1/rules/" + "x" * 3000),
    ],
)
def test_what_is_not_there_is_404(api, server, method, path):
    """Unknown routes and ids are problem+json."""
    answer = api(method, path)

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("rules", {"on": ["failure"], "channels": [""]}, "channels.0"),
        ("rules", {"on": ["failure"], "channels": ["a"], "task_id": ""}, "task_id"),
        ("channels", {"kind": "webhook", "url": ""}, "url"),
        ("channels", {"kind": "sns", "topic_arn": ""}, "topic_arn"),
        ("channels", {"kind": "slack", "credential": ""}, "credential"),
    ],
    ids=["channel", "task", "url", "topic", "credential"],
)
def test_nobody_is_told_of_nothing(api, path, body, field):
    """What a rule or a channel names has to be something."""
    answer = api("POST", f"/v1/{path}", {"name": "ops", **body})

    assert (answer.status, fields(answer)) == (400, [field])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/runs/01J00000000000000000000000", "GET"),
        ("POST", "/v1/freeze", "DELETE, GET, PUT"),
        ("PATCH", "/v1/servers/web/check", "POST"),
        ("POST", "/v1/health", "GET"),
    ],
)
def test_a_method_that_is_not_there_is_405(api, method, path, allowed):
    """And those that are there are told."""
    answer = api(method, path)

    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [[], [None, None], "x", 1], ids=repr)
def test_a_body_that_is_no_object_is_refused(api, body):
    """Also where none is needed: it is not taken for none."""
    answer = api("PUT", "/v1/freeze", body)

    assert answer.status == 400
    assert "not a JSON object" in answer.body["detail"]
    assert api("GET", "/v1/freeze").body == {"freeze": None}


def test_a_method_that_is_not_there_has_no_query(api):
    """What a request asks for comes before how."""
    assert api("PATCH", "/v1/tasks", query="limit=1").status == 405


def test_the_document_is_served(api):
    """To anybody: it says nothing that is not in the reference."""
    answer = api("GET", "/v1/openapi.json", claims={})

    assert (answer.status, answer.body) == (200, contract.document())


def test_our_own_fault_tells_nothing(api, server, monkeypatch):
    """An exception's text never reaches the client."""

    def fail(*args, **kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(servers, "listing", fail)
    answer = api("GET", "/v1/servers")

    assert answer.status == 500
    assert "secret" not in json.dumps(answer.body)


@pytest.mark.parametrize("by_task", [True, False], ids=["of-a-task", "of-all"])
def test_runs_are_paged_newest_first(api, server, by_task):
    """Every run is listed once, the newest first, however small the pages are."""
    task = api("POST", "/v1/tasks", task_body(server, schedule=None)).body
    path = f"/v1/tasks/{task['task_id']}/run"
    started = [api("POST", path).body["run_id"] for _ in range(5)]
    query = f"task_id={task['task_id']}&limit=2" if by_task else "limit=2"

    listed, token = [], ""
    while token is not None:
        more = f"&next_token={token}" if token else ""
        page = api("GET", "/v1/runs", query=query + more).body
        listed += [run["run_id"] for run in page["items"]]
        token = page["next_token"]

    assert listed == sorted(started, reverse=True)


@pytest.mark.parametrize("tag", ['"²"', '"' + "1" * 5000 + '"', "x", ""])
def test_odd_if_match_is_412(api, server, tag):
    """What can be no version of ours matches none."""
    path = f"/v1/servers/{server['server_id']}"

    answer = api("PATCH", path, {"port": 23}, headers={"if-match": tag})

    assert answer.status == 412
    assert api("GET", path).body["port"] == 22


@pytest.mark.parametrize("key", ["x", "7" + "Z" * 25, "name#x", "", 3, None, {}])
@pytest.mark.parametrize("query", ["runs", "runs of T"])
def test_forged_cursor_is_refused(api, key, query):
    """A cursor that no page gave is a bad request."""
    token = base64.urlsafe_b64encode(json.dumps([query, key]).encode()).decode()
    filters = "task_id=T&" if query.endswith("T") else ""

    answer = api("GET", "/v1/runs", query=f"{filters}next_token={token}")

    assert (answer.status, fields(answer)) == (400, ["next_token"])


def test_unknown_parameter_is_refused(api):
    """A filter that is not there must not look like one that found everything."""
    answer = api("GET", "/v1/runs", query="status=failed")

    assert (answer.status, fields(answer)) == (400, ["status"])


@pytest.mark.parametrize(
    "path",
    [
        "runs/x/cancel",
        "runs/x/retry",
        "runs/x/executions/x/poll",
        "tasks/x/resume",
        "tasks/x/restore",
        "servers/x/check",
        "channels/x/test",
    ],
)
def test_a_field_is_refused_where_nothing_can_be_said(api, path):
    """A retry that is asked for on some servers must not go to all of them."""
    answer = api("POST", f"/v1/{path}", {"server_ids": ["x"]})

    assert (answer.status, fields(answer)) == (400, ["server_ids"])


def test_unparked_bad_task_does_not_hide_the_others(api, server):
    """A task whose zone is gone is listed with the reason."""
    bad = api("POST", "/v1/tasks", task_body(server)).body
    good = api("POST", "/v1/tasks", task_body(server, name="good")).body
    definition = tasks.get(bad["task_id"]).definition.to_dict()
    definition["schedule"]["timezone"] = "Mars/Olympus"
    row = tasks.TaskRow(task_id=bad["task_id"])
    row.update(actions=[tasks.TaskRow.definition.set(definition)])

    shown, other = api("GET", "/v1/tasks").body["items"]

    assert "Mars/Olympus" in shown["invalid"]
    assert shown["next_run"] is None
    assert other == good


def test_list_is_cut_before_it_is_too_large(api, server):
    """A page of large tasks ends early, and the next one goes on."""
    environment = {f"V{number}": "x" * 8000 for number in range(20)}
    names = [f"task {number:02}" for number in range(16)]
    for name in names:
        body = task_body(
            server, name=name, spec={"command": "a", "environment": environment}
        )
        assert api("POST", "/v1/tasks", body).status == 201

    first = api("GET", "/v1/tasks").body
    token = first["next_token"]
    second = api("GET", "/v1/tasks", query=f"next_token={token}").body

    assert 0 < len(first["items"]) < 16
    assert len(json.dumps(first)) < 3 * 1024 * 1024
    assert [one["name"] for one in first["items"] + second["items"]] == names


def test_wrong_passphrase_of_any_cipher(api, tmp_path):
    """A wrong passphrase is named, whatever the key is encrypted with."""
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "right", "-f", path]
    command += ["-Z", "aes256-gcm@openssh.com"]
    subprocess.run(command, check=True)
    body = {"name": "k", "private_key": path.read_text(), "passphrase": "wrong"}

    answer = api("POST", "/v1/credentials", body)

    assert (answer.status, fields(answer)) == (400, ["passphrase"])


def test_task_that_no_row_can_hold_is_refused(api, server):
    """What grows in the table is refused before it gets there."""
    environment = {f"V{number}": "é" * 8000 for number in range(9)}
    body = task_body(server, spec={"command": "a", "environment": environment})

    answer = api("POST", "/v1/tasks", raw=json.dumps(body, ensure_ascii=False))

    assert (answer.status, fields(answer)) == (400, ["spec"])


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=UTF-8"]
)
def test_json_is_taken_in_any_spelling(api, media_type):
    """A media type has no case, and may have parameters."""
    answer = api(
        "POST",
        "/v1/credentials",
        {"name": "a", "password": "b"},
        headers={"content-type": media_type},
    )

    assert answer.status == 201


def test_cancel_is_answered_at_once(api, server, world):
    """A pending run is cancelled by the answer; one that has ended is 409."""
    task = api("POST", "/v1/tasks", task_body(server)).body
    run = api("POST", f"/v1/tasks/{task['task_id']}/run", {}).body

    answer = api("POST", f"/v1/runs/{run['run_id']}/cancel", {})

    assert (answer.status, answer.body["state"]) == (202, "cancelled")
    assert answer.body["reason"] == "cancelled by ada before it began"
    again = api("POST", f"/v1/runs/{run['run_id']}/cancel", {})
    assert (again.status, again.body["detail"]) == (
        409,
        "the run has ended: cancelled",
    )


def test_cancel_of_a_run_under_way_is_on_record(api, server, world):
    """Who asked and when, and the message that ends it; without a body as well."""
    task = api("POST", "/v1/tasks", task_body(server)).body
    run_id = api("POST", f"/v1/tasks/{task['task_id']}/run", {}).body["run_id"]
    runs.begin(
        run_id,
        task_version=1,
        targets=(server["server_id"],),
        now=world.clock(),
    )
    world.messages()

    answer = api("POST", f"/v1/runs/{run_id}/cancel")

    assert (answer.status, answer.body["state"]) == (202, "running")
    assert answer.body["cancel"]["by"] == "ada"
    ((message, delay_s),) = world.messages()
    assert (message.kind.value, message.run_id, delay_s) == ("cancel", run_id, 0)


@pytest.mark.parametrize(
    "what", ["cancel", "retry", "executions/01J00000000000000000000000/poll"]
)
def test_unknown_run_is_404(api, world, what):
    """There is nothing to cancel or to look at."""
    answer = api("POST", f"/v1/runs/01J00000000000000000000000/{what}", {})

    assert answer.status == 404
    assert world.messages() == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"retry": {"max_attempts": 0}}, "retry.max_attempts"),
        ({"retry": {"max_attempts": 21}}, "retry.max_attempts"),
        ({"retry": {"interval_s": 0}}, "retry.interval_s"),
        ({"retry": {"backoff": 0.5}}, "retry.backoff"),
        ({"retry": {"jitter": 2}}, "retry.jitter"),
        ({"retry": {"on": []}}, "retry.on"),
        ({"retry": {"on": ["lost"]}}, "retry.on.0"),
        ({"retry": {"exit_codes": [0]}}, "retry.exit_codes.0"),
        ({"retry": {"exit_codes": [256]}}, "retry.exit_codes.0"),
        ({"retry": {"attempts": 3}}, "retry.attempts"),
        ({"retry": {"interval_s": 60, "max_interval_s": 30}}, "retry.max_interval_s"),
        ({"retry": {"on": ["timeout"], "exit_codes": [1]}}, "retry.exit_codes"),
        ({"output_cap_bytes": 1000}, "output_cap_bytes"),
        ({"lost_after_s": 1}, "lost_after_s"),
        ({"spec": {"command": "x", "workdir": "relative"}}, "spec.workdir"),
        ({"spec": {"command": "x", "interpreter": [""]}}, "spec.interpreter"),
        ({"spec": {"command": "x", "interpreter": ["-c"]}}, "spec.interpreter"),
        ({"name": "a\u2028run: forged"}, "name"),
        (
            {
                "kind": "service_control",
                "spec": {"unit": "a", "action": "start", "wait_s": 3600},
            },
            "timeout_s",
        ),
        (
            {
                "kind": "service_control",
                "spec": {"unit": "a.device", "action": "start"},
            },
            "spec.unit",
        ),
        (
            {
                "kind": "service_control",
                "spec": {"unit": "a", "action": "start", "run_as": "Admin"},
            },
            "spec.run_as",
        ),
        ({"spec": {"command": "x", "workdir": "/a\u0000b"}}, "spec.workdir"),
        ({"spec": {"command": "x", "run_as": "-u root"}}, "spec.run_as"),
        ({"spec": {"command": "x", "run_as": "a b"}}, "spec.run_as"),
        ({"spec": {"command": "x", "interpreter": "python3"}}, "spec.interpreter"),
        ({"spec": {"command": "x", "arguments": ["a\u0000"]}}, "spec.arguments.0"),
        ({"spec": {"command": "x", "arguments": ["a"] * 101}}, "spec.arguments"),
    ],
)
def test_bad_execution_policy_is_refused(api, server, change, field):
    """How a command is run and tried again: each bound names its field."""
    answer = api("POST", "/v1/tasks", task_body(server, **change))

    assert answer.status == 400
    assert fields(answer) == [field]
    assert api("GET", "/v1/tasks").body["items"] == []


def test_execution_policy_comes_back_as_sent(api, server):
    """What a task says of attempts and output is shown, and patched by parts."""
    retry = {"max_attempts": 3, "interval_s": 10, "on": ["failed"], "exit_codes": [75]}
    made = api("POST", "/v1/tasks", task_body(server, retry=retry, lost_after_s=600))
    path = f"/v1/tasks/{made.body['task_id']}"

    assert made.body["retry"] == {
        **retry,
        "backoff": 2.0,
        "max_interval_s": 3600,
        "jitter": 0.0,
    }
    patched = api("PATCH", path, {"retry": {"jitter": 0.5}}).body
    assert patched["retry"] == {**made.body["retry"], "jitter": 0.5}
    assert patched["lost_after_s"] == 600
    assert api("PATCH", path, {"retry": None}).body["retry"]["max_attempts"] == 1


def test_many_errors_make_a_short_answer(api, server):
    """Lambda gives no answer beyond 6 MB; the first errors are enough."""
    body = task_body(server, **{f"f{number}": 1 for number in range(18_000)})

    answer = api("POST", "/v1/tasks", body)

    assert answer.status == 400
    assert len(json.dumps(answer.body)) < 20_000


def test_output_that_the_bucket_does_not_give_is_503(api, server, world):
    """An object that is gone, or a bucket that is away, is no fault of ours."""
    server_id = server["server_id"]
    task = api("POST", "/v1/tasks", task_body(server)).body
    run_id = api("POST", f"/v1/tasks/{task['task_id']}/run", {}).body["run_id"]
    claimed = executions.claim(
        run_id,
        server_id,
        owner="x",
        now=world.clock(),
        lease_until=world.clock() + timedelta(minutes=1),
    )
    stream = StreamRecord(total_bytes=9, chunks=(Chunk(first=0, end=9),))
    outcome = Outcome(state=State.COMPLETED, stdout=stream, stderr=stream)
    executions.finish(claimed, outcome, now=world.clock())

    answer = api("GET", f"/v1/runs/{run_id}/executions/{server_id}/output")

    assert answer.status == 503
