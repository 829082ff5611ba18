"""The dispatcher's and the executor's entry points, as Lambda calls them."""

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from cronhop.domain.ids import shard_of
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.run import State
from cronhop.errors import Invalid
from cronhop.services.execute import Executor
from cronhop.store import executions, runs, servers, tasks
from dispatcher import handler as dispatcher
from executor import handler as executor


def context(left_s=60):
    return SimpleNamespace(
        aws_request_id="1", get_remaining_time_in_millis=lambda: left_s * 1000
    )


@pytest.fixture(autouse=True)
def fresh(world):
    """Each test has environments of its own, on the world's tables."""
    world.clock.now = datetime.now(UTC)
    dispatcher._dispatcher.cache_clear()
    executor._executor.cache_clear()
    yield
    dispatcher._dispatcher.cache_clear()
    executor._executor.cache_clear()


def records(*bodies):
    return {
        "Records": [
            {"messageId": str(number), "body": body, "eventSource": "aws:sqs"}
            for number, body in enumerate(bodies)
        ]
    }


def run_now(world, server, command="true"):
    task = world.add_task(server, command=command)
    run = world.tasks.run(task.task_id, by="tester", now=world.clock())
    world.messages()
    return run


def start(run):
    return Message(kind=MessageKind.START, run_id=run.run_id, group="x").to_json()


def test_batch_runs_side_by_side_and_fails_in_part(world, server, tmp_path):
    """Ten messages wait together, and a poison one fails alone."""
    # Each command waits for all others: one after the other they would time out.
    command = f"touch {tmp_path}/$$; until [ $(ls {tmp_path} | wc -l) -ge 4 ]; do sleep 0.05; done"
    batch = [run_now(world, server, command) for _ in range(4)]
    bodies = [start(run) for run in batch]

    answer = executor.handler(records(*bodies, "poison", '{"kind": 1}'), context())

    assert answer == {
        "batchItemFailures": [{"itemIdentifier": "4"}, {"itemIdentifier": "5"}]
    }
    assert {runs.get(run.run_id).state for run in batch} == {State.COMPLETED}


def test_check_comes_beside_runs(world, server):
    """A batch may hold both, and a check that finds fault is no failed message."""
    broken = world.add_server(port=1, host="127.0.0.1")
    for one in (server, broken):
        world.servers.check(one.server_id, now=world.clock())
    probes = [probe.to_json() for probe, _ in world.messages()]
    run = run_now(world, server)

    answer = executor.handler(records(*probes, start(run)), context())

    assert answer == {"batchItemFailures": []}
    assert runs.get(run.run_id).state is State.COMPLETED
    assert servers.get(server.server_id).last_check.ok
    assert not servers.get(broken.server_id).last_check.ok


def test_thread_that_will_not_end_ends_the_process(world, server, monkeypatch):
    """A thread must not be frozen with the environment: the process goes."""
    release = threading.Event()
    ended = []

    def leave(code):
        ended.append(code)
        release.set()
        raise SystemExit(code)

    monkeypatch.setattr(Executor, "handle", lambda *args: release.wait(30))
    monkeypatch.setattr(os, "_exit", leave)

    with pytest.raises(SystemExit):
        executor.handler(records(start(run_now(world, server))), context(left_s=3.2))

    assert ended == [1]


def test_direct_invocation_answers_with_the_run(world, server):
    """A run can be started by its id, and asked for again."""
    run = run_now(world, server, "exit 5")

    for _ in range(2):
        answer = executor.handler({"run_id": run.run_id}, context())
        assert answer == {
            "run_id": run.run_id,
            "state": "failed",
            "reason": "exit code 5",
        }
    both = {"run_id": run.run_id, "server_id": server.server_id}
    assert executor.handler(both, context())["state"] == "failed"


@pytest.mark.parametrize("event", [{}, {"run_id": "x"}, {"run_id": 3}])
def test_direct_invocation_without_a_run_is_refused(world, event):
    """What names no run is an error."""
    with pytest.raises(Invalid):
        executor.handler(event, context())


def test_tick_and_dry_run(world, server):
    """A dry run lists what is due and starts nothing; a tick sends it."""
    task = world.add_task(server, cron="0 4 1 1 *")
    at = task.next_run.isoformat()
    row = {"task_id": task.task_id, "slot": at}

    assert dispatcher.handler({"dry_run": True}, context())["due"] == []
    dry = dispatcher.handler({"dry_run": True, "now": at}, context())
    assert dry["due"] == [row]
    assert json.dumps(dry)
    assert world.messages() == []
    assert world.all_runs() == []
    ticked = dispatcher.handler({"source": "aws.events", "time": at}, context())
    assert ticked["started"] == []  # the event's time is not believed
    assert json.dumps(ticked)


def test_a_tick_is_about_the_shards_it_is_told(world, server):
    """As the dispatcher calls itself where there is much to do."""
    slot = world.clock.now.replace(second=0, microsecond=0)
    made = [world.add_task(server, cron="* * * * *").task_id for _ in range(8)]
    for task_id in made:
        # Its first slots were sent when it was made.
        tasks.TaskRow(task_id=task_id).update([tasks.TaskRow.next_run.set(slot)])

    report = dispatcher.handler({"shards": [0]}, context())

    moved = [one for one in made if tasks.get(one).next_run != slot]
    assert moved == [one for one in made if shard_of(one, 2) == 0] != []
    assert report["failed"] == []


@pytest.mark.parametrize("shards", ["0", [2], [-1], [True], {"0": 1}, ["0"]])
def test_odd_shards_are_refused(world, shards):
    """They are numbers of shards that there are."""
    with pytest.raises(Invalid, match="shards"):
        dispatcher.handler({"shards": shards}, context())


@pytest.mark.parametrize(
    "event", [{"now": "2026-01-01T00:00:00Z"}, {"dry_run": True, "now": "soon"}]
)
def test_odd_now_is_refused(world, event):
    """`now` is for a dry run, and a time."""
    with pytest.raises(Invalid, match="now"):
        dispatcher.handler(event, context())


def test_dead_letter_goes_back_to_the_tick(world, server):
    """A message that failed for ever writes no outcome: the tick looks again."""
    run = run_now(world, server)
    later = world.clock() + timedelta(hours=1)
    runs.move_check(run.run_id, old=runs.get(run.run_id).check_at, new=later)

    answer = dispatcher.handler(records(start(run), "garbage"), context())

    assert answer == {"batchItemFailures": []}
    revived = runs.get(run.run_id)
    assert revived.state is State.PENDING
    assert revived.check_at <= datetime.now(UTC)
    assert world.settle(run.run_id).state is State.COMPLETED


def test_dead_poll_goes_back_to_the_tick(world, server):
    """The same for an execution."""
    run = run_now(world, server)
    runs.begin(
        run.run_id, task_version=1, targets=(server.server_id,), now=world.clock()
    )
    executions.claim(
        run.run_id,
        server.server_id,
        owner="dead",
        now=world.clock(),
        lease_until=world.clock() + timedelta(minutes=30),
    )
    poll = Message(
        kind=MessageKind.POLL,
        run_id=run.run_id,
        server_id=server.server_id,
        group="x",
    )

    dispatcher.handler(records(poll.to_json()), context())

    execution = executions.get(run.run_id, server.server_id)
    assert execution.next_poll <= datetime.now(UTC)
    assert execution.state is State.PENDING
