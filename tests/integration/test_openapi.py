"""The API against its own OpenAPI document, by schemathesis."""

import json
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from api import handler, openapi, wiring
from cronhop.services import plan, servers, tasks, templates
from cronhop.store import executions, runs
from tests.integration.test_api import CLAIMS, CONTEXT, Client

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
SEED = 1
# Whom the gateway knows: one who may do all, and one who may see nothing of that.
CALLERS = {
    "ada": CLAIMS,
    "eve": CLAIMS
    | {"sub": "0001", "username": "eve", "cognito:groups": "[operator:elsewhere]"},
}
# What the document's examples name: what a POST makes it of, and its id.
NAMED = {
    f"/v1/servers/{openapi.SERVER_ID}": (openapi.SERVER, servers),
    f"/v1/tasks/{openapi.TASK_ID}": (openapi.TASK, tasks),
    f"/v1/templates/{openapi.TEMPLATE_ID}": (openapi.TEMPLATE, templates),
    "/v1/calendars/ops": ({"name": "ops", "dates": []}, None),
    "/v1/channels/ops": ({"name": "ops", **openapi.CHANNEL}, None),
    "/v1/rules/ops": ({"name": "ops", **openapi.RULE}, None),
    "/v1/credentials/ops": ({"name": "ops", "password": "x1"}, None),
}


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log(self, *args):
        pass


class Gateway:
    """Asks the handler as API Gateway does, which refuses other tokens itself.

    Each request is the first of its key, as they all have the example's. What the
    examples name is there once: if it is to be `kept`, a removal is undone.
    """

    def __init__(self, world, *, kept):
        self._world = world
        self._kept = kept
        self._api = Client(handler.handler)
        self._call("/v1/credentials", {"name": "ops-key", "password": "x1"})
        for path in NAMED:
            self._make(path)
        self._call(f"/v1/tasks/{openapi.TASK_ID}/run", {}, plan, openapi.RUN_ID)
        now = wiring.now()
        server_ids = (openapi.SERVER_ID,)
        runs.begin(openapi.RUN_ID, task_version=1, targets=server_ids, now=now)
        executions.claim(
            openapi.RUN_ID,
            openapi.SERVER_ID,
            owner="x",
            now=now,
            lease_until=now + timedelta(days=1),
        )

    def _make(self, path):
        body, module = NAMED[path]
        many, _, key = path.rpartition("/")
        self._call(
            many, {**body, "name": f"the {key}"} if module else body, module, key
        )

    def _call(self, path, body, module=None, key=None):
        with pytest.MonkeyPatch.context() as patch:
            if module:
                patch.setattr(module, "new_id", lambda now: key)
            answer = self._api("POST", path, body)
        assert answer.status < 300, answer.body

    def __call__(self, environ, start_response):
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request):
        caller = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if caller not in CALLERS and request.path not in handler.OPEN_PATHS:
            return Response(
                '{"message":"Unauthorized"}', 401, mimetype="application/json"
            )
        event = {
            "version": "2.0",
            "rawPath": request.path,
            "rawQueryString": request.query_string.decode("latin-1"),
            "queryStringParameters": {
                name: ",".join(values) for name, values in request.args.lists()
            },
            "headers": {name.lower(): value for name, value in request.headers},
            "requestContext": {
                "http": {"method": request.method, "path": request.path},
                "stage": "$default",
                "requestId": "1",
                "authorizer": {"jwt": {"claims": CALLERS.get(caller), "scopes": None}},
            },
            "body": request.get_data().decode(errors="surrogateescape") or None,
            "isBase64Encoded": False,
        }
        answer = handler.handler(event, CONTEXT)
        if request.method == "POST":
            self._world.empty("requests")
        if self._kept and (request.method, answer["statusCode"]) == ("DELETE", 204):
            self._bring_back(request.path)
        headers = dict(answer.get("headers") or {})
        for name, values in (answer.get("multiValueHeaders") or {}).items():
            headers[name] = ",".join(values)
        return Response(answer.get("body") or "", answer["statusCode"], headers)

    def _bring_back(self, path):
        if path.startswith("/v1/tasks/"):
            self._call(f"{path}/restore", None)
        elif path in NAMED:
            self._make(path)


@pytest.fixture
def serve(world):
    """The API over the world's tables, at the URL that is returned."""
    wiring.services.cache_clear()
    served = []

    def start(**how):
        gateway = Gateway(world, **how)
        server = make_server("127.0.0.1", 0, gateway, request_handler=Quiet)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        served.append((server, thread))
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server, thread in served:
        server.shutdown()
        thread.join()
        server.server_close()
    wiring.services.cache_clear()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("phases", "tries", "kept"),
    [("examples,coverage", 1, True), ("fuzzing", 5, True), ("stateful", 60, False)],
)
def test_the_api_is_what_its_document_says(serve, tmp_path, phases, tries, kept):
    """By every check, in every phase; nothing that is sent is an error of ours."""
    callers = [
        {
            "name": name,
            "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {name}"}],
        }
        for name in CALLERS
    ]
    (tmp_path / "callers.json").write_text(json.dumps({"auth": callers}))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG),
            *("run", f"{serve(kept=kept)}/v1/openapi.json", "--checks=all"),
            *("--phases", phases, "--max-examples", str(tries), "--seed", str(SEED)),
            *("--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    # A body of what does not fit is a quarter of a megabyte.
    said = "\n".join(line[:2000] for line in done.stdout.splitlines())
    assert done.returncode == 0, said + done.stderr
