"""What is sent to a URL that a user has typed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.ssl_match_hostname import CertificateError

from cronhop.domain.address import is_refused
from cronhop.domain.notification import check_url
from cronhop.errors import DeliveryFailed, Invalid

CONNECT_S, ANSWER_S = 5, 10
QUOTED = 200  # bytes of an answer that is a refusal
LONGEST_WAIT_S = 3600  # that an answer may ask for


class Hook:
    """Posts to URLs, never to an address that cronhop does not connect to.

    `allowed` and `refused` are networks as for servers, `context` is how
    certificates are checked.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[str] = (),
        refused: Sequence[str] = (),
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._refused = refused
        self._context = context

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, quote: bool = True
    ) -> None:
        """Post the body once, and follow nowhere.

        Raises DeliveryFailed unless the answer is a 2xx, whatever its body is. The
        error has the beginning of that if `quote` says so: a receiver may say back
        the URL, which may be a secret.
        """
        try:
            check_url(url, allowed=self._allowed, refused=self._refused)
        except Invalid as exc:
            raise DeliveryFailed(str(exc)) from exc
        parts = urlsplit(url)
        path = parts.path or "/"
        if parts.query:
            path += f"?{parts.query}"
        with self._pool(parts.scheme, parts.hostname or "", parts.port) as pool:
            try:
                answer = pool.urlopen(
                    "POST",
                    path,
                    body=body,
                    headers={"Host": parts.netloc, **headers},
                    redirect=False,
                    preload_content=False,
                )
                with closing(answer):
                    is_taken = answer.status // 100 == 2  # noqa: PLR2004
                    text = b"" if is_taken else answer.read(QUOTED)
            except (HTTPError, OSError) as exc:
                raise DeliveryFailed(f"no answer: {_in_words(exc)}") from exc
        if not is_taken:
            said = "".join(
                char if char.isprintable() else "?"
                for char in text.decode(errors="replace")
                if quote
            )
            raise DeliveryFailed(
                f"HTTP {answer.status}: {said}".removesuffix(": "),
                after_s=_retry_after(answer.headers.get("Retry-After")),
            )

    def _pool(self, scheme: str, host: str, port: int | None) -> Any:
        """Return a pool of connections to the address that the host has now.

        What was checked is what is connected to: a name may lead elsewhere a
        moment later.
        """
        timeout = urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S)
        if scheme == "http":
            address = self._address(host, port or 80)
            return urllib3.HTTPConnectionPool(
                address, port or 80, timeout=timeout, retries=False
            )
        return urllib3.HTTPSConnectionPool(
            self._address(host, port or 443),
            port or 443,
            timeout=timeout,
            retries=False,
            ssl_context=self._context or ssl.create_default_context(),
            server_hostname=host,
            assert_hostname=host,
        )

    def _address(self, host: str, port: int) -> str:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise DeliveryFailed(f"{host} cannot be resolved") from exc
        for *_, address in found:
            text = str(address[0])
            if not is_refused(text, allowed=self._allowed, refused=self._refused):
                return text
        raise DeliveryFailed(f"{host} is at an address that is never connected to")


def _in_words(exc: Exception) -> str:
    """Return why there was no answer, and of the URL at most its host."""
    cause = exc.__cause__ or exc.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {cause.verify_message}"
    if isinstance(cause, CertificateError):  # urllib3's, of an address
        return f"its certificate is not valid: {cause}"
    if isinstance(cause, ssl.SSLError):
        return "it does not speak TLS as we do"
    if isinstance(exc, ReadTimeoutError):
        return f"it took longer than {ANSWER_S} s"
    if isinstance(cause, TimeoutError):
        return f"no connection within {CONNECT_S} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return "the connection ended"


def _retry_after(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:6]), LONGEST_WAIT_S)
