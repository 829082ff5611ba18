"""Runs as people read them: the ledger, its executions, their output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from cronhop.aws.output import OutputBucket
from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.find import RunFilter
from cronhop.domain.ids import id_time, is_id
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.parameter import Value
from cronhop.domain.rollout import CANCELLED, Progress
from cronhop.domain.run import (
    SCHEDULER,
    Attempt,
    Execution,
    Run,
    State,
    Stream,
    StreamRecord,
    Trigger,
)
from cronhop.domain.task import Task
from cronhop.errors import Conflict, Invalid, NotFound
from cronhop.services.dispatch import Dispatcher
from cronhop.services.gate import MOVED
from cronhop.services.parameters import accepted
from cronhop.services.plan import new_run
from cronhop.services.sift import sift
from cronhop.store import attempts, executions, fleets, tasks, values
from cronhop.store import runs as store
from cronhop.store.page import NEWEST, Listing, Page, Window

POLL_EVERY = timedelta(seconds=5)  # however many read the output of a command
MAX_DIGITS = 9  # of a position


@dataclass(frozen=True, kw_only=True)
class OutputPage:
    """A piece of a stream.

    | field           | meaning                                              |
    |-----------------|------------------------------------------------------|
    | attempt         | whose output it is                                   |
    | data            | the bytes from `offset`, secrets masked              |
    | next_offset     | where to go on; beyond a gap, behind it              |
    | total_bytes     | what the command wrote, as far as it is known        |
    | complete        | whether `next_offset` is the end and no more comes   |
    | truncated_bytes | how many bytes of the middle were dropped            |
    """

    attempt: int
    data: bytes
    offset: int
    next_offset: int
    total_bytes: int
    complete: bool
    truncated_bytes: int


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What people read of runs, and how they end them."""

    bucket: OutputBucket
    dispatcher: Dispatcher

    def get(self, run_id: str) -> Run:
        """Return the run. Raises NotFound."""
        run = store.get(run_id) if is_id(run_id) else None
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        return run

    def listing(
        self,
        *,
        now: datetime,
        limit: int,
        after: str | None,
        wanted: RunFilter = RunFilter(),  # noqa: B008  it is frozen
        window: Window = NEWEST,
        scope: Scope = EVERYWHERE,
    ) -> Page[Run]:
        """Return the runs that are wanted, in the window and in `scope`.

        Raises Invalid if `after` can be no run's id.
        """
        if after is not None:
            try:
                id_time(after)
            except ValueError as exc:
                raise Invalid("next_token", "it is none of ours") from exc
        if wanted.task_id and not scope.is_everywhere:
            task = _task(wanted.task_id)
            if task is None or not scope.admits(task.definition.environment):
                return Page(items=[], last=None)  # as of a task that is not there

        def is_wanted(run: Run) -> bool:
            return scope.admits(run.environment) and wanted.matches(run)

        is_all = scope.is_everywhere and wanted in {
            RunFilter(),
            RunFilter(task_id=wanted.task_id),
        }
        return sift(
            _listing(wanted, window, now),
            limit=limit,
            after=after,
            wanted=None if is_all else is_wanted,
            key=lambda run: run.run_id,
            newest_first=window.newest_first,
        )

    def parameters(self, run: Run) -> Mapping[str, Value]:
        """Return the values that the run was given for its task's parameters."""
        return values.of_run(run)

    def targets(self, run: Run, *, limit: int) -> list[str]:
        """Return the ids of the run's first servers."""
        return fleets.targets(run, 0, limit)

    def executions(self, run: Run, *, limit: int, after: str | None) -> Page[Execution]:
        """Return the executions of a run.

        Of several servers in their order, those that were not started as well, as
        attempt 0. Raises Invalid if `after` can be no position.
        """
        if run.fleet is None:
            return executions.of_run(run.run_id, limit=limit, after=after)
        if after is not None and not (after.isdecimal() and len(after) < MAX_DIGITS):
            raise Invalid("next_token", "it is none of ours")
        start = int(after) + 1 if after else 0
        server_ids = fleets.targets(run, start, start + limit)
        progress = fleets.progress(run)
        found = executions.get_many(run.run_id, server_ids)
        items = [
            found.get(server_id) or _not_started(run, progress, position, server_id)
            for position, server_id in enumerate(server_ids, start)
        ]
        end = start + len(items)
        return Page(items=items, last=str(end - 1) if end < run.target_count else None)

    def counts(self, run: Run, shown: Sequence[Execution]) -> Mapping[State, int]:
        """Return how many of the run's targets are in each state.

        `shown` are its executions, all of them if it is on one server. Of several
        those that are or will be started count as running until they have ended.
        """
        if run.fleet is None:
            return Counter(one.state for one in shown)
        progress = fleets.progress(run)
        counts = Counter({state: progress.count(state) for state in progress.ended})
        counts[State.RUNNING] = progress.sent - progress.ended_count
        counts[_left_out(run, progress)[0]] += progress.total - progress.sent
        return +counts

    def execution(self, run_id: str, server_id: str) -> Execution:
        """Return one execution. Raises NotFound."""
        if is_id(run_id) and is_id(server_id):
            execution = executions.get(run_id, server_id)
            if execution:
                return execution
        raise NotFound(f"run {run_id} has no execution on server {server_id}")

    def attempts(self, execution: Execution) -> list[Attempt]:
        """Return the attempts before the execution's present one, oldest first."""
        if execution.attempt == 1:
            return []
        found = attempts.of_execution(execution.run_id, execution.server_id)
        return [one for one in found if one.attempt < execution.attempt]

    def cancel(self, run_id: str, *, by: str, now: datetime) -> Run:
        """Let the run end, and return it. Raises NotFound, Conflict if it has.

        One that has not begun is cancelled when this returns. Another one is told
        to end; if the queue cannot be reached, the tick tells it.
        """
        run = self.get(run_id)
        reason = f"cancelled by {by} before it began"
        if store.refuse(run_id, state=State.CANCELLED, reason=reason, now=now):
            return self.get(run_id)
        if store.ask_cancel(run_id, by=by, now=now):
            self.dispatcher.send(
                Message(kind=MessageKind.CANCEL, run_id=run_id, group=run.task_id)
            )
        present = self.get(run_id)
        if present.state.is_terminal and (present.reason, present.finished_at) != (
            reason,
            now,
        ):
            raise Conflict(f"the run has ended: {present.state.value}")
        return present

    def retry(
        self, run_id: str, *, by: str, now: datetime, new_run_id: str | None = None
    ) -> Run:
        """Run the same version, with the same values, where it did not complete.

        Returns the new run, which is made once by its id, if that is given. Raises
        NotFound; Conflict if the run is not over, never began, has nothing to retry,
        or its task or what a value names was deleted.
        """
        if new_run_id and (made := store.get(new_run_id)):
            return made
        run = self.get(run_id)
        if not run.state.is_terminal:
            raise Conflict(f"the run is not over: {run.state.value}")
        if not run.target_count:
            raise Conflict("the run never began, so it has no targets; run its task")
        if not fleets.not_completed(run):
            raise Conflict("all its targets are completed")
        task = tasks.get(run.task_id)
        if task is None:
            raise Conflict("its task was deleted")
        if task.definition.environment != run.environment:
            raise Conflict(MOVED)
        given = _given_again(run)
        again = new_run(
            task,
            Trigger.RETRY,
            by=by,
            now=now,
            run_id=new_run_id,
            task_version=run.task_version,
            retry_of=run_id,
            has_parameters=bool(given),
        )
        if given:
            secrets = values.secrets_of(run)
            values.give(again.run_id, given, secrets=secrets, now=now)
        store.add(again)
        self.dispatcher.send_run(again)
        return again

    def poll(self, run_id: str, server_id: str, *, now: datetime) -> bool:
        """Have a command that runs looked at now, for its output. Raises NotFound.

        False if it does not run, or was or is being looked at just now.
        """
        execution = self.execution(run_id, server_id)
        if not executions.ask_poll(
            run_id, server_id, now=now, not_after=now - POLL_EVERY
        ):
            return False
        run = self.get(execution.run_id)
        self.dispatcher.send(
            Message(
                kind=MessageKind.POLL,
                run_id=run_id,
                server_id=server_id,
                group=run.task_id,
                live=True,
            )
        )
        return True

    def output(
        self,
        run_id: str,
        server_id: str,
        stream: Stream,
        *,
        offset: int,
        limit: int,
        attempt: int | None = None,
    ) -> OutputPage:
        """Return a piece of a stream from `offset`. Raises NotFound.

        Of the present attempt, or an earlier one. A read in a part that was
        dropped returns nothing, and `next_offset` is where the kept part goes on.
        """
        execution = self._as_of(self.execution(run_id, server_id), attempt)
        record = execution.stdout if stream is Stream.STDOUT else execution.stderr
        record = record or StreamRecord(total_bytes=0, inline=True)
        total = record.total_bytes
        start = min(offset, total)
        if record.inline:
            data = attempts.output(execution, stream)[start : start + limit]
            following = start + len(data)
        else:
            data, following = self._chunked(execution, stream, record, start, limit)
        return OutputPage(
            attempt=execution.attempt,
            data=data,
            offset=start,
            next_offset=following,
            total_bytes=total,
            complete=not _grows(execution) and following >= total,
            truncated_bytes=0 if _grows(execution) else record.truncated_bytes,
        )

    def _as_of(self, execution: Execution, attempt: int | None) -> Execution:
        """Return the execution as it ended with an earlier attempt."""
        if attempt in {None, execution.attempt}:
            return execution
        for one in self.attempts(execution):
            if one.attempt == attempt:
                return replace(execution, **vars(one), uncollected=False)
        raise NotFound(f"there is no attempt {attempt} of this execution")

    def _chunked(
        self,
        execution: Execution,
        stream: Stream,
        record: StreamRecord,
        start: int,
        limit: int,
    ) -> tuple[bytes, int]:
        """Return what the chunks hold from `start`, and where to go on."""
        data, at = b"", start
        for chunk in record.chunks:
            if at < chunk.first and not data:
                return b"", chunk.first
            if chunk.first <= at < chunk.end and len(data) < limit:
                data += self.bucket.read(
                    execution.key, stream, chunk, offset=at, limit=limit - len(data)
                )
                at = start + len(data)
        if data or _grows(execution):
            return data, at
        return b"", record.total_bytes


def _given_again(run: Run) -> Mapping[str, Value]:
    """Return the run's own values for another one. Raises Conflict if one is gone."""
    given = values.of_run(run)
    definition = given and tasks.get_version(run.task_id, run.task_version or 0)
    try:
        return accepted(definition, given) if definition else {}
    except Invalid as exc:
        raise Conflict(f"it cannot have the same values: {exc}") from exc


def _task(task_id: str) -> Task | None:
    return tasks.get(task_id, or_deleted=True) if is_id(task_id) else None


def _listing(wanted: RunFilter, window: Window, now: datetime) -> Listing[Run]:
    """Return a short list that has all of the runs; only one of them knows servers."""
    if wanted.server_id:
        return partial(_of_server, wanted.server_id, window=window)
    if wanted.task_id:
        return partial(store.of_task, wanted.task_id, window=window)
    if wanted.created_by and wanted.created_by != SCHEDULER:
        return partial(store.of_creator, wanted.created_by, window=window)
    return partial(store.recent, now=now, window=window)


def _of_server(
    server_id: str, *, limit: int, after: str | None, window: Window
) -> Page[Run]:
    found = executions.run_ids_of_server(
        server_id, limit=limit, after=after, window=window
    )
    return store.page_of(found, limit)


def _not_started(
    run: Run, progress: Progress, position: int, server_id: str
) -> Execution:
    """Return the execution on a server where nobody has claimed one."""
    state, reason = State.PENDING, "about to be started"
    if position >= progress.sent:
        state, reason = _left_out(run, progress)
    return Execution(
        run_id=run.run_id,
        server_id=server_id,
        state=state,
        reason=reason,
        attempt=0,
        owner="",
        lease_until=run.created_at,
        next_poll=None,
        first_visit=None,
        polls=0,
        position=position,
    )


def _left_out(run: Run, progress: Progress) -> tuple[State, str]:
    """Return what has become of the targets beyond the cursor, and why."""
    if progress.stopped is None:
        return State.PENDING, "its turn has not come"
    if progress.stopped == CANCELLED:
        return State.CANCELLED, f"cancelled by {run.cancel_by} before it was started"
    return State.SKIPPED, progress.stopped


def _grows(execution: Execution) -> bool:
    """Return whether more output may come than is kept by now."""
    return not execution.state.is_terminal or execution.uncollected
