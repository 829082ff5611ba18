"""The command line, where answers of the API are lost on their way."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from api import handler
from tests.cli import Cronhop
from tests.integration.test_api import Client


@contextmanager
def losing(count, *, dry_run=False):
    """Serve the API on loopback and yield its URL and what was asked.

    That many answers to changes are lost: the connection ends when the change is made.
    With `dry_run` they are those to dry runs instead.
    """
    call, asked, left = Client(handler.handler), [], [count]

    class Gateway(BaseHTTPRequestHandler):
        def handle_any(self):
            length = int(self.headers.get("Content-Length", 0))
            path, _, query = self.path.partition("?")
            answer = call(
                self.command,
                path,
                raw=self.rfile.read(length).decode() or None,
                query=query,
                headers={name.lower(): value for name, value in self.headers.items()},
            )
            if self.command != "GET" and ("dry_run" in query) == dry_run:
                asked.append((self.command, answer.status))
                if left[0] > 0:
                    left[0] -= 1
                    return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if answer.body is not None:
                self.wfile.write(json.dumps(answer.body).encode())

        def __getattr__(self, name):
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def over(cronhop):
    """Makes the program that talks to another URL."""

    def over(url):
        environ = {**cronhop.environ, "CRONHOP_URL": url}
        return Cronhop(None, environ.pop("CRONHOP_CONFIG_DIR"), **environ)

    return over


CREATE = ("tasks", "create", "dump", "--server", "web-1", "--command", "true")


@pytest.fixture
def web(world):
    """A server that nobody will visit."""
    return world.add_server(name="web-1")


def test_one_task_although_the_answer_was_lost(cronhop, over, web):
    """It asks again by the same key, and is shown the task that is there."""
    with losing(2) as (url, asked):
        made = over(url).json(*CREATE)

    assert asked == [("POST", 201)] * 3
    (task,) = cronhop.json("tasks", "list")["items"]
    assert task["task_id"] == made["task_id"]


def test_one_run_although_the_answer_was_lost(cronhop, over, web):
    """A second run would do everything twice."""
    cronhop.json(*CREATE)

    with losing(1) as (url, _):
        run_id = over(url)("run", "dump").out.strip()

    (run,) = cronhop.json("runs", "list")["items"]
    assert run["run_id"] == run_id


def test_it_is_not_known(cronhop, over, web):
    """Who is never answered is told what may be, and there is still one task."""
    with losing(99) as (url, asked):
        done = over(url)(*CREATE)

    assert (done.code, done.out) == (1, "")
    assert "error: it is not known whether that was done: http://127" in done.err
    assert "hint: look at what is there before you ask for it again" in done.err
    assert len(asked) == 5
    assert len(cronhop.json("tasks", "list")["items"]) == 1


def test_a_task_is_removed_although_the_answer_was_lost(cronhop, over, web):
    """That it is gone by the second try is what was wanted."""
    cronhop.json(*CREATE)

    with losing(1) as (url, asked):
        done = over(url)("tasks", "delete", "dump", "--yes")

    assert (done.code, done.out) == (0, "Deleted dump.\n")
    assert asked == [("DELETE", 204), ("DELETE", 404)]


def test_an_edit_whose_answer_was_lost(cronhop, over, web, tmp_path):
    """Another version is there by then, and who looks sees that it is one's own."""
    made = cronhop.json(*CREATE)
    path = tmp_path / "tasks.yaml"
    path.write_text(
        'version: 1\ntasks: [{name: dump, spec: {command: "false"},'
        " targets: {servers: [web-1]}}]\n"
    )

    with losing(1) as (url, asked):
        done = over(url)("apply", str(path), "--yes")

    assert (done.code, asked) == (1, [("PUT", 200), ("PUT", 412)])
    assert "an earlier try had no answer: it may have been done by it" in done.err
    task = cronhop.json("tasks", "show", "dump")
    assert (task["version"], task["spec"]["command"]) == (made["version"] + 1, "false")
    again = cronhop("apply", str(path), "--yes")
    assert again.out == "0 to create, 0 to change, 1 as they are.\n"


NEW = """
version: 1
tasks: [{name: dump, spec: {command: "true"}, targets: {servers: [web-1]}}]
"""


@pytest.fixture
def new(tmp_path):
    """A file with a task that is not there yet."""
    path = tmp_path / "tasks.yaml"
    path.write_text(NEW)
    return str(path)


def test_a_plan_although_an_answer_was_lost(over, web, new):
    """What only looks is asked again, and nothing is in doubt."""
    with losing(2, dry_run=True) as (url, asked):
        done = over(url)("plan", new)

    assert (done.code, done.err) == (0, "")
    assert asked == [("POST", 204)] * 3


def test_a_plan_that_is_never_answered(over, web, new):
    """It says so, and nothing of what may have been done: a plan does nothing."""
    with losing(99, dry_run=True) as (url, _):
        done = over(url)("plan", new)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: http://127.0.0.1")
    assert "was done" not in done.err
    assert "look at what is there" not in done.err


@pytest.fixture
def dry_runs(cronhop):
    """Makes dry runs answer by (status, problem), one after the other."""
    handle, answers = cronhop.transport.handle_request, []

    def answering(request):
        if "dry_run" in request.url.params:
            status, problem = answers.pop(0)
            return httpx.Response(status, json=problem)
        return handle(request)

    cronhop.transport.handle_request = answering
    return answers.extend


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_plan_that_the_api_cannot_check(cronhop, web, new, dry_runs, status):
    """What ails the service is no fault of the file."""
    dry_runs([(status, {"title": "Sorry", "detail": "not now"})] * 5)

    done = cronhop("plan", new)

    assert (done.code, done.out) == (1, "")
    error, hint = done.err.splitlines()
    assert error == "error: Sorry: not now"
    assert hint.startswith("hint: ")


def test_a_plan_that_is_refused_after_a_lost_answer(cronhop, web, new, dry_runs):
    """The API's reason is told, and stands with the line of the task."""
    taken = {"title": "Conflict", "detail": "the name is taken"}
    dry_runs([(502, {"message": "Bad Gateway"}), (409, taken)])

    done = cronhop("plan", new)

    assert done.code == 1
    assert done.err.endswith("tasks.yaml:3: dump: Conflict: the name is taken\n")
    assert "may have been done" not in done.err
