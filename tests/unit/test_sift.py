"""What of a long list somebody wants, and may see."""

from datetime import UTC, datetime, timedelta

import pytest

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.domain.ids import new_id
from cronhop.services.sift import PAGES, READ, sift
from cronhop.store.page import Page

STAGING = Scope(environments=frozenset({"staging"}))
START = datetime(2026, 6, 1, tzinfo=UTC)


def ids(count, *, at_once=False):
    step = timedelta(0 if at_once else 1)
    return sorted(new_id(START + number * step) for number in range(count))


def pages(known, *, limit, scope=STAGING, newest_first=False):
    """Yield the pages of the staging items among `known`: id -> environment."""
    order = sorted(known, reverse=newest_first)

    def listing(*, limit, after):
        rest = [
            one
            for one in order
            if after is None or (one < after if newest_first else one > after)
        ]
        more = len(rest) > limit
        return Page(items=rest[:limit], last=rest[limit - 1] if more else None)

    after = None
    while True:
        page = sift(
            listing,
            limit=limit,
            after=after,
            wanted=None
            if scope.is_everywhere
            else lambda one: scope.admits(known[one]),
            key=lambda one: one,
            newest_first=newest_first,
        )
        yield page
        after = page.last
        if after is None:
            return


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_all_that_is_yours_and_no_sign_of_others(newest_first, at_once):
    """However many others lie between: each once, in order, no foreign id in a token."""
    every = ids(2 * PAGES * READ + 50, at_once=at_once)
    mine = [every[0], every[7], every[len(every) // 2], every[-1]]
    known = {one: "staging" if one in mine else "prod" for one in every}

    found = list(pages(known, limit=2, newest_first=newest_first))

    shown = [one for page in found for one in page.items]
    assert shown == sorted(mine, reverse=newest_first)
    tokens = {page.last for page in found} - {None}
    assert tokens
    assert not tokens & {one for one in every if one not in mine}


def test_a_page_is_bounded():
    """With nothing to show, so much is read for a page and no more."""
    every = ids(PAGES * READ + 1)

    first, second = pages(dict.fromkeys(every, "prod"), limit=50)

    assert (first.items, second.items) == ([], [])
    assert second.last is None


def test_without_a_limit_it_is_the_list():
    """Somebody who sees all sees what is of no environment too."""
    every = ids(3)

    (page,) = pages(dict.fromkeys(every), limit=50, scope=EVERYWHERE)

    assert page.items == every
