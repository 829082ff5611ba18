"""What the end of a run is counted for, and what the counters say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from cronhop.domain.histogram import bucket_of, milliseconds, quantile
from cronhop.domain.run import ALARMING_STATES, Execution, Run, State

LATE_AFTER = timedelta(seconds=30)  # its due instant; a start that begins later is late

# What says whether a task works. Somebody's wish or a rule of the user's does not.
JUDGED = ALARMING_STATES | {State.COMPLETED}
# Ends of the command itself, whose duration says something.
_TIMED = frozenset({State.COMPLETED, State.FAILED, State.TIMEOUT})

USUAL_RUNS = 10  # whose durations say what is usual
_MOST = 0.95  # of them

_LATE = "late"
_BUSY = "busy_ms"
_BUCKET = "d"  # and the bucket's number


class Whose(StrEnum):
    """What has counters of its own."""

    ALL = "all"  #: the runs of all tasks
    TASK = "task"  #: the runs of one
    SERVER = "server"  #: the executions on one


Subject = tuple[Whose, str]  # and the id of the task or the server
ALL: Subject = (Whose.ALL, "")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What one end adds to the counters of its day.

    | field      | meaning                                                       |
    |------------|---------------------------------------------------------------|
    | run_id     | the run that ended, or one of whose executions did            |
    | server_id  | of that execution; None: the run                              |
    | at         | when it ended, by our clock                                   |
    | seen_at    | when its row changed                                          |
    | adds       | what is added to which counter of whom                        |
    | task_id    | the task that is judged by this end; None: none is            |
    | is_success | whether it was completed                                      |
    """

    run_id: str
    server_id: str | None
    at: datetime
    seen_at: datetime
    adds: Mapping[Subject, Mapping[str, int]]
    task_id: str | None = None
    is_success: bool = False

    @property
    def end_id(self) -> tuple[str, str | None]:
        """What is counted once, however often it is told."""
        return self.run_id, self.server_id

    @property
    def day(self) -> date:
        """The day (UTC) that it is counted for."""
        return self.at.date()


def of_run(run: Run, execution: Execution | None, *, seen_at: datetime) -> Tally:
    """Return what the end of a run is counted for.

    `execution` is that of a run on one server, None if it has none: it is counted
    with its run, and its command's duration is the run's. A run on several servers
    lasts from its gate to its last end.
    """
    task = Counter({run.state.value: 1})
    if run.started_at and run.started_at - run.due > LATE_AFTER:
        task[_LATE] += 1
    adds: dict[Subject, Mapping[str, int]] = {ALL: Counter(task)}
    duration = _duration(execution or run)
    if duration is not None and run.state in _TIMED:
        task[f"{_BUCKET}{bucket_of(duration)}"] += 1
    adds[Whose.TASK, run.task_id] = task
    if execution:
        adds[Whose.SERVER, execution.server_id] = _of_server(execution)
    return Tally(
        run_id=run.run_id,
        server_id=None,
        at=run.finished_at or seen_at,
        seen_at=seen_at,
        adds=adds,
        task_id=run.task_id if run.state in JUDGED else None,
        is_success=run.state is State.COMPLETED,
    )


def of_execution(execution: Execution, *, seen_at: datetime) -> Tally:
    """Return what the end of one of a run's several executions is counted for."""
    return Tally(
        run_id=execution.run_id,
        server_id=execution.server_id,
        at=seen_at,
        seen_at=seen_at,
        adds={(Whose.SERVER, execution.server_id): _of_server(execution)},
    )


def total(tallies: Iterable[Tally]) -> Mapping[tuple[Subject, date], Mapping[str, int]]:
    """Return what all of them together add, by whom and day."""
    added: dict[tuple[Subject, date], Counter[str]] = {}
    for tally in tallies:
        for subject, adds in tally.adds.items():
            added.setdefault((subject, tally.day), Counter()).update(adds)
    return added


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counters of one day, or of several together.

    | field        | meaning                                                     |
    |--------------|-------------------------------------------------------------|
    | counters     | each by its name                                            |
    | last_success | when the last run was completed of which they tell          |
    """

    counters: Mapping[str, int]
    last_success: datetime | None = None

    @property
    def states(self) -> Mapping[State, int]:
        """How many ended in each state, of those that there are."""
        return {
            state: self.counters[state.value]
            for state in State
            if self.counters.get(state.value)
        }

    @property
    def success_rate(self) -> float | None:
        """The share of those completed among those that say whether it works.

        What was cancelled or skipped says nothing. None if there are none.
        """
        judged = sum(self.states.get(state, 0) for state in JUDGED)
        return self.states.get(State.COMPLETED, 0) / judged if judged else None

    @property
    def late(self) -> int:
        """How many began later than `LATE_AFTER` behind their due instant."""
        return self.counters.get(_LATE, 0)

    @property
    def busy(self) -> timedelta:
        """How long commands ran, all together."""
        return timedelta(milliseconds=self.counters.get(_BUSY, 0))

    @property
    def usual(self) -> timedelta | None:
        """How long a run takes at most, but for one in twenty; None of too few runs."""
        timed = sum(self.states.get(state, 0) for state in _TIMED)
        return self.duration(_MOST) if timed >= USUAL_RUNS else None

    def duration(self, share: float) -> timedelta | None:
        """Return the duration that this share of runs did not exceed, see `quantile`."""
        found = {
            int(name.removeprefix(_BUCKET)): count
            for name, count in self.counters.items()
            if name.startswith(_BUCKET) and name[1:].isdigit()
        }
        return quantile(found, share)


def together(many: Iterable[Counts]) -> Counts:
    """Return the sum of counters, with the latest success of all."""
    summed: Counter[str] = Counter()
    successes = []
    for one in many:
        summed.update(one.counters)
        if one.last_success:
            successes.append(one.last_success)
    return Counts(counters=summed, last_success=max(successes, default=None))


def _of_server(execution: Execution) -> Mapping[str, int]:
    duration = _duration(execution)
    busy = {} if duration is None else {_BUSY: milliseconds(duration)}
    return {execution.state.value: 1, **busy}


def _duration(timed: Run | Execution) -> timedelta | None:
    if timed.started_at is None or timed.finished_at is None:
        return None
    return timed.finished_at - timed.started_at
