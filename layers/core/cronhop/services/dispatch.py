"""The tick: intent, send, advance.

For each task that is due: put the run row of its slot if absent (intent), send
its start message (send), move the task's cursor to the following slot (advance).
A crash between any two of these repeats them at the next tick; what is repeated
meets the row, and at the executor the claim and the guard on the host.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cronhop.aws.queue import BATCH, Queue
from cronhop.domain.message import Message, MessageKind
from cronhop.domain.run import Run
from cronhop.domain.tally import LATE_AFTER
from cronhop.domain.task import Task
from cronhop.errors import Conflict, Invalid
from cronhop.observe import log
from cronhop.services.plan import CHECK_AFTER, LOOK_AHEAD, Planned, plan
from cronhop.store import executions, runs, tasks

OVERDUE_ROUNDS = 5  # of what a plan holds, before a task changes
SPREAD_AFTER_S = 5.0  # that a tick works alone
TASKS_AT_ONCE = 200  # that are read together
RUNS_AT_ONCE = 200  # whose rows are put together
Row = TypeVar("Row", bound=tuple[Any, ...])

_SECOND = timedelta(seconds=1)


@dataclass(kw_only=True)
class TickReport:
    """What a tick did.

    | field    | meaning                                                      |
    |----------|--------------------------------------------------------------|
    | started  | ids of runs whose start was sent                             |
    | late     | ids of those that were due some time before                  |
    | checked  | ids of open runs that an executor was asked to look at       |
    | polled   | ids of runs, of executions that an executor was asked to poll|
    | parked   | ids of tasks that were taken out of the schedule             |
    | failed   | ids of tasks that could not be dispatched this time          |
    | complete | whether all that was due was looked at in time               |
    """

    started: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    polled: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    complete: bool = True


class Dispatcher:
    """Sends what is due.

    `shards` is the number of partitions of the time indexes, `spread` asks for
    another tick about some of them, `monotonic` is the clock that `stop_at` is told
    by.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        shards: int,
        spread: Callable[[Sequence[int]], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._shards = shards
        self._spread = spread
        self._monotonic = monotonic

    def tick(
        self,
        now: datetime,
        *,
        stop_at: float,
        shards: Sequence[int] | None = None,
    ) -> TickReport:
        """Send every slot due by now + the look-ahead, and return what was done.

        1. due tasks, oldest first: intent, send, advance
        2. runs to check and executions to poll: send, move on

        Stops at `stop_at`; the next tick goes on with the oldest. It is about all
        shards, or only `shards`. Where there is much to do, half of them are left to
        another tick.
        """
        report = TickReport()
        mine = list(range(self._shards)) if shards is None else list(shards)
        until = now + LOOK_AHEAD
        began = self._monotonic()

        def present() -> datetime:
            """Return the time: a long tick must not send by the one it began at."""
            return now + timedelta(seconds=self._monotonic() - began)

        alone_until = self._monotonic() + SPREAD_AFTER_S
        due = self._merged(tasks.due, until, mine)
        while batch := next(
            self._in_time(due, stop_at, report, at_once=TASKS_AT_ONCE), None
        ):
            task_ids = [task_id for _, task_id in batch]
            try:
                self._dispatch(task_ids, present, report, stop_at=stop_at)
            except Exception as exc:  # noqa: BLE001  the others are not to blame
                for task_id in task_ids:
                    _fail(task_id, exc, report)
            if len(mine) > 1 and self._monotonic() >= alone_until:
                alone_until = self._monotonic() + SPREAD_AFTER_S
                if self._hand_over(mine[1::2]):
                    mine = mine[::2]
                    due = self._merged(tasks.due, until, mine)
        # Checks first, as they are few; but neither may starve the other.
        half = (self._monotonic() + stop_at) / 2
        checks = self._merged(runs.to_check, until, mine)
        for to_check in self._in_time(checks, half, report):
            self._send_checks(to_check, present, report)
        polls = self._merged(executions.to_poll, until, mine)
        for to_poll in self._in_time(polls, stop_at, report):
            self._send_polls(to_poll, present, report)
        return report

    def due(self, now: datetime, *, limit: int = 100) -> list[tuple[str, datetime]]:
        """Return (task id, slot) of what a tick at `now` would begin with."""
        found = self._merged(tasks.due, now + LOOK_AHEAD, range(self._shards))
        return [(task_id, slot) for slot, task_id in itertools.islice(found, limit)]

    def send_task(self, task: Task, now: datetime) -> None:
        """Send the slots of one task that lie inside the look-ahead.

        For a task that was just created or changed: the next tick would be too
        late for them.
        """
        if not task.next_run or task.next_run > now + LOOK_AHEAD:
            return
        try:
            self._dispatch([task.task_id], lambda: now, TickReport())
        except Exception:  # noqa: BLE001  the tick sends it all the same
            log.exception(
                "The tick has to send this task",
                action="task_not_sent",
                task_id=task.task_id,
            )

    def send_overdue(self, task: Task, now: datetime) -> None:
        """Send the slots of a task that have passed and that no tick has sent.

        For a task that is about to change or to go: its cursor moves, and what
        is due before would be nowhere on record. Raises if that cannot be done.
        """
        present: Task | None = task
        for _ in range(OVERDUE_ROUNDS):
            if not present or not present.next_run or present.next_run > now:
                return
            report = TickReport()
            self._dispatch([task.task_id], lambda: now, report)
            if report.failed:
                raise Conflict("its slots that have passed cannot be sent just now")
            present = tasks.get(task.task_id)
        raise Conflict(
            "more of its slots have passed than can be sent at once; try again in a"
            " minute"
        )

    def send_run(self, run: Run) -> None:
        """Ask an executor to start a run now."""
        self.send(Message(kind=MessageKind.START, run_id=run.run_id, group=run.task_id))

    def send(self, message: Message) -> None:
        """Ask an executor for something now, that is on record already.

        If the queue cannot be reached, the tick does it from the row.
        """
        try:
            refused = self._queue.send([(message, 0)])
        except Exception:  # noqa: BLE001  the tick sends it all the same
            log.exception(
                "The tick has to send this message",
                action="message_not_sent",
                kind=message.kind.value,
                run_id=message.run_id,
            )
        else:
            if refused:
                log.warning(
                    "The queue refused this message",
                    action="message_not_sent",
                    kind=message.kind.value,
                    run_id=message.run_id,
                )

    def _hand_over(self, shards: Sequence[int]) -> bool:
        """Leave the shards to another tick; False if there is none to be had."""
        if self._spread is None:
            return False
        try:
            self._spread(shards)
        except Exception:  # noqa: BLE001  it takes longer, that is all
            log.exception("No other tick could be had", action="tick_not_spread")
            return False
        return True

    def _dispatch(
        self,
        task_ids: Sequence[str],
        present: Callable[[], datetime],
        report: TickReport,
        *,
        stop_at: float = float("inf"),
    ) -> None:
        # Strong reads: the index may still show what is no longer due.
        task_ids = list(dict.fromkeys(task_ids))  # or it may name one twice
        found = tasks.get_many(task_ids)
        planned: list[Planned] = []
        count = 0  # of their runs
        for task_id in task_ids:
            # A task that is due every second takes a while.
            if self._monotonic() >= stop_at:
                report.complete = False
                break
            task = found.get(task_id)
            if isinstance(task, Exception):
                _fail(task_id, task, report)
                continue
            try:
                one = self._plan_due(task, present(), report)
            except Exception as exc:  # noqa: BLE001  one bad task never stops the tick
                _fail(task_id, exc, report)
                continue
            if one:
                planned.append(one)
                count += len(one.runs)
            if count >= RUNS_AT_ONCE:
                self._send(planned, present, report)
                planned, count = [], 0
        self._send(planned, present, report)

    def _plan_due(
        self, task: Task | None, now: datetime, report: TickReport
    ) -> Planned | None:
        if task is None or not task.next_run or task.next_run > now + LOOK_AHEAD:
            return None
        try:
            return plan(task, now)
        except Invalid as exc:
            tasks.park(task, str(exc))
            report.parked.append(task.task_id)
            log.warning(
                "A task was parked",
                action="task_parked",
                task_id=task.task_id,
                why=str(exc),
            )
            return None

    def _send(
        self,
        planned: Sequence[Planned],
        present: Callable[[], datetime],
        report: TickReport,
    ) -> None:
        """Intent, send, advance, each of all these tasks before the next."""
        rows = _intend([run for one in planned for run in one.runs])
        messages = [
            (
                Message(
                    kind=MessageKind.START, run_id=run.run_id, group=one.task.task_id
                ),
                run.due,
            )
            for one in planned
            for run in one.runs
            if _is_to_start(rows[run.run_id])
        ]
        now = present()
        refused = {message.run_id for message in self._start(messages, now)}
        late = {message.run_id for message, due in messages if now - due > LATE_AFTER}
        sent = {message.run_id for message, _ in messages} - refused
        done = []
        for one in planned:
            errors = [rows[run.run_id] for run in one.runs]
            error = next((row for row in errors if isinstance(row, Exception)), None)
            # Not advanced, so the next tick sends its slots again.
            if error is not None:
                _fail(one.task.task_id, error, report)
            elif any(run.run_id in refused for run in one.runs):
                report.failed.append(one.task.task_id)
            else:
                done.append(one)
        moved = tasks.advance_many([(one.task, one.following) for one in done])
        for one, outcome in zip(done, moved, strict=True):
            if isinstance(outcome, Exception):
                _fail(one.task.task_id, outcome, report)
            started = [run.run_id for run in one.runs if run.run_id in sent]
            report.started += started
            report.late += [run_id for run_id in started if run_id in late]

    def _start(
        self, messages: Sequence[tuple[Message, datetime]], now: datetime
    ) -> list[Message]:
        """Send starts for their slots; return those that the queue refused.

        In whole seconds they come in the second before the slot, not after: the
        gate waits for it, and an executor that has to be woken is awake by then.
        """
        return self._queue.send(
            [(message, (slot - now) // _SECOND) for message, slot in messages]
        )

    def _deliver(
        self, messages: Sequence[tuple[Message, datetime]], now: datetime
    ) -> list[Message]:
        """Send messages for their instants; return those that the queue refused."""
        return self._queue.send(
            [(message, (at - now).total_seconds()) for message, at in messages]
        )

    def _send_polls(
        self,
        rows: Sequence[tuple[datetime, str, str]],
        present: Callable[[], datetime],
        report: TickReport,
    ) -> None:
        now = present()
        messages = [
            (
                Message(
                    kind=MessageKind.POLL,
                    run_id=run_id,
                    server_id=server_id,
                    group=run_id,
                ),
                at,
            )
            for at, run_id, server_id in rows
        ]
        refused = {
            (message.run_id, message.server_id)
            for message in self._deliver(messages, now)
        }
        for at, run_id, server_id in rows:
            if (run_id, server_id) not in refused:
                moved = max(at, now) + CHECK_AFTER
                executions.move_poll(run_id, server_id, old=at, new=moved)
                report.polled.append(run_id)

    def _send_checks(
        self,
        rows: Sequence[tuple[datetime, str]],
        present: Callable[[], datetime],
        report: TickReport,
    ) -> None:
        now = present()
        messages = [
            (
                Message(kind=MessageKind.CHECK, run_id=run_id, group=run_id),
                at,
            )
            for at, run_id in rows
        ]
        refused = {message.run_id for message in self._deliver(messages, now)}
        for at, run_id in rows:
            if run_id not in refused:
                runs.move_check(run_id, old=at, new=max(at, now) + CHECK_AFTER)
                report.checked.append(run_id)

    def _merged(
        self,
        query: Callable[[int, datetime], Iterator[Row]],
        until: datetime,
        shards: Iterable[int],
    ) -> Iterator[Row]:
        """Return what a time index holds until then in these shards, oldest first."""
        return heapq.merge(*(query(shard, until) for shard in shards))

    def _in_time(
        self,
        rows: Iterator[Row],
        stop_at: float,
        report: TickReport,
        *,
        at_once: int = BATCH,
    ) -> Iterator[list[Row]]:
        """Yield so many rows at once, and stop when the tick's time is over."""
        while batch := list(itertools.islice(rows, at_once)):
            if self._monotonic() >= stop_at:
                report.complete = False
                return
            yield batch


def _intend(wanted: Sequence[Run]) -> Mapping[str, Run | Exception]:
    """Ensure that each run has its row, and return it by id, or why it has none."""
    rows: dict[str, Run | Exception] = {}
    for run, outcome in zip(wanted, runs.add_many(wanted), strict=True):
        rows[run.run_id] = outcome if isinstance(outcome, Exception) else run
        if outcome is False:
            # It was there: of an earlier tick, or its answer was lost.
            rows[run.run_id] = _row_or_error(run)
    return rows


def _row_or_error(run: Run) -> Run | Exception:
    try:
        return runs.get(run.run_id) or run
    except Exception as exc:  # noqa: BLE001  its task is left to the next tick
        return exc


def _is_to_start(row: Run | Exception) -> bool:
    return isinstance(row, Run) and not row.state.is_terminal


def _fail(task_id: str, why: Exception, report: TickReport) -> None:
    """Leave a task to the next tick."""
    report.failed.append(task_id)
    log.error(
        "A task could not be dispatched",
        action="task_failed",
        task_id=task_id,
        exc_info=why,
    )
