"""The audit on the deployed stack, where the role has to allow every query."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import httpx


def test_a_change_is_found_by_each_way(api: httpx.Client) -> None:
    """By what was changed, by who did it and by time alone, with its address."""
    name = f"audited-{uuid.uuid4()}"
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()[:19] + "Z"
    assert api.post("/v1/credentials", json={"name": name, "password": "x"}).is_success
    me = api.get("/v1/me").json()["name"]
    entity = f"credential#{name}"

    for query in ({"entity": entity}, {"actor": me, "from": since}, {"from": since}):
        answer = api.get("/v1/audit", params=query)
        assert answer.status_code == 200, answer.text
        (record,) = (x for x in answer.json()["items"] if x["entity"] == entity)
        assert (record["actor"], record["status"]) == (me, 201)
        assert record["after"]["value"] == "changed"
        assert record["source_address"]
        assert record["request_id"]
