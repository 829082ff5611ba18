"""Parameters on their way: from a run by hand to the command, byte for byte."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cronhop.domain.credential import Secret
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.parameter import Parameter, ParameterType, ParameterWord
from cronhop.domain.run import State, Stream, Trigger
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.server import ServerStatus
from cronhop.domain.targets import Targets
from cronhop.domain.task import Overlap, Script
from cronhop.errors import Conflict
from cronhop.store import runs, servers, tasks, values
from tests.integration.test_api import fields, task_body
from tests.integration.test_environments import move
from tests.sshd import keypair
from tests.world import Killed

NASTY = (
    "",
    "-rf",
    "--",
    'it\'s "quoted"',
    "$(touch pwned) `touch pwned` ; touch pwned",
    "$HOME ${PATH} \\$X \\0101 %s !!",
    "a\nb\n\n",
    "\r\n\t\x01\x7f",
    "*?[a-z] ~ # & | < >",
    "é 🚀 \u2028 \x85",
    "=P0",
)
PRINT = (
    'printf "%s\\0" "$@"; for n in $NAMES; do eval "printf \'%s\\0\' \\"\\$$n\\""; done'
)


def parameter(name, kind="string", **changes):
    return Parameter(name=name, type=ParameterType(kind), **changes)


def word(name):
    return ParameterWord(parameter=name)


def add_task(world, *servers, parameters=(), arguments=(), command="true", **changes):
    return world.add_task(
        *servers,
        spec=Script(command=command, arguments=tuple(arguments)),
        parameters=tuple(parameters),
        **changes,
    )


def run_with(world, task, **given_now):
    return world.tasks.run(
        task.task_id, by="ada", now=world.clock(), parameters=given_now
    )


def output(world, run):
    return world.output(run, Stream.STDOUT).data


def words(world, run):
    """Return the words that a command wrote, each ended by a NUL."""
    assert run.state is State.COMPLETED, run
    return [one.decode() for one in output(world, run).split(b"\0")[:-1]]


def printing(world, server, count):
    """Put a task on record that prints its parameters, as words and as variables."""
    names = [f"P{number}" for number in range(count)]
    return world.add_task(
        server,
        spec=Script(
            command=PRINT,
            arguments=tuple(word(name) for name in names),
            environment={"NAMES": " ".join(names)},
        ),
        parameters=tuple(parameter(name) for name in names),
    )


@pytest.fixture
def crowd(world):
    """Servers that nobody visits."""
    return [
        world.add_server(name=name, status=ServerStatus.MAINTENANCE)
        for name in ("web-1", "web-2")
    ]


def credential(world, name, password):
    world.credentials.create(
        name, Secret(password=password), by="ada", now=world.clock()
    )


# To the command


def test_nasty_values_reach_the_command(world, server, sshd):
    """Each is one word and one variable, and nothing of it is carried out."""
    task = printing(world, server, len(NASTY))

    given_now = {f"P{number}": value for number, value in enumerate(NASTY)}
    run = world.settle(run_with(world, task, **given_now).run_id)

    assert words(world, run) == [*NASTY, *NASTY]
    assert not (sshd.home / "pwned").exists()


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    given_now=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
            max_size=40,
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_value_reaches_the_command(world, server, given_now):
    """Byte for byte, as one word and as one variable."""
    task = printing(world, server, len(given_now))

    named = {f"P{number}": value for number, value in enumerate(given_now)}
    run = world.settle(run_with(world, task, **named).run_id)

    assert words(world, run) == [*given_now, *given_now]


def test_each_type_reaches_the_command(world, server):
    """Numbers in decimal, truths in words, a server as its host, a secret as it is."""
    credential(world, "token", "correct horse")
    task = add_task(
        world,
        server,
        parameters=[
            parameter("COUNT", "integer", default=3),
            parameter("FORCE", "boolean", default=False),
            parameter("COLOUR", "enum", values=("blue", "green")),
            parameter("WHERE", "server", default=server.name),
            parameter("TOKEN", "secret", default="token"),
        ],
        arguments=[word("COUNT"), "$COUNT", word("FORCE"), word("WHERE")],
        command='printf "%s\\0" "$@" "$COLOUR" "$TOKEN" "${#TOKEN}"',
    )

    run = world.settle(run_with(world, task, COUNT=-4, COLOUR="blue").run_id)

    assert words(world, run) == [
        "-4",
        "$COUNT",
        "false",
        server.host,
        "blue",
        "*" * 13,
        "13",
    ]


def test_a_secret_given_by_hand_is_masked_to_the_end(world, server, gate, impatient):
    """By visits that did not start the command too, and its value is kept nowhere."""
    credential(world, "old", "battery staple")
    credential(world, "new", "correct horse")
    task = add_task(
        world,
        server,
        parameters=[parameter("TOKEN", "secret", default="old")],
        command=f'until [ -e {gate} ]; do sleep 0.1; done; printf %s "$TOKEN"',
    )
    run = run_with(world, task, TOKEN="new")
    world.deliver()
    assert runs.get(run.run_id).state is State.RUNNING
    gate.touch()

    ended = world.settle(run.run_id)

    assert output(world, ended) == b"*" * 13
    assert "correct horse" not in world.dump()
    assert values.of_run(ended) == {"TOKEN": "new"}


def test_a_slot_runs_with_the_defaults(world, server):
    """A run by hand changes nothing for it, and eats no slot."""
    task = add_task(
        world,
        server,
        parameters=[parameter("VERSION", default="v1")],
        arguments=[word("VERSION")],
        command='printf %s "$1"',
        schedule=CronSchedule(cron="5 10 * * *"),
        overlap=Overlap.ALLOW,
    )
    by_hand = world.settle(run_with(world, task, VERSION="v2").run_id)

    world.clock.move(minutes=3)
    world.tick()
    (slot,) = [one for one in world.all_runs() if one.trigger is Trigger.SCHEDULE]

    assert output(world, by_hand) == b"v2"
    assert output(world, world.settle(slot.run_id)) == b"v1"
    assert values.of_run(slot) == {}


def test_a_retry_has_the_values_of_what_it_retries(world, server):
    """Of the version that it was, whatever the task has become."""
    task = add_task(
        world,
        server,
        parameters=[parameter("VERSION")],
        command='printf %s "$VERSION"; exit 3',
    )
    run = world.settle(run_with(world, task, VERSION="v2").run_id)
    changed = replace(
        task.definition,
        parameters=(parameter("VERSION", "integer"),),
        spec=Script(command="true"),
    )
    world.tasks.change(task.task_id, changed, version=None, by="ada", now=world.clock())

    again = world.runs.retry(run.run_id, by="ada", now=world.clock())
    ended = world.settle(again.run_id)

    assert (ended.state, ended.task_version) == (State.FAILED, 1)
    assert output(world, ended) == b"v2"
    assert values.of_run(ended) == {"VERSION": "v2"}


def test_a_text_never_becomes_a_credential(world, server):
    """Who gives a value and then makes its parameter a secret would have the
    password of a credential that they may not name."""
    world.credentials.create(
        "ops", Secret(password="hush"), by="ada", now=world.clock()
    )
    task = add_task(
        world, server, parameters=[parameter("TOKEN")], command='echo "$TOKEN" | rev'
    )
    run = run_with(world, task, TOKEN="ops")
    secret = replace(task.definition, parameters=(parameter("TOKEN", "secret"),))
    world.tasks.change(task.task_id, secret, version=None, by="ada", now=world.clock())

    ended = world.settle(run.run_id)

    assert ended.state is State.FAILED
    assert ended.reason == "parameters.TOKEN: it was no secret when it was given"


def test_a_retry_whose_credential_is_gone_is_refused(world, server):
    """Nothing could be started, and it says which value it is."""
    credential(world, "token", "x" * 12)
    task = add_task(
        world, server, parameters=[parameter("TOKEN", "secret")], command="exit 3"
    )
    run = world.settle(run_with(world, task, TOKEN="token").run_id)
    world.credentials.delete("token", version=None)

    with pytest.raises(Conflict, match=r"parameters\.TOKEN: there is no credential"):
        world.runs.retry(run.run_id, by="ada", now=world.clock())


def test_every_server_of_a_run_has_its_values(world, sshd):
    """Each visit reads them."""
    servers = [world.add_server(sshd) for _ in range(2)]
    task = add_task(
        world,
        *servers,
        parameters=[parameter("VERSION", default="v1")],
        command='printf %s "$VERSION"',
    )

    run = world.settle(run_with(world, task, VERSION="v2").run_id)

    assert run.state is State.COMPLETED
    for server in servers:
        page = world.runs.output(
            run.run_id, server.server_id, Stream.STDOUT, offset=0, limit=100
        )
        assert page.data == b"v2"


@pytest.mark.parametrize("retried", [False, True], ids=["run", "retry"])
def test_a_run_on_record_has_its_values(world, server, retried):
    """The API dies at any step: there is no run, or it runs with what was asked."""
    deaths, seen = 0, set()
    task = add_task(
        world,
        server,
        parameters=[parameter("VERSION", default="v1")],
        command='printf %s "$VERSION"; exit 3',
    )
    first = world.settle(run_with(world, task, VERSION="v2").run_id)
    while True:
        world.deathtrap.set(deaths)
        try:
            if retried:
                world.runs.retry(first.run_id, by="ada", now=world.clock())
            else:
                run_with(world, task, VERSION="v2")
        except Killed:
            deaths += 1
        else:
            break
        finally:
            world.deathtrap.set(None)
        world.restart()
        for run in world.all_runs():
            assert output(world, world.settle(run.run_id)) == b"v2"
            seen.add(run.run_id)

    assert deaths > 4
    assert len(seen) > 1


# At the gate


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ((parameter("VERSION", pattern=r"v\d"),), "parameters.VERSION: it does not"),
        ((), "parameters.VERSION: the task declares no such parameter"),
        (
            (parameter("VERSION"), parameter("MORE")),
            "parameters.MORE: it has no default",
        ),
    ],
    ids=["pattern", "gone", "another"],
)
def test_values_must_fit_what_is_run(world, server, tmp_path, changed, reason):
    """The version that the gate fixes counts: else nothing is started."""
    mark = tmp_path / "mark"
    task = add_task(
        world, server, parameters=[parameter("VERSION")], command=f"touch {mark}"
    )
    run = run_with(world, task, VERSION="main")
    world.tasks.change(
        task.task_id,
        replace(task.definition, parameters=changed),
        version=None,
        by="ada",
        now=world.clock(),
    )

    ended = world.settle(run.run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith(reason)
    assert not mark.exists()
    assert tasks.get(task.task_id).active_run is None


def test_a_server_is_the_target_by_its_name(world, crowd):
    """It is kept by id, so that another name does not lead it astray."""
    task = add_task(
        world,
        parameters=[parameter("WHERE", "server", default="web-1")],
        targets=Targets(parameter="WHERE"),
    )
    first, second = (
        world.settle(run_with(world, task, **given_now).run_id)
        for given_now in ({}, {"WHERE": "web-2"})
    )

    assert task.definition.parameters[0].default == crowd[0].server_id
    assert (first.targets, second.targets) == (
        (crowd[0].server_id,),
        (crowd[1].server_id,),
    )
    assert values.of_run(second) == {"WHERE": crowd[1].server_id}


def test_a_run_on_a_parameter_that_is_not_the_tasks_target(world, crowd):
    """`run` may say so, as it may name other servers."""
    task = add_task(world, crowd[0], parameters=[parameter("WHERE", "server")])

    run = world.tasks.run(
        task.task_id,
        by="ada",
        now=world.clock(),
        parameters={"WHERE": "web-2"},
        targets=Targets(parameter="WHERE"),
    )

    assert world.settle(run.run_id).targets == (crowd[1].server_id,)


def test_a_server_that_a_default_names_cannot_be_removed(world, crowd):
    """As one that the targets name; one that a run names can, and the run says so."""
    task = add_task(
        world,
        crowd[0],
        parameters=[
            parameter("FROM", "server", default="web-1"),
            parameter("TO", "server"),
        ],
    )
    run = run_with(world, task, TO="web-2")

    with pytest.raises(Conflict):
        world.servers.delete(crowd[0].server_id, version=None)
    world.servers.delete(crowd[1].server_id, version=None)

    ended = world.settle(run.run_id)
    assert (ended.state, ended.targets) == (State.FAILED, ())
    assert ended.reason.startswith("parameters.TO: there is no server")


@pytest.mark.parametrize("trigger", [Trigger.SCHEDULE, Trigger.MANUAL])
@pytest.mark.parametrize("where", ["gone", "moved"])
def test_a_server_of_a_default_that_is_not_there_any_more(
    world, sshd, tmp_path, where, trigger
):
    """The run fails with the reason, and nothing is started."""
    mark = tmp_path / "mark"
    server = world.add_server(sshd, environment="staging")
    other = world.add_server(sshd, name="other", environment="staging")
    task = add_task(
        world,
        server,
        parameters=[parameter("FROM", "server", default="other")],
        command=f"touch {mark}",
        environment="staging",
        schedule=CronSchedule(cron="*/5 * * * *"),
    )
    if where == "gone":  # as after a backup was restored
        servers.remove(other)
    else:
        move(world, other, "prod")

    if trigger is Trigger.MANUAL:
        run = run_with(world, task)
    else:
        world.clock.now = task.next_run
        world.tick()
        (run,) = world.all_runs()
    ended = world.settle(run.run_id)

    assert (ended.state, ended.targets) == (State.FAILED, ())
    assert ended.reason == (
        f"parameters.FROM: there is no server '{other.server_id}'"
        " in environment 'staging'"
    )
    assert not mark.exists()


def test_a_server_that_is_removed_before_the_start(world, server, sshd, tmp_path):
    """The execution fails with the reason, and nothing is started."""
    mark = tmp_path / "mark"
    other = world.add_server(sshd, name="other")
    task = add_task(
        world, server, parameters=[parameter("TO", "server")], command=f"touch {mark}"
    )
    run = run_with(world, task, TO="other")
    (message,) = [message for message, _ in world.messages()]
    real = runs.begin

    def begin(*args, **kwargs):
        begun = real(*args, **kwargs)
        world.servers.delete(other.server_id, version=None)
        return begun

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "begin", begin)
        world.handle(message)
    ended = world.settle(run.run_id)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("parameters.TO: there is no server")
    assert not mark.exists()


def test_a_credential_that_a_default_names_cannot_be_removed(world, server):
    """As one that spec.secrets names."""
    credential(world, "token", "x" * 12)
    add_task(world, server, parameters=[parameter("TOKEN", "secret", default="token")])

    with pytest.raises(Conflict):
        world.credentials.delete("token", version=None)


# Over the API


def body(server, *declared, **changes):
    return task_body(
        {"server_id": server.server_id},
        **{"schedule": None, "parameters": list(declared)} | changes,
    )


STRING = {"name": "VERSION", "type": "string", "pattern": r"v\d+"}


def test_a_run_shows_what_it_was_given(api, crowd, world):
    """Its values and nothing else; the row stays small."""
    task = api("POST", "/v1/tasks", body(crowd[0], STRING)).body
    run = api(
        "POST",
        f"/v1/tasks/{task['task_id']}/run",
        {"parameters": {"VERSION": "v2"}},
    )
    assert run.status == 202, run.body

    shown = api("GET", f"/v1/runs/{run.body['run_id']}").body

    assert shown["parameters"] == {"VERSION": "v2"}
    rows = {row["run_id"]["S"]: row for row in world.rows("runs")}
    assert "v2" not in str(rows[run.body["run_id"]])
    assert rows[f"{run.body['run_id']}#parameters"]["ttl"]
    assert task["parameters"] == [
        {
            "name": "VERSION",
            "type": "string",
            "description": "",
            "default": None,
            "pattern": r"v\d+",
            "max_length": None,
        }
    ]


@pytest.mark.parametrize(
    ("given_now", "field"),
    [
        ({}, "parameters.VERSION"),
        ({"VERSION": "main"}, "parameters.VERSION"),
        ({"VERSION": 2}, "parameters.VERSION"),
        ({"VERSION": None}, "parameters.VERSION"),
        ({"VERSION": "v2", "COUNT": "3"}, "parameters.COUNT"),
        ({"VERSION": "v2", "COUNT": 3.0}, "parameters.COUNT"),
        ({"VERSION": "v2", "COUNT": True}, "parameters.COUNT"),
        ({"VERSION": "v2", "WHERE": "nowhere"}, "parameters.WHERE"),
        ({"VERSION": "v2", "TOKEN": "nothing"}, "parameters.TOKEN"),
        ({"VERSION": "v2", "TOKEN": "a-key"}, "parameters.TOKEN"),
        ({"VERSION": "v2", "OTHER": "x"}, "parameters.OTHER"),
        (["VERSION"], "parameters"),
    ],
)
def test_a_run_is_refused_by_the_value_at_fault(api, world, crowd, given_now, field):
    """And nothing is on record."""
    credential(world, "token", "x" * 12)
    key, _ = keypair()
    world.credentials.create(
        "a-key", Secret(private_key=key), by="ada", now=world.clock()
    )
    parameters = [
        STRING,
        {"name": "COUNT", "type": "integer", "default": 1},
        {"name": "WHERE", "type": "server", "default": "web-1"},
        {"name": "TOKEN", "type": "secret", "default": "token"},
    ]
    task = api("POST", "/v1/tasks", body(crowd[0], *parameters))
    assert task.status == 201, task.body

    refused = api(
        "POST", f"/v1/tasks/{task.body['task_id']}/run", {"parameters": given_now}
    )

    assert (refused.status, fields(refused)) == (400, [field])
    assert world.rows("runs") == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": {"cron": "0 1 * * *"}}, "parameters.VERSION"),
        (
            {
                "kind": "service_control",
                "spec": {"unit": "nginx", "action": "restart"},
                "timeout_s": 600,
            },
            "parameters",
        ),
        (
            {"spec": {"command": "true", "environment": {"VERSION": "v1"}}},
            "parameters.0.name",
        ),
        (
            {"spec": {"command": "true", "arguments": [{"parameter": "NO"}]}},
            "spec.arguments.0",
        ),
        (
            {"spec": {"command": "true", "arguments": [{"parameters": "VERSION"}]}},
            "spec.arguments.0",
        ),
        ({"spec": {"command": "true", "arguments": [3]}}, "spec.arguments.0"),
        ({"spec": {"command": "true", "arguments": ["\ud800"]}}, "spec.arguments.0"),
        ({"spec": {"command": "true", "arguments": ["a\0"]}}, "spec.arguments.0"),
        ({"targets": {"parameter": "VERSION"}}, "targets.parameter"),
        ({"targets": {"parameter": "NO", "pick": "any"}}, "targets.pick"),
        ({"targets": {"parameter": "NO", "server_ids": ["a"]}}, "targets.parameter"),
        ({"parameters": [{**STRING, "type": "text"}]}, "parameters.0.type"),
        ({"parameters": [{**STRING, "default": 1.5}]}, "parameters.0.default"),
        ({"parameters": [{**STRING, "pattern": "("}]}, "parameters.0.pattern"),
        ({"parameters": [{**STRING, "nullable": True}]}, "parameters.0.nullable"),
        (
            {"parameters": [{"name": "W", "type": "server", "default": "nowhere"}]},
            "parameters.0.default",
        ),
        (
            {"parameters": [{"name": "S", "type": "secret", "default": "nothing"}]},
            "parameters.0.default",
        ),
        (
            {"parameters": [{"name": "S", "type": "secret", "default": ""}]},
            "parameters.0.default",
        ),
        ({"parameters": [STRING] * 21}, "parameters"),
    ],
)
def test_a_task_is_refused_by_the_field_at_fault(api, world, crowd, changes, field):
    """Among them a schedule that could not start, and kinds that have none."""
    refused = api("POST", "/v1/tasks", body(crowd[0], STRING, **changes))

    assert (refused.status, fields(refused)) == (400, [field]), refused.body
    assert world.rows("tasks") == []


def test_what_was_shown_can_be_sent_again(api, crowd):
    """Of every kind and type: PUT takes what GET gave, PATCH keeps what it leaves."""
    script = body(
        crowd[0],
        {**STRING, "default": "v1", "description": "what to deploy"},
        {"name": "COLOUR", "type": "enum", "values": ["blue", "green"]},
        {"name": "COUNT", "type": "integer", "minimum": 1, "maximum": 9},
        {"name": "FORCE", "type": "boolean", "default": False},
        {"name": "WHERE", "type": "server"},
        spec={"command": "true", "arguments": ["-v", {"parameter": "VERSION"}]},
        targets={"parameter": "WHERE"},
    )
    unit = body(
        crowd[0],
        name="unit",
        kind="service_control",
        spec={"unit": "nginx", "action": "restart"},
    )
    for sent in (script, unit):
        task = api("POST", "/v1/tasks", sent)
        assert task.status == 201, task.body
        path = f"/v1/tasks/{task.body['task_id']}"
        again = {
            name: value for name, value in task.body.items() if name in {*sent, "spec"}
        }

        put = api("PUT", path, again)
        patched = api("PATCH", path, {"timeout_s": 999})

        assert put.status == patched.status == 200, put.body
        for name in again:
            assert put.body[name] == task.body[name]
            assert patched.body[name] == task.body[name]


def test_another_kind_has_no_parameters(api, crowd):
    """They go with the spec when a task becomes one of another kind."""
    task = api("POST", "/v1/tasks", body(crowd[0], STRING)).body

    changed = api(
        "PATCH",
        f"/v1/tasks/{task['task_id']}",
        {"kind": "service_control", "spec": {"unit": "nginx", "action": "restart"}},
    )

    assert (changed.status, changed.body["parameters"]) == (200, [])


def test_a_message_that_comes_twice_finds_the_same_values(world, server, tmp_path):
    """The values are on record before the run is, and never change."""
    marks = tmp_path / "marks"
    task = add_task(
        world,
        server,
        parameters=[parameter("VERSION")],
        command=f'echo "$VERSION" >>{marks}',
    )
    run = run_with(world, task, VERSION="v2")

    start = Message(kind=MessageKind.START, run_id=run.run_id, group=task.task_id)
    world.deliver([start], times=2)

    assert world.settle(run.run_id).state is State.COMPLETED
    assert marks.read_text() == "v2\n"
