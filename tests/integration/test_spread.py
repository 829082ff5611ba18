"""Much to do at once: a tick leaves half of the shards to another one."""

import pytest

from cronhop.domain.ids import shard_of
from cronhop.services import dispatch
from cronhop.services.dispatch import Dispatcher

TASKS = 12
SHARDS = 2


@pytest.fixture
def due(world, monkeypatch):
    """Tasks of both shards, all due now, and ticks that take two of them at once."""
    monkeypatch.setattr(dispatch, "TASKS_AT_ONCE", 2)
    server = world.add_server()
    made = [world.add_task(server, cron="*/5 * * * *") for _ in range(TASKS)]
    world.clock.now = made[0].next_run
    return {
        shard: {one.task_id for one in made if shard_of(one.task_id, SHARDS) == shard}
        for shard in range(SHARDS)
    }


class Busy:
    """A clock by which every look at it takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def tick(world, *, spread=None, monotonic=Busy, **about):
    """Tick; return ids of the tasks that were started."""
    maker = Dispatcher(world.queue, shards=SHARDS, spread=spread, monotonic=monotonic())
    maker.tick(world.clock(), stop_at=10_000, **about)
    return {message.group for message, _ in world.messages()}


def test_a_tick_about_some_shards_leaves_the_others(world, due):
    """What it was not asked for stays due."""
    assert tick(world, shards=[1]) == due[1]
    assert tick(world) == due[0]


def test_half_of_a_long_tick_is_left_to_another(world, due):
    """Together they start everything once."""
    asked = []

    first = tick(world, spread=asked.append)
    second = tick(world, shards=asked[0], spread=asked.append)

    assert asked == [[1]]
    assert first | second == due[0] | due[1]
    assert due[0] <= first
    assert first & second == second & due[0] == set()


def test_a_short_tick_is_not_spread(world, due):
    """One that is over soon asks for nobody."""
    assert tick(world, spread=pytest.fail, monotonic=lambda: lambda: 0.0)


def test_a_tick_that_finds_no_help_goes_on_alone(world, due):
    """Whatever the reason: it takes longer, that is all."""

    def refuse(shards):
        raise RuntimeError("no capacity")

    assert tick(world, spread=refuse) == due[0] | due[1]
