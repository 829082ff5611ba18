"""The API against its own OpenAPI document, by schemathesis."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from api import handler, openapi, wiring
from cronhop.services import servers, tasks, templates
from tests.integration.conftest import world  # noqa: F401  a fixture
from tests.integration.test_api import CLAIMS, CONTEXT, Client

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
TOKEN = "t"
EXAMPLES = 3  # of each route and kind of data


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log(self, *args):
        pass


@Request.application
def gateway(request):
    """Ask the handler as API Gateway does, which refuses other tokens itself."""
    is_ours = request.headers.get("Authorization") == f"Bearer {TOKEN}"
    if not is_ours and request.path not in handler.OPEN_PATHS:
        return Response('{"message":"Unauthorized"}', 401, mimetype="application/json")
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
            "authorizer": {"jwt": {"claims": CLAIMS, "scopes": None}},
        },
        "body": request.get_data().decode(errors="surrogateescape") or None,
        "isBase64Encoded": False,
    }
    answer = handler.handler(event, CONTEXT)
    headers = dict(answer.get("headers") or {})
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers[name] = ",".join(values)
    return Response(answer.get("body") or "", answer["statusCode"], headers)


@pytest.fixture
def url(world, monkeypatch):  # noqa: F811
    """The API over the world's tables, with what the document's examples name."""
    wiring.services.cache_clear()
    api = Client(handler.handler)

    def make(path, body, module=None, key=None):
        with monkeypatch.context() as patch:
            if module:
                patch.setattr(module, "new_id", lambda now: key)
            answer = api("POST", path, body)
        assert answer.status < 300, answer.body

    for name in ("ops-key", "ops"):
        make("/v1/credentials", {"name": name, "password": "x1"})
    make("/v1/servers", openapi.SERVER, servers, openapi.SERVER_ID)
    make("/v1/tasks", openapi.TASK, tasks, openapi.TASK_ID)
    make("/v1/templates", openapi.TEMPLATE, templates, openapi.TEMPLATE_ID)
    make(f"/v1/tasks/{openapi.TASK_ID}/run", {}, tasks, openapi.RUN_ID)
    make("/v1/calendars", {"name": "ops", "dates": []})
    make("/v1/channels", {"name": "ops", **openapi.CHANNEL})
    make("/v1/rules", {"name": "ops", **openapi.RULE})
    server = make_server("127.0.0.1", 0, gateway, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
    wiring.services.cache_clear()


@pytest.mark.timeout(1200)
def test_the_api_is_what_its_document_says(url, tmp_path):
    """By every check, in every phase; nothing that is sent is an error of ours."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG),
            *("run", f"{url}/v1/openapi.json", "--checks=all"),
            "--phases=examples,coverage,fuzzing,stateful",
            *("--header", f"Authorization: Bearer {TOKEN}"),
            *("--max-examples", str(EXAMPLES), "--generation-deterministic"),
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
