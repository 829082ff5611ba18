"""Further attempts: when they are due, what they leave on record, when they stop."""

import itertools

import pytest

from cronhop.domain.message import Message, MessageKind
from cronhop.domain.retry import Retry
from cronhop.domain.run import Outcome, State, Stream
from cronhop.errors import OutputUnavailable
from cronhop.services import commands
from cronhop.store import executions, runs, tasks


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def counting(tmp_path, until, code=3):
    """Return a command that fails with `code` until it is started `until` times."""
    marks = tmp_path / "marks"
    return (
        f"echo x >> {marks}; n=$(wc -l < {marks}); echo attempt $n; "
        f"[ $n -ge {until} ] || exit {code}"
    ), marks


def test_command_is_tried_until_it_completes(world, server, tmp_path):
    """Each attempt has its own outcome and output; the run ends as the last."""
    command, marks = counting(tmp_path, 3)
    task = world.add_task(server, command=command, retry=Retry(max_attempts=5))

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.COMPLETED
    assert marks.read_text() == "x\n" * 3
    execution = world.only_execution(ended)
    assert (execution.attempt, execution.exit_code) == (3, 0)
    first, second = world.runs.attempts(execution)
    assert (first.attempt, first.state, first.exit_code) == (1, State.FAILED, 3)
    assert (second.attempt, second.reason) == (2, "exit code 3")
    assert first.finished_at < second.started_at < execution.started_at
    for number in (1, 2, 3):
        page = world.runs.output(
            ended.run_id,
            server.server_id,
            Stream.STDOUT,
            offset=0,
            limit=100,
            attempt=number,
        )
        assert (page.data, page.complete) == (b"attempt %d\n" % number, True)
    assert world.alarms() == []


def test_last_attempt_fails_the_run_once(world, server, tmp_path):
    """After max_attempts the run is failed, and that is told once."""
    command, marks = counting(tmp_path, 99)
    task = world.add_task(server, command=command, retry=Retry(max_attempts=2))

    ended = world.settle(run_now(world, task).run_id)

    assert (ended.state, ended.reason) == (State.FAILED, "exit code 3")
    assert marks.read_text() == "x\n" * 2
    ((subject, text),) = world.alarms()
    assert subject.startswith("cronhop: failed: ")
    assert "exit code 3" in text
    assert tasks.get(task.task_id).active_run is None


def test_intervals_grow_up_to_the_longest(world, server, tmp_path):
    """Times between attempts: interval, times backoff, at most the maximum."""
    command, _ = counting(tmp_path, 99)
    policy = Retry(max_attempts=5, interval_s=100, backoff=3.0, max_interval_s=400)
    task = world.add_task(server, command=command, retry=policy)

    ended = world.settle(run_now(world, task).run_id)

    execution = world.only_execution(ended)
    every = [*world.runs.attempts(execution), execution]
    gaps = [
        round((later.started_at - earlier.finished_at).total_seconds())
        for earlier, later in itertools.pairwise(every)
    ]
    assert gaps == [100, 300, 400, 400]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Retry(max_attempts=3, on=(State.TIMEOUT,)), 3),
        (Retry(max_attempts=3, exit_codes=(75,)), 3),
        (Retry(max_attempts=1), 3),
    ],
    ids=["only on timeout", "only exit code 75", "no retry"],
)
def test_other_outcomes_are_final(world, server, tmp_path, policy, code):
    """What the task does not name is not tried again."""
    command, marks = counting(tmp_path, 99, code)
    task = world.add_task(server, command=command, retry=policy)

    assert world.settle(run_now(world, task).run_id).state is State.FAILED
    assert marks.read_text() == "x\n"


def test_timeout_is_tried_again(world, server, tmp_path):
    """A command that hung may do better the next time."""
    marks = tmp_path / "marks"
    command = f"echo x >> {marks}; [ $(wc -l < {marks}) -ge 2 ] || sleep 100"
    task = world.add_task(
        server,
        command=command,
        timeout_s=1,
        kill_grace_s=1,
        retry=Retry(max_attempts=2),
    )

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.COMPLETED
    (first,) = world.runs.attempts(world.only_execution(ended))
    assert first.state is State.TIMEOUT


def test_early_and_repeated_messages_start_nothing(world, server, tmp_path):
    """Before its time nobody starts an attempt; at its time one does."""
    command, marks = counting(tmp_path, 99)
    policy = Retry(max_attempts=2, interval_s=600)
    task = world.add_task(server, command=command, retry=policy)
    run = run_now(world, task)
    ((start, _),) = world.messages()
    world.deliver([start] * 3)
    poll = Message(
        kind=MessageKind.POLL,
        run_id=run.run_id,
        server_id=server.server_id,
        group="x",
    )
    check = Message(kind=MessageKind.CHECK, run_id=run.run_id, group="x")

    world.clock.move(seconds=590)
    world.deliver([poll, check, start] * 2)
    assert marks.read_text() == "x\n"
    assert "attempt 1 of 2: exit code 3" in runs.get(run.run_id).reason
    world.clock.move(seconds=20)
    world.deliver([poll, check, start] * 2)

    assert marks.read_text() == "x\n" * 2
    assert runs.get(run.run_id).state is State.FAILED


def test_deadline_is_for_the_first_start(world, server, tmp_path):
    """An attempt may be due long after the start deadline of its run."""
    command, _ = counting(tmp_path, 2)
    policy = Retry(max_attempts=2, interval_s=1200)
    task = world.add_task(server, command=command, start_deadline_s=60, retry=policy)

    assert (
        world.settle(run_now(world, task).run_id, minutes=60).state is State.COMPLETED
    )


def test_unreachable_host_is_no_attempt(world, sshd, tmp_path):
    """Waiting for a host uses no attempt up; the deadline ends it."""
    server = world.add_server(sshd, port=1)
    task = world.add_task(
        server, start_deadline_s=300, retry=Retry(max_attempts=3, interval_s=1)
    )

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("unreachable")
    assert world.only_execution(ended).attempt == 1


def test_output_of_an_attempt_comes_before_the_next(
    world, server, tmp_path, monkeypatch
):
    """A bucket that is out for a moment costs no attempt its output."""
    marks = tmp_path / "marks"
    command = (
        f"echo x >> {marks}; n=$(wc -l < {marks}); seq 1 20000; [ $n -ge 2 ] || exit 4"
    )
    task = world.add_task(server, command=command, retry=Retry(max_attempts=2))

    def keep(*args, **kwargs):
        raise OutputUnavailable("ClientError")

    run = run_now(world, task)
    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "keep", keep)
        world.deliver()
    assert marks.read_text() == "x\n"
    ended = world.settle(run.run_id)

    expected = "".join(f"{number}\n" for number in range(1, 20001)).encode()
    for number in (1, 2):
        page = world.runs.output(
            ended.run_id,
            server.server_id,
            Stream.STDOUT,
            offset=0,
            limit=1_000_000,
            attempt=number,
        )
        assert (page.data, page.complete) == (expected, True)


def test_stale_visitor_ends_no_later_attempt(world, server, tmp_path, monkeypatch):
    """Who saw the first attempt end, and comes late, changes nothing of the second."""
    command, marks = counting(tmp_path, 2)
    task = world.add_task(server, command=command, retry=Retry(max_attempts=3))
    run = run_now(world, task)
    ((start, _),) = world.messages()
    real = executions.retry
    stale = []

    def retry(execution, **kwargs):
        if not stale:
            # Another visitor gets ahead, between this one's look and its write.
            stale.append(execution)
            world.clock.move(minutes=10)
            world.handle(start)
        return real(execution, **kwargs)

    monkeypatch.setattr(executions, "retry", retry)
    world.handle(start)
    ended = world.settle(run.run_id)

    assert ended.state is State.COMPLETED
    assert marks.read_text() == "x\n" * 2
    assert world.only_execution(ended).attempt == 2


def test_jitter_only_makes_intervals_longer():
    """It is drawn from the attempt's name, the same for who asks again."""

    outcome = Outcome(state=State.FAILED, exit_code=1, is_attempt=True)
    policy = Retry(max_attempts=9, interval_s=100, jitter=0.5)
    drawn = [policy.delay_s(outcome, attempt=1, seed=str(i)) for i in range(200)]

    assert min(drawn) >= 100
    assert max(drawn) <= 150
    assert max(drawn) - min(drawn) > 30
    assert drawn[0] == policy.delay_s(outcome, attempt=1, seed="0")


def test_left_commands_are_retried_too(world, server, tmp_path, monkeypatch):
    """An attempt that outlives its visit is followed as any other."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.0)
    command, marks = counting(tmp_path, 2)
    task = world.add_task(
        server, command=f"sleep 0.3; {command}", retry=Retry(max_attempts=2)
    )
    run = run_now(world, task)
    world.deliver()
    assert world.only_execution(run).state is State.RUNNING
    monkeypatch.setattr(commands, "ATTACH_S", 5.0)

    ended = world.settle(run.run_id)

    assert ended.state is State.COMPLETED
    assert marks.read_text() == "x\n" * 2
    assert world.only_execution(ended).next_poll is None


def test_nothing_is_left_on_the_host(world, server, sshd, tmp_path):
    """Each attempt leaves its guard, empty."""
    command, _ = counting(tmp_path, 3)
    task = world.add_task(server, command=command, retry=Retry(max_attempts=3))
    before = {guard.name for guard in (sshd.home / ".cronhop").glob("*")}

    ended = world.settle(run_now(world, task).run_id)

    guards = [
        guard
        for guard in (sshd.home / ".cronhop").iterdir()
        if guard.name not in before
    ]
    prefix = f"{ended.run_id}-{server.server_id}"
    assert sorted(guard.name for guard in guards) == [
        f"{prefix}-{number}" for number in (1, 2, 3)
    ]
    assert [list(guard.iterdir()) for guard in guards] == [[], [], []]
