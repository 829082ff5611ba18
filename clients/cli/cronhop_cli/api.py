"""The API: requests with a token, answers as documents, errors as failures."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from .errors import Failure, NotLoggedIn, Refused, Unreachable
from .http import client, unreachable

PAGE = 100  # items, the most that the API gives at once
MAX_PAGES = 200  # of a list: 20,000 items
RETRIES_S = (0.3, 0.6, 1.2, 2.4)  # seconds before a GET is tried again
MAX_RETRY_AFTER_S = 30.0
_PASSES = frozenset({429, 502, 503})  # statuses that may pass by themselves
_UNAUTHORIZED, _NOT_FOUND = 401, 404


class Api:
    """The API at a URL.

    `token` gives an access token, None if it has none; asked with True it gets a
    new one, and returns None if there is none to get.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[bool], str | None],
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._token = token
        self._http = client(url, transport)
        self._sleep = sleep

    def pause(self, seconds: float) -> None:
        """Wait before asking again."""
        self._sleep(seconds)

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Return a document."""
        return self.send("GET", path, query=query)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return a document, None if there is no such thing."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise

    def post(self, path: str, body: object = None) -> dict[str, Any]:
        """Ask for something; whoever repeats it by the same key gets one of it."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self.send("POST", path, body=body or {}, headers=headers)

    def put(self, path: str, body: object, etag: str | None = None) -> dict[str, Any]:
        """Replace something, if it is still the version of `etag`."""
        headers = {"If-Match": etag} if etag else {}
        return self.send("PUT", path, body=body, headers=headers)

    def patch(self, path: str, body: object) -> dict[str, Any]:
        """Change something by a merge patch."""
        return self.send("PATCH", path, body=body)

    def delete(self, path: str) -> None:
        """Remove something."""
        self.send("DELETE", path)

    def items(
        self, path: str, limit: int | None = None, **query: object
    ) -> Iterator[dict[str, Any]]:
        """Return what is in a list, page by page, at most `limit`."""
        token, left = None, limit
        for _ in range(MAX_PAGES):
            page = self.get(
                path, **query, limit=min(left or PAGE, PAGE), next_token=token
            )
            for item in page["items"]:
                yield item
                if left is not None:
                    left -= 1
                    if left <= 0:
                        return
            token = page["next_token"]
            if token is None:
                return
        raise Failure(
            f"{path} has more than {MAX_PAGES * PAGE} items: too many to list"
        )

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the document of the answer.

        A GET that meets what may pass is repeated; a token that is refused is
        replaced once. Raises Refused, NotLoggedIn, Unreachable.
        """
        parameters = {
            name: str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
        token, renewed = self._token(False), False
        waits = iter(RETRIES_S if method == "GET" else ())
        while True:
            request = self._http.build_request(
                method,
                f"{self.url}{path}",
                params=parameters,
                json=body,
                headers={**(headers or {}), **_bearer(token)},
            )
            answer: httpx.Response | None = None
            try:
                answer = self._http.send(request)
            except httpx.HTTPError as exc:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise unreachable(self.url, exc) from exc
            else:
                if answer.status_code == _UNAUTHORIZED:
                    token = None if renewed else self._token(True)
                    if token is None:
                        raise NotLoggedIn(
                            "your token is not accepted", hint="`cronhop login`"
                        )
                    renewed = True
                    continue
                wait_s = next(waits, None) if answer.status_code in _PASSES else None
                if wait_s is None:
                    return _read(answer)
            self._sleep(max(wait_s, _retry_after_s(answer)))


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _retry_after_s(answer: httpx.Response | None) -> float:
    text = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(float(text), MAX_RETRY_AFTER_S) if text.isdigit() else 0.0


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = None
    if answer.is_error:
        problem = body if isinstance(body, dict) else {}
        raise Refused(answer.status_code, problem)
    if not isinstance(body, dict) or not answer.is_success:
        raise Unreachable(
            f"{answer.url.host} answers HTTP {answer.status_code}, but no JSON",
            hint="is that the URL of a cronhop API?",
        )
    return body
