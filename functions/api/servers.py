"""/v1/servers: the SSH hosts."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from .bodies import HostKeyBody, ServerBody, merged
from .request import (
    From,
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
    states_of,
    version,
    window,
)
from .views import answer, empty, execution_view, server_body, server_view
from .wiring import now, services

router = Router()


@router.post("/v1/servers")
def create(body: Annotated[ServerBody, Body()]) -> Response[str]:
    server = services().servers.create(
        body.definition(),
        by=caller(router).name,
        now=now(),
        scope=scope(router),
        server_id=made_id(router),
    )
    return answer(server_view(server), HTTPStatus.CREATED, version=server.version)


@router.get("/v1/servers")
def listing(limit: Limit = 50, next_token: Token = None) -> Response[str]:
    query = "servers"
    page = services().servers.listing(
        limit=limit, after=after(next_token, query), scope=scope(router)
    )
    return answer(listed(page, server_view, "server_id", query))


@router.get("/v1/servers/<server_id>")
def get(server_id: str) -> Response[str]:
    server = services().servers.get(server_id)
    return answer(server_view(server), version=server.version)


@router.put("/v1/servers/<server_id>")
def replace(
    server_id: str, body: Annotated[ServerBody, Body()], if_match: IfMatch = None
) -> Response[str]:
    return _change(server_id, body, version(if_match))


@router.patch("/v1/servers/<server_id>")
def change(
    server_id: str, body: Annotated[dict[str, Any], Body()], if_match: IfMatch = None
) -> Response[str]:
    present = services().servers.get(server_id, version=version(if_match))
    return _change(
        server_id, merged(ServerBody, server_body(present), body), present.version
    )


@router.get("/v1/servers/<server_id>/executions")
def executions(
    server_id: str,
    state: Text = None,
    from_: From = None,
    to: Instant = None,
    order: Order = None,
    limit: Limit = 50,
    next_token: Token = None,
) -> Response[str]:
    query = f"executions on {json.dumps([server_id, state, from_, to, order])}"
    page = services().servers.executions(
        server_id,
        states=states_of(state),
        window=window(order, from_, to),
        limit=limit,
        after=after(next_token, query),
        scope=scope(router),
    )
    return answer(listed(page, execution_view, "run_id", query))


@router.delete("/v1/servers/<server_id>")
def delete(server_id: str, if_match: IfMatch = None) -> Response[str]:
    services().servers.delete(server_id, version=version(if_match), scope=scope(router))
    return empty()


@router.post("/v1/servers/<server_id>/check")
def check(server_id: str, _: Nothing = None) -> Response[str]:
    check_id = services().servers.check(server_id, now=now())
    return answer({"check_id": check_id}, HTTPStatus.ACCEPTED)


@router.post("/v1/servers/<server_id>/host-keys")
def approve(
    server_id: str, body: Annotated[HostKeyBody, Body()], if_match: IfMatch = None
) -> Response[str]:
    server = services().servers.approve(
        server_id,
        body.fingerprint,
        only=body.replace,
        version=version(if_match),
        now=now(),
    )
    return answer(server_view(server), version=server.version)


def _change(server_id: str, body: ServerBody, old: int | None) -> Response[str]:
    server = services().servers.change(
        server_id, body.definition(), version=old, now=now(), scope=scope(router)
    )
    return answer(server_view(server), version=server.version)
