"""Where tokens and passwords may be sent."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from .errors import Usage


def checked(url: str, *, insecure_http: bool = False) -> str:
    """Return a URL without a slash at its end, that secrets may be sent to.

    Plain HTTP is for this machine only, unless it is asked for. Raises Usage.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Usage(f"{url!r} is no URL", hint="write https://…")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Usage(f"{url!r} is more than a URL of a service", hint="write https://…")
    if parts.scheme == "http" and not (insecure_http or is_loopback(url)):
        raise Usage(
            f"{url} is plain HTTP: anybody on the way could read your password",
            hint="write https://…, or add --insecure-http if you really want that",
        )
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
