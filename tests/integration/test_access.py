"""Who may do what: every route, asked by every role, about things near and far.

There are three fleets: one of the environment that limited roles are limited to,
one of another environment, one of none; and ids of things that are not there.
"""

import base64
import copy
import json
import re
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sqs.models import sqs_backends

from api import handler, ledger, request, rights, wiring
from cronhop.domain.run import Outcome, State
from cronhop.store import executions, runs
from tests.integration.test_api import CLAIMS, Client, server_body
from tests.world import ACCOUNT, PREFIX, REGION

OWN, FOREIGN, NOWHERE = "staging", "prod", None

CALLERS = {
    "nobody": "[team-7]",
    "viewer": "[viewer]",
    "operator": "[operator]",
    "admin": "[admin]",
    "viewer-of-own": "[viewer:staging]",
    "operator-of-own": "[operator:staging]",
    "admin-of-own": "[admin:staging]",
    "viewer-operator-of-own": "[viewer operator:staging]",
}
LEVEL = {"nobody": 0, "viewer": 1, "operator": 2, "admin": 3}


@dataclass(frozen=True)
class Fleet:
    """The things of one environment, or ids of things that are not there."""

    environment: str | None
    credential: str = "absent"
    password: str = "absent"
    server: str = "01J00000000000000000000000"
    task: str = "01J00000000000000000000001"
    run: str = "01J00000000000000000000002"  # has ended
    open_run: str = "01J00000000000000000000003"
    template: str = "01J00000000000000000000004"
    calendar: str = "absent"
    channel: str = "absent"
    rule: str = "absent"

    @property
    def marks(self):
        """What tells that one of these is there: ids, and what all names begin with."""
        ids = {self.credential, self.password, self.server, self.task, self.run}
        return {*ids, self.open_run, self.template, f"zq-{self.environment}"}


def _task(fleet, **changes):
    return {
        "name": "made",
        "spec": {"command": "true"},
        "targets": {"server_ids": [fleet.server]},
        "schedule": {"cron": "30 1 * * *"},
        "environment": fleet.environment,
        **changes,
    }


def _template(fleet, **changes):
    parameters = [{"name": "LEVEL", "type": "integer", "default": 1}]
    return _task(fleet, parameters=parameters, **changes)


def _server(fleet, **changes):
    body = {"credential": fleet.credential, "environment": fleet.environment}
    return server_body(**body, **changes)


def _execution(fleet):
    return f"/v1/runs/{fleet.run}/executions/{fleet.server}"


WINDOW = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"}
CHANNEL = {"kind": "webhook", "url": "https://hooks.example.org/x"}
RULE = {"on": ["failure"], "channels": ["hook"]}
PREVIEW = {"schedule": {"cron": "@daily"}}

# What is asked, about a fleet: (needed role, path and query, body). The third word
# says what a fleet means to the route: its path names a thing of an environment
# ("placed") or one of the stack ("named"), its body or query does ("body"), or
# nothing does ("whole").
ROUTES = {
    "GET /v1/health": ("nobody", "whole", lambda f: ("/v1/health", None)),
    "GET /v1/openapi.json": (
        "nobody",
        "whole",
        lambda f: ("/v1/openapi.json", None),
    ),
    "GET /v1/me": ("nobody", "whole", lambda f: ("/v1/me", None)),
    "GET /v1/audit": ("admin", "whole", lambda f: ("/v1/audit", None)),
    "GET /v1/credentials": ("admin", "whole", lambda f: ("/v1/credentials", None)),
    "POST /v1/credentials": (
        "admin",
        "whole",
        lambda f: ("/v1/credentials", {"name": "made", "password": "x"}),
    ),
    "GET /v1/credentials/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/credentials/{f.credential}", None),
    ),
    "PUT /v1/credentials/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/credentials/{f.credential}", {"password": "other"}),
    ),
    "DELETE /v1/credentials/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/credentials/{f.credential}", None),
    ),
    "GET /v1/servers": ("viewer", "whole", lambda f: ("/v1/servers?limit=1", None)),
    "POST /v1/servers": (
        "admin",
        "body",
        lambda f: ("/v1/servers", _server(f, name="made")),
    ),
    "GET /v1/servers/{server_id}": (
        "viewer",
        "placed",
        lambda f: (f"/v1/servers/{f.server}", None),
    ),
    "PUT /v1/servers/{server_id}": (
        "admin",
        "placed",
        lambda f: (f"/v1/servers/{f.server}", _server(f, name="put")),
    ),
    "PATCH /v1/servers/{server_id}": (
        "admin",
        "placed",
        lambda f: (f"/v1/servers/{f.server}", {"status": "disabled"}),
    ),
    "DELETE /v1/servers/{server_id}": (
        "admin",
        "placed",
        lambda f: (f"/v1/servers/{f.server}", None),
    ),
    "GET /v1/servers/{server_id}/executions": (
        "viewer",
        "placed",
        lambda f: (f"/v1/servers/{f.server}/executions", None),
    ),
    "POST /v1/servers/{server_id}/check": (
        "admin",
        "placed",
        lambda f: (f"/v1/servers/{f.server}/check", {}),
    ),
    "POST /v1/servers/{server_id}/host-keys": (
        "admin",
        "placed",
        lambda f: (
            f"/v1/servers/{f.server}/host-keys",
            {"fingerprint": "SHA256:" + "A" * 43},
        ),
    ),
    "GET /v1/tasks": ("viewer", "whole", lambda f: ("/v1/tasks?limit=1", None)),
    "POST /v1/tasks": ("operator", "body", lambda f: ("/v1/tasks", _task(f))),
    "GET /v1/tasks/{task_id}": (
        "viewer",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}", None),
    ),
    "PUT /v1/tasks/{task_id}": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}", _task(f)),
    ),
    "PATCH /v1/tasks/{task_id}": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}", {"timeout_s": 7}),
    ),
    "DELETE /v1/tasks/{task_id}": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}", None),
    ),
    "POST /v1/tasks/{task_id}/restore": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/restore", {}),
    ),
    "POST /v1/tasks/{task_id}/run": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/run", {}),
    ),
    "POST /v1/tasks/{task_id}/backfill": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/backfill", {**WINDOW, "dry_run": False}),
    ),
    "POST /v1/tasks/{task_id}/pause": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/pause", {"reason": "a move"}),
    ),
    "POST /v1/tasks/{task_id}/resume": (
        "operator",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/resume", {}),
    ),
    "GET /v1/tasks/{task_id}/why": (
        "viewer",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/why", None),
    ),
    "GET /v1/templates": ("viewer", "whole", lambda f: ("/v1/templates", None)),
    "POST /v1/templates": (
        "operator",
        "body",
        lambda f: ("/v1/templates", _template(f, name="made template")),
    ),
    "GET /v1/templates/{template_id}": (
        "viewer",
        "placed",
        lambda f: (f"/v1/templates/{f.template}", None),
    ),
    "PUT /v1/templates/{template_id}": (
        "operator",
        "placed",
        lambda f: (f"/v1/templates/{f.template}", _template(f, name="put template")),
    ),
    "PATCH /v1/templates/{template_id}": (
        "operator",
        "placed",
        lambda f: (f"/v1/templates/{f.template}", {"timeout_s": 7}),
    ),
    "DELETE /v1/templates/{template_id}": (
        "operator",
        "placed",
        lambda f: (f"/v1/templates/{f.template}", None),
    ),
    "GET /v1/templates/{template_id}/tasks": (
        "viewer",
        "placed",
        lambda f: (f"/v1/templates/{f.template}/tasks", None),
    ),
    "POST /v1/templates/{template_id}/tasks": (
        "operator",
        "placed",
        lambda f: (f"/v1/templates/{f.template}/tasks", {"name": "of a template"}),
    ),
    "GET /v1/stats": ("viewer", "whole", lambda f: ("/v1/stats", None)),
    "GET /v1/tasks/{task_id}/stats": (
        "viewer",
        "placed",
        lambda f: (f"/v1/tasks/{f.task}/stats", None),
    ),
    "POST /v1/import/crontab": (
        "operator",
        "body",
        lambda f: (
            "/v1/import/crontab",
            {
                "text": "1 2 * * * true",
                "server_ids": [f.server],
                "environment": f.environment,
                "dry_run": False,
            },
        ),
    ),
    "POST /v1/schedule/preview": (
        "operator",
        "body",
        lambda f: ("/v1/schedule/preview", {**PREVIEW, "task_id": f.task}),
    ),
    "GET /v1/schedule/upcoming": (
        "viewer",
        "whole",
        lambda f: ("/v1/schedule/upcoming?minutes=1440", None),
    ),
    "GET /v1/calendars": ("viewer", "whole", lambda f: ("/v1/calendars", None)),
    "POST /v1/calendars": (
        "admin",
        "whole",
        lambda f: ("/v1/calendars", {"name": "made", "dates": []}),
    ),
    "GET /v1/calendars/{name}": (
        "viewer",
        "named",
        lambda f: (f"/v1/calendars/{f.calendar}", None),
    ),
    "PUT /v1/calendars/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/calendars/{f.calendar}", {"dates": []}),
    ),
    "DELETE /v1/calendars/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/calendars/{f.calendar}", None),
    ),
    "GET /v1/channels": ("operator", "whole", lambda f: ("/v1/channels", None)),
    "POST /v1/channels": (
        "admin",
        "whole",
        lambda f: ("/v1/channels", {"name": "made", **CHANNEL}),
    ),
    "GET /v1/channels/{name}": (
        "operator",
        "named",
        lambda f: (f"/v1/channels/{f.channel}", None),
    ),
    "PUT /v1/channels/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/channels/{f.channel}", CHANNEL),
    ),
    "DELETE /v1/channels/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/channels/{f.channel}", None),
    ),
    "POST /v1/channels/{name}/test": (
        "admin",
        "named",
        lambda f: (f"/v1/channels/{f.channel}/test", {}),
    ),
    "GET /v1/rules": ("operator", "whole", lambda f: ("/v1/rules", None)),
    "POST /v1/rules": (
        "admin",
        "whole",
        lambda f: ("/v1/rules", {"name": "made", **RULE}),
    ),
    "GET /v1/rules/{name}": (
        "operator",
        "named",
        lambda f: (f"/v1/rules/{f.rule}", None),
    ),
    "PUT /v1/rules/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/rules/{f.rule}", RULE),
    ),
    "DELETE /v1/rules/{name}": (
        "admin",
        "named",
        lambda f: (f"/v1/rules/{f.rule}", None),
    ),
    "GET /v1/freeze": ("viewer", "whole", lambda f: ("/v1/freeze", None)),
    "PUT /v1/freeze": ("admin", "whole", lambda f: ("/v1/freeze", {"reason": "x"})),
    "DELETE /v1/freeze": ("admin", "whole", lambda f: ("/v1/freeze", None)),
    "GET /v1/runs": (
        "viewer",
        "body",
        lambda f: (f"/v1/runs?limit=1&task_id={f.task}", None),
    ),
    "GET /v1/runs/{run_id}": (
        "viewer",
        "placed",
        lambda f: (f"/v1/runs/{f.run}", None),
    ),
    "POST /v1/runs/{run_id}/cancel": (
        "operator",
        "placed",
        lambda f: (f"/v1/runs/{f.open_run}/cancel", {}),
    ),
    "POST /v1/runs/{run_id}/retry": (
        "operator",
        "placed",
        lambda f: (f"/v1/runs/{f.run}/retry", {}),
    ),
    "GET /v1/runs/{run_id}/executions": (
        "viewer",
        "placed",
        lambda f: (f"/v1/runs/{f.run}/executions", None),
    ),
    "GET /v1/runs/{run_id}/executions/{server_id}": (
        "viewer",
        "placed",
        lambda f: (_execution(f), None),
    ),
    "POST /v1/runs/{run_id}/executions/{server_id}/poll": (
        "operator",
        "placed",
        lambda f: (f"{_execution(f)}/poll", {}),
    ),
    "GET /v1/runs/{run_id}/executions/{server_id}/output": (
        "viewer",
        "placed",
        lambda f: (f"{_execution(f)}/output", None),
    ),
}
# Nobody who is limited to an environment does these, or sees these.
STACK_WIDE = {
    route
    for route in ROUTES
    if "/credentials" in route
    or "/channels" in route
    or "/rules" in route
    or route == "GET /v1/stats"
    or "/audit" in route
    or ("/calendars" in route and not route.startswith("GET"))
    or ("/freeze" in route and not route.startswith("GET"))
}
# A thing of a body or a query that is not there.
ABSENT_IN_BODY = {"GET /v1/runs": 200}  # an empty list
FLEETS = {
    "placed": ("own", "foreign", "nowhere", "absent"),
    "body": ("own", "foreign", "nowhere", "absent"),
    "named": ("own", "absent"),
    "whole": ("own",),
}
CELLS = [
    (caller, route, fleet)
    for caller in CALLERS
    for route, (_, about, _) in ROUTES.items()
    for fleet in FLEETS[about]
]


@pytest.fixture(scope="module")
def api(shared_world):
    """The API over the shared world."""
    wiring.services.cache_clear()
    yield Client(handler.handler)
    wiring.services.cache_clear()


def ask(api, caller, method, path, body=None):
    """Ask as a caller; `path` may have a query."""
    where, _, query = path.partition("?")
    claims = {**CLAIMS, "username": caller, "cognito:groups": CALLERS[caller]}
    return api(method, where, body, query=query, claims=claims)


def _made(answer):
    assert answer.status in {201, 202}, answer.body
    return answer.body


@pytest.fixture(scope="module")
def fleets(api, shared_world):
    """Three fleets and none; the own servers are known to the other fleets too."""
    found = {"absent": Fleet(environment=OWN)}
    _made(api("POST", "/v1/calendars", {"name": "holidays", "dates": []}))
    _made(api("POST", "/v1/channels", {"name": "hook", **CHANNEL}))
    _made(api("POST", "/v1/rules", {"name": "nights", **RULE}))
    for noun, environment in (("own", OWN), ("foreign", FOREIGN), ("nowhere", NOWHERE)):
        found[noun] = _fleet(api, shared_world, environment)
    own, nowhere = found["own"], found["nowhere"]
    jump = {"via_server": own.server}
    assert api("PATCH", f"/v1/servers/{found['foreign'].server}", jump).status == 200
    both = {"targets": {"server_ids": [own.server, nowhere.server]}}
    assert api("PATCH", f"/v1/tasks/{nowhere.task}", both).status == 200
    return found


def _fleet(api, world, environment):
    name = f"zq-{environment}"
    place = {"environment": environment}
    for suffix in ("key", "db"):
        body = {"name": f"{name}-{suffix}", "password": "x", **place}
        _made(api("POST", "/v1/credentials", body))
    fleet = Fleet(
        environment=environment,
        credential=f"{name}-key",
        password=f"{name}-db",
        calendar="holidays",
        channel="hook",
        rule="nights",
    )
    body = _server(fleet, name=f"{name} server", host=f"{name}.example.org")
    server_id = _made(api("POST", "/v1/servers", body))["server_id"]
    body = {
        "name": f"{name} task",
        "spec": {"command": f"echo {name}", "secrets": {"PW": fleet.password}},
        "targets": {"server_ids": [server_id]},
        "schedule": {"cron": "30 1 * * *"},
        **place,
    }
    task_id = _made(api("POST", "/v1/tasks", body))["task_id"]
    template = _template(replace(fleet, server=server_id), name=f"{name} template")
    template_id = _made(api("POST", "/v1/templates", template))["template_id"]
    run_id = _ended(api, world, task_id, server_id, environment)
    open_run = _made(api("POST", f"/v1/tasks/{task_id}/run", {}))["run_id"]
    return Fleet(
        environment=environment,
        credential=fleet.credential,
        password=fleet.password,
        server=server_id,
        task=task_id,
        run=run_id,
        open_run=open_run,
        template=template_id,
        calendar="holidays",
        channel="hook",
        rule="nights",
    )


def _ended(api, world, task_id, server_id, environment):
    """Make a run that has ended, with an execution."""
    run_id = _made(api("POST", f"/v1/tasks/{task_id}/run", {}))["run_id"]
    now = world.clock()
    runs.begin(
        run_id,
        task_version=1,
        targets=(server_id,),
        now=now,
        environment=environment,
    )
    claimed = executions.claim(
        run_id,
        server_id,
        owner="x",
        now=now,
        lease_until=now + timedelta(minutes=1),
    )
    outcome = Outcome(state=State.FAILED, reason=f"zq-{environment}")
    executions.finish(claimed, outcome, now=now)
    runs.end(run_id, state=State.FAILED, reason=f"zq-{environment}", now=now)
    return run_id


class Keeper:
    """Knows the state of the world, and brings it back."""

    def __init__(self):
        self._tables = dynamodb_backends[ACCOUNT][REGION].tables
        self._secrets = secretsmanager_backends[ACCOUNT][REGION].secrets
        self._queues = sqs_backends[ACCOUNT][REGION].queues.values()
        self._empty()
        self._rows = {
            name: copy.deepcopy(table.items) for name, table in self._tables.items()
        }
        self._values = copy.deepcopy(dict(self._secrets))
        self.before = self.state()

    def state(self):
        """Return all that a request could change, but for the audit."""
        rows = {
            name: repr(sorted(_plain(table.items)))
            for name, table in self._tables.items()
            if name != f"{PREFIX}audit"
        }
        sent = sum(len(queue._messages) for queue in self._queues)
        return rows, sorted(self._secrets), sent

    def audited(self):
        """Return the entities of the audit."""
        return sorted(key.value for key in self._tables[f"{PREFIX}audit"].items)

    def restore(self):
        for name, table in self._tables.items():
            table.items = copy.deepcopy(self._rows[name])
        self._secrets.clear()
        self._secrets.update(copy.deepcopy(self._values))
        self._empty()

    def _empty(self):
        for queue in self._queues:
            queue._messages.clear()


def _plain(items):
    for item in items.values():
        rows = item.values() if isinstance(item, dict) else [item]
        yield from (json.dumps(row.to_json(), sort_keys=True) for row in rows)


@pytest.fixture(scope="module")
def keeper(fleets):
    """The world as the module's tests find it, without an audit."""
    dynamodb_backends[ACCOUNT][REGION].tables[f"{PREFIX}audit"].items.clear()
    return Keeper()


@pytest.fixture
def kept(keeper):
    """Brings the world back after a test."""
    yield keeper
    keeper.restore()


def expected(caller, route, fleet):
    """Return how a caller is answered: a status, or None for what is let through."""
    needed, about, _ = ROUTES[route]
    if needed == "nobody":
        return None
    role = caller.removesuffix("-of-own")
    is_limited = caller.endswith("-of-own")
    sees_all = not is_limited
    if caller == "viewer-operator-of-own":
        role, sees_all = "operator", True
        # What a viewer may, this caller may everywhere.
        is_limited = needed != "viewer"
    if LEVEL[role] < LEVEL[needed] or (is_limited and route in STACK_WIDE):
        return 403
    if fleet == "absent":
        return 404 if about in {"placed", "named"} else ABSENT_IN_BODY.get(route, 400)
    if is_limited and fleet in {"foreign", "nowhere"}:
        return _outside(route, about, sees_all)
    return None


def _outside(route, about, sees_all):
    if about == "placed":
        return 403 if sees_all else 404
    if route == "GET /v1/runs":
        return 200  # an empty list, see test_lists_show_what_is_yours
    return 400 if route == "POST /v1/schedule/preview" else 403


def test_every_route_is_in_the_table():
    """What the resolver has the table has, and nothing else; so has this test."""
    routes = handler.app._static_routes + handler.app._dynamic_routes
    known = {f"{route.method} {route.openapi_path}" for route in routes}

    assert set(rights.ROUTES) == known
    assert set(ROUTES) == known


def test_every_change_is_in_the_audit():
    """Each route but those that read or only ask to look."""
    changing = {route for route in ROUTES if not route.startswith("GET")}
    looking = {
        "POST /v1/schedule/preview",
        "POST /v1/runs/{run_id}/executions/{server_id}/poll",
    }

    assert set(ledger.CHANGES) == changing - looking


def test_the_matrix_is_large():
    """Every role, every route, every kind of thing."""
    assert len(CELLS) >= 500


def test_a_route_without_an_entry_is_not_there(api, fleets, kept, monkeypatch):
    """Deny by default: what the table forgets nobody reaches, an admin neither."""
    path = f"/v1/tasks/{fleets['own'].task}/why"
    assert ask(api, "admin", "GET", path).status == 200
    forgotten = "GET /v1/tasks/{task_id}/why"
    without = {k: v for k, v in rights.ROUTES.items() if k != forgotten}
    monkeypatch.setattr(rights, "ROUTES", without)

    assert ask(api, "admin", "GET", path).status == 404
    assert ask(api, "admin", "GET", "/v1/servers").status == 200


@pytest.mark.parametrize(
    ("caller", "route", "fleet"), CELLS, ids=[" ".join(cell) for cell in CELLS]
)
def test_cell(api, fleets, kept, caller, route, fleet):
    """Who may is let through; who may not changes nothing, and learns nothing."""
    method = route.partition(" ")[0]
    thing = fleets[fleet]
    path, body = ROUTES[route][2](thing)
    status = expected(caller, route, fleet)

    answer = ask(api, caller, method, path, body)

    if status is None:
        assert answer.status < 300 or answer.status == 409, answer.body
    else:
        assert answer.status == status, answer.body
        assert kept.state() == kept.before
        refusals = [f"login#{caller}"] if status == 403 else []
        assert kept.audited() == refusals
    if caller.endswith("-of-own") and caller != "viewer-operator-of-own":
        _assert_no_leak(answer, fleets, asked=path + json.dumps(body))


def _assert_no_leak(answer, fleets, *, asked):
    text = json.dumps(answer.body)
    token = (answer.body or {}).get("next_token")
    if token:
        text += base64.urlsafe_b64decode(token).decode()
    marks = fleets["foreign"].marks | fleets["nowhere"].marks
    assert not [mark for mark in marks if mark in text and mark not in asked]


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if ROUTES[route][1] in {"placed", "body"}]
)
@pytest.mark.parametrize("caller", ["viewer-of-own", "operator-of-own", "admin-of-own"])
def test_foreign_is_as_absent(api, fleets, kept, caller, route):
    """But for the id that was asked for, both are answered in the same words."""
    if route.startswith("POST /v1/") and ROUTES[route][1] == "body":
        # A body names the environment; within one's own the servers differ.
        own = fleets["own"].environment
        foreign = Fleet(**{**vars(fleets["foreign"]), "environment": own})
    else:
        foreign = fleets["foreign"]
    answers = []
    for thing in (foreign, fleets["absent"]):
        path, body = ROUTES[route][2](thing)
        answer = ask(api, caller, route.partition(" ")[0], path, body)
        text = json.dumps([answer.status, answer.body])
        for mark in ("task", "server", "run", "open_run", "credential", "template"):
            text = text.replace(getattr(thing, mark), mark)
        answers.append(text)
        assert kept.state() == kept.before

    assert answers[0] == answers[1]


@pytest.mark.parametrize("noun", ["servers", "tasks", "runs"])
def test_lists_show_what_is_yours(api, fleets, kept, noun):
    """All of one's own, page by page; nothing of others, and no sign of them."""
    ids, path = [], f"/v1/{noun}?limit=1"
    key = f"{noun[:-1]}_id"
    own = fleets["own"]
    mine = {"servers": [own.server], "tasks": [own.task]}
    mine["runs"] = [own.open_run, own.run]
    token = ""
    while token is not None:
        answer = ask(api, "viewer-of-own", "GET", path + token)
        _assert_no_leak(answer, fleets, asked="")
        ids += [one[key] for one in answer.body["items"]]
        following = answer.body["next_token"]
        token = f"&next_token={following}" if following else None

    assert ids == mine[noun]


def test_runs_of_a_foreign_task_are_none(api, fleets, kept):
    """As of a task that is not there."""
    path = f"/v1/runs?task_id={fleets['foreign'].task}"

    assert ask(api, "viewer-of-own", "GET", path).body["items"] == []
    assert len(ask(api, "viewer", "GET", path).body["items"]) == 2


def test_upcoming_is_yours(api, fleets, kept):
    """The slots and the load of one's own tasks."""
    path = "/v1/schedule/upcoming?minutes=1440"

    mine = ask(api, "viewer-of-own", "GET", path).body
    everything = ask(api, "viewer", "GET", path).body

    assert {slot["task_id"] for slot in mine["slots"]} == {fleets["own"].task}
    assert [one["starts"] for one in mine["load"]] == [1]
    assert [one["starts"] for one in everything["load"]] == [3]


WAYS_OUT = {
    "task-to-another-environment": (
        "PATCH /v1/tasks/{own.task}",
        {"environment": FOREIGN},
        403,
        "environment",
    ),
    "task-to-none": (
        "PATCH /v1/tasks/{own.task}",
        {"environment": None},
        403,
        "environment",
    ),
    "task-on-a-server-of-others": (
        "PATCH /v1/tasks/{own.task}",
        {"targets": {"server_ids": ["{foreign.server}"]}},
        400,
        "targets.server_ids.0",
    ),
    "task-on-a-server-of-none": (
        "PATCH /v1/tasks/{own.task}",
        {"targets": {"server_ids": ["{nowhere.server}"]}},
        400,
        "targets.server_ids.0",
    ),
    "task-selecting-others": (
        "PATCH /v1/tasks/{own.task}",
        {"targets": {"server_ids": None, "selector": {"environment": FOREIGN}}},
        400,
        "targets.selector.environment",
    ),
    "task-with-a-secret-of-others": (
        "PATCH /v1/tasks/{own.task}",
        {"spec": {"secrets": {"PW": "{foreign.password}"}}},
        400,
        "spec.secrets.PW",
    ),
    "task-with-a-secret-of-none": (
        "PATCH /v1/tasks/{own.task}",
        {"spec": {"secrets": {"PW": "{nowhere.password}"}}},
        400,
        "spec.secrets.PW",
    ),
    "run-on-servers-of-others": (
        "POST /v1/tasks/{own.task}/run",
        {"targets": {"server_ids": ["{foreign.server}"]}},
        400,
        "targets.server_ids.0",
    ),
    "run-selecting-others": (
        "POST /v1/tasks/{own.task}/run",
        {"targets": {"selector": {"environment": FOREIGN}}},
        400,
        "targets.selector.environment",
    ),
    "import-on-servers-of-others": (
        "POST /v1/import/crontab",
        {
            "text": "1 2 * * * true",
            "server_ids": ["{foreign.server}"],
            "environment": OWN,
        },
        400,
        "server_ids.0",
    ),
    "import-to-none": (
        "POST /v1/import/crontab",
        {"text": "1 2 * * * true", "server_ids": ["{own.server}"]},
        403,
        "environment",
    ),
    "server-to-another-environment": (
        "PATCH /v1/servers/{own.server}",
        {"environment": FOREIGN},
        403,
        "environment",
    ),
    "server-with-a-key-of-others": (
        "PATCH /v1/servers/{own.server}",
        {"credential": "{foreign.credential}"},
        400,
        "credential",
    ),
    "server-with-a-key-of-none": (
        "PATCH /v1/servers/{own.server}",
        {"credential": "{nowhere.credential}"},
        400,
        "credential",
    ),
    "server-through-one-of-others": (
        "PATCH /v1/servers/{own.server}",
        {"via_server": "{foreign.server}"},
        400,
        "via_server",
    ),
}


@pytest.mark.parametrize("name", WAYS_OUT)
def test_there_is_no_way_out(api, fleets, kept, name):
    """An admin of one environment cannot reach into another by what a body names."""
    route, body, status, field = WAYS_OUT[name]
    method, path = route.format(**fleets).split()
    sent = json.loads(_filled(json.dumps(body), fleets))

    answer = ask(api, "admin-of-own", method, path, sent)

    assert answer.status == status, answer.body
    assert [one["field"] for one in answer.body["errors"]] == [field]
    _assert_no_leak(answer, fleets, asked=json.dumps(sent))
    assert kept.state() == kept.before


def _filled(text, fleets):
    for noun in ("own", "foreign", "nowhere"):
        for field in ("server", "password", "credential"):
            value = getattr(fleets[noun], field)
            text = text.replace(f"{{{noun}.{field}}}", value)
    return text


def test_an_object_key_is_in_ones_own_folder(api, fleets, kept):
    """The bucket of transfers is everybody's: a limited role has a folder of it."""
    own = fleets["own"]
    spec = {"direction": "upload", "path": "/tmp/x", "object_key": "prod/dump"}
    body = _task(own, kind="file_transfer", spec=spec)

    answer = ask(api, "operator-of-own", "POST", "/v1/tasks", body)

    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == "spec.object_key"
    assert "begin with 'staging/'" in answer.body["detail"]


@pytest.mark.parametrize(
    ("caller", "roles", "environments"),
    [
        ("nobody", [], []),
        ("admin", ["admin"], None),
        ("operator-of-own", ["operator:staging"], ["staging"]),
        ("viewer-operator-of-own", ["operator:staging", "viewer"], None),
    ],
)
def test_me(api, kept, caller, roles, environments):
    """Who somebody is to us, also if that is nobody."""
    answer = ask(api, caller, "GET", "/v1/me")

    assert answer.status == 200
    assert (answer.body["name"], answer.body["subject"]) == (caller, "0000")
    assert answer.body["roles"] == roles
    assert answer.body["environments"] == environments
    assert ("tasks.read" in answer.body["actions"]) == (caller != "nobody")
    assert ("audit.read" in answer.body["actions"]) == (caller == "admin")


def test_a_credential_is_for_its_environment(api, fleets, kept):
    """Not even an admin gives a secret of one environment to another one's task."""
    own, foreign = fleets["own"], fleets["foreign"]
    spec = {"command": "true", "secrets": {"PW": foreign.password}}

    answer = ask(api, "admin", "POST", "/v1/tasks", _task(own, spec=spec))

    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == "spec.secrets.PW"


def test_what_forbids_a_removal_names_no_others(api, fleets, kept):
    """A server that others use stays; who they are is not told."""
    own, nowhere = fleets["own"], fleets["nowhere"]
    template = _template(replace(nowhere, server=own.server), name="of nowhere")
    other = _made(ask(api, "admin", "POST", "/v1/templates", template))
    told = []

    for user in (
        f"tasks/{own.task}",
        f"tasks/{nowhere.task}",
        f"templates/{own.template}",
        f"templates/{other['template_id']}",
        None,
    ):
        answer = ask(api, "admin-of-own", "DELETE", f"/v1/servers/{own.server}")
        assert answer.status == 409
        told.append(answer.body["detail"])
        if user:
            assert ask(api, "admin", "DELETE", f"/v1/{user}").status == 204

    assert told == [
        f"server zq-{OWN} server {why}"
        for why in (
            f"is named by task zq-{OWN} task, template zq-{OWN} template, and more",
            f"is named by template zq-{OWN} template, and more",
            f"is named by template zq-{OWN} template, and more",
            "is named by a template",
            "is the jump host of others",
        )
    ]


# DynamoDB refuses to look for a key of more than 2048 bytes, or 1024 of its second
# part; what is refused is an error of ours.
TOO_LONG = "é" * 1025


@pytest.mark.parametrize(
    ("caller", "route"),
    [
        (caller, route)
        for caller in ("admin", "admin-of-own")
        for route in ROUTES
        if "{" in route and (caller == "admin" or route not in STACK_WIDE)
    ],
)
def test_what_no_name_can_be_is_not_there(api, fleets, kept, caller, route):
    """However long it is, whoever asks."""
    method, path = route.split(" ")
    _, body = ROUTES[route][2](fleets["own"])

    answer = ask(api, caller, method, re.sub(r"{\w+}", TOO_LONG, path), body)

    assert answer.status == 404, answer.body


@pytest.mark.parametrize(
    ("route", "changes", "field"),
    [
        ("POST /v1/servers", {"via_server": TOO_LONG}, "via_server"),
        ("POST /v1/import/crontab", {"server_ids": [TOO_LONG]}, "server_ids.0"),
        (
            "POST /v1/tasks",
            {"parameters": [{"name": "A", "type": "server", "default": "€" * 1000}]},
            "parameters.0.default",
        ),
        (
            "POST /v1/tasks",
            {"parameters": [{"name": "A", "type": "secret", "default": "€" * 1000}]},
            "parameters.0.default",
        ),
        (
            "POST /v1/tasks",
            {"parameters": [{"name": "A", "type": "server", "default": "\ud800"}]},
            "parameters.0.default",
        ),
    ],
)
def test_what_no_name_can_be_is_a_fault_of_the_body(
    api, fleets, kept, route, changes, field
):
    """Named by its field."""
    method, path = route.split(" ")
    _, body = ROUTES[route][2](fleets["own"])

    answer = ask(api, "admin", method, path, {**body, **changes})

    assert answer.status == 400, answer.body
    assert answer.body["errors"][0]["field"] == field


LISTS = {
    "audit": f"audit {json.dumps([None] * 4)}",
    "runs": f"runs {json.dumps([None] * 8)}",
    "tasks": f"tasks {json.dumps([None] * 8)}",
    **{
        noun: noun
        for noun in (
            "calendars",
            "channels",
            "credentials",
            "rules",
            "servers",
            "templates",
        )
    },
}


@pytest.mark.parametrize("key", ["\ud800", "é", "x", "x" * 700, "9" * 26, "\x00"])
@pytest.mark.parametrize("noun", sorted(LISTS))
def test_a_token_that_was_made_up_is_refused_or_ends_the_list(api, noun, key):
    """Whatever it says."""
    plain = json.dumps([request.list_id(LISTS[noun]), key])
    token = base64.urlsafe_b64encode(plain.encode()).decode()

    answer = ask(api, "admin", "GET", f"/v1/{noun}?next_token={token}")

    assert answer.status in {200, 400}, answer.body
    if answer.status == 400:
        (error,) = answer.body["errors"]
        assert error == {"field": "next_token", "message": "it is none of ours"}
