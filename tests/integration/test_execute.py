"""Executions on a real sshd: one start, one outcome, all of the output."""

import os
import signal
from contextlib import suppress
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest

from cronhop.domain.credential import Secret
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.run import State, Stream
from cronhop.domain.server import ServerDefinition, ServerStatus
from cronhop.domain.task import OUTPUT_CAP_BYTES as CAP_BYTES
from cronhop.domain.task import Overlap, Script
from cronhop.services import commands
from cronhop.store import connection, runs, tasks
from tests.sshd import keypair
from tests.world import PREFIX


@pytest.fixture
def starts(sshd, tmp_path):
    """A command that leaves a line each time it is started, and the count."""
    marks = tmp_path / "starts"

    class Starts:
        command = f"echo started >> {marks}"

        @property
        def count(self):
            return len(marks.read_text().splitlines()) if marks.exists() else 0

    return Starts()


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def run_command(world, server, command, **changes):
    """Run a command by hand; return the run as it ended."""
    task = world.add_task(server, command=command, **changes)
    return world.settle(run_now(world, task).run_id)


def test_output_and_exit_code_are_recorded(world, server):
    """The run ends as its command did, both streams apart."""
    run = run_command(world, server, "echo out; echo err >&2; exit 7")

    assert (run.state, run.reason) == (State.FAILED, "exit code 7")
    execution = world.only_execution(run)
    assert (execution.state, execution.exit_code) == (State.FAILED, 7)
    assert execution.next_poll is None
    assert world.output(run, Stream.STDOUT).data == b"out\n"
    page = world.output(run, Stream.STDERR)
    assert (page.data, page.complete, page.total_bytes) == (b"err\n", True, 4)
    assert tasks.get(run.task_id).active_run is None


def test_host_keeps_only_the_guard(world, server, sshd):
    """After the outcome the execution's directory is there and empty."""
    run = run_command(world, server, "echo hello")

    guard = sshd.home / ".cronhop" / world.only_execution(run).key
    assert list(guard.iterdir()) == []


def test_timeout_ends_the_command(world, server):
    """The host ends what runs too long; what it wrote is kept."""
    run = run_command(
        world, server, "echo before; sleep 300", timeout_s=1, kill_grace_s=1
    )

    assert run.state is State.TIMEOUT
    assert world.output(run, Stream.STDOUT).data == b"before\n"


def test_what_outlives_the_timeout_is_said(world, server, sshd):
    """A process that left the command's group is not killed, but counted."""
    command = "setsid sleep 30 & wait"
    run = run_command(world, server, command, timeout_s=1, kill_grace_s=1)

    assert run.state is State.TIMEOUT
    assert run.reason == "ended by its timeout; 1 of its processes outlived it"
    key = world.only_execution(run).key
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"CRONHOP_EXECUTION={key}".encode() in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)


def test_what_outlives_its_command_is_said(world, server):
    """Its later output is on record nowhere, so the run says that there may be some."""
    run = run_command(world, server, "sleep 5 & echo now")

    assert run.state is State.COMPLETED
    assert run.reason == "1 of its processes outlived it, what they write is not kept"
    assert world.output(run, Stream.STDOUT).data == b"now\n"


def test_environment_and_secrets_reach_the_command(world, server):
    """Values arrive byte for byte; a secret is masked in what is kept."""
    world.credentials.create(
        "db-pass", Secret(password="s3cr3t & 'more'"), by="tester", now=world.clock()
    )
    spec = Script(
        command='printf "%s|%s|" "$PLAIN" "$PASS"; printf %s "$PASS" | wc -c',
        environment={"PLAIN": "a 'b' \"c\" $d\n"},
        secrets={"PASS": "db-pass"},
    )
    run = run_command(world, server, "", spec=spec)

    kept = world.output(run, Stream.STDOUT).data
    assert kept == b"a 'b' \"c\" $d\n|" + b"*" * 15 + b"|15\n"
    assert "s3cr3t" not in world.dump()


@pytest.mark.parametrize("name", ["B", "L", "N", "S", "BOOL", "NULL"])
def test_a_secret_may_be_named_like_a_type_of_the_store(world, server, name):
    """The variable's name is the user's, whatever the store calls its types."""
    world.credentials.create(
        "pass", Secret(password="s3cr3t"), by="tester", now=world.clock()
    )
    spec = Script(command=f'printf %s "${name}" | wc -c', secrets={name: "pass"})

    run = run_command(world, server, "", spec=spec)

    assert run.state is State.COMPLETED
    assert world.output(run, Stream.STDOUT).data.strip() == b"6"


def test_long_output_lies_in_the_bucket(world, server):
    """Any page of it is read by offset, whole and exact."""
    run = run_command(world, server, "seq 1 400000")

    expected = "".join(f"{number}\n" for number in range(1, 400001)).encode()
    offset, read = 0, b""
    while True:
        page = world.output(run, Stream.STDOUT, offset=offset, limit=500_000)
        read += page.data
        offset = page.next_offset
        if page.complete:
            break
    assert read == expected
    middle = world.output(run, Stream.STDOUT, offset=1_234_567, limit=100).data
    assert middle == expected[1_234_567:1_234_667]


def test_output_beyond_the_cap_keeps_both_ends(world, server):
    """The middle is dropped and counted; a read in it goes on at the tail."""
    total = 3 * CAP_BYTES
    run = run_command(
        world,
        server,
        f"printf BEGIN; head -c {total - 8} /dev/zero; printf END",
    )

    assert run.state is State.COMPLETED
    first = world.output(run, Stream.STDOUT)
    assert first.data.startswith(b"BEGIN")
    assert first.total_bytes == total
    assert first.truncated_bytes == total - CAP_BYTES
    gap = world.output(run, Stream.STDOUT, offset=CAP_BYTES)
    assert (gap.data, gap.next_offset) == (b"", total - CAP_BYTES // 2)
    last = world.output(run, Stream.STDOUT, offset=total - 3)
    assert (last.data, last.complete) == (b"END", True)


def test_secret_across_chunk_edges_is_masked(world, server, monkeypatch):
    """A secret is found wherever a chunk ends."""
    monkeypatch.setattr("cronhop.services.collect.CHUNK_BYTES", 10_007)
    world.credentials.create(
        "long", Secret(password="TOPSECRET"), by="tester", now=world.clock()
    )
    spec = Script(
        command='i=0; while [ $i -lt 5000 ]; do echo "$P"; i=$((i+1)); done',
        secrets={"P": "long"},
    )
    run = run_command(world, server, "", spec=spec)

    read = b""
    for _ in range(10):
        read += world.output(run, Stream.STDOUT, offset=len(read)).data
    assert read == b"*********\n" * 5000


def test_long_command_is_left_and_found_again(world, server, tmp_path, monkeypatch):
    """A command that outlives the visit is polled, and started once."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)
    gate = tmp_path / "gate"
    marks = tmp_path / "marks"
    command = f"echo x >> {marks}; until [ -e {gate} ]; do sleep 0.05; done; echo end"
    task = world.add_task(server, command=command)
    run = run_now(world, task)
    world.deliver()

    execution = world.only_execution(run)
    assert execution.state is State.RUNNING
    assert runs.get(run.run_id).state is State.RUNNING
    ((poll, delay),) = world.messages()
    assert (poll.kind, delay, poll.hops) == (MessageKind.POLL, 15, 1)
    world.clock.move(seconds=15)
    world.handle(poll)
    world.messages()  # the second one is lost
    gate.touch()
    monkeypatch.setattr(commands, "ATTACH_S", 5)
    ended = world.settle(run.run_id)

    assert ended.state is State.COMPLETED
    assert world.output(ended, Stream.STDOUT).data == b"end\n"
    assert marks.read_text() == "x\n"


def test_each_message_three_times_starts_once(world, server, starts):
    """Duplicates meet the claim, the guard and the outcome."""
    task = world.add_task(server, command=starts.command, cron="* * * * *")
    world.messages()
    world.clock.now = tasks.get(task.task_id).next_run
    world.tick()
    messages = [message for message, _ in world.messages()][:1]

    world.deliver(messages, times=3)
    world.deliver(messages * 2)

    assert starts.count == 1
    assert runs.get(messages[0].run_id).state is State.COMPLETED


def test_forged_messages_start_nothing(world, server, starts):
    """An unknown run, or a server that is no target, is dropped."""
    task = world.add_task(server, command=starts.command)
    run = run_now(world, task)
    world.messages()
    other = world.add_server()
    unknown = Message(
        kind=MessageKind.START, run_id="01J00000000000000000000000", group="x"
    )
    foreign = Message(
        kind=MessageKind.POLL, run_id=run.run_id, server_id=other.server_id, group="x"
    )
    early = replace(foreign, server_id=server.server_id)

    world.deliver([unknown, foreign, early])

    assert starts.count == 0
    assert runs.get(run.run_id).state is State.PENDING


def test_changed_host_key_is_refused(world, sshd, starts):
    """Nothing is sent to a host with another key; both fingerprints are shown."""
    _, other = keypair()
    server = world.add_server(sshd, host_keys=(other,))

    run = run_command(world, server, starts.command)

    assert run.state is State.FAILED
    assert run.reason.startswith("host_key: ")
    assert run.reason.count("SHA256:") == 2
    assert starts.count == 0


def test_wrong_credential_is_not_tried_again(world, sshd, starts):
    """A refused login ends the run at once."""
    server = world.add_server(sshd)
    private, _ = keypair()
    world.credentials.replace(
        server.credential, Secret(private_key=private), version=None, now=world.clock()
    )

    task = world.add_task(server, command=starts.command)
    run = run_now(world, task)
    world.deliver()

    ended = runs.get(run.run_id)
    assert ended.state is State.FAILED
    assert ended.reason.startswith("auth: ")
    assert starts.count == 0


def test_unreachable_host_is_waited_out(world, sshd, starts):
    """A host that comes back in time runs the command; one that does not fails it."""
    server = world.add_server(sshd, port=1)
    task = world.add_task(server, command=starts.command, start_deadline_s=300)
    first = run_now(world, task)
    world.deliver()

    waiting = world.only_execution(first)
    assert waiting.state is State.PENDING
    assert waiting.reason.startswith("unreachable: ")
    assert waiting.first_visit is None
    assert runs.get(first.run_id).reason == waiting.reason
    move(world, server, port=sshd.port)
    assert world.settle(first.run_id).state is State.COMPLETED
    assert starts.count == 1

    move(world, server, port=1)
    second = run_now(world, task)
    ended = world.settle(second.run_id)
    assert ended.state is State.FAILED
    assert ended.reason.startswith("unreachable: ")
    assert starts.count == 1


def move(world, server, *, port):
    """Let the server be at another port."""
    present = vars(world.servers.get(server.server_id))
    names = [one.name for one in fields(ServerDefinition)]
    definition = ServerDefinition(
        **{name: present[name] for name in names} | {"port": port}
    )
    world.servers.change(server.server_id, definition, version=None, now=world.clock())


def test_late_run_is_missed(world, server, starts):
    """A run later than its start deadline is not started."""
    task = world.add_task(server, command=starts.command, start_deadline_s=60)
    run = run_now(world, task)
    world.clock.move(seconds=61)

    assert world.settle(run.run_id).state is State.MISSED
    assert starts.count == 0


def test_message_before_its_slot_waits(world, server, starts):
    """The gate never passes before the slot, however early the message is."""
    task = world.add_task(server, command=starts.command, cron="*/5 * * * *")
    world.clock.now = task.next_run - timedelta(seconds=60)
    world.tick()
    ((message, _),) = world.messages()

    world.handle(message)

    assert starts.count == 0
    ((again, delay),) = world.messages()
    assert (again.hops, delay) == (1, 60)
    world.clock.move(seconds=57)
    world.handle(again)
    assert world.clock() == task.next_run
    assert starts.count == 1


def test_overlapping_run_is_skipped(world, server, starts, tmp_path, monkeypatch):
    """While a run is under way the next is skipped, and says by which."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)
    gate = tmp_path / "gate"
    task = world.add_task(server, command=f"until [ -e {gate} ]; do sleep 0.05; done")
    first = run_now(world, task)
    world.deliver()
    world.messages()

    second = run_now(world, task)
    world.deliver()

    skipped = runs.get(second.run_id)
    assert skipped.state is State.SKIPPED
    assert first.run_id in skipped.reason
    gate.touch()
    monkeypatch.setattr(commands, "ATTACH_S", 5)
    assert world.settle(first.run_id).state is State.COMPLETED
    third = run_now(world, task)
    assert world.settle(third.run_id).state is State.COMPLETED


def test_phantom_holder_blocks_nobody(world, server):
    """A task held by a run that has ended, or is gone, is free."""
    task = world.add_task(server)
    ended = world.settle(run_now(world, task).run_id)
    for phantom in (ended.run_id, "01J00000000000000000000000"):
        row = tasks.TaskRow(task_id=task.task_id)
        row.update(actions=[tasks.TaskRow.active_run.set(phantom)])

        run = world.settle(run_now(world, task).run_id)

        assert run.state is State.COMPLETED
        assert tasks.get(task.task_id).active_run is None


def test_overlap_allowed_runs_side_by_side(world, server, tmp_path, monkeypatch):
    """With `allow` both run."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)
    gate = tmp_path / "gate"
    task = world.add_task(
        server,
        command=f"until [ -e {gate} ]; do sleep 0.05; done",
        overlap=Overlap.ALLOW,
    )
    both = [run_now(world, task), run_now(world, task)]
    world.deliver()

    states = {runs.get(run.run_id).state for run in both}
    assert states == {State.RUNNING}
    gate.touch()
    monkeypatch.setattr(commands, "ATTACH_S", 5)
    for run in both:
        assert world.settle(run.run_id).state is State.COMPLETED


@pytest.mark.parametrize("change", ["disabled", "deleted", "superseded"])
def test_slot_of_a_changed_task_is_skipped(world, server, starts, change):
    """Between dispatch and start the task may be taken away; the row says so."""
    task = world.add_task(server, command=starts.command, cron="*/5 * * * *")
    world.clock.now = task.next_run
    world.tick()
    now = world.clock()
    if change == "deleted":
        world.tasks.delete(task.task_id, version=None, now=now)
    else:
        definition = (
            replace(task.definition, enabled=False)
            if change == "disabled"
            else replace(
                task.definition,
                schedule=replace(task.definition.schedule, cron="59 23 31 12 *"),
            )
        )
        world.tasks.change(task.task_id, definition, version=None, by="tester", now=now)

    world.deliver()

    (run,) = world.all_runs()
    assert run.state is State.SKIPPED
    assert change in run.reason
    assert starts.count == 0


def test_slot_that_a_changed_schedule_still_has_runs(world, server, starts):
    """An edit that keeps the slot keeps its run, with the new command."""
    task = world.add_task(server, command="false", cron="0 * * * *")
    world.clock.now = task.next_run
    world.tick()
    definition = replace(
        task.definition,
        spec=Script(command=starts.command),
        schedule=replace(task.definition.schedule, cron="*/30 * * * *"),
    )
    world.tasks.change(
        task.task_id, definition, version=None, by="tester", now=world.clock()
    )

    world.deliver()

    run = world.all_runs()[0]
    assert (run.state, run.task_version) == (State.COMPLETED, 2)
    assert starts.count == 1


def test_disabled_server_is_skipped(world, sshd, starts):
    """Nothing is started on a server that is disabled."""
    server = world.add_server(sshd, status=ServerStatus.DISABLED)

    run = run_command(world, server, starts.command)

    assert (run.state, run.reason) == (State.SKIPPED, "the server is disabled")
    assert starts.count == 0


def test_vanished_guard_is_lost_not_restarted(world, server, sshd, starts, monkeypatch):
    """A command on record as started is never started again."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)
    task = world.add_task(server, command=f"{starts.command}; sleep 60", timeout_s=30)
    run = run_now(world, task)
    world.deliver()
    execution = world.only_execution(run)
    guard = sshd.home / ".cronhop" / execution.key
    assert execution.state is State.RUNNING
    guard.rename(guard.with_name("elsewhere"))

    ended = world.settle(run.run_id)

    assert ended.state is State.LOST
    assert starts.count == 1


def test_silent_host_is_lost_after_a_day(world, server, sshd, starts, monkeypatch):
    """A host that vanishes mid-run leaves no run running for ever."""
    monkeypatch.setattr(commands, "ATTACH_S", 0.05)
    task = world.add_task(
        server, command=f"{starts.command}; sleep 20", timeout_s=30, lost_after_s=1200
    )
    run = run_now(world, task)
    world.deliver()
    world.messages()
    execution = world.only_execution(run)
    assert execution.state is State.RUNNING
    move(world, server, port=1)

    ended = world.settle(run.run_id, minutes=60)

    assert ended.state is State.LOST
    assert "unreachable" in ended.reason


def test_run_names_the_version_it_ran(world, server):
    """An edit after the gate does not change what runs."""
    task = world.add_task(server, command="echo one")
    run = world.settle(run_now(world, task).run_id)
    definition = replace(task.definition, spec=Script(command="echo two"))
    world.tasks.change(
        task.task_id, definition, version=None, by="tester", now=world.clock()
    )
    later = world.settle(run_now(world, task).run_id)

    assert world.output(run, Stream.STDOUT).data == b"one\n"
    assert world.output(later, Stream.STDOUT).data == b"two\n"
    assert (run.task_version, later.task_version) == (1, 2)


def test_calls_of_a_scheduled_run(world, server):
    """A slot on one server costs these calls to AWS, each waited for, and no other."""
    run_command(world, server, "true")  # the secret is known from here on
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run
    world.tick()
    messages = [message for message, _ in world.messages()]
    made = []

    def note(params, model, **kwargs):
        (table,) = params.get("RequestItems") or [params["TableName"]]
        made.append(f"{model.name} {table.removeprefix(PREFIX)}")

    events = connection.client().meta.events
    events.register("provide-client-params.dynamodb", note)
    world.deathtrap.set_lossy(None)  # it counts calls of all clients
    world.deliver(messages)

    assert made == [
        "GetItem runs",
        "BatchGetItem tasks",  # and whether the stack is frozen
        "UpdateItem tasks",  # its active run
        "UpdateItem runs",  # begin
        "UpdateItem executions",  # claim
        "GetItem servers",
        "GetItem credentials",
        "UpdateItem executions",  # outcome
        "UpdateItem runs",  # end
        "UpdateItem tasks",  # free for the next run
        "UpdateItem executions",  # nobody needs to come back
    ]
    assert world.deathtrap.calls == len(made)
    made.clear()
    world.deliver(messages)
    assert made == ["GetItem runs"]
