"""docs/reference/cli.md and the program's help."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cronhop_cli.main import app

ROOT = Path(__file__).parents[2]
COMMON = {"--json", "--profile", "--help"}


def groups(group, before=()):
    """Return the words of each group of commands."""
    yield before
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from groups(command, (*before, name))


def commands(group, before=()):
    """Return (words, command) of each command of the program."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


ALL = dict(commands(typer.main.get_command(app)))


def options(command):
    """Return the long names of the options of a command's own."""
    names = {name for one in command.params for name in one.opts if name[:2] == "--"}
    return names - COMMON


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_reference_has_every_command(words):
    """Each command has a line, and each of its options stands in it."""
    text = (ROOT / "docs/reference/cli.md").read_text()
    (line,) = re.findall(rf"^\| `{' '.join(words)}` \|.*$", text, re.M)

    for option in options(ALL[words]):
        assert re.search(rf"`{option}[` ]", line), option


def test_the_reference_has_no_other_command():
    """What was removed is not described any more."""
    text = (ROOT / "docs/reference/cli.md").read_text()
    tables = "".join(re.findall(r"^\| command \|.*?\n\n", text, re.M | re.S))
    described = re.findall(r"^\| `([^`]*)` \|", tables, re.M)

    assert sorted(described) == sorted(" ".join(words) for words in ALL)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help(words):
    """Each command says what it does in a whole sentence, and what its options do."""
    shown = CliRunner().invoke(app, [*words, "--help"])

    assert shown.exit_code == 0
    assert ALL[words].help.splitlines()[0].rstrip().endswith((".", "?"))
    for one in ALL[words].params:
        assert one.help, one.name


@pytest.mark.parametrize(
    "words", list(groups(typer.main.get_command(app))), ids=" ".join
)
def test_a_list_of_commands(words):
    """What each of them does is said in the width of a terminal, and not cut."""
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})

    _, _, listed = shown.stdout.partition("Commands:")
    assert not [line for line in listed.splitlines() if line.endswith("...")]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_values_have_words(words):
    """A value is told by what it is, not by its type."""
    plain = [
        one.name
        for one in ALL[words].params
        if not getattr(one, "is_flag", False) and one.metavar is None
    ]
    assert set(plain) <= {"stream"}  # one of a few, which are listed
