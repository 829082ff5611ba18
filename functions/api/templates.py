"""/v1/templates: tasks that leave something open.

Making a task of one is with the tasks.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from cronhop.domain.task import Task
from cronhop.domain.template import Template

from .bodies import task_definition
from .request import (
    DryRun,
    IfMatch,
    Limit,
    Token,
    after,
    caller,
    listed,
    made_id,
    scope,
    version,
)
from .views import answer, empty, made_view, template_view
from .wiring import now, services

router = Router()


@router.post("/v1/templates")
def create(
    body: Annotated[dict[str, Any], Body()], dry_run: DryRun = "false"
) -> Response[str]:
    template = services().templates.create(
        task_definition(body),
        by=caller(router).name,
        now=now(),
        scope=scope(router),
        template_id=made_id(router),
        dry_run=dry_run == "true",
    )
    return _written(template, dry_run, HTTPStatus.CREATED)


@router.get("/v1/templates")
def listing(limit: Limit = 50, next_token: Token = None) -> Response[str]:
    query = "templates"
    page = services().templates.listing(
        limit=limit, after=after(next_token, query), scope=scope(router)
    )
    return answer(listed(page, template_view, "template_id", query))


@router.get("/v1/templates/<template_id>")
def get(template_id: str) -> Response[str]:
    return _answer(services().templates.get(template_id))


@router.put("/v1/templates/<template_id>")
def replace(
    template_id: str,
    body: Annotated[dict[str, Any], Body()],
    dry_run: DryRun = "false",
    if_match: IfMatch = None,
) -> Response[str]:
    template = services().templates.change(
        template_id,
        task_definition(body),
        version=version(if_match),
        by=caller(router).name,
        now=now(),
        scope=scope(router),
        dry_run=dry_run == "true",
    )
    return _written(template, dry_run)


@router.patch("/v1/templates/<template_id>")
def change(
    template_id: str,
    body: Annotated[dict[str, Any], Body()],
    dry_run: DryRun = "false",
    if_match: IfMatch = None,
) -> Response[str]:
    present = services().templates.get(template_id, version=version(if_match))
    template = services().templates.change(
        template_id,
        task_definition(body, present.definition.to_dict()),
        version=present.version,
        by=caller(router).name,
        now=now(),
        scope=scope(router),
        dry_run=dry_run == "true",
    )
    return _written(template, dry_run)


@router.delete("/v1/templates/<template_id>")
def delete(template_id: str, if_match: IfMatch = None) -> Response[str]:
    services().templates.delete(template_id, version=version(if_match))
    return empty()


@router.get("/v1/templates/<template_id>/tasks")
def tasks(
    template_id: str, limit: Limit = 50, next_token: Token = None
) -> Response[str]:
    query = f"tasks of {template_id}"
    template = services().templates.get(template_id)
    page = services().templates.tasks_of(
        template,
        limit=limit,
        after=after(next_token, query),
        scope=scope(router),
    )

    def view(task: Task) -> dict[str, Any]:
        return made_view(task, template)

    return answer(listed(page, view, "task_id", query))


def _written(
    template: Template, dry_run: DryRun, status: HTTPStatus = HTTPStatus.OK
) -> Response[str]:
    return empty() if dry_run == "true" else _answer(template, status)


def _answer(template: Template, status: HTTPStatus = HTTPStatus.OK) -> Response[str]:
    return answer(template_view(template), status, version=template.version)
