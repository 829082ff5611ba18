"""A file from the stack's bucket to a server and back, under the executor's role."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from local.sshd import Sshd
from local.stack import FILES_BUCKET, Stack

CONTENT = bytes(range(256)) * 1000


def test_an_object_goes_to_a_server_and_back(
    stack: Stack, api: httpx.Client, sshd: Sshd, tmp_path: Path
) -> None:
    """Byte for byte, by two tasks."""
    s3 = stack.client("s3")
    s3.put_object(Bucket=FILES_BUCKET, Key="in/data", Body=CONTENT)
    server_id = register(api, sshd)
    path = str(tmp_path / "data")

    up = transfer(api, server_id, direction="upload", path=path, object_key="in/data")
    down = transfer(
        api, server_id, direction="download", path=path, object_key="out/data"
    )

    assert (up["state"], up["reason"]) == ("completed", None)
    assert (down["state"], down["reason"]) == ("completed", None)
    assert Path(path).read_bytes() == CONTENT
    body = s3.get_object(Bucket=FILES_BUCKET, Key="out/data")["Body"]
    assert body.read() == CONTENT


def register(api: httpx.Client, sshd: Sshd) -> str:
    name = f"files-{uuid.uuid4()}"
    key = {"name": name, "private_key": sshd.private_key}
    assert api.post("/v1/credentials", json=key).status_code == 201
    body = {
        "name": name,
        "host": sshd.host,
        "port": sshd.port,
        "username": sshd.username,
        "credential": name,
        "host_keys": sshd.host_keys,
    }
    made = api.post("/v1/servers", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["server_id"])


def transfer(api: httpx.Client, server_id: str, **spec: Any) -> dict[str, Any]:
    """Make the task, run it, and return the run when it has ended."""
    body = {
        "name": f"transfer {uuid.uuid4()}",
        "kind": "file_transfer",
        "spec": spec,
        "targets": {"server_ids": [server_id]},
    }
    made = api.post("/v1/tasks", json=body)
    assert made.status_code == 201, made.text
    run_id = api.post(f"/v1/tasks/{made.json()['task_id']}/run").json()["run_id"]
    end = time.monotonic() + 60
    while True:
        run: dict[str, Any] = api.get(f"/v1/runs/{run_id}").json()
        if run["finished_at"] or time.monotonic() > end:
            return run
        time.sleep(0.2)
