"""Identifiers: sorted by time, the same for the same slot, spread over shards."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.ids import (
    id_time,
    is_id,
    last_id,
    new_id,
    shard_of,
    slot_run_id,
)

NOW = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
instants = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
    datetime(9999, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))


@given(instants)
def test_id_holds_its_instant(moment):
    """The time of an id is read back from it, to the millisecond."""
    assert id_time(new_id(moment)) == moment


@given(instants, instants)
def test_ids_sort_as_their_instants(one, other):
    """Earlier is lower, whatever the rest of the id is."""
    if one < other:
        assert last_id(one) < new_id(other)
        assert slot_run_id("task", one) < slot_run_id("task", other)


def test_ids_of_one_instant_differ():
    """Two ids of one millisecond are two."""
    assert len({new_id(NOW) for _ in range(1000)}) == 1000


def test_slot_has_one_id():
    """The id of a slot depends on the task and the slot alone."""
    assert slot_run_id("a", NOW) == slot_run_id("a", NOW)
    assert slot_run_id("a", NOW) != slot_run_id("b", NOW)
    assert slot_run_id("a", NOW) != slot_run_id("a", NOW + timedelta(seconds=1))
    assert id_time(slot_run_id("a", NOW)) == NOW


@pytest.mark.parametrize(
    "text",
    ["", "01J", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01J0000000000000000000000I", "é" * 26],
)
def test_what_is_no_id(text):
    """Anything else than a ULID is refused."""
    assert not is_id(text)
    with pytest.raises(ValueError, match="not a ULID"):
        id_time(text)


def test_shards_are_even():
    """Ids spread over the shards: no partition of an index is hot."""
    counts = Counter(shard_of(new_id(NOW), 8) for _ in range(8000))

    assert sorted(counts) == list(range(8))
    assert max(counts.values()) < 1200
