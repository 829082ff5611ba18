"""/v1/credentials: names for secrets, whose values never come back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from .bodies import CredentialBody, SecretBody
from .request import IfMatch, Limit, Token, after, began, caller, listed, version
from .views import answer, credential_view, empty
from .wiring import now, services

router = Router()


@router.post("/v1/credentials")
def create(body: Annotated[CredentialBody, Body()]) -> Response[str]:
    credential = services().credentials.create(
        body.name,
        body.secret(),
        by=caller(router).name,
        now=began(router),
        environment=body.environment,
    )
    return answer(
        credential_view(credential), HTTPStatus.CREATED, version=credential.version
    )


@router.get("/v1/credentials")
def listing(limit: Limit = 50, next_token: Token = None) -> Response[str]:
    query = "credentials"
    page = services().credentials.listing(limit=limit, after=after(next_token, query))
    return answer(listed(page, credential_view, "name", query))


@router.get("/v1/credentials/<name>")
def get(name: str) -> Response[str]:
    credential = services().credentials.get(name)
    return answer(credential_view(credential), version=credential.version)


@router.put("/v1/credentials/<name>")
def replace(
    name: str, body: Annotated[SecretBody, Body()], if_match: IfMatch = None
) -> Response[str]:
    credential = services().credentials.replace(
        name, body.secret(), version=version(if_match), now=now()
    )
    return answer(credential_view(credential), version=credential.version)


@router.delete("/v1/credentials/<name>")
def delete(name: str, if_match: IfMatch = None) -> Response[str]:
    services().credentials.delete(name, version=version(if_match))
    return empty()
