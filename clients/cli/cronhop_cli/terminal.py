"""What goes to the terminal, and nothing of it may steer the terminal.

Names, reasons and output come from servers, which may be hostile: escape sequences
could hide lines, retitle windows or write to the clipboard. They are made visible.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import Failure

_JOINERS = "\u200c\u200d"  # scripts and emoji need them, and they move nothing
_NOT_SEEN = ("Cc", "Cf", "Zl", "Zp", "Cs")  # categories of Unicode
_WIDE = 10_000  # columns, where no terminal cuts lines

# Numbers, as files of tasks are read; 0644 is none.
WHOLE_NUMBER = r"[-+]?(?:0|[1-9][0-9]*)"
NUMBER = r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"

# Columns that are copied from: what is cut in two cannot be.
_UNCUT = frozenset({"RUN", "FINGERPRINT"})
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z", re.ASCII)

_STYLES = {
    "completed": "green",
    "enabled": "green",
    "fired": "green",
    "failed": "red",
    "lost": "red",
    "timeout": "red",
    "missed": "yellow",
    "skipped": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
}


def visible(text: str) -> str:
    r"""Return the text with all that steers a terminal written out: `\x1b`, `\u202e`.

    Newlines and tabs stay; `\r\n` is a newline.
    """
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def _shown(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    if unicodedata.category(character) not in _NOT_SEEN:
        return character
    if character == "\r":
        return r"\r"
    code = ord(character)
    if code < 0x100:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


class VisibleStream:
    """Makes a stream of bytes visible, piece by piece.

    What is no UTF-8 is shown as it is written in bytes: `\\xff`.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return what may be shown; half a character waits for the next piece."""
        text = self._held + self._decoder.decode(data, final)
        self._held = ""
        if text.endswith("\r") and not final:
            text, self._held = text[:-1], "\r"
        return visible(text)


def console(*, error: bool = False) -> Console:
    """Return a console of stdout or stderr; colours only where somebody sees them."""
    file = sys.stderr if error else sys.stdout
    return Console(
        file=file,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if file.isatty() else _WIDE,
    )


def note(text: str) -> None:
    """Say something beside the result, on stderr."""
    console(error=True).print(Text(visible(text)), soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print a line of the result."""
    console().print(Text(visible(text), style=style), soft_wrap=True)


def show_json(document: object) -> None:
    """Print one JSON document; ASCII, so that nothing of it steers a terminal."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def show_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Collection[str] = (),
) -> None:
    """Print a table; the columns of `numbers` stand to the right.

    Times are shown in whole seconds: `--json` has the rest of them.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(
            visible(heading),
            overflow="fold",
            no_wrap=heading in _UNCUT,
            justify="right" if heading in numbers else "left",
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    console().print(table)


def moment(text: str) -> str:
    """Return an instant in whole seconds; a text that is none as it is.

    A name may hold an instant, and is copied from tables: it stays as it is.
    """
    found = _INSTANT.fullmatch(text)
    return f"{found[1]}Z" if found else text


def _cell(value: object) -> Text:
    text = "-" if value is None else visible(str(value)).replace("\n", "⏎")
    return Text(moment(text), style=_STYLES.get(text, ""))


def show_yaml(document: object) -> None:
    """Print a document as a person reads it."""
    sys.stdout.write(yaml_text(document))


def show_failure(failure: Failure) -> None:
    """Say on stderr what went wrong, where, and what to do."""
    screen = console(error=True)
    screen.print(
        Text("error: ", style="bold red") + Text(visible(failure.message)),
        soft_wrap=True,
    )
    for line in failure.details:
        screen.print(Text(f"  {visible(line)}"), soft_wrap=True)
    if failure.hint:
        screen.print(
            Text("hint: ", style="bold") + Text(visible(failure.hint)), soft_wrap=True
        )


class _Dumper(yaml.SafeDumper):
    """Writes several lines as a block, and repeats instead of pointing back."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML's signature
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None
    if visible(text) != text:
        style = '"'
    elif "\n" in text and not re.search(r"[ \t]\n", text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)
# What YAML 1.2 reads as a number: as a text it is put in quotes.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^{NUMBER}$"), list("-+0123456789")
)


def yaml_text(document: object) -> str:
    """Return it as YAML that readers of YAML 1.1 and 1.2 understand alike.

    Nothing of it steers a terminal: what could stands in quotes, and escaped.
    """
    text = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    # In quotes, and there alone, is what is not visible: \u202e is its escape.
    return visible(str(text))
