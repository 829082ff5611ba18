"""/v1/channels and /v1/rules: who is told of what."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from .notification_bodies import (
    ChannelBody,
    NamedChannelBody,
    NamedRuleBody,
    RuleBody,
)
from .request import (
    IfMatch,
    Limit,
    Nothing,
    Token,
    after,
    began,
    caller,
    listed,
    version,
)
from .views import answer, channel_view, empty, rule_view
from .wiring import now, services

router = Router()


@router.post("/v1/channels")
def create_channel(body: Annotated[NamedChannelBody, Body()]) -> Response[str]:
    channel = services().channels.create(
        body.name, body.form(), by=caller(router).name, now=began(router)
    )
    return answer(channel_view(channel), HTTPStatus.CREATED, version=channel.version)


@router.get("/v1/channels")
def list_channels(limit: Limit = 50, next_token: Token = None) -> Response[str]:
    query = "channels"
    page = services().channels.listing(limit=limit, after=after(next_token, query))
    return answer(listed(page, channel_view, "name", query))


@router.get("/v1/channels/<name>")
def get_channel(name: str) -> Response[str]:
    channel = services().channels.get(name)
    return answer(channel_view(channel), version=channel.version)


@router.put("/v1/channels/<name>")
def replace_channel(
    name: str, body: Annotated[ChannelBody, Body()], if_match: IfMatch = None
) -> Response[str]:
    channel = services().channels.replace(
        name, body.form(), version=version(if_match), now=now()
    )
    return answer(channel_view(channel), version=channel.version)


@router.delete("/v1/channels/<name>")
def delete_channel(name: str, if_match: IfMatch = None) -> Response[str]:
    services().channels.delete(name, version=version(if_match))
    return empty()


@router.post("/v1/channels/<name>/test")
def try_channel(name: str, _: Nothing = None) -> Response[str]:
    return answer({"test_id": services().channels.test(name)}, HTTPStatus.ACCEPTED)


@router.post("/v1/rules")
def create_rule(body: Annotated[NamedRuleBody, Body()]) -> Response[str]:
    rule = services().rules.create(
        body.name, body.form(), by=caller(router).name, now=began(router)
    )
    return answer(rule_view(rule), HTTPStatus.CREATED, version=rule.version)


@router.get("/v1/rules")
def list_rules(limit: Limit = 50, next_token: Token = None) -> Response[str]:
    query = "rules"
    page = services().rules.listing(limit=limit, after=after(next_token, query))
    return answer(listed(page, rule_view, "name", query))


@router.get("/v1/rules/<name>")
def get_rule(name: str) -> Response[str]:
    rule = services().rules.get(name)
    return answer(rule_view(rule), version=rule.version)


@router.put("/v1/rules/<name>")
def replace_rule(
    name: str, body: Annotated[RuleBody, Body()], if_match: IfMatch = None
) -> Response[str]:
    rule = services().rules.replace(
        name, body.form(), version=version(if_match), now=now()
    )
    return answer(rule_view(rule), version=rule.version)


@router.delete("/v1/rules/<name>")
def delete_rule(name: str, if_match: IfMatch = None) -> Response[str]:
    services().rules.delete(name, version=version(if_match))
    return empty()
