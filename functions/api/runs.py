"""/v1/runs: the ledger, its executions and their output."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Query

from cronhop.domain.find import RunFilter
from cronhop.domain.run import Stream, Trigger

from .request import (
    From,
    Id,
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
    states_of,
    window,
)
from .views import answer, execution_view, output_view, run_view, whole_run_view
from .wiring import now, services

EXECUTIONS_SHOWN = 100  # with a run; all of them are a list of their own
MAX_OUTPUT_BYTES = 512 * 1024  # a page: escaped twice, seven times as long

router = Router()


@router.get("/v1/runs")
def listing(
    task_id: Id = None,
    server_id: Id = None,
    created_by: Text = None,
    state: Text = None,
    trigger: Trigger | None = None,
    from_: From = None,
    to: Instant = None,
    order: Order = None,
    limit: Limit = 50,
    next_token: Token = None,
) -> Response[str]:
    asked = [task_id, server_id, created_by, state, trigger, from_, to, order]
    query = f"runs {json.dumps(asked)}"
    page = services().runs.listing(
        now=now(),
        wanted=RunFilter(
            task_id=task_id,
            server_id=server_id,
            created_by=created_by,
            states=states_of(state),
            trigger=trigger,
        ),
        window=window(order, from_, to),
        limit=limit,
        after=after(next_token, query),
        scope=scope(router),
    )
    return answer(listed(page, run_view, "run_id", query))


@router.get("/v1/runs/<run_id>")
def get(run_id: str) -> Response[str]:
    run = services().runs.get(run_id)
    page = services().runs.executions(run, limit=EXECUTIONS_SHOWN, after=None)
    targets = services().runs.targets(run, limit=EXECUTIONS_SHOWN)
    counts = services().runs.counts(run, page.items)
    parameters = services().runs.parameters(run)
    return answer(whole_run_view(run, parameters, targets, counts, page.items))


@router.post("/v1/runs/<run_id>/cancel")
def cancel(run_id: str, _: Nothing = None) -> Response[str]:
    run = services().runs.cancel(run_id, by=caller(router).name, now=now())
    return answer(run_view(run), HTTPStatus.ACCEPTED)


@router.post("/v1/runs/<run_id>/retry")
def retry(run_id: str, _: Nothing = None) -> Response[str]:
    run = services().runs.retry(
        run_id, by=caller(router).name, now=now(), new_run_id=made_id(router)
    )
    return answer(run_view(run), HTTPStatus.ACCEPTED)


@router.get("/v1/runs/<run_id>/executions")
def executions(
    run_id: str, limit: Limit = 50, next_token: Token = None
) -> Response[str]:
    query = f"executions of {run_id}"
    run = services().runs.get(run_id)
    page = services().runs.executions(run, limit=limit, after=after(next_token, query))
    key = "position" if run.fleet else "server_id"
    return answer(listed(page, execution_view, key, query))


@router.get("/v1/runs/<run_id>/executions/<server_id>")
def execution(run_id: str, server_id: str) -> Response[str]:
    found = services().runs.execution(run_id, server_id)
    return answer(execution_view(found, services().runs.attempts(found)))


@router.post("/v1/runs/<run_id>/executions/<server_id>/poll")
def poll(run_id: str, server_id: str, _: Nothing = None) -> Response[str]:
    asked = services().runs.poll(run_id, server_id, now=now())
    return answer({"asked": asked}, HTTPStatus.ACCEPTED)


@router.get("/v1/runs/<run_id>/executions/<server_id>/output")
def output(
    run_id: str,
    server_id: str,
    stream: Annotated[Literal["stdout", "stderr"], Query()] = "stdout",
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_OUTPUT_BYTES)] = 65536,
    encoding: Annotated[Literal["utf-8", "base64"], Query()] = "utf-8",
    attempt: Annotated[int | None, Query(ge=1, le=100)] = None,
) -> Response[str]:
    page = services().runs.output(
        run_id,
        server_id,
        Stream(stream),
        offset=offset,
        limit=limit,
        attempt=attempt,
    )
    return answer(output_view(page, encoding))
