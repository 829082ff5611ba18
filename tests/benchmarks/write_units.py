"""Write units of a scheduled run on one server, indexes included.

Counted on ministack, which charges indexes as DynamoDB does, by the real
dispatcher and executor and a real sshd.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cronhop.domain.message import MessageKind
from cronhop.domain.rollout import Rollout
from cronhop.domain.task import Overlap
from cronhop.services.count import count
from cronhop.store import connection, runs
from cronhop.store.changes import Change
from local.ministack import Ministack
from tests.sshd import Sshd, free_port
from tests.world import REGION, World

GOAL = 20  # with overlap policy; 16 without, both without output
FLEET = 20
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}


class MeasuredWorld(World):
    """A world whose write units are counted, and whose queue is a list."""

    def restart(self):
        super().restart()
        self.sent = []
        self.units = Counter()
        self.queue.send = self.send
        client = connection._state["connection"].client
        client.meta.events.register("after-call.dynamodb", self.count)
        client.meta.events.register(
            "before-parameter-build.dynamodb.TransactWriteItems", self.ask
        )

    def send(self, messages):
        self.sent += messages
        return []

    def messages(self):
        taken, self.sent[:] = list(self.sent), []
        return taken

    def ask(self, params, **kwargs):
        params["ReturnConsumedCapacity"] = "TOTAL"

    def count(self, model=None, parsed=None, **kwargs):
        used = parsed.get("ConsumedCapacity")
        if model.name not in WRITES or not used:
            return
        for one in used if isinstance(used, list) else [used]:
            noun = one["TableName"].removeprefix(self.settings.table_prefix)
            self.units[model.name, noun] += one["CapacityUnits"]


def main():
    """Print the write units of a run, by call and in all."""
    with tempfile.TemporaryDirectory() as directory:
        ministack = Ministack(Path(directory), free_port())
        sshd = Sshd()
        ministack.start()
        try:
            os.environ.update(
                AWS_ENDPOINT_URL=f"http://127.0.0.1:{ministack.port}",
                AWS_ACCESS_KEY_ID="000000000000",
                AWS_SECRET_ACCESS_KEY="bench",
                AWS_DEFAULT_REGION=REGION,
            )
            measure(MeasuredWorld(dict(os.environ)), sshd)
        finally:
            ministack.stop()
            sshd.stop()


def measure(world, sshd):
    """Let one slot of each shape of task run, and print what it cost."""
    print(f"write units of a scheduled run on one server (goal {GOAL})")
    server = world.add_server(sshd)
    shapes = {
        "overlap skip, no output": {"command": "true"},
        "overlap skip, 100 bytes of output": {"command": "printf %0100d 0"},
        "overlap skip, 5 KiB of output": {"command": "printf %05120d 0"},
        "overlap allow, no output": {"command": "true", "overlap": Overlap.ALLOW},
    }
    for shape, changes in shapes.items():
        slot = world.clock.move(minutes=10) + timedelta(minutes=5)
        cron = f"{slot.minute} {slot.hour} {slot.day} {slot.month} *"
        task = world.add_task(server, cron=cron, **changes)
        world.clock.now = task.next_run
        world.units.clear()
        world.tick()
        starts = [
            message
            for message, _ in world.messages()
            if message.kind is MessageKind.START
        ]
        world.deliver(starts)
        assert runs.get(starts[0].run_id).state.is_terminal
        show(shape, world.units)
        world.tasks.delete(task.task_id, version=None, now=world.clock())

    measure_statistics(world, starts[0].run_id)
    measure_fleet(world, sshd)


def show(what, units):
    """Print write units, in all and by call."""
    parts = ", ".join(
        f"{noun} {operation} {count:g}"
        for (operation, noun), count in sorted(units.items())
    )
    print(f"  {what}: {sum(units.values()):g} ({parts})")


def measure_statistics(world, run_id):
    """Count the end of a run as the streams' function does, and print its cost."""
    run = runs.get(run_id)
    for what, runs_ended in {
        "statistics of a task's first run": [run],
        "statistics of ten at once, their servers aside": [
            replace(run, run_id=f"run {number}", task_id=f"task {number}", targets=())
            for number in range(10)
        ],
    }.items():
        world.units.clear()
        assert count(
            [
                Change(before=None, after=one, seen_at=world.clock())
                for one in runs_ended
            ]
        )
        show(what, world.units)


def measure_fleet(world, sshd):
    """Let a run go over several servers, and print what each of them cost."""
    crowd = [world.add_server(sshd) for _ in range(FLEET)]
    task = world.add_task(*crowd, rollout=Rollout(max_parallel=FLEET // 2))
    run = world.tasks.run(task.task_id, by="bench", now=world.clock())
    world.units.clear()
    while messages := world.messages():
        world.deliver([message for message, _ in messages])
    assert runs.get(run.run_id).state.is_terminal
    total = sum(world.units.values())
    print(f"  on {FLEET} servers, no output: {total / FLEET:.1f} for each")


if __name__ == "__main__":
    main()
