"""Tokens that nobody was given: what each of them opens, which is nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from local.stack import Stack

HOUR_S = 3600
Claims = dict[str, Any]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value).encode())


def _parts(token: str) -> list[Any]:
    """Return header and claims of a token."""
    padded = (part + "=" * (-len(part) % 4) for part in token.split(".")[:2])
    return [json.loads(base64.urlsafe_b64decode(part)) for part in padded]


def _signed(key: rsa.RSAPrivateKey, header: Mapping[str, Any], claims: Claims) -> str:
    body = f"{_part(header)}.{_part(claims)}"
    signature = key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{body}.{_text(signature)}"


class Mint:
    """Makes tokens like the admin's own, with the pool's key or with others."""

    def __init__(self, stack: Stack) -> None:
        self.real = stack.token()
        self.header, self.claims = _parts(self.real)
        # ministack keeps the keys of its pools beside its state.
        pool = self.claims["iss"].rpartition("/")[2]
        pem = self._pem(stack.directory, pool)
        self._key = serialization.load_pem_private_key(pem, password=None)
        self.public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def __call__(self, **changes: Any) -> str:
        """Return a token signed by the pool, with changed claims; None: without."""
        claims = self.claims | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        return _signed(self._key, self.header, kept)  # type: ignore[arg-type]

    def by(self, key: rsa.RSAPrivateKey, **header: Any) -> str:
        """Return the admin's token signed by another key."""
        return _signed(key, self.header | header, self.claims)

    def unsigned(self, signature: str = "", **header: Any) -> str:
        """Return the admin's token with something in place of a signature."""
        return f"{_part(self.header | header)}.{_part(self.claims)}.{signature}"

    def hmac(self, key: bytes) -> str:
        """Return the admin's token signed as with a shared secret."""
        header = {**self.header, "alg": "HS256"}
        body = f"{_part(header)}.{_part(self.claims)}"
        return f"{body}.{_text(hmac.digest(key, body.encode(), hashlib.sha256))}"

    @staticmethod
    def _pem(directory: Path, pool: str) -> bytes:
        (path,) = directory.rglob(f"{pool}-access.pem")
        return path.read_bytes()


@pytest.fixture(scope="module")
def mint(stack: Stack) -> Mint:
    return Mint(stack)


def _ask(stack: Stack, token: str | None) -> tuple[int, int]:
    """Return how a read and a change with this token are answered."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    with httpx.Client(
        base_url=stack.api_url, headers=headers, trust_env=False, timeout=30
    ) as client:
        body = {"name": f"forged-{uuid.uuid4()}", "password": "x"}
        changed = client.post("/v1/credentials", json=body)
        return client.get("/v1/tasks").status_code, changed.status_code


def _id_token(stack: Stack) -> str:
    notes = stack.notes()
    answer = stack.client("cognito-idp").initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=notes["client_id"],
        AuthParameters={"USERNAME": notes["username"], "PASSWORD": notes["password"]},
    )
    token: str = answer["AuthenticationResult"]["IdToken"]
    return token


def test_what_is_forged_here_would_open_it(stack: Stack, mint: Mint) -> None:
    """The tokens below fail for what is changed in them, not for how they are made."""
    assert _ask(stack, mint()) == (200, 201)


FORGED: dict[str, Callable[[Stack, Mint], str | None]] = {
    "none": lambda stack, mint: None,
    "garbage": lambda stack, mint: "x.y.z",
    "alg-none": lambda stack, mint: mint.unsigned(alg="none"),
    "alg-none-with-signature": lambda stack, mint: mint.unsigned(
        mint.real.rpartition(".")[2], alg="none"
    ),
    "unsigned": lambda stack, mint: mint.unsigned(),
    "signature-of-another-token": lambda stack, mint: (
        mint(sub="x").rpartition(".")[0] + "." + mint.real.rpartition(".")[2]
    ),
    "HS256-with-the-public-key": lambda stack, mint: mint.hmac(mint.public),
    "HS256-with-nothing": lambda stack, mint: mint.hmac(b""),
    "another-key": lambda stack, mint: mint.by(mint.other),
    "another-key-of-another-name": lambda stack, mint: mint.by(mint.other, kid="mine"),
    "a-key-it-brings-along": lambda stack, mint: mint.by(
        mint.other,
        jwk={
            "kty": "RSA",
            "n": _text(mint.other.public_key().public_numbers().n.to_bytes(256)),
            "e": "AQAB",
        },
    ),
    "a-key-from-elsewhere": lambda stack, mint: mint.by(
        mint.other, jku="http://127.0.0.1:9/jwks.json"
    ),
    "expired": lambda stack, mint: mint(exp=int(time.time()) - 1),
    "not-yet-valid": lambda stack, mint: mint(nbf=int(time.time()) + HOUR_S),
    "issued-in-the-future": lambda stack, mint: mint(iat=int(time.time()) + HOUR_S),
    "no-exp": lambda stack, mint: mint(exp=None),
    "another-issuer": lambda stack, mint: mint(iss=f"{mint.claims['iss']}x"),
    "no-issuer": lambda stack, mint: mint(iss=None),
    "another-client": lambda stack, mint: mint(client_id="another"),
    "another-audience": lambda stack, mint: mint(aud="another"),
    "no-client": lambda stack, mint: mint(client_id=None),
    "id-token": lambda stack, mint: _id_token(stack),
    "no-use": lambda stack, mint: mint(token_use=None),
    "refresh-for-access": lambda stack, mint: mint(token_use="refresh"),
    "no-subject": lambda stack, mint: mint(sub=None),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_opens_nothing(stack: Stack, mint: Mint, name: str) -> None:
    """Whatever is wrong with it: neither a read nor a change, and the same answer."""
    token = FORGED[name](stack, mint)

    assert _ask(stack, token) == (401, 401)


@pytest.mark.parametrize(
    "groups",
    [
        None,
        [],
        "",
        "admin operator",
        "admin,operator",
        {"admin": True},
        {"groups": ["admin"]},
        [["admin"]],
        ["admin,operator"],
        ['"admin"'],
        ["Admin"],
        ["admin:"],
        [{"name": "admin"}],
        True,
    ],
    ids=json.dumps,
)
def test_groups_in_odd_shapes_give_no_rights(
    stack: Stack, mint: Mint, groups: object
) -> None:
    """As the HTTP API passes them on: who they belong to may see nobody but himself."""
    token = mint(**{"cognito:groups": groups})

    assert _ask(stack, token) == (403, 403)
    me = httpx.get(
        f"{stack.api_url}/v1/me",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    ).json()
    assert (me["roles"], me["actions"], me["environments"]) == ([], [], [])
