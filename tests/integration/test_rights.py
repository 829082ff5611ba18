"""Rights: who is limited to an environment learns of no other one."""

import base64
import json

import pytest

from api import handler, wiring
from tests.integration.test_api import CLAIMS, Client

STAGING = {**CLAIMS, "username": "bob", "cognito:groups": "[operator:staging]"}


@pytest.fixture
def api(world):
    wiring.services.cache_clear()
    yield Client(handler.handler)
    wiring.services.cache_clear()


def test_a_server_shows_the_executions_of_visible_runs_only(world, sshd, api):
    """A task of no environment may run on any server: who may not see it, sees none
    of its executions."""
    server = world.add_server(sshd, environment="staging")
    ids = {}
    for environment in ("staging", None):
        task = world.add_task(server, name=f"of {environment}", environment=environment)
        ids[environment] = world.tasks.run(
            task.task_id, by="ada", now=world.clock()
        ).run_id
        world.settle(ids[environment])
    path = f"/v1/servers/{server.server_id}/executions"

    def seen(claims, query=""):
        answer = api("GET", path, query=query, claims=claims)
        return {one["run_id"] for one in answer.body["items"]}

    assert seen(STAGING) == {ids["staging"]}
    assert seen(STAGING, "state=completed") == {ids["staging"]}
    assert seen(STAGING, "limit=1&order=oldest") <= {ids["staging"]}
    assert seen(CLAIMS) == set(ids.values())


def bearer(claims):
    """Return a header with the token that says so; its signature is the authorizer's."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return {"authorization": f"Bearer e30.{payload.rstrip('=')}.c2ln"}


@pytest.mark.parametrize(
    ("claim", "token", "roles"),
    [
        ("[team 7 viewer]", ["team 7", "viewer"], ["viewer"]),
        ("[backup operator viewer]", ["backup operator", "viewer"], ["viewer"]),
        ("[backup admin]", ["backup admin"], []),
        ("[backup admin]", ["backup", "admin"], ["admin"]),
        ("[viewer]", ["admin"], []),
        ("[admin]", None, []),
        ("[admin]", "[admin]", []),
        ("viewer", "viewer", ["viewer"]),
    ],
)
def test_a_group_with_a_space_is_one_group(api, monkeypatch, claim, token, roles):
    """The HTTP API writes lists with spaces between: of an issuer whose names may
    have some, none is taken for two."""
    monkeypatch.setenv("CRONHOP_OIDC_ISSUER", "https://login.example.com")
    monkeypatch.setenv("CRONHOP_GROUPS_CLAIM", "groups")
    wiring.services.cache_clear()
    headers = bearer({"groups": token}) if token else {}
    claims = {"sub": "1", "exp": "1", "groups": claim}

    assert api("GET", "/v1/me", headers=headers, claims=claims).body["roles"] == roles
