"""run, logs, runs: start what a task does, see what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from . import names, session
from .command import INTERRUPTED, noun, verb
from .find import CreatedBy, From, Limit, Newest, States, To, order, states
from .follow import FOLLOWED, STREAMS, TERMINAL, Follower, exit_code
from .parameters import Params, check_complete, typed
from .session import Session
from .terminal import note, say, show_json, show_table

runs = noun("runs", "What was run, and what became of it.")


def _checked(run_id: str) -> str:
    if not names.is_id(run_id):
        raise typer.BadParameter(f"{run_id!r} is no id of a run")
    return run_id


RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="The id of a run.", callback=_checked)
]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Show the output as it comes, until the end."),
]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw", help="Write bytes as they are; they may steer your terminal."
    ),
]


class Streams(StrEnum):
    """Which output is wanted."""

    STDOUT = "stdout"
    STDERR = "stderr"
    BOTH = "both"

    @property
    def names(self) -> tuple[str, ...]:
        """The streams' names in the API."""
        return STREAMS if self is Streams.BOTH else (self.value,)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    verb(
        app,
        "run",
        examples=[
            'cronhop run "nightly dump"',
            'cronhop run "nightly dump" --follow',
            "cronhop run deploy --server web-1 --server web-2",
            "cronhop run deploy --param VERSION=v1.4 --param WHERE=web-1",
        ],
    )(run)
    verb(
        app,
        "logs",
        examples=[
            "cronhop logs 01KA5Z6J6Q7E0N2T3V4W5X6Y7Z -f",
            "cronhop logs 01KA5Z6J6Q7E0N2T3V4W5X6Y7Z --stream stdout --raw > dump.gz",
        ],
    )(logs)
    verb(app, "cancel", examples=["cronhop cancel 01KA5Z6J6Q7E0N2T3V4W5X6Y7Z"])(cancel)
    app.add_typer(runs)


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Its name or id.")],
    follow: Follow = False,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run it there instead; may be repeated."),
    ] = None,
    param: Params = None,
    raw: Raw = False,
) -> None:
    """Run a task now, whether it is enabled or not.

    With --follow its output is shown as it comes, stdout on stdout and stderr on
    stderr, and its exit code becomes the exit code: of several servers the highest
    one, 0 if the run is completed. Where no command says one:

    \b
      125  it failed before it could be started
      124  ended by its timeout
      123  missed: not started in time
      122  skipped
      121  lost: the outcome cannot be known
      120  cancelled

    Ctrl-C ends the following, not the run.
    """
    here = session.of(context)
    body: dict[str, Any] = {}
    if server:
        body["targets"] = {"server_ids": names.server_ids(here.api, server)}
    found = names.task(here.api, task)
    values = typed(here.api, found["parameters"], param or [])
    check_complete(found["parameters"], values)
    if values:
        body["parameters"] = values
    started = here.api.post(f"/v1/tasks/{found['task_id']}/run", body)
    _show_started(here, started, follow=follow, raw=raw)


def _show_started(
    here: Session, started: Mapping[str, Any], *, follow: bool, raw: bool = False
) -> None:
    run_id = started["run_id"]
    if follow:
        if not here.as_json:
            note(f"Run {run_id}")
        _follow(here, run_id, STREAMS, raw=raw)
    elif here.as_json:
        show_json(started)
    else:
        say(str(run_id))
        note(f"Started. `cronhop logs {run_id} -f` shows its output.")


def logs(
    context: typer.Context,
    run_id: RunId,
    follow: Follow = False,
    server: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of one server only.")
    ] = None,
    stream: Annotated[
        Streams, typer.Option(help="Which output.", case_sensitive=False)
    ] = Streams.BOTH,
    attempt: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of one attempt; else of all."),
    ] = None,
    raw: Raw = False,
) -> None:
    r"""Show the output of a run: stdout on stdout, stderr on stderr.

    What could steer your terminal is written out (\x1b), but with --raw. With
    --follow it goes on until the run has ended, and ends with its exit code as
    `cronhop run --follow` does; without, with 0.
    """
    here = session.of(context)
    server_id = names.server(here.api, server)["server_id"] if server else None
    if follow:
        _follow(
            here, run_id, stream.names, raw=raw, server_id=server_id, attempt=attempt
        )
        return
    if here.as_json:
        show_json(_document(here, run_id, stream.names, server_id))
        return
    follower = _follower(
        here, run_id, stream.names, raw=raw, server_id=server_id, attempt=attempt
    )
    found = follower.run()
    _say_how_many(found, server_id)
    complete = follower.show(found)
    follower.finish()
    if found["state"] not in TERMINAL:
        note(f"[the run is {found['state']}; -f goes on until its end]")
    elif not any(one["attempt"] for one in found["executions"]):
        note(f"[{found['state']}: {found['reason']}]")
    elif not complete:
        note("[more output is on its way; -f waits for it]")


def _document(
    here: Session, run_id: str, streams: tuple[str, ...], server_id: str | None
) -> dict[str, Any]:
    """Return the first page of each stream, as the API gives it."""
    found = here.api.get(f"/v1/runs/{run_id}")
    items = []
    for one in found["executions"]:
        if one["attempt"] == 0 or server_id not in {None, one["server_id"]}:
            continue
        path = f"/v1/runs/{run_id}/executions/{one['server_id']}/output"
        for name in streams:
            page = here.api.get(path, stream=name, limit=512 * 1024)
            items.append({"server_id": one["server_id"], "stream": name, **page})
    return {"items": items}


def _say_how_many(found: Mapping[str, Any], server_id: str | None) -> None:
    if server_id is None and (found["target_count"] or 0) > FOLLOWED:
        note(f"[only the first {FOLLOWED} servers are shown; name one by --server]")


def _follower(
    here: Session, run_id: str, streams: tuple[str, ...], **options: Any
) -> Follower:
    return Follower(
        here.api,
        run_id,
        streams=streams,
        names=names.server_names(here.api),
        **options,
    )


def _follow(
    here: Session, run_id: str, streams: tuple[str, ...], **options: Any
) -> None:
    """Follow a run to its end. Raises Exit with what it means to a shell."""
    if here.as_json:
        streams = ()  # the document alone is on stdout
    follower = _follower(here, run_id, streams, **options)
    try:
        ended = follower.follow()
        _say_how_many(ended, options.get("server_id"))
    except KeyboardInterrupt:
        follower.finish()
        note(
            f"\nThe run goes on. `cronhop logs {run_id} -f` follows it again,"
            f" `cronhop runs cancel {run_id}` ends it."
        )
        raise typer.Exit(INTERRUPTED) from None
    follower.finish()
    code = _code(here, ended)
    if here.as_json:
        show_json(ended)
    elif ended["state"] != "completed":
        reason = f": {ended['reason']}" if ended["reason"] else ""
        note(f"[{ended['state']}{reason}]")
    raise typer.Exit(code)


def _code(here: Session, ended: Mapping[str, Any]) -> int:
    executions = list(ended["executions"])
    if (ended["target_count"] or 0) > len(executions):
        executions = list(here.api.items(f"/v1/runs/{ended['run_id']}/executions"))
    return exit_code(ended, executions)


@verb(
    runs,
    "list",
    examples=[
        'cronhop runs list --task "nightly dump" --limit 5',
        "cronhop runs list --state failed --state lost --from 2026-06-01T00:00:00Z",
    ],
)
def listing(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Of one task: its name or id.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="NAME", help="That ran on this server.")
    ] = None,
    state: States = None,
    trigger: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="schedule, manual, backfill or retry."),
    ] = None,
    created_by: CreatedBy = None,
    start: From = None,
    end: To = None,
    newest: Newest = None,
    limit: Limit = 20,
) -> None:
    """List runs of which all that is given holds, newest first.

    Times are those of slots, or of when a run was made by hand.
    """
    here = session.of(context)
    wanted = {
        "task_id": names.task(here.api, task)["task_id"] if task else None,
        "server_id": names.server(here.api, server)["server_id"] if server else None,
        "state": states(state),
        "trigger": trigger,
        "created_by": created_by,
        "from": start,
        "to": end,
    }
    items = list(here.api.items("/v1/runs", limit, **wanted, order=order(newest)))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        asked = any(value is not None for value in wanted.values())
        note("There are none like that." if asked else "There are none yet.")
        return
    tasks = {one["task_id"]: one["name"] for one in here.api.items("/v1/tasks")}
    rows = [
        (
            one["run_id"],
            one["state"],
            one["slot"] or one["created_at"],
            one["trigger"],
            tasks.get(one["task_id"], one["task_id"]),
            one["reason"] or "",
        )
        for one in items
    ]
    show_table(["RUN", "STATE", "DUE", "TRIGGER", "TASK", "REASON"], rows)


@verb(runs, "show", examples=["cronhop runs show 01KA5Z6J6Q7E0N2T3V4W5X6Y7Z"])
def show(context: typer.Context, run_id: RunId) -> None:
    """Show a run, and its executions on its servers."""
    here = session.of(context)
    found = here.api.get(f"/v1/runs/{run_id}")
    if here.as_json:
        show_json(found)
        return
    lines = {
        "run": run_id,
        "task": names.of_id(here.api, "tasks", found["task_id"]),
        "state": found["state"],
        "reason": found["reason"],
        "trigger": found["trigger"],
        "by": found["created_by"],
        "slot": found["slot"],
        "created": found["created_at"],
        "started": found["started_at"],
        "finished": found["finished_at"],
        "servers": found["target_count"],
    }
    for name, value in lines.items():
        if value is not None:
            say(f"{name + ':':<10}{value}")
    for name, value in found["parameters"].items():
        # As --param takes it: true is no True.
        text = value if isinstance(value, str) else json.dumps(value)
        say(f"param:    {name}={text}".replace("\n", "⏎"))
    if not found["executions"]:
        return
    say("")
    known = names.server_names(here.api)
    rows = [
        (
            known.get(one["server_id"], one["server_id"]),
            one["state"],
            one["exit_code"],
            one["attempt"],
            one["started_at"],
            one["finished_at"],
            one["reason"] or "",
        )
        for one in found["executions"]
    ]
    headings = ["SERVER", "STATE", "EXIT", "ATTEMPT", "STARTED", "FINISHED", "REASON"]
    show_table(headings, rows)
    if (found["target_count"] or 0) > len(rows):
        note(f"The first {len(rows)} of {found['target_count']} servers.")


@verb(runs, "cancel", examples=["cronhop runs cancel 01KA5Z6J6Q7E0N2T3V4W5X6Y7Z"])
def cancel(context: typer.Context, run_id: RunId) -> None:
    """End a run, whatever its stage. Its process group gets TERM, then KILL."""
    here = session.of(context)
    found = here.api.post(f"/v1/runs/{run_id}/cancel")
    if here.as_json:
        show_json(found)
    elif found["state"] == "cancelled":
        say("Cancelled; it had not begun.")
    else:
        say("It is being ended.")
        note(f"`cronhop logs {run_id} -f` shows it to its end.")


@verb(runs, "retry", examples=["cronhop runs retry 01KA5Z6J6Q7E0N2T3V4W5X6Y7Z -f"])
def retry(context: typer.Context, run_id: RunId, follow: Follow = False) -> None:
    """Run it again where it did not complete. The task's version is the same."""
    here = session.of(context)
    started = here.api.post(f"/v1/runs/{run_id}/retry")
    _show_started(here, started, follow=follow)
