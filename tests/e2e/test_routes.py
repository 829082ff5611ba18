"""Every route on the deployed stack: the API's role allows what each of them needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from api import openapi
from local.sshd import Sshd
from tests import contract
from tests.e2e.test_journey import ended

NAMED = "of-all-routes"  # as the document's examples say `ops`
# Left to the last, what others need after them.
REMOVALS = (
    "/v1/freeze",
    "/v1/rules/{name}",
    "/v1/channels/{name}",
    "/v1/templates/{template_id}",
    "/v1/tasks/{task_id}",
    "/v1/servers/{server_id}",
    "/v1/calendars/{name}",
    "/v1/credentials/{name}",
)
METHODS = ("POST", "GET", "PUT", "PATCH")
# Not there to be done twice, or before an executor was there.
STATES = {
    "POST /v1/servers/{server_id}/host-keys",
    "POST /v1/runs/{run_id}/cancel",
    "POST /v1/runs/{run_id}/retry",
    "POST /v1/tasks/{task_id}/restore",
}


@pytest.fixture
def ids(api: httpx.Client, sshd: Sshd) -> Iterator[dict[str, str]]:
    """What the paths name, by the name of the parameter."""

    def make(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = api.post(path, json=body)
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        return made

    key = {"private_key": sshd.private_key}
    make("/v1/credentials", {"name": f"{NAMED}-key", **key})
    make("/v1/credentials", {"name": NAMED, "password": "correct horse battery"})
    make("/v1/calendars", {"name": NAMED, "dates": []})
    make("/v1/channels", {"name": NAMED, **openapi.CHANNEL})
    make("/v1/rules", {"name": NAMED, **openapi.RULE, "channels": [NAMED]})
    host = {"host": sshd.host, "port": sshd.port, "username": sshd.username}
    server = {**openapi.SERVER, **host, "name": NAMED, "credential": f"{NAMED}-key"}
    found = {"name": NAMED, "server_id": make("/v1/servers", server)["server_id"]}
    of_task = {
        "name": NAMED,
        "targets": {"server_ids": [found["server_id"]]},
        "enabled": False,
    }
    task = make("/v1/tasks", {**openapi.TASK, **of_task})
    template = make("/v1/templates", {**openapi.TEMPLATE, **of_task})
    run = make(f"/v1/tasks/{task['task_id']}/run", {})
    ended(api, run["run_id"])
    yield {
        **found,
        "task_id": task["task_id"],
        "template_id": template["template_id"],
        "run_id": run["run_id"],
    }
    api.delete("/v1/freeze")


def in_order() -> list[str]:
    """Return all routes: what makes and shows first, then what removes."""
    paths = contract.document()["paths"]
    routes = [
        f"{method} {path}"
        for path in paths
        for method in METHODS
        if method.lower() in paths[path] and path != "/v1/freeze"
    ]
    routes += ["PUT /v1/freeze", "GET /v1/freeze"]
    routes += [f"DELETE {path}" for path in REMOVALS]
    return routes


def test_every_route(api: httpx.Client, ids: dict[str, str]) -> None:
    """Each does its work, and what it answers is what the document says of it."""
    routes = in_order()
    known = {
        f"{method.upper()} {path}"
        for path, item in contract.document()["paths"].items()
        for method in item
    }
    assert set(routes) == known
    wrong = []
    made: list[str] = []

    for route in routes:
        if route.startswith("DELETE "):
            while made:
                assert api.delete(made.pop()).is_success
        method, path = route.split(" ")
        operation = contract.document()["paths"][path][method.lower()]
        query = {
            one["name"]: one["example"]
            for one in operation.get("parameters", [])
            if one["in"] == "query" and one["required"]
        }
        body = operation.get("requestBody")
        answer = api.request(
            method,
            path.format_map(ids),
            params=query,
            json=_example(method, body, ids) if body else None,
        )
        status = answer.status_code
        if not (
            answer.is_success or (status == httpx.codes.CONFLICT and route in STATES)
        ):
            wrong.append(f"{route}: {status} {answer.text[:300]}")
        if status == httpx.codes.CREATED:
            made.append(_place(path, answer.json()))

    assert not wrong, "\n".join(wrong)


def _place(path: str, made: Mapping[str, Any]) -> str:
    """Return the path of what a POST to this one has made."""
    for many in ("tasks", "templates", "servers"):
        key = f"{many.removesuffix('s')}_id"
        if made.get(key):
            return f"/v1/{many}/{made[key]}"
    return f"{path}/{made['name']}"


def _example(method: str, body: Mapping[str, Any], ids: Mapping[str, str]) -> Any:
    """Return the document's example of a body, with what is there and own names."""
    text = json.dumps(body["content"]["application/json"]["example"])
    for parameter, example in openapi.PARAMETERS.items():
        if parameter.endswith("_id"):
            text = text.replace(example["example"], ids[parameter])
    found = json.loads(text.replace('"ops', f'"{NAMED}'))
    if "name" in found:
        found["name"] += f"-{NAMED}-{method}"
    return found
