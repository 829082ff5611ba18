"""Many tasks that are due at once, and a dispatcher, on tables of their own.

moto does not know what batches are made of, and its queue becomes slow when it is
full: these are for ministack.
"""

import itertools
import os
from datetime import UTC, datetime, timedelta

import boto3

from cronhop.aws.queue import Queue
from cronhop.aws.session import Session
from cronhop.domain.ids import new_id, slot_run_id
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.targets import Targets
from cronhop.domain.task import (
    CatchUp,
    Overlap,
    Script,
    TaskDefinition,
    TaskKind,
)
from cronhop.services.dispatch import Dispatcher
from cronhop.settings import Settings
from cronhop.store import connection, runs, tasks
from tests.template import tables
from tests.world import REGION, Deathtrap

SHARDS = 2
SLOT = datetime(2026, 6, 1, 10, 5, tzinfo=UTC)
NOW = SLOT - timedelta(seconds=30)
FOLLOWING = SLOT + timedelta(minutes=5)

_numbers = itertools.count(1)


class Crowd:
    """What a tick meets at ten o'clock; `sent` are the ids of runs it has sent.

    The environment is changed to what a function is told by the template.
    """

    def __init__(self, endpoint_url):
        prefix = f"crowd-{next(_numbers)}-"
        os.environ.update(
            AWS_ENDPOINT_URL=endpoint_url,
            AWS_ACCESS_KEY_ID="000000000000",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_DEFAULT_REGION=REGION,
            AWS_REGION=REGION,
            CRONHOP_TABLE_PREFIX=prefix,
            CRONHOP_BUCKET="none",
            CRONHOP_SECRET_PREFIX="none/",
            CRONHOP_SHARDS=str(SHARDS),
        )
        dynamodb = boto3.client("dynamodb", region_name=REGION)
        for table in tables(prefix):
            dynamodb.create_table(**table)
        self.sqs = boto3.client("sqs", region_name=REGION)
        self.url = self.sqs.create_queue(QueueName=f"{prefix}queue")["QueueUrl"]
        os.environ["CRONHOP_QUEUE_URL"] = self.url
        self.deathtrap = Deathtrap()
        self.sent = []
        self.restart()

    def restart(self):
        """Make everything anew, as in a fresh Lambda environment."""
        settings = Settings.from_env()
        session = Session(settings)
        self.deathtrap.install(session.botocore)
        connection.connect(settings, session.botocore)
        self.queue = Queue(session.client("sqs"), settings.queue_url)
        self.dispatcher = Dispatcher(self.queue, shards=SHARDS)
        deliver = self.queue.send

        def send(messages):
            refused = deliver(messages)
            self.sent += [message.run_id for message, _ in messages]
            return refused

        self.queue.send = send

    def tick(self, stop_at=float("inf")):
        return self.dispatcher.tick(NOW, stop_at=stop_at)

    def add_tasks(self, count, *, seconds=1):
        """Put tasks on record, due within so many seconds; return slots by task id."""
        made = {}
        with tasks.TaskRow.batch_write() as batch:
            for number in range(count):
                second = number % seconds
                task_id = new_id(NOW)
                made[task_id] = SLOT + timedelta(seconds=second)
                batch.save(
                    tasks.TaskRow(
                        task_id=task_id,
                        due_shard=number // seconds % SHARDS,
                        next_run=made[task_id],
                        listed="1",
                        name=task_id,
                        kind="script",
                        enabled=True,
                        definition=definition(second).to_dict(),
                        version=1,
                        schedule_version=1,
                        created_by="tester",
                        created_at=NOW,
                        updated_at=NOW,
                    )
                )
        return made

    def outcome(self, slots):
        """Return the states of the slots' runs, the cursors, how often each was sent."""
        run_ids = [slot_run_id(task_id, slot) for task_id, slot in slots.items()]
        found = runs.get_many(run_ids)
        states = [found[one].state if one in found else None for one in run_ids]
        made = tasks.get_many(slots)
        cursors = [made[task_id].next_run for task_id in slots]
        return states, cursors, [self.sent.count(one) for one in run_ids]


def definition(second):
    """Return a task that is due at this second of every fifth minute."""
    return TaskDefinition(
        name="many",
        kind=TaskKind.SCRIPT,
        spec=Script(command="true"),
        targets=Targets(server_ids=("01JSERVER0000000000000000A",)),
        schedule=CronSchedule(cron=f"{second} */5 * * * *", seconds=True),
        timeout_s=60,
        kill_grace_s=2,
        overlap=Overlap.SKIP,
        start_deadline_s=600,
        catch_up=CatchUp.ONE,
        enabled=True,
    )
