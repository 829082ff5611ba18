"""What people look for in lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.task import Task, TaskKind


class TaskStatus(StrEnum):
    """How a task is, as far as its schedule goes; the first that is so."""

    DELETED = "deleted"
    INVALID = "invalid"  #: parked: its schedule cannot be followed
    DISABLED = "disabled"
    PAUSED = "paused"
    ENABLED = "enabled"


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Which tasks: all that is given has to hold.

    | field       | meaning                                           |
    |-------------|---------------------------------------------------|
    | status      | `deleted` ones are found by this only             |
    | server_id   | names it, by id                                   |
    | tag         | has this tag, with this value if there is one     |
    | name        | its name begins so                                |
    | due_before  | its next slot is not later                        |
    """

    status: TaskStatus | None = None
    created_by: str | None = None
    server_id: str | None = None
    tag: tuple[str, str | None] | None = None
    kind: TaskKind | None = None
    name: str | None = None
    due_before: datetime | None = None

    def matches(self, task: Task, *, next_run: datetime | None, now: datetime) -> bool:
        """Return whether the task is one of them; `next_run` is its next slot."""
        definition = task.definition
        tag, value = self.tag or (None, None)
        return (
            self.status in {None, status_of(task, now)}
            and self.created_by in {None, task.created_by}
            and (
                self.server_id is None
                or self.server_id in definition.targets.server_ids
            )
            and (tag is None or tag in definition.tags)
            and value in {None, definition.tags.get(tag or "")}
            and self.kind in {None, definition.kind}
            and definition.name.startswith(self.name or "")
            and (
                self.due_before is None
                or (next_run is not None and next_run <= self.due_before)
            )
        )


def status_of(task: Task, now: datetime) -> TaskStatus:
    """Return how the task is just now."""
    if task.deleted_at:
        return TaskStatus.DELETED
    if task.invalid:
        return TaskStatus.INVALID
    if not task.definition.enabled:
        return TaskStatus.DISABLED
    if task.pause and not task.pause.is_over(now):
        return TaskStatus.PAUSED
    return TaskStatus.ENABLED


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs: all that is given has to hold.

    | field      | meaning                                                     |
    |------------|-------------------------------------------------------------|
    | server_id  | was on it                                                   |
    | created_by | who made it by hand, `scheduler` for those of slots         |
    """

    task_id: str | None = None
    server_id: str | None = None
    created_by: str | None = None
    states: frozenset[State] = frozenset()
    trigger: Trigger | None = None

    def matches(self, run: Run) -> bool:
        """Return whether the run is one of them, but for its servers."""
        return (
            self.task_id in {None, run.task_id}
            and self.created_by in {None, run.created_by}
            and (not self.states or run.state in self.states)
            and self.trigger in {None, run.trigger}
        )
