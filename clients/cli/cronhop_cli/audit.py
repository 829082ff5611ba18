"""audit: who did what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from . import names, session
from .api import Api
from .command import verb
from .find import From, Limit, To
from .terminal import note, show_json, show_table

_ASIDE = frozenset({"version", "updated_at"})  # they change with everything
_NAMED: Mapping[str, Callable[[Api, str], dict[str, Any]]] = {
    "task": names.task,
    "server": names.server,
    "template": names.template,
}


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    verb(
        app,
        "audit",
        examples=[
            "cronhop audit --actor ada --from 2026-06-01T00:00:00Z",
            'cronhop audit --entity "task#nightly dump"',
            "cronhop audit --entity credential#db-pass --json",
        ],
    )(audit)


def audit(
    context: typer.Context,
    entity: Annotated[
        str | None,
        typer.Option(
            metavar="KIND#NAME",
            help="Of this: task, server, template (by name or id), credential, run, …",
        ),
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="WHO", help="By this user.")
    ] = None,
    start: From = None,
    end: To = None,
    limit: Limit = 50,
) -> None:
    """List who did what, newest first. Changes, runs by hand, refusals.

    With --json each record has what was before and after.
    """
    here = session.of(context)
    wanted = {
        "entity": _entity(here.api, entity) if entity else None,
        "actor": actor,
        "from": start,
        "to": end,
    }
    items = list(here.api.items("/v1/audit", limit, **wanted))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There is nothing like that.")
        return
    rows = [
        (
            one["at"],
            one["actor"],
            one["status"],
            one["request"],
            (one["after"] or one["before"] or {}).get("name"),
            _what(one),
        )
        for one in items
    ]
    show_table(["AT", "WHO", "STATUS", "REQUEST", "NAME", "WHAT"], rows)


def _entity(api: Api, text: str) -> str:
    """Return an entity as the audit names it: tasks and servers by their ids."""
    kind, sign, name = text.partition("#")
    if not sign or kind not in _NAMED or names.is_id(name):
        return text
    return f"{kind}#{_NAMED[kind](api, name)[f'{kind}_id']}"


def _what(record: Mapping[str, Any]) -> str:
    """Return which fields were changed, or why somebody was refused."""
    before, after = record["before"], record["after"]
    if after and "refused" in after:
        return str(after["refused"])
    if not (before and after):
        return ""
    changed = [
        name for name in after if name not in _ASIDE and after[name] != before.get(name)
    ]
    return ", ".join(changed)
