"""The OpenAPI document: what the routes declare, and what only we know of them.

`python -m api.openapi` writes openapi.json, which the API serves. No function loads
this: what a route takes is read off it, the rest is declared here, once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import TypeAdapter

from cronhop import __version__
from cronhop.domain.run import State

from . import answers, bodies, rights
from .body import JSON
from .handler import DOCUMENT, OPEN_PATHS, app
from .idempotency import HEADER
from .problems import CONTENT_TYPE
from .request import MAX_VERSION

REF = "#/components/schemas/{model}"
ETAG = r'^"[0-9]+"$'
SERVER_ID = "01K6QH3T8N5W2X9Y4Z7A1B2C3D"
TASK_ID = "01K6QH5E1M8P3R6S9T2V5W7X0Y"
RUN_ID = "01K6QJ0A4B7C9D2E5F8G1H3J6K"
TEMPLATE_ID = "01K6QH8N2P5Q7R0S3T6V9W1X4Z"
AT = "2026-06-01T09:00:00Z"

SCHEDULE = {"cron": "30 1 * * *", "timezone": "Europe/Berlin"}
SERVER = {
    "name": "web-1",
    "host": "10.0.3.7",
    "username": "deploy",
    "credential": "ops-key",
}
TASK = {
    "name": "nightly dump",
    "spec": {"command": "pg_dump app | gzip > /var/backups/app.gz"},
    "targets": {"server_ids": [SERVER_ID]},
    "schedule": SCHEDULE,
    "timeout_s": 3600,
}
TEMPLATE = {
    **TASK,
    "name": "dump of a database",
    "spec": {"command": 'pg_dump "$DATABASE"'},
    "parameters": [{"name": "DATABASE", "type": "string"}],
}
CHANNEL = {"kind": "webhook", "url": "https://hooks.example.com/cronhop"}
RULE = {"on": ["failure", "recovery"], "channels": ["ops"]}
HOLD = {"until": "2099-01-01T06:00:00Z", "reason": "a move"}


@dataclass(frozen=True, kw_only=True)
class _Operation:
    """What the resolver does not know of a route.

    | field   | meaning                                                    |
    |---------|------------------------------------------------------------|
    | does    | in a few words                                             |
    | answers | shapes by status; None: no body                            |
    | errors  | that are not to be seen from the route's form              |
    | example | of a body                                                  |
    | body    | the schema of a body that the route reads by itself        |
    """

    does: str
    answers: Mapping[int, object]
    errors: Sequence[int] = ()
    example: object = None
    body: str | None = None


def _crud(  # what named things have in common
    path: str, one: str, shape: object, *, body: Mapping[str, Any], change: object
) -> dict[str, _Operation]:
    item = f"{path}/{{name}}"
    return {
        f"POST {path}": _Operation(
            does=f"Make a {one}", answers={201: shape}, errors=[409], example=body
        ),
        f"GET {path}": _Operation(
            does=f"List {one}s by name",
            answers={200: answers.Listed[shape]},  # type: ignore[valid-type]
        ),
        f"GET {item}": _Operation(does=f"Show a {one}", answers={200: shape}),
        f"PUT {item}": _Operation(
            does=f"Replace a {one}", answers={200: shape}, errors=[409], example=change
        ),
        f"DELETE {item}": _Operation(
            does=f"Remove a {one}", answers={204: None}, errors=[409]
        ),
    }


CHECKED: Final = {204: None}  # of a dry run

OPERATIONS: Final[Mapping[str, _Operation]] = {
    "GET /v1/health": _Operation(
        does="Say that the service is up, and where clients log in",
        answers={200: answers.Health},
    ),
    "GET /v1/openapi.json": _Operation(
        does="Show this document", answers={200: dict[str, Any]}
    ),
    "GET /v1/me": _Operation(
        does="Show who asks, and what they may do", answers={200: answers.Me}
    ),
    "GET /v1/audit": _Operation(
        does="List who did what, newest first",
        answers={200: answers.Listed[answers.AuditRecord]},
    ),
    **_crud(
        "/v1/credentials",
        "credential",
        answers.Credential,
        body={"name": "deploy-key", "password": "correct horse battery staple"},
        change={"password": "another one"},
    ),
    "POST /v1/servers": _Operation(
        does="Put a server on record",
        answers={201: answers.Server},
        errors=[409],
        example=SERVER,
    ),
    "GET /v1/servers": _Operation(
        does="List servers, oldest first",
        answers={200: answers.Listed[answers.Server]},
    ),
    "GET /v1/servers/{server_id}": _Operation(
        does="Show a server", answers={200: answers.Server}
    ),
    "PUT /v1/servers/{server_id}": _Operation(
        does="Replace a server",
        answers={200: answers.Server},
        errors=[409],
        example=SERVER,
    ),
    "PATCH /v1/servers/{server_id}": _Operation(
        does="Change a server by a merge patch (RFC 7396)",
        answers={200: answers.Server},
        errors=[409],
        body="ServerPatch",
        example={"status": "maintenance", "environment": None},
    ),
    "DELETE /v1/servers/{server_id}": _Operation(
        does="Remove a server that nothing names", answers={204: None}, errors=[409]
    ),
    "GET /v1/servers/{server_id}/executions": _Operation(
        does="List what ran on a server, newest first",
        answers={200: answers.Listed[answers.Execution]},
    ),
    "POST /v1/servers/{server_id}/check": _Operation(
        does="Have an executor check a server",
        answers={202: answers.CheckAsked},
        errors=[503],
    ),
    "POST /v1/servers/{server_id}/host-keys": _Operation(
        does="Pin a host key that the last check saw",
        answers={200: answers.Server},
        errors=[409],
        example={"fingerprint": f"SHA256:{'A' * 43}", "replace": False},
    ),
    "POST /v1/tasks": _Operation(
        does="Put a task on record",
        answers={201: answers.Task, **CHECKED},
        errors=[409],
        body="Task",
        example=TASK,
    ),
    "GET /v1/tasks": _Operation(
        does="List tasks, oldest first", answers={200: answers.Listed[answers.Task]}
    ),
    "GET /v1/tasks/{task_id}": _Operation(
        does="Show a task", answers={200: answers.Task}
    ),
    "PUT /v1/tasks/{task_id}": _Operation(
        does="Replace a task",
        answers={200: answers.Task, **CHECKED},
        errors=[409],
        body="Task",
        example=TASK,
    ),
    "PATCH /v1/tasks/{task_id}": _Operation(
        does="Change a task by a merge patch (RFC 7396)",
        answers={200: answers.Task, **CHECKED},
        errors=[409],
        body="TaskPatch",
        example={"timeout_s": 7200, "schedule": {"cron": "0 2 * * *"}},
    ),
    "DELETE /v1/tasks/{task_id}": _Operation(
        does="Remove a task; it can be restored as long as ended runs are kept",
        answers={204: None},
        errors=[409],
    ),
    "POST /v1/tasks/{task_id}/restore": _Operation(
        does="Bring a removed task back", answers={200: answers.Task}, errors=[409]
    ),
    "POST /v1/tasks/{task_id}/run": _Operation(
        does="Run a task now",
        answers={202: answers.Run},
        errors=[409, 503],
        example={"targets": {"server_ids": [SERVER_ID]}},
    ),
    "POST /v1/tasks/{task_id}/backfill": _Operation(
        does="Show or run slots of the past that were not completed",
        answers={200: answers.Backfill, 202: answers.Backfill},
        errors=[409, 503],
        example={"from": "2026-05-31T00:00:00Z", "to": AT},
    ),
    "POST /v1/tasks/{task_id}/pause": _Operation(
        does="Hold back the slots of a task",
        answers={200: answers.Task},
        errors=[409],
        example=HOLD,
    ),
    "POST /v1/tasks/{task_id}/resume": _Operation(
        does="Hold back the slots of a task no more",
        answers={200: answers.Task},
        errors=[409],
    ),
    "GET /v1/tasks/{task_id}/why": _Operation(
        does="Say what became of an instant, or will", answers={200: answers.Why}
    ),
    "GET /v1/tasks/{task_id}/stats": _Operation(
        does="Count what a task did in some days", answers={200: answers.TaskStats}
    ),
    "GET /v1/stats": _Operation(
        does="Count what the fleet did in some days", answers={200: answers.Stats}
    ),
    "POST /v1/templates": _Operation(
        does="Put a template on record",
        answers={201: answers.Template, **CHECKED},
        errors=[409],
        body="Task",
        example=TEMPLATE,
    ),
    "GET /v1/templates": _Operation(
        does="List templates, oldest first",
        answers={200: answers.Listed[answers.Template]},
    ),
    "GET /v1/templates/{template_id}": _Operation(
        does="Show a template", answers={200: answers.Template}
    ),
    "PUT /v1/templates/{template_id}": _Operation(
        does="Replace a template",
        answers={200: answers.Template, **CHECKED},
        errors=[409],
        body="Task",
        example=TEMPLATE,
    ),
    "PATCH /v1/templates/{template_id}": _Operation(
        does="Change a template by a merge patch (RFC 7396)",
        answers={200: answers.Template, **CHECKED},
        errors=[409],
        body="TaskPatch",
        example={"timeout_s": 7200},
    ),
    "DELETE /v1/templates/{template_id}": _Operation(
        does="Remove a template; the tasks made of it stay",
        answers={204: None},
        errors=[409],
    ),
    "POST /v1/templates/{template_id}/tasks": _Operation(
        does="Make a task of a template",
        answers={201: answers.Task, **CHECKED},
        errors=[409],
        body="TaskOfTemplate",
        example={"name": "dump of app", "parameters": {"DATABASE": "app"}},
    ),
    "GET /v1/templates/{template_id}/tasks": _Operation(
        does="List the tasks made of a template, oldest first",
        answers={200: answers.Listed[answers.MadeOfTemplate]},
    ),
    "POST /v1/import/crontab": _Operation(
        does="Show or make the tasks that a crontab's lines are",
        answers={200: answers.Imported, 201: answers.Imported},
        errors=[409],
        example={"text": "30 1 * * * pg_dump app", "server_ids": [SERVER_ID]},
    ),
    "POST /v1/schedule/preview": _Operation(
        does="Show the coming slots of a schedule, and what may surprise",
        answers={200: answers.Preview},
        errors=[404],
        example={"schedule": SCHEDULE, "after": AT, "count": 3},
    ),
    "GET /v1/schedule/upcoming": _Operation(
        does="Show the coming slots of all tasks, and the load of each minute",
        answers={200: answers.Upcoming},
    ),
    **_crud(
        "/v1/calendars",
        "calendar",
        answers.Calendar,
        body={"name": "holidays", "dates": ["2026-12-25"]},
        change={"dates": ["2026-12-25", "2026-12-26"]},
    ),
    "GET /v1/freeze": _Operation(
        does="Show the freeze of the stack", answers={200: answers.Freeze}
    ),
    "PUT /v1/freeze": _Operation(
        does="Hold back the slots of all tasks",
        answers={200: answers.Freeze},
        example=HOLD,
    ),
    "DELETE /v1/freeze": _Operation(
        does="Hold back the slots of all tasks no more", answers={204: None}
    ),
    **_crud(
        "/v1/channels",
        "channel",
        answers.Channel,
        body={"name": "on-call", **CHANNEL},
        change=CHANNEL,
    ),
    "POST /v1/channels/{name}/test": _Operation(
        does="Send something over a channel",
        answers={202: answers.TestSent},
        errors=[503],
    ),
    **_crud(
        "/v1/rules", "rule", answers.Rule, body={"name": "prod", **RULE}, change=RULE
    ),
    "GET /v1/runs": _Operation(
        does="List runs, newest first", answers={200: answers.Listed[answers.Run]}
    ),
    "GET /v1/runs/{run_id}": _Operation(
        does="Show a run with its first 100 targets and executions",
        answers={200: answers.WholeRun},
    ),
    "POST /v1/runs/{run_id}/cancel": _Operation(
        does="End a run, whatever its stage",
        answers={202: answers.Run},
        errors=[409, 503],
    ),
    "POST /v1/runs/{run_id}/retry": _Operation(
        does="Run again where a run did not complete",
        answers={202: answers.Run},
        errors=[409, 503],
    ),
    "GET /v1/runs/{run_id}/executions": _Operation(
        does="List all executions of a run",
        answers={200: answers.Listed[answers.Execution]},
    ),
    "GET /v1/runs/{run_id}/executions/{server_id}": _Operation(
        does="Show an execution with every attempt",
        answers={200: answers.WholeExecution},
    ),
    "POST /v1/runs/{run_id}/executions/{server_id}/poll": _Operation(
        does="Have a running command looked at now",
        answers={202: answers.PollAsked},
        errors=[503],
    ),
    "GET /v1/runs/{run_id}/executions/{server_id}/output": _Operation(
        does="Show a piece of the output",
        answers={200: answers.Output},
        errors=[503],
    ),
}

DAY: Final = {"format": "date", "example": "2026-06-01"}

# What the paths and queries hold, anywhere or of one path, beyond that it is text.
PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "task_id": {"example": TASK_ID},
    "template_id": {"example": TEMPLATE_ID},
    "server_id": {"example": SERVER_ID},
    "run_id": {"example": RUN_ID},
    "name": {"example": "ops"},
    "at": {"format": "date-time", "example": AT},
    "after": {"format": "date-time", "example": AT},
    "from": {"format": "date-time", "example": "2026-05-31T09:00:00Z"},
    "to": {"format": "date-time", "example": AT},
    "/v1/stats?from": DAY,
    "/v1/stats?to": DAY,
    "/v1/tasks/{task_id}/stats?from": DAY,
    "/v1/tasks/{task_id}/stats?to": DAY,
    "dry_run": {
        "description": "true: check all, write nothing",
        "example": "false",
    },
    "due_before": {"format": "date-time", "example": AT},
    "state": {
        "pattern": "^({0})(,({0}))*$".format("|".join(State)),
        "example": "failed,timeout",
    },
    "If-Match": {
        "pattern": rf'^(\*|(W/)?"[0-9]{{1,{MAX_VERSION}}}")$',
        "description": 'the ETag of what you read, such as "3"; *: whatever it is',
        "example": "*",
    },
}

IDEMPOTENCY_KEY: Final[Mapping[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "description": "of your choice: the same request again with it is done once",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "example": "import-of-2026-11-22",
}

ERRORS: Final[Mapping[int, str]] = {
    400: "A value cannot be accepted, the body is no JSON, a field is unknown",
    401: "No access token, or not one of this stack's; the gateway's own answer is"
    " plain JSON",
    403: "Your roles do not allow it",
    404: "There is no such thing, or it is not yours to see",
    409: "The present state forbids it",
    412: "It was changed since you read it, or has no ETag",
    422: "The Idempotency-Key is another request's",
    413: "The body has more than 256 KiB",
    415: "The body is not sent as JSON",
    429: "Too many requests; the gateway says so, in plain JSON",
    500: "Our fault; it is logged",
    503: "What it needs is not to be had just now; try again",
}
BY_GATEWAY: Final = frozenset({401, 429, 500, 503})  # it answers so as well
# Of what routes answer, by the name of its shape.
EXAMPLES: Final[Mapping[str, Any]] = json.loads(
    Path(__file__).with_name("examples.json").read_text(encoding="utf-8")
)
EXAMPLES_OF_ERRORS: Final = {
    400: {
        "detail": "name: it is required",
        "errors": [{"field": "name", "message": "it is required"}],
    }
}


def document() -> dict[str, Any]:
    """Return the whole document."""
    found = json.loads(
        app.get_openapi_json_schema(
            title="cronhop",
            version=__version__,
            description="Cron for a fleet, without a scheduler host.",
        )
    )
    schemas = _Schemas()
    paths = {
        path: {
            method: _operation(f"{method.upper()} {path}", item[method], schemas)
            for method in item
        }
        for path, item in found["paths"].items()
    }
    taken = {
        name: schema
        for name, schema in found["components"]["schemas"].items()
        # What the resolver says of its own errors; ours are in their place.
        if not name.endswith("ValidationError")
    }
    return {
        "openapi": "3.1.0",
        "info": found["info"]
        | {"license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/", "description": "the ApiUrl of the stack"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, paths))],
        "paths": paths,
        "components": {
            "schemas": dict(sorted((taken | schemas.named()).items())),
            "responses": {str(one): _error(one, schemas) for one in ERRORS},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "an access token of the stack's issuer",
                }
            },
        },
    }


class _Schemas:
    """The schemas of what routes answer, and of bodies that they read themselves."""

    def __init__(self) -> None:
        shapes: list[Any] = [answers.Problem, answers.GatewayError]
        shapes += [
            shape
            for one in OPERATIONS.values()
            for shape in one.answers.values()
            if shape is not None
        ]
        task = (
            bodies.ScriptTaskBody
            | bodies.FileTransferTaskBody
            | bodies.ServiceControlTaskBody
        )
        given: list[tuple[str, Literal["validation", "serialization"], Any]]
        given = [(repr(shape), "serialization", TypeAdapter(shape)) for shape in shapes]
        taken: dict[str, Any] = {
            "Task": task,
            "TaskFields": bodies.TaskBody,
            "Server": bodies.ServerBody,
        }
        given += [
            (name, "validation", TypeAdapter(model)) for name, model in taken.items()
        ]
        self._of, whole = TypeAdapter.json_schemas(given, ref_template=REF)
        self._definitions: dict[str, Any] = whole["$defs"]
        self._bodies = self._made_bodies()

    def of(self, shape: object) -> dict[str, Any]:
        """Return the schema of an answer."""
        return dict(self._of[repr(shape), "serialization"])

    def body(self, name: str) -> dict[str, Any]:
        """Return the schema of a body that a route reads by itself."""
        return {"$ref": REF.format(model=f"{name}Body")}

    def named(self) -> dict[str, Any]:
        """Return every schema that others name."""
        return {**self._definitions, **self._bodies}

    def _made_bodies(self) -> dict[str, Any]:
        task = dict(self._definitions["TaskBody"]["properties"])
        patch = _patch(self._definitions["TaskBody"])
        kinds = ["script", "file_transfer", "service_control"]
        made = {**task, "parameters": {"type": "object", "title": "Parameters"}}
        return {
            "AnyTaskBody": self._of["Task", "validation"],
            "TaskPatchBody": _object(
                "Of a task, what is to change; null: its default",
                patch | {"kind": {"enum": kinds}, "spec": {"type": ["object", "null"]}},
            ),
            "TaskOfTemplateBody": _object(
                "What a task has instead of what its template has, and the values of"
                " the template's parameters",
                made,
                required=["name"],
            ),
            "ServerPatchBody": _object(
                "Of a server, what is to change; null: its default",
                _patch(self._definitions["ServerBody"]),
            ),
        }


def _object(
    description: str, properties: Mapping[str, Any], *, required: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }


def _patch(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a merge patch to something."""
    return {
        name: _patched(schema, needed=name in whole["required"])
        for name, schema in whole["properties"].items()
    }


def _patched(schema: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    null = [] if needed else [{"type": "null"}]
    ways = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
    if any("$ref" in one for one in ways):
        # Merged field by field, so that nothing in it is needed.
        ways = [{"type": "object"}]
    plain = [{key: way[key] for key in way if key != "default"} for way in ways]
    return {"anyOf": [*plain, *null]}


def _operation(
    route: str, found: Mapping[str, Any], schemas: _Schemas
) -> dict[str, Any]:
    declared = OPERATIONS[route]
    path = route.partition(" ")[2]
    parameters = [_parameter(path, one) for one in found.get("parameters", ())]
    if route.startswith("POST "):
        parameters.append(dict(IDEMPOTENCY_KEY))
    operation: dict[str, Any] = {
        "operationId": found["operationId"],
        "summary": declared.does,
        "tags": [_tag(path)],
    }
    if path in OPEN_PATHS:
        operation["security"] = []
    if parameters:
        operation["parameters"] = parameters
    body = found.get("requestBody")
    if body:
        operation["requestBody"] = _body(declared, body, schemas)
    operation["responses"] = {
        str(status): response
        for status, response in sorted(_responses(route, declared, operation, schemas))
    }
    return operation


def _tag(path: str) -> str:
    return path.split("/")[2].removesuffix(".json")


def _parameter(path: str, found: Mapping[str, Any]) -> dict[str, Any]:
    name = "If-Match" if found["name"] == "if-match" else found["name"]
    known = dict(PARAMETERS.get(f"{path}?{name}", PARAMETERS.get(name, {})))
    schema = dict(found["schema"])
    schema.pop("title", None)
    for one in schema.pop("anyOf", ()):  # what may be left out is never null
        if one != {"type": "null"}:
            schema |= one
    parameter = {
        "name": name,
        "in": found["in"],
        "required": found["required"],
    }
    for key in ("description", "example"):
        if key in known:
            parameter[key] = known.pop(key)
    return parameter | {"schema": schema | known}


def _body(
    declared: _Operation, found: Mapping[str, Any], schemas: _Schemas
) -> dict[str, Any]:
    content = dict(found["content"][JSON])
    if declared.body:
        name = "AnyTask" if declared.body == "Task" else declared.body
        content["schema"] = schemas.body(name)
    content["example"] = declared.example or {}
    return {"required": found.get("required", False), "content": {JSON: content}}


def _responses(
    route: str,
    declared: _Operation,
    operation: Mapping[str, Any],
    schemas: _Schemas,
) -> Iterator[tuple[int, dict[str, Any]]]:
    for status, shape in declared.answers.items():
        yield status, _answer(status, shape, schemas)
    for status in _errors(route, declared, operation):
        yield status, {"$ref": f"#/components/responses/{status}"}


def _error(status: int, schemas: _Schemas) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    by_us = {"type": "about:blank", "title": phrase, "status": status}
    by_us |= EXAMPLES_OF_ERRORS.get(status, {"detail": ERRORS[status]})
    content = {}
    if status != HTTPStatus.TOO_MANY_REQUESTS:
        schema = schemas.of(answers.Problem)
        content[CONTENT_TYPE] = {"schema": schema, "example": by_us}
    if status in BY_GATEWAY:
        schema = schemas.of(answers.GatewayError)
        content[JSON] = {"schema": schema, "example": {"message": phrase}}
    return {"description": ERRORS[status], "content": content}


def _errors(route: str, declared: _Operation, operation: Mapping[str, Any]) -> set[int]:
    """Return the statuses of the errors that a route answers with."""
    errors = {400, 429, 500, 503, *declared.errors}
    method, _, path = route.partition(" ")
    if path not in OPEN_PATHS:
        errors.add(401)
    if method == "POST":
        errors |= {409, 422}  # of its Idempotency-Key
    if method != "GET":
        errors.add(412)  # also for an If-Match of what has no ETag
    if rights.ROUTES[route] is not None:
        errors.add(403)
    if "{" in path:
        errors.add(404)
    if "requestBody" in operation:
        errors |= {413, 415}
    return errors


def _answer(status: int, shape: object, schemas: _Schemas) -> dict[str, Any]:
    said: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if shape is None:
        return said
    if _is_versioned(shape):
        said["headers"] = {
            "ETag": {
                "description": "the version, for If-Match",
                "required": True,
                "schema": {"type": "string", "pattern": ETAG},
                "example": '"3"',
            }
        }
    content: dict[str, Any] = {"schema": schemas.of(shape)}
    example = _example(shape)
    if example is not None:
        content["example"] = example
    return said | {"content": {JSON: content}}


def _example(shape: object) -> object:
    """Return an example of an answer, None of the document itself."""
    if get_origin(shape) is answers.Listed:
        (one,) = get_args(shape)
        return {"items": [_example(one)], "next_token": None}
    for name, example in EXAMPLES.items():
        if getattr(answers, name) == shape:
            return example
    return None


def _is_versioned(shape: object) -> bool:
    every = get_args(shape) if isinstance(shape, UnionType) else (shape,)
    made = answers.Made.__annotations__.keys()
    return all(made <= getattr(one, "__annotations__", {}).keys() for one in every)


def text() -> str:
    """Return the document as it is kept."""
    whole = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    # Generic shapes and those that others inherit have names of Python's.
    whole = re.sub(r"Listed_(?:Union_Script)?([A-Za-z]+)_\w*", r"\1List", whole)
    return re.sub(r'(schemas/|")_(?=[A-Z]\w+")', r"\1", whole)


def main() -> None:
    """Write the document to where the API serves it from."""
    DOCUMENT.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
