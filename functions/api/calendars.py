"""/v1/calendars and /v1/freeze: when nothing of a schedule starts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from .request import IfMatch, Limit, Token, after, began, caller, listed, version
from .schedule_body import CalendarBody, DatesBody, HoldBody
from .views import answer, calendar_view, empty, hold_view
from .wiring import now, services

router = Router()


@router.post("/v1/calendars")
def create(body: Annotated[CalendarBody, Body()]) -> Response[str]:
    calendar = services().calendars.create(
        body.name, tuple(body.dates), by=caller(router).name, now=began(router)
    )
    return answer(calendar_view(calendar), HTTPStatus.CREATED, version=calendar.version)


@router.get("/v1/calendars")
def listing(limit: Limit = 50, next_token: Token = None) -> Response[str]:
    query = "calendars"
    page = services().calendars.listing(limit=limit, after=after(next_token, query))
    return answer(listed(page, calendar_view, "name", query))


@router.get("/v1/calendars/<name>")
def get(name: str) -> Response[str]:
    calendar = services().calendars.get(name)
    return answer(calendar_view(calendar), version=calendar.version)


@router.put("/v1/calendars/<name>")
def replace(
    name: str, body: Annotated[DatesBody, Body()], if_match: IfMatch = None
) -> Response[str]:
    calendar = services().calendars.replace(
        name, tuple(body.dates), version=version(if_match), now=now()
    )
    return answer(calendar_view(calendar), version=calendar.version)


@router.delete("/v1/calendars/<name>")
def delete(name: str, if_match: IfMatch = None) -> Response[str]:
    services().calendars.delete(name, version=version(if_match))
    return empty()


@router.put("/v1/freeze")
def freeze(body: Annotated[HoldBody | None, Body()] = None) -> Response[str]:
    asked = body or HoldBody()
    hold = services().freeze.put(
        until=asked.until, reason=asked.reason, by=caller(router).name, now=now()
    )
    return answer({"freeze": hold_view(hold)})


@router.get("/v1/freeze")
def show_freeze() -> Response[str]:
    return answer({"freeze": hold_view(services().freeze.get(now()))})


@router.delete("/v1/freeze")
def lift_freeze() -> Response[str]:
    services().freeze.lift()
    return empty()
