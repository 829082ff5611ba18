"""What people are told of a run, in words."""

from __future__ import annotations

from datetime import datetime

from cronhop.domain.rollout import FAILURES
from cronhop.domain.run import Run
from cronhop.domain.server import Server
from cronhop.domain.task import TaskDefinition
from cronhop.store import fleets, servers, tasks

SERVERS_TOLD = 10  # of many


def words(run: Run, what: str | None = None) -> tuple[str, str]:
    """Return subject and text; `what` there is to tell, if not the run's state."""
    what = what or run.state.value
    definition = _definition(run)
    name = definition.name if definition else run.task_id
    lines = [
        f"{what}: {name}",
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
    for server_id, server in servers_of(run):
        lines.append(f"server:   {server.name if server else 'deleted'} ({server_id})")
    text = "\n".join(printable(line) for line in lines)
    return f"cronhop: {what}: {name}", f"{text}\n"


def task_name(run: Run) -> str | None:
    """Return the name that the run's task had for it, None if it is gone."""
    definition = _definition(run)
    return definition.name if definition else None


def servers_of(run: Run) -> list[tuple[str, Server | None]]:
    """Return up to ten servers, by id: where it failed, if it is on several."""
    return [(server_id, servers.get(server_id)) for server_id in _server_ids(run)]


def printable(line: str) -> str:
    """Return a line that is one line, whatever names and hosts put into it."""
    return "".join(char if char.isprintable() else "?" for char in line)


def _server_ids(run: Run) -> list[str]:
    if run.fleet is None:
        return list(run.targets)
    ended = fleets.progress(run).ended
    failed = sorted(one for state in FAILURES for one in ended.get(state, ()))
    return [
        server_id
        for position in failed[:SERVERS_TOLD]
        for server_id in fleets.targets(run, position, position + 1)
    ]


def _definition(run: Run) -> TaskDefinition | None:
    if run.task_version:
        return tasks.get_version(run.task_id, run.task_version)
    task = tasks.get(run.task_id)
    return task.definition if task else None


def _instant(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "-"
