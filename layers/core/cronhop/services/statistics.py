"""Statistics, read from counters: what a fleet or a task did in some days."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from cronhop.domain.tally import Counts, together
from cronhop.errors import Invalid
from cronhop.store import servers, stats, tasks

MAX_DAYS = 92  # a quarter
DEFAULT_DAYS = 7
BUSIEST = 10
# Of servers and days that are looked at for the busiest; a day is looked at whole.
SERVER_DAYS_READ = 20_000
UNSUCCESSFUL = 100
UNSUCCESSFUL_READ = 1000  # those of deleted tasks among them
_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Days (UTC) from `first` to `last`, both among them."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        """All of them, the oldest first."""
        count = (self.last - self.first).days + 1
        return [self.first + number * _DAY for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Busy:
    """A server and what ran on it; `name` is None of one that was deleted."""

    server_id: str
    name: str | None
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class NeverSuccessful:
    """A task of which no run was ever completed, and when the first one ended."""

    task_id: str
    name: str
    first_end: datetime


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What all tasks did.

    | field            | meaning                                                 |
    |------------------|---------------------------------------------------------|
    | days             | counters of each day of the window                      |
    | busiest          | servers on which commands ran longest, those first      |
    | busiest_since    | the first day that was looked at for these              |
    | never_successful | tasks that have ended runs and none completed           |
    | is_complete      | whether these are all such tasks                        |
    """

    days: Mapping[date, Counts]
    busiest: tuple[Busy, ...]
    busiest_since: date
    never_successful: tuple[NeverSuccessful, ...]
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class TaskStatistics:
    """What a task did each day, and when it was last completed, ever."""

    days: Mapping[date, Counts]
    last_success: datetime | None


class Statistics:
    """Reads counters."""

    def window(self, first: date | None, last: date | None, *, today: date) -> Window:
        """Return the days asked for: the last seven, if nothing else is said.

        Raises Invalid.
        """
        last = last or today
        first = first or last - (DEFAULT_DAYS - 1) * _DAY
        if last < first:
            raise Invalid("to", "it is before `from`")
        if (last - first).days >= MAX_DAYS:
            raise Invalid("from", f"these are more than {MAX_DAYS} days")
        return Window(first=first, last=last)

    def overview(self, window: Window) -> Overview:
        """Return what all tasks did in these days."""
        found = stats.of_all(window.first, window.last)
        busiest, since = _busiest(window)
        never, is_complete = _never_successful()
        return Overview(
            days=_filled(window, found),
            busiest=busiest,
            busiest_since=since,
            never_successful=never,
            is_complete=is_complete,
        )

    def of_task(self, task_id: str, window: Window) -> TaskStatistics:
        """Return what one task did in these days."""
        found = stats.of_task(task_id, window.first, window.last)
        return TaskStatistics(
            days=_filled(window, found), last_success=stats.last_success(task_id)
        )


def _filled(window: Window, found: Mapping[date, Counts]) -> Mapping[date, Counts]:
    nothing = Counts(counters={})
    return {day: found.get(day, nothing) for day in window.days}


def _busiest(window: Window) -> tuple[tuple[Busy, ...], date]:
    """Return the busiest servers, and the first day that was looked at.

    The newest days are looked at first, until there were servers enough.
    """
    read, since = 0, window.last
    found: dict[str, Counts] = {}
    for day in reversed(window.days):
        if read >= SERVER_DAYS_READ:
            break
        since = day
        for server_id, counts in stats.of_servers(day).items():
            read += 1
            before = found.get(server_id)
            found[server_id] = together([before, counts]) if before else counts
    top = heapq.nlargest(BUSIEST, found.items(), key=lambda one: (one[1].busy, one[0]))
    named = servers.get_many(server_id for server_id, _ in top)
    busiest = tuple(
        Busy(
            server_id=server_id,
            name=named[server_id].name if server_id in named else None,
            counts=counts,
        )
        for server_id, counts in top
    )
    return busiest, since


def _never_successful() -> tuple[tuple[NeverSuccessful, ...], bool]:
    """Return tasks that never succeeded and were not deleted, and if they are all."""
    found = stats.unsuccessful()
    shown: list[NeverSuccessful] = []
    for _ in range(UNSUCCESSFUL_READ // UNSUCCESSFUL):
        some = list(itertools.islice(found, UNSUCCESSFUL))
        living = tasks.get_many(one.task_id for one in some)
        for one in some:
            task = living.get(one.task_id)
            if task is None or isinstance(task, Exception):
                continue
            if len(shown) == UNSUCCESSFUL:
                return tuple(shown), False
            shown.append(
                NeverSuccessful(
                    task_id=one.task_id,
                    name=task.definition.name,
                    first_end=one.first_end,
                )
            )
        if len(some) < UNSUCCESSFUL:
            return tuple(shown), True
    return tuple(shown), False
