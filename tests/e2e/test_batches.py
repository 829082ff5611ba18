"""Many due tasks in one tick: rows written in batches, on tables of their own."""

import os
from datetime import timedelta

import pytest

from cronhop.domain.ids import slot_run_id
from cronhop.domain.run import State
from cronhop.store import runs, tasks
from tests.crowd import FOLLOWING, NOW, SLOT, Crowd
from tests.world import Killed

DUE = 60  # tasks: three batches


@pytest.fixture
def crowd(stack):
    """Tables and a queue of their own, beside those of the stack."""
    before = dict(os.environ)
    yield Crowd(stack.endpoint_url)
    os.environ.clear()
    os.environ.update(before)


def test_all_of_them_are_started_once(crowd):
    """Each has its row, its message and its next slot; a second tick finds nothing."""
    list(slots := crowd.add_tasks(DUE))

    first, second = crowd.tick(), crowd.tick()

    states, cursors, sent = crowd.outcome(slots)
    assert len(first.started) == DUE
    assert second.started == first.failed == second.failed == []
    assert states == [State.PENDING] * DUE
    assert cursors == [FOLLOWING] * DUE
    assert sent == [1] * DUE


def test_a_row_that_is_there_is_left_as_it_is(crowd):
    """An earlier tick died before it sent; some of its runs have ended since."""
    task_ids = list(slots := crowd.add_tasks(DUE))
    crowd.queue.send = lambda messages: [one for one, _ in messages]
    assert len(crowd.tick().failed) == DUE
    ended = task_ids[::3]
    for task_id in ended:
        runs.end(slot_run_id(task_id, SLOT), state=State.SKIPPED, reason="x", now=NOW)
    crowd.restart()

    report = crowd.tick()

    states, cursors, sent = crowd.outcome(slots)
    assert len(report.started) == DUE - len(ended)
    assert cursors == [FOLLOWING] * DUE
    for task_id, state, times in zip(task_ids, states, sent, strict=True):
        assert (state is State.SKIPPED) == (task_id in ended)
        assert times == (task_id not in ended)


def test_a_task_that_changed_meanwhile_is_not_moved(crowd):
    """The user's new schedule has its own next slot."""
    task_ids = list(slots := crowd.add_tasks(DUE))
    changed = task_ids[5]
    deliver = crowd.queue.send

    def send(messages):
        tasks.TaskRow(task_id=changed).update(
            actions=[
                tasks.TaskRow.schedule_version.set(2),
                tasks.TaskRow.next_run.set(SLOT + timedelta(hours=1)),
            ]
        )
        return deliver(messages)

    crowd.queue.send = send
    report = crowd.tick()

    _, cursors, _ = crowd.outcome(slots)
    assert report.failed == []
    assert cursors[5] == SLOT + timedelta(hours=1)
    assert set(cursors[:5] + cursors[6:]) == {FOLLOWING}


def test_an_answer_that_is_lost_changes_nothing(crowd):
    """The client repeats the call, which meets its own rows."""
    for call in range(40):
        slots = crowd.add_tasks(30)
        crowd.deathtrap.set_lossy(call)
        report = crowd.tick()
        calls = crowd.deathtrap.calls
        crowd.deathtrap.set_lossy(None)

        states, cursors, _ = crowd.outcome(slots)
        assert sorted(report.started) == sorted(
            slot_run_id(task_id, SLOT) for task_id in slots
        )
        assert (set(states), set(cursors)) == ({State.PENDING}, {FOLLOWING})
        if calls <= call:
            break
    else:
        pytest.fail("a tick has more calls than were tried")
    assert call > 8


def test_a_tick_that_dies_anywhere_is_repeated(crowd):
    """Before a call takes effect, or after it: the next tick starts all the same."""
    for step in range(0, 80, 2):
        slots = crowd.add_tasks(30)
        crowd.deathtrap.set(step)
        died = False
        try:
            crowd.tick()
        except Killed:
            died = True
        crowd.deathtrap.set(None)
        crowd.restart()
        crowd.tick()

        states, cursors, sent = crowd.outcome(slots)
        assert (set(states), set(cursors)) == ({State.PENDING}, {FOLLOWING})
        assert min(sent) >= 1
        if not died:
            break
    else:
        pytest.fail("a tick has more steps than were tried")
    assert step > 16
