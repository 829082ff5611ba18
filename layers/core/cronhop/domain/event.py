"""Events: what is told to the outside when a run or an execution changes its state.

Their form is an interface: docs/reference/events.md. A field is never renamed or
dropped within a version, others may be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cronhop.domain.instant import instant
from cronhop.domain.run import Execution, Run, State

VERSION = 1


class EventKind(StrEnum):
    """What an event is about, as rules of a bus name it."""

    RUN = "Run State Change"
    EXECUTION = "Execution State Change"


@dataclass(frozen=True, kw_only=True)
class Event:
    """A change of state.

    | field    | meaning                                                     |
    |----------|-------------------------------------------------------------|
    | event_id | of the change: who gets it twice knows it by this           |
    | at       | when it changed, as far as the row says, else when the      |
    |          | change was seen                                             |
    | detail   | the rest, as JSON knows it                                  |
    """

    kind: EventKind
    event_id: str
    at: datetime
    detail: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the event as it is told."""
        return {
            "version": VERSION,
            "event_id": self.event_id,
            "at": instant(self.at),
            **self.detail,
        }


def of_run(
    before: Run | None, run: Run, *, task_name: str | None, seen_at: datetime
) -> Event:
    """Return the event of a run that came into its state.

    `before` is None of a new one, `task_name` of a task that is gone.
    """
    return Event(
        kind=EventKind.RUN,
        event_id=f"{run.run_id}#{run.state.value}",
        at=_at(run.state, run.created_at, run.started_at, run.finished_at) or seen_at,
        detail={
            "run_id": run.run_id,
            "task_id": run.task_id,
            "task_name": task_name,
            "task_version": run.task_version,
            "trigger": run.trigger.value,
            "environment": run.environment,
            "retry_of": run.retry_of,
            "slot": instant(run.slot),
            "state": run.state.value,
            "previous_state": before.state.value if before else None,
            "reason": run.reason,
            "created_by": run.created_by,
            "created_at": instant(run.created_at),
            "started_at": instant(run.started_at),
            "finished_at": instant(run.finished_at),
            "late_s": run.late_s,
            "target_count": run.target_count,
            "missed": {
                "from": instant(run.slot),
                "to": instant(run.missed_to),
                "at_least": run.missed_count,
            }
            if run.missed_to
            else None,
        },
    )


def of_execution(
    before: Execution | None, execution: Execution, *, seen_at: datetime
) -> Event:
    """Return the event of an execution that came into its state, or a next attempt."""
    return Event(
        kind=EventKind.EXECUTION,
        event_id=f"{execution.key}#{execution.state.value}",
        at=_at(execution.state, None, execution.started_at, execution.finished_at)
        or seen_at,
        detail={
            "run_id": execution.run_id,
            "server_id": execution.server_id,
            "attempt": execution.attempt,
            "state": execution.state.value,
            "previous_state": before.state.value if before else None,
            "reason": execution.reason,
            "exit_code": execution.exit_code,
            "started_at": instant(execution.started_at),
            "finished_at": instant(execution.finished_at),
        },
    )


def _at(
    state: State,
    created_at: datetime | None,
    started_at: datetime | None,
    finished_at: datetime | None,
) -> datetime | None:
    """Return when a row came into its state."""
    if state is State.PENDING:
        return created_at
    return started_at if state is State.RUNNING else finished_at
