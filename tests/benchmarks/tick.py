"""CPU of a tick for each due task, beside the naive pass.

AWS is a process of its own that answers from memory and does no more, so only the
client is measured: what the dispatcher's Lambda is paid for. The naive pass is what
one writes first: boto3's resource, one task and one call at a time, croniter.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

COUNTS = (100, 1000, 20_000)
NAIVE = 300  # tasks; it is flat
ROUNDS = 3
SHARDS = 8
GOAL_RATIO, GOAL_MS = 0.5, 1.5
SLOT = datetime(2026, 6, 1, 10, 5, tzinfo=UTC)
NOW = SLOT - timedelta(seconds=30)


def main() -> None:
    """Print what a due task costs, by step and in all."""
    with endpoint() as url:
        os.environ.update(
            AWS_ENDPOINT_URL=url,
            AWS_REGION="eu-central-1",
            AWS_DEFAULT_REGION="eu-central-1",
            AWS_ACCESS_KEY_ID="bench",
            AWS_SECRET_ACCESS_KEY="bench",
            CRONHOP_TABLE_PREFIX="bench-",
            CRONHOP_QUEUE_URL=f"{url}/000000000000/bench-queue",
            CRONHOP_BUCKET="bench",
            CRONHOP_SECRET_PREFIX="bench/",
            CRONHOP_SHARDS=str(SHARDS),
        )
        ours = {count: [] for count in COUNTS}
        naive, parts = [], Counter()
        for _ in range(ROUNDS):
            naive.append(one_by_one(NAIVE))
            for count in COUNTS:
                ours[count].append(tick(count, parts))
    per_naive = statistics.median(naive)
    print("CPU of a tick for each due task, against an endpoint that does nothing\n")
    print(f"  naive, boto3 resource   {per_naive:6.2f} ms")
    for count, figures in ours.items():
        median = statistics.median(figures)
        ratio = median / per_naive
        verdict = "met" if ratio <= GOAL_RATIO and median <= GOAL_MS else "MISSED"
        print(
            f"  cronhop, {count:6} due     {median:6.2f} ms   {ratio:.2f} x,"
            f" goal <= {GOAL_RATIO} and <= {GOAL_MS} ms {verdict}"
        )
    total = sum(parts.values())
    shares = ", ".join(f"{name} {part / total:.0%}" for name, part in parts.items())
    print(f"  of that: {shares}")


def tick(count: int, parts: Counter) -> float:
    """Return the milliseconds of CPU for each of so many due tasks."""
    from cronhop.aws.queue import Queue
    from cronhop.aws.session import Session
    from cronhop.services.dispatch import Dispatcher
    from cronhop.settings import Settings
    from cronhop.store import connection, runs, tasks

    prepare(count)
    settings = Settings.from_env()
    session = Session(settings)
    connection.connect(settings, session.botocore)
    queue = Queue(session.client("sqs"), settings.queue_url)
    dispatcher = Dispatcher(queue, shards=SHARDS)
    dispatcher.due(NOW, limit=1)  # connections are open, and code is warm
    steps = [
        (tasks, "get_many", "read"),
        (runs, "add_many", "intent"),
        (queue, "send", "send"),
        (tasks, "advance_many", "advance"),
    ]
    spent: Counter = Counter()
    before = {(owner, name): getattr(owner, name) for owner, name, _ in steps}
    for owner, name, step in steps:
        setattr(owner, name, measured(before[owner, name], step, spent))
    try:
        began = time.process_time()
        report = dispatcher.tick(NOW, stop_at=time.monotonic() + 300)
        took = time.process_time() - began
    finally:
        for (owner, name), function in before.items():
            setattr(owner, name, function)
    if len(report.started) != count or not report.complete or report.failed:
        raise RuntimeError(f"{len(report.started)} of {count} were started")
    parts.update(spent)
    parts["query and plan"] += took - sum(spent.values())
    return took / count * 1000


def measured(function, step, spent):
    """Return the function, its CPU time added up."""

    def timed(*args, **kwargs):
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[step] += time.process_time() - began

    return timed


def one_by_one(count: int) -> float:
    """Return the milliseconds of CPU for each due task of the naive pass."""
    import boto3
    from boto3.dynamodb.conditions import Attr, Key
    from croniter import croniter

    prepare(count)
    dynamodb = boto3.resource("dynamodb")
    queue = boto3.resource("sqs").Queue(os.environ["CRONHOP_QUEUE_URL"])
    tasks, runs = dynamodb.Table("bench-tasks"), dynamodb.Table("bench-runs")
    tasks.get_item(Key={"task_id": "warm"})
    began = time.process_time()
    done = 0
    until = int((NOW + timedelta(seconds=90)).timestamp())
    for shard in range(SHARDS):
        found = tasks.query(
            IndexName="next_run",
            KeyConditionExpression=Key("due_shard").eq(shard)
            & Key("next_run").lte(until),
        )
        for key in found["Items"]:
            task = tasks.get_item(Key={"task_id": key["task_id"]}, ConsistentRead=True)[
                "Item"
            ]
            schedule = json.loads(task["definition"])["schedule"]
            slot = datetime.fromtimestamp(int(task["next_run"]), UTC)
            times = croniter(schedule["cron"], slot, second_at_beginning=True)
            following = times.get_next(datetime)
            runs.put_item(
                Item={
                    "run_id": f"{task['task_id']}-{int(task['next_run'])}",
                    "task_id": task["task_id"],
                    "state": "pending",
                    "trigger": "schedule",
                    "open_shard": shard,
                    "check_at": until,
                    "day_shard": f"2026-06-01#{shard}",
                    "slot": int(task["next_run"]),
                    "schedule_version": 1,
                    "created_at": until,
                },
                ConditionExpression=Attr("run_id").not_exists(),
            )
            queue.send_message(
                MessageBody=json.dumps({"run_id": task["task_id"]}),
                DelaySeconds=30,
                MessageGroupId=task["task_id"],
            )
            tasks.update_item(
                Key={"task_id": task["task_id"]},
                UpdateExpression="SET next_run = :following",
                ConditionExpression=Attr("next_run").eq(task["next_run"]),
                ExpressionAttributeValues={":following": int(following.timestamp())},
            )
            done += 1
    if done != count:
        raise RuntimeError(f"{done} of {count} were started")
    return (time.process_time() - began) / count * 1000


def prepare(count: int) -> None:
    """Let the endpoint have so many tasks that are due."""
    from urllib.request import Request, urlopen

    data = json.dumps({"count": count, "row": row()}).encode()
    request = Request(os.environ["AWS_ENDPOINT_URL"], data)
    request.add_header("X-Amz-Target", "Bench.Prepare")
    urlopen(request).read()


def row() -> dict:
    """Return a task's row, as the store writes it."""
    from cronhop.store.tasks import TaskRow
    from tests.crowd import definition

    task = definition(0)
    return TaskRow(
        task_id="",
        due_shard=0,
        next_run=SLOT,
        listed="1",
        name=task.name,
        kind=task.kind.value,
        enabled=True,
        definition=task.to_dict(),
        version=1,
        schedule_version=1,
        created_by="bench",
        created_at=NOW,
        updated_at=NOW,
    ).serialize()


@contextmanager
def endpoint():
    """Yield the address of the process that answers."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.tick", "serve"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


class Endpoint(BaseHTTPRequestHandler):
    """DynamoDB and SQS that agree to everything."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    row: ClassVar[dict] = {}
    ids: ClassVar[tuple[str, ...]] = ()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        action = self.headers["X-Amz-Target"].rpartition(".")[2]
        answer = json.dumps(getattr(self, action)(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args) -> None:
        pass

    def Prepare(self, body):  # noqa: N802
        Endpoint.row = body["row"]
        Endpoint.ids = tuple(f"01JTASK{number:019}" for number in range(body["count"]))
        return {}

    def Query(self, body):  # noqa: N802
        items = []
        if body["IndexName"] == "next_run":
            shard = next(
                int(value["N"])
                for value in body["ExpressionAttributeValues"].values()
                if len(value["N"]) < 4
            )
            items = [
                {
                    "task_id": {"S": one},
                    "due_shard": {"N": str(shard)},
                    "next_run": self.row["next_run"],
                }
                for one in self.ids[shard::SHARDS]
            ]
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def GetItem(self, body):  # noqa: N802
        return {"Item": self.row | body["Key"]}

    def BatchGetItem(self, body):  # noqa: N802
        return {
            "Responses": {
                table: [self.row | key for key in wanted["Keys"]]
                for table, wanted in body["RequestItems"].items()
            },
            "UnprocessedKeys": {},
        }

    def BatchExecuteStatement(self, body):  # noqa: N802
        return {"Responses": [{"TableName": "bench"} for _ in body["Statements"]]}

    def PutItem(self, body):  # noqa: N802
        return {}

    UpdateItem = PutItem

    def SendMessage(self, body):  # noqa: N802
        return {"MessageId": "1"}

    def SendMessageBatch(self, body):  # noqa: N802
        return {
            "Successful": [
                {"Id": entry["Id"], "MessageId": "1"} for entry in body["Entries"]
            ],
            "Failed": [],
        }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        listener = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        listener.daemon_threads = True
        print(listener.server_port, flush=True)
        listener.serve_forever()
    main()
