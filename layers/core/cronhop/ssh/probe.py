"""What a check learns of a host that it is logged in to; probe.sh asks for it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

from cronhop.errors import ProtocolError
from cronhop.ssh.connection import Connection

_ANSWER_S: Final = 30.0  # seconds; sudo may ask a directory somewhere
_ANSWER_BYTES: Final = 256 * 1024  # a login shell's rc files may print a lot
_MAX_TEXT: Final = 200  # characters
#: Total, used, available, used in percent, where it is mounted: df -P, df -Pi.
_DF: Final = re.compile(r"(\d{1,18}) +-?\d{1,18} +(\d{1,18}) +(?:\d{1,3}%|-) +/")
_TIME: Final = re.compile(r"(\d{1,12})(?:\.(\d{9}))?(?!\d)")


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What a host says of itself; what it does not say is None.

    | field             | meaning                                               |
    |-------------------|-------------------------------------------------------|
    | is_writable       | whether files can be made in the home directory       |
    | free_bytes        | of its file system                                    |
    | free_inodes       | likewise; None also where it has no such number       |
    | has_setsid        | whether commands can be detached                      |
    | has_proc          | whether /proc is there                                |
    | sudo              | `yes` if it works without a password, `no`, `missing` |
    | system            | kernel and distribution                               |
    | middle            | its time halfway, in epoch seconds                    |
    """

    is_writable: bool
    free_bytes: int | None
    free_inodes: int | None
    has_setsid: bool
    has_proc: bool
    sudo: str | None
    system: str | None
    middle: float | None


def ask(connection: Connection) -> HostFacts:
    """Return what the host says of itself. Raises a `RemoteError`."""
    marker = secrets.token_hex(16)
    answer = connection.execute(
        script(marker), limit=_ANSWER_BYTES, timeout_s=_ANSWER_S
    )
    return read_facts(answer, marker)


def script(marker: str) -> bytes:
    """Return what is sent to the host; its answer bears the marker."""
    return f"{_text_of_script()}\npr_probe {marker}\n".encode()


def read_facts(answer: bytes, marker: str) -> HostFacts:
    """Return what is in an answer. Raises ProtocolError if it is cut or none."""
    said: dict[str, str] = {}
    for line in answer.decode("utf-8", "replace").splitlines():
        before, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")
        if before == marker:
            said.setdefault(name, value)
    if "ended" not in said:
        raise ProtocolError("the host did not answer the check's questions")
    return HostFacts(
        is_writable=said.get("writable") == "yes",
        free_bytes=_kibibytes(_available(said.get("blocks", ""))),
        free_inodes=_available(said.get("inodes", "")),
        has_setsid=said.get("setsid") == "yes",
        has_proc=said.get("proc") == "yes",
        sudo=said["sudo"] if said.get("sudo") in {"yes", "no", "missing"} else None,
        system=_text(said.get("system", "")),
        middle=_middle(said),
    )


def _available(line: str) -> int | None:
    """Return what df says is available, None if it counts no such thing."""
    found = _DF.search(line)
    return int(found[2]) if found and int(found[1]) else None


def _kibibytes(count: int | None) -> int | None:
    return None if count is None else count * 1024


def _middle(said: Mapping[str, str]) -> float | None:
    times = [_time(said.get(name, "")) for name in ("began", "ended")]
    known = [time for time in times if time is not None]
    return sum(known) / len(known) if known else None


def _time(text: str) -> float | None:
    """Return epoch seconds; where `date` knows no fractions, half a second on."""
    found = _TIME.match(text)
    if found is None:
        return None
    return int(found[1]) + (int(found[2]) / 1e9 if found[2] else 0.5)


def _text(value: str) -> str | None:
    """Return a host's words, bounded and without what a terminal would obey."""
    clean = "".join(char for char in value if char.isprintable())
    return clean.strip()[:_MAX_TEXT] or None


@lru_cache(maxsize=1)
def _text_of_script() -> str:
    return files("cronhop.ssh").joinpath("probe.sh").read_text()
