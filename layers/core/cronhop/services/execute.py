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
from cronhop.aws.secrets import SecretMissing, Secrets
from cronhop.domain.credential import Secret
from cronhop.domain.gate import refusal
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.run import Execution, Outcome, Run, State
from cronhop.domain.server import ServerStatus
from cronhop.domain.task import Overlap, Task, TaskDefinition
from cronhop.errors import Invalid, NoWorkdir, RemoteError
from cronhop.observe import log
from cronhop.services.collect import INLINE_BYTES, collect
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
LOST_AFTER = timedelta(hours=24)  # a host silent for so long
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
        if refused or task is None:
            if refused:
                _end(run, refused.state, refused.reason, now)
            return
        holder = self._holder(run, task)
        if holder:
            reason = f"overlap: run {holder} of this task is under way"
            _end(run, State.SKIPPED, reason, now)
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
        for _ in range(2):
            other = runs.get(holder) if holder and holder != run.run_id else None
            if other and not other.state.is_terminal:
                return holder
            if tasks.hold(task.task_id, run.run_id, instead_of=holder):
                return None
            # Another one took it since the task was read.
            task = tasks.get(task.task_id) or task
            holder = task.active_run
        return holder

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
        now = self._now()
        execution = executions.claim(
            run.run_id,
            server_id,
            owner=tokens.token_hex(16),
            now=now,
            lease_until=invocation.ends_at + LEASE_MARGIN,
        )
        if execution is None:
            ended = executions.get(run.run_id, server_id)
            if ended and ended.state.is_terminal and ended.next_poll:
                # Somebody died between the outcome and what follows it.
                definition = tasks.get_version(run.task_id, run.task_version or 0)
                _follow(run, ended, definition, self._now())
                executions.settle(run.run_id, server_id)
            return
        self._visit(run, execution, message, invocation)

    def _visit(
        self, run: Run, execution: Execution, message: Message, invocation: Invocation
    ) -> None:
        definition = tasks.get_version(run.task_id, run.task_version or 0)
        server = servers.get(execution.server_id)
        visit = _Visit(
            run=run,
            execution=execution,
            message=message,
            definition=definition,
            is_overdue=definition is None
            or run.due + timedelta(seconds=definition.start_deadline_s) < self._now(),
        )
        if definition is None or server is None:
            gone = "the task's version" if definition is None else "the server"
            self._cannot_visit(visit, f"{gone} was deleted", permanent=True)
            return
        if not visit.may_run and server.status is not ServerStatus.ENABLED:
            self._finish(
                visit, Outcome(state=State.SKIPPED, reason="the server is disabled")
            )
            return
        if not visit.may_run and visit.is_overdue:
            reason = execution.reason or "it could not be started"
            late = f"{reason}; its start deadline is over"
            self._finish(visit, Outcome(state=State.FAILED, reason=late))
            return
        try:
            secret = self._secret(server.credential)
            environment = self._environment(definition)
        except SecretMissing as exc:
            self._cannot_visit(visit, f"credential: {exc}", permanent=True)
            return
        try:
            connection = invocation.connections.to(
                server, secret, deadline=invocation.stop_at
            )
        except RemoteError as exc:
            self._cannot_visit(visit, f"{exc.reason}: {exc}", permanent=exc.permanent)
            return
        self._command(visit, definition, environment, connection)

    def _command(
        self,
        visit: _Visit,
        definition: TaskDefinition,
        environment: Mapping[str, str],
        connection: Connection,
    ) -> None:
        """Start the command or attach to it, and record what is found."""
        execution = visit.execution
        try:
            report = self._report(visit, definition, environment, connection)
        except (NoWorkdir, Invalid) as exc:
            # Found before anything was started.
            reason = exc.reason if isinstance(exc, NoWorkdir) else "invalid"
            self._cannot_visit(visit, f"{reason}: {exc}", permanent=True)
            return
        except RemoteError as exc:
            # The script was on its way: the command may have been started.
            self._give_back(visit, f"{exc.reason}: {exc}", RETRY_S, visited=True)
            return
        if report.state is RemoteState.EXITED:
            hidden = [environment[name].encode() for name in definition.spec.secrets]
            try:
                stdout, stderr = collect(
                    execution, report, connection, self._output, hidden, self._now()
                )
            except RemoteError as exc:
                self._give_back(visit, f"{exc.reason}: {exc}", RETRY_S, visited=True)
                return
            started_at = self._now() - timedelta(seconds=report.age_s or 0)
            outcome = replace(
                _outcome(report),
                started_at=started_at,
                finished_at=started_at + timedelta(seconds=report.duration_s or 0),
                stdout=stdout,
                stderr=stderr,
            )
            self._finish(visit, outcome, connection)
        elif report.state is RemoteState.LOST:
            self._finish(visit, Outcome(state=State.LOST, reason=report.reason))
        elif report.state is RemoteState.ABSENT:
            self._finish(visit, _absent(execution))
        else:
            self._come_back(visit, definition, report)

    def _report(
        self,
        visit: _Visit,
        definition: TaskDefinition,
        environment: Mapping[str, str],
        connection: Connection,
    ) -> Report:
        execution = visit.execution
        if execution.started_at or (visit.may_run and visit.is_overdue):
            # On record as started, or too late to be: never started from here.
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
        return runner.start(connection, job, wait_s=ATTACH_S, inline_bytes=INLINE_BYTES)

    def _secret(self, name: str) -> Secret:
        credential = credentials.get(name)
        if credential is None:
            raise SecretMissing(f"there is no credential {name!r}")
        return self._secrets.get(credential.secret_id, version=credential.version)

    def _environment(self, definition: TaskDefinition) -> Mapping[str, str]:
        environment = dict(definition.spec.environment)
        for variable, name in definition.spec.secrets.items():
            password = self._secret(name).password
            if password is None:
                raise SecretMissing(f"credential {name!r} is not a password")
            environment[variable] = password
        return environment

    # What follows a visit

    def _cannot_visit(self, visit: _Visit, reason: str, *, permanent: bool) -> None:
        """Record that this visit did not reach the command.

        If the command cannot have been started, a permanent reason ends the
        execution. Otherwise it goes on until the host has been out of reach for
        a day: then the outcome cannot be known.
        """
        execution = visit.execution
        now = self._now()
        if not visit.may_run and permanent:
            self._finish(visit, Outcome(state=State.FAILED, reason=reason))
        elif visit.may_run and now - visit.since > LOST_AFTER:
            lost = f"out of reach for {LOST_AFTER.days} day, last: {reason}"
            self._finish(visit, Outcome(state=State.LOST, reason=lost))
        else:
            delay_s = POLL_MAX_S if execution.started_at else RETRY_S
            self._give_back(visit, reason, delay_s, visited=False)

    def _give_back(
        self,
        visit: _Visit,
        reason: str | None,
        delay_s: float,
        *,
        visited: bool,
        started_at: datetime | None = None,
    ) -> None:
        now = self._now()
        executions.give_back(
            visit.execution,
            now=now,
            next_poll=now + timedelta(seconds=delay_s),
            reason=reason,
            visited=visited,
            started_at=started_at,
        )

    def _come_back(
        self, visit: _Visit, definition: TaskDefinition, report: Report
    ) -> None:
        """Leave a command that is still running, and say when to look again."""
        execution, message, run = visit.execution, visit.message, visit.run
        now = self._now()
        started_at = now - timedelta(seconds=report.age_s or 0)
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
        self._give_back(visit, None, delay_s, visited=True, started_at=started_at)
        whole = timedelta(seconds=definition.timeout_s + definition.kill_grace_s)
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
        4. nobody needs to come back
        """
        run, execution = visit.run, visit.execution
        now = self._now()
        executions.finish(execution, outcome, now=now)
        ended = executions.get(run.run_id, execution.server_id) or execution
        _follow(run, ended, visit.definition, now)
        if connection:
            try:
                runner.clean(connection, execution.key)
            except RemoteError as exc:
                log.warning(
                    "Files were left on the host",
                    action="host_not_cleaned",
                    run_id=run.run_id,
                    server_id=execution.server_id,
                    why=str(exc),
                )
        executions.settle(run.run_id, execution.server_id)


@dataclass(frozen=True, kw_only=True)
class _Visit:
    """One claim's way to the host.

    `is_overdue` says that the run's start deadline is over.
    """

    run: Run
    execution: Execution
    message: Message
    definition: TaskDefinition | None
    is_overdue: bool

    @property
    def may_run(self) -> bool:
        """Whether an earlier visit started the command, or may have."""
        return self.execution.started_at is not None or self.execution.visits > 1

    @property
    def since(self) -> datetime:
        """Since when the command may run."""
        return self.execution.started_at or self.run.started_at or self.run.due


def _outcome(report: Report) -> Outcome:
    if report.timed_out:
        return Outcome(
            state=State.TIMEOUT,
            reason="ended by its timeout",
            exit_code=report.exit_code,
        )
    if report.exit_code == 0:
        return Outcome(state=State.COMPLETED, exit_code=0)
    return Outcome(
        state=State.FAILED,
        reason=f"exit code {report.exit_code}",
        exit_code=report.exit_code,
    )


def _absent(execution: Execution) -> Outcome:
    if execution.started_at:
        return Outcome(state=State.LOST, reason="its directory is gone from the host")
    # The guard is not there, and whoever could still make it has lost its lease.
    return Outcome(state=State.FAILED, reason="not started before its start deadline")


def _end(run: Run, state: State, reason: str | None, now: datetime) -> None:
    runs.end(run.run_id, state=state, reason=reason, now=now)
    log.info(
        "The run ended",
        action="run_ended",
        run_id=run.run_id,
        task_id=run.task_id,
        state=state.value,
        why=reason,
    )


def _follow(
    run: Run, execution: Execution, definition: TaskDefinition | None, now: datetime
) -> None:
    """End the run as its execution ended, and free its task."""
    _end(run, execution.state, execution.reason, now)
    if definition is None or definition.overlap is not Overlap.ALLOW:
        tasks.release(run.task_id, run.run_id)
