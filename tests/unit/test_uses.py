"""What forbids a removal, in words."""

import pytest

from cronhop.domain.access import EVERYWHERE, Scope
from cronhop.errors import Conflict
from cronhop.services.uses import Use, require_unused

HERE = Scope(environments=frozenset({"here"}))


def uses(*environments):
    return [Use("task", f"t{n}", one) for n, one in enumerate(environments)]


@pytest.mark.parametrize(
    ("found", "scope", "told"),
    [
        (uses("here"), EVERYWHERE, "task t0"),
        (uses("here", None), EVERYWHERE, "task t0, task t1"),
        (uses(*5 * [None]), EVERYWHERE, "task t0, task t1, task t2, task t3, task t4"),
        (
            uses(*6 * [None]),
            EVERYWHERE,
            "task t0, task t1, task t2, task t3, task t4, and more",
        ),
        (uses("here", "there"), HERE, "task t0, and more"),
        (uses("there", "here"), HERE, "task t1, and more"),
        (uses("there", None), HERE, "a task"),
    ],
)
def test_what_names_it_is_told(found, scope, told):
    """Five at most, and of others' environments only that there are some."""
    with pytest.raises(Conflict) as refused:
        require_unused("calendar 'x'", found, scope)

    assert str(refused.value) == f"calendar 'x' is named by {told}"


def test_no_more_is_read_than_is_told():
    """A list may be long, and each of its pages costs."""
    read = iter(uses(*100 * [None]))
    with pytest.raises(Conflict):
        require_unused("it", read)

    assert len(list(read)) == 94


def test_what_nothing_names_may_go():
    """Nothing is raised."""
    require_unused("it", [])
