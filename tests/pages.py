"""The pages of the documentation: what stands in their fences."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ON_AWS = "# on AWS"  # begins commands that need an account: checked, not run
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """What stands in a fence of a page, in a language."""

    page: str
    line: int
    language: str
    text: str

    @property
    def is_on_aws(self):
        return self.text.startswith(f"{ON_AWS}\n")

    def __str__(self):
        return f"{self.page}:{self.line}"


def pages():
    """Return the paths of all pages, relative to the project."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def text(page):
    """Return what stands on a page."""
    return (ROOT / page).read_text()


def blocks(page, language=None):
    """Return the fences of a page, of a language or of all."""
    whole = text(page)
    found = [
        Block(page, whole[: one.start()].count("\n") + 1, one[1], one[2])
        for one in _FENCE.finditer(whole)
    ]
    return [one for one in found if language in {None, one.language}]


def script(page):
    """Return the commands of a page that run anywhere, in their order."""
    return "\n".join(one.text for one in blocks(page, "sh") if not one.is_on_aws)
