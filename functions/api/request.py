"""What the routes read of a request beside its body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    Request,
    Response,
)
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query

from cronhop.domain.access import Caller, Scope
from cronhop.domain.ids import id_time
from cronhop.domain.run import State
from cronhop.errors import Invalid, PreconditionFailed
from cronhop.store.page import Page, Window

from .fields import StrictBody
from .problems import problem
from .schedule_body import instant_of
from .wiring import now

MAX_VERSION = 18  # digits
_IN_PATH = re.compile(r"{(\w+)}")
MAX_LIST_BYTES = 2 * 1024 * 1024  # as JSON, which the answer escapes once more

Limit = Annotated[int, Query(ge=1, le=100)]
Token = Annotated[str | None, Query(max_length=1024)]
IfMatch = Annotated[str | None, Header(alias="If-Match")]
Order = Annotated[Literal["newest", "oldest"] | None, Query()]
Text = Annotated[str | None, Query(min_length=1, max_length=200)]
Id = Annotated[str | None, Query(min_length=1, max_length=26)]
Instant = Annotated[str | None, Query(max_length=40)]
From = Annotated[str | None, Query(alias="from", max_length=40)]
# Whether all is only checked, and nothing is written.
DryRun = Annotated[Literal["true", "false"], Query()]


def only_known_query(
    app: APIGatewayHttpResolver, next_middleware: Callable[..., Response[str]]
) -> Response[str]:
    """Let a request through whose route knows all of its query.

    A filter that is not known must not look like one that matched everything.
    """
    known = {one.alias for one in app.context["_route"].dependant.query_params}
    unknown = set(app.current_event.query_string_parameters) - known
    if unknown:
        errors = [(name, "there is no such parameter") for name in sorted(unknown)]
        return problem(HTTPStatus.BAD_REQUEST, "unknown query parameter", errors=errors)
    return next_middleware(app)


def only_known_condition(
    app: APIGatewayHttpResolver, next_middleware: Callable[..., Response[str]]
) -> Response[str]:
    """Let a change through if its route minds the If-Match that it has.

    What has no ETag is never the version that somebody read. Raises
    PreconditionFailed.
    """
    asked = app.current_event.headers.get("If-Match", "*").strip()
    known = {one.alias.lower() for one in app.context["_route"].dependant.header_params}
    if asked != "*" and app.request.method != "GET" and "if-match" not in known:
        raise PreconditionFailed("what this changes has no ETag; leave If-Match out")
    return next_middleware(app)


def is_dry_run(app: APIGatewayHttpResolver) -> bool:
    """Return whether a request, of a route that knows it, shall write nothing."""
    known: dict[str, Any] = app.context.get("_route_args", {})
    return known.get("dry_run") == "true"


def window(
    order: str | None, since: str | None, until: str | None, *, default: str = "newest"
) -> Window:
    """Return the piece of a list that somebody wants. Raises Invalid."""
    first, last = instant_of(since, "from"), instant_of(until, "to")
    if first and last and first > last:
        raise Invalid("to", "it is earlier than from")
    return Window(since=first, until=last, newest_first=(order or default) == "newest")


def states_of(text: str | None) -> frozenset[State]:
    """Return the states of a list with commas, empty: any. Raises Invalid."""
    names = text.split(",") if text else []
    for name in names:
        if name not in set(State):
            raise Invalid("state", f"{name[:40]!r} is none of {', '.join(State)}")
    return frozenset(map(State, names))


class NoBody(StrictBody):
    """What is sent where nothing can be said: an object without fields."""


Nothing = Annotated[NoBody | None, Body()]


def caller(router: Router) -> Caller:
    """Return who asks, as the token says."""
    who: Caller = router.context["caller"]
    return who


def scope(router: Router) -> Scope:
    """Return in which environments who asks may do what the route does."""
    where: Scope = router.context["scope"]
    return where


def made_id(router: Router) -> str | None:
    """Return the id for what the request makes, None if any new one will do.

    It is the same if the request is repeated, for its first attempt may have died.
    """
    reserved: str | None = router.context.get("made_id")
    return reserved


def began(router: Router) -> datetime:
    """Return when the request was begun, the first time if it is repeated.

    Where a name is taken, that says whether it is by this request itself.
    """
    reserved = made_id(router)
    return id_time(reserved) if reserved else now()


def path_names(request: Request) -> dict[str, str]:
    """Return what the path names, by parameter, without query and body."""
    names = _IN_PATH.findall(request.route)
    return {name: request.path_parameters[name] for name in names}


def version(if_match: str | None) -> int | None:
    """Return the version that If-Match asks for, None if any will do.

    Raises PreconditionFailed if it can be no version.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_VERSION):
        raise PreconditionFailed("If-Match is no ETag of ours")
    return int(text)


def list_id(query: str) -> str:
    """Return what tells a list from others; filters may be longer than a token."""
    return hashlib.sha256(query.encode()).hexdigest()[:32]


def after(token: str | None, query: str) -> str | None:
    """Return the key that a `next_token` goes on after.

    Raises Invalid if the token is of another list: `query` names this one.
    """
    if token is None:
        return None
    try:
        kept_list, key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error) as exc:
        raise Invalid("next_token", "it is none of ours") from exc
    # Whatever a list is sorted by is ASCII.
    if not (isinstance(key, str) and key and key.isascii()):
        raise Invalid("next_token", "it is none of ours")
    if kept_list != list_id(query):
        raise Invalid("next_token", "it belongs to another list")
    return key


def listed(
    page: Page[Any],
    view: Callable[[Any], dict[str, Any]],
    key: str,
    query: str,
) -> dict[str, Any]:
    """Return the body of a list: a page of views, and how to go on.

    `key` names the attribute that the list is sorted by. A page ends early
    rather than outgrow what a Lambda may answer.
    """
    items: list[dict[str, Any]] = []
    size, last = 0, page.last
    for item in page.items:
        shown = view(item)
        size += len(json.dumps(shown))
        if items and size > MAX_LIST_BYTES:
            last = items[-1][key]
            break
        items.append(shown)
    token = None
    if last is not None:
        text = json.dumps([list_id(query), str(last)])
        token = base64.urlsafe_b64encode(text.encode()).decode()
    return {"items": items, "next_token": token}
