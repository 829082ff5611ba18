"""Changes of the ledger, as the streams of its tables tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from cronhop.domain.run import Execution, Run, State
from cronhop.store import executions, runs
from cronhop.store.executions import ExecutionRow
from cronhop.store.runs import RunRow

R = TypeVar("R", Run, Execution)


@dataclass(frozen=True, kw_only=True)
class Change(Generic[R]):
    """A row that was put or changed.

    | field   | meaning                                        |
    |---------|------------------------------------------------|
    | before  | as it was, None: there was none                |
    | after   | as it is                                       |
    | seen_at | when it changed, to the second                 |
    """

    before: R | None
    after: R
    seen_at: datetime

    @property
    def is_of_state(self) -> bool:
        """Whether it came into another state, or another attempt into one."""
        return self.before is None or _stage(self.before) != _stage(self.after)

    @property
    def is_end(self) -> bool:
        """Whether it came into a state that nothing follows."""
        return self.is_of_state and self.after.state.is_terminal


def read(record: Mapping[str, Any]) -> Change[Run] | Change[Execution] | None:
    """Return the change that a stream's record tells, None of what is not in the ledger.

    Beside its rows the tables hold items that belong to one of them, and rows are
    removed when their time is over.
    """
    stream = record["dynamodb"]
    image = stream.get("NewImage")
    if image is None or "state" not in image:
        return None
    old = stream.get("OldImage")
    seen_at = datetime.fromtimestamp(stream["ApproximateCreationDateTime"], UTC)
    if "server_id" not in stream["Keys"]:
        return Change(
            before=_run(old) if old else None, after=_run(image), seen_at=seen_at
        )
    if "#" in stream["Keys"]["run_id"]["S"]:
        return None  # an attempt that another one followed
    return Change(
        before=_execution(old) if old else None,
        after=_execution(image),
        seen_at=seen_at,
    )


def _run(image: dict[str, Any]) -> Run:
    return runs.run_of(RunRow.from_raw_data(image))


def _execution(image: dict[str, Any]) -> Execution:
    return executions.execution_of(ExecutionRow.from_raw_data(image))


def _stage(row: Run | Execution) -> tuple[State, int]:
    return row.state, row.attempt if isinstance(row, Execution) else 0
