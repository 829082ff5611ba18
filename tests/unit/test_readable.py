"""Rows that cannot be read."""

import pytest
from pynamodb.exceptions import GetError

from cronhop.store.readable import read_each

KEYS = range(100)


class Table:
    """A table whose rows are their keys, which counts how often it is asked."""

    def __init__(self):
        self.asked = []

    def batch_get(self, keys, *, consistent_read):
        assert consistent_read
        self.asked.append(len(keys))
        yield from keys


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 50}])
def test_all_others_are_read(bad):
    """And each that cannot be is named, with its reason."""
    table = Table()

    def of(row):
        if row in bad:
            raise TypeError(f"{row} is odd")
        return row

    found, broken = read_each(table, KEYS, of)

    assert sorted(found) == [key for key in KEYS if key not in bad]
    assert {key: str(why) for key, why in broken.items()} == {
        key: f"{key} is odd" for key in bad
    }
    # For each that is odd, in halves: not one by one.
    assert len(table.asked) <= 1 + 14 * len(bad)


def test_what_dynamodb_refuses_is_raised():
    """It is no matter of a row."""

    def refuse(row):
        raise GetError("slow down")

    with pytest.raises(GetError):
        read_each(Table(), KEYS, refuse)
