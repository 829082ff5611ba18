"""No value of a secret is anywhere but in Secrets Manager, whatever happens."""

import io
import json
import logging
import lzma
import secrets

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto.sqs.models import sqs_backends

from api import handler, wiring
from cronhop.observe import log
from cronhop.services.runs import Runs
from tests.canary import forms, leaks, plain
from tests.hook import receiver
from tests.integration.test_api import Client, server_body, task_body
from tests.world import ACCOUNT, REGION


def canary(kind):
    """Return a secret that each way of writing text writes in a way of its own."""
    return f'{kind} "ü/&%\\ {secrets.token_hex(12)}'


class Spy(Client):
    """A client that shows a token, and keeps every answer as it left the function."""

    def __init__(self, token):
        self.answers = []
        self._token = token
        super().__init__(self._keep)

    def _keep(self, event, context):
        event["headers"]["authorization"] = f"Bearer {self._token}"
        answer = handler.handler(event, context)
        self.answers.append(json.dumps(answer))
        return answer


@pytest.fixture
def logged():
    """What the functions log, with its tracebacks, and libraries from WARNING on."""
    written = io.StringIO()
    spy = logging.StreamHandler(written)
    spy.setFormatter(log.registered_formatter)
    others = logging.StreamHandler(written)
    others.setLevel(logging.WARNING)
    log.addHandler(spy)
    logging.getLogger().addHandler(others)
    yield written
    logging.getLogger().removeHandler(others)
    log._logger.removeHandler(spy)


@pytest.fixture
def hook():
    """A receiver that refuses, and says back all that it got."""
    with receiver() as server:
        yield server


@pytest.fixture
def canaries(sshd, hook):
    passphrase = canary("passphrase")
    encrypted = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    path = secrets.token_hex(12)
    return {
        "private key": sshd.private_key,
        "encrypted key": encrypted.decode(),
        "passphrase": passphrase,
        "password": canary("password"),
        "replaced": canary("replaced"),
        "parameter": canary("parameter"),
        "signing key": canary("signing key"),
        "token": canary("token").replace("ü", "u"),
        "unreadable": canary("unreadable"),
        "slack": f"http://127.0.0.1:{hook.port}/services/{path}",
        "path": path,
    }


def places(world, api, logged):
    """Return all that there is but Secrets Manager, by name."""
    dynamodb = boto3.client("dynamodb", region_name=REGION)
    s3 = boto3.client("s3", region_name=REGION)
    found = {"log": logged.getvalue(), "answers": "\n".join(api.answers)}
    for table in dynamodb.list_tables()["TableNames"]:
        items = dynamodb.scan(TableName=table)["Items"]
        found[f"table {table}"] = "\n".join(map(plain, items))
    for name, queue in sqs_backends[ACCOUNT][REGION].queues.items():
        found[f"queue {name}"] = "\n".join(one.body for one in queue._messages)
    for bucket in s3.list_buckets()["Buckets"]:
        for one in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
            body = s3.get_object(Bucket=bucket["Name"], Key=one["Key"])["Body"]
            found[f"object {one['Key']}"] = body.read()
    return found


def keep_credentials(api, canaries):
    """Create, repeat, replace, and be refused in every way there is."""
    password = canaries["password"]
    made = {
        "ops-key": {"private_key": canaries["private key"]},
        "locked": {
            "private_key": canaries["encrypted key"],
            "passphrase": canaries["passphrase"],
        },
        "pass": {"password": canaries["replaced"]},
        "param": {"password": canaries["parameter"]},
        "sign": {"password": canaries["signing key"]},
        "slack": {"password": canaries["slack"]},
        "broken": {"password": canaries["unreadable"]},
    }
    for name, body in made.items():
        for _ in range(2):
            answer = api(
                "POST",
                "/v1/credentials",
                {"name": name, **body},
                headers={"idempotency-key": f"make {name}"},
            )
            assert answer.status == 201, answer.body
    path = "/v1/credentials/pass"
    assert api("PUT", path, {"password": password}).status == 200
    refused = [
        {"name": "a b", "password": password},
        {"name": "pass", "password": password},
        {"name": "x", "password": password, "passphrase": canaries["passphrase"]},
        {"name": "x", "password": [password]},
        {"name": "x", "password": {"is": password}},
        {"name": "x", "pasword": password},
        {"name": "x", "private_key": password},
        {"name": "x", "private_key": canaries["encrypted key"]},
        {
            "name": "x",
            "private_key": canaries["encrypted key"],
            "passphrase": canaries["signing key"],
        },
        {"name": "x", "private_key": canaries["private key"][:-60]},
        {"name": {"password": password}, "password": password},
    ]
    for body in refused:
        assert api("POST", "/v1/credentials", body).status in {400, 409}, body
    for raw in (f'{{"password": "{password}', f'"{password}"', f"[{password}]"):
        assert api("POST", "/v1/credentials", raw=raw).status == 400
    wrong = {"private_key": canaries["private key"]}
    assert api("PUT", path, wrong).status == 409
    assert api("POST", "/v1/servers", server_body(password=password)).status == 400
    assert api("POST", "/v1/servers", server_body(port=password)).status == 400


def fail(*args, **kwargs):
    raise OSError("out of order")


def crash(api, canaries, monkeypatch):
    """Let the API fail with a secret in its hands."""
    with monkeypatch.context() as patch:
        patch.setattr(
            wiring.services().credentials.secrets._client, "create_secret", fail
        )
        body = {"name": "lost", "password": canaries["password"]}
        key = {"idempotency-key": "lost"}
        assert api("POST", "/v1/credentials", body, headers=key).status == 500
        patch.setattr(Runs, "listing", fail)
        assert api("GET", "/v1/runs").status == 500


def run_tasks(world, api, sshd):
    """Run commands that show their secrets, and one whose secret cannot be read."""
    body = server_body(
        host=sshd.host,
        port=sshd.port,
        username=sshd.username,
        host_keys=[sshd.host_key],
    )
    server = api("POST", "/v1/servers", body).body
    assert api("POST", f"/v1/servers/{server['server_id']}/check").status == 202
    long = 'for _ in $(seq 2000); do echo "$PASS"; done; '
    ended = {}
    for name, secret, command in (
        ("shows", "pass", 'echo "$PASS-$PARAM"; echo "$PASS" >&2; exit 3'),
        ("floods", "pass", f"{long} exit 4"),
        ("unread", "broken", "true"),
    ):
        task = api(
            "POST",
            "/v1/tasks",
            task_body(
                server,
                name=name,
                spec={"command": command, "secrets": {"PASS": secret}},
                schedule=None,
                start_deadline_s=60,
                parameters=[{"name": "PARAM", "type": "secret"}],
            ),
        )
        assert task.status == 201, task.body
        asked = {"parameters": {"PARAM": "param"}}
        path = f"/v1/tasks/{task.body['task_id']}/run"
        run = api("POST", path, asked, headers={"idempotency-key": name}).body
        ended[name] = world.settle(run["run_id"])
        run_path = f"/v1/runs/{run['run_id']}"
        one = f"{run_path}/executions/{server['server_id']}"
        assert api("GET", run_path).status == 200
        for stream in ("stdout", "stderr"):
            api("GET", f"{one}/output", query=f"stream={stream}&limit=524288")
        api("POST", f"{run_path}/retry")
    return ended


def tell(world, api, hook):
    """Let every notification fail, and the receiver say back what it got."""
    for notice in world.notices():
        hook.answer = (500, {}, b"refused")
        assert world.deliverer.deliver(notice, received=1) is not None
        path, headers, _ = hook.got[-1]
        said = f"{path} {headers}".encode()
        hook.answer = (404, {}, said)
        world.clock.move(minutes=5)
        assert world.deliverer.deliver(notice, received=2) is not None
    for name in ("hook", "chat"):
        assert api("GET", f"/v1/channels/{name}").body["last_delivery"]["ok"] is False


def test_no_secret_is_anywhere_but_where_it_is_kept(
    world, sshd, hook, canaries, logged, monkeypatch
):
    """Kept, refused, used, shown, crashed upon, signed with: it leaves no trace."""
    world.clock.now = wiring.now()
    wiring.services.cache_clear()
    api = Spy(canaries["token"])
    keep_credentials(api, canaries)
    crash(api, canaries, monkeypatch)
    url = f"http://127.0.0.1:{hook.port}/hook"
    for body in (
        {"name": "hook", "kind": "webhook", "url": url, "credential": "sign"},
        {"name": "chat", "kind": "slack", "credential": "slack"},
    ):
        assert api("POST", "/v1/channels", body).status == 201
    rule = {"name": "all", "on": ["failure"], "channels": ["hook", "chat"]}
    assert api("POST", "/v1/rules", rule).status == 201
    unreadable = canaries["unreadable"]
    client = world.secrets._client
    for one in client.list_secrets()["SecretList"]:
        text = client.get_secret_value(SecretId=one["Name"])["SecretString"]
        if json.loads(text).get("password") == unreadable:
            client.put_secret_value(SecretId=one["Name"], SecretString=unreadable)

    ended = run_tasks(world, api, sshd)
    tell(world, api, hook)
    for path in ("credentials", "servers", "tasks", "runs", "audit", "channels"):
        assert api("GET", f"/v1/{path}").status == 200
    wiring.services.cache_clear()

    assert ended["shows"].reason == "exit code 3"
    found = places(world, api, logged)
    assert "out of order" in found["log"]
    assert "delivery_failed" in found["log"]
    assert leaks(canaries, found) == []


@pytest.mark.parametrize("form", list(forms("a")))
def test_a_canary_is_found_in_each_form(form):
    """The search itself finds what it is for, inside of something else too."""
    one = canary("one")
    assert leaks({"one": one}, {"there": f"<{forms(one)[form]}>"})


def test_a_canary_is_found_in_pieces():
    """Broken into lines, as base64 within something longer, packed into a row."""
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQAB\nBBBBC3NzaC1yc2E\n-----END-----\n"
    broken = "\n".join(key[at : at + 9] for at in range(0, len(key), 9))

    assert leaks({"key": key}, {"there": broken})
    assert leaks({"key": key}, {"there": json.dumps(broken)})
    assert leaks({"key": key}, {"there": "it says BBBBC3NzaC1yc2E"})
    assert leaks({"key": key}, {"there": plain({"B": lzma.compress(key.encode())})})
    assert not leaks({"key": key}, {"there": "nothing"})
