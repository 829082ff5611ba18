"""login, logout, whoami, profiles: who one is, and where."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from . import session
from .address import checked
from .api import Api
from .cognito import Cognito
from .command import Yes, confirm, noun, verb
from .errors import Failure, NotLoggedIn, Usage
from .oidc import Issuer
from .profiles import Profile, check_name
from .session import Session
from .terminal import note, say, show_json, show_table, show_yaml

ProfileName = Annotated[str, typer.Argument(metavar="NAME", help="Of a profile.")]

profiles = noun("profiles", "The stacks you have logged in to.")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    verb(
        app,
        "login",
        examples=[
            "cronhop login --url https://abc123.execute-api.eu-central-1.amazonaws.com",
            "cronhop login --profile prod --url https://… --username ada",
            "cronhop login   (again, to the current profile)",
        ],
    )(login)
    verb(app, "logout")(logout)
    verb(app, "whoami")(whoami)
    app.add_typer(profiles)


def login(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The API's; kept in the profile.")
    ] = None,
    username: Annotated[
        str | None, typer.Option(metavar="NAME", help="Yours; else it is asked for.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    device: Annotated[
        bool,
        typer.Option("--device", help="Log in with a browser, here or elsewhere."),
    ] = False,
    auth_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Cognito's, where it is not the issuer's host."
        ),
    ] = None,
    client_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The command line's, at an issuer other than Cognito."
        ),
    ] = None,
    insecure_http: Annotated[
        bool,
        typer.Option("--insecure-http", help="Allow plain HTTP to other machines."),
    ] = False,
) -> None:
    """Log in, and keep the tokens in a file that only you can read.

    The first time with --url; without --profile the profile is called default.
    The password is asked for without echo. Tokens are renewed until the refresh
    token ends, on AWS after 30 days.

    A pipeline needs no login: it sets CRONHOP_URL and CRONHOP_TOKEN.
    """
    here = session.of(context)
    profile = _profile(here, url, auth_endpoint, client_id, insecure_http)
    if device:
        profile = replace(profile, username=None)
        tokens = Issuer(profile, here.transport, here.sleep).login(_show_code)
    else:
        name = username or profile.username or _asked("Username")
        profile = replace(profile, username=name)
        cognito = Cognito(profile, here.transport)
        tokens = cognito.login(name, _password(password_stdin), _new_password)
    here.profiles.put(here.profile_name, profile, use=True)
    here.profiles.keep_tokens(here.profile_name, tokens)
    if here.as_json:
        show_json({"profile": here.profile_name, "url": profile.url})
    else:
        say(f"Logged in to {profile.url} (profile {here.profile_name}).")


def _profile(
    here: Session,
    url: str | None,
    auth_endpoint: str | None,
    client_id: str | None,
    insecure_http: bool,
) -> Profile:
    """Return the profile to log in to: what it says of the API, the API knows best."""
    known = here.profiles.get(here.profile_name)
    if url is None:
        url = here.environ.get("CRONHOP_URL") or (known.url if known else None)
    if url is None:
        raise Usage(
            "where is the stack?",
            hint="cronhop login --url https://…; it is the output ApiUrl of the stack",
        )
    same = known is not None and known.url == url.rstrip("/")
    if known and same:
        insecure_http = insecure_http or known.insecure_http
        auth_endpoint = auth_endpoint or known.auth_endpoint
        client_id = client_id or known.client_id
    url = checked(url, insecure_http=insecure_http)
    offered = _offered(here, url)
    client_id = str(offered.get("client_id") or client_id or "")
    if not client_id:
        raise Usage(
            f"{offered['issuer']} knows the command line by an id of its own",
            hint="name it with --client-id; who runs the issuer can tell",
        )
    if auth_endpoint:
        auth_endpoint = checked(auth_endpoint, insecure_http=insecure_http)
    return Profile(
        url=url,
        issuer=str(offered["issuer"]),
        client_id=client_id,
        auth_endpoint=auth_endpoint,
        username=known.username if known and same else None,
        insecure_http=insecure_http,
    )


def _offered(here: Session, url: str) -> dict[str, Any]:
    """Return the issuer and client that the API's health names."""
    health = Api(url, lambda _: None, here.transport, here.sleep).find("/v1/health")
    offered = (health or {}).get("login")
    if not isinstance(offered, dict) or not offered.get("issuer"):
        raise Failure(
            f"{url} does not say how to log in: it is no cronhop, or an older one",
            hint="set CRONHOP_URL and CRONHOP_TOKEN, or deploy the stack anew",
        )
    return offered


def _asked(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        option = "--password-stdin" if hidden else "--username"
        raise Usage(f"nobody is there to be asked for the {what.lower()}", hint=option)
    return str(typer.prompt(what, hide_input=hidden, err=True))


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        return _asked("Password", hidden=True)
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Usage("there is no password on stdin")
    return password


def _new_password() -> str:
    note("This is the first login: choose a password of your own.")
    first = _asked("New password", hidden=True)
    if _asked("The same again", hidden=True) != first:
        raise Usage("the two passwords differ")
    return first


def _show_code(url: str, code: str) -> None:
    note(f"Open {url}\nand enter the code {code} there. Waiting …")


def logout(context: typer.Context) -> None:
    """Forget the tokens of the profile. The profile stays."""
    here = session.of(context)
    was = here.profiles.forget_tokens(here.profile_name)
    if here.as_json:
        show_json({"profile": here.profile_name, "was_logged_in": was})
    else:
        say("Logged out." if was else "Nobody was logged in.")


def whoami(context: typer.Context) -> None:
    """Say who you are to the API, and what you may do."""
    here = session.of(context)
    me = here.api.find("/v1/me") or _claims(here)
    if here.as_json:
        show_json(me)
    else:
        show_yaml({"url": here.api.url, **me})


def _claims(here: Session) -> dict[str, Any]:
    """Return what the token says of its owner, for an API that does not."""
    token = here.environ.get("CRONHOP_TOKEN")
    if token is None:
        kept = here.profiles.tokens(here.profile_name)
        token = kept.access_token if kept else ""
    here.api.get("/v1/tasks", limit=1)  # that the API accepts it
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, binascii.Error) as exc:
        raise NotLoggedIn("your token says nothing about you") from exc
    return {
        "username": claims.get("username") or claims.get("sub"),
        "groups": claims.get("cognito:groups", []),
    }


@verb(profiles, "list")
def listing(context: typer.Context) -> None:
    """List your profiles; the current one is marked."""
    here = session.of(context)
    current, known = here.profile_name, here.profiles.all()
    if here.as_json:
        items = [
            {
                "name": name,
                "url": one.url,
                "username": one.username,
                "current": name == current,
            }
            for name, one in known.items()
        ]
        show_json({"items": items})
        return
    if not known:
        note("There are none yet: `cronhop login --url https://…` makes one.")
        return
    rows = [
        ("*" if name == current else "", name, one.username, one.url)
        for name, one in known.items()
    ]
    show_table(["", "PROFILE", "USER", "URL"], rows)


@verb(profiles, "use", examples=["cronhop profiles use prod"])
def use(context: typer.Context, name: ProfileName) -> None:
    """Make a profile the current one."""
    here = session.of(context)
    profile = here.profiles.get(name)
    if profile is None:
        raise Failure(f"there is no profile {name!r}", hint="`cronhop profiles list`")
    here.profiles.put(name, profile, use=True)
    if here.as_json:
        show_json({"profile": name, "url": profile.url})
    else:
        say(f"The current profile is {name}.")


@verb(profiles, "remove", examples=["cronhop profiles remove prod"])
def remove(context: typer.Context, name: ProfileName, yes: Yes = False) -> None:
    """Forget a profile and its tokens. The stack does not notice."""
    here = session.of(context)
    if here.profiles.get(check_name(name)) is None:
        raise Failure(f"there is no profile {name!r}", hint="`cronhop profiles list`")
    confirm(f"Forget the profile {name}?", yes=yes)
    here.profiles.remove(name)
    if here.as_json:
        show_json({"profile": name, "removed": True})
    else:
        say(f"Forgot {name}.")
