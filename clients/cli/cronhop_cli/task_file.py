"""Files of tasks and templates: read, and checked with the line of what is wrong.

YAML as of 1.2's core schema, so that `on` is a word and `0644` a text.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .errors import Failure
from .names import near
from .task_form import Entity, Task, schema
from .terminal import NUMBER, WHOLE_NUMBER

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

SUFFIXES = (".yaml", ".yml")
MAX_DEPTH = 50
MAX_PARTS = 200_000  # of a file: aliases make many of few
MAX_PROBLEMS = 20  # shown at once
MAX_TEXT = 300  # characters of what is wrong: it may tell all of a value

_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object with fields",
    "null": "null",
}

_LISTS = frozenset(entity.plural for entity in Entity)

Route = tuple[str | int, ...]  # from the top of a document to a part of it


@dataclass(frozen=True, kw_only=True)
class Written:
    """A task or template as somebody wrote it, and where.

    `route` leads to it from the top of the file at `path`, whose `lines` are those of
    its parts.
    """

    entity: Entity
    form: Task
    path: Path
    route: Route
    lines: Mapping[Route, int]

    @property
    def place(self) -> str:
        """The line at which it begins."""
        return self.place_of("")

    def place_of(self, field: str) -> str:
        """Return the line of a field, as the API names it, or of what it is part of."""
        parts: list[str | int] = [
            int(part) if part.isdecimal() else part for part in field.split(".")
        ]
        if parts[:2] == ["targets", "server_ids"]:
            parts[1] = "servers"
        elif parts[0] == "parameters" and len(parts) > 1:
            names = [one["name"] for one in self.form.get("parameters") or []]
            parts[1] = names.index(parts[1]) if parts[1] in names else parts[1]
        return f"{self.path}:{_line(self.lines, (*self.route, *parts))}"


class _Loader(yaml.SafeLoader):
    """Reads scalars as YAML 1.2 does."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"(?:|~|null|Null|NULL)", ["", "~", "n", "N"]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", WHOLE_NUMBER, list("-+0123456789")),
    ("float", NUMBER, list("-+0123456789")),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^{_pattern}$"), _first
    )


def read_all(path: Path) -> list[Written]:
    """Return the templates and tasks of a file, or of all files in a folder.

    Raises Failure with the place of everything that is wrong.
    """
    found: list[Written] = []
    problems: list[str] = []
    for file in _files(path):
        document, lines = read(file)
        wrong = list(_problems(document, lines, schema()))
        problems += [f"{file}:{line}: {text}" for line, text in wrong]
        if not wrong:
            found += _written(document, lines, file)
    first: dict[tuple[Entity, str], str] = {}
    for one in found:
        key = (one.entity, one.form["name"])
        if key in first:
            problems.append(f"{one.place}: {key[1]!r} stands at {first[key]} already")
        first.setdefault(key, one.place)
    _refuse(problems)
    return found


def read_one(path: Path, entity: Entity) -> Task:
    """Return the one task or template that a file has.

    It stands there as it is, or as the only one of a file that `apply` takes.
    """
    document, lines = read(path)
    if isinstance(document, dict) and not _LISTS.isdisjoint(document):
        _checked(path, document, lines, schema())
        there = list(_written(document, lines, path))
        if [one.entity for one in there] != [entity]:
            raise Failure(
                f"{path} has {counted(one.entity for one in there)}, not one {entity}",
                hint=f"cronhop apply {path}",
            )
        return there[0].form
    return _checked(path, document, lines, {"$ref": "#/$defs/task"})


def read_some(path: Path) -> Task:
    """Return those fields of a task that a file has."""
    document, lines = read(path)
    return _checked(
        path, document, lines, {**schema()["$defs"]["task"], "required": []}
    )


def _checked(
    path: Path, document: Any, lines: dict[Route, int], wanted: dict[str, Any]
) -> Task:
    wanted = {**wanted, "$defs": schema()["$defs"]}
    _refuse(
        [f"{path}:{line}: {text}" for line, text in _problems(document, lines, wanted)]
    )
    checked: Task = document
    return checked


def read(path: Path) -> tuple[Any, dict[Route, int]]:
    """Return what a YAML file says, and the line of each part of it.

    Raises Failure if it is no YAML in UTF-8, or says something twice.
    """
    try:
        text = path.read_text("utf-8") if str(path) != "-" else sys.stdin.read()
    except OSError as exc:
        raise Failure(f"{path} cannot be read: {exc}") from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise Failure(f"{path}:{line}: it is no UTF-8") from exc
    lines: dict[Route, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = _value(loader, node, (), lines, path) if node else None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        character = f"the character U+{exc.character:04X}"
        raise Failure(f"{path}:{line}: no YAML: it may not hold {character}") from exc
    except RecursionError as exc:  # PyYAML's own, before the depth is looked at
        raise _too_deep(path) from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise Failure(f"{place}: no YAML: {exc.problem}") from exc
    except yaml.YAMLError as exc:
        raise Failure(f"{path}: no YAML: {exc}") from exc
    return document, lines


def _written(document: Any, lines: dict[Route, int], path: Path) -> Iterator[Written]:
    for entity in Entity:
        for number, form in enumerate(document.get(entity.plural, [])):
            route = (entity.plural, number)
            yield Written(entity=entity, form=form, path=path, route=route, lines=lines)


def counted(entities: Iterable[Entity]) -> str:
    """Return how many there are, in words: `2 tasks and 1 template`."""
    found = Counter(entities)
    words = [
        f"{found[entity]} {entity if found[entity] == 1 else entity.plural}"
        for entity in (Entity.TASK, Entity.TEMPLATE)
        if found[entity]
    ]
    return " and ".join(words) or "no tasks"


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(
        one
        for one in path.rglob("*")
        if one.suffix in SUFFIXES
        and one.is_file()
        and not any(part.startswith(".") for part in one.relative_to(path).parts)
    )
    if not found:
        raise Failure(f"{path} has no file that ends in {' or '.join(SUFFIXES)}")
    return found


def _value(
    loader: _Loader,
    node: yaml.Node,
    route: Route,
    lines: dict[Route, int],
    path: Path,
) -> Any:
    lines.setdefault(route, node.start_mark.line + 1)
    if len(lines) > MAX_PARTS:
        raise Failure(f"{path}: it has more than {MAX_PARTS:,} values, aliases and all")
    if len(route) > MAX_DEPTH:
        raise _too_deep(path)
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(loader, one, (*route, number), lines, path)
            for number, one in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(loader, node, path)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise Failure(f"{path}:{line}: a field's name is a word")
        key = key_node.value
        if key in found:
            raise Failure(f"{path}:{line}: {key} is there twice")
        lines[(*route, key)] = line
        found[key] = _value(loader, value_node, (*route, key), lines, path)
    return found


def _scalar(loader: _Loader, node: yaml.Node, path: Path) -> Any:
    """Return the value of a scalar. Raises Failure if JSON has none like it."""
    try:
        found = loader.construct_object(node, deep=True)
        json.dumps(found, allow_nan=False)
    # PyYAML raises any of them where a text does not fit its tag.
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        place = f"{path}:{node.start_mark.line + 1}"
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = f"{shortened(repr(node.value))} cannot be read as {kind}"
        raise Failure(f"{place}: {text}") from exc
    return found


def _too_deep(path: Path) -> Failure:
    return Failure(f"{path}: it is nested more than {MAX_DEPTH} deep")


def _problems(
    document: Any, lines: dict[Route, int], wanted: dict[str, Any]
) -> Iterator[tuple[int, str]]:
    """Return (line, what is wrong) of everything that the schema refuses."""
    # It takes 50 ms.
    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    found = set()
    for one in Draft202012Validator(wanted).iter_errors(document):
        error = best_match([one]) or one  # of several forms the one that is meant
        route: Route = tuple(error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(
            error.validator_value, bool
        ):
            known = error.schema["properties"]
            for name in sorted(set(error.instance) - set(known)):
                hint = near(name, known)
                text = "there is no such field" + (f"; {hint}" if hint else "")
                found.add((_line(lines, (*route, name)), _named((*route, name), text)))
        else:
            found.add((_line(lines, route), _named(route, _in_words(error))))
    yield from sorted(found)


def _in_words(error: ValidationError) -> str:
    if error.instance is None and not error.absolute_path:
        return "it is empty"
    shown = shortened(json.dumps(error.instance, ensure_ascii=False))
    if error.validator == "type":
        wanted: Any = error.validator_value
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return f"{shown} is not {' or '.join(_KINDS[kind] for kind in kinds)}"
    if error.validator in {"anyOf", "oneOf"}:
        return f"{shown} is not possible here"
    return shortened(error.message)


def shortened(text: str) -> str:
    """Return the text, or its beginning and end if it is long."""
    half = MAX_TEXT // 2
    return text if len(text) <= MAX_TEXT else f"{text[:half]} … {text[-half:]}"


def _named(route: Route, text: str) -> str:
    return f"{'.'.join(map(str, route)) or 'the file'}: {text}"


def _line(lines: Mapping[Route, int], route: Route) -> int:
    while route and route not in lines:
        route = route[:-1]
    return lines.get(route, 1)


def _refuse(problems: list[str]) -> None:
    if problems:
        more = len(problems) - MAX_PROBLEMS
        shown = problems[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise Failure(
            "this is not as it should be",
            details=tuple(shown),
            hint="`cronhop schema` prints the JSON Schema",
        )
