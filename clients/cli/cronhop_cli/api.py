"""The API: requests with a token, answers as documents, errors as failures."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from .errors import Failure, NotLoggedIn, Refused, Unknown, Unreachable
from .http import client, unreachable

PAGE = 100  # items, the most that the API gives at once
MAX_PAGES = 200  # of a list: 20,000 items
RETRIES_S = (0.3, 0.6, 1.2, 2.4)  # seconds before a request is tried again
# The API works on a request for up to 29 s, and lets its key go after 35 s.
IN_PROGRESS_S = (2.0,) * 20
MAX_RETRY_AFTER_S = 30.0
IN_DOUBT = "an earlier try had no answer: it may have been done by it"
_PASSES = frozenset({429, 502, 503, 504})  # statuses that may pass by themselves
_UNCERTAIN = frozenset({500, 502, 503, 504})  # statuses that do not say what was done
_UNAUTHORIZED, _NOT_FOUND, _CONFLICT, _UNAVAILABLE = 401, 404, 409, 503
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
# By these the API does once what it gets twice.
_ONCE = frozenset({"idempotency-key", "if-match"})


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

    def post(self, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """Ask for something, and get one of it, however often it has to be sent."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self.send("POST", path, query=query, body=body or {}, headers=headers)

    def put(
        self, path: str, body: object, etag: str | None = None, **query: object
    ) -> dict[str, Any]:
        """Replace something, if it is still the version of `etag`."""
        return self.send("PUT", path, query=query, body=body, headers=_if_match(etag))

    def patch(self, path: str, body: object) -> dict[str, Any]:
        """Change something by a merge patch."""
        return self.send("PATCH", path, body=body)

    def delete(self, path: str, etag: str | None = None) -> None:
        """Remove something, if it is still the version of `etag`.

        What has a name only could be another one by then: it is given no etag, and
        not tried again where it may have been removed.
        """
        self.send("DELETE", path, headers=_if_match(etag))

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

        What may pass is tried again, but never so that something could be done
        twice; a token that is refused is replaced once. Raises Refused, NotLoggedIn,
        Unreachable, Unknown if it may have been done.
        """
        parameters = {
            name: str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
        request = self._http.build_request(
            method,
            f"{self.url}{path}",
            params=parameters,
            json=body,
            headers=headers,
        )
        only_looks = method == "GET" or _is_dry(parameters, body)
        # Nothing is done twice, however often it comes.
        is_once = only_looks or not _ONCE.isdisjoint(request.headers)
        may_be_done = False
        waits, waits_in_progress = iter(RETRIES_S), iter(IN_PROGRESS_S)
        while True:
            try:
                tried = self._try(request)
            except Failure as exc:  # the login has ended
                if may_be_done:
                    exc.details += (IN_DOUBT,)
                raise
            may_be_done |= tried.may_be_done and not only_looks
            if not tried.passes or (may_be_done and not is_once):
                break
            wait_s = next(waits_in_progress if tried.in_progress else waits, None)
            if wait_s is None:
                break
            self._sleep(max(wait_s, tried.retry_after_s))
        if tried.failure is None:
            return tried.document
        if not may_be_done:
            raise tried.failure
        if method == "DELETE" and tried.status == _NOT_FOUND:
            return {}  # a try before has done it
        is_refused = not (tried.passes or tried.may_be_done)
        raise _in_doubt(tried.failure, is_refused=is_refused)

    def _try(self, request: httpx.Request) -> _Try:
        """Send a request once, and again if its token is refused."""
        token, renewed = self._token(False), False
        while True:
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            try:
                answer = self._http.send(request)
            except httpx.HTTPError as exc:
                return _Try(
                    failure=unreachable(self.url, exc),
                    passes=True,
                    may_be_done=not isinstance(exc, _NOT_SENT),
                )
            if answer.status_code != _UNAUTHORIZED:
                return _answered(answer)
            token = None if renewed else self._token(True)
            if token is None:
                raise NotLoggedIn("your token is not accepted", hint="`cronhop login`")
            renewed = True


def _is_dry(query: Mapping[str, str], body: object) -> bool:
    """Return whether it is only asked what would be done; routes differ in how."""
    in_body = isinstance(body, Mapping) and body.get("dry_run") is True
    return in_body or query.get("dry_run") == "true"


def _if_match(etag: str | None) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


@dataclass(frozen=True, kw_only=True)
class _Try:
    """What became of a request that was sent once.

    | field         | meaning                                                    |
    |---------------|------------------------------------------------------------|
    | document      | the answer's, if nothing failed                            |
    | failure       | what is told of it, None if nothing failed                 |
    | status        | of the answer, None if there was none                      |
    | passes        | whether it may go otherwise a moment later                 |
    | may_be_done   | whether what was asked for may be done, or begun, although |
    |               | this answer does not say so                                |
    | in_progress   | whether the API is still working on a try before           |
    | retry_after_s | seconds that the API wants to be left alone                |
    """

    document: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    status: int | None = None
    passes: bool = False
    may_be_done: bool = False
    in_progress: bool = False
    retry_after_s: float = 0.0


def _answered(answer: httpx.Response) -> _Try:
    status = answer.status_code
    try:
        return _Try(document=_read(answer), status=status)
    except (Refused, Unreachable) as exc:
        failure = exc
    in_progress = status == _CONFLICT and "Retry-After" in answer.headers
    # Where the API itself says that it cannot just now, nothing was changed; a gateway
    # says so of what takes too long.
    kind = answer.headers.get("Content-Type", "")
    not_now = status == _UNAVAILABLE and kind.startswith("application/problem+json")
    return _Try(
        failure=failure,
        status=status,
        passes=status in _PASSES or in_progress,
        may_be_done=in_progress or (status in _UNCERTAIN and not not_now),
        in_progress=in_progress,
        retry_after_s=_retry_after_s(answer),
    )


def _in_doubt(failure: Failure, *, is_refused: bool) -> Failure:
    """Return what is told of a change that may have been made without our knowing.

    `is_refused` says that at least the last try has changed nothing.
    """
    if is_refused:
        failure.details += (IN_DOUBT,)
        return failure
    return Unknown(
        f"it is not known whether that was done: {failure.message}",
        details=failure.details,
        hint="look at what is there before you ask for it again",
    )


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
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
