"""Templates: items of their own in the tables of tasks and of their versions.

A template is a task that is never due, under keys of its own: `template#<id>` in
both tables, `template_name#<name>` for its name. Which tasks were made of it is with
the servers that tasks name, under `template#<id>` as well.
"""

from __future__ import annotations

from cronhop.domain.task import TaskDefinition
from cronhop.domain.template import Template
from cronhop.store import names
from cronhop.store.connection import read
from cronhop.store.names import name_key, named_write
from cronhop.store.page import Page
from cronhop.store.tasks import (
    TaskRow,
    TaskVersionRow,
    template_key,
)

_LISTED = "template"  # the key of templates in the index that lists tasks
_SPACE = "template_name"


def add(template: Template) -> None:
    """Put the template and its first version, or nothing.

    Raises Conflict if another template has its name.
    """
    name, key = template.definition.name, template_key(template.template_id)
    with named_write(TaskRow, name=name, holder=key, space=_SPACE) as write:
        write.save(
            TaskRow(
                task_id=key,
                listed=_LISTED,
                name=name,
                kind=template.definition.kind.value,
                definition=template.definition.to_dict(),
                version=template.version,
                created_by=template.created_by,
                created_at=template.created_at,
                updated_at=template.updated_at,
            ),
            condition=TaskRow.task_id.does_not_exist(),
        )
        write.save(_name_row(template), condition=TaskRow.task_id.does_not_exist())
        write.save(_version_row(template, by=template.created_by))


def replace(old: Template, new: Template, *, by: str) -> None:
    """Change the template from `old` to `new`, of the next version, or nothing.

    Raises PreconditionFailed if it is no longer of the version of `old`, Conflict
    if another template has the new name.
    """
    definition, key = new.definition, template_key(new.template_id)
    with named_write(TaskRow, name=definition.name, holder=key, space=_SPACE) as write:
        write.update(
            TaskRow(task_id=key),
            actions=[
                TaskRow.name.set(definition.name),
                TaskRow.kind.set(definition.kind.value),
                TaskRow.definition.set(definition.to_dict()),
                TaskRow.version.set(new.version),
                TaskRow.updated_at.set(new.updated_at),
            ],
            condition=TaskRow.version == old.version,
        )
        if definition.name != old.definition.name:
            write.delete(_name_row(old))
            write.save(_name_row(new), condition=TaskRow.task_id.does_not_exist())
        write.save(_version_row(new, by=by))


def require_name(template: Template) -> None:
    """Ensure that no other template has its name just now. Raises Conflict."""
    names.require_name(
        TaskRow,
        name=template.definition.name,
        holder=template_key(template.template_id),
        space=_SPACE,
    )


def remove(template: Template) -> None:
    """Delete the template; its versions stay, for the tasks that were made of it.

    Raises PreconditionFailed if it is no longer of the version of `template`.
    """
    name, key = template.definition.name, template_key(template.template_id)
    with named_write(TaskRow, name=name, holder=key, space=_SPACE) as write:
        write.delete(
            TaskRow(task_id=key), condition=TaskRow.version == template.version
        )
        write.delete(_name_row(template))


def get(template_id: str) -> Template | None:
    """Return the template as of now, None if there is none."""
    row = read(TaskRow, template_key(template_id))
    return _template(row) if row else None


def listing(*, limit: int, after: str | None) -> Page[Template]:
    """Return templates, oldest first, those after the id `after`."""
    found = TaskRow.listing.query(
        _LISTED,
        TaskRow.task_id > template_key(after) if after else None,
        limit=limit + 1,
    )
    keys = [row.task_id for row in found]
    rows = {
        row.task_id: row
        for row in TaskRow.batch_get(keys[:limit], consistent_read=True)
    }
    items = [_template(rows[key]) for key in keys[:limit] if key in rows]
    last = _id(keys[limit - 1]) if len(keys) > limit else None
    return Page(items=items, last=last)


def _name_row(template: Template) -> TaskRow:
    return TaskRow(
        task_id=name_key(template.definition.name, space=_SPACE),
        holder=template_key(template.template_id),
    )


def _version_row(template: Template, *, by: str) -> TaskVersionRow:
    return TaskVersionRow(
        task_id=template_key(template.template_id),
        version=template.version,
        definition=template.definition.to_dict(),
        created_by=by,
        created_at=template.updated_at,
    )


def _id(key: str) -> str:
    return key.removeprefix(template_key(""))


def _template(row: TaskRow) -> Template:
    return Template(
        template_id=_id(row.task_id),
        definition=TaskDefinition.from_dict(row.definition),
        version=int(row.version),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
