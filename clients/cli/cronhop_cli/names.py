"""What the user calls things by: a name or an id, and the thing it means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from .api import Api
from .errors import Failure

_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)  # a ULID
_SHOWN = 3  # names that come near


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def task(api: Api, wanted: str) -> dict[str, Any]:
    """Return the task of this id or name. Raises Failure, with names that are near."""
    return _found(api, "tasks", "task", wanted)


def server(api: Api, wanted: str) -> dict[str, Any]:
    """Return the server of this id or name. Raises Failure likewise."""
    return _found(api, "servers", "server", wanted)


def template(api: Api, wanted: str) -> dict[str, Any]:
    """Return the template of this id or name. Raises Failure likewise."""
    return _found(api, "templates", "template", wanted)


def of_id(api: Api, plural: str, wanted: str) -> str:
    """Return the name of what has this id, or else the id and why it has no name.

    The API answers alike for what is gone and for what the caller may not see.
    """
    found = api.find(f"/v1/{plural}/{wanted}")
    return str(found["name"]) if found else f"{wanted} (deleted, or not yours to see)"


def server_names(api: Api) -> dict[str, str]:
    """Return the names of all servers by id."""
    return {one["server_id"]: one["name"] for one in api.items("/v1/servers")}


def server_ids(api: Api, wanted: Iterable[str]) -> list[str]:
    """Return the ids of servers that are named, each by name or id."""
    ids = {name: server_id for server_id, name in server_names(api).items()}
    found = []
    for name in wanted:
        if name not in ids and name not in ids.values():
            raise unknown("server", name, ids)
        found.append(ids.get(name, name))
    return found


def unknown(noun: str, wanted: str, names: Iterable[str]) -> Failure:
    """Return what is told of a name that nothing bears."""
    return Failure(
        f"there is no {noun} {wanted!r}",
        hint=near(wanted, names) or f"`cronhop {noun}s list` shows them",
    )


def near(wanted: str, names: Iterable[str]) -> str | None:
    """Return a hint with the names that are like the one wanted, if any are."""
    known = list(names)
    folded = wanted.casefold()
    found = [name for name in known if folded in name.casefold()][:_SHOWN]
    found = found or difflib.get_close_matches(wanted, known, n=_SHOWN)
    return f"did you mean {', '.join(map(repr, found))}?" if found else None


def _found(api: Api, plural: str, noun: str, wanted: str) -> dict[str, Any]:
    if is_id(wanted):
        found = api.find(f"/v1/{plural}/{wanted}")
        if found:
            return found
    names = []
    for item in api.items(f"/v1/{plural}"):
        if item["name"] == wanted:
            return item
        names.append(item["name"])
    raise unknown(noun, wanted, names)
