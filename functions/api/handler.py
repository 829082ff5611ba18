"""The API's entry point: who may come in, the resolver, errors as problem+json."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from cronhop import __version__
from cronhop.errors import (
    Conflict,
    Invalid,
    NotFound,
    OutputUnavailable,
    PreconditionFailed,
    QueueUnavailable,
)
from cronhop.observe import log

from . import calendars, credentials, crontab, runs, schedule, servers, stats, tasks
from .body import refused_body
from .problems import problem, validation_problem
from .views import answer

KNOWN_QUERY = frozenset(
    {
        "limit",
        "next_token",
        "task_id",
        "stream",
        "offset",
        "encoding",
        "attempt",
        "at",
        "after",
        "minutes",
        "from",
        "to",
    }
)
OPEN_PATHS = frozenset({"/v1/health"})

app = APIGatewayHttpResolver(enable_validation=True)
for module in (credentials, servers, tasks, runs, calendars, schedule, crontab, stats):
    app.include_router(module.router)


@app.get("/v1/health")
def health() -> Response[str]:
    return answer({"status": "ok", "version": __version__})


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the HTTP API (payload format 2.0)."""
    refused = _refused(event)
    if refused:
        return {
            "statusCode": refused.status_code,
            "headers": {"Content-Type": refused.content_type},
            "body": refused.body,
            "isBase64Encoded": False,
        }
    app.append_context(claims=_claims(event))
    return app.resolve(event, context)


def _refused(event: dict[str, Any]) -> Response[str] | None:
    """Return the error for a request that no route shall see, None for others."""
    if event.get("rawPath") not in OPEN_PATHS and not _is_access_token(event):
        return problem(HTTPStatus.UNAUTHORIZED, "an access token is required")
    return refused_body(event) or _refused_query(event)


def _refused_query(event: dict[str, Any]) -> Response[str] | None:
    # A filter that is not known must not look like one that matched everything.
    unknown = set(event.get("queryStringParameters") or {}) - KNOWN_QUERY
    if unknown:
        errors = [(name, "there is no such parameter") for name in sorted(unknown)]
        return problem(HTTPStatus.BAD_REQUEST, "unknown query parameter", errors=errors)
    return None


def _claims(event: dict[str, Any]) -> dict[str, Any]:
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    claims: dict[str, Any] = (authorizer.get("jwt") or {}).get("claims") or {}
    return claims


def _is_access_token(event: dict[str, Any]) -> bool:
    # The authorizer has checked signature, issuer, client and time. It lets the
    # pool's id tokens pass, which say who somebody is and grant nothing.
    claims = _claims(event)
    return claims.get("token_use") == "access" and bool(claims.get("exp"))


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


@app.exception_handler(Conflict)
def _on_conflict(exc: Conflict) -> Response[str]:
    errors = [(exc.field, str(exc))] if exc.field else []
    return problem(HTTPStatus.CONFLICT, str(exc), errors=errors)


@app.exception_handler(PreconditionFailed)
def _on_precondition_failed(exc: PreconditionFailed) -> Response[str]:
    return problem(HTTPStatus.PRECONDITION_FAILED, str(exc))


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
    return problem(HTTPStatus.NOT_FOUND, "there is no such resource or method")
