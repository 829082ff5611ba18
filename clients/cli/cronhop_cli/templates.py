"""templates: tasks that are never due, of which tasks are made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import names, session
from .command import Yes, confirm, noun, verb
from .editor import edit_task
from .errors import Usage
from .parameters import Params, typed
from .session import Session
from .task_file import read_one, read_some
from .task_form import Entity, Task, from_api
from .tasks import body_of, schedule_of
from .terminal import note, say, show_json, show_table, show_yaml

templates = noun("templates", "What tasks are made of, again and again.")

TemplateName = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="Its name or id.")
]


@verb(templates, "list")
def listing(context: typer.Context) -> None:
    """List all templates, oldest first."""
    here = session.of(context)
    items = list(here.api.items("/v1/templates"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop templates create --help`.")
        return
    rows = [
        (
            one["name"],
            one["kind"],
            ", ".join(parameter["name"] for parameter in one["parameters"]),
            one["version"],
            one["updated_at"],
        )
        for one in items
    ]
    show_table(["TEMPLATE", "KIND", "PARAMETERS", "VERSION", "UPDATED"], rows)


@verb(templates, "show", examples=["cronhop templates show deploy"])
def show(context: typer.Context, template: TemplateName) -> None:
    """Show a template: what it is as YAML, and which version it is."""
    here = session.of(context)
    found = names.template(here.api, template)
    if here.as_json:
        show_json(found)
        return
    show_yaml(from_api(found, names.server_names(here.api)))
    say("---")
    aside = ("template_id", "version", "created_by", "updated_at")
    show_yaml({name: found[name] for name in aside})


@verb(templates, "create", examples=["cronhop templates create -f deploy.yaml"])
def create(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Option(
            "--file", "-f", metavar="FILE", help="YAML, as of one task; - is stdin."
        ),
    ],
) -> None:
    """Make a template of a file. It says what a task's file would."""
    here = session.of(context)
    form = read_one(file, Entity.TEMPLATE)
    made = here.api.post("/v1/templates", body_of(here, form))
    if here.as_json:
        show_json(made)
        return
    say(f"Created {made['name']}.")
    note(f"`cronhop templates instantiate {shlex.quote(made['name'])} NAME` uses it.")


@verb(templates, "edit", examples=["cronhop templates edit deploy"])
def edit(context: typer.Context, template: TemplateName, yes: Yes = False) -> None:
    """Change a template in your editor ($VISUAL, $EDITOR). Its tasks stay as they are."""
    here = session.of(context)
    found = names.template(here.api, template)
    edit_task(here, Entity.TEMPLATE, found, yes=yes)


@verb(templates, "delete", examples=["cronhop templates delete deploy"])
def delete(context: typer.Context, template: TemplateName, yes: Yes = False) -> None:
    """Delete a template. The tasks that were made of it stay."""
    here = session.of(context)
    found = names.template(here.api, template)
    confirm(f"Delete the template {found['name']!r}?", yes=yes)
    path = f"/v1/templates/{found['template_id']}"
    here.api.delete(path, f'"{found["version"]}"')
    if here.as_json:
        show_json(found)
    else:
        say(f"Deleted {found['name']}.")


@verb(templates, "tasks", examples=["cronhop templates tasks deploy"])
def made_of_it(context: typer.Context, template: TemplateName) -> None:
    """List the tasks made of a template, and which are behind.

    Behind are those of an older version of it.
    """
    here = session.of(context)
    found = names.template(here.api, template)
    items = list(here.api.items(f"/v1/templates/{found['template_id']}/tasks"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop templates instantiate --help`.")
        return
    rows = [
        (one["name"], one["template_version"], "behind" if one["behind"] else "")
        for one in items
    ]
    show_table(["TASK", "VERSION", ""], rows)


@verb(
    templates,
    "instantiate",
    examples=[
        'cronhop templates instantiate deploy "deploy shop" --param WHERE=web-2',
        'cronhop templates instantiate dump "dump shop" --cron "30 1 * * *" \\',
        "    --tz Europe/Berlin --server shop-1",
        "cronhop templates instantiate deploy shop --param VERSION=v3 -f shop.yaml",
    ],
)
def instantiate(
    context: typer.Context,
    template: TemplateName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new task.")],
    param: Params = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Where, instead of the template's; may be repeated."
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help="When, instead of the template's."),
    ] = None,
    tz: Annotated[
        str, typer.Option(metavar="ZONE", help="Whose clock --cron follows.")
    ] = "UTC",
    every: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Due at an interval instead.")
    ] = None,
    no_schedule: Annotated[
        bool, typer.Option("--no-schedule", help="Due by hand only.")
    ] = False,
    timeout: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="How long it may take instead."),
    ] = None,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Its schedule is not followed yet.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Any fields of a task as YAML, instead of the template's; - is stdin.",
        ),
    ] = None,
) -> None:
    """Make a task of a template.

    The values that are given are its defaults. What the template says besides can be said otherwise, by options or by a file,
    each field as a whole; but not what the task does: its kind and spec.
    """
    here = session.of(context)
    schedule = schedule_of(cron, tz, every)
    if no_schedule and schedule:
        raise Usage("a schedule or --no-schedule, not both")
    found = names.template(here.api, template)
    body: dict[str, Any] = {"name": name}
    body["parameters"] = typed(here.api, found["parameters"], param or [])
    if server:
        body["targets"] = {"server_ids": names.server_ids(here.api, server)}
    if schedule or no_schedule:
        body["schedule"] = schedule
    if timeout is not None:
        body["timeout_s"] = timeout
    if disabled:
        body["enabled"] = False
    if file is not None:
        body |= _fields(here, file, body)
    made = here.api.post(f"/v1/templates/{found['template_id']}/tasks", body)
    if here.as_json:
        show_json(made)
        return
    say(f"Created {made['name']}.")
    note(f"`cronhop run {shlex.quote(made['name'])} --follow` runs it now.")


def _fields(here: Session, file: Path, said: Mapping[str, Any]) -> Task:
    """Return what a file says of the task. Raises Usage if that is said already."""
    form = read_some(file)
    if twice := [field for field in form if field in said]:
        raise Usage(
            f"{file} says what is said beside it: {', '.join(twice)}",
            hint="the name is NAME, values of parameters are given by --param",
        )
    return body_of(here, form) if "targets" in form else form
