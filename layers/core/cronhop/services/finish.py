"""The end of an attempt: another one, or the outcome and all that follows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cronhop.aws.queue import Queue
from cronhop.domain.ids import id_time, is_id
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.run import Execution, Outcome, Run, State
from cronhop.domain.task import Overlap
from cronhop.errors import RemoteError, SecretMissing, SecretUnavailable, Unreachable
from cronhop.observe import log
from cronhop.services import places
from cronhop.services.collect import INLINE_BYTES, Collector
from cronhop.services.passwords import Passwords
from cronhop.services.visit import Visit
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import RemoteState
from cronhop.store import attempts, executions, runs, servers, tasks

POLL_MIN_S, POLL_MAX_S = 60, 300  # about a tenth of the time it has run
RETRY_S = 30  # a host that could not be used
CHECK_AFTER = timedelta(minutes=2)  # when the tick looks after what is due
SWEPT_AFTER = timedelta(days=1)  # no executor that passed its claim lives so long
FORGOTTEN_AFTER = timedelta(days=90)  # a host may be used by another stack as well
COLLECT_FIRST = timedelta(minutes=10)  # the output of an attempt, before the next one


class Finisher:
    """Records how attempts end, and does what follows.

    `now` is the clock.
    """

    def __init__(
        self,
        queue: Queue,
        passwords: Passwords,
        collector: Collector,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._queue = queue
        self._passwords = passwords
        self._collector = collector
        self._now = now

    def finish(
        self, visit: Visit, outcome: Outcome, connection: Connection | None = None
    ) -> None:
        """Record how the attempt ended, and do what follows; all can be repeated.

        1. the next attempt is due, if the task wants one after this outcome; else
        2. the outcome, if there is none yet
        3. the run's end, and the task is free for its next run
        4. the host is cleaned of everything but the guard, and the server's place
           is free
        5. nobody needs to come back, but for output that is still there
        """
        execution = visit.execution
        now = self._now()
        if self._retry(visit, outcome, connection, now):
            return
        executions.finish(execution, outcome, now=now)
        ended = executions.get(execution.run_id, execution.server_id) or execution
        if not ended.state.is_terminal:
            return  # somebody else was here, and let another attempt follow
        self.follow(visit, ended, now)
        if ended.uncollected:
            if ended.stdout and ended.stderr:
                executions.keep_streams(
                    execution,
                    ended.stdout,
                    ended.stderr,
                    next_poll=now + timedelta(seconds=RETRY_S),
                    now=now,
                )
            self._free(visit)
            return
        self._leave(visit, connection)
        executions.settle(execution.run_id, execution.server_id)

    def put_off(self, visit: Visit, reason: str, *, permanent: bool = False) -> None:
        """Record that this visit learned nothing of the command.

        If the command cannot have been started, a permanent reason ends the
        execution. Otherwise it goes on until nothing was heard for as long as the
        task allows: then the outcome cannot be known.
        """
        execution = visit.execution
        now = self._now()
        may_run = visit.may_run or visit.has_sent
        if visit.cancel_by:
            reason = f"to be cancelled by {visit.cancel_by}, but {reason}"
        if permanent and not may_run:
            self.finish(visit, Outcome(state=State.FAILED, reason=reason))
        elif may_run and now - visit.heard_at > visit.lost_after:
            lost = f"not heard of for {_period(visit.lost_after)}, last: {reason}"
            self.finish(visit, Outcome(state=State.LOST, reason=lost))
        else:
            is_patient = execution.started_at and not visit.cancel_by
            executions.give_back(
                execution,
                now=now,
                next_poll=now
                + timedelta(seconds=POLL_MAX_S if is_patient else RETRY_S),
                reason=reason,
                visited=visit.has_sent,
            )
            if visit.run.reason != reason:
                runs.note(execution.run_id, reason)

    def follow(self, visit: Visit, execution: Execution, now: datetime) -> None:
        """End the run as its execution ended, and free its task."""
        run, definition = visit.run, visit.definition
        state, reason = execution.state, execution.reason
        if runs.end(run.run_id, state=state, reason=reason, now=now):
            tell(run, state, reason)
        if definition is None or definition.overlap is not Overlap.ALLOW:
            tasks.release(run.task_id, run.run_id)

    def bring_to_its_end(self, visit: Visit) -> None:
        """Do what is left of an execution that has ended.

        Somebody died after the outcome, or output is still on the host. What
        the host does not give in the time after which a command is lost stays
        there.
        """
        execution = visit.execution
        now = self._now()
        self.follow(visit, execution, now)
        visit.server = servers.get(execution.server_id)
        self._free(visit)
        try:
            connection = (
                visit.connect(visit.server, self._passwords) if visit.server else None
            )
            if connection and execution.uncollected:
                self._collect_rest(visit, connection)
            if connection:
                self._clean(execution, connection)
        except (RemoteError, SecretMissing, SecretUnavailable) as exc:
            ended_at = execution.finished_at or now
            if execution.uncollected and now - ended_at < visit.lost_after:
                self._leave_output(visit, str(exc))
                return
        executions.settle(execution.run_id, execution.server_id)

    def _retry(
        self,
        visit: Visit,
        outcome: Outcome,
        connection: Connection | None,
        now: datetime,
    ) -> bool:
        """Let the next attempt follow, if there is to be one; False if not."""
        execution = visit.execution
        if visit.definition is None or visit.cancel_by:
            return False
        policy = visit.definition.retry
        delay_s = policy.delay_s(outcome, attempt=execution.attempt, seed=execution.key)
        if delay_s is None:
            return False
        ended_at = outcome.finished_at or now
        if outcome.uncollected and now - ended_at < COLLECT_FIRST:
            # The outcome is safe on the host; its output has to come before the next.
            return executions.give_back(
                execution,
                now=now,
                next_poll=now + timedelta(seconds=RETRY_S),
                reason=f"{outcome.reason}; its output is still on the host",
                visited=True,
                started_at=outcome.started_at,
                seen_at=now,
                streams=outcome.streams,
            )
        due_at = max(now, ended_at + timedelta(seconds=delay_s))
        number, of = execution.attempt, policy.max_attempts
        reason = f"attempt {number} of {of}: {outcome.reason}; the next one is due"
        attempts.record(execution, outcome, now=now)
        is_soon = delay_s <= POLL_MIN_S and visit.message.hops < MAX_HOPS
        if not executions.retry(
            execution,
            due_at=due_at,
            # If it is soon a message goes ahead of the tick.
            next_poll=due_at + timedelta(seconds=POLL_MIN_S if is_soon else 0),
            reason=reason,
            now=now,
        ):
            return False
        log.info(
            "An attempt is followed by another",
            action="attempt_ended",
            execution=execution.key,
            state=outcome.state.value,
            why=outcome.reason,
        )
        runs.note(execution.run_id, reason)
        check_at = due_at + CHECK_AFTER
        if visit.run.check_at and visit.run.check_at < check_at:
            runs.move_check(execution.run_id, old=visit.run.check_at, new=check_at)
        if is_soon:
            self._poll(visit, execution.run_id, (due_at - now).total_seconds())
        self._leave(visit, connection)
        return True

    def _leave(self, visit: Visit, connection: Connection | None) -> None:
        """Leave the guard alone on the host, and the server's place to others."""
        if connection:
            self._clean(visit.execution, connection)
        self._free(visit)

    def _free(self, visit: Visit) -> None:
        waiter = places.free(visit.server, visit.execution)
        if waiter:
            self._poll(visit, waiter, 0)

    def _poll(self, visit: Visit, run_id: str, delay_s: float) -> None:
        """Have an execution on this server visited, of this run or another."""
        poll = Message(
            kind=MessageKind.POLL,
            run_id=run_id,
            server_id=visit.execution.server_id,
            group=visit.message.group,
            hops=min(visit.message.hops + 1, MAX_HOPS),
        )
        self._queue.send([(poll, delay_s)])

    def _collect_rest(self, visit: Visit, connection: Connection) -> None:
        """Fetch what is still missing of the output. Raises if some still is."""
        execution, definition = visit.execution, visit.definition
        report = runner.attach(
            connection, execution.key, wait_s=0, inline_bytes=INLINE_BYTES
        )
        if report.state is not RemoteState.EXITED or definition is None:
            return  # there is nothing more to be had
        now = self._now()
        collected = self._collector.collect(
            visit, definition, report, connection, environment=None, now=now
        )
        executions.keep_streams(
            execution,
            collected.stdout,
            collected.stderr,
            next_poll=None
            if collected.complete
            else self._now() + timedelta(seconds=RETRY_S),
            now=self._now(),
            note=collected.note,
        )
        if not collected.complete:
            raise Unreachable("the output is not complete yet")

    def _leave_output(self, visit: Visit, why: str) -> None:
        execution = visit.execution
        log.warning(
            "Output is still on the host",
            action="output_uncollected",
            execution=execution.key,
            why=why,
        )
        now = self._now()
        ended = executions.get(execution.run_id, execution.server_id) or execution
        if ended.stdout and ended.stderr:
            executions.keep_streams(
                execution,
                ended.stdout,
                ended.stderr,
                next_poll=now + timedelta(seconds=POLL_MAX_S),
                now=now,
            )

    def _clean(self, execution: Execution, connection: Connection) -> None:
        try:
            old = runner.clean(connection, execution.key).old
            runner.sweep(connection, [key for key in old if self._is_old(key)])
        except RemoteError as exc:
            log.warning(
                "Files were left on the host",
                action="host_not_cleaned",
                execution=execution.key,
                why=str(exc),
            )

    def _is_old(self, key: str) -> bool:
        """Return whether nobody can start anything under this guard any more.

        Its execution ended more than a day ago by our record; without one, it is of
        a run whose row has gone long since.
        """
        run_id, _, rest = key.partition("-")
        server_id, _, _ = rest.partition("-")
        if not (is_id(run_id) and is_id(server_id)):
            return False
        now = self._now()
        execution = executions.get(run_id, server_id)
        if execution is None:
            return now - id_time(run_id) > FORGOTTEN_AFTER
        return (
            execution.finished_at is not None
            and execution.state.is_terminal
            and execution.next_poll is None
            and now - execution.finished_at > SWEPT_AFTER
        )


def tell(run: Run, state: State, reason: str | None) -> None:
    """Log how the run ended."""
    log.info(
        "The run ended",
        action="run_ended",
        run_id=run.run_id,
        task_id=run.task_id,
        state=state.value,
        why=reason,
    )


def _period(period: timedelta) -> str:
    hours = period.total_seconds() / 3600
    return f"{hours:g} hours"
