"""From a template to the output of a run with parameters, over the API alone."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from local.sshd import Sshd
from tests.e2e.test_journey import ended, output, server  # noqa: F401  a fixture

NASTY = "v1 $(touch pwned) 'quoted' \"é\"\n"


def post(api: httpx.Client, path: str, body: dict[str, Any], status: int) -> Any:
    """Send a body, and return the answer to it."""
    answer = api.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_template_becomes_a_task_that_runs_with_values(
    api: httpx.Client,
    server: dict[str, Any],  # noqa: F811
    sshd: Sshd,
) -> None:
    """Under the roles of the stack: words, variables, the target, a masked secret."""
    token = f"token-{uuid.uuid4()}"
    post(api, "/v1/credentials", {"name": token, "password": "correct horse"}, 201)
    template = post(
        api,
        "/v1/templates",
        {
            "name": f"template {uuid.uuid4()}",
            "spec": {
                "command": 'printf "%s|" "$#" "$1" "$VERSION" "$WHERE" "$TOKEN"',
                "arguments": [{"parameter": "VERSION"}],
            },
            "targets": {"parameter": "WHERE"},
            "parameters": [
                {"name": "VERSION", "type": "string", "pattern": r"(?s)v\d.*"},
                {"name": "WHERE", "type": "server"},
                {"name": "TOKEN", "type": "secret"},
            ],
        },
        201,
    )
    path = f"/v1/templates/{template['template_id']}"
    task = post(
        api,
        f"{path}/tasks",
        {
            "name": f"task {uuid.uuid4()}",
            "parameters": {"WHERE": server["name"], "TOKEN": token},
        },
        201,
    )
    changed = api.patch(path, json={"timeout_s": 90}, headers={"If-Match": '"1"'})
    assert changed.status_code == 200, changed.text
    run_path = f"/v1/tasks/{task['task_id']}/run"

    post(api, run_path, {"parameters": {"VERSION": "main"}}, 400)
    started = post(api, run_path, {"parameters": {"VERSION": NASTY}}, 202)
    run = ended(api, started["run_id"])
    again = post(api, f"/v1/runs/{run['run_id']}/retry", {}, 409)

    assert (run["state"], run["targets"]) == ("completed", [server["server_id"]])
    assert run["parameters"] == {"VERSION": NASTY}
    written = output(api, run)["data"]
    assert written == f"1|{NASTY}|{NASTY}|{sshd.host}|{'*' * 13}|"
    assert again["detail"] == "all its targets are completed"
    (made,) = api.get(f"{path}/tasks").json()["items"]
    assert made == {
        "task_id": task["task_id"],
        "name": task["name"],
        "template_version": 1,
        "behind": True,
    }
    names = [one["name"] for one in api.get("/v1/templates").json()["items"]]
    assert template["name"] in names
    assert api.delete(path).status_code == 204
    left = api.get(f"/v1/tasks/{task['task_id']}").json()
    assert left["template"] == {"template_id": template["template_id"], "version": 1}
    assert api.delete(f"/v1/tasks/{task['task_id']}").status_code == 204


def test_a_retry_has_the_same_values(
    api: httpx.Client,
    server: dict[str, Any],  # noqa: F811
) -> None:
    """Those of the run that it retries, on record with it."""
    task = post(
        api,
        "/v1/tasks",
        {
            "name": f"task {uuid.uuid4()}",
            "spec": {"command": 'printf %s "$COUNT"; exit 3'},
            "targets": {"server_ids": [server["server_id"]]},
            "parameters": [{"name": "COUNT", "type": "integer", "default": 1}],
        },
        201,
    )
    path = f"/v1/tasks/{task['task_id']}/run"
    first = ended(api, post(api, path, {"parameters": {"COUNT": 7}}, 202)["run_id"])

    retried = post(api, f"/v1/runs/{first['run_id']}/retry", {}, 202)
    second = ended(api, retried["run_id"])

    assert [run["state"] for run in (first, second)] == ["failed", "failed"]
    assert second["parameters"] == {"COUNT": 7}
    assert output(api, second)["data"] == "7"
    assert api.delete(f"/v1/tasks/{task['task_id']}").status_code == 204
