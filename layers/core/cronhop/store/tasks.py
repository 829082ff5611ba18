"""The tables of tasks, of their versions, and of what they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.condition import size
from pynamodb.expressions.update import Action
from pynamodb.indexes import (
    GlobalSecondaryIndex,
    IncludeProjection,
    KeysOnlyProjection,
)
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from cronhop.domain.hold import Hold
from cronhop.domain.ids import shard_of
from cronhop.domain.task import Origin, Task, TaskDefinition
from cronhop.errors import Conflict, PreconditionFailed
from cronhop.store import names
from cronhop.store.attributes import (
    LISTED,
    HoldAttribute,
    InstantAttribute,
    PlainAttribute,
    set_or_remove,
)
from cronhop.store.batch import AT_ONCE, Write, value_of, write_all
from cronhop.store.connection import (
    read,
    retention_s,
    shards,
    table,
    transaction,
    update,
)
from cronhop.store.names import name_key, named_write
from cronhop.store.page import OLDEST, Page, Window, cut
from cronhop.store.readable import read_each

MAX_WRITES = 100  # of a transaction, DynamoDB's limit
_DELETED = "deleted"  # the key of deleted tasks in the index that lists them
WRITES = 3  # of a new task, beside one for each of its targets


class _NextRun(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "next_run"
        projection = KeysOnlyProjection()

    due_shard = NumberAttribute(hash_key=True)
    next_run = InstantAttribute(range_key=True)


class _Listing(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "listing"
        projection = IncludeProjection(["name", "kind", "enabled", "created_by"])

    listed = UnicodeAttribute(hash_key=True)
    task_id = UnicodeAttribute(range_key=True)


class _ByCreator(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_creator"
        projection = KeysOnlyProjection()

    created_by = UnicodeAttribute(hash_key=True)
    task_id = UnicodeAttribute(range_key=True)


@table("tasks")
class TaskRow(Model):
    """A task as DynamoDB keeps it.

    `next_run` is there only while a slot is to be sent, so the index of it is
    as small as what is due. A deleted task has another `listed`, and a `ttl`.
    """

    class Meta:
        table_name = ""

    task_id = UnicodeAttribute(hash_key=True)
    due_shard = NumberAttribute(null=True)
    next_run = InstantAttribute(null=True)
    listed = UnicodeAttribute(null=True)
    name = UnicodeAttribute(null=True)
    kind = UnicodeAttribute(null=True)
    enabled = BooleanAttribute(null=True)
    definition = PlainAttribute(null=True)
    version = NumberAttribute(null=True)
    schedule_version = NumberAttribute(null=True)
    active_run = UnicodeAttribute(null=True)
    last_target = UnicodeAttribute(null=True)
    waiting = UnicodeSetAttribute(null=True)
    invalid = UnicodeAttribute(null=True)
    pause = HoldAttribute(null=True)
    deleted_at = InstantAttribute(null=True)
    ttl = NumberAttribute(null=True)
    created_by = UnicodeAttribute(null=True)
    created_at = InstantAttribute(null=True)
    updated_at = InstantAttribute(null=True)
    holder = UnicodeAttribute(null=True)  # of a name item: whose name it is
    dates = PlainAttribute(null=True)  # of a calendar
    template = PlainAttribute(null=True)  # that the task was made of
    by_next_run = _NextRun()
    listing = _Listing()
    by_creator = _ByCreator()


@table("task_versions")
class TaskVersionRow(Model):
    """The definition as of one change, written once."""

    class Meta:
        table_name = ""

    task_id = UnicodeAttribute(hash_key=True)
    version = NumberAttribute(range_key=True)
    definition = PlainAttribute()
    created_by = UnicodeAttribute()
    created_at = InstantAttribute()
    ttl = NumberAttribute(null=True)  # once the task is deleted


@table("task_targets")
class TaskTargetRow(Model):
    """That a task names a server, or was made of a template: `template#<id>`."""

    class Meta:
        table_name = ""

    server_id = UnicodeAttribute(hash_key=True)
    task_id = UnicodeAttribute(range_key=True)


def add(task: Task) -> None:
    """Put the task, its first version and its targets, or nothing.

    Raises Conflict if another task has its name.
    """
    with named_write(TaskRow, name=task.definition.name, holder=task.task_id) as write:
        _save_new(write, task)


def add_all(tasks: Sequence[Task]) -> None:
    """Put all of the tasks, or nothing, of which `fit` says how many may be.

    Raises Conflict if another task has one of their names.
    """
    try:
        with transaction() as write:
            for task in tasks:
                _save_new(write, task)
    except TransactWriteError as exc:
        codes = {reason.code for reason in exc.cancellation_reasons if reason}
        if not codes & {"ConditionalCheckFailed", "TransactionConflict"}:
            raise
        raise Conflict("a task of one of these names was made meanwhile") from exc


def template_key(template_id: str) -> str:
    """Return under which key a template is, and what was made of it."""
    return f"template#{template_id}"


def fit(targets: int) -> int:
    """Return how many tasks of so many targets `add_all` can put at once."""
    return MAX_WRITES // (WRITES + targets)


def require_name(name: str, task_id: str) -> None:
    """Ensure that no other task has this name just now. Raises Conflict."""
    names.require_name(TaskRow, name=name, holder=task_id)


def replace(old: Task, new: Task, *, by: str) -> None:
    """Change the task from `old` to `new`, of the next version, or nothing.

    What the dispatcher and the executors write (`active_run`) is left alone.
    Raises PreconditionFailed if the task is no longer of the version of `old`,
    Conflict if another task has the new name.
    """
    definition = new.definition
    actions: list[Action] = [
        TaskRow.name.set(definition.name),
        TaskRow.kind.set(definition.kind.value),
        TaskRow.enabled.set(definition.enabled),
        TaskRow.definition.set(definition.to_dict()),
        TaskRow.version.set(new.version),
        TaskRow.updated_at.set(new.updated_at),
    ]
    if new.schedule_version != old.schedule_version:
        actions += [
            TaskRow.schedule_version.set(new.schedule_version),
            TaskRow.invalid.remove(),
            TaskRow.next_run.set(new.next_run)
            if new.next_run
            else TaskRow.next_run.remove(),
        ]
    with named_write(TaskRow, name=definition.name, holder=new.task_id) as write:
        write.update(
            TaskRow(task_id=old.task_id),
            actions=actions,
            condition=TaskRow.version == old.version,
        )
        if definition.name != old.definition.name:
            write.delete(TaskRow(task_id=name_key(old.definition.name)))
            _take_name(write, new)
        _save_version(write, new, by=by)
        before = set(old.definition.server_ids)
        after = set(definition.server_ids)
        for server_id in sorted(before - after):
            write.delete(TaskTargetRow(server_id=server_id, task_id=new.task_id))
        for server_id in sorted(after - before):
            write.save(TaskTargetRow(server_id=server_id, task_id=new.task_id))


def remove(task: Task, *, now: datetime) -> None:
    """Take the task out of sight: its row stays, for its runs, its name is free.

    Raises PreconditionFailed if it is no longer of the version of `task`.
    """
    name = task.definition.name
    with named_write(TaskRow, name=name, holder=task.task_id) as write:
        write.update(
            TaskRow(task_id=task.task_id),
            actions=[
                TaskRow.deleted_at.set(now),
                TaskRow.updated_at.set(now),
                TaskRow.version.set(task.version + 1),
                TaskRow.schedule_version.set(task.schedule_version + 1),
                TaskRow.listed.set(_DELETED),
                TaskRow.next_run.remove(),
                TaskRow.ttl.set(_ttl(now)),
            ],
            condition=TaskRow.version == task.version,
        )
        write.delete(TaskRow(task_id=name_key(name)))
        for row in _named(task):
            write.delete(row)
    _keep_versions(task.task_id, until=_ttl(now))
    if get(task.task_id):  # restored while they were told to go
        _keep_versions(task.task_id, until=None)


def restore(old: Task, new: Task, *, by: str) -> None:
    """Bring a deleted task back into sight, of the next version.

    Raises PreconditionFailed if it is no longer of the version of `old`, Conflict
    if another task has its name by now.
    """
    # First of all: a version that is gone cannot be had back.
    _keep_versions(new.task_id, until=None)
    try:
        _put_back(old, new, by=by)
    except (Conflict, PreconditionFailed):
        gone = get(new.task_id, or_deleted=True)
        if gone and gone.deleted_at:
            _keep_versions(new.task_id, until=_ttl(gone.deleted_at))
            if get(new.task_id):  # by somebody else, while they were told to go
                _keep_versions(new.task_id, until=None)
        raise
    # And again: who deleted it may have come to them since.
    _keep_versions(new.task_id, until=None)


def _put_back(old: Task, new: Task, *, by: str) -> None:
    """Let the task's rows be those of a living one, or nothing."""
    name = new.definition.name
    with named_write(TaskRow, name=name, holder=new.task_id) as write:
        write.update(
            TaskRow(task_id=new.task_id),
            actions=[
                TaskRow.deleted_at.remove(),
                TaskRow.ttl.remove(),
                TaskRow.listed.set(LISTED),
                TaskRow.version.set(new.version),
                TaskRow.schedule_version.set(new.schedule_version),
                TaskRow.updated_at.set(new.updated_at),
                *set_or_remove((TaskRow.next_run, new.next_run)),
            ],
            condition=(TaskRow.version == old.version) & TaskRow.deleted_at.exists(),
        )
        _take_name(write, new)
        _save_version(write, new, by=by)
        for row in _named(new):
            write.save(row)


def _keep_versions(task_id: str, *, until: int | None) -> None:
    """Let the versions of a task be kept until then, None: for ever."""
    names = ["task_id", "version", "ttl"]
    found = TaskVersionRow.query(task_id, attributes_to_get=names, consistent_read=True)
    actions = set_or_remove((TaskVersionRow.ttl, until))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(
            pool.map(
                lambda row: row.update(actions=actions),
                [row for row in found if row.ttl != until],
            )
        )


def _ttl(deleted_at: datetime) -> int:
    """Return until when what was deleted is kept: as long as runs that name it."""
    return int(deleted_at.timestamp()) + retention_s()


def get(task_id: str, *, or_deleted: bool = False) -> Task | None:
    """Return the task as of now, None if there is none or it was deleted.

    With `or_deleted` also one that was, as it was last.
    """
    row = read(TaskRow, task_id)
    return task_of(row) if row and (or_deleted or not row.deleted_at) else None


def get_many(task_ids: Iterable[str]) -> Mapping[str, Task | Exception]:
    """Return those of the tasks that exist and were not deleted, by id, as of now.

    Instead of a task that cannot be read: why.
    """
    found, broken = read_each(TaskRow, task_ids, task_of)
    return {**{one.task_id: one for one in found if not one.deleted_at}, **broken}


def get_version(task_id: str, version: int) -> TaskDefinition | None:
    """Return what the task was as of this version, None if it never had it."""
    row = read(TaskVersionRow, task_id, version)
    return TaskDefinition.from_dict(row.definition) if row else None


def listing(
    *,
    limit: int,
    after: str | None,
    window: Window = OLDEST,
    deleted: bool = False,
) -> Page[Task]:
    """Return tasks in the window, those behind the id `after`; or the deleted ones."""
    key = _DELETED if deleted else LISTED
    index, attribute = TaskRow.listing, TaskRow.task_id
    return _page(
        window.ids(index, key, attribute, limit=limit, after=after), limit, deleted
    )


def made_of(template_id: str, *, limit: int, after: str | None) -> Page[Task]:
    """Return the tasks made of a template, oldest first, those after the id `after`."""
    found = TaskTargetRow.query(
        template_key(template_id),
        TaskTargetRow.task_id > after if after else None,
        consistent_read=True,
        limit=limit + 1,
    )
    return _page((row.task_id for row in found), limit)


def of_creator(
    created_by: str, *, limit: int, after: str | None, window: Window = OLDEST
) -> Page[Task]:
    """Return tasks that somebody made, in the window, those behind the id `after`."""
    index, key = TaskRow.by_creator, TaskRow.task_id
    return _page(window.ids(index, created_by, key, limit=limit, after=after), limit)


def _page(ids: Iterable[str], limit: int, deleted: bool = False) -> Page[Task]:
    keys, last = cut(ids, limit)
    rows = {row.task_id: row for row in TaskRow.batch_get(keys, consistent_read=True)}
    found = [rows[one] for one in keys if one in rows]
    # Calendars and templates have a maker too; a deleted task may still be in an index.
    items = [
        task_of(row)
        for row in found
        if "#" not in row.task_id and (row.deleted_at is not None) == deleted
    ]
    return Page(items=items, last=last)


def naming(server_id: str, *, limit: int) -> list[str]:
    """Return ids of tasks that name the server, at most `limit`."""
    found = TaskTargetRow.query(server_id, consistent_read=True, limit=limit)
    return [row.task_id for row in found]


def due(shard: int, until: datetime) -> Iterator[tuple[datetime, str]]:
    """Yield (next_run, task id) of a shard's tasks due by then, oldest first.

    The index may lag behind the table: read the task before acting on it.
    """
    for row in TaskRow.by_next_run.query(shard, TaskRow.next_run <= until):
        yield row.next_run, row.task_id


def advance(task: Task, following: datetime | None) -> bool:
    """Move the cursor from the task's `next_run` to the following slot.

    False if the cursor or the schedule is no longer the one read: another
    dispatcher was here first, or a user was.
    """
    return update(
        TaskRow(task_id=task.task_id),
        actions=[
            TaskRow.next_run.set(following) if following else TaskRow.next_run.remove()
        ],
        condition=(TaskRow.next_run == task.next_run)
        & (TaskRow.schedule_version == task.schedule_version),
    )


def advance_many(
    moves: Sequence[tuple[Task, datetime | None]],
) -> list[bool | Exception]:
    """Move the cursors; return of each what `advance` would return or raise."""
    return write_all([_advance(task, following) for task, following in moves])


def _advance(task: Task, following: datetime | None) -> Write:
    change = "SET next_run = ?" if following else "REMOVE next_run"
    read = (
        value_of(TaskRow.task_id, task.task_id),
        value_of(TaskRow.next_run, task.next_run),
        value_of(TaskRow.schedule_version, task.schedule_version),
    )
    return Write(
        statement=f'UPDATE "{TaskRow.Meta.table_name}" {change}'
        " WHERE task_id = ? AND next_run = ? AND schedule_version = ?",
        parameters=(value_of(TaskRow.next_run, following), *read)
        if following
        else read,
        alone=partial(advance, task, following),
    )


def park(task: Task, reason: str) -> bool:
    """Take the task out of the schedule, with the reason; False if it changed."""
    return update(
        TaskRow(task_id=task.task_id),
        actions=[TaskRow.next_run.remove(), TaskRow.invalid.set(reason)],
        condition=TaskRow.schedule_version == task.schedule_version,
    )


def pause(task_id: str, hold: Hold | None, *, version: int | None) -> bool:
    """Let the task's slots be held back so, None: no more.

    False if it is gone, or not of this version, if one is given.
    """
    known = TaskRow.version.exists() if version is None else TaskRow.version == version
    return update(
        TaskRow(task_id=task_id),
        actions=set_or_remove((TaskRow.pause, hold)),
        condition=known & TaskRow.deleted_at.does_not_exist(),
    )


def hold(task_id: str, run_id: str, *, instead_of: str | None) -> bool:
    """Let this run be the one that the task's next runs must not overlap.

    `instead_of` is a terminal run that still holds the task. False if another
    run holds it; True also if this one did already.
    """
    free = TaskRow.active_run.does_not_exist() | (TaskRow.active_run == run_id)
    if instead_of:
        free |= TaskRow.active_run == instead_of
    return update(
        TaskRow(task_id=task_id),
        actions=[TaskRow.active_run.set(run_id), TaskRow.waiting.delete({run_id})],
        condition=TaskRow.version.exists() & free,
    )


def release(task_id: str, run_id: str) -> list[str]:
    """Ensure that this run does not hold the task.

    Returns the runs that have waited for that, oldest first.
    """
    row = TaskRow(task_id=task_id)
    released = update(
        row,
        actions=[TaskRow.active_run.remove()],
        condition=TaskRow.active_run == run_id,
    )
    return sorted(row.waiting or ()) if released else []


def wait(task_id: str, run_id: str, *, limit: int) -> bool:
    """Let the run wait for its turn; False if so many do already."""
    return update(
        TaskRow(task_id=task_id),
        actions=[TaskRow.waiting.add({run_id})],
        condition=TaskRow.version.exists()
        & (
            TaskRow.waiting.does_not_exist()
            | (size(TaskRow.waiting) < limit)
            | TaskRow.waiting.contains(run_id)
        ),
    )


def wait_all(task_id: str, run_ids: Sequence[str], *, limit: int) -> bool:
    """Let the runs wait for their turns; False if there would be more than so many."""
    return update(
        TaskRow(task_id=task_id),
        actions=[TaskRow.waiting.add(set(run_ids))],
        condition=TaskRow.version.exists()
        & (
            TaskRow.waiting.does_not_exist()
            | (size(TaskRow.waiting) <= limit - len(run_ids))
        ),
    )


def forget(task_id: str, run_ids: Iterable[str]) -> None:
    """Ensure that these runs do not wait for their turn."""
    update(
        TaskRow(task_id=task_id),
        actions=[TaskRow.waiting.delete(set(run_ids))],
        condition=TaskRow.waiting.exists(),
    )


def keep_target(task_id: str, server_id: str) -> None:
    """Record which server a round-robin has taken."""
    update(
        TaskRow(task_id=task_id),
        actions=[TaskRow.last_target.set(server_id)],
        condition=TaskRow.version.exists(),
    )


def _save_new(write: TransactWrite, task: Task) -> None:
    definition = task.definition
    write.save(
        TaskRow(
            task_id=task.task_id,
            due_shard=shard_of(task.task_id, shards()),
            next_run=task.next_run,
            listed=LISTED,
            name=definition.name,
            kind=definition.kind.value,
            enabled=definition.enabled,
            definition=definition.to_dict(),
            version=task.version,
            schedule_version=task.schedule_version,
            created_by=task.created_by,
            created_at=task.created_at,
            updated_at=task.updated_at,
            template=asdict(task.template) if task.template else None,
        ),
        condition=TaskRow.task_id.does_not_exist(),
    )
    _take_name(write, task)
    _save_version(write, task, by=task.created_by)
    for row in _named(task):
        write.save(row)


def _named(task: Task) -> list[TaskTargetRow]:
    """Return the rows that say what the task names, and what it was made of."""
    keys = list(task.definition.server_ids)
    if task.template:
        keys.append(template_key(task.template.template_id))
    return [TaskTargetRow(server_id=key, task_id=task.task_id) for key in keys]


def _take_name(write: TransactWrite, task: Task) -> None:
    write.save(
        TaskRow(task_id=name_key(task.definition.name), holder=task.task_id),
        condition=TaskRow.task_id.does_not_exist(),
    )


def _save_version(write: TransactWrite, task: Task, *, by: str) -> None:
    write.save(
        TaskVersionRow(
            task_id=task.task_id,
            version=task.version,
            definition=task.definition.to_dict(),
            created_by=by,
            created_at=task.updated_at,
        )
    )


def task_of(row: TaskRow) -> Task:
    """Return the task that a row is."""
    return Task(
        task_id=row.task_id,
        definition=TaskDefinition.from_dict(row.definition),
        version=int(row.version),
        schedule_version=int(row.schedule_version),
        next_run=row.next_run,
        active_run=row.active_run,
        invalid=row.invalid,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        pause=row.pause,
        last_target=row.last_target,
        waiting=tuple(sorted(row.waiting or ())),
        template=Origin(**row.template) if row.template else None,
        deleted_at=row.deleted_at,
    )
