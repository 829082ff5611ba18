"""What of a list somebody may see, and wants to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cronhop.domain.ids import beyond
from cronhop.store.page import Listing, Page

T = TypeVar("T")

PAGES = 5  # read for one page that is shown
READ = 100  # items a page


def sift(
    listing: Listing[T],
    *,
    limit: int,
    after: str | None,
    wanted: Callable[[T], bool] | None,
    key: Callable[[T], str],
    newest_first: bool = False,
) -> Page[T]:
    """Return a page of what is wanted of a list, which is sorted by ids.

    `wanted` None: all, `key` says the id of an item. A bounded piece of the list is read: a page may be
    short, even empty, and be followed by another. Its `last` is never the id of an
    item that is not shown.
    """
    if wanted is None:
        return listing(limit=limit, after=after)
    items: list[T] = []
    for _ in range(PAGES):
        page = listing(limit=READ, after=after)
        for item in page.items:
            if not wanted(item):
                continue
            if len(items) == limit:
                return Page(items=items, last=key(items[-1]))
            items.append(item)
        if page.last is None:
            return Page(items=items, last=None)
        after = beyond(page.last, newest_first=newest_first)
    return Page(items=items, last=after)
