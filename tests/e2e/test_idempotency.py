"""Idempotency-Key on the deployed stack: its table, its role, two at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from local.stack import Stack

BODY = {"name": "twice", "password": "a secret of twice"}


def test_a_repeated_request_is_done_once(stack: Stack) -> None:
    """Eight at once: one makes it, the others get its answer or are to come again."""
    headers = {"Idempotency-Key": "once"}

    def ask(_: int) -> httpx.Response:
        with stack.http() as api:
            return api.post("/v1/credentials", json=BODY, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    last = ask(9)

    assert last.status_code == 201, last.text
    assert last.headers["Idempotency-Replayed"] == "true"
    assert last.headers["ETag"] == '"1"'
    assert last.headers["X-Content-Type-Options"] == "nosniff"
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = [answer for answer in answers if answer.status_code == 201]
    assert made
    assert {answer.text for answer in made} == {last.text}
    for answer in answers:
        assert answer.status_code == 201 or answer.headers["Retry-After"] == "2"


def test_a_refused_request_leaves_its_key_free(api: httpx.Client) -> None:
    """The role may remove what it has noted."""
    headers = {"Idempotency-Key": "corrected"}
    refused = api.post("/v1/calendars", json={"name": "c"}, headers=headers)
    assert refused.status_code == 400

    body = {"name": "c", "dates": ["2026-12-24"]}
    made = api.post("/v1/calendars", json=body, headers=headers)

    assert made.status_code == 201, made.text
