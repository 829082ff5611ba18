"""Places on a server: never more commands at once, nobody overtaken, none leaked."""

from dataclasses import fields, replace

import pytest

from cronhop.domain.message import MessageKind
from cronhop.domain.retry import Retry
from cronhop.domain.run import State
from cronhop.domain.server import ServerDefinition
from cronhop.domain.task import Overlap
from cronhop.services import commands
from cronhop.store import places, runs, servers


@pytest.fixture
def server(world, sshd):
    return world.add_server(sshd, max_concurrency=1)


def waiting(gate):
    return f"until [ -e {gate} ]; do sleep 0.02; done"


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def present(world, server):
    return servers.get(server.server_id)


def test_full_server_lets_others_wait(world, server, gate, impatient):
    """The second run waits and says why; it runs when the first has ended."""
    first = run_now(world, world.add_task(server, command=waiting(gate)))
    world.deliver()
    second = run_now(world, world.add_task(server))
    world.deliver()

    assert runs.get(second.run_id).reason == "server busy"
    assert world.only_execution(second).state is State.PENDING
    assert world.only_execution(second).first_visit is None
    assert present(world, server).active == {f"{first.run_id}#1"}
    gate.touch()
    assert world.settle(first.run_id).state is State.COMPLETED
    assert world.settle(second.run_id).state is State.COMPLETED
    assert not present(world, server).active
    assert not present(world, server).waiting


def test_who_frees_a_place_calls_the_oldest_waiter(
    world, server, gate, impatient, monkeypatch
):
    """In the order of their runs, without waiting for a tick."""
    first = run_now(world, world.add_task(server, command=waiting(gate)))
    world.deliver()
    waiters = []
    for _ in range(3):
        world.clock.move(seconds=1)
        waiters.append(run_now(world, world.add_task(server)))
    world.deliver([message for message, _ in reversed(world.messages())])
    assert present(world, server).waiting == {run.run_id for run in waiters}
    gate.touch()
    monkeypatch.setattr(commands, "ATTACH_S", 5)
    ended = []
    world.settle(first.run_id)
    for _ in range(10):
        for message, _ in world.messages():
            assert message.kind is not MessageKind.CHECK
            world.handle(message)
            ended += [
                run
                for run in waiters
                if run not in ended and runs.get(run.run_id).state.is_terminal
            ]

    assert ended == waiters


def test_newcomer_does_not_overtake(world, server, gate, impatient):
    """A place that is free belongs to who has waited longest."""
    first = run_now(world, world.add_task(server, command=waiting(gate)))
    world.deliver()
    world.clock.move(seconds=1)
    second = run_now(world, world.add_task(server))
    world.deliver()
    gate.touch()
    world.settle(first.run_id)
    calls = [message for message, _ in world.messages()]
    world.clock.move(seconds=1)
    third = run_now(world, world.add_task(server))
    world.deliver()
    assert runs.get(third.run_id).reason == "server busy"

    world.deliver([call for call in calls if call.run_id == second.run_id])
    assert runs.get(second.run_id).state in {State.RUNNING, State.COMPLETED}
    assert world.settle(second.run_id).state is State.COMPLETED
    assert world.settle(third.run_id).state is State.COMPLETED


def test_server_that_stays_full_is_missed(world, server, gate, impatient):
    """Its start deadline ends a run that never found a place."""
    task = world.add_task(server, command=waiting(gate), timeout_s=86400)
    run_now(world, task)
    world.deliver()
    second = run_now(world, world.add_task(server, start_deadline_s=300))

    ended = world.settle(second.run_id)

    assert ended.state is State.MISSED
    assert ended.reason == "server busy; its start deadline is over"
    assert not present(world, server).waiting
    gate.touch()


def test_place_of_the_dead_is_found_again(world, server):
    """An element without a live execution holds nobody up."""
    places.take(server.server_id, "01J00000000000000000000000#1", limit=1, waiter="x")
    places.wait(server.server_id, "01J00000000000000000000001", limit=9)

    run = run_now(world, world.add_task(server))
    world.deliver()

    assert runs.get(run.run_id).state is State.COMPLETED
    assert not present(world, server).active


def test_limit_of_two_runs_two(world, sshd, gate, impatient):
    """As many as the limit, side by side."""
    server = world.add_server(sshd, max_concurrency=2)
    task = world.add_task(server, command=waiting(gate), overlap=Overlap.ALLOW)
    three = [run_now(world, task) for _ in range(3)]
    world.deliver()

    states = [world.only_execution(run).state for run in three]
    assert sorted(states) == [State.PENDING, State.RUNNING, State.RUNNING]
    gate.touch()
    for run in three:
        assert world.settle(run.run_id).state is State.COMPLETED
    assert not present(world, server).active


def test_place_is_free_between_attempts(world, server, tmp_path):
    """A command that waits for its next attempt keeps nobody off the server."""
    task = world.add_task(
        server, command="exit 1", retry=Retry(max_attempts=2, interval_s=600)
    )
    first = run_now(world, task)
    world.deliver()
    assert not present(world, server).active
    second = run_now(world, world.add_task(server))
    world.deliver()

    assert runs.get(second.run_id).state is State.COMPLETED
    assert world.settle(first.run_id).state is State.FAILED
    assert not present(world, server).active


def test_limit_that_is_lifted_leaves_nothing(world, server, gate, impatient):
    """Places that were taken under a limit are freed without it."""
    first = run_now(world, world.add_task(server, command=waiting(gate)))
    world.deliver()
    names = [one.name for one in fields(ServerDefinition)]
    definition = ServerDefinition(
        **{name: vars(present(world, server))[name] for name in names}
    )
    world.servers.change(
        server.server_id,
        replace(definition, max_concurrency=None),
        version=None,
        now=world.clock(),
    )
    gate.touch()

    assert world.settle(first.run_id).state is State.COMPLETED
    assert not present(world, server).active
