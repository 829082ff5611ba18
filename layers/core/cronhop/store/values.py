"""The values that somebody gave a run for its task's parameters.

An item of its own beside the run's row, `<run id>#parameters`, which stays small.
It is put before the row and never changed: who finds the row finds the values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from cronhop.domain.parameter import Value
from cronhop.domain.run import Run
from cronhop.store.runs import RunRow, item_ttl


def give(
    run_id: str,
    values: Mapping[str, Value],
    *,
    secrets: Collection[str] = (),
    now: datetime,
) -> None:
    """Put on record which values a run is to have, before the run itself.

    `secrets` are those of them that name credentials: whoever gave them may do so.
    """
    _row(run_id).update(
        actions=[
            RunRow.parameters.set(dict(values)),
            RunRow.secrets.set(sorted(secrets)),
            RunRow.ttl.set(item_ttl(now)),
        ]
    )


def of_run(run: Run) -> Mapping[str, Value]:
    """Return the values that the run was given."""
    if not run.has_parameters:
        return {}
    row = _row(run.run_id)
    row.refresh(consistent_read=True)
    values: Mapping[str, Value] = row.parameters
    return values


def secrets_of(run: Run) -> frozenset[str]:
    """Return which of the values that the run was given name credentials."""
    if not run.has_parameters:
        return frozenset()
    row = _row(run.run_id)
    row.refresh(consistent_read=True)
    return frozenset(row.secrets or ())


def _row(run_id: str) -> RunRow:
    return RunRow(run_id=f"{run_id}#parameters")
