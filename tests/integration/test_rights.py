"""Rights: who is limited to an environment learns of no other one."""

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
