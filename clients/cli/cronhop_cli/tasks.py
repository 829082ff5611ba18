"""tasks: what to do, where and when."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import names, session
from .command import Environment, Yes, confirm, noun, pairs, verb
from .editor import edit_task
from .errors import Failure, Usage
from .find import CreatedBy, Newest, order
from .session import Session
from .task_file import read_one
from .task_form import Entity, Task, from_api, servers_of, to_api
from .terminal import moment, note, say, show_json, show_table, show_yaml

tasks = noun("tasks", "What to do, where and when.")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="Its name or id.")]


@verb(
    tasks,
    "list",
    examples=[
        "cronhop tasks list --status paused",
        "cronhop tasks list --tag team=web --due-before 2026-06-01T09:00:00Z",
    ],
)
def listing(
    context: typer.Context,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS", help="enabled, paused, disabled, invalid or deleted."
        ),
    ] = None,
    created_by: CreatedBy = None,
    server: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose targets name this server.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="KEY[=VALUE]", help="With this tag.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="script, file_transfer or service_control."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Whose name begins with it.")
    ] = None,
    due_before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="That are due by then; RFC 3339."),
    ] = None,
    newest: Newest = None,
) -> None:
    """List tasks, oldest first. Of several options all have to hold."""
    here = session.of(context)
    wanted = {
        "status": status,
        "created_by": created_by,
        "server_id": names.server(here.api, server)["server_id"] if server else None,
        # In the API a colon stands there.
        "tag": tag.replace("=", ":", 1) if tag else None,
        "kind": kind,
        "name": name,
        "due_before": due_before,
    }
    items = list(here.api.items("/v1/tasks", None, **wanted, order=order(newest)))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        asked = any(value is not None for value in wanted.values())
        note(
            "There are none like that."
            if asked
            else "There are none yet: `cronhop tasks create --help`."
        )
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
    if task["deleted_at"]:
        return f"deleted {moment(task['deleted_at'])}"
    if task["invalid"]:
        return f"parked: {task['invalid']}"
    if not task["enabled"]:
        return "disabled"
    if task["pause"]:
        until = task["pause"]["until"]
        return "paused" + (f" until {moment(until)}" if until else "")
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
    made_of = found["template"]
    show_yaml(
        {
            "task_id": found["task_id"],
            **({"template": _template(here, made_of)} if made_of else {}),
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


def _template(here: Session, origin: Mapping[str, Any]) -> str:
    name = names.of_id(here.api, "templates", origin["template_id"])
    return f"{name}, version {origin['version']}"


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
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Unique in the stack.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="One task as YAML; - is stdin."
        ),
    ] = None,
    command: Annotated[
        str | None, typer.Option(metavar="TEXT", help="For /bin/sh on the servers.")
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
    environment: Environment = None,
    timeout: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="How long it may take.")
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
        beside = (name, command, server, cron, every, timeout, env, secret)
        if any((*beside, environment)):
            raise Usage("a file says it all", hint="leave the rest out")
        form = read_one(file, Entity.TASK)
    else:
        form = _form(name, command, server, cron, tz, every)
        form["environment"] = environment
        if timeout is not None:
            form["timeout_s"] = timeout
        form["spec"] |= {"environment": pairs(env or [], "--env")}
        form["spec"] |= {"secrets": pairs(secret or [], "--secret")}
    made = here.api.post("/v1/tasks", body_of(here, form))
    _say(here, made, "Created")
    if not here.as_json:
        note(f"`cronhop run {shlex.quote(made['name'])} --follow` runs it now.")


def body_of(here: Session, form: Task) -> Task:
    """Return what the API takes of a form. Raises Failure if a server is not there."""
    wanted = [one for _, one in servers_of(form)]
    ids = dict(zip(wanted, names.server_ids(here.api, wanted), strict=True))
    return to_api(form, ids)


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
    return {
        "name": name,
        "spec": {"command": command},
        "targets": {"servers": server},
        "schedule": schedule_of(cron, tz, every),
    }


def schedule_of(cron: str | None, tz: str, every: int | None) -> dict[str, Any] | None:
    """Return the schedule that options say, None if they say none. Raises Usage."""
    if cron and every:
        raise Usage("--cron or --every, not both")
    if cron:
        return {"cron": cron, "timezone": tz}
    return {"every_s": every} if every else None


@verb(tasks, "edit", examples=['EDITOR=nano cronhop tasks edit "nightly dump"'])
def edit(context: typer.Context, task: TaskName, yes: Yes = False) -> None:
    """Change a task in your editor ($VISUAL, $EDITOR). What changes is shown first."""
    here = session.of(context)
    found = names.task(here.api, task)
    edit_task(here, Entity.TASK, found, yes=yes)


@verb(tasks, "delete", examples=['cronhop tasks delete "nightly dump"'])
def delete(context: typer.Context, task: TaskName, yes: Yes = False) -> None:
    """Delete a task. Its runs stay on record."""
    here = session.of(context)
    found = names.task(here.api, task)
    confirm(f"Delete the task {found['name']!r}?", yes=yes)
    path = f"/v1/tasks/{found['task_id']}"
    here.api.delete(path, f'"{found["version"]}"')
    _say(here, found, "Deleted")


@verb(
    tasks,
    "restore",
    examples=[
        "cronhop tasks list --status deleted",
        'cronhop tasks restore "nightly dump"',
    ],
)
def restore(context: typer.Context, task: TaskName) -> None:
    """Bring a deleted task back. Its schedule goes on from now."""
    here = session.of(context)
    task_id = task if names.is_id(task) else _deleted(here, task)["task_id"]
    _say(here, here.api.post(f"/v1/tasks/{task_id}/restore"), "Restored")


def _deleted(here: Session, wanted: str) -> dict[str, Any]:
    """Return the deleted task of this name. Raises Failure if several had it."""
    there = list(here.api.items("/v1/tasks", status="deleted"))
    found = [one for one in there if one["name"] == wanted]
    if len(found) > 1:
        raise Failure(
            f"{len(found)} deleted tasks had the name {wanted!r}",
            details=tuple(f"{one['task_id']}, {one['deleted_at']}" for one in found),
            hint="name one by its id",
        )
    if not found:
        near = names.near(wanted, (one["name"] for one in there))
        raise Failure(
            f"there is no deleted task {wanted!r}",
            hint=near or "`cronhop tasks list --status deleted` shows them",
        )
    return found[0]


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
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="For those who ask why.")
    ] = "",
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
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Slots from then; RFC 3339.")
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Slots until then; RFC 3339.")
    ],
    again: Annotated[
        bool, typer.Option("--again", help="Also slots that are completed.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Run them, not only show them.")
    ] = False,
) -> None:
    """Show past slots that were not completed; with --yes run them."""
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
