"""Login with another device (RFC 8628), at any OpenID Connect issuer that offers it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from .address import checked
from .errors import NotLoggedIn, Unreachable
from .http import client, unreachable
from .profiles import Profile, Tokens

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LONGEST_S = 1800.0  # seconds that somebody may take to log in
_SLOWER_S = 5.0  # more, whenever the issuer says so


class Issuer:
    """The issuer of a profile, as its discovery document says."""

    def __init__(
        self,
        profile: Profile,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._profile = profile
        self._transport = transport
        self._sleep = sleep
        url = checked(profile.issuer, insecure_http=profile.insecure_http)
        self._document = self._fetch("GET", f"{url}/.well-known/openid-configuration")

    def login(self, show: Callable[[str, str], None]) -> Tokens:
        """Return the tokens of who logs in with the code that `show` is given.

        Raises NotLoggedIn if the issuer does not offer that, or nobody logs in.
        """
        if "device_authorization_endpoint" not in self._document:
            raise NotLoggedIn(
                f"{self._profile.issuer} offers no login with a device"
                " (Cognito does not)",
                hint="log in with a password: leave --device out",
            )
        offered = self._document.get("scopes_supported") or []
        scopes = [one for one in ("openid", "offline_access") if one in offered]
        asked = self._fetch(
            "POST",
            self._endpoint("device_authorization_endpoint"),
            {"client_id": self._profile.client_id, "scope": " ".join(scopes)},
        )
        if "device_code" not in asked:
            raise _refusal(asked)
        show(
            str(asked.get("verification_uri_complete") or asked["verification_uri"]),
            str(asked["user_code"]),
        )
        return self._wait(asked)

    def _wait(self, asked: Mapping[str, Any]) -> Tokens:
        interval_s = float(asked.get("interval", 5))
        left_s = min(float(asked.get("expires_in", _LONGEST_S)), _LONGEST_S)
        while left_s > 0:
            self._sleep(interval_s)
            left_s -= interval_s
            answer = self._token(
                {"grant_type": _GRANT, "device_code": asked["device_code"]}
            )
            if "access_token" in answer:
                return _tokens(answer)
            if answer.get("error") == "slow_down":
                interval_s += _SLOWER_S
            elif answer.get("error") != "authorization_pending":
                raise _refusal(answer)
        raise NotLoggedIn("nobody logged in with that code in time")

    def refresh(self, refresh_token: str) -> Tokens:
        """Return new tokens. Raises NotLoggedIn if the login is over."""
        answer = self._token(
            {"grant_type": "refresh_token", "refresh_token": refresh_token}
        )
        if "access_token" not in answer:
            raise _refusal(answer)
        return _tokens(answer, refresh_token)

    def _token(self, form: Mapping[str, str]) -> dict[str, Any]:
        return self._fetch(
            "POST",
            self._endpoint("token_endpoint"),
            {**form, "client_id": self._profile.client_id},
        )

    def _endpoint(self, name: str) -> str:
        # A document may name any host: secrets go to none in the clear.
        return checked(
            str(self._document.get(name, "")),
            insecure_http=self._profile.insecure_http,
        )

    def _fetch(
        self, method: str, url: str, form: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            with client(url, self._transport) as http:
                answer = http.request(method, url, data=form)
            document = answer.json()
        except httpx.HTTPError as exc:
            raise unreachable(url, exc) from exc
        except ValueError:
            document = None
        if not isinstance(document, dict) or not (answer.is_success or form):
            raise Unreachable(f"{url} does not answer as an OpenID issuer does")
        return document


def _tokens(answer: Mapping[str, Any], refresh_token: str | None = None) -> Tokens:
    return Tokens(
        access_token=str(answer["access_token"]),
        refresh_token=answer.get("refresh_token", refresh_token),
        expires_at=time.time() + float(answer.get("expires_in", 3600)),
    )


def _refusal(answer: Mapping[str, Any]) -> NotLoggedIn:
    reason = answer.get("error_description") or answer.get("error") or "no token came"
    return NotLoggedIn(f"the login was refused: {reason}")
