"""Tasks of an environment: they run on its servers, and nowhere else."""

from dataclasses import replace

import pytest

from cronhop.domain.access import Scope
from cronhop.domain.run import State
from cronhop.domain.server import ServerDefinition
from cronhop.domain.targets import Pick, Selector, Targets
from cronhop.errors import Conflict
from cronhop.services.gate import MOVED
from cronhop.services.why import Why
from cronhop.store import runs
from tests.integration.test_api import CLAIMS

OF_STAGING = {**CLAIMS, "username": "bob", "cognito:groups": "[operator:staging]"}


def ran(world, run):
    world.deliver()
    return runs.get(run.run_id)


def by_hand(world, task):
    return ran(world, world.tasks.run(task.task_id, by="ada", now=world.clock()))


def move(world, server, environment):
    """Put a server into another environment."""
    present = world.servers.get(server.server_id)
    fields = ServerDefinition.__dataclass_fields__
    definition = ServerDefinition(**{name: getattr(present, name) for name in fields})
    return world.servers.change(
        server.server_id,
        replace(definition, environment=environment),
        version=None,
        now=world.clock(),
    )


def change(world, task, **changes):
    return world.tasks.change(
        task.task_id,
        replace(task.definition, **changes),
        version=None,
        by="ada",
        now=world.clock(),
    )


@pytest.fixture
def staging(world, sshd):
    """A real server of staging."""
    return world.add_server(sshd, environment="staging")


def test_it_runs_there_and_the_run_says_where(world, staging):
    """The row of the run has the environment: no list has to ask the task."""
    task = world.add_task(staging, environment="staging")

    run = by_hand(world, task)

    assert (run.state, run.environment) == (State.COMPLETED, "staging")


def test_a_slot_says_where_too(world, staging):
    """From the tick on, before anything has begun."""
    task = world.add_task(staging, environment="staging", cron="2 10 * * *")
    world.clock.move(seconds=30)

    world.tick()

    (run,) = runs.of_task(task.task_id, limit=9, after=None).items
    assert (run.state, run.environment) == (State.PENDING, "staging")


@pytest.mark.parametrize("pick", [Pick.ALL, Pick.ANY, Pick.ROUND_ROBIN, 1])
def test_a_server_that_was_moved_runs_nothing(world, staging, pick):
    """The run ends with words, and the command is not started."""
    targets = Targets(server_ids=(staging.server_id,), pick=pick)
    task = world.add_task(environment="staging", targets=targets)
    move(world, staging, "prod")

    run = by_hand(world, task)

    server_id = staging.server_id
    assert run.state is State.FAILED
    assert run.reason in {
        f"server {server_id} is not in environment staging any more",
        "no enabled server matches",
    }
    assert (pick is Pick.ALL) == run.reason.startswith("server")
    assert world.rows("executions") == []


def test_a_selector_selects_within_it(world, staging, sshd):
    """By tags or names alone: servers of others that match are not taken."""
    world.add_server(sshd, environment="prod")
    world.add_server(sshd)
    targets = Targets(selector=Selector(name="server *"))
    task = world.add_task(environment="staging", targets=targets)

    run = by_hand(world, task)

    assert (run.state, run.targets) == (State.COMPLETED, (staging.server_id,))


def test_a_run_is_of_the_environment_that_it_begins_in(world, staging, sshd):
    """Who sees the old environment only does not see what runs in the new one."""
    task = world.add_task(staging, environment="staging")
    asked = world.tasks.run(task.task_id, by="ada", now=world.clock())
    other = world.add_server(sshd, environment="prod")
    targets = Targets(server_ids=(other.server_id,))
    change(world, task, environment="prod", targets=targets)

    run = ran(world, asked)

    assert (run.targets, run.environment) == ((other.server_id,), "prod")


def test_no_retry_from_another_environment(world, staging, sshd):
    """Neither when it is asked for, nor when the task moves before it begins."""
    task = world.add_task(staging, environment="staging", command="false")
    failed = by_hand(world, task)
    again = world.runs.retry(failed.run_id, by="ada", now=world.clock())
    other = world.add_server(sshd, environment="prod")
    targets = Targets(server_ids=(other.server_id,))
    change(world, task, environment="prod", targets=targets)

    ended = ran(world, again)

    assert (ended.state, ended.reason) == (State.FAILED, MOVED)
    with pytest.raises(Conflict, match="another environment"):
        world.runs.retry(failed.run_id, by="ada", now=world.clock())


def test_why_tells_nothing_of_before_a_move(world, staging):
    """A run of another environment is as if it were not there."""
    task = world.add_task(staging, environment="staging", cron="2 10 * * *")
    slot = task.next_run
    world.clock.move(seconds=30)
    world.tick()
    prod = Scope(environments=frozenset({"prod"}))

    mine = Why().why(task.task_id, slot, now=world.clock())
    theirs = Why().why(task.task_id, slot, now=world.clock(), scope=prod)

    assert mine.run
    assert theirs.run is None


def test_a_server_shows_the_executions_of_visible_runs_only(world, sshd, api):
    """A task of no environment may run on any server: who may not see it, sees none
    of its executions."""
    server = world.add_server(sshd, environment="staging")
    ids = {}
    for environment in ("staging", None):
        task = world.add_task(server, name=f"of {environment}", environment=environment)
        ids[environment] = world.tasks.run(
            task.task_id, by="ada", now=world.clock()
        ).run_id
        world.settle(ids[environment])
    path = f"/v1/servers/{server.server_id}/executions"

    def seen(claims, query=""):
        answer = api("GET", path, query=query, claims=claims)
        return {one["run_id"] for one in answer.body["items"]}

    assert seen(OF_STAGING) == {ids["staging"]}
    assert seen(OF_STAGING, "state=completed") == {ids["staging"]}
    assert seen(OF_STAGING, "limit=1&order=oldest") <= {ids["staging"]}
    assert seen(CLAIMS) == set(ids.values())


def test_where_a_role_does_not_reach_is_said(world, server, api):
    """Also of what has no environment, which a viewer of all sees."""
    task = world.add_task(server)
    claims = {**CLAIMS, "cognito:groups": "[viewer operator:staging]"}

    answer = api("POST", f"/v1/tasks/{task.task_id}/run", {}, claims=claims)

    assert (answer.status, answer.body["detail"]) == (
        403,
        "your roles do not allow runs.start without an environment",
    )
