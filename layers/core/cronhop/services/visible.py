"""What of a list somebody may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cronhop.domain.access import Scope
from cronhop.domain.ids import beyond
from cronhop.store.page import Listing, Page

T = TypeVar("T")

PAGES = 5  # read for one page that is shown
READ = 100  # items a page


def visible(
    listing: Listing[T],
    *,
    limit: int,
    after: str | None,
    scope: Scope,
    place: Callable[[T], str | None],
    key: Callable[[T], str],
    newest_first: bool = False,
) -> Page[T]:
    """Return a page of what the scope admits of a list, which is sorted by ids.

    `place` says of which environment an item is, `key` its id. A bounded piece of
    the list is read: a page may be short, even empty, and be followed by another.
    Its `last` is never the id of an item that is not shown.
    """
    if scope.is_everywhere:
        return listing(limit=limit, after=after)
    items: list[T] = []
    for _ in range(PAGES):
        page = listing(limit=READ, after=after)
        for item in page.items:
            if not scope.admits(place(item)):
                continue
            if len(items) == limit:
                return Page(items=items, last=key(items[-1]))
            items.append(item)
        if page.last is None:
            return Page(items=items, last=None)
        after = beyond(page.last, newest_first=newest_first)
    return Page(items=items, last=after)
