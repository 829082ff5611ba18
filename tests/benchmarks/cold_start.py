"""Cold starts: fresh interpreters, from the first import to the first answer.

Each sample is a process of its own; the samples of a round are interleaved, so
that the machine's noise meets all of them. What is compared is a ratio within
this run: a handler against boto3 with the clients the handler uses.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROUNDS = 11
ROOT = Path(__file__).parents[2]

_CLIENTS = {
    "dispatcher": ("dynamodb", "sqs"),
    "executor": ("dynamodb", "sqs", "secretsmanager", "s3"),
    "api": ("dynamodb", "sqs", "secretsmanager", "s3"),
}
_BUILD = {
    "dispatcher": "from dispatcher import handler as h; h._dispatcher()",
    "executor": "from executor import handler as h; h._executor()",
    "api": "from api import handler as h, wiring; wiring.services()",
}
_CONTEXT = (
    "from types import SimpleNamespace as N; "
    "c = N(get_remaining_time_in_millis=lambda: 60000, aws_request_id='1', "
    "function_name='f', memory_limit_in_mb=1, invoked_function_arn='a'); "
)
_CALL = {
    "dispatcher": "assert h.handler({}, c)['complete']",
    "executor": (
        "assert h.handler({'run_id': '01J00000000000000000000000'}, c)['error']"
    ),
    "api": (
        "e = {'version': '2.0', 'rawPath': '/v1/tasks', 'rawQueryString': '', "
        "'headers': {}, 'requestContext': {'http': {'method': 'GET', "
        "'path': '/v1/tasks'}, 'stage': '$default', 'authorizer': {'jwt': "
        "{'claims': {'token_use': 'access', 'exp': '1', 'sub': 'x', "
        "'cognito:groups': '[viewer]'}}}}}; "
        "assert h.handler(e, c)['statusCode'] == 200"
    ),
}


class _Nothing(BaseHTTPRequestHandler):
    """DynamoDB with empty tables."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"Items": [], "Count": 0, "ScannedCount": 0, "Responses": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    """Print medians in milliseconds, and the ratios."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "functions"),
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "CRONHOP_TABLE_PREFIX": "bench-",
        "CRONHOP_QUEUE_URL": "http://127.0.0.1/queue",
        "CRONHOP_BUCKET": "bench",
        "CRONHOP_SECRET_PREFIX": "bench/",
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }
    programs = {}
    for name, clients in _CLIENTS.items():
        boto3 = "import boto3; " + "; ".join(
            f"boto3.client({client!r})" for client in clients
        )
        if name == "executor":
            boto3 += "; import paramiko"
        programs[name, "boto3"] = boto3
        programs[name, "import"] = _BUILD[name]
        programs[name, "first answer"] = f"{_CONTEXT}{_BUILD[name]}; {_CALL[name]}"
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in programs}
    for number in range(ROUNDS + 1):
        for key, program in programs.items():
            took = _sample(program, env)
            if number:  # the first round only fills the caches
                samples[key].append(took)
    server.shutdown()
    _print(samples)


def _sample(program: str, env: dict[str, str]) -> float:
    code = (
        "import time; t = time.perf_counter(); "
        f"{program}; print((time.perf_counter() - t) * 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.splitlines()[-1])


def _print(samples: dict[tuple[str, str], list[float]]) -> None:
    goals = {"dispatcher": 1.3, "executor": 1.3, "api": 2.0}
    print(
        f"cold start, median of {ROUNDS} processes each, CPython {sys.version.split()[0]}"
    )
    for name, goal in goals.items():
        base = statistics.median(samples[name, "boto3"])
        ready = statistics.median(samples[name, "import"])
        first = statistics.median(samples[name, "first answer"])
        extra = " + paramiko" if name == "executor" else ""
        print(
            f"  {name:10}  boto3 and its {len(_CLIENTS[name])} clients{extra} "
            f"{base:.0f} ms, handler ready {ready:.0f} ms "
            f"({ready / base:.2f} x, goal {goal} x), "
            f"first answer {first:.0f} ms ({first / base:.2f} x)"
        )


if __name__ == "__main__":
    main()
