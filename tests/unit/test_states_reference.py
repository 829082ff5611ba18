"""docs/reference/states.md and the states of the domain."""

import re
from itertools import takewhile
from pathlib import Path

import pytest

from cronhop.domain.run import ALARMING_STATES, State

PAGE = (Path(__file__).parents[2] / "docs/reference/states.md").read_text()
TERMINAL = {state for state in State if state.is_terminal}
REASONS = next(line for line in PAGE.splitlines() if line.startswith("`reason` says"))
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def table(before):
    """Return the cells of the table that follows this line, without its head."""
    rest = PAGE.split(f"\n{before}\n", 1)[1].lstrip("\n").splitlines()
    lines = takewhile(lambda line: line.startswith("|"), rest)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]


def ways(noun):
    """Return which state leads to which, as the page says; None: there was no row."""
    found = set()
    for before, after, _ in table(f"{noun}:"):
        states = TERMINAL if after == "a terminal one" else after.split(", ")
        found |= {(State(before) if before else None, State(one)) for one in states}
    return found


def test_the_page_has_all_states():
    """In the order of the domain, the terminal ones last and counted."""
    states = [state for state, *_ in table("Runs and executions have the same states.")]

    assert states == list(State)
    assert set(states[-len(TERMINAL) :]) == TERMINAL
    assert f"The last {NUMBERS[len(TERMINAL)]} are terminal" in PAGE


def test_the_page_has_the_states_that_alarm():
    """These and no others."""
    (line,) = re.findall(r"^(.*) raise the alarm\.$", PAGE, re.M)

    assert set(re.findall(r"`(\w+)`", line)) == ALARMING_STATES


@pytest.mark.parametrize("noun", ["A run", "An execution"])
def test_nothing_follows_a_terminal_state(noun):
    """Every other leads somewhere, and each is come to."""
    found = ways(noun)

    assert {before for before, _ in found} == {None, *State} - TERMINAL
    assert {after for _, after in found} == set(State)


def test_reasons_are_of_states():
    """Whoever looks one up finds a state that there is."""
    named = {one for states, *_ in table(REASONS) for one in states.split(", ")}

    assert named <= set(State)
    assert named >= set(State) - {State.COMPLETED}
