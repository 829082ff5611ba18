"""What the terminal is shown: nothing of it steers it, nothing is lost."""

import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cronhop_cli.follow import exit_code
from cronhop_cli.plan import _differences
from cronhop_cli.task_file import read
from cronhop_cli.task_form import lean, whole
from cronhop_cli.terminal import VisibleStream, show_table, visible, yaml_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢 👩‍🚀\n\ttab", "plain ü 漢 👩‍🚀\n\ttab"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\x9b31m\x85\x7f", r"\x9b31m\x85\x7f"),
        ("abc\u202ecba\u2066\u200e", r"abc\u202ecba\u2066\u200e"),
        ("\u2028\u2029\ufeff", r"\u2028\u2029\ufeff"),
        ("\U000e0041", r"\U000e0041"),
    ],
    ids=["plain", "escape", "return", "c1", "bidi", "separators", "tags"],
)
def test_visible(text, shown):
    """What steers is written out, what is text stays as it is."""
    assert visible(text) == shown


@given(st.text())
def test_nothing_steers(text):
    """Of any text no control character is left but newline and tab."""
    for character in visible(text):
        assert character in "\n\t" or unicodedata.category(character) not in {
            "Cc",
            "Zl",
            "Zp",
        }


@given(st.binary(), st.lists(st.integers(0, 30)))
def test_pieces_are_as_the_whole(data, cuts):
    """However a stream is cut, the same is shown."""
    whole_stream, stream, shown, at = VisibleStream(), VisibleStream(), "", 0
    for cut in cuts:
        shown += stream.feed(data[at : at + cut])
        at += cut
    shown += stream.feed(data[at:], final=True)

    assert shown == whole_stream.feed(data, final=True)


def test_tables_are_to_be_read(capsys):
    """Times in whole seconds; an empty cell and a line's end can be seen."""
    rows = [("2026-06-01T10:00:00.123Z", None), ("2026-06-01T10:00:00Z", "a\nb")]
    show_table(["AT", ""], [*rows, ("T1.5Z", "00.123Z")])

    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["2026-06-01T10:00:00Z", "-"],
        ["2026-06-01T10:00:00Z", "a⏎b"],
        ["T1.5Z", "00.123Z"],
    ]


def test_a_name_with_a_time_stays_as_it_is(capsys):
    """Who copies it from a table finds what it names."""
    name = "dump-of-2026-06-01T10:00:00.123Z"
    show_table(["TASK"], [(name,)])

    assert capsys.readouterr().out.split() == ["TASK", name]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_yaml_is_read_as_it_was_written(tmp_path_factory, document):
    """By ourselves and by readers of YAML 1.1, any text and number comes back."""
    path = tmp_path_factory.getbasetemp() / "document.yaml"
    text = yaml_text({"it": document})
    path.write_text(text, "utf-8")

    assert read(path)[0] == {"it": document}
    assert yaml.safe_load(text) == {"it": document}
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("0644", "0644"),
        ("12:30:00", "12:30:00"),
        ("2026-06-01", "2026-06-01"),
        ("yes", "yes"),
        ("1e3", 1000.0),
        ("-7", -7),
        ("~", None),
        ("", None),
        ("true", True),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path, text, value):
    """No word becomes a truth, no mode a number, no time a count of seconds."""
    path = tmp_path / "x.yaml"
    path.write_text(f"a: {text}\n")

    assert read(path)[0] == {"a": value}


@pytest.mark.parametrize(
    ("state", "codes", "expected"),
    [
        ("completed", [0], 0),
        ("completed", [0, 3], 0),
        ("failed", [3], 3),
        ("failed", [0, 3, 7, None], 7),
        ("failed", [None], 125),
        ("timeout", [143], 124),
        ("missed", [None], 123),
        ("skipped", [], 122),
        ("lost", [None], 121),
        ("cancelled", [143], 120),
    ],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_exit_codes(state, codes, expected):
    """Each end of a run means one thing to a shell."""
    executions = [{"exit_code": code} for code in codes]

    assert exit_code({"state": state}, executions) == expected


def test_a_task_in_other_words():
    """What means the same is no change, whatever the order and the spelling."""
    one = {
        "name": "x",
        "spec": {"command": "true", "environment": {}},
        "targets": {"servers": ["a"], "pick": "all"},
        "schedule": {"at": "2026-06-01T09:00:00+02:00", "timezone": "UTC"},
        "retry": {"backoff": 2, "on": ["timeout", "failed"], "max_interval_s": 3600},
        "enabled": True,
    }
    other = {
        "targets": {"servers": ["a"]},
        "spec": {"command": "true"},
        "name": "x",
        "kind": "script",
        "schedule": {"at": "2026-06-01T07:00:00Z"},
    }

    assert lean(one) == lean(other)
    assert list(_differences(whole(lean(one)), whole(lean(other)), "")) == []
