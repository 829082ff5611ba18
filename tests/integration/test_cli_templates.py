"""Templates on the command line."""

import pytest

from tests.integration.test_api import CLAIMS

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
    assert "template: deploy, version 1\n" in cronhop("tasks", "show", "a").out
    assert cronhop("templates", "delete", "deploy", "--yes").code == 0
    origin = made["template"]["template_id"]
    shown = cronhop("tasks", "show", "a").out
    assert f"template: {origin} (deleted, or not yours to see), version 1\n" in shown


def test_a_template_that_one_may_not_see(cronhop, template, world, monkeypatch):
    """It is there, though not for everybody: it is not said to be deleted."""
    world.add_server(name="web-2", environment="here")
    made = cronhop.json(
        *("templates", "instantiate", "deploy", "mine", "--param", "VERSION=3"),
        *("--param", "WHERE=web-2", "-f", "-"),
        stdin="environment: here",
    )
    monkeypatch.setitem(CLAIMS, "cognito:groups", "[operator:here]")

    shown = cronhop("tasks", "show", "mine")

    origin = made["template"]["template_id"]
    assert f"template: {origin} (deleted, or not yours to see)" in shown.out


def test_a_task_of_a_template_and_a_file(cronhop, template, world, tmp_path):
    """Any field can stand instead of the template's, servers by name."""
    web_2 = world.add_server(name="web-2")
    path = tmp_path / "shop.yaml"
    path.write_text(
        "targets: {servers: [web-2]}\n"
        "retry: {max_attempts: 3, on: [failed]}\n"
        "tags: {team: web}\n"
        "overlap: queue\n"
    )
    words = ["templates", "instantiate", "deploy", "--param", "VERSION=3"]

    made = cronhop.json(*words, "shop", "-f", str(path), "--timeout", "5")
    piped = cronhop.json(*words, "pipe", "-f", "-", stdin="catch_up: all")

    assert made["targets"]["server_ids"] == [web_2.server_id]
    assert (made["retry"]["max_attempts"], made["retry"]["on"]) == (3, ["failed"])
    assert (made["tags"], made["overlap"]) == ({"team": "web"}, "queue")
    assert (made["timeout_s"], made["spec"]) == (5, template["spec"])
    assert (piped["catch_up"], piped["timeout_s"]) == ("all", 60)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "overlaps: queue",
            "-:1: overlaps: there is no such field; did you mean 'over",
        ),
        ("tags: {}\ntimeout_s: x", '-:2: timeout_s: "x" is not a whole number'),
        ("targets: {servers: [web-2]}", "did you mean 'web-1'?"),
        ("schedule: {cron: 0 0 31 2 *}", "schedule.cron: "),
        ("spec: {command: x}", "spec: "),
        ("name: x", "says what is said beside it: name"),
        ("parameters: []", "says what is said beside it: parameters"),
        ("enabled: true", "says what is said beside it: enabled"),
        ("- tags", "is not an object with fields"),
    ],
    ids=[
        *("field", "type", "server", "schedule", "spec"),
        *("name", "parameters", "twice", "list"),
    ],
)
def test_a_file_that_cannot_be(cronhop, template, text, said):
    """What is wrong is said, with the field; and nothing is made."""
    words = ["templates", "instantiate", "deploy", "a", "--param", "VERSION=1"]

    done = cronhop(*words, "--disabled", "-f", "-", stdin=text)

    assert done.code != 0
    assert said in done.err
    assert cronhop.json("tasks", "list")["items"] == []


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


FILE = """
version: 1
templates:
  - name: deploy
    spec: {command: ./deploy "$VERSION"}
    targets: {parameter: WHERE}
    schedule: {every_s: 3600}
    retry: {max_attempts: 3, on: [failed]}
    parameters:
      - {name: VERSION, type: string}
      - {name: WHERE, type: server, default: web-1}
  - {name: clean, spec: {command: "true"}, targets: {selector: {name: "*"}}}
tasks:
  - {name: clean, spec: {command: "true"}, targets: {servers: [web-1]}}
"""


@pytest.fixture
def file(world, tmp_path):
    """Writes such a file, with one thing instead of another."""
    world.add_server(name="web-1")

    def file(before="", after="", text=FILE):
        path = tmp_path / "all.yaml"
        path.write_text(text.replace(before, after))
        return str(path)

    return file


def test_templates_are_applied(cronhop, file, tmp_path):
    """As tasks are: after a plan, once, and what was exported is as it is."""
    planned = cronhop("plan", file())
    first = cronhop("apply", file(), "--yes")
    again = cronhop("apply", file())
    exported = tmp_path / "exported.yaml"
    told = cronhop("export", "--file", str(exported))
    unchanged = cronhop("plan", str(exported), "--detailed-exitcode")

    assert planned.out.splitlines()[:3] == [
        "+ template deploy",
        '    spec.command: ./deploy "$VERSION"',
        "    targets.parameter: WHERE",
    ]
    assert planned.out.splitlines()[-1] == "3 to create, 0 to change, 0 as they are."
    assert first.out == planned.out + "Done: 3 of 3.\n"
    assert (again.code, again.out) == (0, "0 to create, 0 to change, 3 as they are.\n")
    assert told.err == f"{exported} has 1 task and 2 templates.\n"
    assert (unchanged.code, unchanged.out) == (0, again.out)
    assert "default: web-1" in exported.read_text()
    (task,) = cronhop.json("tasks", "list")["items"]
    assert task["template"] is None


def test_a_template_of_a_file_changes(cronhop, file):
    """Field by field; the tasks that were made of it stay as they are."""
    cronhop("apply", file(), "--yes")
    words = ["templates", "instantiate", "deploy", "shop", "--param", "VERSION=1"]
    made = cronhop.json(*words)
    changed = file('./deploy "$VERSION"', './deploy --to "$VERSION"')

    planned = cronhop("plan", changed)
    applied = cronhop.json("apply", changed, "--yes")

    assert planned.out.splitlines() == [
        "~ template deploy",
        '    spec.command: ./deploy "$VERSION" -> ./deploy --to "$VERSION"',
        "0 to create, 1 to change, 2 as they are. Not in it, and left alone: 1 task.",
    ]
    (change,) = (one for one in applied["changes"] if one["action"] == "change")
    template = cronhop.json("templates", "show", "deploy")
    assert change["entity"] == "template"
    assert change["template_id"] == template["template_id"]
    assert template["version"] == 2
    assert cronhop.json("tasks", "show", "shop") == made


def test_a_file_without_templates_says_nothing_of_them(cronhop, file):
    """Nor does one without tasks take any away."""
    cronhop("apply", file(), "--yes")
    head, tasks = FILE.split("templates:", maxsplit=1)[0], FILE[FILE.index("tasks:") :]
    one = "templates:\n  - " + FILE.splitlines()[-3].split("- ", 1)[1]

    tasks_only = cronhop("plan", file(text=head + tasks))
    template_only = cronhop("plan", file(text=head + one))

    unchanged = "0 to create, 0 to change, 1 as they are."
    assert tasks_only.out == f"{unchanged}\n"
    assert template_only.out == (
        f"{unchanged} Not in it, and left alone: 1 task and 1 template.\n"
    )


def test_templates_that_are_named_are_exported(cronhop, file):
    """Alone, or with tasks that are named."""
    cronhop("apply", file(), "--yes")

    alone = cronhop.json("export", "--template", "deploy")
    both = cronhop.json("export", "clean", "--template", "clean")

    assert [one["name"] for one in alone.pop("templates")] == ["deploy"]
    assert alone == {"version": 1}
    assert both["tasks"][0]["targets"] == {"servers": ["web-1"]}
    assert both["templates"][0]["targets"] == {"selector": {"name": "*"}}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("name: clean", "name: deploy", "all.yaml:12: 'deploy' stands at "),
        ("default: web-1", "default: web-2", "all.yaml:11: parameters.WHERE.default: "),
        ("schedule:", "shedule:", "all.yaml:7: templates.0.shedule: there is no"),
    ],
    ids=["twice", "server", "field"],
)
def test_templates_that_cannot_be(cronhop, file, before, after, said):
    """It is said with the line, and nothing is made."""
    done = cronhop("apply", file(before, after), "--yes")

    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert cronhop.json("templates", "list")["items"] == []


def test_a_template_is_not_written_over(cronhop, file):
    """That was changed since the plan; it says what was done."""
    cronhop("apply", file(), "--yes")
    changed = file("./deploy", "./ship")
    handle = cronhop.transport.handle_request

    def meanwhile(request):
        if request.method == "PUT" and not request.url.query:
            path, body = request.url.path, {"timeout_s": 5}
            assert cronhop.transport.call("PATCH", path, body).status == 200
        return handle(request)

    cronhop.transport.handle_request = meanwhile

    done = cronhop("apply", changed, "--yes")

    assert done.code == 1
    assert "template deploy: Precondition Failed" in done.err
    assert cronhop.json("templates", "show", "deploy")["timeout_s"] == 5


def test_one_template_of_a_file(cronhop, file):
    """A file that has just one makes it; tasks are no templates."""
    one = FILE.split("  - {name: clean", maxsplit=1)[0]

    several = cronhop("templates", "create", "-f", file())
    task = cronhop("tasks", "create", "-f", file(text=one))
    made = cronhop("templates", "create", "-f", "-", stdin=one)

    assert (several.code, task.code) == (1, 1)
    assert "has 1 task and 2 templates, not one template" in several.err
    assert "has 1 template, not one task" in task.err
    assert made.out == "Created deploy.\n"
