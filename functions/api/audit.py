"""/v1/audit: who did what."""

from __future__ import annotations

import json
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Query

from cronhop.domain.audit import MAX_NAME, AuditRecord
from cronhop.domain.instant import instant

from .request import Limit, Token, after, listed
from .schedule_body import instant_of
from .views import answer
from .wiring import now, services

router = Router()

Name = Annotated[str | None, Query(min_length=1, max_length=MAX_NAME)]


@router.get("/v1/audit")
def listing(
    entity: Name = None,
    actor: Name = None,
    from_: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    to: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = 50,
    next_token: Token = None,
) -> Response[str]:
    query = "audit " + json.dumps([entity, actor, from_, to])
    page = services().audit.listing(
        entity=entity,
        actor=actor,
        start=instant_of(from_, "from"),
        end=instant_of(to, "to"),
        now=now(),
        limit=limit,
        after=after(next_token, query),
    )
    return answer(listed(page, _view, "audit_id", query))


def _view(record: AuditRecord) -> dict[str, Any]:
    return {"audit_id": record.audit_id, "at": instant(record.at)} | {
        name: value for name, value in vars(record).items() if name != "audit_id"
    }
