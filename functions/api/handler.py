"""The API's entry point: who may come in, the resolver, errors as problem+json."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    Response,
    content_types,
)
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from cronhop import __version__
from cronhop.domain.access import Caller, grants_of
from cronhop.errors import (
    Conflict,
    Forbidden,
    InProgress,
    Invalid,
    KeyReused,
    NotFound,
    OutputUnavailable,
    PreconditionFailed,
    QueueUnavailable,
)
from cronhop.observe import log
from cronhop.settings import Settings

from . import (
    audit,
    calendars,
    credentials,
    crontab,
    idempotency,
    ledger,
    me,
    notifications,
    rights,
    runs,
    schedule,
    servers,
    stats,
    tasks,
    templates,
)
from .body import refused_body
from .manners import with_headers
from .problems import problem, validation_problem
from .request import is_dry_run, only_known_condition, only_known_query
from .views import answer
from .wiring import services

RETRY_AFTER_S = 2  # most requests are over by then

OPEN_PATHS = frozenset({"/v1/health", "/v1/openapi.json"})
DOCUMENT = Path(__file__).with_name("openapi.json")  # `make openapi` writes it

# What an id token of OpenID Connect may hold and an access token does not.
ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})

app = APIGatewayHttpResolver(enable_validation=True)
app.use(
    [
        rights.check,
        only_known_query,
        only_known_condition,
        idempotency.once,
        rights.check_place,
        ledger.keep,
    ]
)
for module in (
    credentials,
    servers,
    tasks,
    runs,
    calendars,
    schedule,
    crontab,
    templates,
    notifications,
    stats,
    audit,
    me,
):
    app.include_router(module.router)


@app.get("/v1/health")
def health() -> Response[str]:
    return answer({"status": "ok", "version": __version__, "login": _login()})


@app.get("/v1/openapi.json")
def openapi() -> Response[str]:
    return Response(
        status_code=HTTPStatus.OK.value,
        content_type=content_types.APPLICATION_JSON,
        body=DOCUMENT.read_text(encoding="utf-8"),
    )


def _login() -> dict[str, str] | None:
    """Return where clients log in, None if this stack was not told."""
    known = Settings.from_env()
    if not known.issuer:
        return None
    return {"issuer": known.issuer, "client_id": known.client_id}


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the HTTP API (payload format 2.0)."""
    return with_headers(_answer(event, context))


def _answer(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    if event["requestContext"]["http"]["method"] == "OPTIONS":
        # Without a token: the gateway says who may, if the stack has `CorsOrigins`.
        return {"statusCode": HTTPStatus.NO_CONTENT.value}
    refused = _refused(event)
    if refused:
        return {
            "statusCode": refused.status_code,
            "headers": {"Content-Type": refused.content_type},
            "body": refused.body,
            "isBase64Encoded": False,
        }
    if event.get("rawPath") not in OPEN_PATHS:
        app.append_context(caller=_caller(event))
    return app.resolve(event, context)


def _caller(event: dict[str, Any]) -> Caller:
    claims = _claims(event)
    subject = str(claims["sub"])
    return Caller(
        name=str(claims.get("username") or subject),
        subject=subject,
        grants=grants_of(_groups(event)),
    )


def _groups(event: dict[str, Any]) -> object:
    """Return the claim of groups, a list of another issuer's as its token has it.

    The HTTP API passes lists as `[a b]`: one group `backup operator` looks like the
    two that it is made of. Cognito's names have no spaces. Others' may, so where
    each name ends is read from the token; what they are, the authorizer has checked.
    """
    settings = services().settings
    claim = _claims(event).get(settings.groups_claim)
    if settings.is_cognito or not isinstance(claim, str) or not claim.startswith("["):
        return claim
    names = _payload(event).get(settings.groups_claim)
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        return None
    return names if f"[{' '.join(names)}]" == claim else None


def _payload(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the token says, empty if it cannot be read. It proves nothing."""
    token = event.get("headers", {}).get("authorization", "")
    try:
        part = token.split(".")[1]
        padded = part + "=" * (-len(part) % 4)
        payload = json.loads(base64.urlsafe_b64decode(padded))
    except (IndexError, ValueError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _refused(event: dict[str, Any]) -> Response[str] | None:
    """Return the error for a request that no route shall see, None for others."""
    if event.get("rawPath") not in OPEN_PATHS and not _is_access_token(event):
        if _claims(event).get("sub"):
            ledger.refused(
                event,
                _caller(event),
                action="login",
                status=HTTPStatus.UNAUTHORIZED.value,
                why="not an access token",
            )
        return problem(HTTPStatus.UNAUTHORIZED, "an access token is required")
    return refused_body(event)


def _claims(event: dict[str, Any]) -> dict[str, Any]:
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    claims: dict[str, Any] = (authorizer.get("jwt") or {}).get("claims") or {}
    return claims


def _is_access_token(event: dict[str, Any]) -> bool:
    # The authorizer has checked signature, issuer, client and time. It lets id
    # tokens pass, which say who somebody is and grant nothing. Cognito names the
    # use of each token; elsewhere it may go unsaid.
    claims = _claims(event)
    if not (claims.get("exp") and claims.get("sub")):
        return False
    uses = {"access"} if services().settings.is_cognito else {"access", None}
    return claims.get("token_use") in uses and not ID_TOKEN_CLAIMS & claims.keys()


@app.exception_handler(RequestValidationError)
def _on_invalid_request(exc: RequestValidationError) -> Response[str]:
    return validation_problem(exc.errors())


@app.exception_handler(Invalid)
def _on_invalid(exc: Invalid) -> Response[str]:
    errors = [(exc.field, exc.message)] if exc.field else []
    return problem(HTTPStatus.BAD_REQUEST, str(exc), errors=errors)


@app.exception_handler(NotFound)
def _on_not_found(exc: NotFound) -> Response[str]:
    return problem(HTTPStatus.NOT_FOUND, str(exc))


@app.exception_handler(Forbidden)
def _on_forbidden(exc: Forbidden) -> Response[str]:
    request = app.request
    action = rights.ROUTES[f"{request.method} {request.route}"]
    if not is_dry_run(app):
        ledger.refused(
            app.current_event.raw_event,
            app.context["caller"],
            action=str(action),
            status=HTTPStatus.FORBIDDEN.value,
            why=str(exc),
        )
    errors = [(exc.field, exc.message)] if exc.field else []
    return problem(HTTPStatus.FORBIDDEN, str(exc), errors=errors)


@app.exception_handler(Conflict)
def _on_conflict(exc: Conflict) -> Response[str]:
    errors = [(exc.field, str(exc))] if exc.field else []
    return problem(HTTPStatus.CONFLICT, str(exc), errors=errors)


@app.exception_handler(PreconditionFailed)
def _on_precondition_failed(exc: PreconditionFailed) -> Response[str]:
    return problem(HTTPStatus.PRECONDITION_FAILED, str(exc))


@app.exception_handler(InProgress)
def _on_in_progress(exc: InProgress) -> Response[str]:
    refused = problem(HTTPStatus.CONFLICT, str(exc))
    refused.headers["Retry-After"] = str(RETRY_AFTER_S)
    return refused


@app.exception_handler(KeyReused)
def _on_key_reused(exc: KeyReused) -> Response[str]:
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc))


@app.exception_handler(OutputUnavailable)
def _on_output_unavailable(exc: OutputUnavailable) -> Response[str]:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))


@app.exception_handler(QueueUnavailable)
def _on_queue_unavailable(exc: QueueUnavailable) -> Response[str]:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))


@app.exception_handler(Exception)
def _on_anything_else(exc: Exception) -> Response[str]:
    # What is not caught here reaches the client with its text.
    log.exception("A request failed", action="request_failed")
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault; it is logged")


@app.not_found
def _on_no_route(exc: NotFoundError) -> Response[str]:
    event = app.current_event
    methods = rights.methods(event.path)
    if not methods or event.http_method in methods:
        return problem(HTTPStatus.NOT_FOUND, "there is no such resource")
    allowed = ", ".join(methods)
    refused = problem(
        HTTPStatus.METHOD_NOT_ALLOWED, f"there is no such method here: {allowed} only"
    )
    refused.headers["Allow"] = allowed
    return refused
