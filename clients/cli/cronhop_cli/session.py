"""One call of the command line: whose stack, with which token, shown how."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import httpx
import typer

from .address import checked
from .api import Api
from .cognito import Cognito
from .errors import NotLoggedIn, Usage
from .oidc import Issuer
from .profiles import Profile, Profiles, Tokens

EARLY_S = 60  # seconds before its end, a token is replaced


@dataclass
class Session:
    """What all commands share.

    Tests give another environment, transport and sleep.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep
    as_json: bool = False
    named_profile: str | None = None

    @cached_property
    def profiles(self) -> Profiles:
        """The profiles of this user."""
        return Profiles.from_env(self.environ)

    @property
    def profile_name(self) -> str:
        """The profile that was named, or else the current one."""
        return (
            self.named_profile
            or self.environ.get("CRONHOP_PROFILE")
            or self.profiles.current()
        )

    @property
    def profile(self) -> Profile:
        """The profile that is used. Raises NotLoggedIn if there is none."""
        profile = self.profiles.get(self.profile_name)
        if profile is None:
            raise NotLoggedIn(
                f"there is no profile {self.profile_name!r} yet",
                hint="`cronhop login --url https://…` makes it",
            )
        return profile

    @cached_property
    def api(self) -> Api:
        """The API, with the token that the environment or the login gave.

        Raises NotLoggedIn; Usage if a profile's token would go to another URL.
        """
        url, token = self.environ.get("CRONHOP_URL"), self.environ.get("CRONHOP_TOKEN")
        if token:
            if not (token.isascii() and token.isprintable() and " " not in token):
                # httpx would show it with its complaint.
                raise Usage("CRONHOP_TOKEN is no token: it has spaces or newlines")
            url = checked(url) if url else self.profile.url
            return self._api(url, lambda renew: None if renew else token)
        profile = self.profile
        if url and url.rstrip("/") != profile.url:
            raise Usage(
                f"CRONHOP_URL is {url}, but the profile {self.profile_name!r} is of"
                f" {profile.url}",
                hint="set CRONHOP_TOKEN too, or name a --profile",
            )
        return self._api(profile.url, self._token)

    def _api(self, url: str, token: Callable[[bool], str | None]) -> Api:
        return Api(url, token, self.transport, self.sleep)

    def _token(self, renew: bool) -> str | None:
        tokens = self.profiles.tokens(self.profile_name)
        if tokens is None:
            raise NotLoggedIn(
                f"nobody is logged in at {self.profile.url}", hint="`cronhop login`"
            )
        if renew or tokens.expires_at < time.time() + EARLY_S:
            tokens = self._refreshed(tokens)
        return tokens.access_token if tokens else None

    def _refreshed(self, tokens: Tokens) -> Tokens | None:
        if tokens.refresh_token is None:
            return None
        try:
            fresh = self.issuer().refresh(tokens.refresh_token)
        except NotLoggedIn as exc:
            # Another command may have been quicker, and used the token up.
            other = self.profiles.tokens(self.profile_name)
            if other and other.access_token != tokens.access_token:
                return other
            raise NotLoggedIn(
                f"your login is over: {exc.message}", hint="`cronhop login`"
            ) from exc
        self.profiles.keep_tokens(self.profile_name, fresh)
        return fresh

    def issuer(self) -> Cognito | Issuer:
        """Return who gives the tokens of the profile."""
        profile = self.profile
        if profile.username is None:
            return Issuer(profile, self.transport, self.sleep)
        return Cognito(profile, self.transport)


def of(context: typer.Context) -> Session:
    """Return the session of a command."""
    session = context.find_root().obj
    if not isinstance(session, Session):
        session = context.find_root().obj = Session()
    return session
