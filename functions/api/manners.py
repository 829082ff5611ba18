"""What every answer carries besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# For answers that hold names of servers and output of commands, and are no pages.
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}


def with_headers(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with what every answer carries."""
    return {**answer, "headers": {**answer.get("headers", {}), **SECURITY_HEADERS}}
