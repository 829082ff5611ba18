"""What the routes read of a request beside its body."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query

from cronhop.domain.access import Caller, Scope
from cronhop.errors import Invalid, PreconditionFailed
from cronhop.store.page import Page

from .specs import StrictBody

VERSION_DIGITS = 19
MAX_LIST_BYTES = 2 * 1024 * 1024  # as JSON, which the answer escapes once more

Limit = Annotated[int, Query(ge=1, le=100)]
Token = Annotated[str | None, Query(max_length=1024)]
IfMatch = Annotated[str | None, Header(alias="If-Match")]


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


def version(if_match: str | None) -> int | None:
    """Return the version that If-Match asks for, None if any will do.

    Raises PreconditionFailed if it can be no version.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < VERSION_DIGITS):
        raise PreconditionFailed("If-Match is no ETag of ours")
    return int(text)


def after(token: str | None, query: str) -> str | None:
    """Return the key that a `next_token` goes on after.

    Raises Invalid if the token is of another list: `query` names this one.
    """
    if token is None:
        return None
    try:
        kept_query, key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error) as exc:
        raise Invalid("next_token", "it is none of ours") from exc
    if kept_query != query or not isinstance(key, str) or not key:
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
        text = json.dumps([query, str(last)])
        token = base64.urlsafe_b64encode(text.encode()).decode()
    return {"items": items, "next_token": token}
