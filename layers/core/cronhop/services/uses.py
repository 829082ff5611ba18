"""What may not be removed because something names it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.task import TaskDefinition
from cronhop.errors import Conflict
from cronhop.store import tasks, templates
from cronhop.store.page import walk

SHOWN: Final = 5  # of those that name it


class Use(NamedTuple):
    """Something that names another thing, and where it is."""

    noun: str
    name: str
    environment: str | None = None


def require_unused(what: str, uses: Iterable[Use], scope: Scope = EVERYWHERE) -> None:
    """Ensure that nothing names it. Raises Conflict saying what does.

    Of what lies outside the scope only that it is there.
    """
    some = list(itertools.islice(uses, SHOWN + 1))
    shown = [
        f"{one.noun} {one.name}"
        for one in some[:SHOWN]
        if scope.admits(one.environment)
    ]
    if shown and len(shown) < len(some):
        shown.append("and more")
    if some:
        raise Conflict(f"{what} is named by {', '.join(shown) or f'a {some[0].noun}'}")


def of_definitions(names: Callable[[TaskDefinition], bool]) -> Iterator[Use]:
    """Yield the tasks and templates whose definition names something."""
    for task in walk(tasks.listing):
        if names(task.definition):
            yield Use("task", task.definition.name, task.definition.environment)
    yield from of_templates(names)


def of_templates(names: Callable[[TaskDefinition], bool]) -> Iterator[Use]:
    """Yield the templates whose definition names something."""
    for template in walk(templates.listing):
        made = template.definition
        if names(made):
            yield Use("template", made.name, made.environment)
