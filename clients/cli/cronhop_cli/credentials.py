"""credentials: names for secrets, whose values never come back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import session
from .command import Yes, confirm, noun, verb
from .errors import Failure, Usage
from .terminal import note, say, show_json, show_table, show_yaml

credentials = noun(
    "credentials", "Names for keys and passwords; values never come back."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the credential.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--private-key", metavar="FILE", help="A private key; - is stdin."),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="A password, from stdin.")
]
Passphrase = Annotated[
    bool, typer.Option("--ask-passphrase", help="Of the private key.")
]


@verb(credentials, "list")
def listing(context: typer.Context) -> None:
    """List all credentials by name."""
    here = session.of(context)
    items = list(here.api.items("/v1/credentials"))
    if here.as_json:
        show_json({"items": items})
        return
    if not items:
        note("There are none yet: `cronhop credentials create --help`.")
        return
    rows = [
        (one["name"], one["kind"], one["updated_at"], one["fingerprint"])
        for one in items
    ]
    show_table(["CREDENTIAL", "KIND", "UPDATED", "FINGERPRINT"], rows)


@verb(credentials, "show")
def show(context: typer.Context, name: Name) -> None:
    """Show a credential, never its value."""
    here = session.of(context)
    found = here.api.get(f"/v1/credentials/{_checked(name)}")
    if here.as_json:
        show_json(found)
    else:
        show_yaml(found)


@verb(
    credentials,
    "create",
    examples=[
        "cronhop credentials create ops-key --private-key ~/.ssh/id_ed25519",
        "cronhop credentials create db-pass   (the password is asked for)",
        "pass show db | cronhop credentials create db-pass --password-stdin",
    ],
)
def create(
    context: typer.Context,
    name: Name,
    private_key: KeyFile = None,
    password_stdin: PasswordStdin = False,
    ask_passphrase: Passphrase = False,
    environment: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="Whose servers and tasks alone may use it."),
    ] = None,
) -> None:
    """Keep a private key or a password under a name.

    Values come from a file, from stdin or from you, never from an argument, which
    others on this machine could see.
    """
    here = session.of(context)
    body = {"name": name, **_value(private_key, password_stdin, ask_passphrase)}
    if environment is not None:
        body["environment"] = environment
    made = here.api.post("/v1/credentials", body)
    if here.as_json:
        show_json(made)
    else:
        say(f"Created {name}.")


@verb(
    credentials,
    "replace",
    examples=["cronhop credentials replace ops-key --private-key new-key"],
)
def replace(
    context: typer.Context,
    name: Name,
    private_key: KeyFile = None,
    password_stdin: PasswordStdin = False,
    ask_passphrase: Passphrase = False,
) -> None:
    """Keep another value of the same kind. What starts after that uses it."""
    here = session.of(context)
    body = _value(private_key, password_stdin, ask_passphrase)
    made = here.api.put(f"/v1/credentials/{_checked(name)}", body)
    if here.as_json:
        show_json(made)
    else:
        say(f"Replaced {name}.")


@verb(credentials, "delete")
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Remove a credential that nothing uses."""
    here = session.of(context)
    found = here.api.get(f"/v1/credentials/{_checked(name)}")
    confirm(f"Remove the credential {name}?", yes=yes)
    here.api.delete(f"/v1/credentials/{name}")
    if here.as_json:
        show_json(found)
    else:
        say(f"Removed {name}.")


def _checked(name: str) -> str:
    """Return a name that is a part of a path, and no more. Raises Failure."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise Failure(
            f"there is no credential {name!r}", hint="`cronhop credentials list`"
        )
    return name


def _value(
    private_key: Path | None, password_stdin: bool, ask_passphrase: bool
) -> dict[str, Any]:
    if private_key is not None:
        if password_stdin:
            raise Usage("a private key or a password, not both")
        passphrase = _asked("Passphrase") if ask_passphrase else None
        return {"private_key": _text(private_key), "passphrase": passphrase}
    if password_stdin:
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    else:
        password = _asked("Password")
    if not password:
        raise Usage("there is no password")
    return {"password": password}


def _asked(what: str) -> str:
    if not sys.stdin.isatty():
        raise Usage(
            f"nobody is there to be asked for the {what.lower()}",
            hint="--private-key FILE or --password-stdin",
        )
    return str(typer.prompt(what, hide_input=True, err=True))


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise Failure(f"{path} cannot be read: {exc}") from exc
