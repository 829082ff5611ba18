"""The process may die between any two steps: one row, one start, one outcome."""

from datetime import timedelta

import pytest
from botocore.exceptions import ConnectionClosedError

from cronhop.domain.ids import slot_run_id
from cronhop.domain.run import State, Stream
from cronhop.ssh.connection import Connection
from cronhop.store import connection, tasks
from tests.world import Killed


@pytest.fixture
def marks(tmp_path):
    """A directory with a file for each run, a line in it for each start."""
    return tmp_path


WRITES = {"PutItem", "UpdateItem", "SendMessageBatch"}


def add_task(world, server, marks):
    """Put a task on record that is due once, in a minute from now."""
    slot = (world.clock() + timedelta(minutes=3)).replace(second=0, microsecond=0)
    task = world.add_task(
        server,
        command=f'echo x >> "{marks}/$CRONHOP_EXECUTION"; echo output; exit 3',
        cron=f"{slot.minute} {slot.hour} {slot.day} {slot.month} *",
    )
    assert task.next_run == slot
    world.clock.now = slot
    return task


def check(world, task, marks):
    """Assert that the slot has one row, ended as its one start did."""
    run_id = slot_run_id(task.task_id, task.next_run)
    run = world.settle(run_id)
    rows = [row for row in world.all_runs() if row.task_id == task.task_id]
    assert [row.run_id for row in rows] == [run_id]
    assert (run.state, run.reason) == (State.FAILED, "exit code 3")
    execution = world.only_execution(run)
    assert execution.exit_code == 3
    assert world.output(run, Stream.STDOUT).data == b"output\n"
    (file,) = marks.glob(f"{run_id}-*")
    assert file.read_text() == "x\n"
    # Whatever was left undone is taken up by a later tick.
    for _ in range(10):
        if world.only_execution(run).next_poll is None:
            break
        world.clock.move(minutes=1)
        world.tick()
        world.deliver()
    assert world.only_execution(run).next_poll is None
    world.deliver()
    assert tasks.get(task.task_id).next_run > task.next_run + timedelta(days=300)
    assert file.read_text() == "x\n"


def test_dispatcher_killed_anywhere(world, server, marks):
    """Kill it at each step of a tick, tick again: one row and one start."""
    deaths = 0
    while True:
        task = add_task(world, server, marks)
        world.deathtrap.set(deaths)
        try:
            world.tick()
        except Killed:
            deaths += 1
        else:
            break
        finally:
            world.deathtrap.set(None)
        world.restart()
        world.tick()
        check(world, task, marks)

    check(world, task, marks)
    # 3 indexes of 2 shards; read, intent, send, advance: before and after each.
    assert deaths >= 2 * (3 * 2 + 4)


def test_dispatcher_answers_lost(world, server, marks):
    """A write that took effect and is repeated by the client changes nothing."""
    lost = []

    def lose(event_name="", **kwargs):
        operation = event_name.rsplit(".", 1)[-1]
        if operation in WRITES and operation not in lost:
            lost.append(operation)
            raise ConnectionClosedError(endpoint_url="moto")

    task = add_task(world, server, marks)
    for client in (world.queue._client, connection._state["connection"].client):
        # Last: moto has applied it by then. The client tries again by itself.
        world.listen(client, lose)
    world.tick()

    assert sorted(lost) == ["PutItem", "SendMessageBatch", "UpdateItem"]
    check(world, task, marks)


def test_executor_killed_anywhere(world, server, marks, monkeypatch):
    """Kill it at each step of a run: the command ran once, its outcome is exact."""
    real = Connection.run

    def run(self, *args, **kwargs):
        world.deathtrap.step()
        answer = real(self, *args, **kwargs)
        world.deathtrap.step()
        return answer

    monkeypatch.setattr(Connection, "run", run)
    deaths = 0
    while True:
        task = add_task(world, server, marks)
        world.tick()
        run_id = slot_run_id(task.task_id, task.next_run)
        (message,) = (one for one, _ in world.messages() if one.run_id == run_id)
        world.deathtrap.set(deaths)
        try:
            world.handle(message)
        except Killed:
            deaths += 1
        else:
            break
        finally:
            world.deathtrap.set(None)
        world.restart()
        world.handle(message)  # the queue brings it back
        check(world, task, marks)

    check(world, task, marks)
    # Run, task, hold, begin, claim, server, credential, secret, start, output,
    # outcome, end, release, clean, settle; alarm: mine, raised, told.
    assert deaths >= 2 * 18


def test_executor_answers_lost(world, server, marks):
    """Lose the answer of each call of a run: it ends at once, and somebody is told."""
    call = late = 0
    while True:
        task = add_task(world, server, marks)
        world.tick()
        run_id = slot_run_id(task.task_id, task.next_run)
        (message,) = (one for one, _ in world.messages() if one.run_id == run_id)
        world.restart()
        world.deathtrap.set_lossy(call)
        run = world.handle(message)
        is_through = world.deathtrap.calls <= call
        world.deathtrap.set_lossy(None)

        assert (run.state, run.reason) == (State.FAILED, "exit code 3")
        if not world.alarms():
            late += 1
            world.clock.move(minutes=3)
            world.tick()
            world.deliver()
            assert world.alarms()
        check(world, task, marks)
        if is_through:
            break
        call += 1

    assert call >= 16  # as above, without the two on the host
    assert late <= 1  # who does not hear that the alarm is his leaves it to the tick
