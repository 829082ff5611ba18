"""Runs on several servers: in steps, to a stated outcome for each of them."""

from collections import Counter
from dataclasses import replace

import pytest

from cronhop.domain.ids import new_id
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.retry import Retry
from cronhop.domain.rollout import Rollout
from cronhop.domain.run import Execution, State, Trigger
from cronhop.domain.server import ServerStatus
from cronhop.domain.targets import Pick, Selector, Targets
from cronhop.domain.task import Overlap
from cronhop.errors import Conflict, Invalid
from cronhop.services import choose, gate
from cronhop.services.dead_letters import revive
from cronhop.store import connection, executions, fleets, runs, servers, tasks
from cronhop.store.servers import ServerRow
from tests.host import Host
from tests.world import THOROUGH, Killed


@pytest.fixture
def host(world, monkeypatch):
    """A model of all servers: what is started there runs until somebody ends it."""
    model = Host(world)
    model.install(monkeypatch)
    return model


@pytest.fixture
def crowd(world):
    """Twelve servers that nobody visits but the model."""
    return [world.add_server() for _ in range(12)]


def run_now(world, task):
    return world.tasks.run(task.task_id, by="ada", now=world.clock())


def fleet_task(world, crowd, **rollout):
    return world.add_task(
        *crowd, timeout_s=900, kill_grace_s=10, rollout=Rollout(**rollout)
    )


def end_all(world, host, code=lambda command: 0):
    """Let every command end that runs, and the executors see it."""
    for key, command in host.commands.items():
        if command.how == "running":
            command.how, command.code = "exited", code(key)
            command.ended_at = world.clock()
    world.clock.move(minutes=2)
    world.tick()
    world.deliver()


def states(world, run):
    """Return the state of each target, in order, as the API shows it."""
    run = world.runs.get(run.run_id)
    page = world.runs.executions(run, limit=100, after=None)
    return [one.state.value for one in page.items]


def deliver_all(world):
    """Hand over messages, and those that follow from them."""
    while messages := world.messages():
        world.deliver([message for message, _ in messages])


def test_every_server_runs_the_command_once(world, server, sshd, tmp_path):
    """On a real sshd: forty targets, each with its start, outcome and output."""
    homes = [sshd.new_home() for _ in range(39)]
    servers = [server] + [
        world.add_server(sshd, login=sshd.login(home)) for home in homes
    ]
    task = world.add_task(
        *servers,
        command=f'echo x >> "{tmp_path}/$CRONHOP_EXECUTION"',
        rollout=Rollout(max_parallel=8),
    )
    run = world.settle(run_now(world, task).run_id)

    assert (run.state, run.reason) == (State.COMPLETED, None)
    marks = list(tmp_path.iterdir())
    assert len(marks) == 40
    assert all(mark.read_text() == "x\n" for mark in marks)
    assert states(world, run) == ["completed"] * 40
    assert world.runs.counts(run, []) == {State.COMPLETED: 40}
    assert world.alarms() == []


def test_row_of_the_run_stays_small(world, host, crowd):
    """The ids of its servers are not on it."""
    run = run_now(world, fleet_task(world, crowd))
    world.deliver()

    (row,) = (item for item in world.rows("runs") if item["run_id"]["S"] == run.run_id)
    assert "targets" not in row
    assert row["target_count"] == {"N": "12"}
    assert len(str(row)) < 1024


def test_no_more_than_max_parallel_at_once(world, host, crowd):
    """Who finishes one sends the next."""
    run = run_now(world, fleet_task(world, crowd, max_parallel="25%"))
    seen = []
    while not runs.get(run.run_id).state.is_terminal:
        deliver_all(world)
        seen.append(len(host.running))
        end_all(world, host)

    assert seen == [3, 3, 3, 3]
    assert runs.get(run.run_id).state is State.COMPLETED
    assert sum(command.starts for command in host.commands.values()) == 12


def test_batches_wait_for_the_last_one(world, host, crowd):
    """One command of a batch that goes on holds the next batch."""
    task = fleet_task(world, crowd, max_parallel=5, batches=True)
    run = run_now(world, task)
    deliver_all(world)
    slow = host.running[0]
    for command in host.running[1:]:
        command.how, command.code, command.ended_at = "exited", 0, world.clock()
    world.clock.move(minutes=2)
    world.tick()
    deliver_all(world)
    assert host.running == [slow]
    assert states(world, run) == ["running"] + ["completed"] * 4 + ["pending"] * 7

    end_all(world, host)
    deliver_all(world)
    assert len(host.running) == 5


@pytest.mark.parametrize("code", [0, 4])
def test_canary_goes_first(world, host, crowd, code):
    """The others go only if it has succeeded."""
    run = run_now(world, fleet_task(world, crowd, canary=2))
    deliver_all(world)
    assert len(host.running) == 2

    end_all(world, host, code=lambda key: code)
    deliver_all(world)
    if code == 0:
        assert len(host.running) == 10
        return
    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (
        State.FAILED,
        "2 failed, 10 not started: canary did not succeed",
    )
    assert states(world, run) == ["failed"] * 2 + ["skipped"] * 10
    assert len(host.commands) == 2


def test_failures_stop_the_rest(world, host, crowd):
    """The others are skipped without a row each; one alarm names who failed."""
    rollout = {"max_parallel": 4, "max_failures": 1}
    run = run_now(world, fleet_task(world, crowd, **rollout))
    deliver_all(world)
    failing = {crowd[0].server_id, crowd[2].server_id}
    end_all(world, host, code=lambda key: int(key.split("-")[1] in failing))
    deliver_all(world)
    end_all(world, host)

    ended = world.settle(run.run_id)
    assert ended.state is State.FAILED
    started = len(host.commands)
    assert "2 failed" in ended.reason
    assert f"{12 - started} not started: max failures" in ended.reason
    assert len(world.rows("executions")) <= 2 * started  # and their output
    shown = world.runs.executions(ended, limit=100, after=None).items
    assert {one.reason for one in shown[started:]} == {"max failures"}
    assert world.runs.counts(ended, [])[State.SKIPPED] == 12 - started
    ((subject, text),) = world.alarms()
    assert subject.startswith("cronhop: failed")
    assert crowd[0].server_id in text
    assert crowd[1].server_id not in text


def test_threshold_of_successes(world, host, crowd):
    """With enough of them the run is completed, and says what was not."""
    run = run_now(world, fleet_task(world, crowd, success_threshold="90%"))
    deliver_all(world)
    end_all(world, host, code=lambda key: int(crowd[0].server_id in key))

    ended = world.settle(run.run_id)
    assert (ended.state, ended.reason) == (State.COMPLETED, "11 completed, 1 failed")
    assert world.alarms() == []


def test_start_deadline_counts_from_a_targets_turn(world, host, crowd):
    """The last of a slow rollout is not too late."""
    task = world.add_task(
        *crowd[:3], start_deadline_s=60, rollout=Rollout(max_parallel=1)
    )
    run = run_now(world, task)
    for _ in range(3):
        deliver_all(world)
        end_all(world, host)

    assert world.settle(run.run_id).state is State.COMPLETED


def test_attempts_are_each_servers_own(world, host, crowd):
    """One server tries again, while the others have ended."""
    task = world.add_task(
        *crowd[:3], timeout_s=900, retry=Retry(max_attempts=2, interval_s=30)
    )
    run = run_now(world, task)
    deliver_all(world)
    end_all(world, host, code=lambda key: int(crowd[1].server_id in key))
    assert not runs.get(run.run_id).state.is_terminal
    world.clock.move(minutes=1)
    deliver_all(world)
    end_all(world, host)

    assert world.settle(run.run_id).state is State.COMPLETED
    attempts = [executions.get(run.run_id, one.server_id).attempt for one in crowd[:3]]
    assert attempts == [1, 2, 1]


# Selectors


@pytest.fixture
def park(world):
    """Servers of three kinds, of which one is disabled, by name."""
    kinds = [
        ("web-2", "prod", {"role": "web"}, ServerStatus.ENABLED),
        ("web-1", "prod", {"role": "web", "zone": "a"}, ServerStatus.ENABLED),
        ("web-3", "prod", {"role": "web"}, ServerStatus.DISABLED),
        ("web-4", "test", {"role": "web"}, ServerStatus.ENABLED),
        ("db-1", "prod", {"role": "db"}, ServerStatus.ENABLED),
    ]
    return {
        name: world.add_server(
            name=name, environment=environment, tags=tags, status=status
        ).server_id
        for name, environment, tags, status in kinds
    }


def chosen(world, targets):
    """Let a task with these targets begin; return names of its servers, in order."""
    task = world.add_task(targets=targets, overlap=Overlap.ALLOW)
    return begun(world, task)


def begun(world, task):
    run = run_now(world, task)
    world.deliver()
    ids = fleets.targets(runs.get(run.run_id), 0, 100)
    return [servers.get(one).name for one in ids]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        (Selector(environment="prod"), ["db-1", "web-1", "web-2"]),
        (Selector(environment="prod", tags={"role": "web"}), ["web-1", "web-2"]),
        (Selector(tags={"role": "web"}), ["web-1", "web-2", "web-4"]),
        (Selector(name="web-*"), ["web-1", "web-2", "web-4"]),
        (Selector(environment="prod", name="db-?"), ["db-1"]),
    ],
)
def test_selector_means_what_matches_now(world, host, park, selector, names):
    """The enabled servers alone, in the order of their names."""
    assert chosen(world, Targets(selector=selector)) == names


def test_selector_is_resolved_at_each_start(world, host, park):
    """A server that comes later is in the next run, and not in this one."""
    task = world.add_task(
        targets=Targets(selector=Selector(environment="test")), overlap=Overlap.ALLOW
    )
    assert begun(world, task) == ["web-4"]
    world.add_server(name="web-5", environment="test")

    assert begun(world, task) == ["web-4", "web-5"]


def test_nothing_matches(world, host, park):
    """The run fails with the reason, somebody is told, and nothing holds the task."""
    task = world.add_task(targets=Targets(selector=Selector(environment="none")))
    run = run_now(world, task)
    world.deliver()

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (State.FAILED, "no enabled server matches")
    ((subject, _),) = world.alarms()
    assert subject.startswith("cronhop: failed")
    assert tasks.get(task.task_id).active_run is None


def test_more_match_than_a_run_may_have(world, host, park, monkeypatch):
    """It is refused with the limit, and not done in part."""
    monkeypatch.setattr(choose, "MAX_TARGETS", 3)
    selector = Selector(tags={"role": "web"})
    assert chosen(world, Targets(selector=selector)) == ["web-1", "web-2", "web-4"]
    world.add_server(name="web-5", tags={"role": "web"})
    run = run_now(world, world.add_task(targets=Targets(selector=selector)))
    world.deliver()

    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (State.FAILED, "more than 3 servers match")


def test_pick_at_random(world, park):
    """One, or so many in their order; never a disabled one."""
    names = {server_id: name for name, server_id in park.items()}

    def picked(pick):
        targets = Targets(selector=Selector(environment="prod"), pick=pick)
        return {
            tuple(names[one] for one in choose.choose(targets, after=None))
            for _ in range(40)
        }

    assert picked(Pick.ANY) == {("db-1",), ("web-1",), ("web-2",)}
    assert picked(2) == {("db-1", "web-1"), ("db-1", "web-2"), ("web-1", "web-2")}
    assert picked(50) == {("db-1", "web-1", "web-2")}


def test_round_robin_takes_one_after_the_other(world, host, park):
    """Each in turn, also among ids, and passes over who is disabled."""
    ids = tuple(park[name] for name in ("web-1", "web-2", "web-3", "web-4"))
    task = world.add_task(
        targets=Targets(server_ids=ids, pick=Pick.ROUND_ROBIN), overlap=Overlap.ALLOW
    )
    taken = [begun(world, task)[0] for _ in range(6)]

    assert taken[:3] == taken[3:]
    assert sorted(taken[:3]) == ["web-1", "web-2", "web-4"]


def test_two_at_the_gate_agree_on_the_servers(world, host, park, monkeypatch):
    """Each has chosen others: the run's row takes the list of one."""
    run = run_now(
        world,
        world.add_task(targets=Targets(selector=Selector(environment="prod"), pick=2)),
    )
    ((start, _),) = world.messages()
    real = fleets.freeze
    nested = []

    def freeze(*args, **kwargs):
        real(*args, **kwargs)
        if not nested:
            nested.append(True)
            world.handle(start)

    monkeypatch.setattr(fleets, "freeze", freeze)
    world.handle(start)

    present = runs.get(run.run_id)
    targets = fleets.targets(present, 0, 10)
    starts = [message for message, _ in world.messages()]
    assert [one.server_id for one in starts] == targets
    pages = [row["run_id"]["S"] for row in world.rows("runs") if "targets" in row]
    assert len(pages) == 2
    assert f"{run.run_id}#{present.fleet}#0" in pages


# By hand


def retry(world, run):
    return world.runs.retry(run.run_id, by="ada", now=world.clock())


def test_retry_of_what_did_not_complete(world, host, crowd):
    """Failed, and never started: on these alone, as of the version that ran."""
    task = fleet_task(world, crowd, max_parallel=4, max_failures=0)
    run = run_now(world, task)
    deliver_all(world)
    end_all(world, host, code=lambda key: int(crowd[2].server_id in key))
    deliver_all(world)
    end_all(world, host)
    ended = world.settle(run.run_id)
    completed = world.runs.counts(ended, [])[State.COMPLETED]
    changed = replace(task.definition, name="another", timeout_s=5)
    world.tasks.change(task.task_id, changed, version=None, by="ada", now=world.clock())

    again = retry(world, ended)
    assert (again.trigger, again.retry_of) == (Trigger.RETRY, run.run_id)
    for _ in range(4):
        deliver_all(world)
        end_all(world, host)
    again = world.settle(again.run_id)

    assert (again.state, again.task_version) == (State.COMPLETED, 1)
    ids = fleets.targets(again, 0, 100)
    assert len(ids) == 12 - completed
    assert ids[0] == crowd[2].server_id
    shown = world.runs.executions(ended, limit=100, after=None).items
    done = {one.server_id for one in shown if one.state is State.COMPLETED}
    assert not done.intersection(ids)
    with pytest.raises(Conflict, match="all its targets are completed"):
        retry(world, again)


def test_retry_of_a_run_on_one_server(world, host, crowd):
    """It is one more run on that server."""
    run = run_now(world, world.add_task(crowd[0]))
    deliver_all(world)
    with pytest.raises(Conflict, match="not over"):
        retry(world, run)
    end_all(world, host, code=lambda key: 1)
    again = retry(world, world.settle(run.run_id))
    deliver_all(world)
    end_all(world, host)

    assert world.settle(again.run_id).state is State.COMPLETED
    assert runs.get(again.run_id).targets == (crowd[0].server_id,)


def test_retry_of_what_never_began(world, host, crowd):
    """Nobody knows where it would have run."""
    run = run_now(world, fleet_task(world, crowd))
    world.runs.cancel(run.run_id, by="ada", now=world.clock())
    with pytest.raises(Conflict, match="never began"):
        retry(world, run)


def test_run_now_on_other_servers(world, host, crowd, park):
    """By id or by selector, and the task stays as it is."""
    task = world.add_task(crowd[0], overlap=Overlap.ALLOW)

    def targets_of(wanted):
        run = world.tasks.run(task.task_id, by="ada", now=world.clock(), targets=wanted)
        world.deliver()
        return fleets.targets(runs.get(run.run_id), 0, 100)

    others = tuple(one.server_id for one in crowd[3:6])
    assert targets_of(Targets(server_ids=others)) == list(others)
    assert targets_of(Targets(selector=Selector(name="db-*"))) == [park["db-1"]]
    assert targets_of(None) == [crowd[0].server_id]
    with pytest.raises(Invalid) as refused:
        targets_of(Targets(server_ids=(others[0], "nope")))
    assert refused.value.field == "targets.server_ids.1"
    assert tasks.get(task.task_id) == task


def test_run_by_hand_eats_no_slot(world, host, crowd):
    """The slot after it runs as if nothing had been."""
    task = world.add_task(
        *crowd[:2], cron="5 10 * * *", overlap=Overlap.ALLOW, timeout_s=900
    )
    run = run_now(world, task)
    deliver_all(world)
    assert tasks.get(task.task_id).next_run == task.next_run
    world.clock.now = task.next_run
    world.tick()
    deliver_all(world)
    end_all(world, host)

    rows = {one.trigger: one for one in world.all_runs()}
    assert rows[Trigger.MANUAL].run_id == run.run_id
    assert rows[Trigger.SCHEDULE].slot == task.next_run
    assert {one.state for one in rows.values()} == {State.COMPLETED}


# Cancel


def test_cancel_ends_what_runs_and_starts_nothing_else(world, host, crowd):
    """Each server that was started is told; the others never start."""
    run = run_now(world, fleet_task(world, crowd, max_parallel=4))
    deliver_all(world)
    world.runs.cancel(run.run_id, by="bob", now=world.clock())
    deliver_all(world)

    ended = runs.get(run.run_id)
    assert ended.state is State.CANCELLED
    assert ended.reason == ("cancelled by bob: 4 cancelled, 8 not started: cancelled")
    assert [one.how for one in host.commands.values()] == ["cancelled"] * 4
    shown = world.runs.executions(ended, limit=100, after=None).items
    assert {one.state for one in shown} == {State.CANCELLED}
    assert shown[5].reason == "cancelled by bob before it was started"
    assert world.runs.counts(ended, []) == {State.CANCELLED: 12}


def test_cancel_before_starts_arrive(world, host, crowd):
    """What was sent and not claimed never starts either."""
    run = run_now(world, fleet_task(world, crowd, max_parallel=4))
    world.deliver()
    starts = [message for message, _ in world.messages()]
    world.runs.cancel(run.run_id, by="bob", now=world.clock())
    world.deliver(starts)
    deliver_all(world)

    assert runs.get(run.run_id).state is State.CANCELLED
    assert host.commands == {}


def test_cancel_whose_messages_are_lost(world, host, crowd):
    """The check of the run tells whoever was not told."""
    run = run_now(world, fleet_task(world, crowd, max_parallel=4))
    deliver_all(world)
    world.runs.cancel(run.run_id, by="bob", now=world.clock())
    world.messages()
    world.tick()
    world.deliver()
    world.messages()

    assert world.settle(run.run_id).state is State.CANCELLED
    assert [one.how for one in host.commands.values()] == ["cancelled"] * 4


# What goes wrong


def test_each_message_three_times(world, host, crowd):
    """Duplicates start nothing, and count nothing twice."""
    run = run_now(world, fleet_task(world, crowd, max_parallel=5))
    for _ in range(40):
        world.deliver(times=3)
        end_all(world, host)
        if runs.get(run.run_id).state.is_terminal:
            break

    assert runs.get(run.run_id).state is State.COMPLETED
    assert [one.starts for one in host.commands.values()] == [1] * 12


def test_forged_messages_start_nothing(world, host, crowd):
    """A server that is no target, not at that position, or not yet its turn."""
    stranger = world.add_server()
    run = run_now(world, fleet_task(world, crowd, max_parallel=2))
    world.deliver()
    world.messages()
    forged = [
        (MessageKind.START, stranger, 0),
        (MessageKind.START, crowd[0], 1),
        (MessageKind.START, crowd[5], 5),
        (MessageKind.START, crowd[0], 4000),
        (MessageKind.START, crowd[0], None),
        (MessageKind.POLL, crowd[0], None),
        (MessageKind.POLL, crowd[5], None),
        (MessageKind.CANCEL, crowd[5], 5),
    ]
    world.deliver(
        Message(
            kind=kind,
            run_id=run.run_id,
            server_id=server.server_id,
            position=position,
            group="x",
        )
        for kind, server, position in forged
    )

    assert host.commands == {}
    assert world.rows("executions") == []


def test_lost_starts_are_sent_again(world, host, crowd):
    """All messages of the fan-out vanish, again and again; the check repeats them."""
    run = run_now(world, fleet_task(world, crowd, max_parallel=3))
    world.deliver()
    assert len(world.messages()) == 3
    for _ in range(3):
        world.clock.move(minutes=3)
        world.tick()
        world.deliver()
        assert len(world.messages()) == 3

    world.clock.move(minutes=4)
    world.tick()
    deliver_all(world)
    assert len(host.running) == 3
    for _ in range(5):
        end_all(world, host)
        deliver_all(world)
    assert runs.get(run.run_id).state is State.COMPLETED


def test_stop_between_the_look_and_the_move(world, host, crowd, monkeypatch):
    """Who wants to move the cursor of a run that was stopped meanwhile sends nothing."""
    run = run_now(world, fleet_task(world, crowd, max_parallel=3))
    real = fleets.move

    def move(run, **kwargs):
        fleets.stop(run, "max failures", now=world.clock())
        return real(run, **kwargs)

    monkeypatch.setattr(fleets, "move", move)
    world.deliver()

    assert world.messages() == []
    ended = runs.get(run.run_id)
    assert (ended.state, ended.reason) == (
        State.FAILED,
        "12 not started: max failures",
    )


def test_two_that_move_the_cursor(world, host, crowd, monkeypatch):
    """One of them sends."""
    run_now(world, fleet_task(world, crowd, max_parallel=3))
    real, sent = fleets.move, []

    def move(run, **kwargs):
        if not sent:
            sent.append(real(run, **{**kwargs, "sender": "the other"}))
        return real(run, **kwargs)

    monkeypatch.setattr(fleets, "move", move)
    world.deliver()

    assert sent == [True]
    assert world.messages() == []


def test_answers_lost_hold_nothing_up(world, host, crowd):
    """Whichever write has no answer: the starts are sent by the same visit."""
    calls = 0
    while True:
        task = fleet_task(world, crowd[:4], max_parallel=3)
        run_now(world, task)
        ((start, _),) = world.messages()
        world.deathtrap.set_lossy(calls)
        world.handle(start)
        lost = world.deathtrap.calls > calls
        world.deathtrap.set_lossy(None)
        assert {one.position for one, _ in world.messages()} == {0, 1, 2}
        if not lost:
            break
        calls += 1
    # The run, the task, ids, hold, begin, the run, version, progress, move, ids, send.
    assert calls >= 11


def test_dead_start_goes_back_to_the_check(world, host, crowd):
    """A start that nobody could handle is no outcome: its run is looked after."""
    run = run_now(world, fleet_task(world, crowd[:2]))
    world.deliver()
    (dead, _), (other, _) = world.messages()
    world.deliver([other])
    assert runs.get(run.run_id).check_at > world.clock()

    revive(dead.to_json(), world.clock())

    assert runs.get(run.run_id).check_at == world.clock()
    world.tick()
    deliver_all(world)
    assert len(host.running) == 2


def kill_everywhere(world, host, crowd, prepare):
    """Kill the executor at a step of each message of a run, yield it; the next step.

    What it was killed at is lost: nothing but the tick brings it back.
    """
    deaths = 0
    while True:
        run = run_now(world, prepare())
        survived = True
        for _ in range(200):
            messages = [message for message, _ in world.messages()]
            if not messages:
                break
            for message in messages:
                world.deathtrap.set(deaths)
                try:
                    world.handle(message)
                except Killed:
                    survived = False
                finally:
                    world.deathtrap.set(None)
                if not survived:
                    world.restart()
        yield run
        if survived:
            break
        deaths += 3 // THOROUGH or 1
    # At least: run, version, progress, cursor, ids, send; before and after each.
    assert deaths >= 2 * 6


@pytest.mark.timeout(900)
@pytest.mark.parametrize("code", [0, 1])
def test_executor_killed_anywhere(world, host, crowd, code, monkeypatch):
    """One start a target at most, an outcome for each, and the run ends.

    Every message of the fan-out dies at the same step, once.
    """
    real = host.report

    def ends_at_once(key, **kwargs):
        command = host.commands.get(key)
        if command and command.how == "running":
            command.how, command.ended_at = "exited", world.clock()
            command.code = code if crowd[3].server_id in key else 0
        return real(key, **kwargs)

    monkeypatch.setattr(host, "report", ends_at_once)

    def prepare():
        return fleet_task(world, crowd[:6], max_parallel=2, canary=1, max_failures=0)

    for run in kill_everywhere(world, host, crowd, prepare):
        ended = world.settle(run.run_id, minutes=60)
        mine = {key for key in host.commands if key.startswith(run.run_id)}
        assert all(host.commands[key].starts <= 1 for key in mine)
        shown = world.runs.executions(ended, limit=100, after=None).items
        assert all(one.state.is_terminal for one in shown)
        assert sum(one.attempt > 0 for one in shown) == len(mine)
        if code == 0:
            assert ended.state is State.COMPLETED
            assert len(mine) == 6
        else:
            assert (ended.state, shown[3].state) == (State.FAILED, State.FAILED)
            assert 4 <= len(mine) <= 5
            assert shown[5].reason == "max failures"


def test_a_batch_of_more_than_a_step_is_one(world, host, monkeypatch):
    """However many starts go behind one move of the cursor otherwise."""
    server = world.add_server()
    ids = tuple(new_id(world.clock()) for _ in range(300))
    monkeypatch.setattr(gate, "choose", lambda *args, **kwargs: ids)
    task = fleet_task(world, [server], max_parallel=250, batches=True)

    run = run_now(world, task)
    world.deliver()

    assert fleets.progress(runs.get(run.run_id)).sent == 250


def test_round_robin_goes_on_from_what_is_on_record(world, host, monkeypatch):
    """The answer of the write that lets a run begin is lost."""
    crowd = [world.add_server() for _ in range(3)]
    task = world.add_task(
        targets=Targets(
            server_ids=tuple(one.server_id for one in crowd), pick=Pick.ROUND_ROBIN
        ),
        overlap=Overlap.ALLOW,
    )
    real, picked = runs.begin, []

    def lost(*args, **kwargs):
        real(*args, **kwargs)
        return False

    for begin in (real, lost, real):
        monkeypatch.setattr(runs, "begin", begin)
        run = run_now(world, task)
        world.deliver()
        picked += runs.get(run.run_id).targets

    assert sorted(picked) == sorted(one.server_id for one in crowd)


# Many


@pytest.fixture
def calls(world):
    """Calls to DynamoDB, by operation, as they are made."""
    made = Counter()

    def count(model=None, **kwargs):
        made[model.name] += 1

    client = connection._state["connection"].client
    client.meta.events.register("before-call.dynamodb", count)
    return made


@pytest.mark.skipif(THOROUGH == 1, reason="it takes a minute: make test-slow")
@pytest.mark.timeout(600)
def test_thousand_targets(world, calls):
    """A selector of a thousand: each message does a little, items stay small.

    The visits are left out: each target is recorded as ended.
    """
    ids = [f"01J{number:023d}" for number in range(1000)]
    with ServerRow.batch_write() as batch:
        for number, server_id in enumerate(ids):
            batch.save(
                ServerRow(
                    server_id=server_id,
                    listed="1",
                    name=f"web-{number:04d}",
                    status="enabled",
                    environment="prod",
                )
            )
    targets = Targets(selector=Selector(environment="prod"))
    task = world.add_task(targets=targets, rollout=Rollout(max_parallel=200))
    run = run_now(world, task)
    ((start, _),) = world.messages()
    now = world.clock()

    calls.clear()
    world.handle(start)
    waiting = [message for message, _ in world.messages()]
    assert len(waiting) == 200
    # Ten pages of ids, the task is held, the run begins; two moves of the cursor.
    assert calls["UpdateItem"] == 10 + 2 + 2
    # Of the run three times, the progress; two pages of ids.
    assert calls["GetItem"] == 6
    # Servers, a hundred each; the task beside the freeze.
    assert calls["BatchGetItem"] == 10 + 1
    run = runs.get(run.run_id)

    sent, most = [], Counter()
    while waiting:
        message = waiting.pop(0)
        sent.append((message.position, message.server_id))
        ended = Execution(
            run_id=run.run_id,
            server_id=message.server_id,
            position=message.position,
            state=State.COMPLETED,
            reason=None,
            attempt=1,
            owner="me",
            lease_until=now,
            next_poll=now,
            first_visit="me",
            polls=0,
        )
        calls.clear()
        world.executor._fan_out.ended(run, task.definition, ended, 0)
        most |= calls
        waiting += [message for message, _ in world.messages()]

    assert sorted(sent) == list(enumerate(ids))
    # Its outcome, the cursor, and of the last one the run's end and the task.
    assert most == {"UpdateItem": 3, "GetItem": 1}
    assert runs.get(run.run_id).state is State.COMPLETED
    items = {
        item["run_id"]["S"].partition("#")[2]: item
        for item in world.rows("runs")
        if item["run_id"]["S"].startswith(run.run_id)
    }
    assert len(items) == 1 + 1 + 10
    pages = [items[f"{run.fleet}#{number}"]["targets"]["L"] for number in range(10)]
    assert [len(page) for page in pages] == [100] * 10  # of 27 bytes: a unit to read
    # DynamoDB has two digits in a byte, and a byte or two beside each number.
    numbers = items["progress"]["completed"]["NS"]
    assert sum((len(number) + 1) // 2 + 2 for number in numbers) < 4096
