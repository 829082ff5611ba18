"""channels, rules: who is told of what."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from . import names, plan, session, task_file
from .api import Api
from .command import Yes, confirm, noun, verb
from .editor import edited, put
from .errors import Failure
from .session import Session
from .terminal import (
    moment,
    note,
    say,
    show_json,
    show_table,
    show_yaml,
    yaml_text,
)

TEST_S = 60.0  # seconds until something that is sent must have come to a channel
LOOK_EVERY_S = 1.0
_MADE = frozenset({"version", "created_by", "created_at", "updated_at"})
_TOLD = frozenset({"last_delivery", "last_test"})  # of a channel, by what is sent

channels = noun("channels", "Ways to tell somebody.")
rules = noun("rules", "When which channels are told.")

ChannelName = Annotated[str, typer.Argument(metavar="NAME", help="Of the channel.")]
RuleName = Annotated[str, typer.Argument(metavar="NAME", help="Of the rule.")]


@verb(channels, "list")
def list_channels(context: typer.Context) -> None:
    """List all channels by name, each with its last delivery."""
    here = session.of(context)
    items = list(here.api.items("/v1/channels"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop channels create --help`.")
        return
    rows = [(one["name"], one["kind"], _where(one), _delivery(one)) for one in items]
    show_table(["CHANNEL", "KIND", "WHERE", "LAST DELIVERY"], rows)


def _where(channel: Mapping[str, Any]) -> str:
    credential = channel["credential"] and f"credential {channel['credential']}"
    return str(channel["url"] or channel["topic_arn"] or credential)


def _delivery(channel: Mapping[str, Any]) -> str | None:
    last = channel["last_delivery"]
    if last is None:
        return None
    return f"{moment(last['at'])} " + (
        "ok" if last["ok"] else f"not ok: {last['reason']}"
    )


@verb(channels, "show")
def show_channel(context: typer.Context, name: ChannelName) -> None:
    """Show a channel, never the value of its credential."""
    here = session.of(context)
    found = _found(here.api, "channel", name)
    if here.as_json:
        show_json(found)
    else:
        show_yaml(found)


@verb(
    channels,
    "create",
    examples=[
        "cronhop channels create ops --kind webhook --url https://hooks.example/x \\",
        "    --credential hook-key",
        "cronhop channels create chat --kind slack --credential slack-url",
        "cronhop channels create mail --kind sns --topic-arn arn:aws:sns:…:cronhop-ops",
    ],
)
def create_channel(
    context: typer.Context,
    name: ChannelName,
    kind: Annotated[str, typer.Option(metavar="KIND", help="webhook, slack or sns.")],
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where a webhook is posted to.")
    ] = None,
    topic_arn: Annotated[
        str | None, typer.Option(metavar="ARN", help="Of the topic of sns.")
    ] = None,
    credential: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a webhook: the key that signs; of slack: the webhook's URL.",
        ),
    ] = None,
) -> None:
    """Keep a way to tell somebody. `cronhop channels test` tries it."""
    here = session.of(context)
    given = {"url": url, "topic_arn": topic_arn, "credential": credential}
    made = here.api.post("/v1/channels", {"name": name, "kind": kind, **given})
    if here.as_json:
        show_json(made)
        return
    say(f"Created {name}.")
    note(f"`cronhop channels test {name}` sends something over it.")


@verb(channels, "edit", examples=["cronhop channels edit ops"])
def edit_channel(context: typer.Context, name: ChannelName, yes: Yes = False) -> None:
    """Change a channel in your editor ($VISUAL, $EDITOR). What changes is shown first."""
    here = session.of(context)
    found = _found(here.api, "channel", name)
    before = {key: value for key, value in _fields(found).items() if key not in _TOLD}
    with edited(here, yaml_text(before), _read) as after:
        _put(here, "channel", found, before, after, yes=yes)


@verb(channels, "delete")
def delete_channel(context: typer.Context, name: ChannelName, yes: Yes = False) -> None:
    """Remove a channel that no rule names."""
    _delete(session.of(context), "channel", name, yes=yes)


@verb(channels, "test", examples=["cronhop channels test ops"])
def try_channel(context: typer.Context, name: ChannelName) -> None:
    """Send something over a channel, and say what became of it. Ends with 1 if not ok."""
    here = session.of(context)
    _found(here.api, "channel", name)
    path = _path("channel", name)
    test_id = here.api.post(f"{path}/test")["test_id"]
    delivery = _delivered(here, path, f"{test_id}#test#{name}")
    if here.as_json:
        show_json(delivery)
    else:
        say("ok" if delivery["ok"] else f"not ok: {delivery['reason']}")
    if not delivery["ok"]:
        note("It is tried again for some hours; `cronhop channels show` has the last.")
        raise typer.Exit(1)


def _delivered(here: Session, path: str, notification: str) -> Mapping[str, Any]:
    """Return what became of this test: others may be sent meanwhile."""
    until = time.monotonic() + TEST_S
    while time.monotonic() < until:
        delivery: Mapping[str, Any] | None = here.api.get(path).get("last_test")
        if delivery and delivery["id"] == notification:
            return delivery
        here.api.pause(LOOK_EVERY_S)
    raise Failure(
        f"nothing became of it within {TEST_S:.0f} s",
        hint="`cronhop channels show` may have it later",
    )


@verb(rules, "list")
def list_rules(context: typer.Context) -> None:
    """List all rules by name."""
    here = session.of(context)
    items = list(here.api.items("/v1/rules"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop rules create --help`.")
        return
    tasks = (
        {one["task_id"]: one["name"] for one in here.api.items("/v1/tasks")}
        if any(one["task_id"] for one in items)
        else {}
    )
    rows = [
        (
            one["name"],
            ", ".join(one["on"]),
            ", ".join(one["channels"]),
            tasks.get(one["task_id"], one["task_id"]),
            one["environment"],
        )
        for one in items
    ]
    show_table(["RULE", "ON", "CHANNELS", "TASK", "ENVIRONMENT"], rows)


@verb(rules, "show")
def show_rule(context: typer.Context, name: RuleName) -> None:
    """Show a rule."""
    here = session.of(context)
    found = _found(here.api, "rule", name)
    if here.as_json:
        show_json(found)
    else:
        aside = {key: value for key, value in found.items() if key in _MADE}
        show_yaml({"name": found["name"], **_rule_form(here, found), **aside})


@verb(
    rules,
    "create",
    examples=[
        "cronhop rules create prod --on failure --on recovery --channel ops \\",
        "    --environment prod",
        'cronhop rules create slow --on late --late 120 --channel ops --task "a dump"',
    ],
)
def create_rule(
    context: typer.Context,
    name: RuleName,
    on: Annotated[
        list[str],
        typer.Option(
            metavar="OCCASION",
            help="failure, recovery, success, late, missed, long; may be repeated.",
        ),
    ],
    channel: Annotated[
        list[str], typer.Option(metavar="NAME", help="Is told; may be repeated.")
    ],
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Of this task's runs only.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option(metavar="WORD", help="Of runs of its tasks only.")
    ] = None,
    late: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="For late: after a run was due; else 30."),
    ] = None,
) -> None:
    """Say when which channels are told."""
    here = session.of(context)
    body: dict[str, Any] = {
        "name": name,
        "on": on,
        "channels": channel,
        "task_id": names.task(here.api, task)["task_id"] if task else None,
        "environment": environment,
    }
    if late is not None:
        body["late_s"] = late
    made = here.api.post("/v1/rules", body)
    if here.as_json:
        show_json(made)
    else:
        say(f"Created {name}.")


@verb(rules, "edit", examples=["cronhop rules edit prod"])
def edit_rule(context: typer.Context, name: RuleName, yes: Yes = False) -> None:
    """Change a rule in your editor ($VISUAL, $EDITOR). What changes is shown first."""
    here = session.of(context)
    found = _found(here.api, "rule", name)
    before = _rule_form(here, found)
    with edited(here, yaml_text(before), _read) as after:
        if "task" in after:
            task = after.pop("task")
            if task == before["task"]:  # which may be gone
                after["task_id"] = found["task_id"]
            else:
                wanted = names.task(here.api, str(task)) if task else {}
                after["task_id"] = wanted.get("task_id")
        _put(here, "rule", found, _fields(found), after, yes=yes)


@verb(rules, "delete")
def delete_rule(context: typer.Context, name: RuleName, yes: Yes = False) -> None:
    """Remove a rule."""
    _delete(session.of(context), "rule", name, yes=yes)


def _rule_form(here: Session, rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule as a person writes it: its task stands by name."""
    form = _fields(rule)
    task_id = form.pop("task_id")
    task = here.api.find(f"/v1/tasks/{task_id}") if task_id else None
    return {**form, "task": task["name"] if task else task_id}


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a channel or a rule can be changed."""
    return {
        name: value
        for name, value in found.items()
        if name not in _MADE and name != "name"
    }


def _read(path: Path) -> dict[str, Any]:
    document, _ = task_file.read(path)
    if not isinstance(document, dict):
        raise Failure("it has no fields: `name: value` on lines of their own")
    return document


def _path(what: str, name: str) -> str:
    return f"/v1/{what}s/{quote(name, safe='')}"


def _found(api: Api, what: str, name: str) -> dict[str, Any]:
    """Return a channel or a rule. Raises Failure, with names that are near."""
    there = {one["name"]: one for one in api.items(f"/v1/{what}s")}
    if name not in there:
        raise names.unknown(what, name, there)
    return there[name]


def _put(
    here: Session,
    what: str,
    found: Mapping[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    yes: bool,
) -> None:
    change = plan.of_fields(found["name"], before, after, found["version"])
    put(here, found, _path(what, found["name"]), change, yes=yes)


def _delete(here: Session, what: str, name: str, *, yes: bool) -> None:
    found = _found(here.api, what, name)
    confirm(f"Remove the {what} {name}?", yes=yes)
    here.api.delete(_path(what, name))
    if here.as_json:
        show_json(found)
    else:
        say(f"Removed {name}.")
