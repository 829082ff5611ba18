"""What is shown while something takes its time, and when it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

QUIET_S = 2.0  # what takes less is not shown
EVERY_S = 10.0  # between lines where nobody sees a line change
TAIL = 30  # lines of a log that are shown when a program fails


class Failed(Exception):
    """Something could not be done. The message is for the user."""


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show what is being done, and for how long, if it takes over two seconds."""
    began = time.monotonic()
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(text, began, ended), daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()
    seconds = time.monotonic() - began
    if seconds >= QUIET_S:
        print(f"{_start_of_line()}{text}: {seconds:.1f} s", flush=True)


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command with its output in a log.

    Raises Failed with the end of the log if it does not end well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            check=False,
        )
    if done.returncode:
        name = Path(command[0]).name
        raise Failed(f"{name} ended with {done.returncode}.\n{tail(log)}")


def tail(log: Path) -> str:
    """Return the end of a log under its name, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return f"There is no {log}."
    shown = "\n".join(f"  {line}" for line in lines[-TAIL:])
    return f"The end of {log}:\n{shown}"


def _tick(text: str, began: float, ended: threading.Event) -> None:
    interval = 1.0 if sys.stdout.isatty() else EVERY_S
    wait = QUIET_S
    while not ended.wait(wait):
        seconds = time.monotonic() - began
        end = "" if sys.stdout.isatty() else "\n"
        print(f"{_start_of_line()}{text} … {seconds:.0f} s", end=end, flush=True)
        wait = interval


def _start_of_line() -> str:
    """Return what begins the present line anew, which only a terminal can."""
    return "\r\x1b[K" if sys.stdout.isatty() else ""
