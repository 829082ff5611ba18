"""The command line against the API's own handler."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from cronhop.domain.task import TaskKind
from cronhop.services import runs
from cronhop_cli import follow
from cronhop_cli.task_form import SET_BY_CRONHOP, from_api, whole
from tests.integration.test_api import CLAIMS


@pytest.fixture
def api(cronhop):
    """The API that the program talks to."""
    return cronhop.transport.call


@pytest.fixture
def web(world):
    """A server that nobody will visit."""
    return world.add_server(name="web-1")


@pytest.fixture
def task(cronhop, web):
    """A task on it."""
    return cronhop.json(
        *("tasks", "create", "nightly dump", "--server", "web-1"),
        *("--command", "true", "--cron", "30 1 * * *", "--tz", "Europe/Berlin"),
    )


def shown(cronhop, *args, **kwargs):
    """Return what a command that succeeds prints."""
    done = cronhop(*args, **kwargs)
    assert done.code == 0, done.err
    return done.out


# Looking


def test_lists_are_tables(cronhop, task):
    """Names stand where ids would tell nothing."""
    assert "nightly dump" in shown(cronhop, "tasks", "list")
    assert "30 1 * * * Europe/Berlin" in shown(cronhop, "tasks", "list")
    assert "nobody@10.0.0.1:22" in shown(cronhop, "servers", "list")
    assert "password" in shown(cronhop, "credentials", "list")


def test_lists_are_whole(cronhop, world, web, monkeypatch):
    """More than a page is asked for page by page, and is one document."""
    monkeypatch.setattr("cronhop_cli.api.PAGE", 2)
    for number in range(5):
        world.add_task(web, name=f"t{number}")

    items = cronhop.json("tasks", "list")["items"]

    assert len(items) == 5
    runs = [shown(cronhop, "run", f"t{number}").strip() for number in range(5)]
    listed = cronhop.json("runs", "list", "--limit", "3")["items"]
    assert [one["run_id"] for one in listed] == runs[:1:-1]


def test_json_is_the_apis(cronhop, api, task):
    """What --json prints is what the API answers."""
    path = f"/v1/tasks/{task['task_id']}"

    assert cronhop.json("tasks", "show", "nightly dump") == api("GET", path).body


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_common_options_stand_anywhere(cronhop, task, before):
    """--json works before the noun as well as behind the verb."""
    words = ["tasks", "list"]

    done = cronhop(*(["--json", *words] if before else [*words, "--json"]))

    assert json.loads(done.out)["items"]


def test_a_task_by_id(cronhop, task):
    """An id does as well as a name."""
    assert "nightly dump" in shown(cronhop, "tasks", "show", task["task_id"])


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["tasks", "show", "nightly"], "did you mean 'nightly dump'?"),
        (["run", "nihgtly dump"], "did you mean 'nightly dump'?"),
        (["servers", "show", "web"], "did you mean 'web-1'?"),
        (["servers", "show", "zzz"], "`cronhop servers list` shows them"),
    ],
    ids=["part", "typo", "server", "nothing-near"],
)
def test_unknown_names_have_a_hint(cronhop, task, args, hint):
    """Who mistypes a name is told of those that come near, on stderr."""
    done = cronhop(*args)

    assert (done.code, done.out) == (1, "")
    assert f"hint: {hint}" in done.err


def test_fields_at_fault_are_named(cronhop, web):
    """A problem of the API comes with its fields."""
    done = cronhop(
        *("tasks", "create", "x", "--server", "web-1", "--command", "true"),
        *("--cron", "0 0 31 2 *"),
    )

    assert (done.code, done.out) == (1, "")
    assert "error: Bad Request" in done.err
    assert "schedule.cron: " in done.err


def test_what_steers_a_terminal_is_written_out(cronhop, world):
    """No name and no reason moves the cursor; JSON is ASCII."""
    world.add_server(name="evil", environment="\x1b]0;x\x07\u202e")

    shown_ = shown(cronhop, "servers", "list")
    whole = shown(cronhop, "servers", "show", "evil")
    raw = shown(cronhop, "servers", "list", "--json")

    assert r"\x1b]0;x\x07\u202e" in shown_
    for text in (shown_, whole, raw):
        assert not re.search("[\x1b\x07\u202e]", text)


# Changing


def test_nobody_is_asked_without_a_terminal(cronhop, task):
    """What is asked for on a terminal wants --yes elsewhere, and does nothing."""
    done = cronhop("tasks", "delete", "nightly dump")

    assert done.code == 2
    assert "hint: add --yes" in done.err
    assert len(cronhop.json("tasks", "list")["items"]) == 1


def test_the_life_of_a_task(cronhop, task):
    """Disable, enable, pause, resume, delete."""
    shown(cronhop, "tasks", "disable", "nightly dump")
    assert "disabled" in shown(cronhop, "tasks", "list")
    shown(cronhop, "tasks", "enable", "nightly dump")
    shown(cronhop, "tasks", "pause", "nightly dump", "--reason", "a move")
    assert "paused" in shown(cronhop, "tasks", "list")
    assert "paused" in shown(cronhop, "why", "nightly dump", "--at", task["next_run"])
    until = ("--until", "2999-06-01T09:00:00.5Z")
    shown(cronhop, "tasks", "pause", "nightly dump", *until)
    assert "paused until 2999-06-01T09:00:00Z" in shown(cronhop, "tasks", "list")
    shown(cronhop, "tasks", "resume", "nightly dump")

    shown(cronhop, "tasks", "delete", "nightly dump", "--yes")

    assert cronhop.json("tasks", "list")["items"] == []


def editor(folder, change):
    """Return an editor that changes a file by a sed script."""
    path = folder / "editor"
    path.write_text(f"#!/bin/sh\nsed -i '{change}' \"$1\"\n")
    path.chmod(0o755)
    return str(path)


def kept(done):
    """Return what was kept of an edit, and remove it."""
    path = Path(done.err.partition("what you wrote is in ")[2].split("\n")[0])
    written = path.read_bytes()
    shutil.rmtree(path.parent)
    return written


def test_edit(cronhop, task, tmp_path):
    """What was changed in the editor is shown, and changed; nothing else is."""
    cronhop.environ["EDITOR"] = editor(tmp_path, "s/30 1/45 1/")

    done = cronhop("tasks", "edit", "nightly dump", "--yes")

    assert done.code == 0, done.err
    assert "schedule.cron: 30 1 * * * -> 45 1 * * *" in done.err
    after = cronhop.json("tasks", "show", "nightly dump")
    assert after["schedule"] == {**task["schedule"], "cron": "45 1 * * *"}
    assert after["version"] == 2


def test_an_edit_that_is_no_task(cronhop, task, tmp_path):
    """A slip in the editor is refused with its line, and changes nothing."""
    cronhop.environ["EDITOR"] = editor(tmp_path, "s/^spec:/specc:/")

    done = cronhop("tasks", "edit", "nightly dump", "--yes")

    assert done.code == 1
    assert "specc: there is no such field; did you mean 'spec'?" in done.err
    assert cronhop.json("tasks", "show", "nightly dump")["version"] == 1


def test_an_edit_that_is_refused_is_not_lost(cronhop, task, tmp_path):
    """Who has written much finds it again, whatever the API thinks of it."""
    cronhop.environ["EDITOR"] = editor(tmp_path, "s/30 1/99 1/")

    done = cronhop("tasks", "edit", "nightly dump", "--yes")

    assert done.code == 1
    assert b"cron: 99 1 * * *" in kept(done)
    assert cronhop.json("tasks", "show", "nightly dump")["version"] == 1


@pytest.mark.parametrize("ended_by", [typer.Abort, KeyboardInterrupt])
@pytest.mark.parametrize(
    "at", ["cronhop_cli.editor.confirm", "cronhop_cli.api.Api.put"]
)
def test_an_edit_that_is_broken_off_is_not_lost(
    cronhop, task, tmp_path, monkeypatch, ended_by, at
):
    """Nor by Ctrl-C, at the question or while it is sent."""

    def end(*args, **kwargs):
        raise ended_by

    monkeypatch.setattr(at, end)
    cronhop.environ["EDITOR"] = editor(tmp_path, "s/30 1/45 1/")

    done = cronhop("tasks", "edit", "nightly dump", "--yes")

    assert done.code != 0
    assert b"cron: 45 1 * * *" in kept(done)


def test_an_edit_in_another_encoding(cronhop, task, tmp_path):
    """It is told with its line, and is not lost."""
    cronhop.environ["EDITOR"] = editor(tmp_path, r"1a description: caf\xe9")

    done = cronhop("tasks", "edit", "nightly dump", "--yes")

    assert done.code == 1
    assert re.search(r"error: .*/edited\.yaml:2: it is no UTF-8", done.err)
    assert b"description: caf\xe9\n" in kept(done)


def test_an_edit_of_nothing_leaves_nothing(cronhop, task, monkeypatch, tmp_path):
    """What is as it was is not kept."""
    monkeypatch.setattr(
        "cronhop_cli.editor.mkdtemp", lambda prefix: str(tmp_path / "x")
    )
    (tmp_path / "x").mkdir()
    cronhop.environ["EDITOR"] = "false"

    done = cronhop("tasks", "edit", "nightly dump", "--yes")

    assert done.code == 1
    assert "what you wrote" not in done.err
    assert not (tmp_path / "x").exists()


def test_credentials_never_come_from_arguments(cronhop, api):
    """A value comes from stdin; without a terminal nobody is asked."""
    done = cronhop(
        "credentials", "create", "db-pass", "--password-stdin", stdin="correct horse\n"
    )
    asked = cronhop("credentials", "create", "other")

    assert done.code == 0, done.err
    assert "correct horse" not in done.out + done.err
    assert asked.code == 2
    assert cronhop.json("credentials", "show", "db-pass")["kind"] == "password"


def test_a_private_key_from_a_file(cronhop, tmp_path, sshd):
    """A key is read from a file, or stdin."""
    key = tmp_path / "key"
    key.write_text(sshd.private_key)

    shown(cronhop, "credentials", "create", "a", "--private-key", str(key))
    shown(
        cronhop,
        "credentials",
        "create",
        "b",
        "--private-key",
        "-",
        stdin=key.read_text(),
    )

    kinds = {one["fingerprint"] for one in cronhop.json("credentials", "list")["items"]}
    assert len(kinds) == 1


def test_calendars_and_the_freeze(cronhop, task):
    """They come and go."""
    shown(cronhop, "calendars", "create", "holidays", "2026-12-25", "2026-12-26")
    assert "holidays" in shown(cronhop, "calendars", "list")
    shown(cronhop, "calendars", "delete", "holidays", "--yes")
    shown(cronhop, "freeze", "begin", "--reason", "a move", "--yes")
    assert "a move" in shown(cronhop, "freeze", "show")
    shown(cronhop, "freeze", "end")
    assert shown(cronhop, "freeze", "show") == "It is not frozen.\n"


# When


def test_preview(cronhop):
    """The coming slots, and what may surprise."""
    done = cronhop(
        *("preview", "30 2 * * *", "--tz", "Europe/Berlin"),
        *("--after", "2027-03-27T12:00:00Z", "--count", "2"),
    )

    assert "2027-03-28T01:00:00Z" in done.out
    assert "dst_gap" in done.out
    assert "warning: the clocks of Europe/Berlin skip" in done.err


def test_why_and_upcoming(cronhop, task):
    """An instant with an offset is asked for as it is written."""
    said = shown(cronhop, "why", "nightly dump", "--at", "2999-06-01T00:00:00+02:00")
    slots = cronhop.json("upcoming", "--minutes", "1440")["slots"]

    assert "2999-05-31T22:00:00Z: not_due" in said
    assert [one["name"] for one in slots] == ["nightly dump"]


CRONTAB = "# dump\n30 1 * * * pg_dump app\n@hourly sync\n"


def test_import_shows_first(cronhop, web):
    """Nothing is made but with --yes."""
    words = ["import", "crontab", "-", "--server", "web-1"]

    done = cronhop(*words, stdin=CRONTAB)

    assert "30 1 * * *" in done.out
    assert "Nothing was made; --yes makes 2 tasks of it." in done.err
    assert cronhop.json("tasks", "list")["items"] == []

    assert "2 tasks were made" in shown(cronhop, *words, "--yes", stdin=CRONTAB)
    assert len(cronhop.json("tasks", "list")["items"]) == 2


def test_an_import_with_a_line_that_cannot_be(cronhop, web):
    """It says which, and ends with 1."""
    done = cronhop(
        *("import", "crontab", "-", "--server", "web-1"),
        stdin="@reboot warm-up\n30 1 * * * pg_dump\n",
    )

    assert done.code == 1
    assert "@reboot" in done.out
    assert "1 of its lines cannot be tasks" in done.err


def test_who_is_limited_to_an_environment_makes_tasks(
    cronhop, world, tmp_path, monkeypatch
):
    """By options, of a crontab and of a template; the environment has to be said."""
    world.add_server(name="web-1", environment="here")
    body = {
        "name": "t",
        "environment": "here",
        "spec": {"command": "true"},
        "targets": {"selector": {"name": "*"}},
    }
    assert cronhop.transport.call("POST", "/v1/templates", body).status == 201
    monkeypatch.setitem(CLAIMS, "cognito:groups", "[operator:here]")
    where, here = ("--server", "web-1"), ("--environment", "here")
    words = ("import", "crontab", "-", *where, "--yes")

    shown(cronhop, "tasks", "create", "a", *where, *here, "--command", "true")
    shown(cronhop, *words, *here, stdin="@hourly sync\n")
    shown(cronhop, "templates", "instantiate", "t", "b")
    elsewhere = cronhop(*words, stdin="@hourly other\n")

    made = {
        one["name"]: one["environment"]
        for one in cronhop.json("tasks", "list")["items"]
    }
    assert made == {"a": "here", "sync": "here", "b": "here"}
    assert elsewhere.code == 1
    assert "error: Forbidden" in elsewhere.err


def test_a_file_says_the_environment_itself(cronhop, tmp_path):
    """Beside a file the option is refused, not passed over."""
    done = cronhop("tasks", "create", "-f", "task.yaml", "--environment", "here")

    assert done.code == 2
    assert "a file says it all" in done.err


# Running


@pytest.fixture
def command(cronhop, world, server):
    """Makes tasks of the name `job` on the real sshd."""

    def command(text, **changes):
        return world.add_task(server, command=text, name="job", **changes)

    return command


def test_run_says_the_run(cronhop, task):
    """Its id alone is on stdout, for scripts."""
    done = cronhop("run", "nightly dump")

    run_id = done.out.strip()
    assert cronhop.json("runs", "show", run_id)["trigger"] == "manual"
    assert f"cronhop logs {run_id} -f" in done.err


def test_a_run_of_a_task_that_moved(cronhop, world, monkeypatch):
    """Who sees the run alone is not told that its task is deleted."""
    task = world.add_task(
        world.add_server(environment="here"), name="job", environment="here"
    )
    run_id = shown(cronhop, "run", "job").strip()
    anywhere = {"server_ids": None, "selector": {"name": "*"}}
    away = {"environment": "there", "targets": anywhere}
    path = f"/v1/tasks/{task.task_id}"
    assert cronhop.transport.call("PATCH", path, away).status == 200
    monkeypatch.setitem(CLAIMS, "cognito:groups", "[operator:here]")

    said = shown(cronhop, "runs", "show", run_id)

    assert f"task:     {task.task_id} (deleted, or not yours to see)\n" in said


def test_run_with_parameters(cronhop, command, world, server):
    """Values go as what the task declares; what does not fit starts nothing."""
    task = command('echo "$VERSION $COUNT $WHERE"')
    parameters = [
        {"name": "VERSION", "type": "string", "pattern": "v.*"},
        {"name": "COUNT", "type": "integer"},
        {"name": "WHERE", "type": "server"},
    ]
    path = f"/v1/tasks/{task.task_id}"
    cronhop.transport.call("PATCH", path, {"parameters": parameters})
    given = ["--param", "COUNT=3", "--param", f"WHERE={server.name}", "--param"]

    done = cronhop("run", "job", "--follow", *given, "VERSION=v1")
    refused = cronhop("run", "job", *given, "VERSION=1")
    without = cronhop("run", "job", *given, "VERSION=")

    assert (done.code, done.out) == (0, f"v1 3 {server.host}\n")
    assert (refused.code, without.code) == (1, 1)
    assert "parameters.VERSION" in refused.err
    assert cronhop("run", "job").code == 2
    (run,) = cronhop.json("runs", "list")["items"]
    assert "param:    VERSION=v1" in shown(cronhop, "runs", "show", run["run_id"])


def test_follow(cronhop, command):
    """Streams go to their own, and the command's exit code is the program's."""
    command("echo out; echo err >&2; exit 4")

    done = cronhop("run", "job", "--follow")

    assert (done.code, done.out) == (4, "out\n")
    assert done.err.splitlines()[1:] == ["err", "[failed: exit code 4]"]


def test_follow_shows_output_as_it_comes(
    cronhop, command, impatient, world, gate, monkeypatch
):
    """What a command writes is shown while it runs, and only once."""
    seen = []
    # Each look asks for a visit, though no five seconds are over.
    monkeypatch.setattr(follow, "POLL_EVERY_S", 0)
    monkeypatch.setattr(runs, "POLL_EVERY", timedelta(0))

    def pause(seconds):
        world.clock.now = datetime.now(UTC)  # as the API has it
        world.deliver()
        seen.append(seconds)
        if len(seen) == 3:
            gate.touch()

    command(f"echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo done")
    cronhop._pause = pause

    done = cronhop("run", "job", "--follow")

    assert (done.code, done.out) == (0, "begun\ndone\n")
    assert len(seen) > 3


def test_who_may_only_look_follows_too(cronhop, command, impatient, world, gate):
    """A visit that may not be asked for is done without."""
    handle = cronhop.transport.call

    def refusing(method, path, *args, **kwargs):
        if path.endswith("/poll"):
            return SimpleNamespace(status=403, headers={}, body={"title": "Forbidden"})
        return handle(method, path, *args, **kwargs)

    def pause(seconds):
        world.clock.move(seconds=30)
        world.deliver()
        gate.touch()

    command(f"echo begun; until [ -e {gate} ]; do sleep 0.05; done")
    cronhop.transport.call, cronhop._pause = refusing, pause

    done = cronhop("run", "job", "--follow")

    assert (done.code, done.out) == (0, "begun\n")


def test_raw_output_is_exact(cronhop, command):
    """--raw gives bytes as they came; else what steers a terminal is written out."""
    command(r"printf 'a\033[31m\r\nb\377\000\342\202'")
    run_id = cronhop.json("run", "job", "--follow")["run_id"]

    raw = cronhop("logs", run_id, "--stream", "stdout", "--raw")
    safe = cronhop("logs", run_id, "--stream", "stdout")

    assert raw.bytes == b"a\x1b[31m\r\nb\xff\x00\xe2\x82"
    assert safe.out == r"a\x1b[31m" + "\n" + r"b\xff\x00\xe2\x82"


def test_every_attempt_has_its_output(cronhop, command, tmp_path, world):
    """Attempts are shown one after the other."""
    count = tmp_path / "count"
    task = command(f"echo x >> {count}; wc -l < {count}; [ $(wc -l < {count}) = 2 ]")
    body = {"retry": {"max_attempts": 3, "interval_s": 1}}
    cronhop.transport.call("PATCH", f"/v1/tasks/{task.task_id}", body)
    run_id = cronhop("run", "job").out.strip()
    world.settle(run_id)

    done = cronhop("logs", run_id)

    assert done.out.split() == ["1", "2"]
    assert "[attempt 2 on " in done.err
    only = cronhop("logs", run_id, "--attempt", "2", "-f")
    assert (only.code, only.out.split()) == (0, ["2"])


def test_several_servers(cronhop, world, sshd, server):
    """Lines have their server's name before them; the highest exit code is taken."""
    other = world.add_server(sshd, name="other")
    world.add_task(server, other, name="job", command="echo hi; exit $(( $$ % 2 + 3 ))")

    done = cronhop("run", "job", "--follow")

    assert done.code in {3, 4}
    assert sorted(done.out.splitlines()) == ["[other] hi", f"[{server.name}] hi"]


def test_a_run_that_is_not_started(cronhop, task, web):
    """A state without a command's exit code has a code of its own."""
    shown(cronhop, "servers", "set-status", "web-1", "disabled")

    done = cronhop("run", "nightly dump", "--follow")

    assert done.code == 122
    assert "[skipped: " in done.err


def test_interrupted(cronhop, command):
    """Ctrl-C ends the following, not the run."""
    command("true")

    def pause(seconds):
        raise KeyboardInterrupt

    cronhop._pause = pause
    done = cronhop("run", "job", "--follow")

    assert done.code == 130
    assert "The run goes on." in done.err
    (run,) = cronhop.json("runs", "list")["items"]
    assert run["state"] == "pending"


def test_cancel_and_retry(cronhop, task):
    """A run that has not begun is cancelled; it cannot be retried, and it says why."""
    run_id = cronhop("run", "nightly dump").out.strip()

    assert "Cancelled" in shown(cronhop, "runs", "cancel", run_id)
    again = cronhop("runs", "retry", run_id)

    assert again.code == 1
    assert "Conflict: " in again.err
    assert "cancelled" in shown(cronhop, "runs", "list", "--task", "nightly dump")


# Checks


def test_check_and_approve(cronhop, world, sshd, api):
    """The first check shows the key, the second one is ok."""
    server = world.add_server(sshd, name="new", host_keys=())

    first = cronhop("servers", "check", "new")

    assert first.code == 1
    (fingerprint,) = set(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", first.err))
    shown(cronhop, "servers", "approve-key", "new", fingerprint)
    assert "ok" in shown(cronhop, "servers", "check", "new")
    assert server.name in shown(cronhop, "servers", "list")


# Tasks as code


def tasks_file(tmp_path, text):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    return str(path)


EVERYTHING = """
version: 1
tasks:
  - name: everything
    kind: script
    spec:
      command: |
        set -e
        echo "on"
      interpreter: [bash, -e]
      arguments: [a, "1e3"]
      workdir: /tmp
      run_as: app
      environment: {MODE: 0644, ANSWER: "yes", EMPTY: ""}
      secrets: {PGPASSWORD: db-pass}
    targets: {servers: [web-1], pick: any}
    schedule:
      cron: 30 1 * * *
      timezone: Europe/Berlin
      starts_at: 2026-06-01T09:00:00+02:00
      ends_at: 2999-06-01T09:00:00Z
      exclude_calendars: [holidays]
    timeout_s: 60
    kill_grace_s: 5
    retry:
      max_attempts: 3
      interval_s: 60
      backoff: 1
      max_interval_s: 7200
      jitter: 0.5
      on: [failed]
      exit_codes: [3, 2]
    rollout: {max_parallel: 25%, batches: true, canary: 1, max_failures: 2, success_threshold: 90%}
    lost_after_s: 600
    output_cap_bytes: 65536
    overlap: queue
    overlap_limit: 2
    start_deadline_s: 300
    catch_up: all
    catch_up_limit: 3
    enabled: false
  - name: by selector
    environment: prod
    tags: {team: web}
    spec: {command: "true"}
    targets: {selector: {environment: prod, tags: {role: web}, name: "web-*"}, pick: 2}
    schedule: {every_s: 300, anchor: "2026-06-01T09:00:00Z"}
    retry: {interval_s: 5000, max_interval_s: 5000, on: [timeout, failed]}
  - name: once
    spec: {command: "true"}
    targets: {selector: {name: "*"}}
    schedule: {at: 2999-01-01T00:00:00Z}
  - name: a file
    kind: file_transfer
    spec: {direction: upload, path: /etc/motd, content: hi, mode: 0644}
    targets: {servers: [web-1]}
  - name: a unit
    kind: service_control
    spec: {unit: nginx, action: restart, run_as: null, probe: {tcp_port: 443}}
    targets: {servers: [web-1]}
  - name: with parameters
    spec:
      command: ./deploy "$1" --to "$WHERE"
      arguments: [{parameter: VERSION}, --quiet]
    targets: {parameter: WHERE}
    parameters:
      - {name: VERSION, type: string, pattern: 'v\\d+', max_length: 10, description: what}
      - {name: WHERE, type: server, default: web-1}
      - {name: TOKEN, type: secret, default: db-pass}
      - {name: COLOUR, type: enum, values: [red, "on"], default: on}
      - {name: COUNT, type: integer, minimum: 0, maximum: 9, default: 0}
      - {name: FORCE, type: boolean, default: false}
"""


@pytest.fixture
def everything(cronhop, web, tmp_path):
    """A file with every field there is, and what it refers to."""
    shown(cronhop, "calendars", "create", "holidays", "2026-12-25")
    cronhop("credentials", "create", "db-pass", "--password-stdin", stdin="x")
    return tasks_file(tmp_path, EVERYTHING)


def test_apply_is_idempotent(cronhop, everything):
    """Applied twice, a file with every field there is changes nothing."""
    first = cronhop("apply", everything, "--yes")
    again = cronhop("apply", everything)

    assert first.code == 0, first.err
    assert "6 to create, 0 to change, 0 as they are." in first.out
    assert (again.code, again.out) == (0, "0 to create, 0 to change, 6 as they are.\n")


def test_export_and_apply(cronhop, everything, tmp_path):
    """What was exported is as it is: a plan of it is empty."""
    shown(cronhop, "apply", everything, "--yes")
    exported = tmp_path / "exported.yaml"

    shown(cronhop, "export", "--file", str(exported))

    planned = cronhop("plan", str(exported), "--detailed-exitcode")
    assert (planned.code, planned.out) == (
        0,
        "0 to create, 0 to change, 6 as they are.\n",
    )
    assert "next_run" not in exported.read_text()
    assert shown(cronhop, "export") == exported.read_text()


def test_an_exported_task_is_made_again(cronhop, everything, tmp_path):
    """A file makes the same tasks on an empty stack."""
    shown(cronhop, "apply", everything, "--yes")
    exported = tmp_path / "exported.yaml"
    shown(cronhop, "export", "--file", str(exported))
    before = cronhop.json("tasks", "list")["items"]
    for one in before:
        shown(cronhop, "tasks", "delete", one["task_id"], "--yes")

    shown(cronhop, "apply", str(exported), "--yes")

    computed = {"task_id", "created_at", "updated_at", "next_run", "last_run"}
    after = {one["name"]: one for one in cronhop.json("tasks", "list")["items"]}
    for one in before:
        assert one.keys() == after[one["name"]].keys()
        for task in (one, after[one["name"]]):
            task["retry"]["on"].sort()  # their order says nothing
        kept = {key: one[key] for key in one.keys() - computed}
        assert kept == {key: after[one["name"]][key] for key in kept}


def test_a_plan_is_like_a_diff(cronhop, everything, tmp_path):
    """What changes is shown field by field, commands line by line."""
    shown(cronhop, "apply", everything, "--yes")
    text = EVERYTHING.replace('echo "on"', "echo off").replace("timeout_s: 60\n", "\n")
    changed = tasks_file(tmp_path, text.replace("name: once", "name: one more"))

    done = cronhop("plan", changed, "--detailed-exitcode")

    assert done.code == 2
    assert done.out.splitlines() == [
        "~ everything",
        "    spec.command:",
        "        set -e",
        '      - echo "on"',
        "      + echo off",
        "    timeout_s: 60 -> 3600",
        "+ one more",
        "    spec.command: true",
        "    targets.selector.name: *",
        "    schedule.at: 2999-01-01T00:00:00Z",
        "1 to create, 1 to change, 4 as they are. Not in it, and left alone: 1 task.",
    ]
    assert cronhop.json("plan", changed)["left_alone"] == 1


def test_a_plan_tells_parameters_by_name(cronhop, everything, tmp_path):
    """What changes of a parameter is shown alone; so is what comes, and their order."""
    shown(cronhop, "apply", everything, "--yes")
    red = '      - {name: COLOUR, type: enum, values: [red, "on"], default: on}\n'
    text = EVERYTHING.replace("default: 0}", "default: 3}")
    changed = tasks_file(
        tmp_path, text.replace(red, "      - {name: NEW, type: boolean}\n")
    )

    done = cronhop("plan", changed)
    created = cronhop(
        "plan", tasks_file(tmp_path, text.replace("name: with", "name: "))
    )
    lines = EVERYTHING.splitlines(keepends=True)
    turned = cronhop(
        "plan", tasks_file(tmp_path, "".join([*lines[:-2], lines[-1], lines[-2]]))
    )

    assert done.out.splitlines()[:-1] == [
        "~ with parameters",
        '    parameters.COLOUR: {"type": "enum", "default": "on", "values": ["red", "on"]} -> none',
        "    parameters.COUNT.default: 0 -> 3",
        '    parameters.NEW: none -> {"type": "boolean"}',
    ]
    assert "    parameters.COUNT.default: 3" in created.out.splitlines()
    assert "    parameters.WHERE.default: web-1" in created.out.splitlines()
    assert turned.out.splitlines()[1] == (
        "    parameters: VERSION, WHERE, TOKEN, COLOUR, COUNT, FORCE"
        " -> VERSION, WHERE, TOKEN, COLOUR, FORCE, COUNT"
    )


def test_servers_in_defaults_have_names(cronhop, everything, web):
    """A default that is a server is an id in the API only; an edit may name another."""
    shown(cronhop, "apply", everything, "--yes")

    (task,) = json.loads(shown(cronhop, "export", "with parameters", "--json"))["tasks"]
    there = cronhop.json("tasks", "show", "with parameters")["parameters"]

    assert [one["default"] for one in task["parameters"] if one["name"] == "WHERE"] == [
        "web-1"
    ]
    assert {one["name"]: one["default"] for one in there}["WHERE"] == web.server_id


def test_what_is_absent_is_left_alone(cronhop, task, tmp_path):
    """A file says nothing of the tasks that are not in it."""
    empty = tasks_file(tmp_path, "version: 1\ntasks: []\n")

    shown(cronhop, "apply", empty, "--yes")

    assert len(cronhop.json("tasks", "list")["items"]) == 1


def test_apply_does_not_write_over(cronhop, task, tmp_path, api):
    """A task that was changed since the plan is not written over; it says what was done."""
    path = tasks_file(
        tmp_path,
        """
version: 1
tasks:
  - {name: first, spec: {command: "true"}, targets: {servers: [web-1]}}
  - {name: nightly dump, spec: {command: "false"}, targets: {servers: [web-1]}}
""",
    )
    handle = cronhop.transport.handle_request

    def meanwhile(request):
        if (request.method, request.url.raw_path) == ("POST", b"/v1/tasks"):
            api("PATCH", f"/v1/tasks/{task['task_id']}", {"timeout_s": 5})
        return handle(request)

    cronhop.transport.handle_request = meanwhile

    done = cronhop("apply", path, "--yes")

    assert done.code == 1
    assert "nightly dump: Precondition Failed" in done.err
    assert "done before that: created first" in done.err
    assert cronhop.json("tasks", "show", "nightly dump")["spec"]["command"] == "true"


def test_a_plan_asks_the_api(cronhop, task, tmp_path):
    """What only the API knows is told of all tasks before anything is done."""
    path = tasks_file(
        tmp_path,
        """
version: 1
templates:
  - {name: t, spec: {command: x, secrets: {A: none}}, targets: {servers: [web-1]}}
tasks:
  - {name: first, spec: {command: "true"}, targets: {servers: [web-1]}}
  - name: second
    spec: {command: "true"}
    targets: {servers: [web-1]}
    schedule: {cron: 0 0 30 2 *}
  - {name: nightly dump, spec: {command: x, secrets: {A: none}}, targets: {servers: [web-1]}}
""",
    )
    before = cronhop.json("tasks", "list")

    for words in (["plan", path], ["apply", path, "--yes"]):
        done = cronhop(*words)

        assert (done.code, done.out) == (1, "")
        assert [line.partition("tasks.yaml:")[2] for line in done.err.splitlines()] == [
            "",
            "4: spec.secrets.A: there is no credential 'none'",
            (
                "10: schedule.cron: day 30 never comes in the months given; write a day of"
                " month up to 29, or other months"
            ),
            "11: spec.secrets.A: there is no credential 'none'",
        ]
    assert cronhop.json("tasks", "list") == before
    assert cronhop.json("templates", "list")["items"] == []


def test_who_may_not_write_sees_a_plan(cronhop, task, tmp_path, monkeypatch):
    """It is not checked, which is said; nor is a refusal left in the audit."""
    path = tasks_file(
        tmp_path,
        "version: 1\ntasks: [{name: x, spec: {command: x}, targets: {servers: [web-1]}}]",
    )
    monkeypatch.setitem(CLAIMS, "cognito:groups", "[viewer]")

    done = cronhop("plan", path)
    as_json = cronhop.json("plan", path)

    assert done.code == 0
    assert "1 to create" in done.out
    assert "Your role may not make all of these changes" in done.err
    assert not as_json["checked"]
    monkeypatch.undo()
    assert cronhop.json("plan", path)["checked"]
    assert {one["status"] for one in cronhop.json("audit")["items"]} == {201}


ELSEWHERE = """
version: 1
tasks:
  - {name: nightly dump, spec: {command: other}, targets: {servers: [web-1]}}
  - name: mine
    environment: here
    spec: {command: x}
    targets: {servers: [web-2]}
    schedule: {cron: 0 0 * 2 *}
"""


def test_who_may_write_in_one_environment_sees_a_plan(
    cronhop, world, task, tmp_path, monkeypatch
):
    """What is elsewhere is not checked, which is said; what is theirs is."""
    world.add_server(name="web-2", environment="here")
    path = tasks_file(tmp_path, ELSEWHERE)
    monkeypatch.setitem(CLAIMS, "cognito:groups", "[viewer operator:here]")

    done = cronhop("plan", path)
    as_json = cronhop.json("plan", path)
    applied = cronhop("apply", path, "--yes")
    never = cronhop("plan", tasks_file(tmp_path, ELSEWHERE.replace("* 2 *", "31 2 *")))

    assert done.code == 0
    assert "1 to create, 1 to change" in done.out
    assert "Your role may not make all of these changes" in done.err
    assert not as_json["checked"]
    assert (applied.code, applied.out) == (1, "")
    assert "tasks.yaml:4: nightly dump: Forbidden: " in applied.err
    assert never.code == 1
    assert "tasks.yaml:9: schedule.cron: day 31 never comes" in never.err
    assert "nightly dump" not in never.err


def test_a_folder_of_files(cronhop, web, tmp_path):
    """All files of a folder are one; a name that two of them have is refused."""
    folder = tmp_path / "tasks"
    (folder / "a").mkdir(parents=True)
    one = 'version: 1\ntasks: [{name: %s, spec: {command: "true"}, targets: {servers: [web-1]}}]\n'
    (folder / "a" / "x.yaml").write_text(one % "x")
    (folder / "y.yml").write_text(one % "y")
    (folder / ".hidden.yaml").write_text("no tasks")

    assert "2 to create" in shown(cronhop, "plan", str(folder))

    (folder / "z.yaml").write_text(one % "x")
    done = cronhop("plan", str(folder))
    assert done.code == 1
    assert re.search(r"z\.yaml:2: 'x' stands at .*/a/x\.yaml:2 already", done.err)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: []", "tasks.yaml:1: the file: 'version' is a required property"),
        ("version: 2\ntasks: []", "tasks.yaml:1: version: 1 was expected"),
        (
            "version: 1\ntasks:\n- name: x\n  tiemout_s: 3\n",
            "tasks.yaml:4: tasks.0.tiemout_s: there is no such field; did you mean 'timeout_s'?",
        ),
        (
            (
                'version: 1\ntasks:\n- name: x\n  spec:\n    command: "true"\n  timeout_s: long\n'
                "  targets: {servers: [web-1]}"
            ),
            'tasks.yaml:6: tasks.0.timeout_s: "long" is not a whole number',
        ),
        (
            (
                "version: 1\ntasks:\n- name: x\n  kind: file_transfer\n  spec:\n    command: x\n"
                "  targets: {servers: [web-1]}"
            ),
            "tasks.yaml:6: tasks.0.spec.command: there is no such field",
        ),
        (
            "version: 1\ntasks:\n- name: x\n  spec: {command: x}\n  targets:\n    servers: [web-2]",
            "tasks.yaml:6: targets.servers: there is no server 'web-2'; did you mean 'web-1'?",
        ),
        (
            (
                'version: 1\ntasks:\n- name: x\n  spec: {command: "true"}\n'
                "  targets: {parameter: WHERE}\n  parameters:\n"
                "  - {name: WHERE, type: server, default: web-2}"
            ),
            "tasks.yaml:7: parameters.WHERE.default: there is no server 'web-2'; did you",
        ),
        (
            (
                'version: 1\ntasks:\n- name: x\n  spec: {command: "true"}\n'
                "  targets: {parameter: WHERE}\n  parameters:\n"
                "  - {name: WHERE, type: server, default: 3}"
            ),
            "tasks.yaml:7: tasks.0.parameters.0.default: 3 is not a text or null",
        ),
        (
            "version: 1\ntasks:\n- name: x\n  schedule:\n    crn: 1",
            "tasks.yaml:5: tasks.0.schedule.crn: there is no such field; did you mean 'cron'?",
        ),
        (
            "version: 1\ntasks:\n- name: x\n  schedule:\n    cron: 5",
            "tasks.yaml:5: tasks.0.schedule.cron: 5 is not a text or null",
        ),
        (
            "version: 1\ntasks:\n- name: x\n  schedule: daily",
            'tasks.yaml:4: tasks.0.schedule: "daily" is not possible here',
        ),
        ("version: 1\nversion: 1", "tasks.yaml:2: version is there twice"),
        ("version: 1\ntasks: [", "tasks.yaml:2: no YAML"),
        ("&a [*a]", "nested more than"),
        ("tasks: " + "[" * 5000, "nested more than"),
        (
            "version: 1\ntasks:\n- name: a\x07",
            "tasks.yaml:3: no YAML: it may not hold the character U+0007",
        ),
        ("", "tasks.yaml:1: the file: it is empty"),
    ],
    ids=[
        *(
            "no-version",
            "version",
            "field",
            "type",
            "kind",
            "server",
            "default",
            "number",
            "inner-field",
            "inner-type",
            "form",
            "twice",
        ),
        *("no-yaml", "itself", "deep", "character", "empty"),
    ],
)
def test_files_that_cannot_be(cronhop, web, tmp_path, text, said):
    """What is wrong with a file is said with its line, and nothing is written."""
    done = cronhop("apply", tasks_file(tmp_path, text), "--yes")

    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert cronhop.json("tasks", "list")["items"] == []


def test_a_newer_api_is_not_undone(cronhop, task, tmp_path, api):
    """A field that this program does not know is named, not taken away."""
    handle = cronhop.transport.call

    def newer(method, path, *args, **kwargs):
        answer = handle(method, path, *args, **kwargs)
        if path == "/v1/tasks" and method == "GET":
            for one in answer.body["items"]:
                one["priority"] = 5
        return answer

    cronhop.transport.call = newer
    path = tasks_file(
        tmp_path,
        "version: 1\ntasks: [{name: nightly dump, spec: {command: x}, targets: {servers: [web-1]}}]",
    )

    done = cronhop("plan", path)

    assert done.code == 1
    assert "would take away: priority" in done.err
    assert "warning: nightly dump: left out" in cronhop("export").err


def keys(value, path=""):
    """Return the path of each field; what a map holds is no field."""
    for name, one in value.items():
        yield path + name
        if isinstance(one, dict) and name not in {"environment", "secrets", "tags"}:
            yield from keys(one, f"{path}{name}.")


def test_the_schema_knows_what_the_api_shows(cronhop, everything):
    """Each field of each kind of task is in the schema or is set by cronhop."""
    shown(cronhop, "apply", everything, "--yes")
    tasks = cronhop.json("tasks", "list")["items"]

    assert {one["kind"] for one in tasks} == set(TaskKind)
    for task in tasks:
        known = {*keys(whole(from_api(task, {}))), "targets.server_ids"}
        kept = {name: task[name] for name in task.keys() - SET_BY_CRONHOP}
        assert set(keys(kept)) <= known
