"""Output while it grows: read by offset, byte for byte, before the command ends."""

import base64

from cronhop.domain.credential import Secret
from cronhop.domain.message import MessageKind
from cronhop.domain.run import State, Stream
from cronhop.domain.task import Script
from cronhop.store import executions
from tests.sshd import wait_until


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def read_all(world, run, stream=Stream.STDOUT, *, limit=100_000):
    """Return all there is of a stream by now, read page by page."""
    data, page = b"", None
    while page is None or page.data:
        page = world.output(run, stream, offset=len(data), limit=limit)
        data += page.data
    return data, page


def look(world, run):
    """Ask for a visit now, and let it be made."""
    execution = world.only_execution(run)
    asked = world.runs.poll(run.run_id, execution.server_id, now=world.clock())
    world.deliver()
    return asked


def poll_until(world, run, expected):
    """Let readers ask until they have read this."""

    def has_come():
        world.clock.move(seconds=6)
        look(world, run)
        return read_all(world, run)[0] == expected

    wait_until(has_come)


def test_output_is_read_while_it_grows(world, server, gate, impatient):
    """A reader who asks sees what the command has written by now."""
    command = f"echo one; until [ -e {gate} ]; do sleep 0.05; done; echo two"
    run = run_now(world, world.add_task(server, command=command))
    world.deliver()
    poll_until(world, run, b"one\n")

    page = world.output(run, Stream.STDOUT)
    assert (page.data, page.complete, page.truncated_bytes) == (b"one\n", False, 0)
    gate.touch()
    ended = world.settle(run.run_id)

    page = world.output(ended, Stream.STDOUT)
    assert (page.data, page.complete) == (b"one\ntwo\n", True)


def test_growing_log_is_not_torn(world, server, tmp_path, impatient):
    """However often it is looked at meanwhile, the log is exact at every step."""
    ticket = tmp_path / "ticket"
    ticket.write_text("0")
    command = (
        "n=1; while [ $n -le 6 ]; do "
        f"until [ $(cat {ticket}) -ge $n ]; do sleep 0.02; done; "
        "seq $((n * 100000)) $((n * 100000 + 30000)); n=$((n + 1)); done"
    )
    run = run_now(world, world.add_task(server, command=command))
    world.deliver()
    expected = b""
    for number in range(1, 7):
        ticket.write_text(str(number))
        first = number * 100000
        expected += "".join(f"{one}\n" for one in range(first, first + 30001)).encode()
        if number < 6:
            poll_until(world, run, expected)
    ended = world.settle(run.run_id)

    data, page = read_all(world, ended)
    assert data == expected
    assert page.complete
    chunks = world.only_execution(ended).stdout.chunks
    assert all(chunk.end - chunk.first == 256 * 1024 for chunk in chunks[:-1])


def test_secret_is_masked_while_it_is_written(world, server, gate, impatient):
    """A secret of which only the first half is there yet is not shown."""
    world.credentials.create(
        "pass", Secret(password="abcdefgh"), by="tester", now=world.clock()
    )
    spec = Script(
        command=(
            'printf "%.4s" "$P"; '
            f"until [ -e {gate} ]; do sleep 0.05; done; "
            'printf "%s" "${P#????}"; echo end'
        ),
        secrets={"P": "pass"},
    )
    run = run_now(world, world.add_task(server, spec=spec))
    world.deliver()
    for _ in range(3):
        world.clock.move(seconds=6)
        look(world, run)
        assert read_all(world, run)[0] == b""
    gate.touch()
    ended = world.settle(run.run_id)

    assert read_all(world, ended)[0] == b"********end\n"


def test_readers_cause_no_storm(world, server, gate, impatient):
    """Many readers make one visit in five seconds, and none when nothing runs."""
    task = world.add_task(server, command=f"until [ -e {gate} ]; do sleep 0.05; done")
    run = run_now(world, task)
    world.deliver()
    world.messages()
    server_id = server.server_id
    world.clock.move(seconds=1)

    asked = [
        world.runs.poll(run.run_id, server_id, now=world.clock()) for _ in range(20)
    ]
    assert asked == [True] + [False] * 19
    ((poll, _),) = world.messages()
    assert (poll.kind, poll.live) == (MessageKind.POLL, True)
    world.clock.move(seconds=6)
    assert world.runs.poll(run.run_id, server_id, now=world.clock())
    gate.touch()
    world.settle(run.run_id)
    assert not world.runs.poll(run.run_id, server_id, now=world.clock())


def test_looking_does_not_disturb_the_polls(world, server, gate, impatient):
    """The visits that a reader asks for are beside the others, not instead."""
    task = world.add_task(server, command=f"until [ -e {gate} ]; do sleep 0.05; done")
    run = run_now(world, task)
    world.deliver()
    ((first, delay_s),) = world.messages()
    assert delay_s == 15
    world.clock.move(seconds=6)
    assert look(world, run)
    world.clock.move(seconds=9)
    world.handle(first)

    ((second, delay_s),) = world.messages()
    assert (second.kind, delay_s) == (MessageKind.POLL, 30)
    assert world.only_execution(run).next_poll > world.clock()
    gate.touch()
    assert world.settle(run.run_id).state is State.COMPLETED


def test_any_bytes_survive(world, server):
    """Binary, NUL, invalid UTF-8 and a line of 10 MB come back as they were."""
    raw = bytes(range(256)) * 64 + b"\xff\xfe\x00\x80" * 100
    text = base64.b64encode(raw).decode()
    command = (
        f"echo {text} | base64 -d; head -c 9000000 /dev/zero | tr '\\0' x; "
        f"echo {text} | base64 -d >&2"
    )
    run = run_now(world, world.add_task(server, command=command))
    ended = world.settle(run.run_id)

    data, _ = read_all(world, ended, limit=5_000_000)
    assert data == raw + b"x" * 9_000_000
    assert read_all(world, ended, Stream.STDERR)[0] == raw


def test_lost_command_keeps_what_was_read(world, sshd, gate, impatient):
    """What was brought home before the host vanished stays readable."""
    server = world.add_server(sshd)
    command = f"echo before; until [ -e {gate} ]; do sleep 0.05; done"
    task = world.add_task(server, command=command, lost_after_s=300)
    run = run_now(world, task)
    world.deliver()
    poll_until(world, run, b"before\n")
    guard = sshd.home / ".cronhop" / world.only_execution(run).key
    guard.rename(guard.with_name("elsewhere-" + guard.name))
    gate.touch()

    ended = world.settle(run.run_id)

    assert ended.state is State.LOST
    page = world.output(ended, Stream.STDOUT)
    assert (page.data, page.complete) == (b"before\n", True)
    assert executions.get(ended.run_id, server.server_id).next_poll is None
