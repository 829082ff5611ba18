"""What lists are asked for: options that several of them have."""

from __future__ import annotations

from typing import Annotated

import typer

CreatedBy = Annotated[
    str | None, typer.Option(metavar="WHO", help="Made by this user.")
]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Not earlier; RFC 3339.")
]
To = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Not later; RFC 3339.")
]
States = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="In this state; may be repeated."),
]
Newest = Annotated[
    bool | None, typer.Option("--newest/--oldest", help="Which come first.")
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="How many.")]


def order(newest: bool | None) -> str | None:
    """Return the order as the API has it, None if it is the list's own."""
    return None if newest is None else "newest" if newest else "oldest"


def states(given: list[str] | None) -> str | None:
    """Return states as the API has them, None for any."""
    return ",".join(given) if given else None
