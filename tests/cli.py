"""The command line, run in this process against any API."""

import json
from types import SimpleNamespace

import httpx
from typer.testing import CliRunner

from cronhop_cli.main import app
from cronhop_cli.session import Session

URL = "https://api.example"


class Cronhop:
    """Runs `cronhop` with an environment and a transport of its own.

    It does not wait: each pause is a call of `pause`.
    """

    def __init__(self, transport, folder, *, pause=None, **environ):
        self.transport = transport
        self.environ = {"CRONHOP_CONFIG_DIR": str(folder), **environ}
        self._pause = pause or (lambda seconds: None)

    def __call__(self, *args, stdin=None):
        session = Session(
            environ=self.environ, transport=self.transport, sleep=self._pause
        )
        result = CliRunner().invoke(app, args, obj=session, input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(
            code=result.exit_code,
            out=result.stdout,
            err=result.stderr,
            bytes=result.stdout_bytes,
        )

    def json(self, *args, code=0, **kwargs):
        """Return the document that a command prints with --json."""
        done = self(*args, "--json", **kwargs)
        assert done.code == code, done.err
        return json.loads(done.out)


class Handler(httpx.BaseTransport):
    """The API's own handler, as a place where httpx sends requests."""

    def __init__(self, call):
        self.call = call

    def handle_request(self, request):
        query = request.url.params.multi_items()
        answer = self.call(
            request.method,
            request.url.path,
            raw=request.read().decode() or None,
            query="&".join(f"{name}={value}" for name, value in query),
            headers=dict(request.headers),
        )
        return httpx.Response(answer.status, headers=answer.headers, json=answer.body)
