"""A program that is left running in the background, known by its pid file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.progress import Failed, tail

STOP_S = 30  # seconds that a program may take to end by itself

# What this very process has started, by pid: else it would stay a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Background:
    """One such program."""

    def __init__(self, *, name: str, pid_file: Path, log: Path) -> None:
        self.name = name  # what messages call it
        self.log = log  # what it has printed since its last start
        # Its pid, and when it was started: pids are used again.
        self._pid_file = pid_file

    def start(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path,
        umask: int = -1,
    ) -> None:
        """Start it in a session of its own, so that it outlives the terminal.

        Its umask is this process's, unless one is given.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch(mode=0o600)
        with self.log.open("w") as output:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
                umask=umask,
            )
        _children[child.pid] = child
        self._pid_file.write_text(f"{child.pid} {_birth(child.pid)}\n")

    def is_running(self) -> bool:
        """Return whether the program that was started is alive."""
        return self.pid() is not None

    def stop(self) -> None:
        """End it by SIGTERM, and wait until it has ended.

        Raises Failed if it had to be killed.
        """
        pid = self.pid()
        killed = False
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            if not self._wait(STOP_S):
                killed = True
                os.kill(pid, signal.SIGKILL)
                self._wait(STOP_S)
            if pid in _children:
                _children.pop(pid).wait()
        self._pid_file.unlink(missing_ok=True)
        if killed:
            raise Failed(
                f"{self.name} did not end in {STOP_S} s and was killed.\n"
                f"{tail(self.log)}"
            )

    def pid(self) -> int | None:
        """Return its pid, or None if it is not running."""
        try:
            pid_text, _, birth = self._pid_file.read_text().strip().partition(" ")
            pid = int(pid_text)
        except (FileNotFoundError, ValueError):
            return None
        if pid in _children:
            _children[pid].poll()
        return pid if birth and _birth(pid) == birth else None

    def _wait(self, seconds: float) -> bool:
        """Return whether the program ends within so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.pid() is None:
                return True
            time.sleep(0.05)
        return False


def _birth(pid: int) -> str:
    """Return when a process was started, in some unit; empty if there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[0] == "Z" else fields[19]  # man 5 proc: starttime
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "-".join(shown.stdout.split())
