"""/v1/tasks: what to do, where and when."""

from __future__ import annotations

import dataclasses
import json
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from cronhop.domain.access import Action
from cronhop.domain.find import TaskFilter, TaskStatus
from cronhop.domain.instant import instant
from cronhop.domain.task import Task, TaskDefinition, TaskKind
from cronhop.errors import Invalid
from cronhop.services.tasks import following, last_run

from .bodies import RunBody, made_definition, task_definition
from .request import (
    DryRun,
    Id,
    IfMatch,
    Instant,
    Limit,
    Nothing,
    Order,
    Text,
    Token,
    after,
    caller,
    listed,
    made_id,
    scope,
    version,
    window,
)
from .schedule_body import BackfillBody, HoldBody, instant_of
from .views import answer, empty, run_view, task_view, why_view
from .wiring import now, services

router = Router()


@router.post("/v1/tasks")
def create(
    body: Annotated[dict[str, Any], Body()], dry_run: DryRun = "false"
) -> Response[str]:
    task = services().tasks.create(
        task_definition(body),
        by=caller(router).name,
        now=now(),
        scope=scope(router),
        task_id=made_id(router),
        dry_run=dry_run == "true",
    )
    return _written(task, dry_run, HTTPStatus.CREATED)


@router.post("/v1/templates/<template_id>/tasks")
def make(
    template_id: str,
    body: Annotated[dict[str, Any], Body()],
    dry_run: DryRun = "false",
    if_match: IfMatch = None,
) -> Response[str]:
    task = services().tasks.made(made_id(router), scope(router))
    if task is None:
        template = services().templates.get(template_id, version=version(if_match))
        definition, values = made_definition(template.definition, body)
        task = services().templates.make(
            template,
            definition,
            values,
            by=caller(router).name,
            now=now(),
            scope=scope(router),
            task_id=made_id(router),
            dry_run=dry_run == "true",
        )
    return _written(task, dry_run, HTTPStatus.CREATED)


@router.get("/v1/tasks")
def listing(
    status: TaskStatus | None = None,
    created_by: Text = None,
    server_id: Id = None,
    tag: Text = None,
    kind: TaskKind | None = None,
    name: Text = None,
    due_before: Instant = None,
    order: Order = None,
    limit: Limit = 50,
    next_token: Token = None,
) -> Response[str]:
    asked = [status, created_by, server_id, tag, kind, name, due_before, order]
    query = f"tasks {json.dumps(asked)}"
    word, colon, value = (tag or "").partition(":")
    page = services().tasks.listing(
        now=now(),
        wanted=TaskFilter(
            status=status,
            created_by=created_by,
            server_id=server_id,
            tag=(word, value if colon else None) if tag else None,
            kind=kind,
            name=name,
            due_before=instant_of(due_before, "due_before"),
        ),
        window=window(order, None, None, default="oldest"),
        limit=limit,
        after=after(next_token, query),
        scope=scope(router),
    )
    return answer(listed(page, _view, "task_id", query))


@router.get("/v1/tasks/<task_id>")
def get(task_id: str) -> Response[str]:
    task = services().tasks.get(task_id)
    return answer(_view(task), version=task.version)


@router.put("/v1/tasks/<task_id>")
def replace(
    task_id: str,
    body: Annotated[dict[str, Any], Body()],
    dry_run: DryRun = "false",
    if_match: IfMatch = None,
) -> Response[str]:
    return _change(task_id, task_definition(body), version(if_match), dry_run)


@router.patch("/v1/tasks/<task_id>")
def change(
    task_id: str,
    body: Annotated[dict[str, Any], Body()],
    dry_run: DryRun = "false",
    if_match: IfMatch = None,
) -> Response[str]:
    present = services().tasks.get(task_id, version=version(if_match))
    definition = task_definition(body, present.definition.to_dict())
    return _change(task_id, definition, present.version, dry_run)


@router.delete("/v1/tasks/<task_id>")
def delete(task_id: str, if_match: IfMatch = None) -> Response[str]:
    services().tasks.delete(task_id, version=version(if_match), now=now())
    return empty()


@router.post("/v1/tasks/<task_id>/restore")
def restore(task_id: str, _: Nothing = None, if_match: IfMatch = None) -> Response[str]:
    task = services().tasks.restore(
        task_id,
        by=caller(router).name,
        now=now(),
        version=version(if_match),
        scope=scope(router),
    )
    return answer(_view(task), version=task.version)


@router.post("/v1/tasks/<task_id>/run")
def run(task_id: str, body: Annotated[RunBody | None, Body()] = None) -> Response[str]:
    targets = body.targets.targets() if body and body.targets else None
    started = services().tasks.run(
        task_id,
        by=caller(router).name,
        now=now(),
        targets=targets,
        parameters=body.parameters if body else None,
        scope=scope(router),
        run_id=made_id(router),
    )
    return answer(run_view(started), HTTPStatus.ACCEPTED)


@router.post("/v1/tasks/<task_id>/backfill")
def backfill(task_id: str, body: Annotated[BackfillBody, Body()]) -> Response[str]:
    found = services().backfill.backfill(
        task_id,
        body.from_,
        body.to,
        by=caller(router).name,
        now=now(),
        dry_run=body.dry_run,
        again=body.again,
        made_id=made_id(router),
    )
    status = HTTPStatus.OK if body.dry_run else HTTPStatus.ACCEPTED
    slots = [
        {
            "at": instant(one.at),
            "before": one.before.state.value if one.before else None,
            "run_id": one.run.run_id if one.run else None,
        }
        for one in found
    ]
    return answer({"dry_run": body.dry_run, "slots": slots}, status)


@router.post("/v1/tasks/<task_id>/pause")
def pause(
    task_id: str,
    body: Annotated[HoldBody | None, Body()] = None,
    if_match: IfMatch = None,
) -> Response[str]:
    asked = body or HoldBody()
    task = services().tasks.pause(
        task_id,
        until=asked.until,
        reason=asked.reason,
        by=caller(router).name,
        now=now(),
        version=version(if_match),
    )
    return answer(_view(task), version=task.version)


@router.post("/v1/tasks/<task_id>/resume")
def resume(task_id: str, _: Nothing = None, if_match: IfMatch = None) -> Response[str]:
    task = services().tasks.resume(task_id, version=version(if_match))
    return answer(_view(task), version=task.version)


@router.get("/v1/tasks/<task_id>/why")
def why(
    task_id: str, at: Annotated[str | None, Query(max_length=40)] = None
) -> Response[str]:
    asked = services().why.why(
        task_id, instant_of(at, "at") or now(), now=now(), scope=scope(router)
    )
    return answer(why_view(asked))


def _change(
    task_id: str, definition: TaskDefinition, old: int | None, dry_run: DryRun
) -> Response[str]:
    task = services().tasks.change(
        task_id,
        definition,
        version=old,
        by=caller(router).name,
        now=now(),
        scope=scope(router),
        dry_run=dry_run == "true",
    )
    return _written(task, dry_run)


def _written(
    task: Task, dry_run: DryRun, status: HTTPStatus = HTTPStatus.OK
) -> Response[str]:
    if dry_run == "true":
        return empty()
    return answer(_view(task), status, version=task.version)


def _view(task: Task) -> dict[str, Any]:
    # From the schedule and the clock: the stored cursor may be a slot further.
    upcoming = None
    if task.pause and task.pause.is_over(now()):
        task = dataclasses.replace(task, pause=None)
    if not task.invalid and not task.deleted_at:
        try:
            upcoming = following(task, now())
        except Invalid as exc:
            # Its zone is gone since it was written; the tick will park it.
            task = dataclasses.replace(task, invalid=str(exc))
    seen = caller(router).scope(Action.RUNS_READ)
    newest = last_run(task.task_id, scope=seen)
    return task_view(task, next_run=upcoming, last_run=newest)
