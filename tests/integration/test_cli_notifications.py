"""Channels, rules and the audit on the command line."""

import re
from dataclasses import replace

import pytest

from cronhop.domain.notification import Notice, Occasion
from cronhop_cli import notifications
from tests.hook import receiver

HOOK = ("--kind", "webhook", "--url", "https://hooks.example.org/x")


@pytest.fixture
def ops(cronhop):
    """A channel."""
    return cronhop.json("channels", "create", "ops", *HOOK)


def editor(cronhop, folder, script):
    """Let the editor be a sed script."""
    path = folder / "editor"
    path.write_text(f"#!/bin/sh\nsed -i '{script}' \"$1\"\n")
    path.chmod(0o755)
    cronhop.environ["EDITOR"] = str(path)


def test_the_life_of_a_channel(cronhop, ops, tmp_path):
    """Made, listed, changed in the editor, removed."""
    editor(cronhop, tmp_path, "s,/x,/y,")

    edited = cronhop("channels", "edit", "ops", "--yes")

    assert (edited.code, edited.out) == (0, "Changed ops.\n")
    assert edited.err.splitlines() == [
        "~ ops",
        "    url: https://hooks.example.org/x -> https://hooks.example.org/y",
    ]
    assert "https://hooks.example.org/y" in cronhop("channels", "list").out
    assert "last_delivery: null" in cronhop("channels", "show", "ops").out
    assert cronhop("channels", "delete", "ops").code == 2
    assert cronhop("channels", "delete", "ops", "--yes").out == "Removed ops.\n"
    gone = cronhop("channels", "show", "ops")
    assert (gone.code, gone.out) == (1, "")
    assert "there is no channel 'ops'" in gone.err


def test_a_channel_that_cannot_be(cronhop):
    """The API's word, with the field."""
    done = cronhop("channels", "create", "ops", "--kind", "slack", *HOOK[2:])

    assert (done.code, done.out) == (1, "")
    assert "url: a channel of kind slack has none" in done.err


@pytest.mark.parametrize(("status", "code"), [(204, 0), (500, 1)], ids=["ok", "not-ok"])
def test_a_channel_is_tried(cronhop, world, status, code):
    """It waits for what becomes of it, and ends with 1 if that is nothing good."""
    with receiver() as hook:
        hook.answer = (status, {}, b"")
        url = f"http://127.0.0.1:{hook.port}/"
        cronhop.json("channels", "create", "ops", "--kind", "webhook", "--url", url)

        def deliver(seconds):
            for notice in world.notices():
                world.deliverer.deliver(notice, received=1)

        cronhop._pause = deliver
        done = cronhop("channels", "test", "ops")

    assert done.code == code, done.err
    assert len(hook.got) == 1
    said = "ok" if code == 0 else "not ok: "
    assert done.out.startswith(said)
    assert re.search(rf"T..:..:..Z {said}", cronhop("channels", "list").out)


def test_what_others_send_is_not_the_test(cronhop, world):
    """A failure or somebody else's test, sent before or after it, is no answer."""

    def failure(run_id):
        notice = Notice(channel="ops", occasion=Occasion.FAILURE, run_id=run_id)
        world.deliverer.deliver(notice, received=1)

    with receiver() as hook:
        url = f"http://127.0.0.1:{hook.port}/"
        cronhop.json("channels", "create", "ops", "--kind", "webhook", "--url", url)
        pauses = []

        def deliver(seconds):
            pauses.append(seconds)
            if len(pauses) == 1:
                (mine,) = world.notices()
                world.deliverer.deliver(replace(mine, test_id="0" * 16), received=1)
                failure("a")
                # It comes with the next look.
                world.channels.queue.send([(mine, 0.0)])
            else:
                hook.answer = (500, {}, b"")
                (mine,) = world.notices()
                world.deliverer.deliver(mine, received=1)
                failure("b")

        cronhop._pause = deliver
        done = cronhop("channels", "test", "ops")

    assert (done.code, done.out) == (1, "not ok: HTTP 500\n")
    assert len(pauses) == 2
    shown = cronhop.json("channels", "show", "ops")
    assert shown["last_delivery"]["id"] == "b#failure#ops"
    assert shown["last_test"]["id"].endswith("#test#ops")


def test_a_channel_that_does_not_answer(cronhop, ops, monkeypatch):
    """Somebody who waits is told that nothing came of it yet."""
    monkeypatch.setattr(notifications, "TEST_S", 0.01)

    done = cronhop("channels", "test", "ops")

    assert (done.code, done.out) == (1, "")
    assert "nothing became of it within" in done.err
    assert "hint: `cronhop channels show`" in done.err


def test_the_life_of_a_rule(cronhop, ops, world, tmp_path):
    """Its task stands by name, in lists, in the editor and when it is made."""
    web = world.add_server(name="web-1")
    task = world.add_task(web, name="dump")
    world.add_task(web, name="sync")

    made = cronhop.json(
        *("rules", "create", "nights", "--on", "failure", "--on", "late"),
        *("--channel", "ops", "--task", "dump", "--late", "120"),
    )
    editor(cronhop, tmp_path, "s/task: dump/task: sync/;s/^- late/- missed/")
    edited = cronhop("rules", "edit", "nights", "--yes")

    assert (made["task_id"], made["late_s"]) == (task.task_id, 120)
    assert "    on: failure, late -> failure, missed" in edited.err.splitlines()
    listed = cronhop("rules", "list").out
    assert "failure, missed" in listed
    assert "sync" in listed
    assert "name: nights\n" in cronhop("rules", "show", "nights").out
    assert "task: sync" in cronhop("rules", "show", "nights").out
    cronhop("tasks", "delete", "sync", "--yes")
    editor(cronhop, tmp_path, "s/^- missed/- success/")
    again = cronhop("rules", "edit", "nights", "--yes")
    assert "    on: failure, missed -> failure, success" in again.err.splitlines()
    assert cronhop("channels", "delete", "ops", "--yes").code == 1
    assert cronhop("rules", "delete", "nights", "--yes").code == 0
    assert cronhop.json("rules", "list")["items"] == []


def test_the_audit(cronhop, world):
    """Who did what: of a task by its name, by somebody, with what was changed."""
    world.add_task(world.add_server(name="web-1"), name="dump")
    cronhop("tasks", "disable", "dump")
    cronhop("credentials", "create", "c", "--password-stdin", stdin="x")

    def requests(*args):
        items = cronhop.json("audit", *args)["items"]
        return [one["request"].split()[0] for one in items]

    assert requests() == ["POST", "PATCH"]
    assert requests("--limit", "1") == ["POST"]
    assert requests("--entity", "task#dump") == ["PATCH"]
    assert requests("--entity", "credential#c") == ["POST"]
    assert requests("--actor", "nobody") == []
    assert (
        requests("--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z") == []
    )
    (line,) = cronhop("audit", "--entity", "task#dump").out.splitlines()[1:]
    assert line.split()[-2:] == ["dump", "enabled"]
    assert cronhop("audit", "--entity", "task#dmup").code == 1
