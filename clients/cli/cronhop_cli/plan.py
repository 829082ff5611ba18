"""What a file of tasks and templates would change, and changing it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from .api import Api
from .errors import Failure, Refused
from .names import near, server_names
from .task_file import Written, counted
from .task_form import (
    Entity,
    Task,
    from_api,
    lean,
    servers_of,
    to_api,
    unknown_fields,
    whole,
    with_servers,
)
from .terminal import console, note, visible

PARAMETERS = "parameters"  # a list whose items are told by their names
CREATE, CHANGE, NONE = "create", "change", "none"
TASKS_WRITE = "tasks.write"  # the right to change tasks and templates
# Statuses; from 500 on it is the service that fails.
_FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 403, 429, 500
_STYLE = {CREATE: ("+", "green"), CHANGE: ("~", "yellow")}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field that is not as it will be."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of one thing.

    | field       | meaning                                                   |
    |-------------|-----------------------------------------------------------|
    | action      | CREATE, CHANGE or NONE                                    |
    | entity      | None of what is neither a task nor a template             |
    | body        | what is sent to the API                                   |
    | entity_id   | None if there is none yet, or it has none                 |
    | version     | that was seen: another one is not written over            |
    | differences | field by field; of a new task all that is not the default |
    """

    action: str
    entity: Entity | None
    name: str
    body: Task
    entity_id: str | None
    version: int | None
    differences: tuple[Difference, ...]

    @property
    def label(self) -> str:
        """What people are told of: a task by its name alone."""
        is_template = self.entity is Entity.TEMPLATE
        return f"template {self.name}" if is_template else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return it as a program reads it."""
        return {
            "action": self.action,
            "entity": self.entity,
            "name": self.name,
            f"{self.entity}_id": self.entity_id,
            "fields": [vars(one) for one in self.differences],
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of what a file says.

    | field      | meaning                                                         |
    |------------|-----------------------------------------------------------------|
    | changes    | in the file's order                                             |
    | left_alone | not in the file; templates only if the file has any             |
    | is_checked | whether the API would do all of it: of what the caller's role   |
    |            | does not allow it cannot be asked                               |
    """

    changes: tuple[Change, ...]
    left_alone: tuple[Entity, ...]
    is_checked: bool

    @property
    def to_do(self) -> tuple[Change, ...]:
        """What is not as it should be."""
        return tuple(one for one in self.changes if one.action != NONE)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a program reads it."""
        return {
            "changes": [one.to_dict() for one in self.changes],
            "left_alone": len(self.left_alone),
            "checked": self.is_checked,
        }


def make(api: Api, wanted: Sequence[Written], *, to_apply: bool) -> Plan:
    """Return what would have to be done. Raises Failure if it cannot be.

    The API is asked of each change whether it would do it, and does nothing. Unless it
    is `to_apply`, a change that the caller's role does not allow is part of the plan.
    """
    names = server_names(api)
    ids = {name: server_id for server_id, name in names.items()}
    present = {
        (entity, there["name"]): there
        for entity in {Entity.TASK, *(one.entity for one in wanted)}
        for there in api.items(f"/v1/{entity.plural}")
    }
    problems = [
        text for one in wanted for text in _unknown_servers(one.form, one.place_of, ids)
    ]
    changes = []
    for one in wanted:
        there = present.get((one.entity, one.form["name"]))
        change = _change(one.entity, one.form, there, names, ids)
        changes.append(change)
        unknown = unknown_fields(there) if there and change.action == CHANGE else []
        if unknown:
            problems.append(
                f"{one.place}: {change.label!r} has fields that this command line does"
                f" not know, and would take away: {', '.join(unknown)}"
            )
    if problems:
        raise Failure("this cannot be applied", details=tuple(problems))
    is_checked = _check(api, zip(wanted, changes, strict=True), to_apply=to_apply)
    left_alone = present.keys() - {(one.entity, one.form["name"]) for one in wanted}
    return Plan(
        changes=tuple(changes),
        left_alone=tuple(entity for entity, _ in left_alone),
        is_checked=is_checked,
    )


def of_one(api: Api, entity: Entity, form: Task, there: Task) -> Change:
    """Return what makes a task or template, whatever its name, into another."""
    names = server_names(api)
    ids = {name: server_id for server_id, name in names.items()}
    problems = _unknown_servers(form, lambda _: str(form["name"]), ids)
    if problems:
        raise Failure("this cannot be applied", details=tuple(problems))
    return _change(entity, form, there, names, ids)


def of_fields(name: str, before: Task, after: Task, version: int) -> Change:
    """Return what makes something that is no task into another."""
    found = tuple(_differences(before, after, ""))
    return Change(
        action=CHANGE if found else NONE,
        entity=None,
        name=name,
        body=after,
        entity_id=None,
        version=version,
        differences=found,
    )


def _check(
    api: Api, changes: Iterable[tuple[Written, Change]], *, to_apply: bool
) -> bool:
    """Return whether the API would make every change.

    It cannot be asked about those that the caller's role does not allow. Raises
    Failure with what it would not make, and where that stands; Refused where that says
    nothing of the change: the API is too busy, or fails.
    """
    if TASKS_WRITE not in api.get("/v1/me")["actions"]:
        return False
    is_checked, refusals = True, []
    for one, change in changes:
        try:
            if change.action != NONE:
                _send(api, change, dry_run="true")
        except Refused as refused:
            if refused.status >= _SERVER_ERROR or refused.status == _TOO_MANY:
                raise
            if refused.status == _FORBIDDEN and not to_apply:
                is_checked = False
                continue
            whole = f"{change.label}: {refused.message}"
            refusals += [
                f"{one.place_of(text.partition(':')[0])}: {text}"
                for text in refused.details or (whole,)
            ]
    if refusals:
        raise Failure("this cannot be applied", details=tuple(refusals))
    return is_checked


def _unknown_servers(
    form: Task, place_of: Callable[[str], str], ids: dict[str, str]
) -> list[str]:
    return [
        f"{place_of(field)}: {field}: there is no server {name!r}"
        + (f"; {hint}" if (hint := near(name, ids)) else "")
        for field, name in servers_of(form)
        if name not in ids and name not in ids.values()
    ]


def _change(
    entity: Entity,
    form: Task,
    there: Task | None,
    names: dict[str, str],
    ids: dict[str, str],
) -> Change:
    after = lean(with_servers(form, names))
    before = from_api(there, names) if there else None
    found: tuple[Difference, ...]
    if before is None:
        action, found = CREATE, tuple(_leaves(after))
    else:
        found = tuple(_differences(whole(before), whole(after), ""))
        action = CHANGE if found else NONE
    return Change(
        action=action,
        entity=entity,
        name=form["name"],
        body=to_api(form, ids),
        entity_id=there[f"{entity}_id"] if there else None,
        version=there["version"] if there else None,
        differences=found,
    )


def _leaves(value: Task, path: str = "") -> Iterator[Difference]:
    for name, one in value.items():
        if path + name == PARAMETERS and _is_named(one):
            yield from _leaves(_by_name(one), f"{path}{name}.")
        elif isinstance(one, dict):
            yield from _leaves(one, f"{path}{name}.")
        elif path or name != "name":
            yield Difference(field=path + name, before=None, after=one)


def _differences(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{path}.{name}" if path else name
            yield from _differences(before.get(name), after.get(name), inner)
    elif before == after:
        return
    elif path == PARAMETERS and _is_named(before) and _is_named(after):
        one, other = _by_name(before), _by_name(after)
        yield from _differences(one, other, path)
        if one == other:
            yield Difference(field=path, before=list(one), after=list(other))
    else:
        yield Difference(field=path, before=before, after=after)


def _is_named(parameters: Sequence[Task]) -> bool:
    """Return whether a name is enough to tell each of them."""
    return len(_by_name(parameters)) == len(parameters)


def _by_name(parameters: Sequence[Task]) -> dict[str, Task]:
    return {
        one["name"]: {name: value for name, value in one.items() if name != "name"}
        for one in parameters
    }


def show(plan: Plan) -> None:
    """Print a plan, like a diff."""
    screen = console()
    for change in plan.to_do:
        for line in lines(change):
            screen.print(line, soft_wrap=True)
    counts = [
        sum(one.action == what for one in plan.changes)
        for what in (CREATE, CHANGE, NONE)
    ]
    summary = f"{counts[0]} to create, {counts[1]} to change, {counts[2]} as they are."
    if plan.left_alone:
        summary += f" Not in it, and left alone: {counted(plan.left_alone)}."
    screen.print(Text(summary, style="bold"), soft_wrap=True)
    if plan.to_do and not plan.is_checked:
        note("Your role may not make all of these changes: those are not checked.")


def lines(change: Change) -> Iterator[Text]:
    """Return the lines of a diff."""
    sign, style = _STYLE[change.action]
    yield Text(f"{sign} {visible(change.label)}", style=f"bold {style}")
    for one in change.differences:
        yield from _difference_lines(one, new=change.action == CREATE)


def _difference_lines(one: Difference, *, new: bool) -> Iterator[Text]:
    field = visible(one.field)
    several = any(
        isinstance(value, str) and "\n" in value for value in (one.before, one.after)
    )
    if several:
        yield Text(f"    {field}:")
        before, after = (
            value.splitlines() if isinstance(value, str) else []
            for value in (one.before, one.after)
        )
        for line in difflib.unified_diff(before, after, lineterm="", n=1):
            if line.startswith(("---", "+++", "@@")):
                continue
            style = {"+": "green", "-": "red"}.get(line[:1], "dim")
            yield Text(f"      {line[:1]} {visible(line[1:])}", style=style)
    elif new:
        yield Text(f"    {field}: ") + Text(_plain(one.after), style="green")
    else:
        yield (
            Text(f"    {field}: ")
            + Text(_plain(one.before), style="red")
            + Text(" -> ")
            + Text(_plain(one.after), style="green")
        )


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return visible(json.dumps(value, ensure_ascii=False))
    if value is None:
        return "none"
    return visible(str(value).lower() if isinstance(value, bool) else str(value))


def apply(api: Api, plan: Plan, *, done: list[str]) -> None:
    """Do what a plan says, in its order; `done` gets what was done, as it is.

    What was changed since the plan was made is not written over.
    """
    for change in plan.to_do:
        _send(api, change)
        done.append(f"{change.action}d {change.label}")


def _send(api: Api, change: Change, **query: str) -> None:
    path = f"/v1/{change.entity}s"
    if change.action == CREATE:
        api.post(path, change.body, **query)
    else:
        path = f"{path}/{change.entity_id}"
        api.put(path, change.body, f'"{change.version}"', **query)
