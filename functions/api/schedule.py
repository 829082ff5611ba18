"""/v1/schedule: what a schedule will do, before it does it."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from cronhop.services.preview import Slot

from .schedule_body import PreviewBody
from .views import answer, instant
from .wiring import now, services

router = Router()


@router.post("/v1/schedule/preview")
def preview(body: Annotated[PreviewBody, Body()]) -> Response[str]:
    shown = services().preview.preview(
        body.schedule.schedule(),
        after=body.after or now(),
        count=body.count,
        task_id=body.task_id,
    )
    return answer(
        {
            "slots": [_view(slot) for slot in shown.slots],
            "warnings": list(shown.warnings),
        }
    )


def _view(slot: Slot) -> dict[str, Any]:
    return {
        "at": instant(slot.at),
        "local": slot.local.isoformat(),
        "note": slot.note.value if slot.note else None,
        "excluded_by": slot.excluded_by,
    }
