"""export, plan, apply, schema: tasks as code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import names, plan, session
from .command import Yes, confirm, verb
from .errors import Failure
from .session import Session
from .task_file import read_tasks
from .task_form import from_api, schema, unknown_fields
from .terminal import note, say, show_json, show_yaml, yaml_text

VERSION = 1  # of the format
CHANGES = 2  # the exit code of a plan with changes, where that is asked for

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A YAML file, or a folder of them.")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    verb(
        app,
        "export",
        examples=[
            "cronhop export > tasks.yaml",
            'cronhop export "nightly dump" --file dump.yaml',
        ],
    )(export)
    verb(
        app,
        "plan",
        examples=["cronhop plan tasks.yaml", "cronhop plan tasks/ --detailed-exitcode"],
    )(show_plan)
    verb(
        app,
        "apply",
        examples=["cronhop apply tasks.yaml", "cronhop apply tasks/ --yes"],
    )(apply)
    verb(app, "schema", examples=["cronhop schema > tasks.schema.json"])(show_schema)


def export(
    context: typer.Context,
    task: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK]...", help="Names or ids; else all tasks."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Write it there instead of to stdout.")
    ] = None,
) -> None:
    """Write tasks as YAML that `cronhop apply` takes.

    Servers stand by name, what is as by default is left out. With --json it is the
    same document as JSON.
    """
    here = session.of(context)
    found = (
        [names.task(here.api, one) for one in task]
        if task
        else sorted(here.api.items("/v1/tasks"), key=lambda one: str(one["name"]))
    )
    known = names.server_names(here.api)
    for one in found:
        if unknown := unknown_fields(one):
            note(
                f"warning: {one['name']}: left out, this command line does not know"
                f" it: {', '.join(unknown)}"
            )
    tasks = [from_api(one, known) for one in found]
    document = {"version": VERSION, "tasks": tasks}
    if file is None and here.as_json:
        show_json(document)
    elif file is None:
        show_yaml(document)
    else:
        try:
            file.write_text(yaml_text(document), "utf-8")
        except OSError as exc:
            raise Failure(f"{file} cannot be written: {exc}") from exc
        note(f"{len(tasks)} tasks in {file}.")


def show_plan(
    context: typer.Context,
    file: File,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode", help="End with 2 if there is anything to do."
        ),
    ] = False,
) -> None:
    """Show what applying a file would change, field by field. Nothing is changed.

    Tasks are known by their names. What is not in the file is left alone.
    """
    here = session.of(context)
    made = plan.make(here.api, read_tasks(file))
    _show(here, made)
    if detailed_exitcode and made.to_do:
        raise typer.Exit(CHANGES)


def apply(context: typer.Context, file: File, yes: Yes = False) -> None:
    """Make the tasks as a file says, after showing the plan.

    What is not in the file is left alone; applied again, it changes nothing. A
    task that somebody changes meanwhile is not written over.
    """
    here = session.of(context)
    made = plan.make(here.api, read_tasks(file))
    if not here.as_json:
        plan.show(made)
    if made.to_do:
        confirm("Do that?", yes=yes)
        _apply(here, made)
    if here.as_json:
        show_json(made.to_dict())
    elif made.to_do:
        say(f"Done: {len(made.to_do)} of {len(made.to_do)}.")


def _apply(here: Session, made: plan.Plan) -> None:
    done: list[str] = []
    try:
        plan.apply(here.api, made, done=done)
    except Failure as failure:
        at_fault = made.to_do[len(done)]
        failure.message = f"{at_fault.name}: {failure.message}"
        failure.details = (
            *failure.details,
            f"done before that: {', '.join(done) or 'nothing'}",
        )
        failure.hint = "apply it again when that is repaired: what is done stays"
        raise


def _show(here: Session, made: plan.Plan) -> None:
    if here.as_json:
        show_json(made.to_dict())
    else:
        plan.show(made)


def show_schema(context: typer.Context) -> None:
    """Print the JSON Schema of files of tasks."""
    session.of(context)
    show_json(schema())
