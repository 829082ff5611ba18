"""A user's way over several servers, under the roles that the template gives."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx
import pytest

from local.sshd import Sshd

TERMINAL = {"completed", "failed", "cancelled", "timeout", "lost", "skipped", "missed"}
SERVERS = 12


@pytest.fixture
def fleet(api: httpx.Client, sshd: Sshd) -> str:
    """The environment of some servers, which are all the one SSH server."""
    name, environment = f"key-{uuid.uuid4()}", f"env-{uuid.uuid4()}"
    key = {"name": name, "private_key": sshd.private_key}
    assert api.post("/v1/credentials", json=key).status_code == 201
    for number in range(SERVERS):
        body = {
            "name": f"{environment}-{number:02d}",
            "host": sshd.host,
            "port": sshd.port,
            "username": sshd.username,
            "credential": name,
            "host_keys": sshd.host_keys,
            "environment": environment,
        }
        assert api.post("/v1/servers", json=body).status_code == 201
    return environment


def create(api: httpx.Client, command: str, **changes: Any) -> str:
    body = {"name": f"task {uuid.uuid4()}", "spec": {"command": command}, **changes}
    made = api.post("/v1/tasks", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["task_id"])


def ended(api: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return the run once it has ended."""
    end = time.monotonic() + 120
    while True:
        run: dict[str, Any] = api.get(f"/v1/runs/{run_id}").json()
        if run["state"] in TERMINAL:
            return run
        assert time.monotonic() < end, run
        time.sleep(0.2)


def test_rollout_over_a_selector_and_its_retry(api: httpx.Client, fleet: str) -> None:
    """Some fail and stop the rest; a retry goes where it did not complete."""
    targets = {"selector": {"environment": fleet}}
    rollout = {"canary": 1, "max_parallel": 4, "max_failures": 1}
    command = 'case "$CRONHOP_EXECUTION" in *[ACEGJMPRTWY]-1) exit 3;; esac'
    task_id = create(api, command, targets=targets, rollout={"max_parallel": 5})
    first = ended(api, api.post(f"/v1/tasks/{task_id}/run").json()["run_id"])

    assert (first["target_count"], len(first["executions"])) == (SERVERS, SERVERS)
    failed = {
        one["server_id"] for one in first["executions"] if one["state"] == "failed"
    }
    assert failed == {one for one in first["targets"] if one[-1] in "ACEGJMPRTWY"}
    expected = {"completed": SERVERS - len(failed), "failed": len(failed)}
    assert first["counts"] == {name: n for name, n in expected.items() if n}

    change = {"spec": {"command": "false"}, "rollout": rollout}
    assert api.patch(f"/v1/tasks/{task_id}", json=change).status_code == 200
    stopped = ended(api, api.post(f"/v1/tasks/{task_id}/run").json()["run_id"])
    assert stopped["counts"] == {"failed": 1, "skipped": SERVERS - 1}
    assert stopped["executions"][5]["reason"] == "canary did not succeed"

    again = api.post(f"/v1/runs/{stopped['run_id']}/retry")
    assert again.status_code == 202, again.text
    retried = ended(api, again.json()["run_id"])
    assert retried["targets"] == stopped["targets"]


def test_cancel_over_several_servers(api: httpx.Client, fleet: str) -> None:
    """What runs is ended, what has not begun never does; other targets by hand."""
    targets = {"selector": {"name": f"{fleet}-*"}}
    task_id = create(api, "sleep 300", targets=targets, rollout={"max_parallel": 3})
    run_id = api.post(f"/v1/tasks/{task_id}/run").json()["run_id"]
    end = time.monotonic() + 60
    while api.get(f"/v1/runs/{run_id}").json()["counts"].get("running") != 3:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert api.post(f"/v1/runs/{run_id}/cancel").status_code == 202

    cancelled = ended(api, run_id)
    assert cancelled["state"] == "cancelled"
    assert cancelled["counts"] == {"cancelled": SERVERS}

    one = {"targets": {"selector": {"environment": "none"}}}
    other = api.post(f"/v1/tasks/{task_id}/run", json=one).json()
    nowhere = ended(api, other["run_id"])
    assert (nowhere["state"], nowhere["reason"]) == (
        "failed",
        "no enabled server matches",
    )
