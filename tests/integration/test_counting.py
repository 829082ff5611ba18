"""Counters: each end of the ledger is counted once, whatever comes twice or dies."""

import json
import random
from collections import Counter
from datetime import timedelta

import pytest
from botocore.awsrequest import AWSResponse

from cronhop.domain.retry import Retry
from cronhop.domain.run import State
from cronhop.domain.tally import ALL, Tally, Whose, total
from cronhop.store import connection, stats
from tests.world import NOW, UNREADABLE, Killed

DAY = NOW.date()


def ended(world, *, count=1, task=None):
    """Let runs end that nothing was started of; return what the streams tell."""
    task = task or world.add_task(world.add_server(), enabled=False)
    for _ in range(count):
        run = world.tasks.run(task.task_id, by="me", now=world.clock())
        world.runs.cancel(run.run_id, by="me", now=world.clock())
    return task, told(world)


def told(world):
    """Return what both streams have told since the last look."""
    return world.records("runs") + world.records("executions")


def states(counts):
    return {state.value: number for state, number in counts.states.items()}


def all_states():
    found = stats.of_all(DAY, DAY)
    return states(found[DAY]) if found else {}


def task_counts(task, day=DAY):
    return stats.of_task(task.task_id, day, day)[day]


def unsuccessful():
    return [one.task_id for one in stats.unsuccessful()]


def test_a_run_is_counted_for_its_task_its_server_and_all(world, server):
    """With its command's duration, once it has ended."""
    task = world.add_task(server, command="sleep 0.2")
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.follow()
    assert all_states() == {}
    world.deliver()

    world.follow()

    counts = task_counts(task)
    on_server = stats.of_servers(DAY)[server.server_id]
    execution = world.only_execution(run)
    took = execution.finished_at - execution.started_at
    assert all_states() == states(counts) == states(on_server) == {"completed": 1}
    assert counts.last_success == world.clock()
    assert abs(counts.duration(0.5) - took) <= took * 0.05
    assert abs(on_server.busy - took) <= timedelta(milliseconds=1)
    assert unsuccessful() == []


def test_a_fleet_is_one_run_and_many_executions(world, server, sshd):
    """Each server has its own, the task has one."""
    other = world.add_server(sshd)
    task = world.add_task(server, other, command="exit 1")
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.settle(run.run_id)

    world.follow()

    on_servers = stats.of_servers(world.clock().date())
    assert states(task_counts(task)) == {"failed": 1}
    assert {one: states(counts) for one, counts in on_servers.items()} == {
        server.server_id: {"failed": 1},
        other.server_id: {"failed": 1},
    }
    assert unsuccessful() == [task.task_id]


def test_attempts_are_one_run(world, server):
    """It is counted as it ended."""
    task = world.add_task(server, command="exit 1", retry=Retry(max_attempts=2))
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.settle(run.run_id)

    world.follow()

    assert states(task_counts(task)) == {"failed": 1}
    assert states(stats.of_servers(DAY)[server.server_id]) == {"failed": 1}


def test_what_an_outage_left_is_counted(world, server):
    """The row that stands for missed slots, as one; what began late, as late."""
    task = world.add_task(server, cron="*/5 * * * *", start_deadline_s=3600)
    world.clock.move(hours=2)
    world.tick()
    world.deliver()

    world.follow()

    counts = task_counts(task)
    assert states(counts) == {"missed": 1, "completed": 1}
    assert (counts.late, counts.success_rate) == (1, 0.5)


def test_what_comes_twice_is_counted_once(world):
    """In one batch, in a later one, in parts of it."""
    task, records = ended(world, count=3)

    world.changes.follow(records + records)
    world.changes.follow(records[2:])
    world.changes.follow(records)

    assert all_states() == states(task_counts(task)) == {"cancelled": 3}


def test_ends_of_many_are_counted_in_few_transactions(world, monkeypatch):
    """More than one takes, of tasks of their own."""
    tasks, records = [], []
    for _ in range(30):
        task, more = ended(world)
        tasks.append(task)
        records += more
    made = []
    make = connection.transaction
    monkeypatch.setattr(stats, "transaction", lambda: made.append(1) or make())

    assert world.changes.follow(records) == []

    assert len(made) == 2
    assert all_states() == {"cancelled": 30}
    assert all(states(task_counts(task)) == {"cancelled": 1} for task in tasks)


def test_whoever_dies_at_any_step_leaves_exact_counters(world):
    """The stream hands the batch over again."""
    step = died = 0
    count = 0
    task, _ = ended(world, count=0)
    while step == died:
        _, records = ended(world, count=3, task=task)
        count += 3
        world.deathtrap.set(step)
        try:
            world.changes.follow(records)
        except Killed:
            died += 1
        world.deathtrap.set(None)
        world.restart()
        world.changes.follow(records)

        assert all_states() == states(task_counts(task)) == {"cancelled": count}
        step += 1
    assert died > 5


def test_a_lost_answer_leaves_exact_counters(world):
    """The client repeats the transaction, and it is refused or known."""
    task, _ = ended(world, count=0)
    for call in range(6):
        _, records = ended(world, task=task)
        world.deathtrap.set_lossy(call)
        assert world.changes.follow(records) == []
        world.deathtrap.set_lossy(None)
        assert states(task_counts(task)) == {"cancelled": call + 1}
    assert world.deathtrap.calls < 6


def test_who_meets_another_transaction_comes_again(world, monkeypatch):
    """Soon, and with the same; after some time it is left to the stream."""
    task, records = ended(world)
    naps = []
    monkeypatch.setattr(stats.time, "sleep", naps.append)
    conflicts = Conflicts(3)
    events = connection.client().meta.events
    events.register("before-call.dynamodb.TransactWriteItems", conflicts)

    assert world.changes.follow(records) == []
    assert (len(naps), all_states()) == (3, {"cancelled": 1})

    conflicts.left = 100
    _, records = ended(world, task=task)
    end = records[1]["dynamodb"]["SequenceNumber"]
    assert world.changes.follow(records) == [end]
    assert (len(naps), all_states()) == (3 + len(stats.PAUSES_S), {"cancelled": 1})


def test_who_counts_the_same_meanwhile_leaves_exact_counters(world):
    """Between what another one has read and its transaction; it counts the rest."""
    task, records = ended(world, count=6)
    some, others = records[:8], records[4:]
    pending = [others]

    def meanwhile(**kwargs):
        if pending:
            assert world.changes.follow(pending.pop()) == []

    events = connection.client().meta.events
    events.register("before-call.dynamodb.TransactWriteItems", meanwhile)

    assert world.changes.follow(some) == []

    assert pending == []
    assert all_states() == states(task_counts(task)) == {"cancelled": 6}


@pytest.mark.parametrize("seed", range(3))
def test_any_batches_leave_exact_counters(world, monkeypatch, seed):
    """In any order and number, with answers lost and transactions in the way."""
    chance = random.Random(seed)
    monkeypatch.setattr(stats.time, "sleep", lambda seconds: None)
    conflicts = Conflicts(0)
    events = connection.client().meta.events
    events.register("before-call.dynamodb.TransactWriteItems", conflicts)
    ends = [some_end(chance, number) for number in range(60)]
    missing = {end.end_id for end in ends}

    while missing:
        batch = chance.choices(ends, k=chance.randint(1, 70))
        conflicts.left = chance.choice([0, 0, 1, 3])
        world.deathtrap.set_lossy(chance.choice([None, 0, 1]))
        stats.count(batch)
        missing -= {end.end_id for end in batch}

    for (subject, day), adds in total(ends).items():
        assert counters_of(subject, day) == adds


def some_end(chance, number):
    """Return an end of one of a few tasks, servers and days."""
    at = NOW + timedelta(days=chance.randrange(2))
    state = chance.choice([State.COMPLETED, State.FAILED])
    adds = {
        ALL: {state.value: 1},
        (Whose.TASK, f"task {chance.randrange(3)}"): {
            state.value: 1,
            f"d{chance.randrange(4)}": 1,
        },
        (Whose.SERVER, f"server {chance.randrange(3)}"): {"busy_ms": number},
    }
    ((_, task_id),) = (subject for subject in adds if subject[0] is Whose.TASK)
    return Tally(
        run_id=f"run {number}",
        server_id=None,
        at=at + timedelta(seconds=number),
        seen_at=at,
        adds=adds,
        task_id=task_id,
        is_success=state is State.COMPLETED,
    )


def counters_of(subject, day):
    whose, name = subject
    if whose is Whose.SERVER:
        return stats.of_servers(day)[name].counters
    if whose is Whose.TASK:
        return stats.of_task(name, day, day)[day].counters
    return stats.of_all(day, day)[day].counters


def test_the_last_success_is_the_latest(world, server):
    """Though an earlier one is counted after it."""
    task = world.add_task(server)
    batches = []
    for _ in range(2):
        world.clock.move(minutes=1)
        world.tasks.run(task.task_id, by="me", now=world.clock())
        world.deliver()
        batches.append(told(world))

    for records in reversed(batches):
        world.changes.follow(records)

    assert task_counts(task).last_success == world.clock()
    assert states(task_counts(task)) == {"completed": 2}


def test_a_task_is_unsuccessful_until_it_was_completed_once(world, server, tmp_path):
    """What failed later has been successful, also where its end is told first."""
    flag = tmp_path / "flag"
    task = world.add_task(server, command=f"test -e {flag}")
    batches = []
    for is_good in (False, True, False):
        flag.touch() if is_good else flag.unlink(missing_ok=True)
        world.tasks.run(task.task_id, by="me", now=world.clock())
        world.deliver()
        batches.append(told(world))

    seen = []
    for records in (*batches, batches[0]):
        world.changes.follow(records)
        seen.append(unsuccessful())

    assert seen == [[task.task_id], [], [], []]


def test_a_task_that_is_only_skipped_is_not_judged(world):
    """Nobody wanted it to run."""
    _, records = ended(world)

    world.changes.follow(records)

    assert unsuccessful() == []


def test_a_steady_task_is_written_once(world, server, monkeypatch):
    """What is known of it already costs a read, until it would be forgotten."""
    task = world.add_task(server)
    writes = []
    write = stats.update
    monkeypatch.setattr(
        stats, "update", lambda *args, **kw: writes.append(1) or write(*args, **kw)
    )
    counted = []
    for days in (0, 1, 150, 300):
        world.clock.now = NOW + timedelta(days=days)
        world.tasks.run(task.task_id, by="me", now=world.clock())
        world.deliver()
        world.follow()
        counted.append(len(writes))

    assert counted == [1, 1, 1, 2]
    assert unsuccessful() == []


def test_nothing_is_kept_for_ever(world, server):
    """Counters for 400 days, what was counted for as long as it may come again."""
    task = world.add_task(server)
    world.tasks.run(task.task_id, by="me", now=world.clock())
    world.deliver()

    world.follow()

    days = Counter(
        (row["subject"]["S"].split("#")[0], _days_left(row))
        for row in world.rows("stats")
    )
    assert set(days) == {
        ("all", 399),
        ("task", 399),
        ("task", 400),
        ("server", 399),
        ("ended", 4),
    }


def _days_left(row):
    return int((float(row["ttl"]["N"]) - NOW.timestamp()) // 86400)


def test_ends_that_cannot_be_counted_are_told_all_the_same(world, monkeypatch):
    """And come again, as the first of them does."""
    _, records = ended(world)

    def broken(tallies):
        raise OSError("no table")

    with monkeypatch.context() as patch:
        patch.setattr(stats, "count", broken)
        failed = world.changes.follow(records)

    assert failed == [records[1]["dynamodb"]["SequenceNumber"]]
    assert [detail["state"] for _, detail in world.events()] == ["pending", "cancelled"]
    world.changes.follow(records)
    assert all_states() == {"cancelled": 1}


@UNREADABLE
def test_an_execution_that_cannot_be_read_holds_up_nothing(
    world, server, attribute, value
):
    """Its run is counted without it, the others with theirs."""
    task, other = world.add_task(server), world.add_task(server)
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.tasks.run(other.task_id, by="me", now=world.clock())
    world.deliver()
    records = world.records("runs")
    key = {"run_id": run.run_id, "server_id": server.server_id}
    world.spoil("executions", attribute, value, **key)

    assert world.changes.follow(records) == []

    assert states(task_counts(task)) == states(task_counts(other)) == {"completed": 1}
    (counts,) = stats.of_servers(DAY).values()
    assert states(counts) == {"completed": 1}


def test_a_throttled_read_comes_again(world, server):
    """The row is not to blame."""
    task = world.add_task(server)
    world.tasks.run(task.task_id, by="me", now=world.clock())
    world.deliver()
    records = told(world)

    events = connection.client().meta.events
    events.register("before-call.dynamodb.BatchGetItem", throttled)
    failed = world.changes.follow(records)
    events.unregister("before-call.dynamodb.BatchGetItem", throttled)

    assert failed
    world.changes.follow(records)
    assert states(task_counts(task)) == {"completed": 1}


def throttled(params, **kwargs):
    """Answer as DynamoDB does that too much is wanted of executions."""
    if "test-executions" not in params["body"]:
        return None
    code = "ProvisionedThroughputExceededException"
    return AWSResponse("", 400, {}, None), {"Error": {"Code": code, "Message": ""}}


class Conflicts:
    """Answers some transactions as DynamoDB does that another one is on."""

    def __init__(self, left):
        self.left = left

    def __call__(self, params, **kwargs):
        if not self.left:
            return None
        self.left -= 1
        items = json.loads(params["body"])["TransactItems"]
        codes = [
            "TransactionConflict" if "Update" in item else "None" for item in items
        ]
        return AWSResponse("", 400, {}, None), {
            "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
            "CancellationReasons": [{"Code": code} for code in codes],
        }
