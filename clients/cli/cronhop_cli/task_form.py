"""A task or template as a file has it, and as the API has it.

In a file servers stand by name, and what is as the schema's default is left out;
what cronhop sets (ids, times, `next_run`) is in no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

SET_BY_CRONHOP = frozenset(
    {
        "task_id",
        "template_id",
        "next_run",
        "last_run",
        "pause",
        "invalid",
        "template",
        "version",
        "created_by",
        "created_at",
        "updated_at",
        "deleted_at",
    }
)
LONGEST_INTERVAL_S = 3600  # between attempts, unless the task says else
_INSTANTS = ("anchor", "at", "starts_at", "ends_at")

Task = dict[str, Any]


class Entity(StrEnum):
    """What a file can say; both have the same fields. Templates come first."""

    TEMPLATE = "template"
    TASK = "task"

    @property
    def plural(self) -> str:
        """Its name in a file, and in paths of the API."""
        return f"{self}s"


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of files of tasks."""
    text = files(__package__).joinpath("tasks.schema.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def from_api(task: Mapping[str, Any], server_names: Mapping[str, str]) -> Task:
    """Return a task of the API as a file has it, in the schema's order."""
    form = {name: value for name, value in task.items() if name not in SET_BY_CRONHOP}
    targets = dict(form["targets"])
    ids = targets.pop("server_ids", None)
    if ids:
        targets = {"servers": ids, **targets}
    return lean(with_servers({**form, "targets": targets}, server_names))


def to_api(form: Mapping[str, Any], server_ids: Mapping[str, str]) -> Task:
    """Return the body that the API takes. `server_ids` are the ids by name."""
    body = with_servers(form, server_ids)
    targets = dict(body["targets"])
    named = targets.pop("servers", None)
    if named is not None:
        targets["server_ids"] = named
    return {**body, "targets": targets}


def servers_of(form: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return (field, server) of each server that a form names, by name or id."""
    for one in form["targets"].get("servers") or []:
        yield "targets.servers", one
    for parameter in form.get("parameters") or []:
        if (server := _server(parameter)) is not None:
            yield f"parameters.{parameter['name']}.default", server


def with_servers(form: Mapping[str, Any], others: Mapping[str, str]) -> Task:
    """Return a form with other words for its servers, where there are others."""
    changed = dict(form)
    targets = dict(form["targets"])
    if targets.get("servers"):
        targets["servers"] = [others.get(one, one) for one in targets["servers"]]
    changed["targets"] = targets
    if form.get("parameters"):
        changed["parameters"] = [
            one
            if (server := _server(one)) is None
            else {**one, "default": others.get(server, server)}
            for one in form["parameters"]
        ]
    return changed


def _server(parameter: Mapping[str, Any]) -> str | None:
    """Return the server that a parameter is by default, if it is one."""
    default = parameter.get("default")
    is_server = parameter["type"] == "server" and isinstance(default, str)
    return default if is_server else None


def lean(form: Mapping[str, Any]) -> Task:
    """Return a task without what is as it would be anyway, written in one way.

    Two tasks that mean the same are equal then.
    """
    task = _written_alike(json.loads(json.dumps(form)))
    kept: Task = _lean(task, _object("task", task))
    return kept


def whole(form: Mapping[str, Any]) -> Task:
    """Return a lean task with all defaults filled in, but for those in lists."""
    filled: Task = _whole(form, _object("task", form))
    return filled


def unknown_fields(task: Mapping[str, Any]) -> list[str]:
    """Return which fields the API's task has that the schema does not know.

    Those that say nothing (null, empty, false) do not count.
    """
    form = {name: value for name, value in task.items() if name not in SET_BY_CRONHOP}
    targets = dict(form["targets"])
    targets.pop("server_ids", None)
    form["targets"] = targets
    return list(_unknown(form, _object("task", form), ""))


def properties(name: str) -> dict[str, Any]:
    """Return the schema of each field of one of the schema's objects."""
    found: dict[str, Any] = schema()["$defs"][name]["properties"]
    return found


def _object(name: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a task, with the spec of its kind."""
    fields = dict(properties(name))
    kind = form.get("kind", "script")
    if kind in schema()["$defs"]:
        fields["spec"] = {"$ref": f"#/$defs/{kind}"}
    return fields


def _fields(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of the object that a part of the schema stands for."""
    for one in (part, *part.get("anyOf", [])):
        name = str(one.get("$ref", "")).removeprefix("#/$defs/")
        if name and "properties" in schema()["$defs"][name]:
            return properties(name)
    return None


def _item_fields(part: Mapping[str, Any], value: object) -> dict[str, Any] | None:
    """Return the fields of the objects in a list, None if it is no list of them."""
    return _fields(part.get("items", {})) if isinstance(value, list) else None


def _lean(value: Mapping[str, Any], fields: Mapping[str, Any]) -> Task:
    kept = {}
    for name, part in fields.items():
        if name not in value:
            continue
        one, inner = value[name], _fields(part)
        if inner is not None and isinstance(one, dict):
            one = _lean(one, inner)
        elif (items := _item_fields(part, one)) is not None:
            one = [
                _lean(item, items) if isinstance(item, dict) else item for item in one
            ]
        if "default" not in part or one != part["default"]:
            kept[name] = one
    return kept


def _whole(value: Mapping[str, Any], fields: Mapping[str, Any]) -> Task:
    filled = {}
    for name, part in fields.items():
        if name not in value and "default" not in part:
            continue
        one = value.get(name, part.get("default"))
        inner = _fields(part)
        if inner is not None and isinstance(one, dict):
            one = _whole(one, inner)
        filled[name] = one
    return filled


def _unknown(
    value: Mapping[str, Any], fields: Mapping[str, Any], path: str
) -> Iterator[str]:
    for name, one in value.items():
        if name not in fields:
            if one:
                yield path + name
            continue
        inner = _fields(fields[name])
        if inner is not None and isinstance(one, dict):
            yield from _unknown(one, inner, f"{path}{name}.")
        elif (items := _item_fields(fields[name], one)) is not None:
            for number, item in enumerate(one):
                if isinstance(item, dict):
                    yield from _unknown(item, items, f"{path}{name}.{number}.")


def _written_alike(task: Task) -> Task:
    """Write what can be written in several ways as the API does."""
    retry = task.get("retry")
    if retry:
        longest = max(retry.get("interval_s", 0), LONGEST_INTERVAL_S)
        if retry.get("max_interval_s") == longest:
            del retry["max_interval_s"]
        if "on" in retry:
            retry["on"] = list(dict.fromkeys(retry["on"]))
            if set(retry["on"]) == {"failed", "timeout"}:
                del retry["on"]
        if "exit_codes" in retry:
            retry["exit_codes"] = sorted(set(retry["exit_codes"]))
    schedule = task.get("schedule")
    if schedule:
        for name in _INSTANTS:
            if schedule.get(name):
                schedule[name] = _utc(schedule[name])
        if "exclude_calendars" in schedule:
            calendars = schedule["exclude_calendars"]
            schedule["exclude_calendars"] = list(dict.fromkeys(calendars))
    return task


def _utc(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return text  # the API will say what is wrong with it
    return moment.isoformat().replace("+00:00", "Z")
