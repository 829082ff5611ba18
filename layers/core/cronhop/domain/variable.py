"""Environment variables of a command: which names they may have."""

from __future__ import annotations

import re
from typing import Final

from cronhop.errors import Invalid

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_KEPT: Final = re.compile(
    # What shells keep for themselves: read-only, or changed behind one's back.
    r"_|PPID|UID|EUID|GROUPS|SHELLOPTS|BASHOPTS|BASH_VERSINFO|BASHPID|DIRSTACK|FUNCNAME"
    r"|PIPESTATUS|RANDOM|SECONDS|LINENO|OPTIND|OPTARG|IFS|HISTCMD|KSH\w*|PGRP|USER_ID"
    # What the runner on the host uses.
    r"|EPOCH\w*|CRONHOP_\w*|ch_\w*"
)


def check_variable(name: str, field: str) -> None:
    """Ensure that a command's environment variable may have this name.

    Raises Invalid naming the field.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            field,
            "a variable's name is at most 100 letters, digits and _, no digit first",
        )
    if _KEPT.fullmatch(name):
        raise Invalid(field, "shells or cronhop keep this name for themselves")
