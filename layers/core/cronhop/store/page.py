"""A page of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T_co]):
    """Some items of a list, and where it goes on.

    `last` is the key of the last item, None when nothing follows: the next page
    is what comes after it, so a cursor survives inserts and deletions.
    """

    items: Sequence[T_co]
    last: str | None


class Listing(Protocol[T_co]):
    """A list that is read by pages."""

    def __call__(self, *, limit: int, after: str | None) -> Page[T_co]: ...


def walk(listing: Listing[T_co]) -> Iterator[T_co]:
    """Yield every item of a list, a page at a time."""
    after: str | None = None
    while True:
        page = listing(limit=100, after=after)
        yield from page.items
        after = page.last
        if after is None:
            return
