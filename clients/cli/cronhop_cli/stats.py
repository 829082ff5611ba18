"""stats: what the fleet did, and what a task did, in some days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from . import names, session
from .command import verb
from .tasks import TaskName, tasks
from .terminal import note, say, show_json, show_table

# In the order of a run's life, those that ended well first.
_STATES = (
    *("completed", "failed", "timeout", "lost"),
    *("missed", "skipped", "cancelled"),
)
_MINUTE_S = 60
_MINUTES = 60  # an hour

FirstDay = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="DAY",
        help="The first day (UTC), 2026-06-01; else six before the last.",
    ),
]
LastDay = Annotated[
    str | None,
    typer.Option("--to", metavar="DAY", help="The last day (UTC); else today."),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    verb(
        app,
        "stats",
        examples=["cronhop stats", "cronhop stats --from 2026-06-01 --to 2026-06-30"],
    )(of_all)


def of_all(context: typer.Context, start: FirstDay = None, end: LastDay = None) -> None:
    """Show what all tasks did, day by day.

    Ended runs by state, the rate of success, how many began late. Then the servers on which commands ran longest, and the tasks of which no run was
    ever completed. Success is what was completed among the runs that were completed,
    failed, timeout, lost or missed; late is what began more than 30 s after it was due.
    """
    here = session.of(context)
    found = here.api.get("/v1/stats", **{"from": start, "to": end})
    if here.as_json:
        show_json(found)
        return
    _show_days(found)
    busiest = found["busiest_servers"]
    if busiest["items"]:
        since = busiest["since"]
        later = "" if since == found["from"] else f" since {since}"
        say(f"\nThe busiest servers{later}:", "bold")
        _show_busiest(busiest["items"])
    never = found["never_successful"]
    if never["items"]:
        say("\nTasks that never succeeded, whenever they ran:", "bold")
        rows = [(one["name"], one["first_end"]) for one in never["items"]]
        show_table(["TASK", "FIRST RUN ENDED"], rows)
        if not never["complete"]:
            note("There are more of them.")


@verb(
    tasks,
    "stats",
    examples=[
        'cronhop tasks stats "nightly dump"',
        'cronhop tasks stats "nightly dump" --from 2026-06-01 --to 2026-06-30',
    ],
)
def of_task(
    context: typer.Context,
    task: TaskName,
    start: FirstDay = None,
    end: LastDay = None,
) -> None:
    """Show what a task did, day by day, and how long it took.

    What is counted is that of `cronhop stats`. Half of its runs took no longer than P50, 95 of a hundred no longer than P95.
    """
    here = session.of(context)
    task_id = names.task(here.api, task)["task_id"]
    found = here.api.get(f"/v1/tasks/{task_id}/stats", **{"from": start, "to": end})
    if here.as_json:
        show_json(found)
        return
    _show_days(found)
    say(f"\nLast completed: {found['last_success'] or 'never'}")


def _show_days(found: Mapping[str, Any]) -> None:
    """Print a line for each day, and one for all of them."""
    states = [one for one in _STATES if one in found["states"]]
    states += sorted(found["states"].keys() - set(states))  # of a newer API
    timed = "p50_s" in found
    numbers = [
        *("RUNS", *map(str.upper, states), "SUCCESS", "LATE"),
        *(("P50", "P95") if timed else ()),
    ]
    rows = [
        (day, *_numbers(one, states, timed=timed))
        for day, one in [
            *((one["day"], one) for one in found["days"]),
            ("all", found),
        ]
    ]
    show_table(["DAY", *numbers], rows, numbers=numbers)


def _numbers(
    counts: Mapping[str, Any], states: Sequence[str], *, timed: bool
) -> list[object]:
    return [
        counts["runs"],
        *(counts["states"].get(one, 0) for one in states),
        _percent(counts["success_rate"]),
        counts["late"],
        *((_took(counts["p50_s"]), _took(counts["p95_s"])) if timed else ()),
    ]


def _show_busiest(servers: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            one["name"] or f"{one['server_id']} (deleted)",
            _took(one["busy_s"]),
            one["executions"],
            one["executions"] - one["states"].get("completed", 0),
        )
        for one in servers
    ]
    numbers = ["BUSY", "EXECUTIONS", "NOT COMPLETED"]
    show_table(["SERVER", *numbers], rows, numbers=numbers)


def _percent(rate: float | None) -> str | None:
    """Return a rate for people; one failure among many is not 100 %."""
    if rate is None:
        return None
    return "100 %" if rate == 1 else f"{min(rate * 100, 99.9):.1f} %"


def _took(seconds: float | None) -> str | None:
    """Return a duration for people: two units at most."""
    if seconds is None:
        return None
    if seconds < _MINUTE_S:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    if minutes < _MINUTES:
        return f"{minutes} min {rest:02} s"
    hours, rest = divmod(round(seconds / _MINUTE_S), _MINUTES)
    return f"{hours} h {rest:02} min"
