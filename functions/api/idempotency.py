"""Idempotency-Key: whoever repeats a POST by its key gets one of it.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Final

from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    Response,
    content_types,
)
from aws_lambda_powertools.event_handler.exceptions import ServiceError
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)

from cronhop.domain.access import Caller
from cronhop.domain.request import KeptAnswer, Request
from cronhop.errors import CronhopError, Invalid
from cronhop.observe import log

from .request import is_dry_run
from .wiring import now, services

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
REFUSED: Final = 400
_KEY: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")

# Values of secrets are left out of what two requests are compared by: a digest of a
# short password tells it to whoever tries all short passwords.
_SECRET: Final = frozenset({"password", "passphrase", "private_key"})


def once(
    app: APIGatewayHttpResolver, next_middleware: Callable[..., Response[str]]
) -> Response[str]:
    """Let a request through once, and answer its repetitions with its answer.

    What was refused has changed nothing, and leaves the key free. After an error of
    ours nobody knows: the key stays taken until the lease is over, then the request
    is done again with the ids of the first time. Raises Invalid, KeyReused,
    InProgress.
    """
    key = app.current_event.headers.get(HEADER)
    if app.request.method != "POST" or key is None:
        return next_middleware(app)
    if not _KEY.fullmatch(key):
        raise Invalid(HEADER, "it is not 1 to 255 printable ASCII characters")
    if is_dry_run(app):
        return next_middleware(app)
    caller: Caller = app.context["caller"]
    request = services().requests.begin(caller.subject, key, _digest(app), now=now())
    if request.answer:
        return _again(request.answer)
    app.append_context(made_id=request.made_id)
    try:
        response = next_middleware(app)
    except (CronhopError, RequestValidationError, ServiceError):
        services().requests.forget(request)
        raise
    if response.status_code >= REFUSED:
        services().requests.forget(request)
    else:
        _keep(request, response)
    return response


def _digest(app: APIGatewayHttpResolver) -> str:
    """Return what two requests with the same key have to have in common."""
    event = app.current_event
    body: Any = json.loads(event.decoded_body) if event.decoded_body else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in _SECRET}
    asked = [event.http_method, event.path, body]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _keep(request: Request, response: Response[str]) -> None:
    etag = response.headers.get("ETag")
    answer = KeptAnswer(
        status=response.status_code,
        body=response.body or "",
        etag=etag if isinstance(etag, str) else None,
    )
    try:
        services().requests.keep(request, answer)
    except Exception:  # noqa: BLE001  what was done must not look as if it were not
        log.exception(
            "An answer was not kept", action="answer_lost", made_id=request.made_id
        )


def _again(answer: KeptAnswer) -> Response[str]:
    headers: dict[str, str | list[str]] = {REPLAYED: "true"}
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    return Response(
        status_code=answer.status,
        content_type=content_types.APPLICATION_JSON,
        body=answer.body,
        headers=headers,
    )
