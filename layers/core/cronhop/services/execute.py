"""Executions: take a run through its gate and its command through its life.

At any moment the process may die, and every message may come again. What holds
the promise is on three rows and one directory: the run passes its gate by one
conditional write, the execution is claimed by a lease, the directory of the
attempt on the host is made once, and the outcome is written once. The rest is
repeated until it is done.
"""

from __future__ import annotations

import secrets as tokens
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from cronhop.aws.files import Files
from cronhop.aws.output import OutputBucket
from cronhop.aws.queue import Queue
from cronhop.aws.secrets import Secrets
from cronhop.aws.topic import Topic
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.run import Run, State
from cronhop.domain.task import TaskDefinition
from cronhop.errors import RemoteError, SecretMissing, SecretUnavailable
from cronhop.observe import log
from cronhop.services.alarms import Alarms
from cronhop.services.cleanup import Cleanup
from cronhop.services.collect import Collector
from cronhop.services.commands import Commands
from cronhop.services.fan_out import FanOut, is_told
from cronhop.services.finish import Finisher
from cronhop.services.gate import Passage, pass_gate
from cronhop.services.parameters import definition_of
from cronhop.services.passwords import Passwords
from cronhop.services.transfer import Transfers
from cronhop.services.visit import Invocation, Visit
from cronhop.store import executions, runs

GATE_WAIT_S = 5.0  # a run that comes earlier than this is sent again
LEASE_MARGIN = timedelta(seconds=30)  # beyond the invocation's own end
CANCEL_AGAIN_S = 3.0  # until what shall end has ended


class Executor:
    """Starts commands and records how they ended.

    `now` and `sleep` are the clock.
    """

    def __init__(
        self,
        queue: Queue,
        secrets: Secrets,
        output: OutputBucket,
        files: Files,
        topic: Topic,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        passwords = Passwords(secrets=secrets)
        collector = Collector(passwords=passwords, bucket=output)
        self._queue = queue
        self._now = now
        self._sleep = sleep
        cleanup = Cleanup(collector, now=now)
        self._fan_out = FanOut(queue, now=now)
        self._finisher = Finisher(queue, passwords, cleanup, self._fan_out, now=now)
        self._alarms = Alarms(topic, now=now)
        transfers = Transfers(files, passwords, self._finisher, now=now)
        self._commands = Commands(
            queue,
            passwords,
            collector,
            self._finisher,
            transfers,
            self._alarms,
            now=now,
        )

    def handle(self, message: Message, invocation: Invocation) -> Run | None:
        """Do what the message asks, as far as the rows say it is still to be done.

        Returns the run as it is afterwards, None if there is none. A message
        handled twice, late or out of order changes nothing.
        """
        run = runs.get(message.run_id)
        if run is None:
            log.warning("No such run", action="run_unknown", run_id=message.run_id)
            return None
        present: Run | None = run
        if message.kind is MessageKind.POLL and message.server_id:
            visit = self._execute(run, message.server_id, message, invocation)
            present = _seen(run, visit)
        elif run.cancel_by and not run.state.is_terminal:
            self._cancel(run, message, invocation)
        elif not run.state.is_terminal:
            present = self._start(run, message, invocation)
        if present is None or not present.state.is_terminal:
            present = runs.get(run.run_id)
        if present:
            self._alarms.of_run(present)
        return present

    def _start(self, run: Run, message: Message, invocation: Invocation) -> Run:
        """Let the run begin, or go on; return it as this has seen it last."""
        version = None
        if run.state is State.PENDING:
            passage = self._begin(run, message)
            run, version = passage.run, passage.version
        if run.state is not State.RUNNING:
            return run
        if run.fleet is None:
            for server_id in run.targets:
                visit = self._execute(run, server_id, message, invocation, version)
                run = _seen(run, visit)
        elif message.server_id:
            visit = self._execute(run, message.server_id, message, invocation)
            run = _seen(run, visit)
        elif message.kind is MessageKind.CHECK:
            self._fan_out.look_after(run, message)
        else:
            self._fan_out.go_on(run, message)
        return run

    def _begin(self, run: Run, message: Message) -> Passage:
        """Take the run through its gate when it is due; return what became of it."""
        early_s = (run.due - self._now()).total_seconds()
        if early_s > GATE_WAIT_S:
            # At the end of a chain the check of its row comes back to it.
            if message.hops < MAX_HOPS:
                self._queue.send([(replace(message, hops=message.hops + 1), early_s)])
            return Passage(run=run)
        if early_s > 0:
            self._sleep(early_s)
        return pass_gate(run, self._now(), self._send)

    def _send(self, message: Message) -> None:
        self._queue.send([(message, 0)])

    def _execute(
        self,
        run: Run,
        server_id: str,
        message: Message,
        invocation: Invocation,
        version: TaskDefinition | None = None,
    ) -> Visit | None:
        """Visit the command on the server, if nobody else is there.

        1. claim: the lease, and the poll that comes when it is over
        2. visit: start or attach
        3. finish, or give the lease back with the time of the next poll

        Returns the visit, None if there is nothing to visit.
        """
        message = replace(message, server_id=server_id)
        if not self._fan_out.is_target(run, message):
            log.warning("Not a target", action="target_unknown", run_id=run.run_id)
            return None
        execution = executions.claim(
            run.run_id,
            server_id,
            owner=tokens.token_hex(16),
            now=self._now(),
            lease_until=invocation.ends_at + LEASE_MARGIN,
            early=run.cancel_by is not None,
            position=message.position,
        )
        present = execution or executions.get(run.run_id, server_id)
        if present is None:
            return None
        visit = Visit(
            run=run,
            execution=present,
            message=message,
            invocation=invocation,
            definition=definition_of(run, version),
            is_held=execution is not None,
        )
        if present.state.is_terminal:
            # Output is fetched by who has the lease, the rest may be done twice.
            if present.next_poll and (execution or not present.uncollected):
                self._finisher.bring_to_its_end(visit)
            return visit
        if execution is None:
            return visit
        try:
            self._commands.visit(visit)
        except Exception:
            # Whatever it was: the next visit must not take it for a start.
            self._finisher.put_off(visit, "an error of ours, see the executor's log")
            raise
        return visit

    def _cancel(self, run: Run, message: Message, invocation: Invocation) -> None:
        """Let everything end that the run has under way.

        Of several servers each has a message of its own.
        """
        if run.fleet is None:
            for server_id in run.targets:
                self._cancel_on(run, server_id, message, invocation)
        elif message.server_id:
            self._cancel_on(run, message.server_id, message, invocation)
        else:
            self._fan_out.cancel(run, message)

    def _cancel_on(
        self, run: Run, server_id: str, message: Message, invocation: Invocation
    ) -> None:
        """Let the run end on a server.

        1. no further attempt follows, and what nobody has claimed is cancelled
        2. the host ends the command, whoever has the lease
        3. again in some seconds, while it is not over; then by the tick
        """
        message = replace(message, server_id=server_id)
        present = executions.get(run.run_id, server_id)
        if message.kind is MessageKind.CHECK and is_told(present):
            return  # its polls take it from here
        if not self._fan_out.is_target(run, message):
            return
        executions.ask_cancel(
            run.run_id,
            server_id,
            by=run.cancel_by or "",
            now=self._now(),
            position=message.position,
        )
        visit = self._execute(run, server_id, message, invocation)
        if visit is None:
            return
        answered = visit.answered
        if visit.is_held:
            pass
        elif visit.execution.state.is_terminal:
            self._finisher.follow(visit, visit.execution, self._now())
        elif visit.execution.first_visit and not visit.is_transfer:
            answered = self._cancel_beside(visit)
        # A host that does not answer is left to the polls, which come less often.
        if not answered or message.kind is not MessageKind.CANCEL:
            return
        ended = executions.get(run.run_id, server_id)
        if ended and not ended.state.is_terminal and message.hops < MAX_HOPS:
            again = replace(message, hops=message.hops + 1)
            self._queue.send([(again, CANCEL_AGAIN_S)])

    def _cancel_beside(self, visit: Visit) -> bool:
        try:
            self._commands.cancel_beside(visit)
        except (RemoteError, SecretMissing, SecretUnavailable) as exc:
            # Who has the lease meets the same, and says so.
            log.warning(
                "The host could not be told to end a command",
                action="cancel_failed",
                execution=visit.execution.key,
                why=str(exc),
            )
            return False
        return True


def _seen(run: Run, visit: Visit | None) -> Run:
    """Return the run as a visit has left it."""
    return visit.run if visit else run
