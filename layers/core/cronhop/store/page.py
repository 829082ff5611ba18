"""A page of a list, and which piece of an index it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from cronhop.domain.ids import first_id, last_id

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T_co]):
    """Some items of a list, and where it goes on.

    `last` is the key of the last item, None when nothing follows: the next page
    is what comes after it, so a cursor survives inserts and deletions.
    """

    items: Sequence[T_co]
    last: str | None


@dataclass(frozen=True, kw_only=True)
class Window:
    """A piece of an index that is sorted by ids, and the way through it.

    | field        | meaning                                     |
    |--------------|---------------------------------------------|
    | since, until | of the ids' times, both included; None: all |
    """

    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = True

    def ids(
        self, index: Any, key: str, attribute: Any, *, limit: int, after: str | None
    ) -> Iterator[str]:
        """Yield the ids that the index has under `key` in this window, behind `after`.

        They are read as they are wanted, `limit` and one at once.
        """
        first = first_id(self.since) if self.since else "0"
        last = last_id(self.until) if self.until else "Z"
        if after is not None and self.newest_first:
            last = min(last, after)
        elif after is not None:
            first = max(first, after)
        if first > last:
            return
        # BETWEEN takes both ends, and there is no other condition with two.
        for row in index.query(
            key,
            attribute.between(first, last),
            scan_index_forward=not self.newest_first,
            page_size=limit + 1,
        ):
            found: str = getattr(row, attribute.attr_name)
            if found != after:
                yield found


NEWEST = Window()
OLDEST = Window(newest_first=False)


def cut(ids: Iterable[str], limit: int) -> tuple[list[str], str | None]:
    """Return a page of ids, and the last of them if more follow."""
    found = list(islice(ids, limit + 1))
    return found[:limit], found[limit - 1] if len(found) > limit else None


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
