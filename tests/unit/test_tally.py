"""What an end is counted for."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from cronhop.domain.run import Execution, Run, State, Trigger
from cronhop.domain.tally import (
    ALL,
    LATE_AFTER,
    Counts,
    Whose,
    of_execution,
    of_run,
    together,
    total,
)

SLOT = datetime(2026, 6, 1, 23, 59, 30, tzinfo=UTC)
SEEN = datetime(2026, 6, 2, 0, 5, tzinfo=UTC)
RUN = Run(
    run_id="run",
    task_id="task",
    trigger=Trigger.SCHEDULE,
    slot=SLOT,
    state=State.COMPLETED,
    reason=None,
    created_by="scheduler",
    created_at=SLOT - timedelta(seconds=90),
    schedule_version=1,
    targets=("server",),
    started_at=SLOT,
    finished_at=SLOT + timedelta(minutes=5),
)
EXECUTION = Execution(
    run_id="run",
    server_id="server",
    state=State.COMPLETED,
    reason=None,
    attempt=1,
    owner="me",
    lease_until=SLOT,
    next_poll=None,
    first_visit="me",
    polls=0,
    started_at=SLOT,
    finished_at=SLOT + timedelta(milliseconds=1024),
)
TASK = (Whose.TASK, "task")
SERVER = (Whose.SERVER, "server")


def test_a_run_on_one_server_counts_for_all_of_them():
    """With the duration of its command, on the day (UTC) that it ended."""
    tally = of_run(RUN, EXECUTION, seen_at=SEEN)

    assert tally.day == date(2026, 6, 2)
    assert tally.adds == {
        ALL: {"completed": 1},
        TASK: {"completed": 1, "d80": 1},
        SERVER: {"completed": 1, "busy_ms": 1024},
    }
    assert (tally.task_id, tally.is_success) == ("task", True)


def test_a_run_on_several_servers_lasts_to_its_last_end():
    """What it did on each of them is told by their own ends."""
    tally = of_run(replace(RUN, targets=(), fleet="fleet"), None, seen_at=SEEN)

    assert tally.adds[TASK] == {"completed": 1, "d146": 1}
    assert set(tally.adds) == {ALL, TASK}
    assert of_execution(EXECUTION, seen_at=SEEN).adds == {
        SERVER: {"completed": 1, "busy_ms": 1024}
    }


@pytest.mark.parametrize(
    ("behind", "late"), [(LATE_AFTER, 0), (LATE_AFTER + timedelta(milliseconds=1), 1)]
)
def test_a_start_is_late_after_thirty_seconds(behind, late):
    """Behind the slot; a run that never began is not late."""
    began = replace(RUN, started_at=SLOT + behind)

    (counts,) = (
        Counts(counters=adds)
        for (subject, _), adds in total([of_run(began, None, seen_at=SEEN)]).items()
        if subject == ALL
    )
    assert counts.late == late
    never = of_run(replace(RUN, started_at=None), None, seen_at=SEEN)
    assert never.adds[ALL] == {"completed": 1}


@pytest.mark.parametrize("state", [state for state in State if state.is_terminal])
def test_what_says_whether_a_task_works(state):
    """Somebody's wish and a rule of the user's do not."""
    tally = of_run(replace(RUN, state=state), None, seen_at=SEEN)
    rate = Counts(counters=tally.adds[TASK]).success_rate

    if state in {State.CANCELLED, State.SKIPPED}:
        assert (tally.task_id, rate) == (None, None)
    else:
        assert tally.task_id == "task"
        assert rate == (1 if state is State.COMPLETED else 0)


def test_the_duration_of_what_was_not_ended_by_itself_says_nothing():
    """Neither of a cancelled command nor of a lost one."""
    for state in (State.CANCELLED, State.LOST):
        cut = replace(EXECUTION, state=state)
        tally = of_run(replace(RUN, state=state), cut, seen_at=SEEN)

        assert Counts(counters=tally.adds[TASK]).duration(0.5) is None
        assert tally.adds[SERVER]["busy_ms"] == 1024


def test_days_add_up():
    """Their rate is that of all runs together, their success the last one."""
    days = [
        Counts(counters={"completed": 1, "late": 1}, last_success=SLOT),
        Counts(counters={"failed": 2, "skipped": 5}),
        Counts(counters={"completed": 1}, last_success=SEEN),
    ]

    both = together(days)

    assert both.success_rate == 0.5
    assert both.states == {State.COMPLETED: 2, State.FAILED: 2, State.SKIPPED: 5}
    assert (both.late, both.last_success) == (1, SEEN)
    assert together([]).success_rate is None
