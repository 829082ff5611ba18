"""The body of a request before any route sees it: its size, its type, its JSON."""

from __future__ import annotations

import base64
import binascii
import json
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response

from .problems import problem

MAX_BODY_BYTES = 256 * 1024  # a command has 64 KiB at most, and JSON escapes it
JSON = "application/json"
MAX_DEPTH = 20  # of lists and objects in each other


def refused_body(event: dict[str, Any]) -> Response[str] | None:
    """Return the error for a body that no route shall see, None for others."""
    text = event.get("body") or ""
    if not text:
        return None
    try:
        data = base64.b64decode(text) if event.get("isBase64Encoded") else text.encode()
    except (binascii.Error, UnicodeEncodeError):
        return problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8")
    if len(data) > MAX_BODY_BYTES:
        return problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has more than {MAX_BODY_BYTES} bytes",
        )
    headers = event.get("headers") or {}
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send Content-Type: {JSON}")
    headers["content-type"] = JSON  # Powertools minds capitals
    try:
        # RecursionError: nested beyond the stack. ValueError: also numbers of more
        # digits than Python reads.
        body = json.loads(data.decode())
        depth = _depth(body)
    except UnicodeDecodeError:
        return problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8")
    except (ValueError, RecursionError):
        return problem(HTTPStatus.BAD_REQUEST, "the body is not valid JSON")
    if depth > MAX_DEPTH:
        return problem(
            HTTPStatus.BAD_REQUEST, f"the body is nested more than {MAX_DEPTH} deep"
        )
    if not isinstance(body, dict | None):
        # Powertools takes it for none, where a body may be left out.
        return problem(HTTPStatus.BAD_REQUEST, "the body is not a JSON object, { … }")
    return None


def _depth(value: object) -> int:
    """Return how deep lists and objects lie in each other."""
    level, depth = [value], 0
    while True:
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return depth
        depth += 1
