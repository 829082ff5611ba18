"""Logging in: at Cognito with a password, at others with a device; and the tokens."""

import base64
import json
import stat
import time
from pathlib import Path

import httpx
import pytest

from cronhop_cli.profiles import Profiles, Tokens
from tests.cli import URL, Cronhop

ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/pool"
PASSWORD = "correct horse"


class World:
    """An API, the Cognito pool and the OpenID issuer that it names."""

    def __init__(self):
        self.issuer = ISSUER
        self.client_id = "app"
        self.challenge = None
        self.refuse_refresh = False
        self.pending = []  # answers before the device's login is done
        self.has_device = True
        self.valid = {"first"}  # tokens that the API accepts
        self.me = None
        self.asked = []  # (host, what) of each request
        self.answers = []  # that the API gives before it works

    def __call__(self, request):
        host, path = request.url.host, request.url.path
        if host == "api.example":
            return self._api(request, path)
        if path.startswith("/oidc"):
            return self._oidc(path, dict(httpx.QueryParams(request.read().decode())))
        target = request.headers["X-Amz-Target"].partition(".")[2]
        return self._cognito(host, target, json.loads(request.read()))

    def _api(self, request, path):
        if path == "/v1/health":
            assert "Authorization" not in request.headers
            login = (
                {"issuer": self.issuer, "client_id": self.client_id}
                if self.issuer
                else None
            )
            return httpx.Response(200, json={"status": "ok", "login": login})
        self.asked.append(("api", request.headers["Authorization"]))
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.valid:
            return httpx.Response(401, json={"message": "Unauthorized"})
        if path == "/v1/me":
            if self.me is None:
                return httpx.Response(404, json={"title": "Not Found", "status": 404})
            return httpx.Response(200, json=self.me)
        return httpx.Response(200, json={"items": [], "next_token": None})

    def _cognito(self, host, target, body):
        self.asked.append((host, target))
        assert body["ClientId"] == "app"
        if target == "RespondToAuthChallenge":
            assert body["Session"] == "s"
            assert body["ChallengeResponses"]["NEW_PASSWORD"]
            return self._tokens("first", "refresh")
        given = body["AuthParameters"]
        if body["AuthFlow"] == "REFRESH_TOKEN_AUTH":
            if self.refuse_refresh or given["REFRESH_TOKEN"] != "refresh":
                return self._refused("Refresh Token has been revoked")
            self.valid = {"second"}
            return self._tokens("second", None)
        if given != {"USERNAME": "ada", "PASSWORD": PASSWORD}:
            return self._refused("Incorrect username or password.")
        if self.challenge:
            return httpx.Response(
                200, json={"ChallengeName": self.challenge, "Session": "s"}
            )
        return self._tokens("first", "refresh")

    def _refused(self, message):
        kind = {"__type": "NotAuthorizedException", "message": message}
        return httpx.Response(400, json=kind)

    def _tokens(self, access, refresh):
        result = {"AccessToken": access, "ExpiresIn": 3600, "IdToken": "id"}
        if refresh:
            result["RefreshToken"] = refresh
        return httpx.Response(200, json={"AuthenticationResult": result})

    def _oidc(self, path, form):
        base = f"{self.issuer}"
        if path.endswith("/.well-known/openid-configuration"):
            document = {
                "token_endpoint": f"{base}/token",
                "scopes_supported": ["openid"],
            }
            if self.has_device:
                document["device_authorization_endpoint"] = f"{base}/device"
            return httpx.Response(200, json=document)
        assert form["client_id"] == "app"
        if path.endswith("/device"):
            answer = {
                "device_code": "d",
                "user_code": "ABCD-\x1b[31m",
                "verification_uri": "https://issuer.example/activate",
                "expires_in": 60,
            }
            return httpx.Response(200, json=answer)
        if form["grant_type"] == "refresh_token":
            self.valid = {"second"}
            return httpx.Response(
                200, json={"access_token": "second", "expires_in": 60}
            )
        if self.pending:
            return httpx.Response(400, json={"error": self.pending.pop(0)})
        answer = {"access_token": "first", "refresh_token": "r", "expires_in": 3600}
        return httpx.Response(200, json=answer)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def cronhop(world, tmp_path, waits):
    return Cronhop(httpx.MockTransport(world), tmp_path / "config", pause=waits.append)


def login(cronhop, *args, password=PASSWORD):
    return cronhop(
        *("login", "--url", URL, "--username", "ada", "--password-stdin", *args),
        stdin=password + "\n",
    )


@pytest.fixture
def logged_in(cronhop):
    done = login(cronhop)
    assert done.code == 0, done.err
    return cronhop


def files(cronhop):
    folder = Path(cronhop.environ["CRONHOP_CONFIG_DIR"])
    return {path.name: path for path in folder.iterdir()}


def test_login(cronhop, world):
    """The API says where; the tokens are in a file of the user's own, and not shown."""
    done = login(cronhop)

    assert (done.code, done.out) == (0, f"Logged in to {URL} (profile default).\n")
    kept = files(cronhop)
    assert set(kept) == {"profiles.json", "tokens-default.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.values()} == {0o600}
    assert stat.S_IMODE(kept["profiles.json"].parent.stat().st_mode) == 0o700
    assert "first" not in done.out + done.err + kept["profiles.json"].read_text()
    assert (
        json.loads(kept["tokens-default.json"].read_text())["access_token"] == "first"
    )
    assert world.asked == [("cognito-idp.eu-central-1.amazonaws.com", "InitiateAuth")]


def test_tokens_are_in_no_repr():
    """A traceback that shows them shows nothing."""
    tokens = Tokens(access_token="abc", refresh_token="def", expires_at=0)

    assert "abc" not in repr(tokens)
    assert "def" not in repr(tokens)


def test_another_endpoint(cronhop, world):
    """Cognito may be reached elsewhere; the profile remembers where."""
    assert login(cronhop, "--auth-endpoint", "http://127.0.0.1:4566").code == 0
    assert cronhop("login", "--password-stdin", stdin=PASSWORD).code == 0

    assert world.asked == [("127.0.0.1", "InitiateAuth")] * 2


def test_a_wrong_password(cronhop):
    """Who is not let in is told so, and nothing is kept."""
    done = login(cronhop, password="wrong")

    assert (done.code, done.out) == (3, "")
    assert "the login was refused: Incorrect username or password." in done.err
    assert cronhop("profiles", "list").err.startswith("There are none yet")


def test_no_device_is_offered(cronhop, world):
    """Where the issuer has no login with a device, it says so."""
    world.issuer, world.has_device = "https://issuer.example/oidc", False

    done = cronhop("login", "--url", URL, "--device")

    assert done.code == 3
    assert "offers no login with a device" in done.err


def test_a_second_factor(cronhop, world):
    """What the command line cannot do it says."""
    world.challenge = "SOFTWARE_TOKEN_MFA"

    done = login(cronhop)

    assert done.code == 3
    assert "asks for SOFTWARE_TOKEN_MFA, which the command line cannot do" in done.err


def test_the_first_login(cronhop, world, monkeypatch):
    """A password that an administrator has set is replaced."""
    world.challenge = "NEW_PASSWORD_REQUIRED"
    monkeypatch.setattr(
        "cronhop_cli.login._asked", lambda what, hidden=False: "N3w-one"
    )

    done = login(cronhop)

    assert done.code == 0, done.err
    assert [what for _, what in world.asked] == [
        "InitiateAuth",
        "RespondToAuthChallenge",
    ]


@pytest.mark.parametrize(
    ("url", "args", "code"),
    [
        ("http://api.example", [], 2),
        ("http://api.example", ["--insecure-http"], 0),
        ("ftp://api.example", [], 2),
        ("https://ada:secret@api.example", [], 2),
        ("api.example", [], 2),
    ],
    ids=["http", "asked-for", "ftp", "with-a-password", "no-scheme"],
)
def test_no_password_in_the_clear(cronhop, world, url, args, code):
    """Plain HTTP is for this machine, unless it is asked for."""
    done = cronhop(
        *("login", "--url", url, "--username", "ada", "--password-stdin", *args),
        stdin=PASSWORD,
    )

    assert done.code == code
    assert bool(world.asked) == (code == 0)


def test_a_url_that_is_no_api(cronhop, monkeypatch):
    """What answers there does not know the path: another service, or a wrong one."""
    monkeypatch.setattr(World, "_api", lambda *args: httpx.Response(404, text="no"))

    done = login(cronhop)

    assert done.code == 1
    assert "does not say how to log in: it is no cronhop" in done.err


def test_an_api_that_says_nothing(cronhop, world):
    """An older stack, or none at all, is told from one that can be logged in to."""
    world.issuer = None

    done = login(cronhop)

    assert done.code == 1
    assert "does not say how to log in" in done.err


def test_nobody_is_asked_without_a_terminal(cronhop):
    """It says which option to use instead."""
    done = cronhop("login", "--url", URL, "--username", "ada")

    assert done.code == 2
    assert "hint: --password-stdin" in done.err


def test_with_a_device(cronhop, world, waits):
    """The code is shown, and the issuer asked as often as it wants to be."""
    world.issuer = "https://issuer.example/oidc"
    world.pending = ["authorization_pending", "slow_down", "authorization_pending"]

    done = cronhop("login", "--url", URL, "--device")

    assert done.code == 0, done.err
    assert r"enter the code ABCD-\x1b[31m" in done.err
    assert waits == [5, 5, 10, 10]
    assert cronhop("tasks", "list").code == 0


def test_an_issuer_that_is_not_ours(cronhop, world):
    """It knows the command line by an id that the stack does not know."""
    world.issuer, world.client_id = "https://issuer.example/oidc", ""

    without = cronhop("login", "--url", URL, "--device")
    with_it = cronhop("login", "--url", URL, "--device", "--client-id", "app")
    again = cronhop("login", "--device")

    assert (without.code, with_it.code, again.code) == (2, 0, 0)
    assert "--client-id" in without.err


def test_a_device_that_nobody_uses(cronhop, world, waits):
    """It does not wait for ever."""
    world.issuer = "https://issuer.example/oidc"
    world.pending = ["authorization_pending"] * 100

    done = cronhop("login", "--url", URL, "--device")

    assert done.code == 3
    assert "nobody logged in with that code in time" in done.err
    assert sum(waits) <= 60


def expire(cronhop, at):
    profiles = Profiles.from_env(cronhop.environ)
    tokens = profiles.tokens("default")
    profiles.keep_tokens(
        "default",
        Tokens(
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=at,
        ),
    )


def test_a_token_is_renewed_early(logged_in, world):
    """One that ends in a moment is replaced before it is used, and kept."""
    expire(logged_in, time.time() + 30)
    world.asked.clear()

    assert logged_in("tasks", "list").code == 0
    assert logged_in("tasks", "list").code == 0

    assert [what for _, what in world.asked] == [
        "InitiateAuth",
        "Bearer second",
        "Bearer second",
    ]


def test_a_refused_token_is_renewed_once(logged_in, world):
    """One that the API does not accept is replaced, once."""
    world.valid = set()
    world.asked.clear()

    assert logged_in("tasks", "list").code == 0
    world.answers = [httpx.Response(401, json={})] * 3
    done = logged_in("tasks", "list")

    assert done.code == 3
    assert "your token is not accepted\nhint: `cronhop login`" in done.err
    assert len(world.answers) == 1


def test_a_login_that_is_over(logged_in, world):
    """When the refresh token has ended it says so."""
    world.valid, world.refuse_refresh = set(), True

    done = logged_in("tasks", "list")

    assert done.code == 3
    assert "your login is over" in done.err


def test_another_command_was_quicker(logged_in, world):
    """Two commands renew at once, and the issuer takes the refresh token once only."""
    world.valid, world.refuse_refresh = {"third"}, True
    refused = world._refused

    def renewed_meanwhile(message):
        Profiles.from_env(logged_in.environ).keep_tokens(
            "default",
            Tokens(access_token="third", refresh_token="x", expires_at=1e12),
        )
        return refused(message)

    world._refused = renewed_meanwhile

    assert logged_in("tasks", "list").code == 0


def test_a_token_of_the_environment(cronhop, world):
    """A pipeline needs no login, and keeps no file."""
    cronhop.environ |= {"CRONHOP_URL": URL, "CRONHOP_TOKEN": "first"}

    assert cronhop("tasks", "list").code == 0
    assert not Path(cronhop.environ["CRONHOP_CONFIG_DIR"]).exists()


def test_a_token_that_is_none(cronhop, world):
    """What cannot be a header is refused, and not shown."""
    cronhop.environ |= {"CRONHOP_URL": URL, "CRONHOP_TOKEN": "first\n"}

    done = cronhop("tasks", "list")

    assert done.code == 2
    assert "first" not in done.err
    assert world.asked == []


def test_a_token_goes_to_its_own_stack(logged_in, world):
    """A URL in the environment does not get the token of a profile."""
    logged_in.environ["CRONHOP_URL"] = "https://other.example"
    world.asked.clear()

    done = logged_in("tasks", "list")

    assert done.code == 2
    assert world.asked == []


def test_profiles(logged_in, world):
    """Each stack has its own; the last login is the current one."""
    assert login(logged_in, "--profile", "prod").code == 0
    rows = logged_in.json("profiles", "list")["items"]
    assert [(one["name"], one["current"]) for one in rows] == [
        ("default", False),
        ("prod", True),
    ]

    assert logged_in("profiles", "use", "default").code == 0
    assert logged_in("logout").out == "Logged out.\n"
    assert logged_in("tasks", "list").code == 3
    assert logged_in("tasks", "list", "--profile", "prod").code == 0
    logged_in.environ["CRONHOP_PROFILE"] = "prod"
    assert logged_in("tasks", "list").code == 0

    assert logged_in("profiles", "remove", "prod", "--yes").code == 0
    assert set(files(logged_in)) == {"profiles.json"}


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b", "x" * 65])
def test_names_of_profiles(cronhop, name):
    """A profile's name leads to no other file."""
    done = cronhop("profiles", "use", name)

    assert done.code == 2


def test_whoami(logged_in, world):
    """What the API says, or, if it says nothing, what the token does."""
    world.me = {"username": "ada", "roles": ["admin"]}
    assert logged_in.json("whoami") == world.me

    world.me = None
    claims = {"username": "ada", "cognito:groups": ["admin"]}
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    token = f"h.{part}.s"
    world.valid = {token}
    logged_in.environ["CRONHOP_TOKEN"] = token
    assert logged_in.json("whoami") == {"username": "ada", "groups": ["admin"]}


@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_may_pass_is_asked_again(logged_in, world, waits, status):
    """A GET is repeated with longer and longer pauses, and as told to."""
    world.answers = [
        httpx.Response(status, json={}),
        httpx.ConnectError("refused"),
        httpx.Response(status, json={}, headers={"Retry-After": "7"}),
    ]

    assert logged_in("tasks", "list").code == 0
    assert waits == [0.3, 0.6, 7]


def test_what_does_not_pass(logged_in, world):
    """It gives up in the end, with the hint that helps."""
    world.answers = [httpx.ConnectError("refused")] * 5

    done = logged_in("tasks", "list")

    assert (done.code, done.out) == (1, "")
    assert "https://api.example does not answer: refused" in done.err
    assert "hint: check the address" in done.err


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(302, headers={"Location": "https://evil.example"}),
    ],
    ids=["html", "redirect"],
)
def test_something_else_answers(logged_in, world, answer):
    """What is no API of ours is not believed, and a redirect not followed."""
    world.answers = [answer]

    done = logged_in("tasks", "list")

    assert done.code == 1
    assert "is that the URL of a cronhop API?" in done.err
