"""Commands: what the holder of a claim asks the host, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from cronhop.aws.queue import Queue
from cronhop.domain.gate import Refusal
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.run import Outcome, State
from cronhop.domain.server import Server
from cronhop.domain.service import ServiceControl
from cronhop.domain.task import Script, TaskDefinition
from cronhop.domain.transfer import FileTransfer
from cronhop.errors import (
    HostKeyRefused,
    Invalid,
    NoWorkdir,
    RemoteError,
    SecretMissing,
    SecretUnavailable,
)
from cronhop.services import places
from cronhop.services.alarms import Alarms
from cronhop.services.collect import INLINE_BYTES, Collector
from cronhop.services.finish import LOOKS, POLL_MAX_S, POLL_MIN_S, Finisher
from cronhop.services.passwords import Environment, Passwords
from cronhop.services.transfer import Transfers
from cronhop.services.visit import Visit
from cronhop.ssh import runner, service
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import Job, RemoteState, Report
from cronhop.store import executions, runs, servers

ATTACH_S = 10.0  # most commands end while the first visit waits
LIVE_S = 0.5  # a reader waits for what there is by now
CANCEL_S = 10.0  # for a command that was told to end
FIRST_POLLS_S = (15, 30)  # by delayed messages; then the tick comes back
STUCK = timedelta(seconds=60)  # beyond timeout and grace, which the host enforces
CHECK_MARGIN = timedelta(minutes=10)  # beyond the timeout of a command
BUSY = "server busy"


class _Verb(Enum):
    START = auto()  #: start it, unless it was started
    ATTACH = auto()  #: see what has become of it
    FORBID = auto()  #: it may not start any more; see whether it did
    CANCEL = auto()  #: it shall end, and may not start
    STOP = auto()  #: its supervisor on the host does not end it: do so


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What the host is asked.

    `environment` is for START, `refusal` says for FORBID how the execution ends if
    the command was never started.
    """

    verb: _Verb
    environment: Environment | None = None
    refusal: Refusal | None = None


class Commands:
    """Takes commands on hosts from their start to their end.

    `now` is the clock.
    """

    def __init__(
        self,
        queue: Queue,
        passwords: Passwords,
        collector: Collector,
        finisher: Finisher,
        transfers: Transfers,
        alarms: Alarms,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._queue = queue
        self._passwords = passwords
        self._collector = collector
        self._finisher = finisher
        self._transfers = transfers
        self._alarms = alarms
        self._now = now

    def visit(self, visit: Visit) -> None:
        """Go to the host, unless it is clear before how the execution ends.

        The caller has the lease. Afterwards the execution has ended, or the lease
        is given back with the time of the next visit.
        """
        definition = visit.definition
        server = visit.server = servers.get(visit.execution.server_id)
        if definition is None or server is None:
            gone = "the task's version" if definition is None else "the server"
            self._finisher.put_off(visit, f"{gone} was deleted", permanent=True)
            return
        try:
            plan = self._plan(visit, definition, server)
            if plan is None:
                return
            if isinstance(definition.spec, FileTransfer):
                self._transfers.visit(visit, definition, definition.spec)
                return
            connection = visit.connect(server, self._passwords)
        except SecretMissing as exc:
            self._finisher.put_off(visit, f"credential: {exc}", permanent=True)
        except SecretUnavailable as exc:
            self._finisher.put_off(visit, f"credential: {exc}")
        except RemoteError as exc:
            if isinstance(exc, HostKeyRefused):
                self._alarm(exc)
            self._finisher.put_off(
                visit, f"{exc.reason}: {exc}", permanent=exc.permanent
            )
        else:
            self._ask(visit, definition, plan, connection)

    def cancel_beside(self, visit: Visit) -> None:
        """Let the command end though somebody else has the lease, and records it.

        Raises RemoteError, SecretMissing, SecretUnavailable.
        """
        server = servers.get(visit.execution.server_id)
        if server and visit.definition:
            connection = visit.connect(server, self._passwords)
            self._cancel(visit, visit.definition, connection)

    def _alarm(self, refused: HostKeyRefused) -> None:
        server = servers.get(refused.server_id)  # it may be the jump host
        if server:
            self._alarms.of_host_key(server, refused.seen)

    # Before the host

    def _plan(
        self, visit: Visit, definition: TaskDefinition, server: Server
    ) -> _Plan | None:
        """Return what to ask the host; None if that is settled without it.

        Raises SecretMissing, SecretUnavailable if it was surely never started.
        """
        execution = visit.execution
        if visit.cancel_by:
            if visit.may_run:
                return _Plan(verb=_Verb.CANCEL)
            self._finisher.finish(visit, _cancelled(visit))
            return None
        if execution.started_at:
            whole = timedelta(seconds=definition.timeout_s + definition.kill_grace_s)
            is_stuck = self._now() - execution.started_at > whole + STUCK
            return _Plan(verb=_Verb.STOP if is_stuck else _Verb.ATTACH)
        refusal = self._refusal(visit, definition, server)
        if refusal is None:
            environment = self._environment(visit, definition)
            if isinstance(environment, Refusal):
                refusal = environment
            elif places.take(server, execution):
                return _Plan(verb=_Verb.START, environment=environment)
            else:
                self._finisher.put_off(visit, BUSY)
                return None
        if visit.may_run:
            # An earlier visit's script may still be on its way: the guard is taken
            # from it, so that it can start nothing any more.
            return _Plan(verb=_Verb.FORBID, refusal=refusal)
        self._finisher.finish(
            visit, Outcome(state=refusal.state, reason=refusal.reason)
        )
        return None

    def _environment(
        self, visit: Visit, definition: TaskDefinition
    ) -> Environment | Refusal:
        """Return the command's variables, or why there are none to be had.

        Raises SecretMissing, SecretUnavailable if it was surely never started.
        """
        try:
            return self._passwords.environment(definition)
        except Invalid as exc:
            return Refusal(state=State.FAILED, reason=str(exc))
        except SecretMissing as exc:
            if not visit.may_run:
                raise
            return Refusal(state=State.FAILED, reason=f"credential: {exc}")

    def _refusal(
        self, visit: Visit, definition: TaskDefinition, server: Server
    ) -> Refusal | None:
        """Return why the command may not be started any more, None if it may."""
        if why_not := server.status.why_not:
            return Refusal(state=State.SKIPPED, reason=why_not)
        if alert := server.host_key_alert:
            self._alarms.of_alert(server.server_id)
            return Refusal(state=State.FAILED, reason=alert.why_not)
        due = visit.execution.due_at or visit.run.due
        if due + timedelta(seconds=definition.start_deadline_s) >= self._now():
            return None
        reason = visit.execution.reason or "it could not be started"
        is_busy = reason == BUSY
        return Refusal(
            state=State.MISSED if is_busy else State.FAILED,
            reason=f"{reason}; its start deadline is over",
        )

    # On the host

    def _ask(
        self,
        visit: Visit,
        definition: TaskDefinition,
        plan: _Plan,
        connection: Connection,
    ) -> None:
        try:
            report = self._report(visit, definition, plan, connection)
        except (NoWorkdir, Invalid) as exc:
            # Found before anything was started.
            visit.has_sent = False
            reason = exc.reason if isinstance(exc, NoWorkdir) else "invalid"
            self._finisher.put_off(visit, f"{reason}: {exc}", permanent=True)
        except RemoteError as exc:
            self._finisher.put_off(visit, f"{exc.reason}: {exc}")
        else:
            self._judge(visit, definition, plan, report, connection)

    def _report(
        self,
        visit: Visit,
        definition: TaskDefinition,
        plan: _Plan,
        connection: Connection,
    ) -> Report:
        key = visit.execution.key
        if plan.verb in {_Verb.CANCEL, _Verb.STOP}:
            return self._cancel(visit, definition, connection)
        if plan.verb is _Verb.FORBID:
            return runner.forbid(connection, key, inline_bytes=INLINE_BYTES)
        wait_s = LIVE_S if visit.message.live else ATTACH_S
        if plan.verb is _Verb.ATTACH:
            return runner.attach(
                connection, key, wait_s=wait_s, inline_bytes=INLINE_BYTES
            )
        environment = plan.environment.values if plan.environment else {}
        job = _job(key, definition, environment, slot=visit.run.slot)
        visit.has_sent = True
        return runner.start(connection, job, wait_s=wait_s, inline_bytes=INLINE_BYTES)

    def _cancel(
        self, visit: Visit, definition: TaskDefinition, connection: Connection
    ) -> Report:
        return runner.cancel(
            connection,
            visit.execution.key,
            grace_s=definition.kill_grace_s,
            wait_s=CANCEL_S,
            inline_bytes=INLINE_BYTES,
        )

    # What follows

    def _judge(
        self,
        visit: Visit,
        definition: TaskDefinition,
        plan: _Plan,
        report: Report,
        connection: Connection,
    ) -> None:
        """Record what was found: an end, or when to look again."""
        visit.answered = True
        if report.cancelled or report.state is RemoteState.ABSENT:
            # Perhaps by somebody's wish that is younger than this visit.
            visit.run = runs.get(visit.run.run_id) or visit.run
        match report.state:
            case RemoteState.EXITED | RemoteState.LOST:
                self._ended(visit, definition, plan, report, connection)
            case RemoteState.ABSENT:
                self._finisher.finish(visit, _absent(visit, plan, report))
            case _ if plan.verb is _Verb.STOP and self._is_hopeless(visit, definition):
                stuck = "its timeout is over, and the host cannot end it"
                self._finisher.finish(visit, Outcome(state=State.LOST, reason=stuck))
            case _:
                self._come_back(visit, definition, plan, report, connection)

    def _is_hopeless(self, visit: Visit, definition: TaskDefinition) -> bool:
        """Return whether the host has had time enough to end what it was told to."""
        whole = timedelta(seconds=definition.timeout_s + 2 * definition.kill_grace_s)
        began = visit.execution.started_at or self._now()
        return self._now() - began > whole + 2 * STUCK

    def _ended(
        self,
        visit: Visit,
        definition: TaskDefinition,
        plan: _Plan,
        report: Report,
        connection: Connection,
    ) -> None:
        now = self._now()
        started_at = visit.execution.started_at or _since(report, now)
        collected = self._collector.collect(
            visit,
            definition,
            report,
            connection,
            environment=plan.environment,
            now=now,
        )
        outcome = replace(
            _outcome(visit, report, collected.note),
            stdout=collected.stdout,
            stderr=collected.stderr,
            uncollected=not collected.complete,
            secret_ids=_secret_ids(plan, report),
        )
        if report.state is RemoteState.EXITED:
            outcome = replace(
                outcome,
                started_at=started_at,
                finished_at=started_at + timedelta(seconds=report.duration_s or 0),
                is_attempt=True,
            )
        self._finisher.finish(visit, outcome, connection)

    def _come_back(
        self,
        visit: Visit,
        definition: TaskDefinition,
        plan: _Plan,
        report: Report,
        connection: Connection,
    ) -> None:
        """Leave a command that is still running, and say when to look again."""
        execution, message, run = visit.execution, visit.message, visit.run
        now = self._now()
        started_at = execution.started_at or _since(report, now)
        collected = self._collector.collect(
            visit,
            definition,
            report,
            connection,
            environment=plan.environment,
            now=now,
        )
        is_first = execution.polls < len(FIRST_POLLS_S) and message.hops < MAX_HOPS
        if is_first and not (visit.cancel_by or message.live):
            delay_s: float = FIRST_POLLS_S[execution.polls]
            poll = Message(
                kind=MessageKind.POLL,
                run_id=run.run_id,
                server_id=execution.server_id,
                group=run.task_id,
                hops=message.hops + 1,
            )
            self._queue.send([(poll, delay_s)])
            delay_s += POLL_MIN_S  # for the tick, should the message be lost
        elif visit.cancel_by:
            delay_s = POLL_MIN_S
        else:
            most = min(POLL_MAX_S, definition.lost_after_s / LOOKS)
            delay_s = min(max((report.age_s or 0) / 10, POLL_MIN_S), most)
        executions.give_back(
            execution,
            now=now,
            next_poll=now + timedelta(seconds=delay_s),
            reason=f"to be cancelled by {visit.cancel_by}" if visit.cancel_by else None,
            visited=True,
            started_at=started_at,
            seen_at=now,
            is_extra=message.live,
            secret_ids=_secret_ids(plan, report),
            streams=(collected.stdout, collected.stderr),
        )
        if not visit.is_alone:
            return  # its run looks after all of them
        if run.reason:
            runs.note(run.run_id, None)
        whole = timedelta(seconds=definition.timeout_s + definition.kill_grace_s)
        check_at = started_at + whole + CHECK_MARGIN
        if run.check_at and run.check_at < check_at - CHECK_MARGIN:
            # Its polls look after the run from here; the check is for a lost one.
            runs.move_check(run.run_id, old=run.check_at, new=check_at)


def _job(
    key: str,
    task: TaskDefinition,
    environment: Mapping[str, str],
    *,
    slot: datetime | None,
) -> Job:
    """Return the command that the task is, of whatever kind."""
    spec = task.spec
    if isinstance(spec, ServiceControl):
        text, arguments = service.command(spec)
        spec = Script(command=text, arguments=arguments, run_as=spec.run_as)
    if not isinstance(spec, Script):
        raise Invalid("kind", f"a {task.kind} is no command")
    return Job(
        key=key,
        command=spec.command,
        interpreter=spec.interpreter,
        arguments=tuple(
            word if isinstance(word, str) else environment[word.parameter]
            for word in spec.arguments
        ),
        workdir=spec.workdir,
        run_as=spec.run_as,
        environment=environment,
        slot=slot,
        timeout_s=task.timeout_s,
        kill_grace_s=task.kill_grace_s,
        cap_bytes=task.output_cap_bytes,
    )


def _secret_ids(plan: _Plan, report: Report) -> Mapping[str, str] | None:
    """Return what the command was started with, if it was by this visit."""
    if plan.environment is None or not report.started_here:
        return None
    return plan.environment.secret_ids


def _since(report: Report, now: datetime) -> datetime:
    """Return when the command was started, by our clock."""
    return now - timedelta(seconds=report.age_s or 0)


def _outcome(visit: Visit, report: Report, note: str | None) -> Outcome:
    """Return how the command ended, without its output; `note` is on that."""
    if report.state is RemoteState.LOST:
        state, reason = State.LOST, report.reason
    elif report.cancelled and visit.cancel_by:
        state, reason = State.CANCELLED, f"cancelled by {visit.cancel_by}"
    elif report.timed_out or report.cancelled:
        # Cancelled on the host, but by nobody: it had not ended it in time.
        state, reason = State.TIMEOUT, "ended by its timeout"
    elif report.exit_code == 0:
        state, reason = State.COMPLETED, None
    else:
        state, reason = State.FAILED, f"exit code {report.exit_code}"
    escaped = None
    if report.escaped:
        escaped = f"{report.escaped} of its processes outlived it"
        if state in {State.COMPLETED, State.FAILED}:
            escaped += ", what they write is not kept"
    reasons = [text for text in (reason, escaped, note) if text]
    return Outcome(
        state=state, reason="; ".join(reasons) or None, exit_code=report.exit_code
    )


def _cancelled(visit: Visit) -> Outcome:
    """Return the outcome of an attempt that was never started, nor will be."""
    reason = f"cancelled by {visit.cancel_by} before it was started"
    if visit.execution.attempt > 1:
        reason = (
            f"cancelled by {visit.cancel_by} before attempt {visit.execution.attempt}"
        )
    return Outcome(state=State.CANCELLED, reason=reason)


def _absent(visit: Visit, plan: _Plan, report: Report) -> Outcome:
    """Return the outcome if the host has no trace of a start.

    The guard was not there, and is taken now, or was taken by such a visit before.
    """
    if plan.refusal:
        reason = plan.refusal.reason
        never = f"{reason}; the host has no trace of a start, and will not start it"
        return Outcome(state=plan.refusal.state, reason=never)
    if visit.execution.started_at or report.started_here:
        return Outcome(state=State.LOST, reason="its directory is gone from the host")
    if visit.cancel_by:
        return _cancelled(visit)
    reason = visit.execution.reason or "it was refused"
    never = f"{reason}; its start was forbidden on the host meanwhile"
    return Outcome(state=State.FAILED, reason=never)
