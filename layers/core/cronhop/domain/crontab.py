"""Crontabs: from the text of crontab(5) to what its lines would run.

Read as Debian's and cronie's cron read them: variables hold for the lines below
them, `%` ends the command and begins its stdin, and in a system's crontab a user
stands before the command.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cronhop.domain.variable import check_variable
from cronhop.errors import Invalid

MAX_ENTRIES = 100
MAX_VARIABLES = 100
NAME_LENGTH = 60  # characters of a name, so that a prefix fits before it
SHELLS_WITH_HEREDOC = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"})

_VARIABLE = re.compile(r"""("[^"]*"|'[^']*'|[^\s=*@"'#]+)\s*=\s*(.*)""", re.DOTALL)
_TIMES = re.compile(r"(@\S+|\S+(?:[ \t]+\S+){4})[ \t]+(.*)", re.DOTALL)
_ENTRY = re.compile(r"(@\w+|[\d*,/A-Za-z~-]+([ \t]+[\d*,/A-Za-z#~-]+){4})[ \t]+\S")
_HEADER = re.compile(r"\bm\s+h\s+dom\b|\bdom\s+mon\s+dow\b|\|", re.IGNORECASE)
_SPECIAL = frozenset(
    {"SHELL", "HOME", "LOGNAME", "USER", "CRON_TZ"}
    | {"MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING"}
    | {"RANDOM_DELAY"}
)
_WORD = "CRONHOP_STDIN"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line that would run something.

    | field  | meaning                                                            |
    |--------|--------------------------------------------------------------------|
    | line   | its number, from 1                                                 |
    | text   | as it stands there                                                 |
    | task   | name, spec and schedule of the task it would be, None: it cannot be |
    | reason | why it cannot be                                                   |
    | notes  | what of the line is not taken over, or is not as it was            |
    """

    line: int
    text: str
    task: dict[str, Any] | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Reader:
    """Reads a crontab from its first line to its last.

    `variables` are those set so far, `comment` is the line above, if it is one
    that may name the next entry.
    """

    is_system: bool
    timezone: str
    variables: dict[str, str] = field(default_factory=dict)
    comment: str = ""
    names: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def entries(self, text: str) -> Iterator[Entry]:
        for number, ended in enumerate(text.split("\n"), start=1):
            line = ended.removesuffix("\r")
            stripped = line.strip(" \t")
            if not stripped:
                self.comment = ""
            elif stripped.startswith("#"):
                self.comment = _name_in(stripped)
            elif match := _VARIABLE.fullmatch(stripped):
                self.comment = ""
                self.variables[_unquoted(match[1])] = _unquoted(match[2])
                if len(self.variables) > MAX_VARIABLES:
                    raise Invalid("text", f"more than {MAX_VARIABLES} variables")
            elif self.count == MAX_ENTRIES:
                raise Invalid(
                    "text",
                    f"more than {MAX_ENTRIES} of its lines run something: import it"
                    " in parts",
                )
            else:
                self.count += 1
                try:
                    task, notes = self._task(stripped)
                except Invalid as exc:
                    yield Entry(line=number, text=line, reason=exc.message)
                else:
                    yield Entry(line=number, text=line, task=task, notes=notes)
                self.comment = ""

    def _task(self, line: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the task of a line, and what is not taken over. Raises Invalid."""
        match = _TIMES.fullmatch(line)
        if match is None:
            raise Invalid("text", "it is neither a variable nor five fields and more")
        times, rest = match.groups()
        user = None
        if self.is_system:
            user, rest = _first_word(rest)
        command, stdin = _split_stdin(rest)
        if not command.strip():
            missing = "a user and a command" if self.is_system else "a command"
            raise Invalid("text", f"it needs {missing} after the times")
        spec: dict[str, Any] = {
            "command": self._command(command, stdin),
            "environment": self._environment(),
        }
        shell = self.variables.get("SHELL", "/bin/sh")
        if shell != "/bin/sh":
            spec["interpreter"] = [shell]
        if self.variables.get("HOME"):
            spec["workdir"] = self.variables["HOME"]
        if user is not None:
            spec["run_as"] = user
        task = {
            "name": self._name(command),
            "spec": spec,
            "schedule": {
                "cron": " ".join(times.split()),
                "timezone": self.variables.get("CRON_TZ", self.timezone),
            },
        }
        return task, tuple(self._notes(command, stdin))

    def _command(self, command: str, stdin: str | None) -> str:
        if stdin is None:
            return command
        shell = self.variables.get("SHELL", "/bin/sh")
        if shell.rpartition("/")[2] not in SHELLS_WITH_HEREDOC:
            raise Invalid(
                "text",
                f"`%` gives it a stdin, which is written for a POSIX shell and not for"
                f" {shell}; write it into the command, or `\\%` for a percent sign",
            )
        word = _WORD
        while word in stdin.splitlines():
            word += "_"
        end = "" if stdin.endswith("\n") or not stdin else "\n"
        return f"exec <<'{word}'\n{stdin}{end}{word}\n{command}"

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self.variables.items()
            if name not in _SPECIAL
        }
        for name in kept:
            try:
                check_variable(name, "text")
            except Invalid as exc:
                raise Invalid("text", f"variable {name}: {exc.message}") from exc
        return kept

    def _name(self, command: str) -> str:
        words = "".join(char if char.isprintable() else " " for char in command)
        name = self.comment or " ".join(words.split())[:NAME_LENGTH].strip()
        unique = name
        while self.names[unique]:
            self.names[name] += 1
            ending = f" ({self.names[name]})"
            unique = name[: NAME_LENGTH - len(ending)] + ending
        self.names[unique] += 1
        return unique

    def _notes(self, command: str, stdin: str | None) -> Iterator[str]:
        if not self.is_system and command.split(maxsplit=1)[0] == "root":
            yield "`root` looks like a user, as in files of /etc: these are `system`"
        if self.variables.get("MAILTO"):
            yield (
                "MAILTO: nobody is mailed; output is kept, and the stack's topic is"
                " told of runs that end badly"
            )
        for name in ("RANDOM_DELAY", "LOGNAME", "USER"):
            if name in self.variables:
                yield f"{name} is not taken over"
        if "HOME" in self.variables:
            yield "HOME is where it runs, the variable is that of the login"
        if stdin is not None:
            yield "what stands after `%` is its stdin, as a here-document"
        if any(re.search("PASS|SECRET|TOKEN", name) for name in self._environment()):
            yield "a variable looks like a secret and is kept in the clear; use secrets"


def read(text: str, *, is_system: bool = False, timezone: str = "UTC") -> list[Entry]:
    """Return what each line of a crontab would run, in order.

    `is_system`: a user stands before each command, as in /etc/crontab.
    `timezone` is that of lines above which there is no CRON_TZ. Whether the parts
    of a task can be accepted is not asked here. Raises Invalid for `text` that is
    longer than any crontab.
    """
    return list(_Reader(is_system=is_system, timezone=timezone).entries(text))


def _first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(None, 1) or [""]
    return word, rest[0] if rest else ""


def _split_stdin(rest: str) -> tuple[str, str | None]:
    """Return the command, and the stdin after the first `%` that is not escaped.

    As cron reads it: in the command `\\%` is `%` and two backslashes are one.
    """
    command, at = "", 0
    while at < len(rest) and rest[at] != "%":
        if rest[at] == "\\" and rest[at + 1 : at + 2] in {"%", "\\"}:
            at += 1
        command += rest[at]
        at += 1
    if at == len(rest):
        return command, None
    lines = re.split(r"(?<!\\)%", rest[at + 1 :])
    return command, "\n".join(line.replace("\\%", "%") for line in lines)


def _name_in(comment: str) -> str:
    """Return the name that a comment gives to the line below, "" if it gives none."""
    name = comment.strip("#-=* \t")
    if not name or not name.isprintable() or _HEADER.search(name):
        return ""
    # An entry that somebody has turned off.
    is_entry = _ENTRY.match(comment.lstrip("# \t"))
    return "" if is_entry else name[:NAME_LENGTH].strip()


def _unquoted(text: str) -> str:
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text
