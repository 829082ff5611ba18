"""The freeze of the stack: one item of its own in the table of tasks."""

from __future__ import annotations

from cronhop.domain.hold import Hold
from cronhop.domain.task import Task
from cronhop.store.connection import read
from cronhop.store.tasks import TaskRow, task_of

_FREEZE = "freeze#"  # no task has such an id


def put_freeze(hold: Hold) -> None:
    """Let the stack be frozen so, instead of how it was before."""
    TaskRow(task_id=_FREEZE, pause=hold).save()


def freeze() -> Hold | None:
    """Return the freeze as it was put, None if it was lifted or never was.

    One that has ended by itself is still there: a slot of its time may come late.
    """
    row = read(TaskRow, _FREEZE)
    return row.pause if row else None


def task_and_freeze(task_id: str) -> tuple[Task | None, Hold | None]:
    """Return what `tasks.get` and `freeze` would, in one request."""
    found = TaskRow.batch_get([task_id, _FREEZE], consistent_read=True)
    rows = {row.task_id: row for row in found}
    row, frozen = rows.get(task_id), rows.get(_FREEZE)
    task = task_of(row) if row and not row.deleted_at else None
    return task, frozen.pause if frozen else None


def lift_freeze() -> None:
    """Ensure that the stack is not frozen."""
    TaskRow(task_id=_FREEZE).delete()
