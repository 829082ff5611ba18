"""HTTP, as the API and the issuer are spoken to."""

from __future__ import annotations

import httpx

from . import __version__
from .address import is_loopback
from .errors import Unreachable

TIMEOUT_S = 35.0  # an HTTP API answers within 30 seconds


def client(url: str, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return a client that verifies TLS and follows no redirect.

    What the environment says of proxies holds, but for this machine.
    """
    return httpx.Client(
        headers={"User-Agent": f"cronhop-cli/{__version__}"},
        timeout=TIMEOUT_S,
        transport=transport,
        trust_env=not is_loopback(url),
    )


def unreachable(url: str, exc: httpx.HTTPError) -> Unreachable:
    """Return what is told of a request that had no answer."""
    reason = str(exc) or type(exc).__name__
    hint = "check the address and your network"
    if "CERTIFICATE" in reason.upper():
        hint = "if your CA is a private one, name its file in SSL_CERT_FILE"
    elif is_loopback(url):
        hint = "is the local stack up? `make run` starts it"
    return Unreachable(f"{url} does not answer: {reason}", hint=hint)
