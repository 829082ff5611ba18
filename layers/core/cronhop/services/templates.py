"""Templates: on record, changed, removed; tasks made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.ids import is_id, new_id
from cronhop.domain.schedule import check as check_schedule
from cronhop.domain.task import Task, TaskDefinition
from cronhop.domain.template import Template
from cronhop.errors import NotFound, PreconditionFailed
from cronhop.services.parameters import accepted
from cronhop.services.sift import sift
from cronhop.services.tasks import Tasks
from cronhop.store import tasks
from cronhop.store import templates as store
from cronhop.store.page import Page


@dataclass(frozen=True, kw_only=True)
class Templates:
    """What people do with templates."""

    tasks: Tasks

    def create(
        self,
        definition: TaskDefinition,
        *,
        by: str,
        now: datetime,
        scope: Scope = EVERYWHERE,
        template_id: str | None = None,
        dry_run: bool = False,
    ) -> Template:
        """Put a template on record; once, if its id is given.

        With `dry_run` nothing is written, but all is checked. Raises Invalid,
        Conflict if its name is taken, Forbidden.
        """
        if template_id and (made := store.get(template_id)):
            scope.require(made.definition.environment)
            return made
        template = Template(
            template_id=template_id or new_id(now),
            definition=self._checked(definition, scope),
            version=1,
            created_by=by,
            created_at=now,
            updated_at=now,
        )
        if dry_run:
            store.require_name(template)
        else:
            store.add(template)
        return template

    def change(
        self,
        template_id: str,
        definition: TaskDefinition,
        *,
        version: int | None,
        by: str,
        now: datetime,
        scope: Scope = EVERYWHERE,
        dry_run: bool = False,
    ) -> Template:
        """Let the template be as defined; the tasks made of it stay as they are.

        With `dry_run` nothing is written, but all is checked. Raises Invalid,
        NotFound, Conflict, Forbidden; PreconditionFailed if `version` is given and
        not the present one.
        """
        old = self.get(template_id, version=version)
        new = replace(
            old,
            definition=self._checked(definition, scope),
            version=old.version + 1,
            updated_at=now,
        )
        if dry_run:
            store.require_name(new)
        else:
            store.replace(old, new, by=by)
        return new

    def get(self, template_id: str, *, version: int | None = None) -> Template:
        """Return the template. Raises NotFound, PreconditionFailed."""
        template = store.get(template_id) if is_id(template_id) else None
        if template is None:
            raise NotFound(f"there is no template {template_id}")
        if version not in {None, template.version}:
            raise PreconditionFailed("it was changed since you read it")
        return template

    def listing(
        self, *, limit: int, after: str | None, scope: Scope = EVERYWHERE
    ) -> Page[Template]:
        """Return templates, oldest first."""
        return sift(
            store.listing,
            limit=limit,
            after=after,
            wanted=None
            if scope.is_everywhere
            else lambda template: scope.admits(template.definition.environment),
            key=lambda template: template.template_id,
        )

    def delete(self, template_id: str, *, version: int | None) -> None:
        """Remove a template; the tasks made of it stay. Raises NotFound."""
        store.remove(self.get(template_id, version=version))

    def make(
        self,
        template: Template,
        definition: TaskDefinition,
        values: Mapping[str, Any],
        *,
        by: str,
        now: datetime,
        scope: Scope = EVERYWHERE,
        task_id: str | None = None,
        dry_run: bool = False,
    ) -> Task:
        """Make a task of the template, with these values as its defaults.

        `definition` is the template's with what the task has of its own. With
        `dry_run` nothing is written, but all is checked. Raises
        Invalid naming a value that does not fit, Conflict if the name is taken,
        Forbidden.
        """
        scope.require(definition.environment)  # before anything of it is looked up
        return self.tasks.create(
            definition.filled(accepted(definition, values, scope)),
            by=by,
            now=now,
            scope=scope,
            template=template.origin,
            task_id=task_id,
            dry_run=dry_run,
        )

    def tasks_of(
        self,
        template: Template,
        *,
        limit: int,
        after: str | None,
        scope: Scope = EVERYWHERE,
    ) -> Page[Task]:
        """Return the tasks that were made of the template, oldest first."""
        return sift(
            partial(tasks.made_of, template.template_id),
            limit=limit,
            after=after,
            wanted=None
            if scope.is_everywhere
            else lambda task: scope.admits(task.definition.environment),
            key=lambda task: task.task_id,
        )

    def _checked(self, definition: TaskDefinition, scope: Scope) -> TaskDefinition:
        if definition.schedule:
            check_schedule(definition.schedule)
        return self.tasks.checked(definition, scope)
