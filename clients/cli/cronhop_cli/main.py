"""The program `cronhop`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import __version__, audit, code, login, runs, schedule, stats
from .command import AsJson, NamedProfile, remember
from .credentials import credentials
from .crontab import imports
from .notifications import channels, rules
from .servers import servers
from .tasks import tasks
from .templates import templates

app = typer.Typer(
    name="cronhop",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"cronhop {__version__}\n")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done, 1 an error, 2 asked for wrongly, 3 not logged in;"
    " `cronhop run --help` says those of a run that is followed."
)
def options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    as_json: AsJson = False,
    profile: NamedProfile = None,
) -> None:
    """Cron for a fleet, without a scheduler host.

    Begin with `cronhop login --url …`, then `cronhop tasks list`.
    """
    remember(context, as_json, profile)


login.add_to(app)
app.add_typer(credentials)
app.add_typer(servers)
app.add_typer(tasks)
app.add_typer(templates)
runs.add_to(app)
schedule.add_to(app)
stats.add_to(app)
code.add_to(app)
app.add_typer(imports)
app.add_typer(channels)
app.add_typer(rules)
audit.add_to(app)


def main() -> None:
    """Run the program."""
    app()


if __name__ == "__main__":
    main()
