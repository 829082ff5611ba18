"""What an attempt leaves on its host: output that was not fetched yet, and guards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cronhop.domain.ids import id_time, is_id
from cronhop.domain.run import Execution, StreamRecord
from cronhop.errors import RemoteError
from cronhop.observe import log
from cronhop.services.collect import INLINE_BYTES, Collector
from cronhop.services.visit import Visit
from cronhop.ssh import runner
from cronhop.ssh.connection import Connection
from cronhop.ssh.runner import RemoteState
from cronhop.store import executions

AGAIN = timedelta(seconds=30)  # a host or a bucket that gets on
LATER = timedelta(minutes=5)  # one that does not
GIVE_UP_AFTER = timedelta(days=1)  # and the output stays where it is
SWEPT_AFTER = timedelta(days=1)  # no executor that passed its claim lives so long
FORGOTTEN_AFTER = timedelta(days=90)  # a host may be used by another stack as well

Streams = tuple[StreamRecord, StreamRecord]


class Cleanup:
    """Fetches what is left of the output, and leaves guards alone on the host.

    `now` is the clock.
    """

    def __init__(self, collector: Collector, *, now: Callable[[], datetime]) -> None:
        self._collector = collector
        self._now = now

    def clean(self, execution: Execution, connection: Connection) -> None:
        """Leave nothing of the execution on the host but its guards.

        With this visit old guards of others go too.
        """
        try:
            for attempt in range(1, execution.attempt):
                runner.clean(connection, execution.key_of(attempt))
            old = runner.clean(connection, execution.key).old
            runner.sweep(connection, [key for key in old if self._is_old(key)])
        except RemoteError as exc:
            log.warning(
                "Files were left on the host",
                action="host_not_cleaned",
                execution=execution.key,
                why=str(exc),
            )

    def collect(self, visit: Visit, connection: Connection) -> bool:
        """Fetch what is still missing of the output of an execution that has ended.

        False if some still is, and somebody comes back for it.
        """
        execution, definition = visit.execution, visit.definition
        if not execution.uncollected:
            return True
        report = runner.attach(
            connection, execution.key, wait_s=0, inline_bytes=INLINE_BYTES
        )
        ends = {RemoteState.EXITED, RemoteState.LOST}
        if report.state not in ends or definition is None:
            return True  # there is nothing more to be had
        collected = self._collector.collect(
            visit, definition, report, connection, environment=None, now=self._now()
        )
        if collected.complete:
            self._keep(execution, (collected.stdout, collected.stderr), collected.note)
            return True
        return not self._come_back(visit, (collected.stdout, collected.stderr), "")

    def put_off(self, visit: Visit, why: str) -> bool:
        """Let somebody come back for the output; False if it is given up."""
        execution = visit.execution
        ended = executions.get(execution.run_id, execution.server_id) or execution
        if ended.stdout is None or ended.stderr is None:
            return False
        return self._come_back(visit, (ended.stdout, ended.stderr), why)

    def _come_back(self, visit: Visit, streams: Streams, why: str) -> bool:
        """Let somebody come back, sooner if it gets on; False if it is given up.

        That is a day after the run ended, and is put to the execution's reason.
        """
        execution, now = visit.execution, self._now()
        given_up = now - (visit.run.finished_at or now) > GIVE_UP_AFTER
        log.warning(
            "Output is still on the host",
            action="output_given_up" if given_up else "output_uncollected",
            execution=execution.key,
            why=why,
        )
        if given_up:
            self._keep(execution, streams, "its output could not be fetched whole")
            return False
        gets_on = streams != (execution.stdout, execution.stderr)
        self._keep(execution, streams, None, now + (AGAIN if gets_on else LATER))
        return True

    def _keep(
        self,
        execution: Execution,
        streams: Streams,
        note: str | None,
        next_poll: datetime | None = None,
    ) -> None:
        stdout, stderr = streams
        executions.keep_streams(
            execution, stdout, stderr, next_poll=next_poll, now=self._now(), note=note
        )

    def _is_old(self, key: str) -> bool:
        """Return whether nobody can start anything under this guard any more.

        Its execution ended more than a day ago by our record; without one, it is of
        a run whose row has gone long since.
        """
        run_id, _, rest = key.partition("-")
        server_id, _, _ = rest.partition("-")
        try:
            made = id_time(run_id)
        except ValueError:
            return False  # a name that the host has made up
        if not is_id(server_id):
            return False
        now = self._now()
        execution = executions.get(run_id, server_id)
        if execution is None:
            return now - made > FORGOTTEN_AFTER
        return (
            execution.finished_at is not None
            and execution.state.is_terminal
            and execution.next_poll is None
            and now - execution.finished_at > SWEPT_AFTER
        )
