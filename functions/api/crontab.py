"""/v1/import/crontab: the tasks that the lines of a crontab are."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from cronhop.domain.ids import derived_id, id_time, new_id
from cronhop.domain.task import TaskDefinition
from cronhop.domain.zone import zone_of
from cronhop.errors import Conflict, Invalid
from cronhop.services.tasks import usernames
from cronhop.store.tasks import fit

from .bodies import DAY_S, task_definition
from .fields import StrictBody, Word
from .problems import MAX_ERRORS, in_words, problem
from .request import caller, made_id, scope
from .views import answer
from .wiring import now, services

MAX_TEXT = 64 * 1024  # characters
MAX_WRITTEN = 1_800_000  # bytes; each is written twice, a transaction takes 4 MB

CHANGED = Conflict("it was changed since it was made")

# What the task of each line is, or why the line cannot be one.
Found = Sequence[TaskDefinition | Invalid | Conflict]

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
    ids = _task_ids(made_id(router), entries)
    made = [] if body.dry_run else services().tasks.all_made(ids, scope(router))
    if not made:
        found = _found(body, entries)
        definitions = [one for one in found if isinstance(one, TaskDefinition)]
        _check_size(definitions, len(body.server_ids))
        if body.dry_run:
            return answer({"dry_run": True, "tasks": _views(entries, found)})
        if len(definitions) < len(entries):
            return _refused(entries, found)
        made = services().tasks.create_all(
            definitions,
            by=caller(router).name,
            now=now(),
            scope=scope(router),
            task_ids=ids,
        )
    shown = _views(
        entries, [one.definition if one.version == 1 else CHANGED for one in made]
    )
    for one, task in zip(shown, made, strict=True):
        one["task_id"] = task.task_id
    return answer({"dry_run": False, "tasks": shown}, HTTPStatus.CREATED)


def _found(body: CrontabBody, entries: Sequence[Entry]) -> Found:
    logins = usernames(body.server_ids, scope=scope(router))
    return [_definition(body, entry, logins) for entry in entries]


def _check_size(definitions: Sequence[TaskDefinition], targets: int) -> None:
    limit = fit(targets)
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


def _task_ids(seed: str | None, entries: Sequence[Entry]) -> list[str]:
    """Return the ids of the lines' tasks: the same if the request is repeated."""
    seed = seed or new_id(now())
    return [derived_id(id_time(seed), f"{seed}/{entry.line}") for entry in entries]


def _refused(entries: Sequence[Entry], found: Found) -> Response[str]:
    """Return the error that names the lines: a conflict if nothing else is wrong."""
    is_invalid = any(isinstance(one, Invalid) for one in found)
    errors = [
        (f"text.{entry.line}", str(one))
        for entry, one in zip(entries, found, strict=True)
        if not isinstance(one, TaskDefinition)
    ]
    return problem(
        HTTPStatus.BAD_REQUEST if is_invalid else HTTPStatus.CONFLICT,
        f"{len(errors)} of its lines cannot be tasks, so none was made",
        errors=errors[:MAX_ERRORS],
    )


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
) -> TaskDefinition | Invalid | Conflict:
    """Return the task of a line, or why it cannot be one.

    `logins` are the users that cronhop logs in as.
    """
    if entry.task is None:
        return Invalid("", entry.reason or "")
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
        services().tasks.create(definition, by="", now=now(), dry_run=True)
    except RequestValidationError as exc:
        return Invalid("", in_words(exc.errors()))
    except (Invalid, Conflict) as exc:
        return exc
    return definition


def _views(entries: Sequence[Entry], found: Found) -> list[dict[str, Any]]:
    return [
        {
            "line": entry.line,
            "text": entry.text,
            "task": one.to_dict() if isinstance(one, TaskDefinition) else None,
            "task_id": None,
            "reason": None if isinstance(one, TaskDefinition) else str(one),
            "notes": list(entry.notes),
        }
        for entry, one in zip(entries, found, strict=True)
    ]
