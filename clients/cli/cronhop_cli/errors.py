"""What can go wrong, as the user is told of it.

Failure
├── Usage           asked for in a way that cannot be       exit code 2
├── NotLoggedIn     there is no token, or it is refused     exit code 3
├── Unreachable     no answer that means anything
│   └── Unknown     and what was asked for may have been done
└── Refused         the API answered with an error
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ERROR, USAGE, NOT_LOGGED_IN = 1, 2, 3  # exit codes

_HINTS = {
    403: "your role does not allow it: `cronhop whoami` shows who you are",
    409: "look at it again: its present state forbids this",
    412: "somebody changed it meanwhile: look at it again, then repeat",
    429: "too many requests: wait a moment",
    500: "the service's log says more",
    503: "nothing was changed: repeat it in a moment",
}


class Failure(Exception):
    """What ends a command: a sentence, what to do about it, an exit code."""

    exit_code = ERROR

    def __init__(
        self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class Usage(Failure):
    """It was asked for in a way that cannot be."""

    exit_code = USAGE


class NotLoggedIn(Failure):
    """There is no token, or it is not accepted."""

    exit_code = NOT_LOGGED_IN


class Unreachable(Failure):
    """There was no answer, or none of an API of ours."""


class Unknown(Unreachable):
    """It may have been done, or not: no answer says so."""


class Refused(Failure):
    """The API answered with an error."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        errors = [
            (str(one.get("field") or "the body"), str(one.get("message", "")))
            for one in problem.get("errors") or []
            if isinstance(one, dict)
        ]
        title = str(problem.get("title") or f"HTTP {status}")
        detail = str(problem.get("detail") or problem.get("message") or "")
        # What the fields say, the detail of a validation says once more.
        said_twice = errors and all(message in detail for _, message in errors)
        super().__init__(
            title if said_twice or not detail else f"{title}: {detail}",
            hint=_HINTS.get(status),
            details=tuple(f"{field}: {message}" for field, message in errors),
        )
        self.status = status
