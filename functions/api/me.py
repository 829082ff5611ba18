"""/v1/me: who asks, and what they may do."""

from __future__ import annotations

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router

from cronhop.domain.access import Action

from .request import caller
from .views import answer

router = Router()


@router.get("/v1/me")
def me() -> Response[str]:
    who = caller(router)
    seen = who.scope(Action.TASKS_READ).environments
    return answer(
        {
            "name": who.name,
            "subject": who.subject,
            "roles": sorted(map(str, who.grants)),
            "environments": None if seen is None else sorted(seen),
            "actions": list(who.actions),
        }
    )
