"""The freeze of the stack: one item of its own in the table of tasks."""

from __future__ import annotations

from cronhop.domain.hold import Hold
from cronhop.store.connection import read
from cronhop.store.tasks import TaskRow

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


def lift_freeze() -> None:
    """Ensure that the stack is not frozen."""
    TaskRow(task_id=_FREEZE).delete()
