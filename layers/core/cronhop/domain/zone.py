"""Time zones: what a clock shows, and where it is changed.

The zones are those of the tzdata package, whatever the machine has: two machines
with different tables would not agree on slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from cronhop.errors import Invalid

TIMEZONE_MAX_LENGTH = 64  # characters

_SECOND = timedelta(seconds=1)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the names of all zones in the tzdata package."""
    text = files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(text.split())


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return the zone of this IANA name. Raises `Invalid` for `schedule.timezone`."""
    if len(name) > TIMEZONE_MAX_LENGTH or name not in zone_names():
        similar = (
            get_close_matches(name, zone_names(), n=1, cutoff=0.8)
            if len(name) <= TIMEZONE_MAX_LENGTH
            else []
        )
        # A place, never another offset: `GMT+0` is no advice for `GMT+1`.
        is_place = bool(similar) and "/" in similar[0] and "Etc/" not in similar[0]
        advice = similar[0] if is_place else "an IANA name such as Europe/Berlin or UTC"
        raise Invalid(
            "schedule.timezone",
            f"`{name[:TIMEZONE_MAX_LENGTH]}` is not a known zone; write {advice}",
        )
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def local_time(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return what the zone's clock shows, naive."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def readings(time: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the instants that a time of the clock may mean.

    By the offset before a change (fold 0) and by the one after it (fold 1, PEP
    495), which are the same but for a time that the clock skips or shows twice:

        gap       fold 1 < change <= fold 0     neither exists
        overlap   fold 0 < change <= fold 1     both exist
    """
    return (
        time.replace(tzinfo=zone).astimezone(UTC),
        time.replace(tzinfo=zone, fold=1).astimezone(UTC),
    )


def second_pass(instant: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when the overlap's second pass starts, `None` if not in the first."""
    second = instant.astimezone(zone).replace(fold=1).astimezone(UTC)
    return change_between(zone, instant, second) if second > instant else None


def changes_between(
    zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[datetime]:
    """Yield the first instants of new UTC offsets in (start, end], in order.

    Two changes within a week that undo each other are not seen.
    """
    low = start.replace(microsecond=0)
    while low < end:
        high = min(low + timedelta(days=7), end.replace(microsecond=0))
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            yield change_between(zone, low, high)
        low = high if high > low else end


def change_between(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return the first second in (low, high] that has the UTC offset of `high`."""
    offset = high.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high
