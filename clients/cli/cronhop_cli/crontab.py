"""import crontab: the tasks that the lines of a crontab are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import names, session
from .command import Environment, noun, verb
from .errors import Failure
from .terminal import note, say, show_json, show_table

imports = noun("import", "Make tasks of what is elsewhere.")


@verb(
    imports,
    "crontab",
    examples=[
        "crontab -l | cronhop import crontab - --server web-1 --tz Europe/Berlin",
        "cronhop import crontab /etc/cron.d/backup --system --server web-1 --yes",
    ],
)
def crontab(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A crontab; - is stdin.")
    ],
    server: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Where its tasks run; may be repeated."),
    ],
    tz: Annotated[
        str,
        typer.Option(metavar="ZONE", help="Of lines without CRON_TZ: the host's."),
    ] = "UTC",
    system: Annotated[
        bool, typer.Option("--system", help="A user stands before each command.")
    ] = False,
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Put before the name of each task.")
    ] = "",
    environment: Environment = None,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Make them, but do not start them.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show them only; that is the default.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Make the tasks, all or none.")
    ] = False,
) -> None:
    """Show a crontab's lines as tasks; with --yes make them.

    Take the lines out of the crontab then, or import with --disabled: else both
    run them. Ends with 1 if a line cannot be a task.
    """
    here = session.of(context)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise Failure(f"{file} cannot be read: {exc}") from exc
    make = yes and not dry_run
    body = {
        "text": text,
        "server_ids": names.server_ids(here.api, server),
        "system": system,
        "timezone": tz,
        "name_prefix": prefix,
        "environment": environment,
        "enabled": not disabled,
        "dry_run": not make,
    }
    found = here.api.post("/v1/import/crontab", body)
    if here.as_json:
        show_json(found)
    else:
        _show(found)
    if any(one["reason"] for one in found["tasks"]):
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    rows = [
        (
            one["line"],
            one["task"]["schedule"]["cron"] if one["task"] else "",
            one["task"]["name"] if one["task"] else one["text"],
            "; ".join([*([one["reason"]] if one["reason"] else []), *one["notes"]]),
        )
        for one in found["tasks"]
    ]
    show_table(["LINE", "CRON", "TASK", ""], rows)
    refused = sum(one["reason"] is not None for one in found["tasks"])
    made = len(found["tasks"]) - refused
    if not found["dry_run"]:
        say(f"{made} tasks were made. Take their lines out of the crontab.")
    elif refused:
        note(f"{refused} of its lines cannot be tasks: repair or remove them first.")
    else:
        note(f"Nothing was made; --yes makes {made} tasks of it.")
