"""Values of parameters on the command line."""

import httpx
import pytest

from cronhop_cli.api import Api
from cronhop_cli.errors import Failure, Usage
from cronhop_cli.parameters import check_complete, typed

DECLARED = [
    {"name": "VERSION", "type": "string", "default": None, "max_length": 4},
    {"name": "COLOUR", "type": "enum", "default": None, "values": ["red", "on"]},
    {"name": "COUNT", "type": "integer", "default": 0, "minimum": -1, "maximum": 9},
    {"name": "BIG", "type": "integer", "default": 0, "minimum": None, "maximum": None},
    {"name": "FORCE", "type": "boolean", "default": False},
    {"name": "WHERE", "type": "server", "default": "01A"},
    {"name": "TOKEN", "type": "secret", "default": "t"},
]


@pytest.fixture
def api():
    """An API with one server."""

    def answer(request):
        assert request.url.path == "/v1/servers"
        items = [{"server_id": "01B", "name": "web-1"}]
        return httpx.Response(200, json={"items": items, "next_token": None})

    return Api("https://api.example", lambda renew: "t", httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("VERSION=3", "3"),
        ("VERSION=a=b", "a=b"),
        ("VERSION=", ""),
        ("COLOUR=on", "on"),
        ("COUNT=-1", -1),
        ("BIG=9223372036854775807", 2**63 - 1),
        ("FORCE=true", True),
        ("FORCE=false", False),
        ("WHERE=web-1", "01B"),
        ("WHERE=01B", "01B"),
        ("TOKEN=db-pass", "db-pass"),
    ],
)
def test_values_have_the_declared_type(api, text, value):
    """A text becomes what the task declares, and nothing else."""
    (found,) = typed(api, DECLARED, [text]).values()

    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("VERSOIN=1", "'VERSOIN' is declared", "did you mean 'VERSION'?"),
        ("X=1", "'X' is declared", "it declares VERSION, COLOUR, COUNT, BIG"),
        ("VERSION", "'VERSION' is not KEY=VALUE", None),
        ("VERSION=12345", "VERSION: '12345' has more than 4 characters", None),
        ("COLOUR=blue", "COLOUR: 'blue' is none of red, on", None),
        ("COUNT=ten", "COUNT: 'ten' is not a whole number of 64 bits", None),
        ("COUNT=1.0", "COUNT: '1.0' is not a whole number of 64 bits", None),
        ("COUNT=1_0", "COUNT: '1_0' is not a whole number of 64 bits", None),
        ("BIG=" + "9" * 20, "9' is not a whole number of 64 bits", None),
        ("COUNT=-2", "COUNT: '-2' is less than -1", None),
        ("COUNT=10", "COUNT: '10' is more than 9", None),
        ("FORCE=yes", "FORCE: 'yes' is neither true nor false", None),
        ("FORCE=True", "FORCE: 'True' is neither true nor false", None),
        ("WHERE=web", "there is no server 'web'", "did you mean 'web-1'?"),
    ],
)
def test_what_does_not_fit_is_refused(api, text, message, hint):
    """The declaration is enough to say what is wrong, before anything is sent."""
    with pytest.raises(Failure) as refused:
        typed(api, DECLARED, [text])

    assert message in refused.value.message
    assert hint is None or hint in refused.value.hint


def test_values_that_are_needed():
    """Who gives no value where there is no default is told of all of them."""
    with pytest.raises(Usage) as refused:
        check_complete(DECLARED, {})

    assert refused.value.details == ("VERSION: string", "COLOUR: enum, one of red, on")
    check_complete(DECLARED, {"VERSION": "", "COLOUR": "on"})
