"""The first task: a demo server, its key and a task, made as any user makes them."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from local.progress import Failed, step
from local.sshd import Sshd
from local.stack import Stack

CREDENTIAL = "demo-key"
SERVER = "demo"
TASK = "demo: every minute"
COMMAND = 'echo "cronhop ran this on $(uname -n) at $(date -u +%H:%M:%S)"'
EXPECTED = "cronhop ran this on "
RUN_S = 90  # seconds until a run must have ended
TERMINAL = {
    "completed",
    "failed",
    "timeout",
    "cancelled",
    "skipped",
    "missed",
    "lost",
}


def sshd_of(stack: Stack) -> Sshd:
    """Return the demo server that belongs to a stack."""
    return Sshd(stack.directory / "demo")


def show(stack: Stack) -> None:
    """Make what the demo needs, run the task once, and say how to go on.

    Raises Failed if the output is not the command's.
    """
    sshd = sshd_of(stack)
    sshd.start()
    with stack.http() as api:
        with step("Making the demo's objects"):
            _make_credential(api, sshd)
            server_id = _make_server(api, sshd)
            task_id = _make_task(api, server_id)
        with step("Running the demo task"):
            output = _run(stack, api, task_id, server_id)
    print(f"\nThe task {TASK!r} ran on the server {SERVER!r} and said:\n\n  {output}")
    print(_how_to_go_on(stack, task_id))


def _make_credential(api: httpx.Client, sshd: Sshd) -> None:
    if not _find(api, "/v1/credentials", CREDENTIAL):
        body = {"name": CREDENTIAL, "private_key": sshd.private_key}
        _answer(api.post("/v1/credentials", json=body))


def _make_server(api: httpx.Client, sshd: Sshd) -> str:
    server = _find(api, "/v1/servers", SERVER) or _answer(
        api.post(
            "/v1/servers",
            json={
                "name": SERVER,
                "host": sshd.host,
                "port": sshd.port,
                "username": sshd.username,
                "credential": CREDENTIAL,
                "host_keys": sshd.host_keys,
                "environment": "demo",
            },
        )
    )
    return str(server["server_id"])


def _make_task(api: httpx.Client, server_id: str) -> str:
    task = _find(api, "/v1/tasks", TASK) or _answer(
        api.post(
            "/v1/tasks",
            json={
                "name": TASK,
                "kind": "script",
                "spec": {"command": COMMAND},
                "targets": {"server_ids": [server_id]},
                "schedule": {"cron": "* * * * *", "timezone": "UTC"},
                "timeout_s": 30,
                # A run that a stop of the stack cut off takes minutes to go on.
                "overlap": "allow",
            },
        )
    )
    return str(task["task_id"])


def _run(stack: Stack, api: httpx.Client, task_id: str, server_id: str) -> str:
    """Run the task by hand and return what it printed."""
    run = _ended_run(stack, api, task_id)
    if run["state"] != "completed":
        raise Failed(
            f"The demo run did not complete:\n{json.dumps(run, indent=2)}\n"
            f"{stack.function_log('executor')}"
        )
    path = f"/v1/runs/{run['run_id']}/executions/{server_id}/output"
    page = _answer(api.get(path, params={"stream": "stdout"}))
    output = str(page["data"]).strip()
    if not output.startswith(EXPECTED):
        raise Failed(f"The demo run printed something else: {output!r}")
    return output


def _ended_run(stack: Stack, api: httpx.Client, task_id: str) -> dict[str, Any]:
    """Start a run by hand and return it as it ended."""
    run_id = _answer(api.post(f"/v1/tasks/{task_id}/run", json={}))["run_id"]
    end = time.monotonic() + RUN_S
    while time.monotonic() < end:
        run = _answer(api.get(f"/v1/runs/{run_id}"))
        if run["state"] in TERMINAL:
            return run
        time.sleep(0.2)
    raise Failed(
        f"The demo run did not end in {RUN_S} s:\n{json.dumps(run, indent=2)}\n"
        f"{stack.function_log('executor')}"
    )


def _find(api: httpx.Client, path: str, name: str) -> dict[str, Any] | None:
    """Return what bears this name, or None."""
    token = None
    while True:
        page = _answer(api.get(path, params={"next_token": token} if token else None))
        for item in page["items"]:
            if item["name"] == name:
                return dict(item)
        token = page["next_token"]
        if token is None:
            return None


def _answer(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        request = response.request
        raise Failed(
            f"{request.method} {request.url.path} was answered "
            f"{response.status_code}:\n{response.text}"
        )
    answer: dict[str, Any] = response.json()
    return answer


def _how_to_go_on(stack: Stack, task_id: str) -> str:
    notes = stack.notes()
    bearer = '-H "Authorization: Bearer $(make -s token)"'
    return f"""
It runs every minute now. The API is at

  {stack.api_url}

Login     {notes["username"]}, make -s password
Token     make -s token

With the command line:

  make -s password | .venv/bin/cronhop login --profile local --url {stack.api_url} --auth-endpoint {stack.endpoint_url} --username {notes["username"]} --password-stdin
  .venv/bin/cronhop run '{TASK}' --follow

With curl: what has run, the task, and another run now:

  curl -s {bearer} '{stack.api_url}/v1/runs?limit=5'
  curl -s {bearer} {stack.api_url}/v1/tasks/{task_id}
  curl -s {bearer} -H 'Content-Type: application/json' -d '{{}}' {stack.api_url}/v1/tasks/{task_id}/run

make stop ends it and keeps its state, make run goes on, make reset forgets it."""
