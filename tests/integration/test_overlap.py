"""Overlap `queue` and `replace`: one run at a time, and none is forgotten."""

import dataclasses

import pytest

from cronhop.domain.message import Message, MessageKind
from cronhop.domain.run import State
from cronhop.domain.server import ServerStatus
from cronhop.domain.targets import Selector, Targets
from cronhop.domain.task import Overlap
from cronhop.store import runs, servers, tasks
from tests.host import Host
from tests.world import Killed


@pytest.fixture
def host(world, monkeypatch):
    """A model of the server: what is started there runs until somebody ends it."""
    model = Host(world)
    model.install(monkeypatch)
    return model


@pytest.fixture
def task(request, world):
    """A task of this policy."""
    policy, limit = request.param
    server = world.add_server()
    return world.add_task(
        server, overlap=policy, overlap_limit=limit, timeout_s=900, kill_grace_s=10
    )


queue = pytest.mark.parametrize("task", [(Overlap.QUEUE, 1)], indirect=True)
queue_of_two = pytest.mark.parametrize("task", [(Overlap.QUEUE, 2)], indirect=True)
replace = pytest.mark.parametrize("task", [(Overlap.REPLACE, 1)], indirect=True)


def run_now(world, task):
    """Run it, and let everything happen that follows at once."""
    world.clock.move(seconds=1)
    run = world.tasks.run(task.task_id, by="ada", now=world.clock())
    deliver_all(world)
    return run


def deliver_all(world):
    while messages := world.messages():
        world.deliver([message for message, delay_s in messages if delay_s < 10])


def end(world, host):
    """Let the one command end that runs, and the executors see it."""
    (command,) = host.running
    command.how, command.code = "exited", 0
    command.ended_at = world.clock()
    world.clock.move(minutes=2)
    world.tick()
    deliver_all(world)


def state(run):
    return runs.get(run.run_id).state


@queue
def test_one_waits_and_is_called(world, host, task):
    """The next one waits with the reason, a further one is skipped."""
    first, second, third = (run_now(world, task) for _ in range(3))
    assert (state(first), state(second)) == (State.RUNNING, State.PENDING)
    waiting = runs.get(second.run_id)
    assert waiting.reason == f"waits for run {first.run_id} of this task"
    ended = runs.get(third.run_id)
    assert (ended.state, ended.reason) == (
        State.SKIPPED,
        "overlap: 1 of its runs wait already",
    )

    end(world, host)
    assert (state(first), state(second)) == (State.COMPLETED, State.RUNNING)
    assert runs.get(second.run_id).reason is None
    end(world, host)
    assert state(second) is State.COMPLETED
    assert tasks.get(task.task_id).waiting == ()


@queue_of_two
def test_they_go_in_their_order(world, host, task):
    """The oldest first, and a newcomer does not overtake."""
    _, second, third = (run_now(world, task) for _ in range(3))
    end(world, host)
    assert (state(second), state(third)) == (State.RUNNING, State.PENDING)
    fourth = run_now(world, task)
    assert state(fourth) is State.PENDING
    end(world, host)
    assert (state(third), state(fourth)) == (State.RUNNING, State.PENDING)


@queue
def test_place_of_a_cancelled_waiter_is_free(world, host, task):
    """Who waits no more keeps nobody from waiting."""
    first, second = run_now(world, task), run_now(world, task)
    world.runs.cancel(second.run_id, by="bob", now=world.clock())
    third = run_now(world, task)
    assert state(third) is State.PENDING

    end(world, host)
    assert (state(first), state(second), state(third)) == (
        State.COMPLETED,
        State.CANCELLED,
        State.RUNNING,
    )


@queue
def test_call_that_is_lost_is_repeated(world, host, task):
    """The executor dies at any step of the end: the one that waits still runs."""
    deaths = 0
    while True:
        _, second = run_now(world, task), run_now(world, task)
        (command,) = host.running
        command.how, command.code, command.ended_at = "exited", 0, world.clock()
        world.clock.move(minutes=2)
        world.tick()
        messages = [message for message, _ in world.messages()]
        world.deathtrap.set(deaths)
        try:
            world.deliver(messages)
        except Killed:
            deaths += 3
        else:
            break
        finally:
            world.deathtrap.set(None)
        world.restart()
        world.messages()
        for _ in range(4):
            world.clock.move(minutes=2)
            world.tick()
            deliver_all(world)
        assert state(second) is State.RUNNING
        end(world, host)
        assert state(second) is State.COMPLETED
    assert deaths >= 12


@queue
def test_waiter_that_waits_too_long_is_missed(world, host, task):
    """Its start deadline goes on meanwhile."""
    run_now(world, task)
    second = run_now(world, task)
    world.clock.move(seconds=task.definition.start_deadline_s + 1)
    world.tick()
    deliver_all(world)

    assert state(second) is State.MISSED


@queue
def test_phantom_blocks_nobody(world, host, task):
    """A run that has ended holds nothing, whatever the task's row says."""
    first = run_now(world, task)
    runs.end(first.run_id, state=State.LOST, reason="gone", now=world.clock())
    second = run_now(world, task)

    assert tasks.get(task.task_id).active_run == second.run_id
    assert state(second) is State.RUNNING


@replace
def test_newer_one_replaces_the_older(world, host, task):
    """The one under way is cancelled on its host, then the newer one starts."""
    first = run_now(world, task)
    (old,) = host.running
    second = run_now(world, task)

    ended = runs.get(first.run_id)
    assert ended.state is State.CANCELLED
    assert ended.reason == f"cancelled by run {second.run_id}"
    assert old.how == "cancelled"
    assert state(second) is State.RUNNING
    end(world, host)
    assert state(second) is State.COMPLETED


@replace
def test_newest_of_those_that_wait_counts(world, host, task):
    """While the host does not answer the newest one takes the turn of others."""
    first = run_now(world, task)
    host.is_up = False
    second, third = run_now(world, task), run_now(world, task)
    assert (state(first), state(third)) == (State.RUNNING, State.PENDING)
    replaced = runs.get(second.run_id)
    assert (replaced.state, replaced.reason) == (
        State.SKIPPED,
        f"overlap: run {third.run_id} of this task is newer",
    )

    host.is_up = True
    for _ in range(3):
        world.clock.move(minutes=2)
        world.tick()
        deliver_all(world)
    assert (state(first), state(third)) == (State.CANCELLED, State.RUNNING)
    assert len(host.running) == 1


@replace
def test_older_one_that_comes_late_is_skipped(world, host, task):
    """It does not replace a newer one."""
    world.clock.move(seconds=1)
    old = world.tasks.run(task.task_id, by="ada", now=world.clock())
    late = [message for message, _ in world.messages()]
    new = run_now(world, task)
    world.deliver(late)

    assert (state(old), state(new)) == (State.SKIPPED, State.RUNNING)
    assert len(host.running) == 1


def die_at_begin(world, monkeypatch):
    """Let the executor die that has taken the task for a run, before that begins."""

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs, "begin", die)
        with pytest.raises(Killed):
            world.deliver()
    world.restart()


@pytest.mark.parametrize(
    "task", [(Overlap.QUEUE, 1), (Overlap.QUEUE, 2)], indirect=True
)
def test_who_holds_the_task_waits_for_nobody(world, host, task, monkeypatch):
    """Its executor died, and an older run came to wait for it since."""
    older = world.tasks.run(task.task_id, by="ada", now=world.clock())
    world.messages()  # its start is lost
    world.clock.move(seconds=30)
    holder = world.tasks.run(task.task_id, by="ada", now=world.clock())
    die_at_begin(world, monkeypatch)

    for _ in range(6):
        world.clock.move(minutes=2)
        world.tick()
        deliver_all(world)
        for command in host.running:
            command.how, command.code = "exited", 0
            command.ended_at = world.clock()

    assert [state(one) for one in (older, holder)] == [State.COMPLETED] * 2


@queue
def test_a_start_that_comes_twice_does_not_skip_the_holder(
    world, host, task, monkeypatch
):
    """The second one comes while the first is between its turn and its begin."""
    older = world.tasks.run(task.task_id, by="ada", now=world.clock())
    ((first, _),) = world.messages()
    world.clock.move(seconds=30)
    holder = world.tasks.run(task.task_id, by="ada", now=world.clock())
    ((second, _),) = world.messages()
    real = runs.begin

    def slow(*args, **kwargs):
        monkeypatch.setattr(runs, "begin", real)
        world.handle(first)
        world.handle(second)
        return real(*args, **kwargs)

    monkeypatch.setattr(runs, "begin", slow)
    world.handle(second)

    assert (state(older), state(holder)) == (State.PENDING, State.RUNNING)


def test_servers_are_looked_for_when_it_is_its_turn(world, host):
    """None matches while another run is under way: that is no matter yet."""
    server = world.add_server(environment="prod")
    task = world.add_task(
        overlap=Overlap.QUEUE,
        timeout_s=900,
        kill_grace_s=10,
        targets=Targets(selector=Selector(environment="prod")),
    )
    run_now(world, task)
    waiter = run_now(world, task)
    present = servers.get(server.server_id)
    away = dataclasses.replace(
        present, status=ServerStatus.MAINTENANCE, version=present.version + 1
    )
    servers.replace(present, away)
    world.clock.move(minutes=3)
    world.tick()
    deliver_all(world)
    before = state(waiter)
    end(world, host)

    assert before is State.PENDING
    assert (state(waiter), runs.get(waiter.run_id).reason) == (
        State.FAILED,
        "no enabled server matches",
    )
    assert tasks.get(task.task_id).active_run is None


@replace
def test_who_never_began_is_replaced_at_once(world, host, task, monkeypatch):
    """Nothing of it has to end first."""
    holder = world.tasks.run(task.task_id, by="ada", now=world.clock())
    die_at_begin(world, monkeypatch)

    newer = run_now(world, task)

    assert (state(holder), state(newer)) == (State.CANCELLED, State.RUNNING)


def test_a_retry_gives_the_task_back(world, host):
    """By the overlap that it passed the gate with, not by that of its version."""
    server = world.add_server()
    task = world.add_task(server, overlap=Overlap.ALLOW, timeout_s=900, kill_grace_s=10)
    failed = run_now(world, task)
    host.running[0].code, host.running[0].ended_at = 1, world.clock()
    host.running[0].how = "exited"
    world.clock.move(minutes=2)
    world.tick()
    deliver_all(world)
    world.tasks.change(
        task.task_id,
        dataclasses.replace(task.definition, overlap=Overlap.QUEUE),
        version=None,
        by="ada",
        now=world.clock(),
    )
    retry = world.runs.retry(failed.run_id, by="ada", now=world.clock())
    deliver_all(world)
    waiter = run_now(world, task)
    (command,) = host.running
    command.how, command.code, command.ended_at = "exited", 0, world.clock()
    world.clock.move(minutes=1)
    world.handle(
        Message(
            kind=MessageKind.POLL,
            run_id=retry.run_id,
            server_id=server.server_id,
            group=task.task_id,
        )
    )
    deliver_all(world)

    assert (state(retry), state(waiter)) == (State.COMPLETED, State.RUNNING)
