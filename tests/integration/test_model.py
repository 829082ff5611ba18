"""The start protocol as a model, every order of its steps and faults.

The model is docs/model/slot.pml, and says itself what it covers.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "docs/model/slot.pml"
# Enough for every mutant to show what it breaks; the whole space in seconds.
BOUND = ("-DFAULTS=2", "-DDUPLICATES=1")

pytestmark = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")),
    reason="no spin: apt-get install spin gcc libc6-dev",
)


def search(folder, *defines):
    """Return what the verifier says of the model with these definitions."""
    for command in (
        ["spin", "-a", *BOUND, *defines, MODEL],
        ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    done = subprocess.run(
        ["./pan", "-m100000"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "max search depth too small" not in done.stdout
    return done.stdout


def test_it_holds(tmp_path):
    """In every order: at most one start, and an outcome on record."""
    assert "errors: 0" in search(tmp_path)


def test_a_lost_answer_of_a_claim_is_survived_without_the_token_too(tmp_path):
    """The claim has set the poll: somebody comes back."""
    assert "errors: 0" in search(tmp_path, "-DNO_OWNER")


@pytest.mark.parametrize("mutant", ["NO_GUARD", "REMOVE_GUARD"])
def test_without_the_guard_it_starts_twice(mutant, tmp_path):
    """The directory is what holds, and it has to stay."""
    said = search(tmp_path, f"-D{mutant}")

    assert "assertion violated (starts<=1)" in said


@pytest.mark.parametrize("mutant", ["ADVANCE_FIRST", "DELETE_FIRST", "NO_POLL"])
def test_in_another_order_it_loses_the_slot(mutant, tmp_path):
    """Send before advance, work before delete, a poll with the claim."""
    said = search(tmp_path, f"-D{mutant}")

    assert "assertion violated ((row&&ended)&&((starts==1)||unknown))" in said
