"""Errors as problem+json (RFC 9457) that names the field at fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response

READ_ONLY = "it is set by cronhop; leave it out"
SET_BY_CRONHOP = frozenset(
    {
        "task_id",
        "template",
        "template_id",
        "server_id",
        "next_run",
        "last_run",
        "invalid",
        "pause",
        "version",
        "created_by",
        "created_at",
        "updated_at",
        "deleted_at",
        "fingerprint",
        "pending_check",
        "last_check",
        "last_delivery",
        "last_test",
        "host_key_alert",
    }
)
MAX_ERRORS = 20  # shown of a request
MAX_CHARACTERS = 200  # of a field's name, and of what is wrong with it
CONTENT_TYPE = "application/problem+json"


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    errors: Sequence[tuple[str, str]] = (),
) -> Response[str]:
    """Return an error; `errors` are (field, what is wrong with it)."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    if errors:
        body["errors"] = [
            {"field": field, "message": message} for field, message in errors
        ]
    return Response(
        status_code=status.value, content_type=CONTENT_TYPE, body=json.dumps(body)
    )


def validation_problem(errors: Sequence[Any]) -> Response[str]:
    """Return the error for what pydantic found in a request."""
    if any(error["type"] == "json_invalid" for error in errors):
        return problem(HTTPStatus.BAD_REQUEST, "the body is not valid JSON")
    named = _named(errors)
    return problem(HTTPStatus.BAD_REQUEST, _sentence(named), errors=named)


def in_words(errors: Sequence[Any]) -> str:
    """Return in a sentence what pydantic found in a request."""
    return _sentence(_named(errors))


def _named(errors: Sequence[Any]) -> list[tuple[str, str]]:
    # All of them could make an answer larger than Lambda gives.
    return [
        (_field(error["loc"])[:MAX_CHARACTERS], _message(error)[:MAX_CHARACTERS])
        for error in errors[:MAX_ERRORS]
    ]


def _sentence(named: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{field or 'the body'}: {text}" for field, text in named)


def _field(location: Sequence[str | int]) -> str:
    parts = [str(part) for part in location]
    if parts and parts[0] in {"body", "query", "path", "header"}:
        parts = parts[1:]
    # A mapping's key at fault is marked by pydantic, and is the field itself.
    return ".".join(part for part in parts if part != "[key]")


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        return READ_ONLY if name in SET_BY_CRONHOP else "there is no such field"
    if error["type"] == "missing":
        return "it is required"
    if error["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "it is not a JSON object, { … }"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
