"""preview, why, upcoming, calendars, freeze: when things are due."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from . import names, session
from .command import Yes, confirm, noun, verb
from .session import Session
from .terminal import note, say, show_json, show_table, show_yaml

calendars = noun("calendars", "Sets of dates on which schedules may hold still.")
freeze = noun("freeze", "Hold back all tasks of the stack.")

Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="RFC 3339; else until it is ended.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="For those who ask why.")]
CalendarName = Annotated[str, typer.Argument(metavar="NAME", help="Of the calendar.")]
Dates = Annotated[list[str], typer.Argument(metavar="DATE", help="2026-12-25 …")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    verb(
        app,
        "preview",
        examples=[
            'cronhop preview "30 2 * * *" --tz Europe/Berlin',
            'cronhop preview "H 3 * * *" --task "nightly dump" --count 3',
        ],
    )(preview)
    verb(
        app,
        "why",
        examples=[
            'cronhop why "nightly dump"',
            'cronhop why "nightly dump" --at 2026-06-01T01:30:00Z',
        ],
    )(why)
    verb(app, "upcoming", examples=["cronhop upcoming --minutes 1440"])(upcoming)
    app.add_typer(calendars)
    app.add_typer(freeze)


def preview(
    context: typer.Context,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="An expression.")],
    tz: Annotated[
        str, typer.Option(metavar="ZONE", help="Whose clock it follows.")
    ] = "UTC",
    count: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="How many.")
    ] = 10,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; else now.")
    ] = None,
    seconds: Annotated[
        bool, typer.Option("--seconds", help="Six fields, seconds first.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Which H means: it is hashed by task."),
    ] = None,
) -> None:
    """Show when a schedule would be due, and what may surprise. Nothing is kept."""
    here = session.of(context)
    body: dict[str, Any] = {
        "schedule": {"cron": cron, "timezone": tz, "seconds": seconds},
        "count": count,
        "after": after,
    }
    if task:
        body["task_id"] = names.task(here.api, task)["task_id"]
    found = here.api.post("/v1/schedule/preview", body)
    if here.as_json:
        show_json(found)
        return
    rows = [
        (one["at"], one["local"], one["note"] or one["excluded_by"] or "")
        for one in found["slots"]
    ]
    show_table(["UTC", tz, ""], rows)
    for warning in found["warnings"]:
        note(f"warning: {warning}")


def why(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Its name or id.")],
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; else now.")
    ] = None,
) -> None:
    """Say what became of an instant of a task, or will."""
    here = session.of(context)
    task_id = names.task(here.api, task)["task_id"]
    found = here.api.get(f"/v1/tasks/{task_id}/why", at=at)
    if here.as_json:
        show_json(found)
        return
    say(f"{found['at']}: {found['verdict']}")
    if found["because"]:
        say(f"because: {found['because']}")
    for label, key in (("slot before", "slot_before"), ("slot after", "slot_after")):
        if found[key]:
            say(f"{label}: {found[key]}")
    if found["run_id"]:
        note(f"`cronhop runs show {found['run_id']}` shows its run.")


def upcoming(
    context: typer.Context,
    minutes: Annotated[
        int, typer.Option(min=1, max=1440, metavar="N", help="How far to look.")
    ] = 60,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; else now.")
    ] = None,
) -> None:
    """Show the coming slots of all tasks."""
    here = session.of(context)
    found = here.api.get("/v1/schedule/upcoming", minutes=minutes, after=after)
    if here.as_json:
        show_json(found)
        return
    rows = [(one["at"], one["name"], one["held_back"] or "") for one in found["slots"]]
    show_table(["SLOT", "TASK", "HELD BACK"], rows)
    if not found["complete"]:
        note("There are more.")


@verb(calendars, "list")
def list_calendars(context: typer.Context) -> None:
    """List all calendars by name."""
    here = session.of(context)
    items = list(here.api.items("/v1/calendars"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop calendars create --help`.")
        return
    rows = [(one["name"], len(one["dates"]), one["updated_at"]) for one in items]
    show_table(["CALENDAR", "DATES", "UPDATED"], rows)


@verb(calendars, "show")
def show_calendar(context: typer.Context, name: CalendarName) -> None:
    """Show a calendar and its dates."""
    here = session.of(context)
    found = here.api.get(f"/v1/calendars/{quote(name, safe='')}")
    if here.as_json:
        show_json(found)
    else:
        show_yaml(found)


@verb(
    calendars,
    "create",
    examples=["cronhop calendars create holidays 2026-12-25 2026-12-26"],
)
def create_calendar(context: typer.Context, name: CalendarName, dates: Dates) -> None:
    """Keep dates under a name."""
    here = session.of(context)
    made = here.api.post("/v1/calendars", {"name": name, "dates": dates})
    _say(here, made, f"Created {name}.")


@verb(calendars, "replace", examples=["cronhop calendars replace holidays 2027-01-01"])
def replace_calendar(context: typer.Context, name: CalendarName, dates: Dates) -> None:
    """Keep other dates under its name."""
    here = session.of(context)
    made = here.api.put(f"/v1/calendars/{quote(name, safe='')}", {"dates": dates})
    _say(here, made, f"Replaced {name}.")


@verb(calendars, "delete")
def delete_calendar(
    context: typer.Context, name: CalendarName, yes: Yes = False
) -> None:
    """Remove a calendar that no task names."""
    here = session.of(context)
    path = f"/v1/calendars/{quote(name, safe='')}"
    found = here.api.get(path)
    confirm(f"Remove the calendar {name}?", yes=yes)
    here.api.delete(path)
    _say(here, found, f"Removed {name}.")


@verb(freeze, "show")
def show_freeze(context: typer.Context) -> None:
    """Show whether the stack is frozen, by whom and why."""
    here = session.of(context)
    found = here.api.get("/v1/freeze")
    if here.as_json:
        show_json(found)
    elif found["freeze"]:
        show_yaml(found["freeze"])
    else:
        say("It is not frozen.")


@verb(freeze, "begin", examples=['cronhop freeze begin --reason "a move"'])
def begin_freeze(
    context: typer.Context, until: Until = None, reason: Reason = "", yes: Yes = False
) -> None:
    """Hold back the slots of all tasks. What runs goes on."""
    here = session.of(context)
    confirm("Hold back all tasks of the stack?", yes=yes)
    found = here.api.put("/v1/freeze", {"until": until, "reason": reason})
    _say(here, found, "Frozen.")


@verb(freeze, "end")
def end_freeze(context: typer.Context) -> None:
    """End the freeze. Slots are started again."""
    here = session.of(context)
    here.api.delete("/v1/freeze")
    _say(here, {"freeze": None}, "It is not frozen any more.")


def _say(here: Session, document: dict[str, Any], text: str) -> None:
    if here.as_json:
        show_json(document)
    else:
        say(text)
