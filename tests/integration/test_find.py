"""Lists: what is looked for is found, all of it, a page at a time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cronhop.domain.find import RunFilter, TaskFilter, TaskStatus
from cronhop.domain.run import State, Trigger
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.task import TaskKind
from cronhop.errors import Conflict, Invalid, NotFound
from cronhop.store import runs, tasks
from cronhop.store.page import NEWEST, OLDEST, Window
from tests.integration.test_api import fields
from tests.world import NOW


@pytest.fixture
def api(api, world, monkeypatch):
    """The API over the world's tables, at the world's time."""
    monkeypatch.setattr("api.tasks.now", world.clock)
    monkeypatch.setattr("api.runs.now", world.clock)
    return api


def all_of(listing, **wanted):
    """Return what a list has in all of its pages, of two items each."""
    found, after = [], None
    while True:
        page = listing(limit=2, after=after, **wanted)
        found += page.items
        after = page.last
        if after is None:
            return found


def found_tasks(world, window=OLDEST, **wanted):
    listed = all_of(
        world.tasks.listing,
        now=world.clock(),
        wanted=TaskFilter(**wanted),
        window=window,
    )
    return [task.definition.name for task in listed]


def found_runs(world, window=NEWEST, **wanted):
    listed = all_of(
        world.runs.listing,
        now=world.clock(),
        wanted=RunFilter(**wanted),
        window=window,
    )
    return [run.run_id for run in listed]


@pytest.fixture
def some_tasks(world):
    """Five of them, each different in something."""
    one, two = world.add_server(), world.add_server()

    def add(*servers, **changes):
        world.clock.move(seconds=1)  # ids sort by time
        return world.add_task(*servers, **changes)

    add(one, name="dump a", tags={"role": "db"})
    add(two, name="dump b", cron="0 12 * * *", tags={"role": "web"})
    add(one, two, name="dump c", enabled=False)
    paused = add(one, name="sweep", cron="0 11 * * *")
    world.clock.move(seconds=1)
    world.tasks.pause(paused.task_id, until=None, reason="", by="me", now=world.clock())
    world.tasks.create(
        world.definition(two, name="other"), by="somebody", now=world.clock()
    )
    return one, two


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["dump a", "dump b", "dump c", "sweep", "other"]),
        ({"status": TaskStatus.ENABLED}, ["dump a", "dump b", "other"]),
        ({"status": TaskStatus.DISABLED}, ["dump c"]),
        ({"status": TaskStatus.PAUSED}, ["sweep"]),
        ({"status": TaskStatus.DELETED}, []),
        ({"created_by": "somebody"}, ["other"]),
        ({"created_by": "nobody"}, []),
        ({"tag": ("role", None)}, ["dump a", "dump b"]),
        ({"tag": ("role", "web")}, ["dump b"]),
        ({"kind": TaskKind.FILE_TRANSFER}, []),
        ({"name": "dump"}, ["dump a", "dump b", "dump c"]),
        ({"name": "dump", "status": TaskStatus.DISABLED}, ["dump c"]),
        ({"due_before": NOW + timedelta(hours=1)}, ["sweep"]),
        ({"due_before": NOW + timedelta(hours=2)}, ["dump b", "sweep"]),
    ],
)
def test_tasks_are_found(world, some_tasks, wanted, names):
    """In both orders, by pages."""
    assert found_tasks(world, **wanted) == names
    assert found_tasks(world, NEWEST, **wanted) == names[::-1]


def test_tasks_of_a_server_are_found(world, some_tasks):
    """Those that name it."""
    one, two = some_tasks
    assert found_tasks(world, server_id=one.server_id) == ["dump a", "dump c", "sweep"]
    assert found_tasks(world, server_id=two.server_id) == ["dump b", "dump c", "other"]


def test_a_cursor_survives_what_is_made_meanwhile(world):
    """Nothing is shown twice or left out."""
    server = world.add_server()
    for number in range(6):
        world.clock.move(seconds=1)
        world.add_task(server, name=f"task-{number}")
    first = world.tasks.listing(now=world.clock(), limit=3, after=None, window=NEWEST)
    world.clock.move(seconds=1)
    world.add_task(server, name="newer")
    gone = first.items[-1]
    world.tasks.delete(gone.task_id, version=None, now=world.clock())

    rest = world.tasks.listing(
        now=world.clock(), limit=3, after=first.last, window=NEWEST
    )
    shown = [task.definition.name for task in [*first.items, *rest.items]]
    assert shown == [f"task-{number}" for number in range(5, -1, -1)]


@pytest.fixture
def some_runs(world, server):
    """A schedule's, over three days, and two by hand."""
    task = world.add_task(server, cron="0 12 * * *")
    made = {}
    for day in range(3):
        world.clock.now = (NOW + timedelta(days=day)).replace(hour=12, minute=0)
        world.tick()
        world.deliver()
    made["slots"] = [run.run_id for run in world.all_runs()]
    other = world.add_task(server, command="false")
    for name, one in (("good", task), ("bad", other)):
        world.clock.move(minutes=1)
        run = world.tasks.run(one.task_id, by=name, now=world.clock())
        world.settle(run.run_id)
        made[name] = run.run_id
    return task, server, made


def test_runs_are_found(world, some_runs):
    """By each thing, in both orders, by pages."""
    task, server, made = some_runs
    slots, good, bad = made["slots"], made["good"], made["bad"]
    every = [*slots, good, bad]

    def both(expected, **wanted):
        oldest_first = replace(NEWEST, newest_first=False)
        assert found_runs(world, oldest_first, **wanted) == expected
        assert found_runs(world, **wanted) == expected[::-1]

    assert len(slots) == 3
    both(every)
    both([*slots, good], task_id=task.task_id)
    both(every, server_id=server.server_id)
    both([bad], created_by="bad")
    both(slots, created_by="scheduler")
    both(slots, trigger=Trigger.SCHEDULE)
    both([bad], states=frozenset({State.FAILED, State.LOST}))
    both([bad], states=frozenset({State.FAILED}), server_id=server.server_id)
    both([good], trigger=Trigger.MANUAL, task_id=task.task_id)
    both([], created_by="nobody")
    both([], task_id=task.task_id, server_id="01J0000000000000000000000A")


def test_runs_of_a_time_are_found(world, some_runs):
    """Slots by their instant, both ends included."""
    task, server, made = some_runs
    first, second, third = made["slots"]
    noon = NOW.replace(hour=12, minute=0)
    a_day = timedelta(days=1)
    for wanted in ({}, {"task_id": task.task_id}, {"server_id": server.server_id}):
        for newest_first in (True, False):
            window = Window(since=noon, until=noon + a_day, newest_first=newest_first)
            expected = [second, first] if newest_first else [first, second]
            assert found_runs(world, window, **wanted) == expected
    assert found_runs(world, Window(since=noon + a_day))[-2:] == [third, second]
    assert found_runs(world, Window(until=noon - a_day)) == []


def test_a_month_without_runs_is_crossed(world):
    """A page may be empty, and yet be followed by another one."""
    task = world.add_task(world.add_server())
    old = world.tasks.run(task.task_id, by="me", now=world.clock())
    world.clock.move(days=40)
    new = world.tasks.run(task.task_id, by="me", now=world.clock())

    assert found_runs(world) == [new.run_id, old.run_id]
    assert found_runs(world, OLDEST) == [old.run_id, new.run_id]


def test_what_ran_on_a_server_is_found(world, some_runs, api):
    """Newest first, by state, by pages."""
    _, server, made = some_runs
    path = f"/v1/servers/{server.server_id}/executions"
    every = [made["bad"], made["good"], *made["slots"][::-1]]

    first = api("GET", path, query="limit=3")
    token = first.body["next_token"]
    rest = api("GET", path, query=f"limit=3&next_token={token}")
    shown = first.body["items"] + rest.body["items"]
    assert [one["run_id"] for one in shown] == every
    failed = api("GET", path, query="state=failed,lost&order=oldest")
    assert [one["run_id"] for one in failed.body["items"]] == [made["bad"]]
    assert api("GET", "/v1/servers/none/executions").status == 404


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/tasks", "status=off", "status"),
        ("/v1/tasks", "kind=pigeon", "kind"),
        ("/v1/tasks", "order=random", "order"),
        ("/v1/tasks", "due_before=tomorrow", "due_before"),
        ("/v1/tasks", "state=failed", "state"),
        ("/v1/runs", "state=bad", "state"),
        ("/v1/runs", "trigger=moon", "trigger"),
        ("/v1/runs", "from=2026-06-02T00:00:00Z&to=2026-06-01T00:00:00Z", "to"),
        ("/v1/runs", "status=enabled", "status"),
        ("/v1/runs", "created_by=", "created_by"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(api, path, query, field):
    """A filter that is not known must not look like one that matched everything."""
    refused = api("GET", path, query=query)
    assert refused.status in {400, 422}
    assert any(field in one for one in fields(refused)), refused.body


def test_a_token_is_for_its_list_only(api, world):
    """The same filters, the same order."""
    for _ in range(3):
        world.add_task(world.add_server())
    token = api("GET", "/v1/tasks", query="limit=1").body["next_token"]
    assert api("GET", "/v1/tasks", query=f"next_token={token}").status == 200
    other = api("GET", "/v1/tasks", query=f"order=newest&next_token={token}")
    assert other.status == 400


def test_a_list_goes_on_however_long_what_is_looked_for_is(api, world):
    """Its token is as short as that of any other."""
    long = "é" * 200
    task = world.add_task(world.add_server())
    for _ in range(2):
        world.tasks.run(task.task_id, by=long, now=world.clock())
    query = f"created_by={long}&limit=1"
    first = api("GET", "/v1/runs", query=query).body

    second = api("GET", "/v1/runs", query=f"{query}&next_token={first['next_token']}")

    assert second.status == 200, second.body
    ids = {one["run_id"] for one in first["items"] + second.body["items"]}
    assert len(ids) == 2
    assert second.body["next_token"] is None


def test_a_deleted_task_comes_back(world, api):
    """As it was, of a next version; its schedule goes on from now."""
    server = world.add_server()
    task = world.add_task(server, cron="*/5 * * * *", name="kept")
    world.tasks.delete(task.task_id, version=None, now=world.clock())
    (shown,) = api("GET", "/v1/tasks", query="status=deleted").body["items"]
    assert shown["deleted_at"] == "2026-06-01T10:01:00Z"
    assert shown["next_run"] is None
    (row,) = [one for one in world.rows("tasks") if one["task_id"]["S"] == task.task_id]
    assert int(row["ttl"]["N"]) == int(world.clock().timestamp()) + 90 * 86400
    world.clock.move(days=1)

    restored = api("POST", f"/v1/tasks/{task.task_id}/restore")

    assert restored.status == 200, restored.body
    assert restored.body["version"] == 2 + task.version
    assert restored.body["next_run"] == "2026-06-02T10:05:00Z"
    assert restored.body["deleted_at"] is None
    assert api("GET", "/v1/tasks", query="status=deleted").body["items"] == []
    assert found_tasks(world, server_id=server.server_id) == ["kept"]
    assert api("DELETE", f"/v1/servers/{server.server_id}").status == 409
    for noun in ("tasks", "task_versions"):
        assert not any("ttl" in row for row in world.rows(noun))
    world.clock.move(minutes=4)
    world.tick()
    assert [run.slot.minute for run in world.all_runs()] == [5]


@pytest.mark.parametrize("is_before", [True, False])
def test_a_task_restored_at_once_keeps_its_versions(world, monkeypatch, is_before):
    """A deletion that comes late to the versions, before or after a restoration has
    begun, takes none from the task that is back."""
    task = world.add_task(world.add_server())
    keep = tasks._keep_versions

    def interleaved(task_id, *, until):
        monkeypatch.setattr(tasks, "_keep_versions", keep)
        if is_before:
            world.tasks.restore(task_id, by="me", now=world.clock())
            keep(task_id, until=until)
        else:
            keep(task_id, until=until)
            keep(task_id, until=int(world.clock().timestamp()))

    if not is_before:
        world.tasks.delete(task.task_id, version=None, now=world.clock())
    monkeypatch.setattr(tasks, "_keep_versions", interleaved)
    if is_before:
        world.tasks.delete(task.task_id, version=None, now=world.clock())
    else:
        world.tasks.restore(task.task_id, by="me", now=world.clock())

    assert tasks.get(task.task_id)
    assert not any("ttl" in row for row in world.rows("task_versions"))


def test_what_cannot_come_back_is_refused(world):
    """Its name is taken, what it names is gone, or it is there."""
    server, other = world.add_server(), world.add_server()
    task = world.add_task(server, name="kept")
    with pytest.raises(Conflict, match="not deleted"):
        world.tasks.restore(task.task_id, by="me", now=world.clock())
    world.tasks.delete(task.task_id, version=None, now=world.clock())
    world.add_task(other, name="kept")
    with pytest.raises(Conflict, match="taken"):
        world.tasks.restore(task.task_id, by="me", now=world.clock())
    world.servers.delete(server.server_id, version=None)
    with pytest.raises(Invalid, match="no server"):
        world.tasks.restore(task.task_id, by="me", now=world.clock())
    with pytest.raises(NotFound):
        world.tasks.restore("01J0000000000000000000000A", by="me", now=world.clock())
    assert tasks.get(task.task_id) is None


def test_what_could_not_come_back_is_kept_no_longer(world):
    """Its versions still go when it goes, however many there are."""
    server = world.add_server()
    task = world.add_task(server, name="kept")
    for number in range(20):
        definition = replace(task.definition, timeout_s=60 + number)
        world.tasks.change(
            task.task_id, definition, version=None, by="me", now=world.clock()
        )
    world.tasks.delete(task.task_id, version=None, now=world.clock())
    before = world.rows("task_versions")
    world.add_task(server, name="kept")
    world.clock.move(days=1)

    with pytest.raises(Conflict, match="taken"):
        world.tasks.restore(task.task_id, by="me", now=world.clock())

    left = [
        row
        for row in world.rows("task_versions")
        if row["task_id"]["S"] == task.task_id
    ]
    assert left == before
    assert len(left) == 21
    assert len({row["ttl"]["N"] for row in left}) == 1


def test_two_who_bring_it_back_keep_its_versions(world, monkeypatch):
    """Who is refused does not let go what the other has brought back."""
    task = world.add_task(world.add_server(), name="kept")
    world.tasks.delete(task.task_id, version=None, now=world.clock())
    put_back, get = tasks._put_back, tasks.get

    def look(task_id, *, or_deleted=False):
        found = get(task_id, or_deleted=or_deleted)
        monkeypatch.setattr(tasks, "get", get)
        world.tasks.restore(task_id, by="the other", now=world.clock())
        return found

    def meet(*args, **kwargs):
        monkeypatch.setattr(tasks, "_put_back", put_back)
        monkeypatch.setattr(tasks, "get", look)
        raise Conflict("somebody else is writing it")

    monkeypatch.setattr(tasks, "_put_back", meet)

    with pytest.raises(Conflict):
        world.tasks.restore(task.task_id, by="me", now=world.clock())

    assert get(task.task_id).deleted_at is None
    assert not [row for row in world.rows("task_versions") if "ttl" in row]


@pytest.mark.parametrize("name", ["task_id", "server_id"])
def test_an_empty_id_finds_nothing(api, name):
    """A script whose variable is not set does not read the runs of all."""
    answer = api("GET", "/v1/runs", query=f"{name}=")

    assert (answer.status, fields(answer)) == (400, [name])


def test_a_restored_task_takes_a_schedule_that_is_over(world):
    """Nothing is due any more; it can be run by hand, and changed."""
    server = world.add_server()
    ends = world.clock() + timedelta(hours=1)
    schedule = CronSchedule(cron="*/5 * * * *", timezone="UTC", ends_at=ends)
    task = world.add_task(server, schedule=schedule)
    world.tasks.delete(task.task_id, version=None, now=world.clock())
    world.clock.move(days=1)

    restored = world.tasks.restore(task.task_id, by="me", now=world.clock())

    assert restored.next_run is None
    run = world.tasks.run(task.task_id, by="me", now=world.clock())
    assert runs.get(run.run_id).state is State.PENDING
