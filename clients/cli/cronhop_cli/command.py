"""What all commands have in common: options, examples, and how they fail."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from . import session
from .errors import Failure, Usage
from .terminal import console, show_failure

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

Environment = Annotated[
    str | None, typer.Option(metavar="WORD", help="Where it belongs, such as prod.")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the API's JSON, one document, and nothing else.",
    ),
]
NamedProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="The stack to talk to; else CRONHOP_PROFILE, else the current one.",
    ),
]


def remember(context: typer.Context, as_json: bool, profile: str | None) -> None:
    """Let the session know of the options that stand before or after a command."""
    here = session.of(context)
    here.as_json = here.as_json or as_json
    here.named_profile = profile or here.named_profile


def _common(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of all commands, and their way to fail.

    What went wrong is told on stderr, and becomes the exit code.
    """

    @functools.wraps(function)
    def command(
        context: typer.Context, as_json: bool, profile: str | None, **given: Any
    ) -> None:
        remember(context, as_json, profile)
        try:
            function(context, **given)
        except Failure as failure:
            show_failure(failure)
            raise typer.Exit(failure.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    parameters = [
        *inspect.signature(function, eval_str=True).parameters.values(),
        _option("as_json", AsJson, default=False),
        _option("profile", NamedProfile, default=None),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _option(name: str, annotation: object, *, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def noun(name: str, summary: str) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(
        name=name, help=summary, no_args_is_help=True, rich_markup_mode=None
    )


def verb(
    group: typer.Typer,
    name: str,
    *,
    examples: Sequence[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of the group; its docstring is the help."""
    # \b keeps the lines of a paragraph as they are.
    lines = ["\b", "Examples:", *(f"  {line}" for line in examples)]
    epilog = "\n".join(lines) if examples else None

    def add(function: Callable[..., None]) -> Callable[..., None]:
        group.command(name, epilog=epilog)(_common(function))
        return function

    return add


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is done. Raises Usage where nobody can answer."""
    if yes:
        return
    if not console(error=True).is_terminal or not sys.stdin.isatty():
        raise Usage("nobody is there to answer", hint="add --yes")
    if not typer.confirm(question, err=True):
        raise Failure("nothing was done")


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Return what `KEY=VALUE` options say. Raises Usage."""
    found = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise Usage(f"{option} {text!r} is not KEY=VALUE")
        found[key] = value
    return found
