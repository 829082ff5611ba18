"""Weeks of random tasks: outages, and two dispatchers that race all the way."""

import random
from datetime import timedelta

import pytest

from cronhop.domain.run import State
from cronhop.domain.schedule import CronSchedule, EverySchedule, slots
from cronhop.domain.task import CatchUp
from cronhop.services.dispatch import Dispatcher
from cronhop.store import runs, tasks
from tests.world import THOROUGH

TASKS = 3 if THOROUGH == 1 else 6
LENGTH = timedelta(days=8 if THOROUGH == 1 else 30)


class Race:
    """Lets a second dispatcher tick in the midst of the first one's tick."""

    def __init__(self, world, chance, monkeypatch):
        self.world = world
        self.other = Dispatcher(world.queue, shards=world.settings.shards)
        self.chance = chance
        self.is_inside = False
        self.overtaken = 0
        for module, name in ((runs, "add"), (tasks, "advance")):
            self.interrupt(monkeypatch, module, name)

    def interrupt(self, monkeypatch, module, name):
        real = getattr(module, name)

        def interrupted(*args, **kwargs):
            if not self.is_inside and self.chance.random() < 0.5:
                self.is_inside = True
                self.overtaken += 1
                now = self.world.clock() + timedelta(
                    seconds=self.chance.choice([0, 40])
                )
                self.other.tick(now, stop_at=float("inf"))
                self.is_inside = False
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, interrupted)


def add_task(world, server, chance):
    """Make a random task that is due some times a day at most."""
    hour, minute = chance.randrange(24), chance.randrange(60)
    schedule = chance.choice(
        [
            CronSchedule(cron=f"{minute} {hour},{(hour + 7) % 24} * * *"),
            CronSchedule(cron=f"{minute} {hour} * * 1-5", timezone="Europe/Berlin"),
            CronSchedule(cron=f"5 {minute} {hour} * * *", seconds=True),
            CronSchedule(cron="H H(8-17)/4 * * *", timezone="Asia/Tokyo"),
            EverySchedule(every_s=chance.randrange(4 * 3600, 30 * 3600)),
        ]
    )
    return world.add_task(
        server,
        schedule=schedule,
        catch_up=chance.choice(list(CatchUp)),
        catch_up_limit=chance.randrange(1, 5),
        start_deadline_s=7 * 86400,
    )


@pytest.mark.parametrize("seed", range(THOROUGH))
def test_every_slot_is_on_record_once(world, monkeypatch, seed):
    """Whatever was out for how long, and whoever was faster."""
    chance = random.Random(seed)
    server = world.add_server()
    start = world.clock()
    made = [add_task(world, server, chance) for _ in range(TASKS)]
    race = Race(world, chance, monkeypatch)

    while world.clock() < start + LENGTH:
        # Nothing happens before the minute of the next slot, so go there.
        cursors = [tasks.get(task.task_id).next_run for task in made]
        world.clock.now = max(
            min(cursors) - timedelta(seconds=chance.randrange(90)), world.clock()
        )
        if chance.random() < 0.1:
            world.clock.move(minutes=int(chance.triangular(1, 3 * 1440, 30)))
        world.tick()
        for message, _ in world.messages():
            # Ended, so that no tick looks after it.
            runs.refuse(
                message.run_id, state=State.SKIPPED, reason="a test", now=world.clock()
            )

    for task in made:
        rows = runs.of_task(task.task_id, limit=10_000, after=None).items
        on_record = sorted(
            slot
            for run in rows
            for slot in slots(task.schedule, run.slot, run.missed_to or run.slot)
        )
        last = tasks.get(task.task_id).next_run - timedelta(seconds=1)
        assert on_record == list(
            slots(task.schedule, start + timedelta(seconds=1), last, limit=10_000)
        )
        assert {run.state for run in rows} <= {
            State.PENDING,
            State.SKIPPED,
            State.MISSED,
        }
    assert race.overtaken > 5
