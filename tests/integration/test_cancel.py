"""Cancel, at every stage: it never starts, or its tree dies; one outcome."""

import threading
import time

import pytest

from cronhop.domain.message import Message, MessageKind
from cronhop.domain.retry import Retry
from cronhop.domain.run import State, Stream
from cronhop.errors import Conflict, Unreachable
from cronhop.services import commands
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.connections import Connections
from cronhop.store import credentials, executions, runs, servers, tasks
from tests.sshd import LOOPBACK, wait_until
from tests.world import THOROUGH, Killed


@pytest.fixture
def marks(tmp_path):
    """A file that a command leaves a line in for each start."""
    return tmp_path / "marks"


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def cancel(world, run):
    return world.runs.cancel(run.run_id, by="ada", now=world.clock())


def started(world, server, marks, command="sleep 300", **changes):
    """Let a command run, and leave it; return its run."""
    task = world.add_task(server, command=f"echo x >> {marks}; {command}", **changes)
    run = run_now(world, task)
    world.deliver()
    wait_until(marks.exists)
    world.messages()
    return run


def raising(error):
    def call(*args, **kwargs):
        raise error

    return call


def starts(marks):
    return marks.read_text().count("x") if marks.exists() else 0


def test_before_it_begins(world, server, marks):
    """A run that is pending is cancelled when the call returns."""
    task = world.add_task(server, command=f"echo x >> {marks}")
    run = run_now(world, task)

    answer = cancel(world, run)

    assert (answer.state, answer.reason) == (
        State.CANCELLED,
        "cancelled by ada before it began",
    )
    world.deliver()
    assert starts(marks) == 0
    world.clock.move(seconds=1)
    with pytest.raises(Conflict):
        cancel(world, run)


def test_between_gate_and_claim(world, server, marks, monkeypatch):
    """The executor died behind the gate: what nobody claimed nobody can."""
    run = run_now(world, world.add_task(server, command=f"echo x >> {marks}"))
    ((start, _),) = world.messages()

    with monkeypatch.context() as patch:
        patch.setattr(executions, "claim", raising(Killed))
        with pytest.raises(Killed):
            world.handle(start)
    assert cancel(world, run).state is State.RUNNING
    world.deliver()
    world.handle(start)

    ended = runs.get(run.run_id)
    assert ended.state is State.CANCELLED
    assert world.only_execution(run).state is State.CANCELLED
    assert starts(marks) == 0
    assert tasks.get(run.task_id).active_run is None


def test_death_behind_the_mark(world, server, marks, monkeypatch):
    """The executor died when the row was cancelled, and its run was not yet."""
    run = run_now(world, world.add_task(server, command=f"echo x >> {marks}"))
    ((start, _),) = world.messages()
    with monkeypatch.context() as patch:
        patch.setattr(executions, "claim", raising(Killed))
        with pytest.raises(Killed):
            world.handle(start)
    cancel(world, run)
    with monkeypatch.context() as patch:
        patch.setattr(executions, "claim", raising(Killed))
        with pytest.raises(Killed):
            world.deliver()
    assert world.only_execution(run).state is State.CANCELLED
    assert runs.get(run.run_id).state is State.RUNNING

    assert world.settle(run.run_id).state is State.CANCELLED
    assert starts(marks) == 0


def test_before_its_script_arrives(world, server, marks, monkeypatch):
    """The start is on its way when the cancel takes the guard from it."""
    run = run_now(world, world.add_task(server, command=f"echo x >> {marks}"))
    ((start, _),) = world.messages()
    real = runner.start

    def late(*args, **kwargs):
        cancel(world, run)
        world.deliver()
        return real(*args, **kwargs)

    monkeypatch.setattr(runner, "start", late)
    world.handle(start)

    ended = world.settle(run.run_id)
    assert ended.state is State.CANCELLED
    assert "ada" in ended.reason
    assert starts(marks) == 0
    assert world.only_execution(ended).next_poll is None


def test_while_it_runs(world, server, marks, impatient):
    """The tree dies within the visit; what it wrote is kept."""
    run = started(world, server, marks, "echo before; sleep 300")
    world.clock.move(seconds=5)
    answer = cancel(world, run)
    assert (answer.state, answer.cancel_by) == (State.RUNNING, "ada")
    world.deliver()

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (State.CANCELLED, "cancelled by ada")
    assert world.output(ended, Stream.STDOUT).data == b"before\n"
    assert world.only_execution(ended).next_poll is None
    assert world.alarms() == []


@pytest.mark.parametrize(
    "command",
    [
        "trap '' TERM; while :; do sleep 0.1; done",
        "trap 'exit 0' TERM; while :; do sleep 0.1; done",
        "(trap '' TERM; sleep 300) & (sleep 300; sleep 300) & wait",
        'sh -c \'trap "" TERM; sh -c "sleep 300; true"; true\'; true',
    ],
    ids=["ignores TERM", "traps TERM", "forks", "grandchildren"],
)
def test_stubborn_commands_die(world, server, marks, impatient, command):
    """Whatever it does about TERM, KILL ends its group."""
    run = started(world, server, marks, command, kill_grace_s=1)
    cancel(world, run)
    world.deliver()

    assert world.settle(run.run_id).state is State.CANCELLED
    assert starts(marks) == 1


def test_while_somebody_is_attached(world, server, marks, monkeypatch):
    """A visit that waits for the command sees its end, and records it."""
    monkeypatch.setattr(commands, "ATTACH_S", 20)
    task = world.add_task(server, command=f"echo x >> {marks}; sleep 300")
    run = run_now(world, task)
    ((start, _),) = world.messages()
    attached = threading.Thread(target=world.handle, args=(start,))
    attached.start()
    wait_until(marks.exists)
    cancel(world, run)
    world.deliver()
    attached.join()

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (State.CANCELLED, "cancelled by ada")


def test_command_that_ended_first_keeps_its_outcome(
    world, server, marks, tmp_path, impatient
):
    """Cancelled a moment too late: the run is what the command made of it."""
    gate = tmp_path / "gate"
    run = started(
        world, server, marks, f"until [ -e {gate} ]; do sleep 0.02; done; exit 5"
    )
    gate.touch()
    key = world.only_execution(run).key

    wait_until(lambda: has_exited(world, server, key))
    cancel(world, run)
    world.deliver()

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (State.FAILED, "exit code 5")


def has_exited(world, server, key):
    with Connections(allowed=LOOPBACK) as connections:
        host = connections.to(
            servers.get(server.server_id),
            world.secrets.get(credentials.get(server.credential).secret_id),
            deadline=time.monotonic() + 20,
        )
        report = runner.attach(host, key, wait_s=1, inline_bytes=1)
    return report.state is runner.RemoteState.EXITED


def test_between_attempts(world, server, marks):
    """A run that waits for its next attempt starts no other."""
    task = world.add_task(
        server,
        command=f"echo x >> {marks}; exit 3",
        retry=Retry(max_attempts=3, interval_s=600),
    )
    run = run_now(world, task)
    world.deliver()
    assert starts(marks) == 1
    cancel(world, run)
    world.deliver()

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (
        State.CANCELLED,
        "cancelled by ada before attempt 2",
    )
    world.clock.move(minutes=20)
    world.tick()
    world.deliver()
    assert starts(marks) == 1


def test_as_an_attempt_ends(world, server, marks, monkeypatch):
    """A cancel that meets the end of an attempt: no other follows."""
    task = world.add_task(
        server,
        command=f"echo x >> {marks}; exit 3",
        retry=Retry(max_attempts=3, interval_s=1),
    )
    run = run_now(world, task)
    ((start, _),) = world.messages()
    real = executions.retry

    def late(*args, **kwargs):
        cancel(world, run)
        world.deliver()
        return real(*args, **kwargs)

    monkeypatch.setattr(executions, "retry", late)
    world.handle(start)

    ended = world.settle(run.run_id)
    assert (ended.state, ended.reason) == (State.FAILED, "exit code 3")
    assert starts(marks) == 1


def test_host_that_does_not_answer(world, server, marks, impatient, monkeypatch):
    """The run says that it is to end and why it has not; then it ends."""
    run = started(world, server, marks)

    def to(*args, **kwargs):
        raise Unreachable("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(Connections, "to", to)
        cancel(world, run)
        world.deliver()
        noted = runs.get(run.run_id)
    assert noted.state is State.RUNNING
    assert noted.reason == (
        "to be cancelled by ada, but unreachable: connection refused"
    )

    assert world.settle(run.run_id).state is State.CANCELLED


def test_lost_message_is_repeated_by_the_tick(world, server, marks, impatient):
    """The queue had lost it: the row of the run still says so."""
    run = started(world, server, marks)
    cancel(world, run)
    world.messages()

    assert world.settle(run.run_id, minutes=3).state is State.CANCELLED


def test_who_asked_first_stays_on_record(world, server, marks, impatient):
    """Asking again is no error and changes nothing."""
    run = started(world, server, marks)
    cancel(world, run)
    again = world.runs.cancel(run.run_id, by="bob", now=world.clock())
    world.deliver()

    assert again.cancel_by == "ada"
    assert runs.get(run.run_id).reason == "cancelled by ada"


def test_waiting_for_a_place(world, sshd, marks, impatient):
    """A run that waits for a full server leaves the line."""
    server = world.add_server(sshd, max_concurrency=1)
    first = started(world, server, marks)
    second = run_now(world, world.add_task(server, command=f"echo x >> {marks}"))
    world.deliver()
    cancel(world, second)
    world.deliver()

    assert runs.get(second.run_id).state is State.CANCELLED
    assert not servers.get(server.server_id).waiting
    cancel(world, first)
    world.deliver()
    assert not servers.get(server.server_id).active
    assert starts(marks) == 1


def test_forged_cancel_ends_nothing(world, server, marks, impatient):
    """A message alone is no wish of anybody's: the row decides."""
    run = started(world, server, marks)
    forged = Message(kind=MessageKind.CANCEL, run_id=run.run_id, group="x")

    world.deliver([forged])

    assert runs.get(run.run_id).state is State.RUNNING
    cancel(world, run)
    assert world.settle(run.run_id).state is State.CANCELLED


@pytest.mark.timeout(600)
def test_killed_anywhere(world, server, tmp_path, impatient, monkeypatch):
    """The executor dies at any step of a cancel: the run is cancelled all the same."""
    real = Connection.run

    def visit(self, *args, **kwargs):
        world.deathtrap.step()
        answer = real(self, *args, **kwargs)
        world.deathtrap.step()
        return answer

    monkeypatch.setattr(Connection, "run", visit)
    stride = 3 if THOROUGH == 1 else 1
    deaths, died = 0, True
    while died:
        marks = tmp_path / f"marks-{deaths}"
        run = started(world, server, marks, "trap '' TERM; sleep 300", kill_grace_s=0)
        cancel(world, run)
        ((message, _),) = world.messages()
        world.deathtrap.set(deaths)
        try:
            world.handle(message)
        except Killed:
            deaths += stride
        else:
            died = False
        finally:
            world.deathtrap.set(None)
        world.restart()

        ended = world.settle(run.run_id)
        assert (ended.state, ended.reason) == (State.CANCELLED, "cancelled by ada")
        assert starts(marks) == 1
        for _ in range(5):
            if world.only_execution(ended).next_poll is None:
                break
            world.clock.move(minutes=2)
            world.tick()
            world.deliver()
        assert world.only_execution(ended).next_poll is None
    # At least: run, mark, claim, version, server, credential, cancel, outcome, row,
    # end, release, settle.
    assert deaths >= 2 * 12
