"""Many due tasks in one tick: rows written in batches, on tables of their own.

moto does not know what batches are made of, so these tests are here.
"""

import itertools
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from cronhop.aws.queue import Queue
from cronhop.aws.session import Session
from cronhop.domain.ids import new_id, slot_run_id
from cronhop.domain.run import State
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.task import (
    CatchUp,
    Overlap,
    Script,
    Targets,
    TaskDefinition,
    TaskKind,
)
from cronhop.services.dispatch import Dispatcher
from cronhop.settings import Settings
from cronhop.store import connection, runs, tasks
from tests.template import tables
from tests.world import REGION, Deathtrap, Killed

_numbers = itertools.count(1)
SHARDS = 2
DUE = 60  # tasks: three batches
SLOT = datetime(2026, 6, 1, 10, 5, tzinfo=UTC)
NOW = SLOT - timedelta(seconds=30)
FOLLOWING = SLOT + timedelta(minutes=5)


class Fleet:
    """A dispatcher, and many tasks that are due at once."""

    def __init__(self):
        self.deathtrap = Deathtrap()
        self.sent = []
        self._settings = Settings.from_env()
        self.restart()

    def restart(self):
        """Make everything anew, as in a fresh Lambda environment."""
        session = Session(self._settings)
        self.deathtrap.install(session.botocore)
        connection.connect(self._settings, session.botocore)
        queue = Queue(session.client("sqs"), self._settings.queue_url)
        self.dispatcher = Dispatcher(queue, shards=SHARDS)
        deliver = queue.send

        def send(messages):
            refused = deliver(messages)
            self.sent += [message.run_id for message, _ in messages]
            return refused

        queue.send = send

    def tick(self):
        return self.dispatcher.tick(NOW, stop_at=float("inf"))

    def add_tasks(self, count=DUE):
        """Put tasks on record that are due in half a minute; return their ids."""
        made = [new_id(NOW) for _ in range(count)]
        definition = TaskDefinition(
            name="many",
            kind=TaskKind.SCRIPT,
            spec=Script(command="true"),
            targets=Targets(server_ids=("01JSERVER0000000000000000A",)),
            schedule=CronSchedule(cron="*/5 * * * *"),
            timeout_s=60,
            kill_grace_s=2,
            overlap=Overlap.SKIP,
            start_deadline_s=600,
            catch_up=CatchUp.ONE,
            enabled=True,
        )
        with tasks.TaskRow.batch_write() as batch:
            for number, task_id in enumerate(made):
                batch.save(
                    tasks.TaskRow(
                        task_id=task_id,
                        due_shard=number % SHARDS,
                        next_run=SLOT,
                        listed="1",
                        name=task_id,
                        kind="script",
                        enabled=True,
                        definition=definition.to_dict(),
                        version=1,
                        schedule_version=1,
                        created_by="tester",
                        created_at=NOW,
                        updated_at=NOW,
                    )
                )
        return made

    def outcome(self, task_ids):
        """Return the states of the slots' runs, the cursors, how often each was sent."""
        run_ids = [slot_run_id(task_id, SLOT) for task_id in task_ids]
        found = runs.get_many(run_ids)
        states = [found[one].state if one in found else None for one in run_ids]
        cursors = [tasks.get(task_id).next_run for task_id in task_ids]
        return states, cursors, [self.sent.count(one) for one in run_ids]


@pytest.fixture
def fleet(stack, monkeypatch):
    """Tables and a queue of their own, beside those of the stack."""
    prefix = f"batch-{next(_numbers)}-"
    environ = {
        "AWS_ENDPOINT_URL": stack.endpoint_url,
        "AWS_ACCESS_KEY_ID": "000000000000",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "CRONHOP_TABLE_PREFIX": prefix,
        "CRONHOP_BUCKET": "none",
        "CRONHOP_SECRET_PREFIX": "none/",
        "CRONHOP_SHARDS": str(SHARDS),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    dynamodb = boto3.client("dynamodb", region_name=REGION)
    sqs = boto3.client("sqs", region_name=REGION)
    url = sqs.create_queue(QueueName=f"{prefix}queue")["QueueUrl"]
    monkeypatch.setenv("CRONHOP_QUEUE_URL", url)
    for table in tables(prefix):
        dynamodb.create_table(**table)
    return Fleet()


def test_all_of_them_are_started_once(fleet):
    """Each has its row, its message and its next slot; a second tick finds nothing."""
    task_ids = fleet.add_tasks()

    first, second = fleet.tick(), fleet.tick()

    states, cursors, sent = fleet.outcome(task_ids)
    assert len(first.started) == DUE
    assert second.started == first.failed == second.failed == []
    assert states == [State.PENDING] * DUE
    assert cursors == [FOLLOWING] * DUE
    assert sent == [1] * DUE


def test_a_row_that_is_there_is_left_as_it_is(fleet):
    """An earlier tick died before it sent; some of its runs have ended since."""
    task_ids = fleet.add_tasks()
    fleet.dispatcher._queue.send = lambda messages: [one for one, _ in messages]
    assert len(fleet.tick().failed) == DUE
    ended = task_ids[::3]
    for task_id in ended:
        runs.end(slot_run_id(task_id, SLOT), state=State.SKIPPED, reason="x", now=NOW)
    fleet.restart()

    report = fleet.tick()

    states, cursors, sent = fleet.outcome(task_ids)
    assert len(report.started) == DUE - len(ended)
    assert cursors == [FOLLOWING] * DUE
    for task_id, state, times in zip(task_ids, states, sent, strict=True):
        assert (state is State.SKIPPED) == (task_id in ended)
        assert times == (task_id not in ended)


def test_a_task_that_changed_meanwhile_is_not_moved(fleet):
    """The user's new schedule has its own next slot."""
    task_ids = fleet.add_tasks()
    changed = task_ids[5]
    deliver = fleet.dispatcher._queue.send

    def send(messages):
        tasks.TaskRow(task_id=changed).update(
            actions=[
                tasks.TaskRow.schedule_version.set(2),
                tasks.TaskRow.next_run.set(SLOT + timedelta(hours=1)),
            ]
        )
        return deliver(messages)

    fleet.dispatcher._queue.send = send
    report = fleet.tick()

    _, cursors, _ = fleet.outcome(task_ids)
    assert report.failed == []
    assert cursors[5] == SLOT + timedelta(hours=1)
    assert set(cursors[:5] + cursors[6:]) == {FOLLOWING}


def test_an_answer_that_is_lost_changes_nothing(fleet):
    """The client repeats the call, which meets its own rows."""
    for call in range(40):
        task_ids = fleet.add_tasks(30)
        fleet.deathtrap.set_lossy(call)
        report = fleet.tick()
        calls = fleet.deathtrap.calls
        fleet.deathtrap.set_lossy(None)

        states, cursors, _ = fleet.outcome(task_ids)
        assert sorted(report.started) == sorted(
            slot_run_id(task_id, SLOT) for task_id in task_ids
        )
        assert (set(states), set(cursors)) == ({State.PENDING}, {FOLLOWING})
        if calls <= call:
            break
    else:
        pytest.fail("a tick has more calls than were tried")
    assert call > 8


def test_a_tick_that_dies_anywhere_is_repeated(fleet):
    """Before a call takes effect, or after it: the next tick starts all the same."""
    for step in range(0, 80, 2):
        task_ids = fleet.add_tasks(30)
        fleet.deathtrap.set(step)
        died = False
        try:
            fleet.tick()
        except Killed:
            died = True
        fleet.deathtrap.set(None)
        fleet.restart()
        fleet.tick()

        states, cursors, sent = fleet.outcome(task_ids)
        assert (set(states), set(cursors)) == ({State.PENDING}, {FOLLOWING})
        assert min(sent) >= 1
        if not died:
            break
    else:
        pytest.fail("a tick has more steps than were tried")
    assert step > 16
