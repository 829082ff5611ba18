"""File transfers and service controls as tasks: from the ledger to the host."""

import time
from hashlib import sha256

import boto3
import pytest

from cronhop.domain.retry import Retry
from cronhop.domain.run import State, Stream
from cronhop.domain.service import Action, ServiceControl
from cronhop.domain.task import Script, TaskKind
from cronhop.domain.transfer import Direction, FileTransfer
from cronhop.errors import ObjectUnavailable, Unreachable
from cronhop.services import transfer
from cronhop.ssh.connection import Connection
from cronhop.store import executions, runs
from tests import systemctl
from tests.sshd import keypair
from tests.world import REGION, Killed

BUCKET = "test-transfers"


@pytest.fixture
def bucket(world, monkeypatch):
    """The bucket that a stack was given for transfers."""
    client = boto3.client("s3", region_name=REGION)
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    monkeypatch.setattr(world.files, "_bucket", BUCKET)
    return client


def run_now(world, task):
    return world.tasks.run(task.task_id, by="tester", now=world.clock())


def add_transfer(world, server, direction=Direction.UPLOAD, **spec):
    changes = {name: spec.pop(name) for name in ("retry", "timeout_s") if name in spec}
    return world.add_task(
        server,
        kind=TaskKind.FILE_TRANSFER,
        spec=FileTransfer(direction=direction, **spec),
        **changes,
    )


def test_inline_content_arrives(world, server, tmp_path):
    """The run says what has arrived, and where."""
    path = tmp_path / "app.conf"
    task = add_transfer(world, server, path=str(path), content="x = 1\n", mode="0640")

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.COMPLETED
    assert path.read_text() == "x = 1\n"
    assert path.stat().st_mode & 0o777 == 0o640
    summary = world.output(ended, Stream.STDOUT).data.decode()
    assert str(path) in summary
    assert sha256(b"x = 1\n").hexdigest() in summary
    execution = world.only_execution(ended)
    assert (execution.exit_code, execution.next_poll) == (None, None)
    assert execution.started_at <= execution.finished_at


def test_objects_come_and_go(world, server, bucket, tmp_path):
    """An object to the server, and a file from it."""
    data = bytes(range(256)) * 1000
    bucket.put_object(Bucket=BUCKET, Key="in/data", Body=data)
    path = tmp_path / "data"
    up = add_transfer(world, server, path=str(path), object_key="in/data")
    down = add_transfer(
        world, server, Direction.DOWNLOAD, path=str(path), object_key="out/data"
    )

    assert world.settle(run_now(world, up).run_id).state is State.COMPLETED
    assert path.read_bytes() == data
    assert world.settle(run_now(world, down).run_id).state is State.COMPLETED
    assert bucket.get_object(Bucket=BUCKET, Key="out/data")["Body"].read() == data


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"path": "/nowhere/file", "content": "x"}, "file: "),
        ({"path": "file", "object_key": "none"}, "transfer bucket: "),
    ],
)
def test_what_cannot_be_is_failed(world, server, bucket, spec, reason):
    """A missing directory, a missing object: failed with the reason, told of once."""
    ended = world.settle(run_now(world, add_transfer(world, server, **spec)).run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith(reason)
    assert len(world.alarms()) == 1


def test_failed_transfer_is_tried_again(world, server, tmp_path):
    """The retry policy is for transfers too."""
    path = tmp_path / "late" / "file"
    task = add_transfer(
        world, server, path=str(path), content="x", retry=Retry(max_attempts=2)
    )
    run = run_now(world, task)
    world.deliver()
    path.parent.mkdir()

    ended = world.settle(run.run_id)

    assert ended.state is State.COMPLETED
    assert world.only_execution(ended).attempt == 2
    assert path.read_text() == "x"


def test_broken_connection_starts_it_over(world, server, tmp_path, monkeypatch):
    """A cut is no failure and no attempt: it is done again, whole."""
    path = tmp_path / "file"
    task = add_transfer(world, server, path=str(path), content="x" * 1000)
    run = run_now(world, task)
    cuts = []
    real = transfer.transfer

    def cut(*args, **kwargs):
        if len(cuts) < 2:
            cuts.append(1)
            raise [Unreachable("reset"), ObjectUnavailable("throttled")][len(cuts) - 1]
        return real(*args, **kwargs)

    monkeypatch.setattr(transfer, "transfer", cut)
    world.deliver()
    assert "unreachable" in runs.get(run.run_id).reason

    ended = world.settle(run.run_id)

    assert (ended.state, len(cuts)) == (State.COMPLETED, 2)
    assert world.only_execution(ended).attempt == 1
    assert path.read_text() == "x" * 1000


def test_dead_executor_leaves_no_half_file(world, server, tmp_path, monkeypatch):
    """It dies within the transfer: the next visit does it, and nothing is lost."""
    path = tmp_path / "file"
    path.write_text("old")
    task = add_transfer(world, server, path=str(path), content="new")
    run = run_now(world, task)

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "transfer", die)
        with pytest.raises(Killed):
            world.deliver()
    assert path.read_text() == "old"

    ended = world.settle(run.run_id)

    assert ended.state is State.COMPLETED
    assert path.read_text() == "new"


def test_transfer_ends_with_its_timeout(world, server, tmp_path, monkeypatch):
    """Nobody on the host enforces it: the connection ends with it."""

    def stall(connection, *args, **kwargs):
        return connection.execute(b"sleep 30", limit=10)

    monkeypatch.setattr(transfer, "transfer", stall)
    task = add_transfer(
        world, server, path=str(tmp_path / "file"), content="x", timeout_s=1
    )
    began = time.monotonic()
    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.TIMEOUT
    assert time.monotonic() - began < 15


def test_transfer_sends_nothing_to_another_key(world, sshd, tmp_path, monkeypatch):
    """A transfer's own connection checks the key as any other."""
    _, other = keypair()
    server = world.add_server(sshd, host_keys=(other,))
    task = add_transfer(world, server, path=str(tmp_path / "file"), content="x")
    monkeypatch.setattr(Connection, "execute", lambda *args, **kwargs: 1 / 0)

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("host_key: ")
    assert not (tmp_path / "file").exists()


def test_cancelled_transfer_is_not_begun(world, server, tmp_path):
    """A transfer that waits is cancelled as anything else."""
    path = tmp_path / "file"
    task = add_transfer(world, server, path=str(path), content="x")
    run = run_now(world, task)
    ((start, _),) = world.messages()
    runs.begin(
        run.run_id, task_version=1, targets=(server.server_id,), now=world.clock()
    )
    executions.claim(
        run.run_id,
        server.server_id,
        owner="dead",
        now=world.clock(),
        lease_until=world.clock(),
    )
    world.runs.cancel(run.run_id, by="ada", now=world.clock())
    world.deliver()
    world.handle(start)

    assert runs.get(run.run_id).state is State.CANCELLED
    assert not path.exists()


@pytest.fixture
def units(sshd, tmp_path):
    """The stand-in for systemd, first on the PATH of a login of its own."""
    directory = systemctl.install(tmp_path)
    home = sshd.new_home()
    return directory, sshd.login(home, f',environment="PATH={directory}:/usr/bin:/bin"')


@pytest.mark.parametrize(
    ("way", "state", "reason"),
    [("good", State.COMPLETED, None), ("fails", State.FAILED, "exit code ")],
)
def test_service_is_controlled(world, sshd, units, way, state, reason):
    """A unit is started by the runner, as any command; a failure shows its journal."""
    directory, private_key = units
    systemctl.add_unit(directory, "app.service", way)
    server = world.add_server(sshd, login=private_key)
    task = world.add_task(
        server,
        kind=TaskKind.SERVICE_CONTROL,
        spec=ServiceControl(unit="app", action=Action.START, run_as=None),
    )

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is state
    if reason:
        assert ended.reason.startswith(reason)
        assert b"the last words" in world.output(ended, Stream.STDERR).data
    else:
        assert systemctl.unit(directory, "app.service")["active"] == "active"


def test_script_has_its_surroundings(world, server, tmp_path):
    """Interpreter, arguments and working directory arrive."""
    spec = Script(
        command="import os, sys\nprint(os.getcwd(), sys.argv[1:], os.environ['X'])\n",
        interpreter=("python3", "-u"),
        arguments=("a b", "", "$(x)"),
        workdir=str(tmp_path),
        environment={"X": "y"},
    )
    task = world.add_task(server, spec=spec)

    ended = world.settle(run_now(world, task).run_id)

    assert ended.state is State.COMPLETED
    expected = f"{tmp_path} ['a b', '', '$(x)'] y\n"
    assert world.output(ended, Stream.STDOUT).data.decode() == expected


def test_changed_host_key_is_told_of_and_blocks(world, sshd, server, tmp_path):
    """One alarm for the key, and nothing more is tried until somebody approves it."""
    _, other = keypair()
    wrong = world.add_server(sshd, host_keys=(other,))
    tasks = [world.add_task(wrong, command=f"touch {tmp_path}/ran") for _ in range(2)]

    first = world.settle(run_now(world, tasks[0]).run_id)
    logins = sshd.log.count("Connection from")
    second = world.settle(run_now(world, tasks[1]).run_id)

    assert (first.state, second.state) == (State.FAILED, State.FAILED)
    assert "host_key" in second.reason
    assert sshd.log.count("Connection from") == logins  # not even asked
    subjects = [subject for subject, _ in world.alarms()]
    assert [one for one in subjects if "host key changed" in one] == [
        f"cronhop: host key changed: {wrong.name}"
    ]
    assert not (tmp_path / "ran").exists()
