"""The door of every route: what it does, and whether who asks may do that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from cronhop.domain.access import Action, Caller
from cronhop.errors import Forbidden, NotFound

from .request import path_names
from .wiring import services

# What each route does; None: nothing that needs a right. A route that is not in
# here is as if it were not there.
ROUTES: Final[Mapping[str, Action | None]] = {
    "GET /v1/health": None,
    "GET /v1/openapi.json": None,
    "GET /v1/me": None,
    "GET /v1/audit": Action.AUDIT_READ,
    "POST /v1/credentials": Action.CREDENTIALS_WRITE,
    "GET /v1/credentials": Action.CREDENTIALS_READ,
    "GET /v1/credentials/{name}": Action.CREDENTIALS_READ,
    "PUT /v1/credentials/{name}": Action.CREDENTIALS_WRITE,
    "DELETE /v1/credentials/{name}": Action.CREDENTIALS_WRITE,
    "POST /v1/servers": Action.SERVERS_WRITE,
    "GET /v1/servers": Action.SERVERS_READ,
    "GET /v1/servers/{server_id}": Action.SERVERS_READ,
    "PUT /v1/servers/{server_id}": Action.SERVERS_WRITE,
    "PATCH /v1/servers/{server_id}": Action.SERVERS_WRITE,
    "DELETE /v1/servers/{server_id}": Action.SERVERS_WRITE,
    "GET /v1/servers/{server_id}/executions": Action.RUNS_READ,
    "POST /v1/servers/{server_id}/check": Action.SERVERS_CHECK,
    "POST /v1/servers/{server_id}/host-keys": Action.SERVERS_WRITE,
    "POST /v1/tasks": Action.TASKS_WRITE,
    "GET /v1/tasks": Action.TASKS_READ,
    "GET /v1/tasks/{task_id}": Action.TASKS_READ,
    "PUT /v1/tasks/{task_id}": Action.TASKS_WRITE,
    "PATCH /v1/tasks/{task_id}": Action.TASKS_WRITE,
    "DELETE /v1/tasks/{task_id}": Action.TASKS_WRITE,
    "POST /v1/tasks/{task_id}/restore": Action.TASKS_WRITE,
    "POST /v1/tasks/{task_id}/run": Action.RUNS_START,
    "POST /v1/tasks/{task_id}/backfill": Action.RUNS_START,
    "POST /v1/tasks/{task_id}/pause": Action.TASKS_WRITE,
    "POST /v1/tasks/{task_id}/resume": Action.TASKS_WRITE,
    "GET /v1/tasks/{task_id}/why": Action.TASKS_READ,
    "GET /v1/tasks/{task_id}/stats": Action.TASKS_READ,
    "POST /v1/templates": Action.TASKS_WRITE,
    "GET /v1/templates": Action.TASKS_READ,
    "GET /v1/templates/{template_id}": Action.TASKS_READ,
    "PUT /v1/templates/{template_id}": Action.TASKS_WRITE,
    "PATCH /v1/templates/{template_id}": Action.TASKS_WRITE,
    "DELETE /v1/templates/{template_id}": Action.TASKS_WRITE,
    "POST /v1/templates/{template_id}/tasks": Action.TASKS_WRITE,
    "GET /v1/templates/{template_id}/tasks": Action.TASKS_READ,
    "POST /v1/import/crontab": Action.TASKS_WRITE,
    "POST /v1/schedule/preview": Action.SCHEDULE_PREVIEW,
    "GET /v1/schedule/upcoming": Action.TASKS_READ,
    "POST /v1/calendars": Action.CALENDARS_WRITE,
    "GET /v1/calendars": Action.CALENDARS_READ,
    "GET /v1/calendars/{name}": Action.CALENDARS_READ,
    "PUT /v1/calendars/{name}": Action.CALENDARS_WRITE,
    "DELETE /v1/calendars/{name}": Action.CALENDARS_WRITE,
    "GET /v1/freeze": Action.FREEZE_READ,
    "PUT /v1/freeze": Action.FREEZE_WRITE,
    "DELETE /v1/freeze": Action.FREEZE_WRITE,
    "POST /v1/channels": Action.NOTIFICATIONS_WRITE,
    "GET /v1/channels": Action.NOTIFICATIONS_READ,
    "GET /v1/channels/{name}": Action.NOTIFICATIONS_READ,
    "PUT /v1/channels/{name}": Action.NOTIFICATIONS_WRITE,
    "DELETE /v1/channels/{name}": Action.NOTIFICATIONS_WRITE,
    "POST /v1/channels/{name}/test": Action.NOTIFICATIONS_WRITE,
    "POST /v1/rules": Action.NOTIFICATIONS_WRITE,
    "GET /v1/rules": Action.NOTIFICATIONS_READ,
    "GET /v1/rules/{name}": Action.NOTIFICATIONS_READ,
    "PUT /v1/rules/{name}": Action.NOTIFICATIONS_WRITE,
    "DELETE /v1/rules/{name}": Action.NOTIFICATIONS_WRITE,
    "GET /v1/stats": Action.STATS_READ,
    "GET /v1/runs": Action.RUNS_READ,
    "GET /v1/runs/{run_id}": Action.RUNS_READ,
    "POST /v1/runs/{run_id}/cancel": Action.RUNS_CANCEL,
    "POST /v1/runs/{run_id}/retry": Action.RUNS_START,
    "GET /v1/runs/{run_id}/executions": Action.RUNS_READ,
    "GET /v1/runs/{run_id}/executions/{server_id}": Action.RUNS_READ,
    "POST /v1/runs/{run_id}/executions/{server_id}/poll": Action.RUNS_POLL,
    "GET /v1/runs/{run_id}/executions/{server_id}/output": Action.RUNS_READ,
}


def methods(path: str) -> list[str]:
    """Return the methods that there are for a path, none if it leads nowhere."""
    parts = path.split("/")
    routes = (route.split(" ") for route in ROUTES)
    return sorted(method for method, form in routes if _leads(form.split("/"), parts))


def _leads(form: Sequence[str], parts: Sequence[str]) -> bool:
    return len(form) == len(parts) and all(
        name == part or (name.startswith("{") and part)
        for name, part in zip(form, parts, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the thing is that a path names, and what it takes to see it."""

    seen_by: Action
    find: Callable[[str], str | None]
    noun: str


# By the path's parameter, the one that decides first: an execution is where its
# run is. Each `find` returns the environment, and raises NotFound.
_PLACES: Final[Mapping[str, _Place]] = {
    "run_id": _Place(
        seen_by=Action.RUNS_READ,
        find=lambda one: services().runs.get(one).environment,
        noun="run",
    ),
    "task_id": _Place(
        seen_by=Action.TASKS_READ,
        find=lambda one: services().tasks.place(one),  # noqa: PLW0108  made later
        noun="task",
    ),
    "template_id": _Place(
        seen_by=Action.TASKS_READ,
        find=lambda one: services().templates.get(one).definition.environment,
        noun="template",
    ),
    "server_id": _Place(
        seen_by=Action.SERVERS_READ,
        find=lambda one: services().servers.get(one).environment,
        noun="server",
    ),
}


def check(
    app: APIGatewayHttpResolver, next_middleware: Callable[..., Response[str]]
) -> Response[str]:
    """Let a request through if who asks may do that somewhere. Raises Forbidden."""
    request = app.request
    route = f"{request.method} {request.route}"
    if route not in ROUTES:
        raise NotFoundError
    action = ROUTES[route]
    if action is not None:
        caller: Caller = app.context["caller"]
        if not caller.may(action):
            raise Forbidden(_no_right(caller, action))
        app.append_context(scope=caller.scope(action))
    return next_middleware(app)


def check_place(
    app: APIGatewayHttpResolver, next_middleware: Callable[..., Response[str]]
) -> Response[str]:
    """Let a request through if who asks may do that with what its path names.

    An answer that they had already is theirs, wherever that is by now. Raises
    Forbidden; NotFound for what is there and not theirs to see, in the words in
    which it would not be there.
    """
    request = app.request
    action = ROUTES[f"{request.method} {request.route}"]
    if action is not None:
        _check_place(app.context["caller"], action, path_names(request))
    return next_middleware(app)


def _check_place(caller: Caller, action: Action, parameters: Mapping[str, str]) -> None:
    may = caller.scope(action)
    named = next((one for one in _PLACES if one in parameters), None)
    if named is None or may.is_everywhere:
        return
    place, key = _PLACES[named], parameters[named]
    environment = place.find(key)
    if not caller.scope(place.seen_by).admits(environment):
        raise NotFound(f"there is no {place.noun} {key}")
    if not may.admits(environment):
        where = f"in {environment}" if environment else "without an environment"
        raise Forbidden(f"your roles do not allow {action} {where}")


def _no_right(caller: Caller, action: Action) -> str:
    if not caller.grants:
        return "you have no role; GET /v1/me shows what you have"
    return f"your roles do not allow {action}"
