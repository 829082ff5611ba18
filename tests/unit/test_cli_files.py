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

    assert any("is not an object with fields" in text for text in caught.value.details)
    assert max(map(len, caught.value.details)) < MAX_TEXT + len(str(path)) + 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!!int abc", "'abc' cannot be read as int"),
        ("!!int ''", "'' cannot be read as int"),
        ("!!bool maybe", "'maybe' cannot be read as bool"),
        ("!!float x", "'x' cannot be read as float"),
        ("!!timestamp 5", "'5' cannot be read as timestamp"),
        ("!!timestamp 2026-06-01", "'2026-06-01' cannot be read as timestamp"),
        ("!!float .nan", "'.nan' cannot be read as float"),
        ("1e999", "'1e999' cannot be read as float"),
        ("9" * 5000, f"'{'9' * 149} … {'9' * 149}' cannot be read as int"),
    ],
    ids=[
        *("int", "empty", "bool", "float", "timestamp", "date", "nan", "infinite"),
        "long",
    ],
)
def test_a_value_that_cannot_be_read(tmp_path, text, said):
    """It does not fit its tag, or JSON has no such thing: it is told with its line."""
    path = tmp_path / "slip.yaml"
    path.write_text(f"version: 1\ntasks:\n- timeout_s: {text}\n")

    with pytest.raises(Failure) as caught:
        read_all(path)

    assert caught.value.message == f"{path}:3: {said}"
