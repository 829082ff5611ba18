"""Runs that could stay open, or end wrongly: each ends as its command did."""

import os
import signal
import time
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from botocore.exceptions import ConnectionClosedError

from cronhop.domain.credential import Secret
from cronhop.domain.run import State, Stream
from cronhop.domain.server import ServerDefinition, ServerStatus
from cronhop.domain.task import Script
from cronhop.errors import (
    Conflict,
    Deadline,
    OutputUnavailable,
    ProtocolError,
    SecretUnavailable,
    Unreachable,
)
from cronhop.services import collect
from cronhop.services.gate import pass_gate
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.connections import Connections
from cronhop.store import connection, credentials, runs, tasks
from tests.sshd import LOOPBACK, keypair, wait_until
from tests.world import SOME_HOST_KEY, Killed


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def waiting(gate, then="echo end"):
    return f"until [ -e {gate} ]; do sleep 0.05; done; {then}"


def go_on(world, run, *, hours, step=1):
    """Tick and deliver hour by hour until the run has ended; return it."""
    for _ in range(0, hours, step):
        world.clock.move(hours=step)
        world.tick()
        world.deliver()
        if runs.get(run.run_id).state.is_terminal:
            break
    return runs.get(run.run_id)


def finished(world, run):
    """Let the host end the command, then poll until the run has ended."""

    def look():
        with Connections(allowed=LOOPBACK) as connections:
            execution = world.only_execution(run)
            server = world.servers.get(execution.server_id)
            host = connections.to(
                server,
                world.secrets.get(credentials.get(server.credential).secret_id),
                deadline=time.monotonic() + 20,
            )
            report = runner.attach(host, execution.key, wait_s=1, inline_bytes=1)
        return report.state is runner.RemoteState.EXITED

    wait_until(look)
    return world.settle(run.run_id)


def test_gate_never_ends_what_has_begun(world, server, monkeypatch):
    """An executor that refuses late meets a run that another let through."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run
    world.tick()
    ((message, _), *_) = world.messages()
    pending = runs.get(message.run_id)
    pass_gate(pending, world.clock(), pytest.fail)
    world.tasks.change(
        task.task_id,
        replace(task.definition, enabled=False),
        version=None,
        by="tester",
        now=world.clock(),
    )

    pass_gate(pending, world.clock(), pytest.fail)  # from what it read before

    assert runs.get(message.run_id).state is State.RUNNING
    assert world.settle(message.run_id).state is State.COMPLETED


def test_one_blip_after_a_day_is_no_loss(world, server, gate, impatient, monkeypatch):
    """A host is out of reach since it was last heard, not since the start."""
    task = world.add_task(server, command=waiting(gate), timeout_s=7 * 86400)
    run = run_now(world, task)
    world.deliver()
    assert go_on(world, run, hours=30).state is State.RUNNING

    def to(*args, **kwargs):
        raise Unreachable("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(Connections, "to", to)
        go_on(world, run, hours=1)
    gate.touch()

    assert finished(world, run).state is State.COMPLETED


def test_host_without_sense_is_lost_after_a_day(world, server, monkeypatch):
    """A login shell that answers nothing of ours does not hold the task for ever."""

    def answer(*args, **kwargs):
        raise ProtocolError("This account is currently not available.")

    monkeypatch.setattr(Connection, "run", answer)
    run = run_now(world, world.add_task(server))
    world.deliver()

    ended = go_on(world, run, hours=48)

    assert ended.state is State.LOST
    assert "not available" in ended.reason
    assert tasks.get(run.task_id).active_run is None


def test_secret_that_cannot_be_had_fails_in_time(world, server, monkeypatch):
    """While Secrets Manager gives nothing, nothing is started, and that is said."""

    def get(*args):
        raise SecretUnavailable("ClientError")

    monkeypatch.setattr(world.secrets, "get", get)
    run = run_now(world, world.add_task(server, start_deadline_s=600))
    world.deliver()

    ended = world.settle(run.run_id)

    assert ended.state is State.FAILED
    assert "credential" in ended.reason


def test_our_own_error_is_no_start(world, sshd, monkeypatch):
    """A bug before the host is reached leaves the run as it was."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    run = run_now(world, world.add_task(server))
    ((message, _),) = world.messages()
    with monkeypatch.context() as patch:
        patch.setattr(world.secrets, "get", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.handle(message)

    ended = world.settle(run.run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("host_key")


def test_lost_answer_of_a_claim_is_no_start(world, sshd):
    """A claim that the client repeats is one claim."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    lost = []

    def lose(request=None, event_name="", **kwargs):
        is_claim = event_name.endswith("UpdateItem") and b"lease_until" in request.body
        if is_claim and not lost:
            lost.append(event_name)
            raise ConnectionClosedError(endpoint_url="moto")

    client = connection._state["connection"].client
    world.listen(client, lose)
    run = run_now(world, world.add_task(server))
    world.deliver()

    assert lost
    ended = runs.get(run.run_id)
    assert ended.state is State.FAILED
    assert ended.reason.startswith("host_key")


def test_late_script_starts_nothing_after_the_end(world, server, tmp_path, monkeypatch):
    """Who says that nothing was started takes the guard first."""
    marks = tmp_path / "marks"
    task = world.add_task(server, command=f"echo x >> {marks}", start_deadline_s=60)
    sent = []
    real = Connection.run

    def stalled(self, script, **kwargs):
        if not sent:
            sent.append((script, kwargs))
            raise Unreachable("reset")  # the host has it all, and sleeps
        return real(self, script, **kwargs)

    monkeypatch.setattr(Connection, "run", stalled)
    run = run_now(world, task)
    world.deliver()
    world.clock.move(seconds=90)
    ended = world.settle(run.run_id)
    assert ended.state is State.FAILED
    assert "reset" in ended.reason

    script, kwargs = sent[0]
    with Connections(allowed=LOOPBACK) as connections:
        host = connections.to(
            server,
            world.secrets.get(credentials.get(server.credential).secret_id),
            deadline=time.monotonic() + 20,
        )
        answer = real(host, script, **kwargs)  # it wakes up

    assert b" report absent " in answer.stdout
    assert not marks.exists()


def test_command_that_removes_its_directory_is_lost(world, server):
    """It ran, so it is not said that it did not."""
    task = world.add_task(server, command='rm -rf "$HOME/.cronhop/$CRONHOP_EXECUTION"')

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.LOST


@pytest.mark.parametrize("what", ["host", "bucket"])
def test_output_is_fetched_from_visit_to_visit(world, server, sshd, monkeypatch, what):
    """The outcome does not wait for it; each visit goes on where the last ended."""
    monkeypatch.setattr(collect, "MAX_READ_CHUNKS", 1)
    left = [5]

    def failing(real, error):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise error
            return real(*args, **kwargs)

        return call

    if what == "host":
        read = failing(runner.read, Deadline("the time for this visit is over"))
        monkeypatch.setattr(runner, "read", read)
    else:
        keep = failing(world.bucket.keep, OutputUnavailable("ClientError"))
        monkeypatch.setattr(world.bucket, "keep", keep)
    run = run_now(world, world.add_task(server, command="seq 400000"))
    world.deliver()

    ended = runs.get(run.run_id)
    assert ended.state is State.COMPLETED
    first = world.output(ended, Stream.STDOUT, limit=10_000_000)
    assert not first.complete
    assert 0 < first.next_offset < first.total_bytes
    for _ in range(5):
        left[0] = 5
        world.clock.move(minutes=20)
        world.tick()
        world.deliver()

    expected = "".join(f"{number}\n" for number in range(1, 400001)).encode()
    page = world.output(ended, Stream.STDOUT, limit=10_000_000)
    assert page.complete
    assert page.data == expected
    execution = world.only_execution(ended)
    assert execution.next_poll is None
    assert list((sshd.home / ".cronhop" / execution.key).iterdir()) == []


def test_output_that_never_comes_is_given_up(world, server, monkeypatch):
    """After a day what is kept is all there is, and readers are told so."""

    def read(*args, **kwargs):
        raise Deadline("the time for this visit is over")

    monkeypatch.setattr(runner, "read", read)
    run = run_now(world, world.add_task(server, command="seq 400000"))
    world.deliver()
    assert runs.get(run.run_id).state is State.COMPLETED
    for _ in range(30):
        world.clock.move(hours=1)
        world.tick()
        world.deliver()

    page = world.output(run, Stream.STDOUT)
    assert (page.data, page.complete) == (b"", True)
    assert page.truncated_bytes == page.total_bytes
    assert world.only_execution(run).next_poll is None


def test_duplicates_do_not_tear_the_output(world, server, monkeypatch):
    """While one fetches what is left, another message for it is dropped."""
    left = [3]
    real = runner.read
    monkeypatch.setattr(collect, "MAX_READ_CHUNKS", 1)

    def read(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Deadline("the time for this visit is over")
        if len(polls) == 1:
            world.handle(polls.pop())  # the same message, in the middle of it
        return real(*args, **kwargs)

    polls = []
    monkeypatch.setattr(runner, "read", read)
    run = run_now(world, world.add_task(server, command="seq 400000"))
    world.deliver()
    for _ in range(6):
        world.clock.move(minutes=20)
        world.tick()
        for message, _ in world.messages():
            left[0] = 3
            polls[:] = [message]
            world.handle(message)

    expected = "".join(f"{number}\n" for number in range(1, 400001)).encode()
    page = world.output(run, Stream.STDOUT, limit=10_000_000)
    assert (page.complete, page.data == expected) == (True, True)


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_output_with_a_changed_secret_is_withheld(
    world, server, gate, impatient, change
):
    """What nobody can mask any more is not kept; the outcome is."""
    world.credentials.create(
        "pw", Secret(password="hunter22"), by="tester", now=world.clock()
    )
    spec = Script(command=waiting(gate, 'echo "$P"; exit 3'), secrets={"P": "pw"})
    task = world.add_task(server, spec=spec)
    run = run_now(world, task)
    world.deliver()
    world.clock.move(seconds=1)
    if change == "replaced":
        other = Secret(password="other-pw")
        world.credentials.replace("pw", other, version=None, now=world.clock())
    else:
        world.tasks.change(
            task.task_id,
            replace(task.definition, spec=Script(command="true")),
            version=None,
            by="tester",
            now=world.clock(),
        )
        world.credentials.delete("pw", version=None)
    gate.touch()

    ended = finished(world, run)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("exit code 3; output withheld")
    page = world.output(ended, Stream.STDOUT)
    assert (page.data, page.complete) == (b"", True)
    assert "hunter22" not in world.dump()


def test_death_after_the_outcome_leaves_no_files(world, server, sshd, monkeypatch):
    """Somebody else cleans the host."""
    run = run_now(world, world.add_task(server, command="echo hello"))

    def die(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runner, "clean", die)
        with pytest.raises(Killed):
            world.deliver()
    go_on(world, run, hours=1)

    for _ in range(5):
        world.clock.move(minutes=1)
        world.tick()
        world.deliver()
    execution = world.only_execution(run)
    assert execution.next_poll is None
    assert list((sshd.home / ".cronhop" / execution.key).iterdir()) == []


def test_times_are_those_of_the_command(world, server, monkeypatch):
    """However long it takes to collect, the command was as short as it was."""
    real = collect.collect

    def slowly(*args, **kwargs):
        world.clock.move(seconds=40)
        return real(*args, **kwargs)

    monkeypatch.setattr(collect, "collect", slowly)
    began = world.clock()
    run = world.settle(run_now(world, world.add_task(server)).run_id)

    execution = world.only_execution(run)
    assert abs(execution.started_at - began) < timedelta(seconds=5)
    assert abs(execution.finished_at - began) < timedelta(seconds=5)


def test_replaced_credential_has_the_value_of_its_row(world, monkeypatch):
    """Two replace it at once: one is told so, and the value is the other's."""
    world.credentials.create("c", Secret(password="0"), by="x", now=world.clock())
    real = world.secrets.add

    def add(secret):
        monkeypatch.setattr(world.secrets, "add", real)
        other = Secret(password="winner")
        world.credentials.replace("c", other, version=None, now=world.clock())
        return real(secret)

    monkeypatch.setattr(world.secrets, "add", add)
    with pytest.raises(Conflict):
        world.credentials.replace(
            "c", Secret(password="loser"), version=None, now=world.clock()
        )

    row = world.credentials.get("c")
    assert world.secrets.get(row.secret_id).password == "winner"
    assert row.version == 2


def test_edit_while_the_tick_is_away_loses_no_slot(world, server):
    """What was due before the edit is on record, whatever the new schedule says."""
    task = world.add_task(server, cron="0 * * * *")
    world.clock.now = task.next_run + timedelta(hours=2, minutes=1)
    definition = replace(
        task.definition, schedule=replace(task.definition.schedule, cron="30 * * * *")
    )

    world.tasks.change(
        task.task_id, definition, version=None, by="x", now=world.clock()
    )
    world.deliver()

    missed, newest = [run for run in world.all_runs() if run.slot <= world.clock()]
    assert (missed.state, missed.missed_count) == (State.MISSED, 2)
    assert newest.state is State.SKIPPED
    assert "superseded" in newest.reason


def create_password(world, name, value):
    return world.credentials.create(
        name, Secret(password=value), by="tester", now=world.clock()
    )


def limit_reads(monkeypatch, left):
    """Let the host answer so many reads, as `left[0]` says."""
    real = runner.read
    monkeypatch.setattr(collect, "MAX_READ_CHUNKS", 1)

    def read(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Deadline("the time for this visit is over")
        return real(*args, **kwargs)

    monkeypatch.setattr(runner, "read", read)


def test_withholding_leaves_what_was_kept(world, server, monkeypatch):
    """What was masked while its secrets were known stays readable."""
    create_password(world, "pw", "hunter22")
    left = [5]
    limit_reads(monkeypatch, left)
    spec = Script(command="seq 400000", secrets={"P": "pw"})
    run = run_now(world, world.add_task(server, spec=spec))
    world.deliver()
    before = world.output(run, Stream.STDOUT, limit=10_000_000)
    world.clock.move(seconds=1)
    other = Secret(password="other-pw")
    world.credentials.replace("pw", other, version=None, now=world.clock())
    left[0] = 100
    for _ in range(4):
        world.clock.move(minutes=7)
        world.tick()
        world.deliver()

    page = world.output(run, Stream.STDOUT, limit=10_000_000)
    assert len(before.data) > 1_000_000
    assert page.data == before.data
    execution = world.only_execution(run)
    assert "withheld" in execution.reason
    assert execution.next_poll is None


def test_outcome_does_not_wait_for_secrets(world, server, gate, impatient, monkeypatch):
    """While Secrets Manager is away, the exit code is on record, the output later."""
    credential = create_password(world, "pw", "hunter22")
    world.clock.move(minutes=5)
    spec = Script(command=waiting(gate, 'echo "$P"'), secrets={"P": "pw"})
    run = run_now(world, world.add_task(server, spec=spec))
    world.deliver()
    real = world.secrets.get

    def get(secret_id):
        if secret_id == credential.secret_id:
            raise SecretUnavailable("ClientError")
        return real(secret_id)

    gate.touch()
    with monkeypatch.context() as patch:
        patch.setattr(world.secrets, "get", get)
        ended = finished(world, run)
        assert ended.state is State.COMPLETED
        assert not world.output(ended, Stream.STDOUT).complete
    for _ in range(4):
        world.clock.move(minutes=7)
        world.tick()
        world.deliver()

    page = world.output(ended, Stream.STDOUT)
    assert (page.data, page.complete) == (b"********\n", True)


def test_disabled_server_starts_nothing_after_a_lost_start(
    world, server, tmp_path, monkeypatch
):
    """However often it was visited before."""
    marks = tmp_path / "marks"
    run = run_now(world, world.add_task(server, command=f"echo x >> {marks}"))

    def reset(*args, **kwargs):
        raise Unreachable("reset")  # nothing reached the host

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "run", reset)
        world.deliver()
    present = vars(world.servers.get(server.server_id))
    names = [one.name for one in fields(ServerDefinition)]
    definition = {name: present[name] for name in names}
    definition["status"] = ServerStatus.DISABLED
    world.servers.change(
        server.server_id,
        ServerDefinition(**definition),
        version=None,
        now=world.clock(),
    )

    ended = world.settle(run.run_id)

    assert ended.state is State.SKIPPED
    assert "disabled" in ended.reason
    assert not marks.exists()


def test_replacing_never_reaches_a_new_credential(world, monkeypatch):
    """One that was removed and made anew meanwhile keeps its own value."""
    create_password(world, "c", "old")
    real = world.secrets.add
    key, _ = keypair()

    def add(secret):
        monkeypatch.setattr(world.secrets, "add", real)
        world.credentials.delete("c", version=None)
        new = Secret(private_key=key)
        world.credentials.create("c", new, by="x", now=world.clock())
        return real(secret)

    monkeypatch.setattr(world.secrets, "add", add)
    with pytest.raises(Conflict):
        world.credentials.replace(
            "c", Secret(password="new"), version=1, now=world.clock()
        )

    row = world.credentials.get("c")
    assert world.secrets.get(row.secret_id).private_key == key


def test_lost_answer_of_a_removal_is_no_error(world):
    """A secret that is marked for deletion already is removed."""
    create_password(world, "c", "old")
    lost = []

    def lose(event_name="", **kwargs):
        if event_name.endswith("DeleteSecret") and not lost:
            lost.append(event_name)
            raise ConnectionClosedError(endpoint_url="moto")

    world.listen(world.secrets._client, lose)
    replaced = world.credentials.replace(
        "c", Secret(password="new"), version=1, now=world.clock()
    )

    assert lost
    assert world.secrets.get(replaced.secret_id).password == "new"


def test_stuck_supervisor_holds_no_run_open(world, server, sshd, gate, impatient):
    """Past timeout and grace a visit ends what the host does not."""
    task = world.add_task(server, command=waiting(gate), timeout_s=3600)
    run = run_now(world, task)
    world.deliver()
    guard = sshd.home / ".cronhop" / world.only_execution(run).key
    wait_until(lambda: [*guard.glob("run.*")])
    (state,) = guard.glob("run.*")
    os.kill(int(state.name.split(".")[1]), signal.SIGSTOP)
    world.clock.move(seconds=3600 + 2 + 61)

    ended = world.settle(run.run_id, minutes=10)

    assert (ended.state, ended.reason) == (State.TIMEOUT, "ended by its timeout")
    assert world.only_execution(ended).next_poll is None


def test_old_guards_are_swept(world, server, sshd):
    """A day after its end a guard may go, by our record, not by the host's word."""
    first = world.settle(run_now(world, world.add_task(server)).run_id)
    spool = sshd.home / ".cronhop"
    old = spool / world.only_execution(first).key
    foreign = spool / "01KT1A29V00000000000000000-01KT1A29V00000000000000000-1"
    foreign.mkdir(mode=0o500)
    young = spool / f"{first.run_id}-{server.server_id}-9"
    young.mkdir(mode=0o500)
    # A name that no clock of ours can have made.
    forged = spool / "7ZZZZZZZZZZZZZZZZZZZZZZZZZ-00000000000000000000000000"
    forged.mkdir(mode=0o500)
    for guard in (old, foreign, forged):
        os.utime(guard, (1, 1))  # the host's clock says it is old
    world.settle(run_now(world, world.add_task(server)).run_id)
    assert old.exists()  # our record says it is not
    world.clock.move(days=2)
    second = world.settle(run_now(world, world.add_task(server)).run_id)

    assert not old.exists()
    assert foreign.exists()  # nothing is known of it, and it may be another's
    assert young.exists()  # emptied a moment ago
    assert (spool / world.only_execution(second).key).exists()
    world.clock.move(days=100)
    world.settle(run_now(world, world.add_task(server)).run_id)
    assert not foreign.exists()
    assert forged.exists()
    assert world.only_execution(second).next_poll is None
