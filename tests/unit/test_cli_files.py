"""Files of tasks that mean no good: what they say is bounded."""

import pytest

from cronhop_cli.errors import Failure
from cronhop_cli.task_file import MAX_TEXT, read_all


def bomb(levels):
    """Return a file of few lines whose aliases are ten times as many on each level."""
    lines = [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]"
        for level in range(1, levels)
    ]
    first, last = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]", f"tasks: [*a{levels - 1}]"
    return "\n".join([first, *lines, "version: 1", last])


def test_aliases_that_multiply_are_refused(tmp_path):
    """Before they fill the memory."""
    path = tmp_path / "bomb.yaml"
    path.write_text(bomb(9))

    with pytest.raises(Failure, match="more than 200,000 values"):
        read_all(path)


def test_what_is_wrong_is_told_in_short(tmp_path):
    """Though the value itself is long."""
    path = tmp_path / "long.yaml"
    path.write_text(bomb(3))

    with pytest.raises(Failure) as caught:
        read_all(path)

    assert any("is not of type 'object'" in text for text in caught.value.details)
    assert max(map(len, caught.value.details)) < MAX_TEXT + len(str(path)) + 50
