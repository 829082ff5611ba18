"""Crontabs: what their lines would run, as cron reads them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronhop.domain.crontab import Entry, read
from cronhop.errors import Invalid


def only(text: str, *, is_system: bool = False) -> Entry:
    """Return the one entry of a crontab."""
    (entry,) = read(text, is_system=is_system)
    return entry


def spec(text: str, *, is_system: bool = False) -> dict[str, object]:
    """Return what the one entry of a crontab runs."""
    task = only(text, is_system=is_system).task
    assert task is not None
    found: dict[str, object] = task["spec"]
    return found


def names(text: str) -> list[str]:
    """Return the names of the tasks of a crontab."""
    return [entry.task["name"] for entry in read(text) if entry.task]


def test_a_line_is_times_and_a_command() -> None:
    """However it is spaced; the command is left as it stands."""
    (entry,) = read("\n  30\t1 *  * mon\tpg_dump  app | gzip > a.gz ; # x\n")

    assert entry.line == 2
    assert entry.reason is None
    assert entry.notes == ()
    assert entry.task == {
        "name": "pg_dump app | gzip > a.gz ; # x",
        "spec": {"command": "pg_dump  app | gzip > a.gz ; # x", "environment": {}},
        "schedule": {"cron": "30 1 * * mon", "timezone": "UTC"},
    }


def test_at_words_are_times() -> None:
    """Also those that a later check refuses."""
    found = [entry.task for entry in read("@daily a\n@reboot b")]

    assert [task and task["schedule"]["cron"] for task in found] == [
        "@daily",
        "@reboot",
    ]


def test_variables_hold_for_the_lines_below() -> None:
    """With quotes and without, blanks around the sign, and the last one wins."""
    text = """A=1
    B = "two words"
    'C'='it"s'
    PATH=/usr/local/bin:/usr/bin
    * * * * * one
    A=3
    * * * * * X=1 two
    """

    one, two = (entry.task for entry in read(text))

    assert one is not None
    assert two is not None
    assert one["spec"]["environment"] == {
        "A": "1",
        "B": "two words",
        "C": 'it"s',
        "PATH": "/usr/local/bin:/usr/bin",
    }
    assert two["spec"]["environment"]["A"] == "3"
    assert two["spec"]["command"] == "X=1 two"


def test_some_variables_mean_something_to_cron() -> None:
    """Shell, home, zone; mail is not sent, and a note says so."""
    text = """SHELL=/bin/bash
HOME=/srv/app
CRON_TZ=Europe/Berlin
MAILTO=ops@example.org
LOGNAME=app
0 2 * * * run
"""

    entry = only(text)

    assert entry.task is not None
    assert entry.task["schedule"]["timezone"] == "Europe/Berlin"
    assert entry.task["spec"] == {
        "command": "run",
        "environment": {},
        "interpreter": ["/bin/bash"],
        "workdir": "/srv/app",
    }
    assert [note.split()[0].strip(":") for note in entry.notes] == [
        "MAILTO",
        "LOGNAME",
        "HOME",
    ]


def test_an_empty_mailto_is_nothing_to_note() -> None:
    """It asked for no mail."""
    assert only('MAILTO=""\n* * * * * a').notes == ()


def test_percent_signs_begin_the_stdin() -> None:
    """The first ends the command, the others are new lines; \\% is a percent sign."""
    plain = spec("0 0 * * * date +\\%F")
    fed = only("0 0 * * * mail -s hello%Dear all,%%100\\% done")

    assert plain["command"] == "date +%F"
    assert fed.task is not None
    assert fed.task["spec"]["command"] == (
        "exec <<'CRONHOP_STDIN'\nDear all,\n\n100% done\nCRONHOP_STDIN\nmail -s hello"
    )
    assert fed.task["name"] == "mail -s hello"
    assert "here-document" in fed.notes[0]


def test_a_stdin_may_hold_the_word_that_ends_it() -> None:
    """Another word is taken then."""
    command = spec("0 0 * * * cat%CRONHOP_STDIN%CRONHOP_STDIN_")["command"]

    assert str(command).startswith("exec <<'CRONHOP_STDIN__'\n")


def test_a_stdin_needs_a_shell_with_here_documents() -> None:
    """What another shell would make of it nobody knows."""
    entry = only("SHELL=/usr/bin/fish\n0 0 * * * cat%a")

    assert entry.task is None
    assert "/usr/bin/fish" in str(entry.reason)


def test_a_systems_crontab_has_users() -> None:
    """One word before the command, with blanks or tabs around it."""
    found = spec("17 *\t* * *\troot\tcd / && run-parts /etc", is_system=True)

    assert found["run_as"] == "root"
    assert found["command"] == "cd / && run-parts /etc"
    assert "a user and a command" in str(only("* * * * * root", is_system=True).reason)


def test_a_file_of_etc_that_is_read_as_a_users_is_told_of() -> None:
    """Its users would be run as commands, and every run would fail."""
    text = "17 *\t* * *\troot\tcd / && run-parts /etc"

    assert "`system`" in only(text).notes[0]
    assert only(text, is_system=True).notes == ()


def test_the_comment_above_is_the_name() -> None:
    """Of the line right below it only, and never a header or a line turned off."""
    text = """# m h  dom mon dow   command
* * * * * a
# --- nightly dump ---
0 1 * * * b
0 2 * * * c

# far above

0 3 * * * d
#0 4 * * * old
0 4 * * * e
# nightly dump
0 5 * * * f
"""

    assert names(text) == ["a", "nightly dump", "c", "d", "e", "nightly dump (2)"]


def test_what_is_no_line_of_a_crontab_says_why() -> None:
    """With its number; the others are read all the same."""
    entries = read("hello\n* * * * *\nIFS=x\n* * * * * a")

    assert [(entry.line, entry.task) for entry in entries] == [
        (1, None),
        (2, None),
        (4, None),
    ]
    assert "neither a variable" in str(entries[0].reason)
    assert "neither a variable" in str(entries[1].reason)
    assert "variable IFS" in str(entries[2].reason)


@given(
    text=st.text(st.sampled_from("0*/, \t\n%\\#=@'\"AaPS-~"), max_size=60),
    is_system=st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_read(text: str, *, is_system: bool) -> None:
    """Every entry is a task or has a reason, and names are unique."""
    entries = read(text, is_system=is_system)

    assert all((entry.task is None) != (entry.reason is None) for entry in entries)
    found = [entry.task["name"] for entry in entries if entry.task]
    assert len(set(found)) == len(found)


def test_backslashes_are_read_as_cron_reads_them() -> None:
    """Two are one, and do not keep a `%` from ending the command."""
    assert spec(r"0 1 * * * date +\%F")["command"] == "date +%F"
    assert spec(r"0 1 * * * printf a\\nb")["command"] == r"printf a\nb"
    ended = spec(r"0 1 * * * cat \\%x\%y")["command"]
    assert ended == "exec <<'CRONHOP_STDIN'\nx%y\nCRONHOP_STDIN\ncat \\"


def test_only_a_newline_ends_a_line() -> None:
    """What other readers take for one is part of the command."""
    (entry,) = read("0 1 * * * echo a\fMAILTO=x\r\n")

    assert entry.task is not None
    assert entry.task["spec"]["command"] == "echo a\fMAILTO=x"


def test_a_line_that_was_turned_off_names_nothing() -> None:
    """Stars at its front are times, no ornament."""
    assert names("#* * * * * /usr/bin/old\n0 1 * * * new") == ["new"]


@pytest.mark.parametrize(
    "text",
    ["* * * * * a\n" * 101, "".join(f"V{number}=1\n" for number in range(101))],
)
def test_what_is_longer_than_any_crontab_is_refused(text: str) -> None:
    """It would take minutes, and be refused all the same."""
    with pytest.raises(Invalid, match="more than 100"):
        read(text)


def test_many_lines_of_one_command_have_names_of_their_own() -> None:
    found = names("* * * * * a\n" * 100)

    assert len(set(found)) == 100
    assert found[:3] == ["a", "a (2)", "a (3)"]
