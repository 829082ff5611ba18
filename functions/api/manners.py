"""What every answer carries besides, and which methods a path knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .rights import ROUTES

# For answers that hold names of servers and output of commands, and are no pages.
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}

_PATHS: Final = [
    (method, re.compile(re.sub(r"{\w+}", "[^/]+", path)))
    for method, _, path in (route.partition(" ") for route in ROUTES)
]


def methods_of(path: str) -> list[str]:
    """Return the methods that a path knows, none if there is no such path."""
    return sorted(method for method, route in _PATHS if route.fullmatch(path))


def with_headers(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with what every answer carries."""
    return {**answer, "headers": {**answer.get("headers", {}), **SECURITY_HEADERS}}
