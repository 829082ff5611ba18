"""Starting commands on servers, once, and learning what became of them.

Each call is one visit: runner.sh is sent to the server with a question and answers
it. What runner.sh promises, and keeps without any of us being connected, is written
there.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Final

from cronhop.domain.variable import check_variable
from cronhop.errors import Invalid, NoWorkdir, ProtocolError
from cronhop.ssh.connection import Answer, Connection
from cronhop.ssh.failure import quote

_KEY: Final = re.compile(r"[0-9A-Za-z-]{1,100}")
_USER: Final = re.compile(r"(?=.{1,32}\Z)[a-z_][a-z0-9_.-]*[$]?")
_MAX_ARGUMENTS: Final = 100
_SHEBANG: Final = re.compile(
    r"#![ \t]*([^ \t\n]+)(?:[ \t]+([^\n]*[^ \t\n]))?[ \t]*(?:\n|\Z)"
)
_BLOCK_BYTES: Final = 8 * 1024  # runner.sh counts in these: mksh has 32 bits only
_MAX_CAP_BYTES: Final = 1024**3
_MAX_TIMEOUT_S: Final = 7 * 24 * 3600
_INERT: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-"
)
_ESCAPED: Final = tuple(
    chr(byte) if byte in _INERT else f"\\0{byte:03o}" for byte in range(256)
)
_NAME: Final = re.compile(r"\bch_\w+")
_FUNCTION: Final = re.compile(r"^(?P<name>ch_\w+)\(\) \{\n.*?^\}$", re.M | re.S)
#: What shells of their own are fed with, by verb: see ch_detach and ch_sudo.
_PASSED_ON: Final = {
    "start": ("ch_supervise",),
    "cancel": ("ch_kill", "ch_escaped"),
}
_ANSWER_S: Final = 30.0  # seconds for an answer, beyond what a visit waits by itself
_NOISE_BYTES: Final = 256 * 1024  # what a login shell's rc files may print


class RemoteState(StrEnum):
    """What a visit finds on the host."""

    STARTING = "starting"  #: the guard is there, a minute old at most
    RUNNING = "running"  #: the supervisor lives
    EXITED = "exited"  #: the end is on record
    LOST = "lost"  #: it was started, or may have been, and nobody knows the end
    ABSENT = "absent"  #: no guard: never started here


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command to start.

    | field        | meaning                                                      |
    |--------------|--------------------------------------------------------------|
    | key          | names the execution's attempt, and its guard on the host     |
    | command      | for /bin/sh, or a whole script that begins with `#!`         |
    | environment  | added to the login's environment, as is `CRONHOP_EXECUTION`  |
    | slot         | which the command is for, it gets it as `CRONHOP_SLOT`       |
    | timeout_s    | then TERM to the command's process group                     |
    | kill_grace_s | after TERM, then KILL                                        |
    | cap_bytes    | of each stream that exceeds it, the first and the last half  |
    |              | are kept at least, and the rest is counted                   |
    | interpreter  | runs the command's text, as ("python3", "-u"); empty: as     |
    |              | `command` says                                               |
    | arguments    | of the command                                               |
    | workdir      | absolute, None: HOME. If one cannot go there, nothing is run |
    |              | and the exit code is 126                                     |
    | run_as       | a user that sudo lets us become without a password for       |
    |              | `/bin/sh -s`; if not, the exit code is 126 and sudo's own    |
    |              | words are on stderr. The text is then /proc/self/fd/3        |

    On the host's disk a stream takes 11/8 of `cap_bytes` at most, but 88 KiB at least
    are allowed for.
    Raises `Invalid` for what no host could run.
    """

    key: str
    command: str
    environment: Mapping[str, str] = field(repr=False)
    timeout_s: int
    kill_grace_s: int = 10
    cap_bytes: int = 10 * 1024 * 1024
    interpreter: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    workdir: str | None = None
    run_as: str | None = None
    slot: datetime | None = None

    def __post_init__(self) -> None:
        _check_key(self.key)
        if not self.command or "\0" in self.command:
            raise Invalid("command", "is empty or contains NUL")
        if not 1 <= self.timeout_s <= _MAX_TIMEOUT_S:
            raise Invalid("timeout_s", f"is not within 1 and {_MAX_TIMEOUT_S}")
        if not 0 <= self.kill_grace_s <= _MAX_TIMEOUT_S:
            raise Invalid("kill_grace_s", f"is not within 0 and {_MAX_TIMEOUT_S}")
        if not 1 <= self.cap_bytes <= _MAX_CAP_BYTES:
            raise Invalid("cap_bytes", f"is not within 1 and {_MAX_CAP_BYTES}")
        for name, value in self.environment.items():
            check_variable(name, f"environment.{name[:100]}")
            if "\0" in value:
                raise Invalid(f"environment.{name}", "contains NUL")
        self._check_surroundings()

    def _check_surroundings(self) -> None:
        for name in ("interpreter", "arguments"):
            words = getattr(self, name)
            if len(words) > _MAX_ARGUMENTS:
                raise Invalid(name, f"has more than {_MAX_ARGUMENTS} words")
            if any("\0" in word for word in words):
                raise Invalid(name, "contains NUL")
        if self.interpreter and not re.match(r"[^-]", self.interpreter[0]):
            raise Invalid("interpreter", "is no program")
        if self.workdir is not None and (
            not self.workdir.startswith("/") or "\0" in self.workdir
        ):
            raise Invalid("workdir", "is not absolute or contains NUL")
        if self.run_as is not None and not _USER.fullmatch(self.run_as):
            raise Invalid("run_as", "is no user's name")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a visit found.

    | field                     | meaning                                        |
    |---------------------------|------------------------------------------------|
    | state                     |                                                |
    | started_here              | this visit made the guard                      |
    | exit_code                 | as a shell's `$?`: 128 + n for signal n        |
    | timed_out                 | the command's time-out struck                  |
    | cancelled                 | `cancel` struck before it ended                |
    | duration_s                | from start to end; None if not exited          |
    | age_s                     | from start to now, as far as the host's uptime |
    |                           | tells: duration_s at least; None if not known  |
    | stdout_bytes, _stderr_    | sizes so far, with what was dropped            |
    | stdout_kept, stderr_kept  | which parts are there: (first, end) of one or  |
    |                           | two ranges; a third part is dropped between    |
    | stdout_cut, stderr_cut    | the host's disk was full: more was written     |
    |                           | than is counted                                |
    | stdout_head, stderr_head  | how they begin, when exited                    |
    | reason                    | in words, for `lost`                           |
    | escaped                   | processes that outlived time-out or `cancel`,  |
    |                           | or the command's own end with its output open  |
    """

    state: RemoteState
    started_here: bool
    exit_code: int | None
    timed_out: bool
    cancelled: bool
    duration_s: float | None
    age_s: float | None
    stdout_bytes: int
    stderr_bytes: int
    stdout_head: bytes
    stderr_head: bytes
    reason: str | None
    escaped: int
    stdout_kept: tuple[tuple[int, int], ...]
    stderr_kept: tuple[tuple[int, int], ...]
    stdout_cut: bool
    stderr_cut: bool


_LOST: Final = {
    "rebooted": "host rebooted",
    "died": "runner died; the command may still run, and nobody ends it",
    "never_started": "never started: guard without pid",
    "cleaned": "cleaned: its files were removed, or its start was forbidden",
    "replaced": "its directory was replaced",
}
_NO_WORKDIR: Final = {
    "no_home": "HOME is not set",
    "home_missing": "the home directory is missing",
    "home_not_writable": "the home directory is not writable",
    "home_full": "the home directory is full: no space or no inodes left",
    "no_setsid": "the host has no setsid (util-linux or busybox)",
    "no_proc": "the host has no /proc: it is no Linux",
    "no_printf": "the host's /bin/sh has neither printf nor print built in",
}
_MAX_CODE: Final = 255
_MAX_UPTIME: Final = 10**12  # hundredths of a second: 300 years
_MAX_OLD: Final = 20
_SIZE: Final = rb"\d{1,6}:\d:\d{1,10}:\d{1,9}:\d{1,10}:[01]"
_REPORT: Final = re.compile(
    rb"(?P<state>[a-z]{1,20}) (?P<here>[01]) (?P<code>\d{1,3}|-) (?P<timed_out>[01]) "
    rb"(?P<started>\d{1,15}|-) (?P<ended>\d{1,15}|-) (?P<now>\d{1,15}) "
    rb"(?P<stdout>" + _SIZE + rb") (?P<stderr>" + _SIZE + rb") (?P<escaped>\d{1,9}|-) "
    rb"(?P<reason>[a-z_]{1,40}|-) (?P<cancelled>[01])"
)


def start(
    connection: Connection, job: Job, *, wait_s: float, inline_bytes: int
) -> Report:
    """Start a command unless it was ever started, and wait for its end a while.

    The report tells what became of it within `wait_s`, and holds the first
    `inline_bytes` of each stream if it has exited. Raises `NoWorkdir` if it cannot
    be started, and was not. After any other `RemoteError` it may have been started:
    `attach` tells, and `start` again is safe.
    """
    return _report(
        connection,
        start_words(job, wait_s=wait_s, inline_bytes=inline_bytes),
        wait_s=wait_s,
        inline_bytes=inline_bytes,
    )


def attach(
    connection: Connection, key: str, *, wait_s: float, inline_bytes: int
) -> Report:
    """Report like `start`, but never start anything.

    A guard that `clean` has emptied is `lost` with the reason "cleaned…": the end
    was on record before, or `clean` would not have been asked for. One that `forbid`
    or `cancel` has made is `absent`.
    """
    return _report(
        connection,
        ["attach", key, str(round(wait_s * 100)), str(inline_bytes)],
        wait_s=wait_s,
        inline_bytes=inline_bytes,
    )


def forbid(connection: Connection, key: str, *, inline_bytes: int) -> Report:
    """Ensure that a command which was not started never will be, and report.

    `absent` means that the guard was free and is taken now, or was taken like this
    before: a start that is still on its way will find it, and start nothing. Any other
    state is reported as by `attach`, without waiting. Raises `NoWorkdir` if the guard
    cannot be taken.
    """
    return _report(
        connection,
        ["forbid", key, str(inline_bytes)],
        wait_s=0,
        inline_bytes=inline_bytes,
    )


def cancel(
    connection: Connection, key: str, *, grace_s: int, wait_s: float, inline_bytes: int
) -> Report:
    """Ensure that a command ends, or never starts, and report.

    TERM to its process group, after `grace_s` KILL: the host goes on with that if we
    do not. `absent` is as by `forbid`. The end is waited for as by `attach`, so that
    `running` means that it is not over yet, or that the supervisor does not see it;
    `lost`, where the supervisor was dead, that the group was killed all the same.
    What had ended before is reported as it was. Asking again is harmless.
    """
    if not 0 <= grace_s <= _MAX_TIMEOUT_S:
        raise ValueError("no such grace")
    return _report(
        connection,
        ["cancel", key, str(grace_s), str(round(wait_s * 100)), str(inline_bytes)],
        wait_s=wait_s,
        inline_bytes=inline_bytes,
    )


def read(
    connection: Connection,
    key: str,
    stream: str,
    offset: int,
    limit: int,
) -> bytes:
    """Return at most `limit` bytes of a stream from `offset` on, b"" at its end.

    `stream` is "stdout" or "stderr", `offset` counts what was dropped. It is b"" too
    where the byte at `offset` was dropped, and ends before the next that was:
    `Report.stdout_kept` tells which are there. What is no regular file is empty.
    Raises `ProtocolError` if there is no such output on the host.
    """
    if stream not in ("stdout", "stderr") or offset < 0 or limit < 0:
        raise ValueError("no such part of the output")
    marker, answer = _visit(
        connection,
        ["read", key, stream, *map(str, divmod(offset, _BLOCK_BYTES)), str(limit)],
        timeout_s=_ANSWER_S + limit / 100_000,
        limit=limit,
    )
    words, body = _frame(marker, answer)
    if words == b"fail no_output":
        raise ProtocolError("the host has no such output")
    data, _, rest = body.partition(marker + b" ")
    end, _, _ = rest.partition(b"\n")
    if words != b"data" or end not in (b"end", b"gone") or len(data) > limit:
        raise _nonsense(answer)
    return data if end == b"end" else b""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What `clean` has done.

    | field | meaning                                                              |
    |-------|----------------------------------------------------------------------|
    | done  | False: the command may still run, or the directory was replaced      |
    | old   | keys of some other guards that were emptied more than a day ago by   |
    |       | the host's clock, oldest first; whether they may go, our records say |
    """

    done: bool
    old: tuple[str, ...]


def clean(connection: Connection, key: str) -> Cleaned:
    """Remove an execution's files; the empty directory stays: it is the guard.

    Removes nothing while the command may still run, nor if the directory was
    replaced.
    """
    marker, answer = _visit(
        connection, ["clean", key], timeout_s=_ANSWER_S, limit=_MAX_OLD * 110
    )
    words, body = _frame(marker, answer)
    names, found, _ = body.partition(marker + b" end\n")
    if words not in (b"done", b"busy") or not found:
        raise _nonsense(answer)
    old = [name.removeprefix("./") for name in names.decode("ascii", "replace").split()]
    if len(old) > _MAX_OLD or not all(map(_KEY.fullmatch, old)):
        raise _nonsense(answer)
    return Cleaned(done=words == b"done", old=tuple(old))


def sweep(connection: Connection, keys: Iterable[str]) -> None:
    """Remove guards that are empty, of executions that nobody will start any more."""
    words: list[str | bytes] = ["sweep", *keys]
    if len(words) == 1:
        return
    for key in words[1:]:
        _check_key(str(key))
    marker, answer = _visit(connection, words, timeout_s=_ANSWER_S, limit=0)
    if _frame(marker, answer)[0] != b"done":
        raise _nonsense(answer)


def start_words(job: Job, *, wait_s: float, inline_bytes: int) -> list[str | bytes]:
    """Return the question of `start`, for `script`."""
    command = job.command.encode()
    is_program = job.command.startswith("#!")
    interpreter = job.interpreter
    if not interpreter and not is_program:
        interpreter = ("/bin/sh",)
    elif not interpreter and job.run_as is not None:
        # There the text is no file that could be executed.
        interpreter = _shebang(job.command)
    environment = [
        word for name, value in job.environment.items() for word in (name, value)
    ]
    if job.slot:
        environment += ["CRONHOP_SLOT", job.slot.strftime("%Y-%m-%dT%H:%M:%SZ")]
    return [
        "start",
        job.key,
        str(job.timeout_s),
        str(job.kill_grace_s),
        str(round(wait_s * 100)),
        str(inline_bytes),
        str(-(-job.cap_bytes // (8 * _BLOCK_BYTES))),
        "script" if interpreter else "exec",
        str(len(command)),
        command,
        job.run_as or "",
        job.workdir or "",
        str(len(interpreter)),
        str(len(job.arguments)),
        *interpreter,
        *job.arguments,
        *environment,
    ]


def _shebang(command: str) -> tuple[str, ...]:
    """Return the interpreter that the first line names, as the kernel reads it.

    That is a program and, if there is more, all of it as one argument (execve(2)).
    """
    found = _SHEBANG.match(command)
    return tuple(filter(None, found.groups())) if found else ("/bin/sh",)


def script(marker: str, words: list[str | bytes]) -> bytes:
    """Return the text for a shell's stdin: the runner, and one question to it.

    All of it is one compound command: cut anywhere, it runs nothing.
    """
    question = " ".join(f"'{_escaped(word)}'" for word in words)
    functions = _runner(str(words[0]))
    return f"{{\n{functions}\nch_visit {marker} {question}\n}}\n".encode()


@lru_cache
def _runner(verb: str) -> str:
    """Return the shell command that defines the functions which a verb needs.

    Those that it passes on, to the supervisor above all, are kept as a text in a
    variable too.
    """
    functions = _functions()
    passed_on = _needed(_PASSED_ON.get(verb, ()), functions)
    here = _needed(("ch_visit", f"ch_{verb}"), functions) - passed_on
    text = "\n".join(functions[name] for name in functions if name in passed_on)
    quoted = text.replace("'", "'\\''")
    return "\n".join(
        [
            f"ch_runner='{quoted}'",
            'eval "$ch_runner"',
            *(functions[name] for name in functions if name in here),
        ]
    )


def _needed(roots: Iterable[str], functions: Mapping[str, str]) -> set[str]:
    """Return the functions that `roots` call, and those that they call in turn."""
    needed: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += functions.keys() & set(_NAME.findall(functions[name]))
    return needed


@lru_cache(maxsize=1)
def _functions() -> dict[str, str]:
    """Return the functions of runner.sh by their names.

    Comments and indentation stay here: some shells read stdin byte by byte.
    """
    text = files("cronhop.ssh").joinpath("runner.sh").read_text()
    functions = {}
    for found in _FUNCTION.finditer(text):
        lines = [line.strip() for line in found[0].splitlines()]
        functions[found["name"]] = "\n".join(
            line for line in lines if line and not line.startswith("#")
        )
    return functions


def _escaped(word: str | bytes) -> str:
    """Return a word in characters that no shell sees anything in."""
    data = word.encode() if isinstance(word, str) else word
    return "".join([_ESCAPED[byte] for byte in data])


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise Invalid("key", "has other characters than letters, digits and '-'")


def _visit(
    connection: Connection,
    words: list[str | bytes],
    *,
    timeout_s: float,
    limit: int,
) -> tuple[bytes, Answer]:
    """Ask the runner, and return the marker of its answer and the answer."""
    _check_key(str(words[1]))
    marker = secrets.token_hex(16)
    answer = connection.run(
        script(marker, words), limit=limit + _NOISE_BYTES, timeout_s=timeout_s
    )
    return marker.encode(), answer


def _report(
    connection: Connection,
    words: list[str | bytes],
    *,
    wait_s: float,
    inline_bytes: int,
) -> Report:
    """Ask for a report and return it."""
    marker, answer = _visit(
        connection, words, timeout_s=wait_s + _ANSWER_S, limit=2 * inline_bytes
    )
    return parse_report(marker, answer, inline_bytes=inline_bytes)


def parse_report(marker: bytes, answer: Answer, *, inline_bytes: int) -> Report:
    """Read a report, whatever the host has made of it.

    Raises `ProtocolError` for an answer that no runner gives, `NoWorkdir` if nothing
    could be started.
    """
    header, body = _frame(marker, answer)
    verb, _, rest = header.partition(b" ")
    found = _REPORT.fullmatch(rest)
    stdout, first, body = body.partition(marker + b" stderr\n")
    stderr, last, _ = body.partition(marker + b" end\n")
    if (
        verb != b"report"
        or found is None
        or not (first and last)
        or max(len(stdout), len(stderr)) > inline_bytes
    ):
        raise _nonsense(answer)
    try:
        state = RemoteState(found["state"].decode())
    except ValueError:
        raise _nonsense(answer) from None
    number = {
        name: None if found[name] == b"-" else int(found[name])
        for name in ("code", "started", "ended", "now", "escaped")
    }
    if state is RemoteState.EXITED and None in (number["code"], number["ended"]):
        raise _nonsense(answer)
    started, ended, now = number["started"], number["ended"], number["now"]
    if (
        (number["code"] or 0) > _MAX_CODE
        or max(started or 0, ended or 0, now or 0) >= _MAX_UPTIME
        or (ended is not None and (started is None or started > ended))
        or (state is RemoteState.RUNNING and (started or 0) > (now or 0))
    ):
        raise _nonsense(answer)
    out, err = _size(found["stdout"]), _size(found["stderr"])
    if out is None or err is None:
        raise _nonsense(answer)
    # An end that is later than now is of an earlier boot, whose uptime was longer.
    duration_s, age_s = _seconds(started, ended), _seconds(started, now)
    if duration_s is not None and age_s is not None:
        age_s = max(duration_s, age_s)
    return Report(
        state=state,
        started_here=found["here"] == b"1",
        exit_code=number["code"],
        timed_out=found["timed_out"] == b"1",
        cancelled=found["cancelled"] == b"1",
        duration_s=duration_s,
        age_s=None if state is RemoteState.LOST else age_s,
        stdout_bytes=out.total,
        stderr_bytes=err.total,
        stdout_head=stdout,
        stderr_head=stderr,
        reason=_LOST.get(found["reason"].decode()),
        escaped=number["escaped"] or 0,
        stdout_kept=out.kept,
        stderr_kept=err.kept,
        stdout_cut=out.is_cut,
        stderr_cut=err.is_cut,
    )


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much there is of a stream: its length, and the ranges that are kept."""

    total: int
    kept: tuple[tuple[int, int], ...]
    is_cut: bool


def _size(text: bytes) -> _Size | None:
    """Return what `ch_size` of runner.sh says, None if it makes no sense."""
    blocks, heads, first, last, rest, cut = map(int, text.split(b":"))
    segment = blocks * _BLOCK_BYTES
    if not blocks and (last or rest):
        return None
    if rest > segment or not 0 < heads <= first or (last >= heads and first > last):
        return None
    total = last * segment + rest
    kept = [(0, total)] if first == heads else [(0, heads * segment)]
    if first > heads:
        kept.append((first * segment, total))
    return _Size(
        total=total,
        kept=tuple((start, end) for start, end in kept if start < end),
        is_cut=cut == 1,
    )


def _seconds(start: int | None, end: int | None) -> float | None:
    """Return the seconds between two readings of the host's uptime."""
    if start is None or end is None:
        return None
    return max(0, end - start) / 100


def _frame(marker: bytes, answer: Answer) -> tuple[bytes, bytes]:
    """Return the words that follow the first marker, and what is behind their line."""
    _, found, rest = answer.stdout.partition(marker + b" ")
    words, newline, body = rest.partition(b"\n")
    if not found or not newline:
        raise _nonsense(answer)
    verb, _, why = words.partition(b" ")
    if verb == b"fail" and (message := _NO_WORKDIR.get(why.decode("ascii", "replace"))):
        raise NoWorkdir(message)
    return words, body


def _nonsense(answer: Answer) -> ProtocolError:
    """Return the error for an answer without sense, with how it begins."""
    said = answer.stdout.strip() or answer.stderr.strip()
    if not said:
        return ProtocolError("the host gave no answer")
    return ProtocolError(f"the host gave no answer that makes sense: {quote(said)}")
