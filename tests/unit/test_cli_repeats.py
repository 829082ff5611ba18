"""Requests of the command line that are sent again, so that nothing is done twice."""

import httpx
import pytest

from cronhop_cli.api import Api
from cronhop_cli.errors import Failure, NotLoggedIn, Refused, Unknown, Unreachable

PROBLEM = {"Content-Type": "application/problem+json"}
LOST = httpx.ReadError("reset")
SILENT = httpx.ReadTimeout("timed out")
CLOSED = httpx.RemoteProtocolError("disconnected")
NOT_SENT = httpx.ConnectError("refused")


def answer(status, **headers):
    """Return a gateway's answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"message": "Sorry"}, headers=headers)


def problem(status, **headers):
    """Return an answer of the API's own."""
    body = {"title": "Sorry", "status": status}
    return httpx.Response(status, json=body, headers=PROBLEM | headers)


DONE = httpx.Response(200, json={"done": True})
GONE = httpx.Response(204)


class World:
    """An API that answers as it was told to, and keeps what it was asked."""

    def __init__(self):
        self.answers, self.asked, self.waits = [], [], []

    def __call__(self, request):
        # As it was sent: its token is replaced later on.
        sent = {"headers": request.headers.copy(), "content": request.content}
        self.asked.append(httpx.Request(request.method, request.url, **sent))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def world():
    return World()


@pytest.fixture
def api(world):
    return Api(
        "https://api.example",
        lambda renew: "second" if renew else "first",
        httpx.MockTransport(world),
        world.waits.append,
    )


POST = {"post": ("/v1/tasks", {"name": "x"})}
PUT_OF_A_VERSION = {"put": ("/v1/tasks/1", {"name": "x"}, '"3"')}
DELETE_OF_A_VERSION = {"delete": ("/v1/tasks/1", '"3"')}
PUT = {"put": ("/v1/freeze", {})}
PATCH = {"patch": ("/v1/tasks/1", {"enabled": True})}
DELETE = {"delete": ("/v1/channels/x",)}

POST_DRY = ("POST", "/v1/tasks", {"query": {"dry_run": "true"}, "body": {"name": "x"}})
PUT_DRY = ("PUT", "/v1/tasks/1", {"query": {"dry_run": "true"}, "body": {"name": "x"}})
POST_DRY_BODY = ("POST", "/v1/import/crontab", {"body": {"dry_run": True}})


def ask(api, words):
    """Send a request."""
    ((name, args),) = words.items()
    return getattr(api, name)(*args)


@pytest.mark.parametrize(
    "words",
    [POST, PUT_OF_A_VERSION, DELETE_OF_A_VERSION],
    ids=["POST", "PUT", "DELETE"],
)
@pytest.mark.parametrize(
    "lost",
    [
        LOST,
        SILENT,
        CLOSED,
        NOT_SENT,
        answer(502),
        answer(503),
        answer(504),
        answer(429),
    ],
    ids=["reset", "silent", "closed", "not-sent", "502", "503", "504", "429"],
)
def test_what_is_done_once_is_sent_again(api, world, words, lost):
    """By the same key or for the same version, with longer and longer pauses."""
    world.answers = [lost, lost, DONE]

    ask(api, words)

    one, *others = world.asked
    for other in others:
        assert (other.method, other.url, other.content) == (
            *(one.method, one.url),
            one.content,
        )
        for name in ("Idempotency-Key", "If-Match"):
            assert other.headers.get(name) == one.headers.get(name)
    assert world.waits == [0.3, 0.6]


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        ([SILENT] * 5, Unreachable),
        ([answer(504)] * 5, Refused),
        ([problem(500)], Refused),
        ([answer(502), problem(400)], Refused),
        ([SILENT, answer(401), answer(401)], NotLoggedIn),
    ],
    ids=["silent", "504", "500", "502-then-400", "401"],
)
@pytest.mark.parametrize(
    "dry", [POST_DRY, PUT_DRY, POST_DRY_BODY], ids=["POST", "PUT", "body"]
)
def test_a_dry_run_is_never_in_doubt(api, world, dry, answers, failure):
    """It does nothing: it may be sent again, and what it says is all there is."""
    method, path, how = dry
    world.answers = list(answers)

    with pytest.raises(Failure) as caught:
        api.send(method, path, **how)

    assert type(caught.value) is failure
    assert caught.value.details == ()
    assert len(world.asked) == len(answers)


def test_each_post_has_a_key_of_its_own(api, world):
    """Who asks for the same thing twice gets two of it."""
    world.answers = [DONE, DONE]

    ask(api, POST)
    ask(api, POST)

    assert len({one.headers["Idempotency-Key"] for one in world.asked}) == 2


def test_it_waits_as_long_as_it_is_told_to(api, world):
    """Also for the try before, on which the API is still working."""
    world.answers = [
        answer(429, Retry_After="7"),
        SILENT,
        problem(409, **{"Retry-After": "2"}),
        DONE,
    ]

    assert ask(api, POST) == {"done": True}
    assert world.waits == [7, 0.6, 2]


def test_it_waits_for_a_try_that_is_worked_on(api, world):
    """As long as the API may take; that it goes on is no try of its own."""
    in_progress = [problem(409, **{"Retry-After": "2"})] * 18
    world.answers = [LOST, *in_progress, DONE, LOST, *in_progress * 2]

    assert ask(api, POST) == {"done": True}
    with pytest.raises(Unknown):
        ask(api, POST)

    assert sum(world.waits[:19]) > 35
    assert len(world.asked) == 20 + 1 + 21


@pytest.mark.parametrize("words", [PUT, PATCH, DELETE], ids=["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "lost", [SILENT, answer(504), answer(503)], ids=["silent", "504", "503"]
)
def test_what_could_be_done_twice_is_not_sent_again(api, world, words, lost):
    """Somebody else's change may stand there by then."""
    world.answers = [lost]

    with pytest.raises(Unknown, match="not known whether that was done: ") as caught:
        ask(api, words)

    assert caught.value.hint == "look at what is there before you ask for it again"
    assert world.waits == []


@pytest.mark.parametrize("words", [PUT, PATCH, DELETE], ids=["PUT", "PATCH", "DELETE"])
def test_what_was_not_done_is_sent_again(api, world, words):
    """What did not leave this machine, or was turned away at the door."""
    world.answers = [NOT_SENT, answer(429), problem(503), DONE]

    ask(api, words)

    assert len(world.asked) == 4


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        ([SILENT] * 5, Unknown),
        ([SILENT, *[NOT_SENT] * 4], Unknown),
        ([answer(504), *[answer(429)] * 4], Unknown),
        ([problem(500)], Unknown),
        ([NOT_SENT] * 5, Unreachable),
        ([answer(429)] * 5, Refused),
        ([problem(503)] * 5, Refused),
        ([problem(400)], Refused),
        ([problem(409)], Refused),
    ],
    ids=[
        *("silent", "silent-then-gone", "504-then-429", "500", "never-sent"),
        *("429", "503-of-ours", "400", "409"),
    ],
)
def test_it_gives_up(api, world, answers, failure):
    """After five tries; and it is in doubt only where something may be done."""
    world.answers = list(answers)

    with pytest.raises(Failure) as caught:
        ask(api, POST)

    assert type(caught.value) is failure
    assert len(world.asked) == len(answers)


def test_what_was_removed_by_the_try_before(api, world):
    """That it is not there any more is what was wanted; else it is an error."""
    world.answers = [SILENT, problem(404), problem(404)]

    ask(api, DELETE_OF_A_VERSION)
    with pytest.raises(Refused):
        ask(api, DELETE_OF_A_VERSION)


def test_another_version_may_be_ones_own(api, world):
    """Who is refused after a try without answer is told of that one."""
    world.answers = [SILENT, problem(412), problem(412)]

    with pytest.raises(Refused) as caught:
        ask(api, PUT_OF_A_VERSION)
    with pytest.raises(Refused) as plain:
        ask(api, PUT_OF_A_VERSION)

    assert caught.value.details == (
        "an earlier try had no answer: it may have been done by it",
    )
    assert plain.value.details == ()


def test_a_token_that_ends_meanwhile(api, world):
    """It is replaced, and the key stays; one that is refused again ends it."""
    world.answers = [SILENT, answer(401), DONE, answer(401), answer(401)]

    ask(api, POST)

    tokens = [one.headers["Authorization"] for one in world.asked]
    assert tokens == ["Bearer first", "Bearer first", "Bearer second"]
    assert len({one.headers["Idempotency-Key"] for one in world.asked}) == 1
    with pytest.raises(NotLoggedIn) as plain:
        ask(api, POST)
    assert plain.value.details == ()


def test_a_login_that_ends_in_doubt(api, world):
    """Who logs in and asks again ought to know that it may be there twice then."""
    world.answers = [SILENT, answer(401), answer(401)]

    with pytest.raises(NotLoggedIn) as caught:
        ask(api, POST)

    assert caught.value.details == (
        "an earlier try had no answer: it may have been done by it",
    )
