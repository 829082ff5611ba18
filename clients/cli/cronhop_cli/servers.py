"""servers: the SSH hosts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from shlex import quote
from typing import Annotated, Any

import typer

from . import names, session
from .command import Environment, Yes, confirm, noun, pairs, verb
from .errors import Failure
from .find import From, Limit, Newest, States, To, order, states
from .session import Session
from .terminal import note, say, show_json, show_table, show_yaml

CHECK_S = 120.0  # seconds until a check must be answered
LOOK_EVERY_S = 1.0

servers = noun("servers", "The SSH hosts on which tasks run.")

ServerName = Annotated[str, typer.Argument(metavar="SERVER", help="Its name or id.")]


class Status(StrEnum):
    """Whether anything is started there."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    MAINTENANCE = "maintenance"


@verb(servers, "list")
def listing(context: typer.Context) -> None:
    """List all servers, oldest first."""
    here = session.of(context)
    items = list(here.api.items("/v1/servers"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop servers create --help`.")
        return
    rows = [
        (
            one["name"],
            f"{one['username']}@{one['host']}:{one['port']}",
            one["status"],
            one["environment"],
            _checked(one),
        )
        for one in items
    ]
    show_table(["SERVER", "WHERE", "STATUS", "ENVIRONMENT", "CHECK"], rows)


def _checked(server: Mapping[str, Any]) -> str:
    if server["host_key_alert"]:
        return f"shows another host key: {server['host_key_alert']['seen']}"
    check = server["last_check"]
    if check is None:
        return "never"
    return "ok" if check["ok"] else str(check["reason"])


@verb(servers, "show")
def show(context: typer.Context, server: ServerName) -> None:
    """Show a server, with its last check."""
    here = session.of(context)
    found = names.server(here.api, server)
    if here.as_json:
        show_json(found)
    else:
        show_yaml(found)


@verb(
    servers,
    "create",
    examples=[
        "cronhop servers create web-1 --host 10.0.3.7 --username deploy \\",
        "    --credential ops-key --environment prod --tag role=web",
        "cronhop servers check web-1   (then: which key it shows, and if all is well)",
    ],
)
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in the stack.")],
    host: Annotated[str, typer.Option(metavar="HOST", help="Its name or address.")],
    username: Annotated[str, typer.Option(metavar="USER", help="Who logs in there.")],
    credential: Annotated[
        str, typer.Option(metavar="NAME", help="The credential to log in with.")
    ],
    port: Annotated[int, typer.Option(metavar="N", help="Of its sshd.")] = 22,
    host_key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help='Pinned, "ssh-ed25519 AAAA…"; repeatable.'),
    ] = None,
    environment: Environment = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="For selectors; may be repeated."),
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Commands at once; else no limit.")
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(metavar="SERVER", help="The jump host on the way to it."),
    ] = None,
) -> None:
    """Put a server on record.

    Without a --host-key, check it and approve the key that it shows.
    """
    here = session.of(context)
    body = {
        "name": name,
        "host": host,
        "port": port,
        "username": username,
        "credential": credential,
        "host_keys": host_key or [],
        "environment": environment,
        "tags": pairs(tag or [], "--tag"),
        "max_concurrency": max_concurrency,
        "via_server": names.server(here.api, via)["server_id"] if via else None,
    }
    made = here.api.post("/v1/servers", body)
    _say(here, made, "Created")
    if not (here.as_json or host_key):
        note(f"No host key is pinned yet: `cronhop servers check {quote(name)}`.")


@verb(servers, "set-status", examples=["cronhop servers set-status web-1 maintenance"])
def set_status(
    context: typer.Context,
    server: ServerName,
    status: Annotated[
        Status,
        typer.Argument(metavar="STATUS", help="enabled, disabled or maintenance."),
    ],
) -> None:
    """Let nothing be started there, or let it again. What runs is looked after."""
    here = session.of(context)
    found = names.server(here.api, server)
    path = f"/v1/servers/{found['server_id']}"
    _say(here, here.api.patch(path, {"status": status.value}), f"Now {status}:")


@verb(servers, "delete")
def delete(context: typer.Context, server: ServerName, yes: Yes = False) -> None:
    """Remove a server that nothing names."""
    here = session.of(context)
    found = names.server(here.api, server)
    confirm(f"Remove the server {found['name']!r}?", yes=yes)
    path = f"/v1/servers/{found['server_id']}"
    here.api.delete(path, f'"{found["version"]}"')
    _say(here, found, "Removed")


@verb(
    servers,
    "executions",
    examples=["cronhop servers executions web-1 --state running --state failed"],
)
def executions(
    context: typer.Context,
    server: ServerName,
    state: States = None,
    start: From = None,
    end: To = None,
    newest: Newest = None,
    limit: Limit = 20,
) -> None:
    """List what ran on a server, newest first. Times and states are of the runs."""
    here = session.of(context)
    server_id = names.server(here.api, server)["server_id"]
    wanted = {"state": states(state), "from": start, "to": end, "order": order(newest)}
    path = f"/v1/servers/{server_id}/executions"
    items = list(here.api.items(path, limit, **wanted))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("Nothing like that ran there.")
        return
    rows = [
        (
            one["run_id"],
            one["state"],
            one["exit_code"],
            one["started_at"],
            one["finished_at"],
            one["reason"] or "",
        )
        for one in items
    ]
    show_table(["RUN", "STATE", "EXIT", "STARTED", "FINISHED", "REASON"], rows)


@verb(servers, "check", examples=["cronhop servers check web-1"])
def check(context: typer.Context, server: ServerName) -> None:
    """Have it checked now: host key, login, disk, clock, sudo. Ends with 1 if not ok."""
    here = session.of(context)
    found = names.server(here.api, server)
    path = f"/v1/servers/{found['server_id']}"
    asked = here.api.post(f"{path}/check")["check_id"]
    found = _checked_server(here, path, asked)
    answer = found["last_check"]
    if here.as_json:
        show_json(answer)
    else:
        _show_check(found)
    if not answer["ok"]:
        raise typer.Exit(1)


def _checked_server(here: Session, path: str, check_id: str) -> dict[str, Any]:
    until = time.monotonic() + CHECK_S
    while time.monotonic() < until:
        found = here.api.get(path)
        if found["last_check"] and found["last_check"]["check_id"] == check_id:
            return found
        here.api.pause(LOOK_EVERY_S)
    raise Failure(
        f"the check was not answered within {CHECK_S:.0f} s",
        hint="`cronhop servers show` may have it later",
    )


def _show_check(server: Mapping[str, Any]) -> None:
    check = server["last_check"]
    rows = [
        ("ok" if one["ok"] else "no", one["step"], one["outcome"])
        for one in check["steps"]
    ]
    show_table(["", "STEP", "OUTCOME"], rows)
    words = {True: "yes", False: "no"}
    for name in ("latency_ms", "free_bytes", "clock_skew_ms", "sudo", "system"):
        if check[name] is not None:
            value = check[name]
            say(f"{name}: {words[value] if isinstance(value, bool) else value}")
    say("ok" if check["ok"] else f"not ok: {check['reason']}")
    pinned = {" ".join(line.split()[:2]) for line in server["host_keys"]}
    for key in check["host_keys_seen"]:
        if " ".join(key["key"].split()[:2]) not in pinned:
            note(
                f"\nIt shows the key {key['fingerprint']} ({key['type']}). Compare it"
                " with what the server itself says:\n"
                "  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n"
                "and if it is the same:\n"
                f"  cronhop servers approve-key {quote(server['name'])} {key['fingerprint']}"
            )


@verb(
    servers,
    "approve-key",
    examples=["cronhop servers approve-key web-1 SHA256:uNiVztksCsDhcc0u9e8BrqvzJ0W…"],
)
def approve_key(
    context: typer.Context,
    server: ServerName,
    fingerprint: Annotated[
        str,
        typer.Argument(metavar="FINGERPRINT", help="SHA256:…, as the check showed."),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Instead of the keys that are pinned.")
    ] = False,
) -> None:
    """Pin a host key that the last check saw. Compare it on the server first."""
    here = session.of(context)
    found = names.server(here.api, server)
    path = f"/v1/servers/{found['server_id']}/host-keys"
    body = {"fingerprint": fingerprint, "replace": replace}
    _say(here, here.api.post(path, body), "Pinned the key of")


def _say(here: Session, server: Mapping[str, Any], done: str) -> None:
    if here.as_json:
        show_json(server)
    else:
        say(f"{done} {server['name']}.")
