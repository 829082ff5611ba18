"""Alarms: somebody is told, once, of a run that ended badly or a changed key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cronhop.aws.topic import Topic
from cronhop.domain.run import Run
from cronhop.domain.server import Server
from cronhop.observe import log
from cronhop.services.words import printable, words
from cronhop.store import runs, servers

AGAIN = timedelta(minutes=2)  # should whoever raises an alarm die of it
SELDOM = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=7)


class Alarms:
    """Raises alarms on a topic; `now` is the clock."""

    def __init__(self, topic: Topic, *, now: Callable[[], datetime]) -> None:
        self._topic = topic
        self._now = now

    def of_run(self, run: Run) -> None:
        """Raise the alarm of a run that has ended badly, if nobody has yet.

        Its row is looked after until then. Of several who come at once one raises
        it; it comes twice only if that one dies before it can say that it has.
        While SNS does not take it, it is tried less and less often, for a week.
        """
        if not run.state.is_terminal or run.check_at is None:
            return
        now = self._now()
        since = now - (run.finished_at or now)
        again = now + min(max(since, AGAIN), SELDOM)
        if not runs.tell(run.run_id, now=now, again=again):
            return
        if (
            not run.state.is_alarming
            or self._topic.publish(*words(run))
            or since > GIVE_UP_AFTER
        ):
            runs.told(run.run_id)

    def of_host_key(self, server: Server, seen: str) -> None:
        """Put a host that shows another key under alert, and raise the alarm of it.

        Commands are kept from the server until somebody approves the key, or a
        check sees a pinned one again. The alarm is raised once for each key.
        """
        if servers.alert_host_key(server, seen=seen, now=self._now()):
            log.warning(
                "A host shows another key",
                action="host_key_changed",
                server_id=server.server_id,
                seen=seen,
            )
        self.of_alert(server.server_id)

    def of_alert(self, server_id: str) -> None:
        """Raise the alarm of a server's alert, if nobody has yet."""
        server = servers.get(server_id)
        if server is None or server.host_key_alert is None:
            return
        seen = server.host_key_alert.seen
        if not servers.tell_alert(server_id, seen=seen):
            return
        is_told = self._topic.publish(
            f"cronhop: host key changed: {server.name}",
            f"{printable(server.name)} ({server.host}) shows a host key that is not pinned:\n\n"
            f"seen:     {seen}\n"
            f"server:   {server.server_id}\n\n"
            "Nothing was sent to it, and no command is started on it until the key\n"
            "is approved, or a check of the server sees a pinned one.\n",
        )
        if not is_told:
            servers.untell_alert(server_id, seen=seen)
