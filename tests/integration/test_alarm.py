"""The first alarm: a run that ends badly is told of, once."""

from datetime import timedelta

import pytest
from botocore.exceptions import ConnectionClosedError

from cronhop.domain.run import State
from cronhop.store import runs
from tests.world import Killed


def run_command(world, server, command, **changes):
    task = world.add_task(server, command=command, **changes)
    run = world.tasks.run(task.task_id, by="tester", now=world.clock())
    return world.settle(run.run_id)


def test_failed_run_is_told_of_once(world, server):
    """Who gets the mail reads what, why, when and where."""
    run = run_command(world, server, "exit 9", name="backup")
    for _ in range(5):
        world.clock.move(minutes=2)
        world.tick()
        world.deliver()

    ((subject, text),) = world.alarms()
    assert subject == "cronhop: failed: backup"
    for words in ("exit code 9", run.run_id, run.task_id, server.name):
        assert words in text
    assert runs.get(run.run_id).check_at is None


def test_good_and_skipped_runs_are_not_told_of(world, server):
    """Nobody is woken by what went well."""
    run_command(world, server, "true")

    assert world.alarms() == []


def test_timeout_is_told_of(world, server):
    """A command that hung is one of the four outcomes to hear of."""
    run_command(world, server, "sleep 60", timeout_s=1, kill_grace_s=1)

    ((subject, _),) = world.alarms()
    assert subject.startswith("cronhop: timeout: ")


def test_missed_slots_are_told_of_as_one(world, server):
    """After an outage one mail says how many slots were missed."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run + timedelta(hours=3)
    world.tick()
    world.deliver()
    world.clock.move(minutes=2)
    world.tick()
    world.deliver()

    missed = [run for run in world.all_runs() if run.state is State.MISSED]
    assert len(missed) == 1
    ((subject, text),) = world.alarms()
    assert subject.startswith("cronhop: missed: ")
    assert "at least 36" in text
    assert runs.get(missed[0].run_id).check_at is None


def test_missed_at_the_gate_is_told_of(world, server):
    """A run that comes after its start deadline was missed as well."""
    task = world.add_task(server, start_deadline_s=60)
    run = world.tasks.run(task.task_id, by="tester", now=world.clock())
    world.clock.move(minutes=5)

    assert world.settle(run.run_id).state is State.MISSED
    ((subject, _),) = world.alarms()
    assert subject.startswith("cronhop: missed: ")


def test_alarm_outlives_an_outage_of_sns(world, server, monkeypatch):
    """While SNS takes nothing the tick comes back; then it is told, once."""

    def publish(**kwargs):
        raise ConnectionClosedError(endpoint_url="moto")

    with monkeypatch.context() as patch:
        patch.setattr(world.topic._client, "publish", publish)
        run_command(world, server, "exit 1")
    assert world.alarms() == []
    for _ in range(4):
        world.clock.move(minutes=2)
        world.tick()
        world.deliver()

    assert len(world.alarms()) == 1


def test_death_before_the_alarm_loses_none(world, server, monkeypatch):
    """The executor dies between the run's end and the alarm."""
    task = world.add_task(server, command="exit 1")
    run = world.tasks.run(task.task_id, by="tester", now=world.clock())

    def publish(**kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(world.topic._client, "publish", publish)
        with pytest.raises(Killed):
            world.deliver()
    assert runs.get(run.run_id).state is State.FAILED
    for _ in range(4):
        world.clock.move(minutes=2)
        world.tick()
        world.deliver()

    assert len(world.alarms()) == 1


def test_subject_is_what_sns_takes(world, server):
    """A name may hold anything; a subject is short and ASCII."""
    run_command(world, server, "exit 1", name="ночная копия " + "x" * 80)

    ((subject, text),) = world.alarms()
    assert subject.isascii()
    assert len(subject) < 100
    assert "ночная копия" in text
