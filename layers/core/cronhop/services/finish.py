"""The end of an attempt: another one, or the outcome and all that follows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from cronhop.aws.queue import Queue
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.run import Execution, Outcome, State
from cronhop.errors import RemoteError, SecretMissing, SecretUnavailable
from cronhop.observe import log
from cronhop.services import places
from cronhop.services.cleanup import Cleanup
from cronhop.services.end import end_run
from cronhop.services.fan_out import FanOut
from cronhop.services.passwords import Passwords
from cronhop.services.plan import CHECK_AFTER
from cronhop.services.visit import Visit
from cronhop.ssh.connection import Connection
from cronhop.store import attempts, executions, runs, servers

POLL_MIN_S, POLL_MAX_S = 60, 300  # about a tenth of the time it has run
RETRY_S = 30  # a host that could not be used
COLLECT_FIRST = timedelta(minutes=10)  # the output of an attempt, before the next one
LOOKS = 4  # at a command at least, before it is lost
NOT_STARTED = frozenset({State.FAILED, State.SKIPPED, State.MISSED})


class Finisher:
    """Records how attempts end, and does what follows.

    `now` is the clock.
    """

    def __init__(
        self,
        queue: Queue,
        passwords: Passwords,
        cleanup: Cleanup,
        fan_out: FanOut,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._queue = queue
        self._passwords = passwords
        self._cleanup = cleanup
        self._fan_out = fan_out
        self._now = now

    def finish(
        self, visit: Visit, outcome: Outcome, connection: Connection | None = None
    ) -> None:
        """Record how the attempt ended, and do what follows; all can be repeated.

        1. the next attempt is due, if the task wants one after this outcome; else
        2. the outcome, if there is none yet; that of the attempt before, if this one
           was not started
        3. the run's end, and the task is free for its next run
        4. the host is cleaned of everything but the guard, and the server's place
           is free
        5. nobody needs to come back, but for output that is still there
        """
        execution = visit.execution
        now = self._now()
        if self._retry(visit, outcome, connection, now):
            return
        before = self._before(execution, outcome)
        if before:
            number = execution.attempt - 1
            ended = executions.finish(execution, before, now=now, attempt=number)
        else:
            ended = executions.finish(execution, outcome, now=now)
        if ended is None:  # by whom else, or by me and the answer was lost
            ended = executions.get(execution.run_id, execution.server_id) or execution
        if not ended.state.is_terminal:
            return  # somebody else was here, and let another attempt follow
        self.follow(visit, ended, now)
        places.free(visit.server, execution, self._call(visit))
        if ended.uncollected:
            if ended.stdout and ended.stderr:
                executions.keep_streams(
                    execution,
                    ended.stdout,
                    ended.stderr,
                    next_poll=now + timedelta(seconds=RETRY_S),
                    now=now,
                )
            return
        if connection:
            self._cleanup.clean(execution, connection)
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
        if self._is_held_too_long(visit, now):
            self.finish(visit, self._known(execution, reason))
        elif permanent and not may_run:
            self.finish(visit, Outcome(state=State.FAILED, reason=reason))
        elif self._is_lost(visit, now):
            lost = f"not heard of for {visit.lost_after}, last: {reason}"
            self.finish(visit, Outcome(state=State.LOST, reason=lost))
        else:
            executions.give_back(
                execution,
                now=now,
                next_poll=now + self._patience(visit, now, permanent=permanent),
                reason=reason,
                visited=visit.has_sent,
            )
            if visit.is_alone and visit.run.reason != reason:
                runs.note(execution.run_id, reason)

    def _is_lost(self, visit: Visit, now: datetime) -> bool:
        """Return whether nothing was heard for too long, and not in one visit only."""
        return (
            visit.may_run
            and not visit.has_sent
            and visit.execution.held_since is None
            and visit.execution.reason is not None
            and now - visit.heard_at > visit.lost_after
        )

    def _patience(self, visit: Visit, now: datetime, *, permanent: bool) -> timedelta:
        """Return how long to leave a host alone that could not be used.

        What only repeats itself, a refused login, is not repeated often.
        """
        least, most = timedelta(seconds=RETRY_S), timedelta(seconds=POLL_MAX_S)
        if permanent:
            return most
        if not visit.may_run or visit.cancel_by:
            return least
        silent = now - visit.heard_at
        return min(max(silent / 10, least), most, visit.lost_after / LOOKS)

    def _is_held_too_long(self, visit: Visit, now: datetime) -> bool:
        held = visit.execution.held_since
        return held is not None and (
            now - held >= COLLECT_FIRST or visit.cancel_by is not None
        )

    def _known(self, execution: Execution, why: str) -> Outcome:
        """Return the outcome of an attempt whose output was waited for in vain."""
        known = attempts.get(execution, execution.attempt)
        if known is None:
            return Outcome(state=State.LOST, reason=why)
        note = f"{known.reason}; its output could not be fetched whole: {why}"
        return replace(known.outcome, reason=note)

    def _before(self, execution: Execution, outcome: Outcome) -> Outcome | None:
        """Return the outcome of the attempt before, if this one was not started."""
        if outcome.is_attempt or outcome.state not in NOT_STARTED:
            return None
        before = execution.attempt - 1
        known = attempts.get(execution, before) if before else None
        if known is None:
            return None
        never = f"attempt {execution.attempt} was not started: {outcome.reason}"
        return replace(known.outcome, reason=f"{known.reason}; {never}")

    def follow(self, visit: Visit, execution: Execution, now: datetime) -> None:
        """End the run as its execution ended, and free its task.

        A run on several servers goes on to the next ones, or ends with the last.
        """
        run, definition = visit.run, visit.definition
        if visit.is_alone:
            state, reason = execution.state, execution.reason
            ended = end_run(run, definition, state, reason, now, self._queue)
            visit.run = ended or run
        else:
            self._fan_out.ended(run, definition, execution, visit.message.hops)

    def bring_to_its_end(self, visit: Visit) -> None:
        """Do what is left of an execution that has ended.

        Somebody died after the outcome, or output is still on the host.
        """
        execution = visit.execution
        self.follow(visit, execution, self._now())
        visit.server = servers.get(execution.server_id)
        places.free(visit.server, execution, self._call(visit))
        try:
            connection = (
                visit.connect(visit.server, self._passwords) if visit.server else None
            )
            if connection and not self._cleanup.collect(visit, connection):
                return
            if connection:
                self._cleanup.clean(execution, connection)
        except (RemoteError, SecretMissing, SecretUnavailable) as exc:
            if execution.uncollected and self._cleanup.put_off(visit, str(exc)):
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
        held_since = execution.held_since or now
        attempts.record(execution, outcome, now=now)
        if outcome.uncollected and now - held_since < COLLECT_FIRST:
            # The outcome is on record; its output has to come before the next attempt.
            executions.give_back(
                execution,
                now=now,
                next_poll=now + timedelta(seconds=RETRY_S),
                reason=f"{outcome.reason}; its output is still on the host",
                visited=True,
                started_at=outcome.started_at,
                seen_at=now,
                held_since=held_since,
                secret_ids=outcome.secret_ids,
                streams=outcome.streams,
            )
            return True
        due_at = max(now, (outcome.finished_at or now) + timedelta(seconds=delay_s))
        number, of = execution.attempt, policy.max_attempts
        reason = f"attempt {number} of {of}: {outcome.reason}; the next one is due"
        is_soon = delay_s <= POLL_MIN_S and visit.message.hops < MAX_HOPS
        # If it is soon a message goes ahead of the tick.
        next_poll = due_at + timedelta(seconds=POLL_MIN_S if is_soon else 0)
        if not executions.retry(
            execution, due_at=due_at, next_poll=next_poll, reason=reason, now=now
        ) and not self._has_followed(execution, reason):
            return False
        log.info(
            "An attempt is followed by another",
            action="attempt_ended",
            execution=execution.key,
            state=outcome.state.value,
            why=outcome.reason,
        )
        if visit.is_alone:
            runs.note(execution.run_id, reason)
            check_at = due_at + CHECK_AFTER
            if visit.run.check_at and visit.run.check_at < check_at:
                runs.move_check(execution.run_id, old=visit.run.check_at, new=check_at)
        if is_soon:
            self._call(visit, (due_at - now).total_seconds())(execution.run_id)
        if connection:
            self._cleanup.clean(execution, connection)
        places.free(visit.server, execution, self._call(visit))
        return True

    def _has_followed(self, execution: Execution, reason: str) -> bool:
        """Return whether the write of mine, whose answer was lost, took effect."""
        present = executions.get(execution.run_id, execution.server_id)
        return (
            present is not None
            and present.attempt == execution.attempt + 1
            and present.owner == execution.owner
            and present.reason == reason
        )

    def _call(self, visit: Visit, delay_s: float = 0) -> Callable[[str], None]:
        """Return what has a run's execution on this server visited."""

        def call(run_id: str) -> None:
            poll = Message(
                kind=MessageKind.POLL,
                run_id=run_id,
                server_id=visit.execution.server_id,
                group=visit.message.group,
                hops=min(visit.message.hops + 1, MAX_HOPS),
            )
            self._queue.send([(poll, delay_s)])

        return call
