"""export, plan, apply, schema: tasks and templates as code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import names, plan, session
from .command import Yes, confirm, verb
from .errors import Failure
from .session import Session
from .task_file import counted, read_all
from .task_form import Entity, Task, from_api, schema, unknown_fields
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
            "cronhop export --template deploy",
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
        typer.Argument(
            metavar="TASK", help="Names or ids; else all tasks and templates."
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A template; may be repeated."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there instead of to stdout."),
    ] = None,
) -> None:
    """Write tasks and templates as YAML that `cronhop apply` takes.

    Servers stand by name, what is as by default is left out. With --json it is the
    same document as JSON.
    """
    here = session.of(context)
    if task or template:
        tasks = [names.task(here.api, one) for one in task or []]
        templates = [names.template(here.api, one) for one in template or []]
    else:
        tasks, templates = _all(here, Entity.TASK), _all(here, Entity.TEMPLATE)
    known = names.server_names(here.api)
    document: dict[str, Any] = {"version": VERSION}
    if templates:
        document["templates"] = [_form(one, known) for one in templates]
    if tasks or not templates:
        document["tasks"] = [_form(one, known) for one in tasks]
    if file is None and here.as_json:
        show_json(document)
    elif file is None:
        show_yaml(document)
    else:
        try:
            file.write_text(yaml_text(document), "utf-8")
        except OSError as exc:
            raise Failure(f"{file} cannot be written: {exc}") from exc
        entities = [Entity.TASK] * len(tasks) + [Entity.TEMPLATE] * len(templates)
        note(f"{file} has {counted(entities)}.")


def _all(here: Session, entity: Entity) -> list[dict[str, Any]]:
    return sorted(
        here.api.items(f"/v1/{entity.plural}"), key=lambda one: str(one["name"])
    )


def _form(found: dict[str, Any], server_names: dict[str, str]) -> Task:
    if unknown := unknown_fields(found):
        note(
            f"warning: {found['name']}: left out, this command line does not know"
            f" it: {', '.join(unknown)}"
        )
    return from_api(found, server_names)


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

    The API is asked whether it would do what you may do. Tasks and templates are known
    by their names. What is not in the file is left alone.
    """
    here = session.of(context)
    made = plan.make(here.api, read_all(file), to_apply=False)
    _show(here, made)
    if detailed_exitcode and made.to_do:
        raise typer.Exit(CHANGES)


def apply(context: typer.Context, file: File, yes: Yes = False) -> None:
    """Do what a file says, after showing the plan.

    What is not in the file is left alone; applied again, it changes nothing. What
    somebody changes meanwhile is not written over. Tasks that were made of a template
    stay as they are when it changes.
    """
    here = session.of(context)
    made = plan.make(here.api, read_all(file), to_apply=True)
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
        failure.message = f"{at_fault.label}: {failure.message}"
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
    """Print the JSON Schema of files of tasks and templates."""
    session.of(context)
    show_json(schema())
