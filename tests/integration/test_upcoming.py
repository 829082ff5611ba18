"""Upcoming: the slots of all tasks in order, and the load of each minute."""

from datetime import date, timedelta

import pytest

from api import handler, wiring
from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.schedule import CronSchedule, EverySchedule
from cronhop.services import upcoming as module
from cronhop.services.upcoming import Upcoming
from tests.integration.test_api import Client, fields
from tests.world import NOW

HOUR = timedelta(hours=1)


@pytest.fixture
def server(world):
    """A server that nobody visits."""
    return world.add_server()


def look(world, length=HOUR, scope=EVERYWHERE):
    """Return what is to come from now on."""
    upcoming = Upcoming(shards=world.settings.shards)
    return upcoming.upcoming(world.clock(), world.clock() + length, scope=scope)


def test_slots_of_all_tasks_come_in_order(world, server):
    """Those of the window alone, and the minutes in which any start."""
    often = world.add_task(server, cron="*/20 * * * *")
    once = world.add_task(server, cron="40 10 * * *")
    world.add_task(server, cron="0 4 * * *")
    world.add_task(server, cron="*/20 * * * *", enabled=False)

    coming = look(world)

    assert coming.is_complete
    assert [(f"{one.at:%H:%M}", one.task_id) for one in coming.slots] == [
        ("10:20", often.task_id),
        *sorted([("10:40", often.task_id), ("10:40", once.task_id)]),
        ("11:00", often.task_id),
    ]
    assert [(f"{at:%H:%M}", starts) for at, starts in coming.load] == [
        ("10:20", 1),
        ("10:40", 2),
        ("11:00", 1),
    ]


def test_what_is_held_back_is_no_load(world, server):
    """It is shown with the reason."""
    world.calendars.create("today", (date(2026, 6, 1),), by="ada", now=world.clock())
    paused = world.add_task(server, cron="10 * * * *")
    world.add_task(
        server, schedule=CronSchedule(cron="20 * * * *", exclude_calendars=("today",))
    )
    world.add_task(server, cron="30 * * * *")
    world.tasks.pause(
        paused.task_id, until=None, reason="", by="ada", now=world.clock()
    )

    coming = look(world)

    assert [one.held_back for one in coming.slots] == [
        "the task is paused by ada",
        "calendar today excludes 2026-06-01",
        None,
    ]
    assert coming.load == ((NOW.replace(minute=30), 1),)


def test_a_busy_task_hides_no_other(world, server, monkeypatch):
    """What is shown is cut by time, and says that it was cut."""
    monkeypatch.setattr(module, "MAX_SLOTS", 100)
    world.add_task(server, schedule=EverySchedule(every_s=2))
    other = world.add_task(server, schedule=EverySchedule(every_s=60))

    coming = look(world)

    assert not coming.is_complete
    assert len(coming.slots) == 100
    assert [one.task_id for one in coming.slots].count(other.task_id) == 3


OWN = Scope(environments=frozenset({"staging"}))


@pytest.fixture
def mixed(world, monkeypatch):
    """Six tasks of others that are due first, and three of one's own."""
    monkeypatch.setattr(module, "MAX_TASKS", 3)
    monkeypatch.setattr(module, "READ", 2)
    for minute in range(10, 16):
        world.add_task(world.add_server(), cron=f"{minute} * * * *")
    mine = world.add_server(environment="staging")
    return [
        world.add_task(mine, cron=f"{minute} * * * *", environment="staging").task_id
        for minute in range(16, 19)
    ]


def test_tasks_of_others_hide_none(world, mixed):
    """Who is limited to an environment sees as many as anybody."""
    coming = look(world, scope=OWN)

    assert [one.task_id for one in coming.slots] == mixed
    assert coming.is_complete
    assert not look(world).is_complete


@pytest.mark.parametrize(("most", "shown", "complete"), [(8, 2, False), (9, 3, True)])
def test_so_many_tasks_are_read(world, mixed, monkeypatch, most, shown, complete):
    """And no more, whoever asks; what is not looked at is said."""
    monkeypatch.setattr(module, "MAX_READ", most)
    monkeypatch.setattr(module, "READ", 1)

    coming = look(world, scope=OWN)

    assert [one.task_id for one in coming.slots] == mixed[:shown]
    assert coming.is_complete is complete


def test_upcoming_by_the_api(world, server):
    """From now on, whatever is asked for; what cannot be is refused."""
    wiring.services.cache_clear()
    api = Client(handler.handler)
    world.add_task(server, cron="0 0 1 1 *")
    path = "/v1/schedule/upcoming"

    past = api("GET", path, query="after=2020-01-01T00:00:00Z&minutes=1")
    later = api("GET", path, query="after=2098-12-31T23:30:00Z&minutes=60")
    wrong = [api("GET", path, query=text) for text in ("after=x", "minutes=1441")]
    wiring.services.cache_clear()

    assert past.body["after"] > "2026"
    assert [slot["at"] for slot in later.body["slots"]] == ["2099-01-01T00:00:00Z"]
    assert later.body["load"] == [{"minute": "2099-01-01T00:00:00Z", "starts": 1}]
    assert [(one.status, fields(one)) for one in wrong] == [
        (400, ["after"]),
        (400, ["minutes"]),
    ]
