"""One failure at an awkward moment: nothing is lost, told twice or said wrongly."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from botocore.exceptions import ConnectionClosedError

from cronhop.domain.credential import Secret
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.retry import Retry
from cronhop.domain.run import State, Stream
from cronhop.domain.server import ServerDefinition, ServerStatus
from cronhop.domain.task import Overlap, Script
from cronhop.errors import (
    LoginRefused,
    OutputUnavailable,
    SecretUnavailable,
    Unreachable,
)
from cronhop.services import commands
from cronhop.services.passwords import Passwords
from cronhop.ssh import runner
from cronhop.ssh.connections import Connections
from cronhop.store import executions, runs, servers
from tests.sshd import wait_until
from tests.world import SOME_HOST_KEY, Killed


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def poll(run, server, **changes):
    return Message(
        kind=MessageKind.POLL,
        run_id=run.run_id,
        server_id=server.server_id,
        group="x",
        **changes,
    )


def raising(error):
    def call(*args, **kwargs):
        raise error

    return call


def repeated(real):
    """A write that takes effect, whose answer is lost, and that is repeated."""

    def call(*args, **kwargs):
        real(*args, **kwargs)
        return real(*args, **kwargs)

    return call


def add_password(world, value="hunter22"):
    world.credentials.create(
        "pw", Secret(password=value), by="tester", now=world.clock()
    )


def set_status(world, server, status):
    present = servers.get(server.server_id)
    definition = ServerDefinition(
        **{one.name: getattr(present, one.name) for one in fields(ServerDefinition)}
    )
    world.servers.change(
        server.server_id,
        replace(definition, status=status),
        version=None,
        now=world.clock(),
    )


def waiting(gate):
    return f"until [ -e {gate} ]; do sleep 0.02; done"


def let_end(world, sshd, run, gate):
    """Open the gate, and wait until the host has the end on record."""
    gate.touch()
    guard = sshd.home / ".cronhop" / world.only_execution(run).key
    wait_until(lambda: [*guard.glob("exit.*")])


def go_on(world, *, times=6, minutes=2):
    for _ in range(times):
        world.clock.move(minutes=minutes)
        world.tick()
        world.deliver()


def test_secrets_that_are_away_at_the_end_cost_no_output(
    world, server, sshd, gate, impatient, monkeypatch
):
    """What the command wrote since the last look is fetched when they are back."""
    add_password(world)
    spec = Script(command=f"{waiting(gate)}; seq 1 1000", secrets={"P": "pw"})
    run = run_now(world, world.add_task(server, spec=spec))
    world.deliver()
    world.messages()
    let_end(world, sshd, run, gate)
    with monkeypatch.context() as patch:
        patch.setattr(Passwords, "since", raising(SecretUnavailable("Throttling")))
        world.clock.move(seconds=30)
        world.handle(poll(run, server))
    world.clock.move(minutes=10)
    world.handle(poll(run, server))

    expected = "".join(f"{number}\n" for number in range(1, 1001)).encode()
    assert world.output(run, Stream.STDOUT).data == expected


def test_dropped_start_after_a_long_wait_is_not_lost(
    world, server, gate, impatient, monkeypatch
):
    """Silence is counted from when the command was sent, not from the gate."""
    task = world.add_task(
        server, command=waiting(gate), lost_after_s=300, start_deadline_s=3600
    )
    run = run_now(world, task)
    with monkeypatch.context() as patch:
        patch.setattr(Connections, "to", raising(Unreachable("refused")))
        world.deliver()
        world.clock.move(minutes=10)
    real = runner.start

    def dropped(*args, **kwargs):
        real(*args, **kwargs)
        raise Unreachable("reset")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "start", dropped)
        world.handle(poll(run, server))

    assert runs.get(run.run_id).state is State.RUNNING
    gate.touch()
    assert world.settle(run.run_id).state is State.COMPLETED


def test_one_failed_look_is_no_loss(world, server, sshd, gate, monkeypatch, impatient):
    """However seldom it is looked at, a command is lost after several looks only."""
    task = world.add_task(
        server, command=waiting(gate), lost_after_s=300, timeout_s=7 * 86400
    )
    run = run_now(world, task)
    world.deliver()
    world.messages()
    real = runner.attach
    with monkeypatch.context() as patch:
        patch.setattr(
            runner, "attach", lambda *a, **k: replace(real(*a, **k), age_s=3600)
        )
        for _ in range(3):
            world.clock.move(seconds=100)
            world.handle(poll(run, server))
    next_poll = world.only_execution(run).next_poll
    assert next_poll - world.clock() <= timedelta(seconds=75)
    world.clock.move(seconds=400)
    with monkeypatch.context() as patch:
        patch.setattr(Connections, "to", raising(Unreachable("refused")))
        world.handle(poll(run, server))
    assert runs.get(run.run_id).state is State.RUNNING
    let_end(world, sshd, run, gate)

    assert world.settle(run.run_id).state is State.COMPLETED


def test_late_look_at_an_attempt_costs_no_output(
    world, server, tmp_path, gate, sshd, monkeypatch, impatient
):
    """The time to fetch it is counted from the first look, not from its end."""
    marks = tmp_path / "marks"
    command = (
        f"echo x >> {marks}; [ $(wc -l < {marks}) -ge 2 ] || "
        f"{{ {waiting(gate)}; seq 1 20000; exit 4; }}"
    )
    task = world.add_task(
        server, timeout_s=86400, retry=Retry(max_attempts=2), command=command
    )
    run = run_now(world, task)
    world.deliver()
    world.messages()
    let_end(world, sshd, run, gate)
    world.clock.move(minutes=20)
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", raising(OutputUnavailable("x")))
        world.handle(poll(run, server))
    world.settle(run.run_id)

    page = world.runs.output(
        run.run_id,
        server.server_id,
        Stream.STDOUT,
        offset=0,
        limit=10**6,
        attempt=1,
    )
    assert (len(page.data), page.complete) == (108894, True)


def test_lost_answer_costs_no_attempt(world, server, monkeypatch):
    """An attempt that is held for its output is still followed by the next."""
    task = world.add_task(
        server, command="seq 1 20000; exit 4", retry=Retry(max_attempts=3)
    )
    run = run_now(world, task)
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", raising(OutputUnavailable("x")))
        patch.setattr(executions, "give_back", repeated(executions.give_back))
        world.deliver()

    assert runs.get(run.run_id).state is State.RUNNING
    assert world.only_execution(world.settle(run.run_id)).attempt == 3


def test_lost_answer_of_a_retry_is_a_retry(world, server, sshd, monkeypatch):
    """It goes on as if the answer had come: host clean, the next attempt soon."""
    task = world.add_task(
        server, command="exit 4", retry=Retry(max_attempts=2, interval_s=1)
    )
    run = run_now(world, task)
    monkeypatch.setattr(executions, "retry", repeated(executions.retry))
    world.deliver()

    ((message, delay_s),) = world.messages()
    assert (message.kind, delay_s) == (MessageKind.POLL, 1)
    key = world.only_execution(run).key_of(1)
    assert list((sshd.home / ".cronhop" / key).iterdir()) == []


def test_message_during_an_alarm_raises_none(world, server, monkeypatch):
    """While one executor publishes, another that comes by does not."""
    run_now(world, world.add_task(server, command="exit 1"))
    ((start, _),) = world.messages()
    real, seen = world.topic._client.publish, []

    def publish(**kwargs):
        if not seen:
            seen.append(1)
            world.handle(start)
        return real(**kwargs)

    monkeypatch.setattr(world.topic._client, "publish", publish)
    world.handle(start)

    assert len(world.alarms()) == 1


def test_sns_that_never_answers_is_asked_less_and_less(world, server, monkeypatch):
    """And after a week no more."""
    run = run_now(world, world.add_task(server, command="exit 1"))
    calls = []

    def publish(**kwargs):
        calls.append(world.clock())
        raise ConnectionClosedError(endpoint_url="x")

    monkeypatch.setattr(world.topic._client, "publish", publish)
    world.deliver()
    go_on(world, times=8 * 24, minutes=60)

    assert len(calls) < 45
    assert runs.get(run.run_id).check_at is None


def test_credential_made_anew_leaves_nothing_unmasked(
    world, server, sshd, gate, impatient
):
    """A credential of the same name may have another value than the command got."""
    add_password(world)
    spec = Script(command=f"{waiting(gate)}; echo $P", secrets={"P": "pw"})
    task = world.add_task(server, spec=spec)
    run = run_now(world, task)
    world.deliver()
    world.messages()
    world.clock.move(minutes=5)
    world.tasks.change(
        task.task_id,
        replace(task.definition, spec=Script(command="true")),
        version=None,
        by="tester",
        now=world.clock(),
    )
    world.credentials.delete("pw", version=None)
    add_password(world, "different1")
    let_end(world, sshd, run, gate)

    ended = world.settle(run.run_id)

    assert ended.state is State.COMPLETED
    assert "withheld" in world.only_execution(ended).reason
    assert b"hunter22" not in world.output(ended, Stream.STDOUT).data


def test_what_was_read_stays_readable(
    world, server, sshd, tmp_path, gate, impatient, monkeypatch
):
    """A bucket that is away takes nothing back from readers."""
    first = tmp_path / "first"
    command = f"echo before; {waiting(first)}; echo more; {waiting(gate)}"
    run = run_now(world, world.add_task(server, command=command))
    world.deliver()

    def has_come():
        world.clock.move(seconds=6)
        world.handle(poll(run, server, live=True))
        return world.output(run, Stream.STDOUT).data == b"before\n"

    wait_until(has_come)
    first.touch()
    segments = (sshd.home / ".cronhop" / world.only_execution(run).key).glob
    wait_until(
        lambda: any(b"more" in one.read_bytes() for one in segments("stdout.*.*"))
    )
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", raising(OutputUnavailable("x")))
        world.clock.move(seconds=6)
        world.handle(poll(run, server, live=True))

    assert world.output(run, Stream.STDOUT).data == b"before\n"
    let_end(world, sshd, run, gate)
    ended = world.settle(run.run_id)
    assert world.output(ended, Stream.STDOUT).data == b"before\nmore\n"


def test_reboot_costs_no_output(world, server, sshd, gate, impatient):
    """The outcome is lost, what was written before is not; the host is clean."""
    command = f"{waiting(gate)}; echo precious; sleep 1000"
    run = run_now(world, world.add_task(server, command=command))
    world.deliver()
    world.messages()
    gate.touch()
    guard = sshd.home / ".cronhop" / world.only_execution(run).key
    wait_until(
        lambda: any(b"precious" in one.read_bytes() for one in guard.glob("stdout.*.*"))
    )
    (state,) = guard.glob("run.*")
    parts = state.name.split(".")
    parts[3] = "00000000-0000-0000-0000-000000000000"  # another boot
    state.rename(state.with_name(".".join(parts)))
    world.clock.move(seconds=20)
    world.handle(poll(run, server))

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (State.LOST, "host rebooted")
    assert world.output(ended, Stream.STDOUT).data == b"precious\n"
    assert list(guard.iterdir()) == []


def test_output_that_is_given_up_is_said_to_be(world, server, monkeypatch):
    """A day after the run's end, and not before, the reason says what is missing."""
    task = world.add_task(server, command="seq 1 20000", lost_after_s=300)
    run = run_now(world, task)
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", raising(OutputUnavailable("x")))
        world.deliver()
        go_on(world, times=10, minutes=6)
    assert world.only_execution(run).uncollected
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", raising(OutputUnavailable("x")))
        go_on(world, times=30, minutes=60)

    execution = world.only_execution(run)
    assert execution.reason == "its output could not be fetched whole"
    assert execution.next_poll is None


def test_alarm_of_a_host_key_is_made_up_for(world, sshd, monkeypatch):
    """SNS was away when the key was seen; the next run on the server tells."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    task = world.add_task(server)
    run = run_now(world, task)
    with monkeypatch.context() as patch:
        patch.setattr(
            world.topic._client,
            "publish",
            raising(ConnectionClosedError(endpoint_url="x")),
        )
        world.settle(run.run_id)
    assert world.alarms() == []
    world.settle(run_now(world, task).run_id)
    world.settle(run_now(world, task).run_id)

    keys = [one for one, _ in world.alarms() if "host key changed" in one]
    assert len(keys) == 1


def test_check_tells_of_a_host_key_too(world, sshd):
    """Whoever sees it first."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    world.servers.check(server.server_id, now=world.clock())
    world.deliver()

    ((subject, _),) = world.alarms()
    assert "host key changed" in subject


@pytest.mark.parametrize("status", [ServerStatus.MAINTENANCE, ServerStatus.DISABLED])
def test_attempt_that_cannot_follow_leaves_the_outcome(world, server, status):
    """A command that failed has failed, whatever keeps the next attempt away."""
    task = world.add_task(
        server, command="echo out; exit 3", retry=Retry(max_attempts=2, interval_s=60)
    )
    run = run_now(world, task)
    world.deliver()
    set_status(world, server, status)

    ended = world.settle(run.run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("exit code 3; attempt 2 was not started: the server")
    execution = world.only_execution(ended)
    assert (execution.attempt, execution.exit_code) == (1, 3)
    assert world.runs.attempts(execution) == []
    assert world.output(ended, Stream.STDOUT).data == b"out\n"
    assert len(world.alarms()) == 1


def test_stuck_command_has_its_grace(world, server, impatient, monkeypatch):
    """A visit that ends what the host does not waits as long as the grace is."""
    command = "trap 'sleep 3; exit 7' TERM; while :; do sleep 0.1; done"
    task = world.add_task(server, timeout_s=600, kill_grace_s=60, command=command)
    run = run_now(world, task)
    world.deliver()
    world.messages()
    world.clock.move(seconds=600 + 60 + 61)
    monkeypatch.setattr(commands, "CANCEL_S", 0.5)
    world.handle(poll(run, server))
    assert runs.get(run.run_id).state is State.RUNNING
    monkeypatch.setattr(commands, "CANCEL_S", 10)
    world.clock.move(seconds=30)
    world.handle(poll(run, server))

    ended = runs.get(run.run_id)
    assert ended.state is State.TIMEOUT
    assert world.only_execution(ended).exit_code == 7


def test_known_outcome_outlives_its_host(world, server, monkeypatch):
    """The exit code was seen; that the host goes away then does not unmake it."""
    task = world.add_task(
        server,
        command="seq 1 20000; exit 4",
        retry=Retry(max_attempts=2),
        lost_after_s=300,
        start_deadline_s=600,
    )
    run = run_now(world, task)
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", raising(OutputUnavailable("x")))
        world.deliver()
    monkeypatch.setattr(Connections, "to", raising(Unreachable("no route")))

    ended = world.settle(run.run_id, minutes=60)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("exit code 4; its output could not be fetched whole")
    assert world.only_execution(ended).exit_code == 4


def test_secret_replaced_between_attempts_withholds_nothing(world, server, tmp_path):
    """Each attempt has the value of its own start."""
    add_password(world)
    marks = tmp_path / "marks"
    command = f"echo x >> {marks}; [ $(wc -l < {marks}) -ge 2 ] || exit 4; echo fine $P"
    task = world.add_task(
        server,
        spec=Script(command=command, secrets={"P": "pw"}),
        retry=Retry(max_attempts=2, interval_s=1800),
    )
    run = run_now(world, task)
    world.deliver()
    world.clock.move(minutes=1)
    world.credentials.replace(
        "pw", Secret(password="other222"), version=None, now=world.clock()
    )

    ended = world.settle(run.run_id, minutes=90)

    assert world.output(ended, Stream.STDOUT).data == b"fine ********\n"


def test_what_was_forbidden_was_not_lost(world, server, monkeypatch):
    """A command that surely never started is failed."""
    run = run_now(world, world.add_task(server))
    ((start, _),) = world.messages()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "start", raising(Unreachable("reset")))
        world.handle(start)
    set_status(world, server, ServerStatus.MAINTENANCE)
    real = runner.forbid

    def half(*args, **kwargs):
        real(*args, **kwargs)
        raise Unreachable("reset")

    world.clock.move(seconds=31)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "forbid", half)
        world.handle(poll(run, server))
    set_status(world, server, ServerStatus.ENABLED)
    world.clock.move(seconds=31)
    world.handle(poll(run, server))

    assert runs.get(run.run_id).state is State.FAILED


def test_attempts_are_listed_once(world, server, monkeypatch):
    """Also if a cancel comes between an attempt's record and the next one."""
    task = world.add_task(
        server, command="exit 3", retry=Retry(max_attempts=5, interval_s=1)
    )
    run = run_now(world, task)
    world.deliver()
    world.clock.move(seconds=5)
    real = executions.retry

    def late(*args, **kwargs):
        world.runs.cancel(run.run_id, by="ada", now=world.clock())
        world.deliver()
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(executions, "retry", late)
        world.deliver()

    execution = world.only_execution(world.settle(run.run_id))
    listed = [one.attempt for one in world.runs.attempts(execution)]
    assert [*listed, execution.attempt] == [1, 2]


def test_lost_answer_of_a_cancel_is_no_conflict(world, server, monkeypatch):
    """Who cancelled a pending run is told that it is cancelled."""
    run = run_now(world, world.add_task(server))
    monkeypatch.setattr(runs, "refuse", repeated(runs.refuse))

    answer = world.runs.cancel(run.run_id, by="ada", now=world.clock())

    assert answer.state is State.CANCELLED


@pytest.mark.parametrize(
    ("error", "most"), [(Unreachable("timed out"), 45), (LoginRefused("refused"), 6)]
)
def test_cancel_is_no_storm(world, server, gate, impatient, monkeypatch, error, most):
    """A host that is away is asked every half minute, a refused login seldom."""
    run = run_now(world, world.add_task(server, command=waiting(gate)))
    world.deliver()
    world.messages()
    asked = []

    def to(*args, **kwargs):
        asked.append(1)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Connections, "to", to)
        world.runs.cancel(run.run_id, by="ada", now=world.clock())
        with pytest.raises(AssertionError):
            world.settle(run.run_id, minutes=20)

    assert 2 <= len(asked) <= most
    assert world.settle(run.run_id).state.is_terminal


def test_many_waiters_cost_little(world, sshd, gate, impatient, monkeypatch):
    """A full server is no reason to read what all its waiters do."""
    server = world.add_server(sshd, max_concurrency=1)
    task = world.add_task(server, command=waiting(gate), overlap=Overlap.ALLOW)
    made = [run_now(world, task) for _ in range(21)]
    world.deliver()
    world.messages()
    reads, real = [], executions.get

    def get(*args):
        reads.append(1)
        return real(*args)

    monkeypatch.setattr(executions, "get", get)
    world.clock.move(seconds=61)
    waiters = servers.get(server.server_id).waiting
    world.deliver([poll(run, server) for run in made if run.run_id in waiters])
    gate.touch()

    assert len(waiters) == 20
    assert len(reads) < 5 * len(waiters)


def test_death_between_attempts_leaves_no_files(world, server, sshd, monkeypatch):
    """What an attempt left on the host goes with the last one."""
    task = world.add_task(
        server, command="seq 1 20000; exit 4", retry=Retry(max_attempts=2)
    )
    run = run_now(world, task)
    real = executions.retry

    def dies(*args, **kwargs):
        real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(executions, "retry", dies)
        with pytest.raises(Killed):
            world.deliver()
    ended = world.settle(run.run_id, minutes=60)

    key = world.only_execution(ended).key_of(1)
    assert list((sshd.home / ".cronhop" / key).iterdir()) == []
