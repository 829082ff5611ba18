"""Claims of tokens that the authorizer let pass: what of them opens the API.

Signature, issuer, audience and times are the authorizer's: tests/e2e/test_tokens.py.
"""

import base64
import json

import pytest

from api import handler, wiring
from tests.integration.test_api import CLAIMS, Client

ISSUED = {
    "sub": "auth0|7",
    "exp": "1",
    "iss": "https://id.example.org/",
    "teams": "[operator:staging team-7]",
}


@pytest.fixture
def other(world, monkeypatch):
    """The API of a stack whose users somebody else has."""
    monkeypatch.setenv("CRONHOP_OIDC_ISSUER", "https://id.example.org/")
    monkeypatch.setenv("CRONHOP_GROUPS_CLAIM", "teams")
    wiring.services.cache_clear()
    yield Client(handler.handler)
    wiring.services.cache_clear()


def without(claims, name):
    return {key: value for key, value in claims.items() if key != name}


@pytest.mark.parametrize(
    "claims",
    [
        {},
        without(CLAIMS, "exp"),
        without(CLAIMS, "sub"),
        without(CLAIMS, "token_use"),
        {**CLAIMS, "exp": ""},
        {**CLAIMS, "sub": ""},
        {**CLAIMS, "token_use": "id"},
        {**CLAIMS, "token_use": "refresh"},
        {**CLAIMS, "token_use": "[access]"},
        {**CLAIMS, "nonce": "x"},
    ],
    ids=[
        *("nothing", "no-exp", "no-sub", "no-use", "empty-exp", "empty-sub", "id"),
        *("refresh", "uses", "nonce"),
    ],
)
def test_only_an_access_token_opens_it(api, claims):
    """Of the pool's tokens, the one that says it is for access."""
    assert api("GET", "/v1/me", claims=CLAIMS).status == 200
    assert api("GET", "/v1/me", claims=claims).status == 401


def bearer(claims):
    """Return a header with the token that says so; its signature is the authorizer's."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return {"authorization": f"Bearer e30.{payload.rstrip('=')}.c2ln"}


def test_another_issuer(other):
    """Its tokens need not say what they are for; its groups are in its own claim."""
    headers = bearer({"teams": ["operator:staging", "team-7"]})
    answer = other("GET", "/v1/me", claims=ISSUED, headers=headers)

    assert answer.status == 200
    assert (answer.body["name"], answer.body["subject"]) == ("auth0|7", "auth0|7")
    assert answer.body["roles"] == ["operator:staging"]
    assert answer.body["environments"] == ["staging"]


@pytest.mark.parametrize(
    ("claim", "token", "roles"),
    [
        ("[team 7 viewer]", ["team 7", "viewer"], ["viewer"]),
        ("[backup operator viewer]", ["backup operator", "viewer"], ["viewer"]),
        ("[backup admin]", ["backup admin"], []),
        ("[backup admin]", ["backup", "admin"], ["admin"]),
        ("[viewer]", ["admin"], []),
        ("[admin]", None, []),
        ("[admin]", "[admin]", []),
        ("viewer", "viewer", ["viewer"]),
    ],
)
def test_a_group_with_a_space_is_one_group(other, claim, token, roles):
    """The HTTP API writes lists with spaces between: of an issuer whose names may
    have some, none is taken for two."""
    headers = bearer({"teams": token}) if token else {}
    claims = {**ISSUED, "teams": claim}

    answer = other("GET", "/v1/me", headers=headers, claims=claims)

    assert answer.body["roles"] == roles


@pytest.mark.parametrize(
    "claims",
    [
        without(ISSUED, "exp"),
        without(ISSUED, "sub"),
        {**ISSUED, "token_use": "id"},
        {**ISSUED, "nonce": "x"},
        {**ISSUED, "at_hash": "x"},
    ],
    ids=["no-exp", "no-sub", "id", "nonce", "at-hash"],
)
def test_an_id_token_of_another_issuer(other, claims):
    """It is known by what only id tokens hold; and a token has to end some day."""
    assert other("GET", "/v1/me", claims=claims).status == 401


def test_groups_of_another_claim_count_for_nothing(other):
    """Whoever can write `cognito:groups` there is nobody here."""
    claims = {**without(ISSUED, "teams"), "cognito:groups": "[admin]"}

    assert other("GET", "/v1/me", claims=claims).body["roles"] == []
    assert other("GET", "/v1/tasks", claims=claims).status == 403


@pytest.mark.parametrize(
    "groups",
    [
        *(None, "", "[]", "admin operator", "admin,operator", "[admin,operator]"),
        *('["admin"]', "[[admin]]", "[map[name:admin]]", "{admin}", "true", "1"),
        *("Admin", "[ADMIN]", "[administrator]", "[admin:]", "[:staging]", "[*]"),
    ],
)
def test_odd_groups_give_no_rights(api, groups):
    """403 for all but who one is."""
    claims = {**CLAIMS, "cognito:groups": groups}

    assert api("GET", "/v1/tasks", claims=claims).status == 403
    assert api("POST", "/v1/freeze", {}, claims=claims).status == 405
    assert api("PUT", "/v1/freeze", {}, claims=claims).status == 403
    assert api("GET", "/v1/me", claims=claims).body["actions"] == []
