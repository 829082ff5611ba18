"""Executions: take a run through its gate and its command through its life.

At any moment the process may die, and every message may come again. What holds
the promise is on three rows and one directory: the run passes its gate by one
conditional write, the execution is claimed by a lease, the directory of the
attempt on the host is made once, and the outcome is written once. The rest is
repeated until it is done.
"""

from __future__ import annotations

import secrets as tokens
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cronhop.aws.output import OutputBucket
from cronhop.aws.queue import Queue
from cronhop.aws.secrets import Secrets
from cronhop.domain.credential import Secret
from cronhop.domain.gate import Refusal, refusal
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.run import Execution, Outcome, Run, State
from cronhop.domain.server import Server, ServerStatus
from cronhop.domain.task import Overlap, Task, TaskDefinition
from cronhop.errors import (
    Conflict,
    Invalid,
    NoWorkdir,
    RemoteError,
    SecretMissing,
    SecretUnavailable,
    Unreachable,
)
from cronhop.observe import log
from cronhop.services.collect import INLINE_BYTES, Collected, collect, later, withheld
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection, Connections
from cronhop.ssh.runner import Job, RemoteState, Report
from cronhop.store import credentials, executions, runs, servers, tasks

ATTACH_S = 10.0  # most commands end while the first visit waits
GATE_WAIT_S = 5.0  # a run that comes earlier than this is sent again
LEASE_MARGIN = timedelta(seconds=30)  # beyond the invocation's own end
FIRST_POLLS_S = (15, 30)  # by delayed messages; then the tick comes back
POLL_MIN_S, POLL_MAX_S = 60, 300  # about a tenth of the time it has run
RETRY_S = 30  # a host that could not be used
LOST_AFTER = timedelta(hours=24)  # nothing heard of a command for so long
HOLD_TRIES = 5  # to be the run that others may not overlap
REPLACE_MARGIN = timedelta(minutes=1)  # a request of the API takes half as long
CHECK_MARGIN = timedelta(minutes=10)  # beyond the timeout of a command


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the messages of one invocation share.

    | field       | meaning                                                    |
    |-------------|------------------------------------------------------------|
    | connections | to the servers; closed when the invocation ends            |
    | ends_at     | when the environment is stopped                            |
    | stop_at     | the same by the monotonic clock, less what closing takes   |
    """

    connections: Connections
    ends_at: datetime
    stop_at: float


class Executor:
    """Starts commands and records how they ended.

    `now` and `sleep` are the clock.
    """

    def __init__(
        self,
        queue: Queue,
        secrets: Secrets,
        output: OutputBucket,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self._queue = queue
        self._secrets = secrets
        self._output = output
        self._now = now
        self._sleep = sleep

    def handle(self, message: Message, invocation: Invocation) -> Run | None:
        """Do what the message asks, as far as the rows say it is still to be done.

        Returns the run as it is afterwards, None if there is none. A message
        handled twice, late or out of order changes nothing.
        """
        run = runs.get(message.run_id)
        if run is None:
            log.warning("No such run", action="run_unknown", run_id=message.run_id)
            return None
        if message.kind is MessageKind.POLL and message.server_id:
            self._execute(run, message.server_id, message, invocation)
        elif not run.state.is_terminal:
            self._start(run, message, invocation)
        return runs.get(run.run_id)

    # The gate

    def _start(self, run: Run, message: Message, invocation: Invocation) -> None:
        if run.state is State.PENDING:
            early_s = (run.due - self._now()).total_seconds()
            if early_s > GATE_WAIT_S:
                if message.hops >= MAX_HOPS:
                    return  # the check of its row comes back to it
                self._queue.send([(replace(message, hops=message.hops + 1), early_s)])
                return
            if early_s > 0:
                self._sleep(early_s)
            self._pass_gate(run)
            run = runs.get(run.run_id) or run
        if run.state is State.RUNNING:
            for server_id in run.targets:
                self._execute(run, server_id, message, invocation)

    def _pass_gate(self, run: Run) -> None:
        """Let the run begin, or end it with the reason why it may not.

        1. the task is there and enabled, the slot still one of its schedule,
           the start deadline not over
        2. no other run of the task is under way, where that matters
        3. one conditional write fixes the version and the targets; who loses it
           goes on from the row
        """
        now = self._now()
        task = tasks.get(run.task_id)
        refused = refusal(run, task, now)
        if task is not None and refused is None:
            holder = self._holder(run, task)
            if holder:
                refused = Refusal(
                    state=State.SKIPPED,
                    reason=f"overlap: run {holder} of this task is not over",
                )
        if refused or task is None:
            if refused and runs.refuse(
                run.run_id, state=refused.state, reason=refused.reason, now=now
            ):
                _tell(run, refused.state, refused.reason)
            return
        runs.begin(
            run.run_id,
            task_version=task.version,
            targets=task.definition.targets.server_ids,
            now=now,
        )

    def _holder(self, run: Run, task: Task) -> str | None:
        """Return the run that this one would overlap, None if it may begin.

        A run that has ended holds nothing, whatever the task's row says.
        """
        if task.definition.overlap is Overlap.ALLOW:
            return None
        holder = task.active_run
        for _ in range(HOLD_TRIES):
            other = runs.get(holder) if holder and holder != run.run_id else None
            if other and not other.state.is_terminal:
                return holder
            if tasks.hold(task.task_id, run.run_id, instead_of=holder):
                return None
            # Another one took it since the task was read.
            task = tasks.get(task.task_id) or task
            holder = task.active_run
        raise Conflict("other runs of this task come and go; the check comes back")

    # The execution

    def _execute(
        self, run: Run, server_id: str, message: Message, invocation: Invocation
    ) -> None:
        """Visit the command on the server, if nobody else is there.

        1. claim: the lease, and the poll that comes when it is over
        2. visit: start or attach
        3. finish, or give the lease back with the time of the next poll
        """
        if server_id not in run.targets:
            log.warning("Not a target", action="target_unknown", run_id=run.run_id)
            return
        execution = executions.claim(
            run.run_id,
            server_id,
            owner=tokens.token_hex(16),
            now=self._now(),
            lease_until=invocation.ends_at + LEASE_MARGIN,
        )
        present = execution or executions.get(run.run_id, server_id)
        if present is None:
            return
        visit = _Visit(
            run=run,
            execution=present,
            message=message,
            invocation=invocation,
            definition=tasks.get_version(run.task_id, run.task_version or 0),
        )
        if present.state.is_terminal:
            # Output is fetched by who has the lease, the rest may be done twice.
            if present.next_poll and (execution or not present.uncollected):
                self._bring_to_its_end(visit)
            return
        if execution is None:
            return
        try:
            self._visit(visit)
        except Exception:
            # Whatever it was: the next visit must not take it for a start.
            self._cannot_visit(visit, "an error of ours, see the executor's log")
            raise

    def _visit(self, visit: _Visit) -> None:
        """Go to the host, unless it is clear before that the command cannot run."""
        definition = visit.definition
        server = servers.get(visit.execution.server_id)
        if definition is None or server is None:
            gone = "the task's version" if definition is None else "the server"
            self._cannot_visit(visit, f"{gone} was deleted", permanent=True)
            return
        if not visit.may_run and server.status is not ServerStatus.ENABLED:
            disabled = Outcome(state=State.SKIPPED, reason="the server is disabled")
            self._finish(visit, disabled)
            return
        deadline = visit.run.due + timedelta(seconds=definition.start_deadline_s)
        is_overdue = deadline < self._now()
        if not visit.may_run and is_overdue:
            reason = visit.execution.reason or "it could not be started"
            late = f"{reason}; its start deadline is over"
            self._finish(visit, Outcome(state=State.FAILED, reason=late))
            return
        try:
            environment, why_not = self._environment(visit, definition, is_overdue)
            is_enabled = server.status is ServerStatus.ENABLED
            if environment is not None and not is_enabled:
                environment, why_not = None, "the server is disabled"
            connection = self._connect(visit, server)
        except SecretMissing as exc:
            self._cannot_visit(visit, f"credential: {exc}", permanent=True)
        except SecretUnavailable as exc:
            self._cannot_visit(visit, f"credential: {exc}")
        except RemoteError as exc:
            self._cannot_visit(visit, f"{exc.reason}: {exc}", permanent=exc.permanent)
        else:
            self._command(visit, definition, environment, why_not, connection)

    def _environment(
        self, visit: _Visit, definition: TaskDefinition, is_overdue: bool
    ) -> tuple[Mapping[str, str] | None, str | None]:
        """Return the command's environment; None and why, if it may not start now.

        Raises SecretMissing, SecretUnavailable if it was surely never started.
        """
        if visit.execution.started_at:
            return None, None
        if is_overdue:
            return None, visit.execution.reason or "not started"
        environment = dict(definition.spec.environment)
        try:
            for variable, name in definition.spec.secrets.items():
                environment[variable] = self._password(name)
        except SecretMissing as exc:
            if not visit.may_run:
                raise
            return None, f"credential: {exc}"
        return environment, None

    def _connect(self, visit: _Visit, server: Server) -> Connection:
        return visit.invocation.connections.to(
            server,
            self._secret(server.credential),
            deadline=visit.invocation.stop_at,
        )

    def _command(
        self,
        visit: _Visit,
        definition: TaskDefinition,
        environment: Mapping[str, str] | None,
        why_not: str | None,
        connection: Connection,
    ) -> None:
        """Start the command or attach to it, and record what is found."""
        execution = visit.execution
        try:
            report = self._report(visit, definition, environment, why_not, connection)
        except (NoWorkdir, Invalid) as exc:
            # Found before anything was started.
            visit.has_sent = False
            reason = exc.reason if isinstance(exc, NoWorkdir) else "invalid"
            self._cannot_visit(visit, f"{reason}: {exc}", permanent=True)
            return
        except RemoteError as exc:
            self._cannot_visit(visit, f"{exc.reason}: {exc}")
            return
        now = self._now()
        if report.state is RemoteState.EXITED:
            started_at = execution.started_at or _since(report, now)
            collected = self._collect(
                visit, definition, environment, report, connection
            )
            outcome = replace(
                _outcome(report, collected.note),
                started_at=started_at,
                finished_at=started_at + timedelta(seconds=report.duration_s or 0),
                stdout=collected.stdout,
                stderr=collected.stderr,
                uncollected=not collected.complete,
            )
            self._finish(visit, outcome, connection)
        elif report.state is RemoteState.LOST:
            self._finish(visit, Outcome(state=State.LOST, reason=report.reason))
        elif report.state is RemoteState.ABSENT:
            self._finish(visit, _absent(why_not))
        else:
            self._come_back(visit, definition, report, now)

    def _report(
        self,
        visit: _Visit,
        definition: TaskDefinition,
        environment: Mapping[str, str] | None,
        why_not: str | None,
        connection: Connection,
    ) -> Report:
        execution = visit.execution
        if why_not is not None:
            # An earlier visit's script may still be on its way: the guard is
            # taken from it, so that it can start nothing any more.
            return runner.forbid(connection, execution.key, inline_bytes=INLINE_BYTES)
        if environment is None:
            return runner.attach(
                connection, execution.key, wait_s=ATTACH_S, inline_bytes=INLINE_BYTES
            )
        job = Job(
            key=execution.key,
            command=definition.spec.command,
            environment=environment,
            timeout_s=definition.timeout_s,
            kill_grace_s=definition.kill_grace_s,
        )
        visit.has_sent = True
        return runner.start(connection, job, wait_s=ATTACH_S, inline_bytes=INLINE_BYTES)

    def _collect(
        self,
        visit: _Visit,
        definition: TaskDefinition,
        environment: Mapping[str, str] | None,
        report: Report,
        connection: Connection,
    ) -> Collected:
        """Keep the output, or nothing of it if its secrets are not known any more.

        What this visit started has the values of `environment`. What an earlier
        one did has those of the time; a credential that was replaced since then
        may stand in the output with a value that nobody can mask.
        """
        values = environment
        if environment is None or not report.started_here:
            try:
                values = self._values_since(visit.run, definition)
            except SecretUnavailable:
                return later(visit.execution, report)
        if values is None:
            return withheld(visit.execution, report)
        hidden = [values[name].encode() for name in definition.spec.secrets]
        return collect(
            visit.execution, report, connection, self._output, hidden, self._now()
        )

    def _values_since(
        self, run: Run, definition: TaskDefinition
    ) -> Mapping[str, str] | None:
        """Return the secrets of a command that began with its run.

        None if one of them was replaced or removed since.
        """
        values = {}
        for variable, name in definition.spec.secrets.items():
            credential = credentials.get(name)
            if credential is None:
                return None
            # The first value has no other before it. A later one was written some
            # time after the instant that its row bears.
            replaced_by = credential.updated_at + REPLACE_MARGIN
            if credential.version > 1 and replaced_by > (run.started_at or run.due):
                return None
            try:
                values[variable] = self._password(name)
            except SecretMissing:
                return None
        return values

    def _secret(self, name: str) -> Secret:
        for _ in range(2):
            credential = credentials.get(name)
            if credential is None:
                raise SecretMissing(f"there is no credential {name!r}")
            try:
                return self._secrets.get(credential.secret_id)
            except SecretMissing:
                continue  # replaced since its row was read
        raise SecretMissing(f"credential {name!r} has no value")

    def _password(self, name: str) -> str:
        password = self._secret(name).password
        if password is None:
            raise SecretMissing(f"credential {name!r} is not a password")
        return password

    # What follows a visit

    def _cannot_visit(
        self, visit: _Visit, reason: str, *, permanent: bool = False
    ) -> None:
        """Record that this visit learned nothing of the command.

        If the command cannot have been started, a permanent reason ends the
        execution. Otherwise it goes on until nothing was heard for a day: then
        the outcome cannot be known.
        """
        execution = visit.execution
        now = self._now()
        may_run = visit.may_run or visit.has_sent
        if permanent and not may_run:
            self._finish(visit, Outcome(state=State.FAILED, reason=reason))
        elif may_run and now - visit.heard_at > LOST_AFTER:
            lost = f"not heard of for {LOST_AFTER.days} day, last: {reason}"
            self._finish(visit, Outcome(state=State.LOST, reason=lost))
        else:
            delay_s = POLL_MAX_S if execution.started_at else RETRY_S
            executions.give_back(
                execution,
                now=now,
                next_poll=now + timedelta(seconds=delay_s),
                reason=reason,
                visited=visit.has_sent,
            )
            if visit.run.reason != reason:
                runs.note(execution.run_id, reason)

    def _come_back(
        self, visit: _Visit, definition: TaskDefinition, report: Report, now: datetime
    ) -> None:
        """Leave a command that is still running, and say when to look again."""
        execution, message, run = visit.execution, visit.message, visit.run
        started_at = execution.started_at or _since(report, now)
        whole = timedelta(seconds=definition.timeout_s + definition.kill_grace_s)
        if now - started_at > whole + LOST_AFTER:
            stuck = "its supervisor on the host does not end it"
            self._finish(visit, Outcome(state=State.LOST, reason=stuck))
            return
        if execution.polls < len(FIRST_POLLS_S) and message.hops < MAX_HOPS:
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
        else:
            delay_s = min(max((report.age_s or 0) / 10, POLL_MIN_S), POLL_MAX_S)
        executions.give_back(
            execution,
            now=now,
            next_poll=now + timedelta(seconds=delay_s),
            reason=None,
            visited=True,
            started_at=started_at,
            seen_at=now,
        )
        if run.reason:
            runs.note(run.run_id, None)
        check_at = started_at + whole + CHECK_MARGIN
        if run.check_at and run.check_at < check_at - CHECK_MARGIN:
            # Its polls look after the run from here; the check is for a lost one.
            runs.move_check(run.run_id, old=run.check_at, new=check_at)

    def _finish(
        self, visit: _Visit, outcome: Outcome, connection: Connection | None = None
    ) -> None:
        """Record the outcome, then do what follows it; every step can be repeated.

        1. the outcome, if there is none yet
        2. the run's end, and the task is free for its next run
        3. the host is cleaned of everything but the guard
        4. nobody needs to come back, but for output that is still there
        """
        execution = visit.execution
        now = self._now()
        executions.finish(execution, outcome, now=now)
        ended = executions.get(execution.run_id, execution.server_id) or execution
        _follow(visit, ended, now)
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
            _clean(execution, connection)
        executions.settle(execution.run_id, execution.server_id)

    def _bring_to_its_end(self, visit: _Visit) -> None:
        """Do what is left of an execution that has ended.

        Somebody died after the outcome, or output is still on the host. What
        the host does not give within a day stays there.
        """
        execution = visit.execution
        now = self._now()
        _follow(visit, execution, now)
        try:
            server = servers.get(execution.server_id)
            connection = self._connect(visit, server) if server else None
            if connection and execution.uncollected:
                self._collect_rest(visit, connection)
            if connection:
                _clean(execution, connection)
        except (RemoteError, SecretMissing, SecretUnavailable) as exc:
            ended_at = visit.run.finished_at or now
            if execution.uncollected and now - ended_at < LOST_AFTER:
                self._leave_output(visit, str(exc))
                return
        executions.settle(execution.run_id, execution.server_id)

    def _collect_rest(self, visit: _Visit, connection: Connection) -> None:
        """Fetch what is still missing of the output. Raises if some still is."""
        execution, definition = visit.execution, visit.definition
        report = runner.attach(
            connection, execution.key, wait_s=0, inline_bytes=INLINE_BYTES
        )
        if report.state is not RemoteState.EXITED or definition is None:
            return  # there is nothing more to be had
        collected = self._collect(visit, definition, None, report, connection)
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

    def _leave_output(self, visit: _Visit, why: str) -> None:
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


@dataclass(kw_only=True)
class _Visit:
    """One claim's way to the host.

    `has_sent` says that this visit has sent what may start the command.
    """

    run: Run
    execution: Execution
    message: Message
    invocation: Invocation
    definition: TaskDefinition | None
    has_sent: bool = False

    @property
    def may_run(self) -> bool:
        """Whether an earlier visit started the command, or may have."""
        execution = self.execution
        return (
            execution.started_at is not None or execution.first_visit != execution.owner
        )

    @property
    def heard_at(self) -> datetime:
        """When anything was last heard of the command."""
        execution, run = self.execution, self.run
        return execution.seen_at or execution.started_at or run.started_at or run.due


def _clean(execution: Execution, connection: Connection) -> None:
    try:
        runner.clean(connection, execution.key)
    except RemoteError as exc:
        log.warning(
            "Files were left on the host",
            action="host_not_cleaned",
            execution=execution.key,
            why=str(exc),
        )


def _since(report: Report, now: datetime) -> datetime:
    """Return when the command was started, by our clock."""
    return now - timedelta(seconds=report.age_s or 0)


def _outcome(report: Report, note: str | None) -> Outcome:
    """Return how the command ended, without its output; `note` is on that."""
    if report.timed_out:
        state, reason = State.TIMEOUT, "ended by its timeout"
        if report.escaped:
            reason += f"; {report.escaped} of its processes outlived it"
    elif report.exit_code == 0:
        state, reason = State.COMPLETED, None
    else:
        state, reason = State.FAILED, f"exit code {report.exit_code}"
    reasons = [text for text in (reason, note) if text]
    return Outcome(
        state=state, reason="; ".join(reasons) or None, exit_code=report.exit_code
    )


def _absent(why_not: str | None) -> Outcome:
    if why_not is None:
        # It was started, by this visit or an earlier one.
        return Outcome(state=State.LOST, reason="its directory is gone from the host")
    # The guard was not there, and is taken now.
    reason = f"{why_not}; the host has no trace of a start, and will not start it"
    return Outcome(state=State.FAILED, reason=reason)


def _tell(run: Run, state: State, reason: str | None) -> None:
    log.info(
        "The run ended",
        action="run_ended",
        run_id=run.run_id,
        task_id=run.task_id,
        state=state.value,
        why=reason,
    )


def _follow(visit: _Visit, execution: Execution, now: datetime) -> None:
    """End the run as its execution ended, and free its task."""
    run, definition = visit.run, visit.definition
    state, reason = execution.state, execution.reason
    if runs.end(run.run_id, state=state, reason=reason, now=now):
        _tell(run, state, reason)
    if definition is None or definition.overlap is not Overlap.ALLOW:
        tasks.release(run.task_id, run.run_id)
