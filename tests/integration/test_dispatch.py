"""The tick: every slot that is due gets one row and one start."""

import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from cronhop.domain import schedule
from cronhop.domain.ids import slot_run_id
from cronhop.domain.message import MessageKind
from cronhop.domain.run import State
from cronhop.domain.schedule import (
    CronSchedule,
    EverySchedule,
    OnceSchedule,
    is_slot,
    slots,
)
from cronhop.domain.task import CatchUp
from cronhop.services import plan
from cronhop.services.plan import LOOK_AHEAD
from cronhop.store import runs, tasks
from tests.world import NOW, Killed


@pytest.fixture
def server(world):
    return world.add_server()


def sent(world):
    return [
        (message.run_id, delay)
        for message, delay in world.messages()
        if message.kind is MessageKind.START
    ]


def test_slot_is_sent_once_and_the_cursor_moves_on(world, server):
    """A tick puts the row, sends the start for the slot, and advances."""
    task = world.add_task(server, cron="*/5 * * * *")
    slot = task.next_run
    world.clock.now = slot - timedelta(seconds=30.5)

    report = world.tick()

    run_id = slot_run_id(task.task_id, slot)
    assert report.started == [run_id]
    assert sent(world) == [(run_id, 30)]
    run = runs.get(run_id)
    assert run.state is State.PENDING
    assert run.slot == slot
    assert run.check_at == slot + timedelta(minutes=2)
    assert tasks.get(task.task_id).next_run == slot + timedelta(minutes=5)


def test_slot_beyond_the_look_ahead_waits(world, server):
    """What is not due within the look-ahead is left for a later tick."""
    task = world.add_task(server, cron="30 4 1 1 *")
    world.clock.now = task.next_run - LOOK_AHEAD - timedelta(seconds=1)

    assert world.tick().started == []
    assert world.messages() == []


def test_tick_twice_sends_once(world, server):
    """A second tick for the same minute finds nothing due."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run
    world.tick()
    world.messages()

    assert world.tick().started == []
    assert world.messages() == []


def test_every_slot_of_the_look_ahead_is_sent(world, server):
    """A task of every minute never stays a slot behind."""
    task = world.add_task(server, cron="* * * * *")
    world.messages()
    cursor = tasks.get(task.task_id).next_run
    world.clock.now = cursor - timedelta(seconds=20.5)

    world.tick()

    assert [delay for _, delay in sent(world)] == [20, 80]


def test_new_task_inside_the_look_ahead_is_sent_at_once(world, server):
    """A task whose first slot the next tick would miss is sent when it is made."""
    world.clock.now = NOW + timedelta(seconds=50)

    task = world.add_task(server, cron="* * * * *")

    first = slot_run_id(task.task_id, NOW + timedelta(minutes=1))
    assert sent(world)[0] == (first, 10)


def test_a_start_comes_in_the_second_before_its_slot(world, server):
    """Delays are whole seconds: it waits at the gate rather than to be late."""
    world.clock.now = NOW + timedelta(seconds=50, milliseconds=400)

    world.add_task(server, cron="* * * * *")

    assert sent(world)[0][1] == 9


def test_outage_becomes_one_row_and_the_newest_slot_runs(world, server):
    """After three days one `missed` row states the range; the newest slot starts."""
    task = world.add_task(server, cron="0 * * * *")
    first = task.next_run
    now = first + timedelta(days=3, minutes=10)
    world.clock.now = now

    world.tick()

    missed = runs.get(slot_run_id(task.task_id, first))
    newest = first + timedelta(days=3)
    assert missed.state is State.MISSED
    assert (missed.slot, missed.missed_to) == (first, newest - timedelta(hours=1))
    assert missed.missed_count == 72
    assert [run_id for run_id, _ in sent(world)] == [slot_run_id(task.task_id, newest)]
    assert tasks.get(task.task_id).next_run == newest + timedelta(hours=1)


def test_outage_of_a_minute_task_is_bounded_work(world, server):
    """4,320 missed slots cost no more than a few calls, and are at least 1000."""
    task = world.add_task(server, cron="* * * * *")
    world.messages()
    cursor = tasks.get(task.task_id).next_run
    world.clock.now = cursor + timedelta(days=3)

    world.tick()

    missed = runs.get(slot_run_id(task.task_id, cursor))
    assert missed.missed_count == 1000
    assert len(sent(world)) == 2  # the newest, and one of the look-ahead


def test_one_bad_task_never_stops_the_tick(world, server, monkeypatch):
    """A task that cannot be dispatched is reported; the others are sent."""
    good = world.add_task(server, cron="*/5 * * * *")
    bad = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = good.next_run
    real = runs._put

    def put(row):
        if row.task_id == bad.task_id:
            raise RuntimeError("a bug")
        return real(row)

    monkeypatch.setattr(runs, "_put", put)
    report = world.tick()

    assert report.failed == [bad.task_id]
    assert report.started == [slot_run_id(good.task_id, good.next_run)]
    assert tasks.get(bad.task_id).next_run == bad.next_run


def test_task_whose_schedule_turned_invalid_is_parked(world, server, monkeypatch):
    """A zone that is gone parks the task with the reason; changing it unparks."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run
    row = tasks.TaskRow(task_id=task.task_id)
    plain = task.definition.to_dict()
    plain["schedule"]["timezone"] = "Mars/Olympus"
    row.update(actions=[tasks.TaskRow.definition.set(plain)])

    report = world.tick()

    assert report.parked == [task.task_id]
    parked = tasks.get(task.task_id)
    assert parked.next_run is None
    assert "timezone" in parked.invalid
    again = world.tasks.change(
        task.task_id, task.definition, version=None, by="tester", now=world.clock()
    )
    assert again.invalid is None
    assert tasks.get(task.task_id).next_run


def test_refused_message_keeps_the_cursor(world, server, monkeypatch):
    """What the queue refused is sent again by the next tick."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run
    monkeypatch.setattr(
        world.queue, "send", lambda messages: [message for message, _ in messages]
    )

    assert world.tick().failed == [task.task_id]

    monkeypatch.undo()
    assert world.tick().started == [slot_run_id(task.task_id, task.next_run)]


def test_disabled_and_deleted_tasks_are_not_due(world, server):
    """Nothing of theirs is sent, and their cursor is gone."""
    disabled = world.add_task(server, cron="*/5 * * * *", enabled=False)
    deleted = world.add_task(server, cron="*/5 * * * *")
    world.tasks.delete(deleted.task_id, version=None, now=world.clock())
    world.clock.move(minutes=10)

    report = world.tick()

    assert report.started == []
    assert disabled.next_run is None


def test_open_run_is_checked_again_and_again(world, server):
    """A start that was lost is repeated from the row, every two minutes."""
    task = world.add_task(server)
    run = world.tasks.run(task.task_id, by="tester", now=world.clock())
    world.messages()  # lost
    world.clock.move(minutes=2)

    assert world.tick().checked == [run.run_id]
    assert [message.kind for message, _ in world.messages()] == [MessageKind.CHECK]
    assert world.tick().checked == []
    world.clock.move(minutes=2)
    assert world.tick().checked == [run.run_id]


def test_tick_stops_in_time_and_goes_on_with_the_oldest(world, server):
    """A tick without time does nothing and says so."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run

    report = world.dispatcher.tick(world.clock(), stop_at=0)

    assert not report.complete
    assert report.started == []
    assert tasks.get(task.task_id).next_run == task.next_run


def test_due_lists_and_starts_nothing(world, server):
    """The dry run says what is due, and changes nothing."""
    task = world.add_task(server, cron="*/5 * * * *")
    world.clock.now = task.next_run

    assert world.dispatcher.due(world.clock()) == [(task.task_id, task.next_run)]
    assert world.messages() == []
    assert world.all_runs() == []


def test_every_second_of_the_look_ahead_is_sent_for_its_second(world, server):
    """Each slot has a row, and a message in the second before; no tick doubles one."""
    world.clock.now = NOW + timedelta(milliseconds=300)
    task = world.add_task(
        server, schedule=CronSchedule(cron="*/10 * * * * *", seconds=True)
    )
    early = sent(world)
    world.clock.move(seconds=59)

    report = world.tick()

    assert [delay for _, delay in early] == [9, 19, 29, 39, 49, 59, 69, 79, 89]
    assert report.started == [run_id for run_id, _ in sent(world)]
    ids = [run_id for run_id, _ in early] + report.started
    seconds = range(10, 150, 10)
    assert ids == [
        slot_run_id(task.task_id, NOW + timedelta(seconds=second)) for second in seconds
    ]


def test_a_task_of_every_second_is_bounded_work(world, server, monkeypatch):
    """What is beyond the bound waits for the next tick, and nothing is left out."""
    monkeypatch.setattr(plan, "SLOTS_A_TICK", 20)
    task = world.add_task(
        server, schedule=CronSchedule(cron="* * * * * *", seconds=True)
    )

    first, second = len(sent(world)), len(world.tick().started)

    assert (first, second) == (20, 20)
    assert tasks.get(task.task_id).next_run == NOW + timedelta(seconds=41)


def test_an_interval_does_not_drift(world, server):
    """Ticks that come late move no slot."""
    task = world.add_task(server, schedule=EverySchedule(every_s=600))
    slots = []
    for late_s in (0, 17, 3, 40):
        cursor = tasks.get(task.task_id).next_run
        slots.append(cursor)
        world.clock.now = cursor + timedelta(seconds=late_s)
        world.tick()

    assert slots == [NOW + timedelta(minutes=10 * number) for number in range(1, 5)]


def test_a_single_instant_stays_on_record(world, server):
    """Its task is there after it ran, with nothing to come."""
    at = NOW + timedelta(minutes=30)
    task = world.add_task(server, schedule=OnceSchedule(at=at))
    world.clock.now = at - timedelta(seconds=10)

    assert world.tick().started == [slot_run_id(task.task_id, at)]

    world.clock.move(minutes=5)
    assert world.tick().started == []
    kept = tasks.get(task.task_id)
    assert (kept.next_run, kept.definition.enabled) == (None, True)
    renamed = replace(task.definition, name="still there")
    changed = world.tasks.change(
        task.task_id, renamed, version=None, by="tester", now=world.clock()
    )
    assert changed.next_run is None


def test_h_is_hashed_by_the_task(world, server):
    """The slot is the one that the task's own id makes of it."""
    task = world.add_task(server, cron="H H * * *")
    world.clock.now = task.next_run

    report = world.tick()

    assert is_slot(task.schedule, task.next_run)
    assert report.started == [slot_run_id(task.task_id, task.next_run)]
    assert tasks.get(task.task_id).next_run == task.next_run + timedelta(days=1)


@pytest.mark.parametrize(
    ("zone", "expected_h"),
    [("Etc/GMT-1", 9), ("Etc/GMT+1", 11)],
    ids=["earlier", "later"],
)
def test_new_zone_rules_move_the_slots_to_come(world, server, zone, expected_h):
    """A cursor found by the old rules is no slot: the one that was meant runs once."""
    task = world.add_task(server, cron="0 10 * * *")
    plain = task.definition.to_dict()
    plain["schedule"]["timezone"] = zone
    row = tasks.TaskRow(task_id=task.task_id)
    row.update(actions=[tasks.TaskRow.definition.set(plain)])
    expected = task.next_run.replace(hour=expected_h)

    world.clock.now = task.next_run
    started = world.tick().started
    world.clock.now = task.next_run.replace(hour=11)
    started += world.tick().started

    assert started == [slot_run_id(task.task_id, expected)]
    following = tasks.get(task.task_id).next_run
    assert following == expected + timedelta(days=1)


def outage(world, server, *, catch_up, cron="0 * * * *", hours=73, **changes):
    """Let a task miss its slots for so long, and return it."""
    task = world.add_task(server, cron=cron, catch_up=catch_up, **changes)
    world.messages()
    cursor = tasks.get(task.task_id).next_run
    world.clock.now = cursor + timedelta(hours=hours, minutes=10)
    return tasks.get(task.task_id)


def test_none_of_an_outage_is_started(world, server):
    """With `none` all of it is one row, and the next slot is on time."""
    task = outage(world, server, catch_up=CatchUp.NONE)

    report = world.tick()

    missed = runs.get(slot_run_id(task.task_id, task.next_run))
    assert report.started == []
    assert (missed.state, missed.missed_count) == (State.MISSED, 74)
    assert missed.missed_to == task.next_run + timedelta(hours=73)
    assert "catch_up is none" in missed.reason
    assert tasks.get(task.task_id).next_run == missed.missed_to + timedelta(hours=1)


def test_all_of_an_outage_are_started_up_to_the_limit(world, server):
    """With `all` the newest start, oldest first; what is older is one row."""
    task = outage(
        world,
        server,
        catch_up=CatchUp.ALL,
        catch_up_limit=3,
        start_deadline_s=7 * 86400,
    )

    report = world.tick()

    missed = runs.get(slot_run_id(task.task_id, task.next_run))
    newest = task.next_run + timedelta(hours=73)
    assert report.started == [
        slot_run_id(task.task_id, newest - timedelta(hours=number))
        for number in (2, 1, 0)
    ]
    assert missed.missed_count == 71
    assert missed.missed_to == newest - timedelta(hours=3)


def test_what_is_past_its_deadline_is_not_caught_up(world, server):
    """Of `all` those that could not pass the gate any more are in the one row."""
    task = outage(
        world, server, catch_up=CatchUp.ALL, catch_up_limit=50, start_deadline_s=7200
    )

    report = world.tick()

    missed = runs.get(slot_run_id(task.task_id, task.next_run))
    assert len(report.started) == 2
    assert missed.missed_count == 72
    assert len(world.all_runs()) == 3


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_a_late_tick_is_no_outage(world, server, catch_up):
    """What passed in the last minute is started, whatever the task wants."""
    task = world.add_task(
        server,
        schedule=CronSchedule(cron="*/20 5 * * * *", seconds=True),
        catch_up=catch_up,
    )
    world.clock.now = task.next_run + timedelta(seconds=45)

    report = world.tick()

    assert report.started == [
        slot_run_id(task.task_id, task.next_run + timedelta(seconds=second))
        for second in (0, 20, 40)
    ]


@pytest.mark.parametrize("catch_up", list(CatchUp))
@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_a_crash_within_an_outage_leaves_no_slot_out(
    world, server, monkeypatch, catch_up, rows
):
    """The next tick goes on from the rows of the one that died, an hour later too."""
    task = outage(
        world,
        server,
        catch_up=catch_up,
        catch_up_limit=3,
        start_deadline_s=7 * 86400,
    )
    real, left = runs._put, [rows]

    def put(row):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return real(row)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_put", put)
        with contextlib.suppress(Killed):
            world.tick()
    world.clock.move(hours=1)

    report = world.tick()

    covered = []
    for run in world.all_runs():
        covered += slots(task.schedule, run.slot, run.missed_to or run.slot)
    newest = task.next_run + timedelta(hours=74)
    assert covered == list(slots(task.schedule, task.next_run, newest))
    pending = [run.run_id for run in world.all_runs() if run.state is State.PENDING]
    assert set(report.started) <= set(pending)
    assert len(pending) <= 2 * 3


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_any_outage_is_bounded_work(world, server, monkeypatch, catch_up):
    """A year of every ten seconds costs some hundred rows and no more searches."""
    outage(
        world,
        server,
        catch_up=catch_up,
        schedule=EverySchedule(every_s=10),
        cron=None,
        catch_up_limit=100,
        start_deadline_s=7 * 86400,
        hours=365 * 24,
    )
    searches = []
    real = schedule.next_slot
    monkeypatch.setattr(
        schedule, "next_slot", lambda *args: searches.append(1) or real(*args)
    )

    report = world.tick()

    assert len(report.started) == {"one": 15, "all": 109, "none": 15}[catch_up]
    assert len(world.all_runs()) < 130
    assert len(searches) < 5000


def test_many_rows_of_ticks_that_died_cost_reads_only(world, server, monkeypatch):
    """A task of every second, of which five minutes were put and never sent."""
    task = outage(
        world,
        server,
        schedule=CronSchedule(cron="* * * * * *", seconds=True),
        catch_up=CatchUp.ONE,
    )
    start = task.next_run
    for number in range(200):
        slot = start + timedelta(seconds=number)
        runs.add(plan._run(task, slot, slot))
    world.clock.now = start + timedelta(minutes=5)
    searches = 0
    real = schedule.latest_slots

    def latest_slots(*args, **kwargs):
        nonlocal searches
        searches += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(plan, "latest_slots", latest_slots)
    report = world.tick()

    assert len(report.started) == 200
    assert searches == 0
    assert tasks.get(task.task_id).next_run == start + timedelta(seconds=200)


def test_no_slot_is_left_out_by_a_change_after_a_crash(world, server):
    """More of its slots have passed than one plan holds."""
    task = outage(
        world, server, schedule=EverySchedule(every_s=1), catch_up=CatchUp.ALL
    )
    start = task.next_run
    for number in range(250):
        slot = start + timedelta(seconds=number)
        runs.add(plan._run(task, slot, slot))
    world.clock.now = start + timedelta(minutes=10)

    world.tasks.delete(task.task_id, version=None, now=world.clock())

    covered = []
    for run in world.all_runs():
        covered += slots(task.schedule, run.slot, run.missed_to or run.slot)
    assert set(slots(task.schedule, start, world.clock())) <= set(covered)
    assert len(covered) == len(set(covered))


def test_a_task_that_cannot_be_read_stops_no_tick(world, server):
    """The others are sent, and it is named."""
    good, bad = (world.add_task(server, cron="*/5 * * * *") for _ in range(2))
    world.spoil("tasks", "version", {"S": "first"}, task_id=bad.task_id)
    world.clock.now = good.next_run

    report = world.tick()

    assert report.failed == [bad.task_id]
    assert report.started == [slot_run_id(good.task_id, good.next_run)]


def test_a_row_that_cannot_be_read_leaves_the_others_to_the_tick(
    world, server, monkeypatch
):
    """Its task comes again with the next one."""
    good, bad = (world.add_task(server, cron="*/5 * * * *") for _ in range(2))
    world.clock.now = good.next_run
    runs.add(plan._run(bad, bad.next_run, bad.next_run))
    real = runs.get

    def get(run_id):
        if run_id == slot_run_id(bad.task_id, bad.next_run):
            raise RuntimeError("unreadable")
        return real(run_id)

    monkeypatch.setattr(runs, "get", get)
    report = world.tick()

    assert report.failed == [bad.task_id]
    assert report.started == [slot_run_id(good.task_id, good.next_run)]
