"""Templates on the command line."""

import pytest

TEMPLATE = """
name: deploy
spec: {command: ./deploy "$VERSION"}
targets: {parameter: WHERE}
schedule: {every_s: 3600}
timeout_s: 60
parameters:
  - {name: VERSION, type: string}
  - {name: COUNT, type: integer, default: 1}
  - {name: WHERE, type: server, default: web-1}
"""


@pytest.fixture
def template(cronhop, world, tmp_path):
    """A template with a server by name, which has to be there."""
    world.add_server(name="web-1")
    path = tmp_path / "deploy.yaml"
    path.write_text(TEMPLATE)
    return cronhop.json("templates", "create", "-f", str(path))


def test_the_life_of_a_template(cronhop, template, tmp_path):
    """Made of a file, shown as one, changed in the editor, deleted."""
    assert "VERSION, COUNT, WHERE" in cronhop("templates", "list").out
    shown = cronhop("templates", "show", "deploy").out
    assert "default: web-1" in shown
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/default: 1$/default: 2/' \"$1\"\n")
    editor.chmod(0o755)
    cronhop.environ["EDITOR"] = str(editor)

    edited = cronhop("templates", "edit", "deploy", "--yes")
    again = cronhop("templates", "edit", "deploy", "--yes")

    assert edited.out == "Changed deploy.\n"
    assert "parameters.COUNT.default: 1 -> 2" in edited.err
    assert again.err == "Nothing is changed.\n"
    assert cronhop.json("templates", "show", "deploy")["version"] == 2
    assert cronhop("templates", "delete", "deploy").code == 2
    assert cronhop("templates", "delete", "deploy", "--yes").out == "Deleted deploy.\n"
    assert cronhop.json("templates", "list")["items"] == []


def test_a_task_of_a_template(cronhop, template, world):
    """Its values are the defaults; what is said besides stands instead."""
    web_2 = world.add_server(name="web-2")
    words = ["templates", "instantiate", "deploy"]
    where = ("--param", "WHERE=web-2")

    made = cronhop.json(*words, "a", "--param", "VERSION=3", *where, "--disabled")
    other = cronhop.json(*words, "b", *where, "--no-schedule", "--timeout", "5")
    moved = cronhop.json(
        *(*words, "c", "--param", "VERSION=1", "--param", "COUNT=7"),
        *("--server", "web-2", "--cron", "30 1 * * *", "--tz", "Europe/Berlin"),
    )

    defaults = {one["name"]: one["default"] for one in made["parameters"]}
    assert defaults == {"VERSION": "3", "COUNT": 1, "WHERE": web_2.server_id}
    assert (made["enabled"], made["template"]["version"]) == (False, 1)
    assert (other["schedule"], other["timeout_s"]) == (None, 5)
    assert moved["targets"]["server_ids"] == [web_2.server_id]
    assert moved["schedule"]["timezone"] == "Europe/Berlin"
    items = cronhop.json("templates", "tasks", "deploy")["items"]
    assert [(one["name"], one["behind"]) for one in items] == [
        ("a", False),
        ("b", False),
        ("c", False),
    ]
    # It is a task like any other: what made it is in no file.
    exported = cronhop("export", "a")
    assert (exported.code, exported.err) == (0, "")
    assert "template" not in exported.out


def test_a_task_that_cannot_be_made(cronhop, template):
    """What the declaration says, and what the API says, is told; nothing is made."""
    words = ["templates", "instantiate", "deploy", "a"]

    typed = cronhop(*words, "--param", "COUNT=x")
    lacks = cronhop(*words)
    both = cronhop(*words, "--no-schedule", "--every", "5")
    near = cronhop("templates", "instantiate", "deplyo", "a")

    assert (typed.code, lacks.code, both.code, near.code) == (2, 1, 2, 1)
    assert "COUNT: 'x' is not a whole number" in typed.err
    assert "parameters.VERSION: " in lacks.err
    assert "did you mean 'deploy'?" in near.err
    assert cronhop.json("tasks", "list")["items"] == []
