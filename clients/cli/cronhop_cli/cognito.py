"""Login with a password, at Amazon Cognito's own interface.

https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from .address import checked
from .errors import Failure, NotLoggedIn, Unreachable, Usage
from .http import client, unreachable
from .profiles import Profile, Tokens

_SERVICE = "AWSCognitoIdentityProviderService"
_NEW_PASSWORD = "NEW_PASSWORD_REQUIRED"  # noqa: S105  a challenge's name


class Cognito:
    """The user pool of a profile."""

    def __init__(
        self, profile: Profile, transport: httpx.BaseTransport | None = None
    ) -> None:
        issuer = urlsplit(profile.issuer)
        if not profile.auth_endpoint and not (issuer.hostname or "").startswith(
            "cognito-idp."
        ):
            raise Usage(
                f"the issuer {profile.issuer} is no Cognito user pool",
                hint="log in with --device, or name Cognito's --auth-endpoint",
            )
        self._url = checked(
            profile.auth_endpoint or f"{issuer.scheme}://{issuer.netloc}",
            insecure_http=profile.insecure_http,
        )
        self._client_id = profile.client_id
        self._transport = transport

    def login(
        self, username: str, password: str, new_password: Callable[[], str]
    ) -> Tokens:
        """Return the tokens of a user.

        `new_password` is asked where the pool wants one, at the first login with
        what an administrator has set. Raises NotLoggedIn, Failure, Unreachable.
        """
        answer = self._call(
            "InitiateAuth",
            {
                "AuthFlow": "USER_PASSWORD_AUTH",
                "ClientId": self._client_id,
                "AuthParameters": {"USERNAME": username, "PASSWORD": password},
            },
        )
        if answer.get("ChallengeName") == _NEW_PASSWORD:
            answer = self._call(
                "RespondToAuthChallenge",
                {
                    "ChallengeName": _NEW_PASSWORD,
                    "ClientId": self._client_id,
                    "Session": answer.get("Session"),
                    "ChallengeResponses": {
                        "USERNAME": username,
                        "NEW_PASSWORD": new_password(),
                    },
                },
            )
        return _tokens(answer)

    def refresh(self, refresh_token: str) -> Tokens:
        """Return new tokens. Raises NotLoggedIn if the login is over."""
        answer = self._call(
            "InitiateAuth",
            {
                "AuthFlow": "REFRESH_TOKEN_AUTH",
                "ClientId": self._client_id,
                "AuthParameters": {"REFRESH_TOKEN": refresh_token},
            },
        )
        return _tokens(answer, refresh_token)

    def _call(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {
            "X-Amz-Target": f"{_SERVICE}.{action}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        try:
            with client(self._url, self._transport) as http:
                answer = http.post(
                    f"{self._url}/", content=json.dumps(body), headers=headers
                )
        except httpx.HTTPError as exc:
            raise unreachable(self._url, exc) from exc
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Unreachable(
                f"{self._url} does not answer as Cognito does: HTTP {answer.status_code}",
                hint="is --auth-endpoint right?",
            )
        if not answer.is_success:
            raise _refusal(document)
        return document


def _tokens(answer: Mapping[str, Any], refresh_token: str | None = None) -> Tokens:
    result = answer.get("AuthenticationResult")
    if not result:
        challenge = answer.get("ChallengeName", "something")
        raise NotLoggedIn(
            f"this user's login asks for {challenge}, which the command line cannot do",
            hint="log in with --device if your issuer has it, "
            "or use a user without a second factor",
        )
    return Tokens(
        access_token=result["AccessToken"],
        refresh_token=result.get("RefreshToken", refresh_token),
        expires_at=time.time() + int(result["ExpiresIn"]),
    )


def _refusal(document: Mapping[str, Any]) -> Failure:
    kind = str(document.get("__type", "")).rpartition("#")[2]
    message = str(document.get("message") or document.get("Message") or kind)
    match kind:
        case "NotAuthorizedException" | "UserNotFoundException":
            return NotLoggedIn(f"the login was refused: {message}")
        case "PasswordResetRequiredException":
            return NotLoggedIn(
                "this password must be reset by an administrator first",
                hint="aws cognito-idp admin-set-user-password",
            )
        case "InvalidPasswordException":
            return NotLoggedIn(f"the new password was refused: {message}")
        case "TooManyRequestsException" | "LimitExceededException":
            return Failure("too many logins were tried", hint="wait some minutes")
        case _:
            return Failure(f"Cognito refused the login: {kind}: {message}")
