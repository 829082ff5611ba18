"""What the deployed stack counts, under the roles that the template gives."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx
import pytest

from local.sshd import Sshd
from local.stack import NAME, Stack

SLEPT_S = 0.5
TOLD = 10  # of the busiest servers


@pytest.fixture
def server_id(api: httpx.Client, sshd: Sshd) -> str:
    """The SSH server, on record with a credential of its own."""
    key = {"name": f"key-{uuid.uuid4()}", "private_key": sshd.private_key}
    assert api.post("/v1/credentials", json=key).status_code == 201
    body = {
        "name": f"server {uuid.uuid4()}",
        "host": sshd.host,
        "port": sshd.port,
        "username": sshd.username,
        "credential": key["name"],
        "host_keys": sshd.host_keys,
    }
    return str(api.post("/v1/servers", json=body).json()["server_id"])


def test_a_run_that_ended_is_in_the_statistics(
    api: httpx.Client, server_id: str
) -> None:
    """Of its task, of its server and of the fleet; and that it never succeeded."""
    body = {
        "name": f"task {uuid.uuid4()}",
        "spec": {"command": f"sleep {SLEPT_S}; exit 3"},
        "targets": {"server_ids": [server_id]},
    }
    task_id = api.post("/v1/tasks", json=body).json()["task_id"]
    api.post(f"/v1/tasks/{task_id}/run")

    counted = in_time(api, f"/v1/tasks/{task_id}/stats", lambda found: found["runs"])
    fleet = in_time(api, "/v1/stats", lambda found: task_id in never_successful(found))

    assert counted["states"] == {"failed": 1}
    assert (counted["success_rate"], counted["last_success"]) == (0, None)
    assert 0.47 <= counted["p50_s"] < 10
    assert fleet["states"]["failed"] >= 1
    busiest = fleet["busiest_servers"]["items"]
    assert busiest == sorted(busiest, key=lambda one: one["busy_s"], reverse=True)
    mine = [one for one in busiest if one["server_id"] == server_id]
    # Other tests share the stack: ten servers may have been busier than this one.
    assert mine or (len(busiest) == TOLD and busiest[-1]["busy_s"] >= SLEPT_S)
    for one in mine:
        assert one["states"] == {"failed": 1}
        assert one["busy_s"] >= SLEPT_S


def test_alarms_are_there(stack: Stack) -> None:
    """With what to do; the emulator measures nothing that they could watch."""
    alarms = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=NAME)

    told = {one["AlarmName"]: one for one in alarms["MetricAlarms"]}
    assert (
        f"/aws/lambda/{NAME}-dispatcher" in told[f"{NAME}-no-tick"]["AlarmDescription"]
    )
    assert told[f"{NAME}-no-tick"]["TreatMissingData"] == "breaching"


def never_successful(found: dict[str, Any]) -> list[str]:
    return [task["task_id"] for task in found["never_successful"]["items"]]


def in_time(api: httpx.Client, path: str, is_there: Any) -> dict[str, Any]:
    """Return the statistics once they are as wanted."""
    end = time.monotonic() + 60
    while True:
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if is_there(found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.3)
