"""A program: moto as a server, for tests with several processes.

Prints its port; ends with its stdin.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log(self, *args):
        pass


def one_at_a_time(app):
    """Return the application with a lock: moto checks a condition, then writes."""
    lock = threading.Lock()

    def call(environ, start_response):
        with lock:
            return [b"".join(app(environ, start_response))]

    return call


def main():
    app = one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
