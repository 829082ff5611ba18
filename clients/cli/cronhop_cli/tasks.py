"""tasks: what to do, where and when."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from . import names, plan, session
from .command import Yes, confirm, noun, pairs, verb
from .errors import Failure, Usage
from .session import Session
from .task_file import read_task
from .task_form import Task, from_api, servers_of, to_api, unknown_fields
from .terminal import (
    console,
    note,
    say,
    show_failure,
    show_json,
    show_table,
    show_yaml,
    yaml_text,
)

tasks = noun("tasks", "What to do, where and when.")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="Its name or id.")]


@verb(tasks, "list")
def listing(context: typer.Context) -> None:
    """List all tasks, oldest first."""
    here = session.of(context)
    items = list(here.api.items("/v1/tasks"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop tasks create --help`.")
        return
    rows = [
        (
            one["name"],
            one["kind"],
            _when(one["schedule"]),
            one["next_run"],
            one["last_run"]["state"] if one["last_run"] else None,
            _standing(one),
        )
        for one in items
    ]
    show_table(["TASK", "KIND", "SCHEDULE", "NEXT", "LAST", ""], rows)


def _when(schedule: Mapping[str, Any] | None) -> str | None:
    if schedule is None:
        return None
    if schedule.get("cron"):
        zone = schedule["timezone"]
        return f"{schedule['cron']}" + (f" {zone}" if zone != "UTC" else "")
    if schedule.get("every_s"):
        return f"every {schedule['every_s']} s"
    return f"at {schedule['at']}"


def _standing(task: Mapping[str, Any]) -> str:
    if task["invalid"]:
        return f"parked: {task['invalid']}"
    if not task["enabled"]:
        return "disabled"
    if task["pause"]:
        until = task["pause"]["until"]
        return "paused" + (f" until {until}" if until else "")
    return ""


@verb(tasks, "show", examples=['cronhop tasks show "nightly dump"'])
def show(context: typer.Context, task: TaskName) -> None:
    """Show a task: what it is as YAML, and how it stands."""
    here = session.of(context)
    found = names.task(here.api, task)
    if here.as_json:
        show_json(found)
        return
    show_yaml(from_api(found, names.server_names(here.api)))
    say("---")
    last = found["last_run"]
    show_yaml(
        {
            "task_id": found["task_id"],
            "next_run": found["next_run"],
            "last_run": f"{last['state']} ({last['run_id']})" if last else None,
            **{
                name: found[name]
                for name in ("pause", "invalid")
                if found[name] is not None
            },
            "version": found["version"],
            "created_by": found["created_by"],
            "updated_at": found["updated_at"],
        }
    )


@verb(
    tasks,
    "create",
    examples=[
        'cronhop tasks create "nightly dump" --server web-1 --cron "30 1 * * *" \\',
        '    --tz Europe/Berlin --command "pg_dump app > /var/backups/app.sql"',
        "cronhop tasks create -f task.yaml",
    ],
)
def create(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Unique in the stack.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="One task as YAML; - is stdin."),
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="For /bin/sh on the servers.")
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Where it runs; may be repeated."),
    ] = None,
    cron: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help="When it is due.")
    ] = None,
    tz: Annotated[
        str, typer.Option(metavar="ZONE", help="Whose clock --cron follows.")
    ] = "UTC",
    every: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Due at an interval.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Then it is ended.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A variable; may be repeated."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=CREDENTIAL",
            help="A variable whose value is a credential; may be repeated.",
        ),
    ] = None,
) -> None:
    """Make a task, of options or of a file. All that a task can be, a file can say."""
    here = session.of(context)
    if file is not None:
        if any((name, command, server, cron, every, timeout, env, secret)):
            raise Usage("a file says it all", hint="leave the rest out")
        form = read_task(file)
    else:
        form = _form(name, command, server, cron, tz, every)
        if timeout is not None:
            form["timeout_s"] = timeout
        form["spec"] |= {"environment": pairs(env or [], "--env")}
        form["spec"] |= {"secrets": pairs(secret or [], "--secret")}
    wanted = [one for _, one in servers_of(form)]
    ids = dict(zip(wanted, names.server_ids(here.api, wanted), strict=True))
    made = here.api.post("/v1/tasks", to_api(form, ids))
    _say(here, made, "Created")
    if not here.as_json:
        note(f"`cronhop run {shlex.quote(made['name'])} --follow` runs it now.")


def _form(
    name: str | None,
    command: str | None,
    server: list[str] | None,
    cron: str | None,
    tz: str,
    every: int | None,
) -> dict[str, Any]:
    if not (name and command and server):
        raise Usage(
            "a task needs a name, a --command and a --server, or a --file",
            hint="`cronhop tasks create --help` has examples",
        )
    if cron and every:
        raise Usage("--cron or --every, not both")
    schedule: dict[str, Any] | None = None
    if cron:
        schedule = {"cron": cron, "timezone": tz}
    elif every:
        schedule = {"every_s": every}
    return {
        "name": name,
        "spec": {"command": command},
        "targets": {"servers": server},
        "schedule": schedule,
    }


@verb(tasks, "edit", examples=['EDITOR=nano cronhop tasks edit "nightly dump"'])
def edit(context: typer.Context, task: TaskName, yes: Yes = False) -> None:
    """Change a task in your editor ($VISUAL, $EDITOR), after showing what changes."""
    here = session.of(context)
    found = names.task(here.api, task)
    if unknown := unknown_fields(found):
        raise Failure(
            f"the task has fields that this command line does not know:"
            f" {', '.join(unknown)}",
            hint="a newer cronhop-cli may know them",
        )
    before = yaml_text(from_api(found, names.server_names(here.api)))
    form = _edited(here, before)
    change = plan.of_one(here.api, form, found)
    if change.action == plan.NONE:
        note("Nothing is changed.")
        changed = found
    else:
        for line in plan.lines(change):
            console(error=True).print(line, soft_wrap=True)
        confirm("Do that?", yes=yes)
        path_of = f"/v1/tasks/{found['task_id']}"
        changed = here.api.put(path_of, change.body, f'"{found["version"]}"')
    if here.as_json:
        show_json(changed)
    elif change.action != plan.NONE:
        say(f"Changed {changed['name']}.")


def _edited(here: Session, text: str) -> Task:
    """Return the task that somebody made of a text, in an editor until it is one."""
    environ = here.environ
    editor = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "vi")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "task.yaml"
        path.write_text(text, "utf-8")
        while True:
            try:
                # What the user has named to edit files.
                subprocess.run([*editor, path], check=True)  # noqa: S603
            except (OSError, subprocess.CalledProcessError) as exc:
                raise Failure(f"the editor failed: {exc}", hint="set EDITOR") from exc
            try:
                return read_task(path)
            except Failure as failure:
                if not sys.stdin.isatty():
                    raise
                show_failure(failure)
                confirm("Edit it again?", yes=False)


@verb(tasks, "delete", examples=['cronhop tasks delete "nightly dump"'])
def delete(context: typer.Context, task: TaskName, yes: Yes = False) -> None:
    """Delete a task. Its runs stay on record."""
    here = session.of(context)
    found = names.task(here.api, task)
    confirm(f"Delete the task {found['name']!r}?", yes=yes)
    here.api.delete(f"/v1/tasks/{found['task_id']}")
    _say(here, found, "Deleted")


@verb(tasks, "enable")
def enable(context: typer.Context, task: TaskName) -> None:
    """Follow its schedule from now on."""
    _patch(session.of(context), task, {"enabled": True}, "Enabled")


@verb(tasks, "disable")
def disable(context: typer.Context, task: TaskName) -> None:
    """Follow its schedule no more. It can still be run by hand."""
    _patch(session.of(context), task, {"enabled": False}, "Disabled")


def _patch(here: Session, task: str, patch: Mapping[str, Any], done: str) -> None:
    found = names.task(here.api, task)
    _say(here, here.api.patch(f"/v1/tasks/{found['task_id']}", patch), done)


@verb(
    tasks,
    "pause",
    examples=[
        'cronhop tasks pause dump --until 2026-06-01T09:00:00Z --reason "a move"'
    ],
)
def pause(
    context: typer.Context,
    task: TaskName,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; else until resume.")
    ] = None,
    reason: Annotated[str, typer.Option(help="For those who ask why.")] = "",
) -> None:
    """Hold back its slots. Each of them is a run that is skipped, with the reason."""
    here = session.of(context)
    found = names.task(here.api, task)
    body = {"until": until, "reason": reason}
    _say(here, here.api.post(f"/v1/tasks/{found['task_id']}/pause", body), "Paused")


@verb(tasks, "resume")
def resume(context: typer.Context, task: TaskName) -> None:
    """Hold back its slots no more."""
    here = session.of(context)
    found = names.task(here.api, task)
    _say(here, here.api.post(f"/v1/tasks/{found['task_id']}/resume"), "Resumed")


@verb(
    tasks,
    "backfill",
    examples=[
        "cronhop tasks backfill dump --from 2026-06-01T00:00:00Z --to 2026-06-02T00:00:00Z",
    ],
)
def backfill(
    context: typer.Context,
    task: TaskName,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="RFC 3339.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="RFC 3339.")],
    again: Annotated[
        bool, typer.Option("--again", help="Also slots that are completed.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Run them, not only show them.")
    ] = False,
) -> None:
    """Show the slots of the past that were not completed; with --yes run them."""
    here = session.of(context)
    found = names.task(here.api, task)
    body = {"from": start, "to": end, "again": again, "dry_run": not yes}
    answer = here.api.post(f"/v1/tasks/{found['task_id']}/backfill", body)
    if here.as_json:
        show_json(answer)
        return
    rows = [(one["at"], one["before"], one["run_id"]) for one in answer["slots"]]
    show_table(["SLOT", "BEFORE", "RUN"], rows)
    note("Started." if yes else "Nothing was started; --yes runs them.")


def _say(here: Session, task: Mapping[str, Any], done: str) -> None:
    if here.as_json:
        show_json(task)
    else:
        say(f"{done} {task['name']}.")
