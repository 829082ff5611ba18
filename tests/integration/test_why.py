"""Why: the ledger and the schedule say what became of an instant."""

from dataclasses import replace
from datetime import timedelta

import pytest

from api import handler, wiring
from cronhop.domain.server import ServerStatus
from cronhop.services.why import Verdict, Why
from cronhop.store import tasks
from tests.integration.test_api import Client, fields

HOUR = timedelta(hours=1)


@pytest.fixture
def task(world):
    """A task that is due every hour, on a server where nothing starts."""
    server = world.add_server(status=ServerStatus.MAINTENANCE)
    return world.add_task(server, cron="0 * * * *")


def ask(world, task, at):
    """Return verdict and words."""
    found = Why().why(task.task_id, at, now=world.clock())
    return found.verdict, found.because


def pause(world, task):
    world.tasks.pause(
        task.task_id, until=None, reason="a move", by="ada", now=world.clock()
    )


def test_what_is_no_slot_is_not_due(world, task):
    """With the slots around it."""
    found = Why().why(
        task.task_id, task.next_run + timedelta(minutes=90), now=world.clock()
    )

    assert found.verdict is Verdict.NOT_DUE
    assert (found.before, found.after) == (
        task.next_run + HOUR,
        task.next_run + 2 * HOUR,
    )
    verdict, words = ask(world, task, task.next_run - HOUR)
    assert (verdict, words) == (Verdict.NOT_DUE, "the task was made later")


def test_a_slot_to_come_says_what_it_has_to_expect(world, task):
    """As things are now."""
    free = ask(world, task, task.next_run)
    pause(world, task)
    held = ask(world, task, task.next_run)

    assert free == (Verdict.UPCOMING, "it is a slot to come")
    assert held == (
        Verdict.UPCOMING,
        "it will be skipped: the task is paused by ada: a move",
    )


def test_a_slot_goes_from_waiting_to_its_end(world, task):
    """Before the tick, on its way, and as its run says."""
    slot = task.next_run
    world.clock.now = slot
    unsent = ask(world, task, slot)
    world.tick()
    sent = ask(world, task, slot)
    pause(world, task)
    world.deliver()
    ended = ask(world, task, slot)

    assert unsent == (Verdict.WAITING, "the tick has not come to it yet")
    assert sent[0] is Verdict.WAITING
    assert ended == (Verdict.SKIPPED, "the task is paused by ada: a move")


def test_a_slot_that_fired_says_how_it_ended(world, task, sshd):
    """Its run is named."""
    task = world.add_task(world.add_server(sshd), cron="30 * * * *")
    world.clock.now = task.next_run
    world.tick()
    world.deliver()

    found = Why().why(task.task_id, task.next_run, now=world.clock())

    assert found.verdict is Verdict.FIRED
    assert "its run is completed" in found.because
    assert found.run is not None


def test_a_slot_of_an_outage_is_in_its_range(world, task):
    """The one row speaks for each of its slots, and for no other instant."""
    world.clock.now = task.next_run + 72 * HOUR + timedelta(minutes=10)
    world.tick()

    verdict, words = ask(world, task, task.next_run + 30 * HOUR)

    assert verdict is Verdict.MISSED
    assert "nothing was sent at the time" in words
    assert ask(world, task, task.next_run + 72 * HOUR)[0] is Verdict.WAITING


def test_what_nobody_follows_says_why(world, task):
    """Disabled, by hand, parked."""
    definition = task.definition
    slot = task.next_run + HOUR

    def change(**changes):
        world.tasks.change(
            task.task_id,
            replace(definition, **changes),
            version=None,
            by="ada",
            now=world.clock(),
        )
        return ask(world, task, slot)

    disabled = change(enabled=False)
    by_hand = change(schedule=None)
    change()
    tasks.park(tasks.get(task.task_id), "schedule.timezone: it is gone")

    assert disabled == (Verdict.SKIPPED, "the task is disabled")
    assert by_hand[0] is Verdict.NOT_DUE
    assert ask(world, task, slot) == (
        Verdict.PARKED,
        "schedule.timezone: it is gone",
    )


def test_why_by_the_api(world, task):
    """An instant in, words out; what is no instant is refused."""
    wiring.services.cache_clear()
    api = Client(handler.handler)
    path = f"/v1/tasks/{task.task_id}/why"

    answer = api("GET", path, query="at=2099-01-01T00:00:00Z")
    refused = api("GET", path, query="at=tomorrow")
    missing = api("GET", "/v1/tasks/01J00000000000000000000000/why")
    wiring.services.cache_clear()

    assert answer.status == 200, answer.body
    assert answer.body == {
        "at": "2099-01-01T00:00:00Z",
        "verdict": "upcoming",
        "because": "it is a slot to come",
        "run_id": None,
        "slot_before": "2098-12-31T23:00:00Z",
        "slot_after": "2099-01-01T01:00:00Z",
    }
    assert (refused.status, fields(refused)) == (400, ["at"])
    assert missing.status == 404
