"""The import of a crontab: tried out first, then all of its tasks or none."""

import pytest

from cronhop.domain.ids import slot_run_id
from cronhop.domain.run import State, Stream
from cronhop.store import tasks
from tests.integration.test_api import fields

TEXT = """SHELL=/bin/sh
PATH=/usr/bin:/bin
CRON_TZ=Europe/Berlin
# m h dom mon dow command
# nightly dump
30 1 * * * pg_dump app%yes%no
@hourly sync
"""


@pytest.fixture
def load(api, world):
    """Import a crontab to a server that nobody visits, whose login is deploy."""
    made = world.add_server(username="deploy")

    def load(text=TEXT, **changes):
        body = {"text": text, "server_ids": [made.server_id], **changes}
        return api("POST", "/v1/import/crontab", body)

    return load


def test_a_dry_run_shows_the_tasks_and_makes_none(world, load):
    """It is what happens if nobody says else."""
    shown = load()

    assert shown.status == 200, shown.body
    assert shown.body["dry_run"] is True
    dump, sync = shown.body["tasks"]
    assert (dump["line"], dump["text"]) == (6, "30 1 * * * pg_dump app%yes%no")
    assert dump["task"]["name"] == "nightly dump"
    assert dump["task"]["spec"]["environment"] == {"PATH": "/usr/bin:/bin"}
    assert dump["task"]["schedule"]["timezone"] == "Europe/Berlin"
    assert dump["task"]["timeout_s"] == 86400
    assert (sync["task"]["name"], sync["task_id"], sync["reason"]) == (
        "sync",
        None,
        None,
    )
    assert world.rows("tasks") == []


def test_the_tasks_are_made(api, world, load):
    """As the dry run has shown them; enabled or not."""
    shown = load(name_prefix="web: ", enabled=False).body["tasks"]

    made = load(name_prefix="web: ", enabled=False, dry_run=False)

    assert made.status == 201, made.body
    listed = api("GET", "/v1/tasks").body["items"]
    assert sorted(one["name"] for one in listed) == ["web: nightly dump", "web: sync"]
    assert [one["task"] for one in made.body["tasks"]] == [one["task"] for one in shown]
    task = tasks.get(made.body["tasks"][0]["task_id"])
    assert (task.definition.enabled, task.next_run) == (False, None)
    path = f"/v1/tasks/{task.task_id}"
    assert api("PATCH", path, {"enabled": True}).body["next_run"]


def test_a_name_that_is_taken_is_a_conflict(world, load):
    """As it is of a POST of one task; what is wrong besides comes first."""
    load("0 0 * * * a", dry_run=False)
    before = world.rows("tasks")

    shown = load("0 0 * * * a\n0 0 * * * b")
    taken = load("0 0 * * * a\n0 0 * * * b", dry_run=False)
    wrong = load("0 0 * * * a\n@reboot b", dry_run=False)

    reasons = [one["reason"] for one in shown.body["tasks"]]
    assert reasons == ["the name 'a' is taken", None]
    assert (taken.status, fields(taken)) == (409, ["text.1"])
    assert (wrong.status, fields(wrong)) == (400, ["text.1", "text.2"])
    assert world.rows("tasks") == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("@reboot a", "`@reboot` needs a daemon"),
        ("0 0 31 2 * a", "never comes"),
        ("0~5 * * * * a", "write `H(0-29)`"),
        ("hello", "neither a variable"),
        ("CRON_TZ=Mars/Olympus\n0 0 * * * a", "is not a known zone"),
        ("HOME=app\n0 0 * * * a", "spec.workdir"),
        ("SHELL=-x\n0 0 * * * a", "spec.interpreter"),
    ],
)
def test_one_line_that_cannot_be_makes_none(world, load, line, words):
    """The dry run says which and why; the import names the same line."""
    text = f"* * * * * fine\n{line}\n"

    shown, refused = load(text), load(text, dry_run=False)

    fine, bad = shown.body["tasks"]
    assert (fine["reason"], bad["task"]) == (None, None)
    assert words in bad["reason"]
    assert (refused.status, fields(refused)) == (400, [f"text.{bad['line']}"])
    assert world.rows("tasks") == []


def test_a_name_that_is_taken_meanwhile_makes_none(world, load, monkeypatch):
    """All or none holds against a race as well."""
    load("0 0 * * * a", dry_run=False)
    before = len(world.rows("tasks"))
    monkeypatch.setattr(tasks, "require_name", lambda *args: None)

    raced = load("0 0 * * * b\n0 0 * * * a", dry_run=False)

    assert raced.status == 409
    assert len(world.rows("tasks")) == before


def test_users_of_a_systems_crontab(load):
    """Who logs in anyway needs no sudo."""
    shown = load("* * * * * root a\n* * * * * deploy b", system=True).body["tasks"]

    assert [one["task"]["spec"]["run_as"] for one in shown] == ["root", None]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "# nothing\nA=1"}, "text"),
        ({"text": "* * * * * a\n" * 26}, "text"),
        ({"text": "0 0 * * * " + "a" * 65536}, "text"),
        ({"server_ids": []}, "server_ids"),
        ({"server_ids": ["nope"]}, "server_ids.0"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"name_prefix": "x" * 41}, "name_prefix"),
        ({"overlap": "queue"}, "overlap"),
        ({"user": "root"}, "user"),
    ],
)
def test_an_import_that_cannot_be_is_refused(world, load, change, field):
    """The field is named, in a dry run too."""
    refused = load(**change)

    assert (refused.status, fields(refused)) == (400, [field])
    assert world.rows("tasks") == []


def test_what_was_imported_runs(world, sshd, api):
    """A real shell gets the stdin after the percent sign, and the variables."""
    server = world.add_server(sshd)
    text = "NAME=ada\n0 0 1 1 * cat; echo $NAME%one%50\\%"
    body = {"text": text, "server_ids": [server.server_id], "dry_run": False}

    made = api("POST", "/v1/import/crontab", body).body["tasks"][0]
    task = tasks.get(made["task_id"])
    world.clock.now = task.next_run
    world.tick()
    run = world.settle(slot_run_id(task.task_id, task.next_run))

    assert run.state is State.COMPLETED
    assert world.output(run, Stream.STDOUT).data == b"one\n50%\nada\n"
