"""/v1/schedule: what a schedule will do, before it does it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from cronhop.domain.instant import instant
from cronhop.services.preview import Slot

from .request import scope
from .schedule_body import PreviewBody, instant_of
from .views import answer
from .wiring import now, services

router = Router()


@router.post("/v1/schedule/preview")
def preview(body: Annotated[PreviewBody, Body()]) -> Response[str]:
    shown = services().preview.preview(
        body.schedule.schedule(),
        after=body.after or now(),
        count=body.count,
        task_id=body.task_id,
        scope=scope(router),
    )
    return answer(
        {
            "slots": [_view(slot) for slot in shown.slots],
            "warnings": list(shown.warnings),
        }
    )


@router.get("/v1/schedule/upcoming")
def upcoming(
    after: Annotated[str | None, Query(max_length=40)] = None,
    minutes: Annotated[int, Query(ge=1, le=1440)] = 60,
) -> Response[str]:
    present = now().replace(microsecond=0)
    start = max(instant_of(after, "after") or present, present)
    until = start + timedelta(minutes=minutes)
    coming = services().upcoming.upcoming(start, until, scope=scope(router))
    return answer(
        {
            "after": instant(start),
            "until": instant(until),
            "slots": [
                {
                    "at": instant(slot.at),
                    "task_id": slot.task_id,
                    "name": slot.name,
                    "held_back": slot.held_back,
                }
                for slot in coming.slots
            ],
            "load": [
                {"minute": instant(minute), "starts": starts}
                for minute, starts in coming.load
            ],
            "complete": coming.is_complete,
        }
    )


def _view(slot: Slot) -> dict[str, Any]:
    return {
        "at": instant(slot.at),
        "local": slot.local.isoformat(),
        "note": slot.note.value if slot.note else None,
        "excluded_by": slot.excluded_by,
    }
