"""Nights on which clocks change, swept minute by minute through the dispatcher."""

from datetime import datetime, timedelta

import pytest

from cronhop.domain.message import MessageKind
from cronhop.domain.run import State
from cronhop.store import runs, tasks
from tests.unit.test_schedule import SHAPES, brute_force
from tests.world import THOROUGH

NIGHTS = {  # zone, the UTC instant of the change
    "New York, forward": ("America/New_York", "2026-03-08T07:00Z"),
    "New York, back": ("America/New_York", "2026-11-01T06:00Z"),
    "Berlin, back": ("Europe/Berlin", "2026-10-25T01:00Z"),
    "Lord Howe, by half an hour": ("Australia/Lord_Howe", "2026-04-04T15:00Z"),
    "Apia, over a day": ("Pacific/Apia", "2011-12-30T10:00Z"),
    "Casablanca, for Ramadan": ("Africa/Casablanca", "2026-02-15T02:00Z"),
}
MORE_NIGHTS = {
    "Berlin, forward": ("Europe/Berlin", "2026-03-29T01:00Z"),
    "Lord Howe, forward": ("Australia/Lord_Howe", "2026-10-03T15:30Z"),
    "Casablanca, after Ramadan": ("Africa/Casablanca", "2026-03-22T02:00Z"),
}
SWEPT = NIGHTS | (MORE_NIGHTS if THOROUGH > 1 else {})
AROUND = timedelta(minutes=35)
MINUTE = timedelta(minutes=1)


def finish(world, run_id):
    """End a run, so that no tick looks after it."""
    runs.refuse(run_id, state=State.SKIPPED, reason="a test", now=world.clock())


@pytest.mark.parametrize(("zone", "change"), SWEPT.values(), ids=SWEPT)
def test_every_slot_of_the_night_is_sent_once(world, zone, change):
    """For its second, those of fixed times and of elapsed time, and no other."""
    server = world.add_server()
    change = datetime.fromisoformat(change)
    world.clock.now = start = change - AROUND
    made = {
        shape: world.add_task(server, cron=shape.cron, zone=zone)
        for shape in SHAPES[:5]
    }
    due = {}

    while world.clock() <= change + AROUND:
        for message, delay_s in world.messages():
            if message.kind is MessageKind.START:
                assert message.run_id not in due
                due[message.run_id] = world.clock() + timedelta(seconds=delay_s)
        world.clock.move(minutes=1)
        world.tick()

    end = change + AROUND
    for shape, task in made.items():
        # The last ticks have sent what the loop did not look at any more.
        sent = [
            run.slot
            for run in runs.of_task(task.task_id, limit=100, after=None).items
            if run.slot <= end
        ]
        expected = brute_force(shape, zone, start + MINUTE, end)
        assert sorted(sent) == expected, shape.cron
        assert tasks.get(task.task_id).next_run > end
    for run_id, at in due.items():
        # In whole seconds, and never after it.
        assert timedelta(0) <= runs.get(run_id).slot - at <= timedelta(seconds=1)
