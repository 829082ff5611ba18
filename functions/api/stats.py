"""/v1/stats: what the fleet did, and what a task did, in some days."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Query

from cronhop.domain.instant import instant
from cronhop.domain.tally import Counts, together
from cronhop.errors import Invalid
from cronhop.services.statistics import Busy, NeverSuccessful, Window

from .views import answer
from .wiring import now, services

FIRST_YEAR = 1970

From = Annotated[str | None, Query(alias="from", max_length=40)]
To = Annotated[str | None, Query(alias="to", max_length=40)]

router = Router()


@router.get("/v1/stats")
def overview(first: From = None, last: To = None) -> Response[str]:
    window = _window(first, last)
    found = services().statistics.overview(window)
    return answer(
        {
            **_head(window),
            **_runs(together(found.days.values())),
            "days": [
                {"day": day.isoformat(), **_runs(counts)}
                for day, counts in found.days.items()
            ],
            "busiest_servers": {
                "since": found.busiest_since.isoformat(),
                "items": [_busy(one) for one in found.busiest],
            },
            "never_successful": {
                "items": [_never(one) for one in found.never_successful],
                "complete": found.is_complete,
            },
        }
    )


@router.get("/v1/tasks/<task_id>/stats")
def of_task(task_id: str, first: From = None, last: To = None) -> Response[str]:
    window = _window(first, last)
    task = services().tasks.get(task_id)
    found = services().statistics.of_task(task.task_id, window)
    return answer(
        {
            "task_id": task.task_id,
            **_head(window),
            **_timed(together(found.days.values())),
            "last_success": instant(found.last_success),
            "days": [
                {"day": day.isoformat(), **_timed(counts)}
                for day, counts in found.days.items()
            ],
        }
    )


def _window(first: str | None, last: str | None) -> Window:
    return services().statistics.window(
        _day(first, "from"), _day(last, "to"), today=now().date()
    )


def _day(text: str | None, parameter: str) -> date | None:
    """Return the day that a query parameter says. Raises Invalid."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    # Python reads other forms of ISO 8601 as well.
    if day.isoformat() != text or day.year < FIRST_YEAR:
        raise Invalid(parameter, "not a day, such as 2026-06-01")
    return day


def _head(window: Window) -> dict[str, Any]:
    return {"from": window.first.isoformat(), "to": window.last.isoformat()}


def _runs(counts: Counts) -> dict[str, Any]:
    return {
        "runs": sum(counts.states.values()),
        "states": _states(counts),
        "success_rate": counts.success_rate,
        "late": counts.late,
    }


def _timed(counts: Counts) -> dict[str, Any]:
    return {
        **_runs(counts),
        "p50_s": _seconds(counts.duration(0.5)),
        "p95_s": _seconds(counts.duration(0.95)),
    }


def _busy(server: Busy) -> dict[str, Any]:
    return {
        "server_id": server.server_id,
        "name": server.name,
        "busy_s": _seconds(server.counts.busy),
        "executions": sum(server.counts.states.values()),
        "states": _states(server.counts),
    }


def _never(task: NeverSuccessful) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "name": task.name,
        "first_end": instant(task.first_end),
    }


def _states(counts: Counts) -> dict[str, int]:
    return {state.value: count for state, count in counts.states.items()}


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 3)
