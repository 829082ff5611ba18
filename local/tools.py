"""Programs that are not part of the project: environments of their own.

ministack pins botocore and the SAM CLI pins much; and ministack's workers see what
lies beside it, so it must not lie beside what the layers carry.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.progress import Failed, run, step

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT / ".local"  # what all stacks of this checkout use
PINS = {
    "sam": ("aws-sam-cli==1.170.0",),
    # It needs the others to read a SAM template and to sign and check tokens.
    "ministack": (
        "ministack==1.5.33",
        "aws-sam-translator==1.115.0",
        "cryptography==50.0.2",
    ),
}


def uv() -> str:
    """Return where uv is. Raises Failed if it is nowhere."""
    bootstrapped = SHARED / "tools" / "uv" / "bin" / "uv"
    found = os.environ.get("UV") or shutil.which("uv") or str(bootstrapped)
    if not shutil.which(found):
        raise Failed("uv is not here: `make setup` gets it.")
    return found


def tool(name: str) -> Path:
    """Return where a pinned program is, after installing it if need be."""
    home = SHARED / "tools" / name
    stamp = home / "pin"
    pin = " ".join((*PINS[name], platform.python_version()))
    with locked("tools"):
        if not stamp.exists() or stamp.read_text() != pin:
            with step(f"Installing {PINS[name][0]}"):
                _install(PINS[name], home)
            stamp.write_text(pin)
    return home / "bin" / name


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep other stacks of this checkout out of what they share."""
    SHARED.mkdir(exist_ok=True)
    with (SHARED / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(pins: tuple[str, ...], home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    log = SHARED / "log" / f"{home.name}-install.log"
    run([uv(), "venv", "--python", sys.executable, home], log=log)
    python = home / "bin" / "python"
    run([uv(), "pip", "install", "--python", python, *pins], log=log)
