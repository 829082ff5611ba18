"""Alarms: somebody is told, once, of a run that ended badly or a changed key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cronhop.aws.topic import Topic
from cronhop.domain.rollout import FAILURES
from cronhop.domain.run import Run
from cronhop.domain.server import Server
from cronhop.domain.task import TaskDefinition
from cronhop.observe import log
from cronhop.store import fleets, runs, servers, tasks

AGAIN = timedelta(minutes=2)  # should whoever raises an alarm die of it
SELDOM = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=7)
SERVERS_TOLD = 10  # of many


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
            or self._topic.publish(*_words(run))
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
            f"{_printable(server.name)} ({server.host}) shows a host key that is not pinned:\n\n"
            f"seen:     {seen}\n"
            f"server:   {server.server_id}\n\n"
            "Nothing was sent to it, and no command is started on it until the key\n"
            "is approved, or a check of the server sees a pinned one.\n",
        )
        if not is_told:
            servers.untell_alert(server_id, seen=seen)


def _words(run: Run) -> tuple[str, str]:
    """Return subject and text."""
    definition = _definition(run)
    name = definition.name if definition else run.task_id
    lines = [
        f"{run.state.value}: {name}",
        "",
        f"reason:   {run.reason or '-'}",
        f"run:      {run.run_id}",
        f"task:     {run.task_id}",
        f"slot:     {_instant(run.slot) if run.slot else 'none: ' + run.trigger.value}",
        f"began:    {_instant(run.started_at)}",
        f"ended:    {_instant(run.finished_at)}",
    ]
    if run.missed_to:
        lines.append(
            f"missed:   at least {run.missed_count}, to {_instant(run.missed_to)}"
        )
    for server_id in _servers(run):
        server = servers.get(server_id)
        lines.append(f"server:   {server.name if server else 'deleted'} ({server_id})")
    text = "\n".join(_printable(line) for line in lines)
    return f"cronhop: {run.state.value}: {name}", f"{text}\n"


def _servers(run: Run) -> list[str]:
    """Return ids of up to ten servers: where it failed, if it is on several."""
    if run.fleet is None:
        return list(run.targets)
    ended = fleets.progress(run).ended
    failed = sorted(one for state in FAILURES for one in ended.get(state, ()))
    return [
        server_id
        for position in failed[:SERVERS_TOLD]
        for server_id in fleets.targets(run, position, position + 1)
    ]


def _printable(line: str) -> str:
    """Return a line that is one line, whatever names and hosts put into it."""
    return "".join(char if char.isprintable() else "?" for char in line)


def _definition(run: Run) -> TaskDefinition | None:
    if run.task_version:
        return tasks.get_version(run.task_id, run.task_version)
    task = tasks.get(run.task_id)
    return task.definition if task else None


def _instant(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "-"
