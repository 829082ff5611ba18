"""The audit in docs/reference/api.md."""

import re
from pathlib import Path

from api import ledger

PAGE = (Path(__file__).parents[2] / "docs/reference/api.md").read_text()


def test_the_page_has_all_entities():
    """Of every change, and of what is refused."""
    (head,) = re.findall(r"^\| entity \| .*\n(?:\|.*\n)+", PAGE, re.M)
    named = set(re.findall(r"`(\w+)#[^`]+`", head))

    kept = {entity.partition("#")[0] for entity, _ in ledger.CHANGES.values()}
    assert named == kept | {"login"}
