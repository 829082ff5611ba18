"""What every answer of the API has, which methods a path knows, and If-Match."""

import pytest

from api.manners import SECURITY_HEADERS
from cronhop.services.tasks import Tasks
from tests.integration.test_api import CLAIMS, server_body, task_body

# Made by a POST, shown and changed with an ETag.
VERSIONED = {
    "credentials": {"name": "one", "password": "x1"},
    "servers": server_body(name="one"),
    "tasks": None,
    "templates": None,
    "calendars": {"name": "one", "dates": ["2026-12-24"]},
    "channels": {"name": "one", "kind": "webhook", "url": "https://example.org/"},
    "rules": {"name": "one", "on": ["failure"], "channels": ["ops"]},
}
NAMED_BY_ID = {"servers", "tasks", "templates"}
STALE = {"if-match": '"7"'}


@pytest.fixture
def made(api):
    """Make one of a noun, and return its path, its body and the answer."""
    api("POST", "/v1/credentials", {"name": "ops-key", "password": "x1"})
    server = api("POST", "/v1/servers", server_body()).body
    hook = {"kind": "webhook", "url": "https://example.org/"}
    api("POST", "/v1/channels", {"name": "ops", **hook})

    def make(noun):
        body = VERSIONED[noun] or task_body(server, name="one")
        answer = api("POST", f"/v1/{noun}", body)
        assert answer.status == 201, answer.body
        key = answer.body.get(f"{noun[:-1]}_id", "one")
        return f"/v1/{noun}/{key}", body, answer

    return make


@pytest.mark.parametrize(
    ("status", "method", "path", "options"),
    [
        (200, "GET", "/v1/health", {"claims": {}}),
        (200, "GET", "/v1/tasks", {}),
        (204, "OPTIONS", "/v1/tasks", {"claims": {}}),
        (400, "POST", "/v1/tasks", {"raw": "{"}),
        (401, "GET", "/v1/tasks", {"claims": {}}),
        (403, "GET", "/v1/tasks", {"claims": {**CLAIMS, "cognito:groups": "[]"}}),
        (404, "GET", "/v1/nothing", {}),
        (405, "DELETE", "/v1/tasks", {}),
        (413, "POST", "/v1/tasks", {"raw": " " * 300_000}),
        (415, "POST", "/v1/tasks", {"raw": "{}", "headers": {"content-type": "x/y"}}),
    ],
)
def test_every_answer_has_its_security_headers(api, status, method, path, options):
    """Whoever made it: a route, the resolver, or what stands before both."""
    answer = api(method, path, **options)

    assert answer.status == status
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name.lower()] == value


def test_an_error_of_ours_has_them_too(api, monkeypatch):
    """What nobody expected is told in the same manner."""

    def fail(*args, **kwargs):
        raise OSError

    monkeypatch.setattr(Tasks, "listing", fail)

    answer = api("GET", "/v1/tasks")

    assert answer.status == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/tasks", "GET, POST"),
        ("HEAD", "/v1/health", "GET"),
        ("POST", "/v1/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV", "DELETE, GET, PATCH, PUT"),
        ("GET", "/v1/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV/run", "POST"),
    ],
)
def test_a_path_says_which_methods_it_knows(api, method, path, allow):
    """A method that it does not know is 405, a path that is not there 404."""
    answer = api(method, path)

    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert answer.headers["content-type"] == "application/problem+json"
    assert api(method, f"{path}/x/y").status == 404


@pytest.mark.parametrize("noun", VERSIONED)
def test_what_is_shown_alone_has_an_etag(api, made, noun):
    """It is the same from every route, and another one after a change."""
    path, body, first = made(noun)
    change = {k: v for k, v in body.items() if k != "name" or noun in NAMED_BY_ID}

    shown = api("GET", path)
    changed = api("PUT", path, change, headers={"if-match": first.headers["etag"]})

    assert shown.headers["etag"] == first.headers["etag"] == '"1"'
    assert changed.status == 200, changed.body
    assert changed.headers["etag"] == '"2"'


@pytest.mark.parametrize(
    ("method", "noun"),
    [
        (method, noun)
        for method in ("PUT", "PATCH", "DELETE")
        for noun in VERSIONED
        if method != "PATCH" or noun in NAMED_BY_ID
    ],
)
def test_a_change_of_what_is_not_the_version_read_is_refused(api, made, noun, method):
    """Nothing happens to it."""
    path, body, first = made(noun)
    change = {k: v for k, v in body.items() if k != "name" or noun in NAMED_BY_ID}

    refused = api(method, path, None if method == "DELETE" else change, headers=STALE)

    assert refused.status == 412, refused.body
    assert api("GET", path).headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize("verb", ["pause", "resume", "restore"])
def test_what_is_done_to_a_task_minds_if_match(api, made, verb):
    """Pausing, resuming and restoring are changes as others are."""
    path, _, first = made("tasks")
    version = first.headers["etag"]
    if verb == "resume":
        api("POST", f"{path}/pause")
    if verb == "restore":
        api("DELETE", path)
        (deleted,) = api("GET", "/v1/tasks", query="status=deleted").body["items"]
        version = f'"{deleted["version"]}"'

    refused = api("POST", f"{path}/{verb}", headers=STALE)
    done = api("POST", f"{path}/{verb}", headers={"if-match": version})

    assert refused.status == 412, refused.body
    assert done.status == 200, done.body


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v1/freeze"), ("POST", "/v1/runs/1/cancel")]
)
def test_if_match_of_what_has_no_etag_is_refused(api, method, path):
    """It is not left out of account silently: somebody relies on it."""
    assert api(method, path, headers={"if-match": '"1"'}).status == 412


@pytest.mark.parametrize("noun", sorted(VERSIONED.keys() - {"credentials"}))
def test_what_is_shown_and_cannot_be_set_says_so(api, made, noun):
    """Whoever sends back what was shown learns what to leave out."""
    path, _, answer = made(noun)

    refused = api("PUT", path, answer.body)

    told = {one["field"]: one["message"] for one in refused.body["errors"]}
    told.pop("name", None)  # of some it is in the path alone
    assert set(told.values()) == {"it is set by cronhop; leave it out"}
