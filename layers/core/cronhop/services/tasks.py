"""Tasks: on record, changed, removed, run by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.credential import CredentialKind
from cronhop.domain.find import TaskFilter, TaskStatus
from cronhop.domain.hold import Hold
from cronhop.domain.ids import is_id, new_id
from cronhop.domain.run import Run, State, Trigger
from cronhop.domain.schedule import OnceSchedule, next_slot
from cronhop.domain.schedule import check as check_schedule
from cronhop.domain.targets import MAX_SERVER_IDS, Targets
from cronhop.domain.task import Origin, Script, Spec, Task, TaskDefinition
from cronhop.domain.transfer import Direction, FileTransfer
from cronhop.errors import Conflict, Invalid, NotFound, PreconditionFailed
from cronhop.services.credentials import require_credential
from cronhop.services.dispatch import Dispatcher
from cronhop.services.freeze import new_hold
from cronhop.services.parameters import accepted, declared, secrets_among
from cronhop.services.plan import new_run
from cronhop.services.sift import sift
from cronhop.store import calendars, fleets, runs, servers, values
from cronhop.store import tasks as store
from cronhop.store.page import OLDEST, Listing, Page, Window

MAX_DEFINITION_BYTES = 300 * 1024  # a row of DynamoDB may have 400 KiB


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """What people do with tasks.

    A `scope` says in which environments somebody may do it.
    `has_transfer_bucket`: the stack has a bucket for the objects of file transfers.
    """

    dispatcher: Dispatcher
    has_transfer_bucket: bool = True

    def create(
        self,
        definition: TaskDefinition,
        *,
        by: str,
        now: datetime,
        scope: Scope = EVERYWHERE,
        template: Origin | None = None,
        task_id: str | None = None,
        dry_run: bool = False,
    ) -> Task:
        """Put a task on record, and send it if it is due within the look-ahead.

        Once, if its id is given, and sent by the tick if the first attempt died. With
        `dry_run` nothing is written, but all is checked. Raises Invalid, Conflict if
        its name is taken, Forbidden.
        """
        if made := self.made(task_id, scope):
            return made
        kept = self.checked(definition, scope)
        task = _new(kept, by=by, now=now, template=template, task_id=task_id)
        if dry_run:
            store.require_name(kept.name, task.task_id)
            return task
        store.add(task)
        self.dispatcher.send_task(task, now)
        return task

    def create_all(
        self,
        definitions: Sequence[TaskDefinition],
        *,
        by: str,
        now: datetime,
        task_ids: Sequence[str],
        scope: Scope = EVERYWHERE,
    ) -> list[Task]:
        """Put all of the tasks on record, or none.

        Who repeats a request asks `all_made` first. Raises Invalid, Conflict, Forbidden.
        """
        made = [
            _new(self.checked(one, scope), by=by, now=now, task_id=task_id)
            for one, task_id in zip(definitions, task_ids, strict=True)
        ]
        store.add_all(made)
        for task in made:
            self.dispatcher.send_task(task, now)
        return made

    def made(self, task_id: str | None, scope: Scope = EVERYWHERE) -> Task | None:
        """Return the task, a deleted one too, if a request has made it by this id.

        Who repeats a request asks this first: that it could not be made any more
        does not unmake it. Raises Forbidden if it is out of the scope by now.
        """
        task = store.get(task_id, or_deleted=True) if task_id else None
        if task:
            scope.require(task.definition.environment)
        return task

    def all_made(
        self, task_ids: Sequence[str], scope: Scope = EVERYWHERE
    ) -> list[Task]:
        """Return the tasks that a request has made by these ids, all or none."""
        if not self.made(task_ids[0], scope):
            return []
        return [made for one in task_ids if (made := self.made(one, scope))]

    def change(
        self,
        task_id: str,
        definition: TaskDefinition,
        *,
        version: int | None,
        by: str,
        now: datetime,
        scope: Scope = EVERYWHERE,
        dry_run: bool = False,
    ) -> Task:
        """Let the task be as defined. Raises Invalid, NotFound, Conflict, Forbidden.

        A change of schedule or of `enabled` starts from now: slots that are on
        record already go on only if the new schedule has them too. With `dry_run`
        nothing is written, but all is checked. Raises PreconditionFailed if
        `version` is given and not the present one.
        """
        old = self.get(task_id, version=version)
        scope.require(old.definition.environment)
        definition = self.checked(definition, scope)
        _check_moves(old.definition, definition)
        new = replace(
            old, definition=definition, version=old.version + 1, updated_at=now
        )
        _check(new)
        if definition.schedule != old.definition.schedule:
            _check_upcoming(new, now)
        if _timing(definition) != _timing(old.definition):
            new = replace(
                new,
                schedule_version=old.schedule_version + 1,
                next_run=following(new, now),
                invalid=None,
            )
        if dry_run:
            store.require_name(definition.name, task_id)
            return new
        self.dispatcher.send_overdue(old, now)
        store.replace(old, new, by=by)
        if new.schedule_version != old.schedule_version:
            self.dispatcher.send_task(new, now)
        return new

    def checked(
        self, definition: TaskDefinition, scope: Scope = EVERYWHERE
    ) -> TaskDefinition:
        """Return a definition as it is kept, if all that it names is there.

        Raises Invalid, Forbidden.
        """
        _check_within(definition, scope)
        self._check_bucket(definition)
        kept = declared(definition, scope)
        _check_names(kept)
        return kept

    def _check_bucket(self, definition: TaskDefinition) -> None:
        spec = definition.spec
        has_object = isinstance(spec, FileTransfer) and spec.object_key is not None
        if has_object and not self.has_transfer_bucket:
            raise Invalid(
                "spec.object_key",
                "the stack has no bucket for it; its parameter TransferBucket names one",
            )

    def get(self, task_id: str, *, version: int | None = None) -> Task:
        """Return the task. Raises NotFound, PreconditionFailed."""
        task = store.get(task_id) if is_id(task_id) else None
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        if version not in {None, task.version}:
            raise PreconditionFailed("it was changed since you read it")
        return task

    def place(self, task_id: str) -> str | None:
        """Return the environment of a task, a deleted one's too. Raises NotFound."""
        task = store.get(task_id, or_deleted=True) if is_id(task_id) else None
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        return task.definition.environment

    def listing(
        self,
        *,
        now: datetime,
        limit: int,
        after: str | None,
        wanted: TaskFilter = TaskFilter(),  # noqa: B008  it is frozen
        window: Window = OLDEST,
        scope: Scope = EVERYWHERE,
    ) -> Page[Task]:
        """Return the tasks that are wanted, and in the window."""
        of_deleted = wanted.status is TaskStatus.DELETED
        listing: Listing[Task] = partial(
            store.listing, window=window, deleted=of_deleted
        )
        if wanted.created_by and not of_deleted:
            listing = partial(store.of_creator, wanted.created_by, window=window)

        def is_wanted(task: Task) -> bool:
            return scope.admits(task.definition.environment) and wanted.matches(
                task, next_run=_next_run(task, now), now=now
            )

        is_all = scope.is_everywhere and wanted == TaskFilter()
        return sift(
            listing,
            limit=limit,
            after=after,
            wanted=None if is_all else is_wanted,
            key=lambda task: task.task_id,
            newest_first=window.newest_first,
        )

    def delete(self, task_id: str, *, version: int | None, now: datetime) -> None:
        """Remove a task; its runs stay on record. Raises NotFound."""
        task = self.get(task_id, version=version)
        self.dispatcher.send_overdue(task, now)
        store.remove(task, now=now)

    def restore(
        self,
        task_id: str,
        *,
        by: str,
        now: datetime,
        version: int | None = None,
        scope: Scope = EVERYWHERE,
    ) -> Task:
        """Bring a deleted task back; its schedule goes on from now.

        Raises NotFound if it is not kept any more, Conflict if it is not deleted or its
        name is taken, Invalid if something that it names is gone, PreconditionFailed
        if `version` is given and not the one that was deleted.
        """
        old = store.get(task_id, or_deleted=True) if is_id(task_id) else None
        if old is None:
            raise NotFound(f"there is no task {task_id}")
        if old.deleted_at is None:
            raise Conflict("it is not deleted")
        if version not in {None, old.version}:
            raise PreconditionFailed("it was changed since you read it")
        new = replace(
            old,
            version=old.version + 1,
            schedule_version=old.schedule_version + 1,
            updated_at=now,
            deleted_at=None,
        )
        new = replace(new, definition=self.checked(new.definition, scope))
        _check(new)
        new = replace(new, next_run=following(new, now))
        store.restore(old, new, by=by)
        self.dispatcher.send_task(new, now)
        return new

    def pause(
        self,
        task_id: str,
        *,
        until: datetime | None,
        reason: str,
        by: str,
        now: datetime,
        version: int | None = None,
    ) -> Task:
        """Hold back the task's slots from now on, instead of how it was before.

        Raises NotFound, Invalid if `until` has passed, PreconditionFailed if
        `version` is given and not the present one; a pause is no new version.
        """
        hold = new_hold(until=until, reason=reason, by=by, now=now)
        return self._hold(task_id, hold, version)

    def resume(self, task_id: str, *, version: int | None = None) -> Task:
        """Ensure that the task is not paused. Raises NotFound, PreconditionFailed."""
        return self._hold(task_id, None, version)

    def _hold(self, task_id: str, hold: Hold | None, version: int | None) -> Task:
        task = self.get(task_id, version=version)
        if not store.pause(task_id, hold, version=version):
            self.get(task_id)
            raise PreconditionFailed("it was changed since you read it")
        return replace(task, pause=hold)

    def run(
        self,
        task_id: str,
        *,
        by: str,
        now: datetime,
        targets: Targets | None = None,
        parameters: Mapping[str, Any] | None = None,
        scope: Scope = EVERYWHERE,
        run_id: str | None = None,
    ) -> Run:
        """Run the task now, beside its schedule. Raises NotFound, Invalid.

        On other servers than the task's, if `targets` says so, with other values of
        its parameters, if `parameters` does. The run is on record when this returns;
        if the queue cannot be reached, the tick sends it. With a `run_id` it is made
        once, however often this is repeated.
        """
        if run_id and (made := runs.get(run_id)):
            return made
        task = self.get(task_id)
        given = accepted(task.definition, parameters or {}, scope)
        task.definition.filled(given).check_complete()
        if targets:
            _check_servers(targets, task.definition.environment)
            _check_download(task.definition.spec, targets)
            task.definition.check_target(targets)
        run = new_run(
            task,
            Trigger.MANUAL,
            by=by,
            now=now,
            run_id=run_id,
            has_own_targets=targets is not None,
            has_parameters=bool(given),
        )
        if targets:
            fleets.want(run.run_id, targets, now=now)
        if given:
            secrets = secrets_among(task.definition, given)
            values.give(run.run_id, given, secrets=secrets, now=now)
        runs.add(run)
        self.dispatcher.send_run(run)
        return run


def usernames(server_ids: Sequence[str], *, scope: Scope = EVERYWHERE) -> set[str]:
    """Return who logs in to these servers. Raises Invalid for `server_ids`."""
    known = servers.get_many(one for one in server_ids if is_id(one))
    for number, server_id in enumerate(server_ids):
        if server_id not in known or not scope.admits(known[server_id].environment):
            raise Invalid(
                f"server_ids.{number}", f"there is no server {server_id[:40]!r}"
            )
    return {server.username for server in known.values()}


def following(task: Task, now: datetime) -> datetime | None:
    """Return the first slot after now, None if there is none or none is followed."""
    if task.schedule is None or not task.definition.enabled:
        return None
    return next_slot(task.schedule, now)


def last_run(task_id: str, *, scope: Scope = EVERYWHERE) -> Run | None:
    """Return the newest run of the task that has begun or ended, None if none has.

    Slots inside the look-ahead are on record before they are due.
    """
    after = None
    for limit in (10, 100, 100):  # as many may wait for their turn, and more
        page = runs.of_task(task_id, limit=limit, after=after)
        for run in page.items:
            if run.state is not State.PENDING and scope.admits(run.environment):
                return run
        after = page.last
        if after is None:
            break
    return None


def _next_run(task: Task, now: datetime) -> datetime | None:
    """Return the task's next slot, None if there is none or nobody knows."""
    if task.invalid or task.deleted_at:
        return None
    try:
        return following(task, now)
    except Invalid:
        return None


def _timing(definition: TaskDefinition) -> tuple[object, bool]:
    return definition.schedule, definition.enabled


def _new(
    definition: TaskDefinition,
    *,
    by: str,
    now: datetime,
    template: Origin | None = None,
    task_id: str | None = None,
) -> Task:
    """Return the task that this definition makes now. Raises Invalid."""
    task = Task(
        task_id=task_id or new_id(now),
        definition=definition,
        version=1,
        schedule_version=1,
        next_run=None,
        active_run=None,
        invalid=None,
        created_by=by,
        created_at=now,
        updated_at=now,
        template=template,
    )
    _check(task)
    _check_upcoming(task, now)
    return replace(task, next_run=following(task, now))


def _check_upcoming(task: Task, now: datetime) -> None:
    """Ensure that a schedule which somebody writes now will be due some day."""
    if task.schedule is None or next_slot(task.schedule, now):
        return
    if isinstance(task.schedule, OnceSchedule):
        raise Invalid(
            "schedule.at",
            "it has passed; write a later instant, or no schedule and run the task"
            " by hand",
        )
    raise Invalid("schedule.ends_at", "there is no slot from now until then")


def _check_servers(targets: Targets, environment: str | None) -> None:
    """Ensure that what is named by id is there, and all is of the environment.

    One answer for a server that is not there and one that is elsewhere: who writes
    this may be somebody who sees no other environment.
    """
    named = targets.server_ids
    known = servers.get_many(one for one in named if is_id(one))
    there = f" in environment {environment!r}" if environment else ""
    for number, server_id in enumerate(named):
        server = known.get(server_id)
        if server is None or environment not in {None, server.environment}:
            shown = server_id[:40]
            raise Invalid(
                f"targets.server_ids.{number}",
                f"there is no server with the id {shown!r}{there}; ids are in"
                " GET /v1/servers",
            )
    wanted = targets.selector.environment if targets.selector else None
    if environment and wanted not in {None, environment}:
        raise Invalid(
            "targets.selector.environment",
            f"the task is of environment {environment!r}; leave it out",
        )


def _check_download(spec: Spec, targets: Targets) -> None:
    """Ensure that a file which is taken from servers is taken from one."""
    is_download = (
        isinstance(spec, FileTransfer) and spec.direction is Direction.DOWNLOAD
    )
    if is_download and targets.may_be_several:
        raise Invalid(
            "targets.pick",
            "a download is from one server, or each would overwrite the object of the"
            " one before: write one id, or pick any, round_robin or 1",
        )


def _check_moves(old: TaskDefinition, new: TaskDefinition) -> None:
    """Ensure that the change of the targets fits in a transaction."""
    moves = len(set(old.server_ids) ^ set(new.server_ids))
    if moves > MAX_SERVER_IDS:
        raise Invalid(
            "targets.server_ids",
            f"{moves} servers come or go, more than {MAX_SERVER_IDS}; use two changes",
        )


def _check(task: Task) -> None:
    """Ensure that the schedule is possible, and starts what needs nobody."""
    if task.schedule is None:
        return
    check_schedule(task.schedule)
    try:
        task.definition.check_complete()
    except Invalid as exc:
        raise Invalid(
            exc.field, "it has no default, and the schedule gives no value"
        ) from exc


def _check_within(definition: TaskDefinition, scope: Scope) -> None:
    """Ensure that a task in a scope has nothing of what lies outside.

    Servers are held to the environment for everybody; secrets and objects are
    what a command could show to whom they are not for.
    """
    scope.require(definition.environment)
    if scope.is_everywhere:
        return
    own = definition.spec.secrets if isinstance(definition.spec, Script) else {}
    for variable, name in own.items():
        require_credential(
            name,
            field=f"spec.secrets.{variable}",
            environment=definition.environment,
            scope=scope,
        )
    spec, folder = definition.spec, f"{definition.environment}/"
    key = spec.object_key if isinstance(spec, FileTransfer) else None
    if key is not None and not key.startswith(folder):
        raise Invalid(
            "spec.object_key", f"with your roles it has to begin with {folder!r}"
        )


def _check_names(definition: TaskDefinition) -> None:
    """Ensure that all that is named is there, and that it can be kept."""
    schedule = definition.schedule
    for number, name in enumerate(schedule.exclude_calendars if schedule else ()):
        if calendars.get(name) is None:
            raise Invalid(
                f"schedule.exclude_calendars.{number}",
                f"there is no calendar {name!r}",
            )
    if len(definition.server_ids) > MAX_SERVER_IDS:
        raise Invalid(
            "targets.server_ids",
            f"with those of parameters there are more than {MAX_SERVER_IDS} servers",
        )
    _check_servers(definition.targets, definition.environment)
    _check_download(definition.spec, definition.targets)
    size = len(json.dumps(definition.to_dict()))  # as it is kept: in ASCII
    if size > MAX_DEFINITION_BYTES:
        raise Invalid(
            "spec", f"the task has {size} bytes, more than {MAX_DEFINITION_BYTES}"
        )
    environment = (
        definition.spec.environment if isinstance(definition.spec, Script) else {}
    )
    own = definition.spec.secrets if isinstance(definition.spec, Script) else {}
    for variable, name in own.items():
        if variable in environment:
            raise Invalid(
                f"spec.secrets.{variable}", "it is in the environment as well"
            )
        require_credential(
            name,
            field=f"spec.secrets.{variable}",
            kind=CredentialKind.PASSWORD,
            environment=definition.environment,
        )
