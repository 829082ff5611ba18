"""/v1/import/crontab: the tasks that the lines of a crontab are."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)
from aws_lambda_powertools.event_handler.openapi.params import Body
from pydantic import Field, StringConstraints

from cronhop.domain.crontab import Entry, read
from cronhop.domain.task import TaskDefinition
from cronhop.domain.zone import zone_of
from cronhop.errors import Invalid
from cronhop.services.tasks import usernames
from cronhop.store.tasks import fit

from .bodies import DAY_S, Word, task_definition
from .problems import MAX_ERRORS, in_words, problem
from .request import caller, scope
from .specs import StrictBody
from .views import answer
from .wiring import now, services

MAX_TEXT = 64 * 1024  # characters
MAX_WRITTEN = 1_800_000  # bytes; each is written twice, a transaction takes 4 MB

router = Router()


class CrontabBody(StrictBody):
    """A crontab, and what it does not say of its tasks."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
    server_ids: Annotated[list[str], Field(min_length=1, max_length=90)]
    system: bool = False
    dry_run: bool = True
    timezone: str = "UTC"
    name_prefix: Annotated[str, StringConstraints(max_length=40)] = ""
    enabled: bool = True
    timeout_s: Annotated[int, Field(ge=1, le=7 * DAY_S)] = DAY_S
    overlap: Literal["skip", "allow"] = "skip"
    environment: Word | None = None


@router.post("/v1/import/crontab")
def import_crontab(body: Annotated[CrontabBody, Body()]) -> Response[str]:
    scope(router).require(body.environment)
    entries = _entries(body)
    logins = usernames(body.server_ids, scope=scope(router))
    definitions, shown = [], []
    for entry in entries:
        definition, reason = _definition(body, entry, logins)
        if definition:
            definitions.append(definition)
        shown.append(_view(entry, definition, reason))
    limit = fit(len(body.server_ids))
    if len(definitions) > limit:
        raise Invalid(
            "text",
            f"it has {len(definitions)} tasks; {limit} at most are made at once, all or"
            " none: import it in parts",
        )
    size = sum(len(json.dumps(one.to_dict())) for one in definitions)
    if size > MAX_WRITTEN:
        raise Invalid(
            "text", f"its tasks have {size} bytes, more than {MAX_WRITTEN} at once"
        )
    if body.dry_run:
        return answer({"dry_run": True, "tasks": shown})
    refused = [(f"text.{one['line']}", one["reason"]) for one in shown if one["reason"]]
    if refused:
        return problem(
            HTTPStatus.BAD_REQUEST,
            f"{len(refused)} of its lines cannot be tasks, so none was made",
            errors=refused[:MAX_ERRORS],
        )
    made = services().tasks.create_all(
        definitions, by=caller(router).name, now=now(), scope=scope(router)
    )
    for one, task in zip(shown, made, strict=True):
        one["task_id"] = task.task_id
    return answer({"dry_run": False, "tasks": shown}, HTTPStatus.CREATED)


def _entries(body: CrontabBody) -> list[Entry]:
    try:
        zone_of(body.timezone)
    except Invalid as exc:
        raise Invalid("timezone", exc.message) from exc
    entries = read(body.text, is_system=body.system, timezone=body.timezone)
    if not entries:
        raise Invalid("text", "no line of it runs anything")
    return entries


def _definition(
    body: CrontabBody, entry: Entry, logins: set[str]
) -> tuple[TaskDefinition | None, str | None]:
    """Return the task of a line, or why it cannot be one.

    `logins` are the users that cronhop logs in as.
    """
    if entry.task is None:
        return None, entry.reason
    spec = dict(entry.task["spec"])
    if logins == {spec.get("run_as")}:
        del spec["run_as"]  # who logs in anyway
    try:
        definition = task_definition(
            {
                **entry.task,
                "name": body.name_prefix + entry.task["name"],
                "spec": spec,
                "targets": {"server_ids": body.server_ids},
                "timeout_s": body.timeout_s,
                "overlap": body.overlap,
                "enabled": body.enabled,
                "environment": body.environment,
            }
        )
        services().tasks.try_out(definition, now=now())
    except RequestValidationError as exc:
        return None, in_words(exc.errors())
    except Invalid as exc:
        return None, str(exc)
    return definition, None


def _view(
    entry: Entry, definition: TaskDefinition | None, reason: str | None
) -> dict[str, Any]:
    return {
        "line": entry.line,
        "text": entry.text,
        "task": definition.to_dict() if definition else None,
        "task_id": None,
        "reason": reason,
        "notes": list(entry.notes),
    }
