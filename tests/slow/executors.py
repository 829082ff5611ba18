"""A program: executors as processes of their own, killed at random.

Arguments: how many there are at once, and the seconds of an invocation. Prints the
pid of each one it kills while it was at work. A line on stdin ends the killing, the
end of stdin everything.
"""

import os
import random
import select
import signal
import sys
import time

import boto3

from executor.handler import handler

PAUSE_S = (1.0, 2.0)  # between two kills


class Context:
    """What an invocation is told of its time."""

    def __init__(self, seconds):
        self._ends_at = time.monotonic() + seconds

    def get_remaining_time_in_millis(self):
        return max(0, int((self._ends_at - time.monotonic()) * 1000))


def work(seconds):
    """Do as the event source does: receive, invoke, delete what did not fail."""
    queue = os.environ["CRONHOP_QUEUE_URL"]
    sqs = boto3.client("sqs")
    while True:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        messages = {one["MessageId"]: one for one in answer.get("Messages", [])}
        if not messages:
            time.sleep(0.2)
            continue
        records = [
            {"messageId": name, "body": one["Body"]} for name, one in messages.items()
        ]
        failures = handler({"Records": records}, Context(seconds))["batchItemFailures"]
        for name in messages.keys() - {one["itemIdentifier"] for one in failures}:
            sqs.delete_message(
                QueueUrl=queue, ReceiptHandle=messages[name]["ReceiptHandle"]
            )


def spawn(seconds):
    """Return the pid of a new executor."""
    pid = os.fork()
    if not pid:
        os.dup2(2, 1)  # its log
        try:
            work(seconds)
        finally:
            os._exit(1)
    return pid


def main():
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    chance = random.Random(7)
    alive = [spawn(seconds) for _ in range(count)]
    is_calm = False
    while True:
        if select.select([sys.stdin], (), (), chance.uniform(*PAUSE_S))[0]:
            if not sys.stdin.readline():
                break
            is_calm = True
        if not is_calm:
            victim = chance.choice(alive)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            alive[alive.index(victim)] = spawn(seconds)
            print(victim, flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
