"""docs/reference/configuration.md and the template."""

import re
from pathlib import Path

import pytest

from tests import template

PAGE = Path(__file__).parents[2] / "docs/reference/configuration.md"


def rows(section):
    """Return the cells of the table in a section, by the first one."""
    (body,) = re.findall(
        rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S
    )
    lines = re.findall(r"^\| (.*) \|$", body, re.M)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {first: rest for first, *rest in cells[1:] if set(first) != {"-"}}


@pytest.mark.parametrize(
    ("section", "part"), [("Parameters", "Parameters"), ("Outputs", "Outputs")]
)
def test_the_reference_has_them_all(section, part):
    """All that the template has, and nothing else."""
    assert sorted(rows(section)) == sorted(template.load()[part])


def test_defaults_are_those_of_the_template():
    """What is not given is as the page says."""
    for name, (default, _) in rows("Parameters").items():
        assert default == str(template.load()["Parameters"][name]["Default"]), name


def test_limits_are_those_of_the_template():
    """Where a parameter has bounds or a choice, the page names them."""
    for name, (_, meaning) in rows("Parameters").items():
        parameter = template.load()["Parameters"][name]
        if "MinValue" in parameter:
            bounds = f"{parameter['MinValue']} to {parameter['MaxValue']}"
            assert bounds in meaning, name
    shown = re.findall(r"\d+", rows("Parameters")["RetentionDays"][1])
    assert shown[:-1] == template.load()["Parameters"]["RetentionDays"]["AllowedValues"]
