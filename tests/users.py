"""Users of this host, for as long as a test needs them, with any login shell."""

import itertools
import os
import pwd
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_numbers = itertools.count(1)

NOISE = "echo 'report exited 1 0 0 1 2 3'; echo oops >&2"
#: Login shells, and the file that each reads for a command over SSH, if any.
SHELLS = {
    "bash": (("bash",), ".bashrc"),
    "dash": (("dash",), None),
    "zsh": (("zsh",), ".zshenv"),
    "fish": (("fish",), ".config/fish/config.fish"),
    "tcsh": (("tcsh",), ".cshrc"),
    "mksh": (("mksh",), None),
    "busybox": (("busybox", "sh"), None),
}


@dataclass(frozen=True, kw_only=True)
class User:
    """A user: the name, the home."""

    name: str
    home: Path


def shells_here():
    """Return the names of the login shells that are installed."""
    return [name for name, (words, _) in SHELLS.items() if shutil.which(words[0])]


@contextmanager
def user(shell="/bin/sh"):
    """Make a user who may log in with a key, and end all that is his in the end."""
    if os.geteuid():
        pytest.skip("only root can make users")
    name = f"ch{os.getpid()}x{next(_numbers)}"
    # Without a password, but not locked.
    subprocess.run(["useradd", "-m", "-p", "*", "-s", shell, name], check=True)
    try:
        yield User(name=name, home=Path(pwd.getpwnam(name).pw_dir))
    finally:
        subprocess.run(["pkill", "-KILL", "-u", name], check=False)
        subprocess.run(["userdel", "-rf", name], check=False, capture_output=True)


@contextmanager
def noisy_user(shell, directory):
    """Make a user with one of `SHELLS`, all of whose rc files print.

    `directory` is for a program that is a shell by its name only.
    """
    words, file = SHELLS[shell]
    program = shutil.which(words[0])
    with ExitStack() as stack:
        if len(words) > 1:
            link = directory / words[1]
            link.symlink_to(program)
            program = str(link)
        made = stack.enter_context(user(program))
        # sshd itself has sh read this one, whatever the login shell.
        for name in filter(None, (".ssh/rc", file)):
            path = made.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{NOISE}\n")
        if shell in ("tcsh", "fish"):
            (made.home / file).write_text("echo 'report exited 1 0 0 1 2 3'\n")
        subprocess.run(["chown", "-R", made.name, made.home], check=True)
        yield made
