"""What the API tells the audit: every change once it is made, and every refusal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import ServiceError
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)

from cronhop.domain.access import Caller
from cronhop.domain.audit import MAX_NAME, AuditRecord
from cronhop.domain.ids import new_id
from cronhop.errors import CronhopError
from cronhop.observe import log

from .request import is_dry_run, path_names
from .rights import ROUTES
from .views import (
    calendar_view,
    channel_view,
    credential_view,
    hold_view,
    rule_view,
    run_view,
    server_view,
    task_view,
    template_view,
)
from .wiring import now, services

View = Mapping[str, Any] | None
ERROR: Final = 500
REFUSED: Final = 400


# Not of the thing itself, or changed by nobody who asked.
_ASIDE: Final = frozenset(
    {
        *("next_run", "last_run", "pending_check", "last_check"),
        *("last_delivery", "last_test"),
    }
)


def _credential(name: str) -> View:
    return credential_view(services().credentials.get(name))


def _server(server_id: str) -> View:
    return server_view(services().servers.get(server_id))


def _task(task_id: str) -> View:
    return task_view(services().tasks.get(task_id), next_run=None)


def _template(template_id: str) -> View:
    return template_view(services().templates.get(template_id))


def _calendar(name: str) -> View:
    return calendar_view(services().calendars.get(name))


def _channel(name: str) -> View:
    return channel_view(services().channels.get(name))


def _rule(name: str) -> View:
    return rule_view(services().rules.get(name))


def _freeze() -> View:
    return hold_view(services().freeze.get(now()))


def _run(run_id: str) -> View:
    return run_view(services().runs.get(run_id))


# What each route changes, by the names in its path and its answer, and how what it
# was before is read, where something was.
CHANGES: Final[Mapping[str, tuple[str, Callable[..., View] | None]]] = {
    "POST /v1/credentials": ("credential#{name}", None),
    "PUT /v1/credentials/{name}": ("credential#{name}", _credential),
    "DELETE /v1/credentials/{name}": ("credential#{name}", _credential),
    "POST /v1/servers": ("server#{server_id}", None),
    "PUT /v1/servers/{server_id}": ("server#{server_id}", _server),
    "PATCH /v1/servers/{server_id}": ("server#{server_id}", _server),
    "DELETE /v1/servers/{server_id}": ("server#{server_id}", _server),
    "POST /v1/servers/{server_id}/check": ("server#{server_id}", None),
    "POST /v1/servers/{server_id}/host-keys": ("server#{server_id}", _server),
    "POST /v1/tasks": ("task#{task_id}", None),
    "PUT /v1/tasks/{task_id}": ("task#{task_id}", _task),
    "PATCH /v1/tasks/{task_id}": ("task#{task_id}", _task),
    "DELETE /v1/tasks/{task_id}": ("task#{task_id}", _task),
    "POST /v1/tasks/{task_id}/restore": ("task#{task_id}", None),
    "POST /v1/tasks/{task_id}/run": ("run#{run_id}", None),
    "POST /v1/tasks/{task_id}/backfill": ("task#{task_id}", None),
    "POST /v1/tasks/{task_id}/pause": ("task#{task_id}", _task),
    "POST /v1/tasks/{task_id}/resume": ("task#{task_id}", _task),
    "POST /v1/templates": ("template#{template_id}", None),
    "PUT /v1/templates/{template_id}": ("template#{template_id}", _template),
    "PATCH /v1/templates/{template_id}": ("template#{template_id}", _template),
    "DELETE /v1/templates/{template_id}": ("template#{template_id}", _template),
    "POST /v1/templates/{template_id}/tasks": ("task#{task_id}", None),
    "POST /v1/import/crontab": ("task#{task_id}", None),
    "POST /v1/calendars": ("calendar#{name}", None),
    "PUT /v1/calendars/{name}": ("calendar#{name}", _calendar),
    "DELETE /v1/calendars/{name}": ("calendar#{name}", _calendar),
    "POST /v1/channels": ("channel#{name}", None),
    "PUT /v1/channels/{name}": ("channel#{name}", _channel),
    "DELETE /v1/channels/{name}": ("channel#{name}", _channel),
    "POST /v1/channels/{name}/test": ("channel#{name}", None),
    "POST /v1/rules": ("rule#{name}", None),
    "PUT /v1/rules/{name}": ("rule#{name}", _rule),
    "DELETE /v1/rules/{name}": ("rule#{name}", _rule),
    "PUT /v1/freeze": ("stack#freeze", _freeze),
    "DELETE /v1/freeze": ("stack#freeze", _freeze),
    "POST /v1/runs/{run_id}/cancel": ("run#{run_id}", _run),
    "POST /v1/runs/{run_id}/retry": ("run#{run_id}", None),
}


def keep(
    app: APIGatewayHttpResolver, next_middleware: Callable[..., Response[str]]
) -> Response[str]:
    """Let a route do its work, and put on record what it changed.

    After the change: a record that cannot be written is in the log, and the answer
    stays what it is. What was refused has changed nothing and is not recorded here;
    after an error of ours nobody knows, so that is.
    """
    request = app.request
    route = f"{request.method} {request.route}"
    if route not in CHANGES:
        return next_middleware(app)
    template, find = CHANGES[route]
    names = path_names(request)
    before = find(*names.values()) if find else None
    if is_dry_run(app):
        return next_middleware(app)
    try:
        response = next_middleware(app)
    except (CronhopError, RequestValidationError, ServiceError):
        raise
    except Exception:
        _changed(app, route, _entity(template, names, {}), ERROR, before, None)
        raise
    if response.status_code < REFUSED:
        for after in _made(response):
            entity = _entity(template, names, after or {})
            shown = _as_made(after, response.status_code)
            _changed(app, route, entity, response.status_code, before, shown)
    return response


def refused(
    event: Mapping[str, Any], caller: Caller, *, action: str, status: int, why: str
) -> None:
    """Put on record that somebody was not let in, or not allowed something."""
    _add(
        event,
        caller,
        entity=f"login#{caller.name}",
        action=action,
        status=status,
        after={"refused": why},
    )


def _made(response: Response[str]) -> Iterator[View]:
    """Yield what there is now, one for each thing that the answer shows.

    Nothing of a dry run, None for what is gone.
    """
    body: Any = json.loads(response.body) if response.body else None
    if body is None:
        yield None
    elif body.get("dry_run") is True:
        return
    elif "tasks" in body:
        for made in body["tasks"]:
            yield {"task_id": made["task_id"], **(made["task"] or {})}
    elif "freeze" in body:
        yield body["freeze"]
    else:
        yield body


def _as_made(after: View, status: int) -> View:
    """Leave out what others have written, whose records say so.

    Who repeats a request is shown what the first attempt made as it is by now.
    """
    version = (after or {}).get("version", 1)
    if status == HTTPStatus.CREATED and version > 1:
        return {"version": version}
    return after


def _entity(template: str, names: Mapping[str, str], shown: Mapping[str, Any]) -> str:
    """Return the entity; what is made is in the answer, not in the path."""
    known: defaultdict[str, str] = defaultdict(lambda: "unknown", names)
    known.update((name, one) for name, one in shown.items() if isinstance(one, str))
    return template.format_map(known)


def _changed(
    app: APIGatewayHttpResolver,
    route: str,
    entity: str,
    status: int,
    before: View,
    after: View,
) -> None:
    if after and entity.startswith("credential#"):
        after = {**after, "value": "changed"}
    _add(
        app.current_event.raw_event,
        app.context["caller"],
        entity=entity,
        action=str(ROUTES[route]),
        status=status,
        before=_without_asides(before),
        after=_without_asides(after),
    )


def _without_asides(view: View) -> View:
    if view is None:
        return None
    return {name: value for name, value in view.items() if name not in _ASIDE}


def _add(
    event: Mapping[str, Any],
    caller: Caller,
    *,
    entity: str,
    action: str,
    status: int,
    before: View = None,
    after: View = None,
) -> None:
    context = event.get("requestContext", {})
    http = context.get("http", {})
    record = AuditRecord(
        audit_id=new_id(now()),
        entity=_short(entity),
        action=action,
        actor=_short(caller.name),
        subject=_short(caller.subject),
        request=_short(f"{http.get('method')} {event.get('rawPath')}"),
        status=status,
        before=before,
        after=after,
        request_id=_short(context.get("requestId", "")),
        source_address=_short(http.get("sourceIp", "")),
        user_agent=_short(http.get("userAgent", "")),
    )
    try:
        services().audit.add(record)
    except Exception:  # noqa: BLE001  what was done must not look as if it were not
        log.exception(
            "A record of the audit was not written",
            action="audit_lost",
            entity=record.entity,
            audited=record.action,
            actor=record.actor,
            subject=record.subject,
            request=record.request,
            status=record.status,
            request_id=record.request_id,
            source_address=record.source_address,
        )


def _short(text: str) -> str:
    return text[:MAX_NAME]
