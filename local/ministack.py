"""ministack: AWS as far as cronhop needs it, as one process on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from local.process import Background
from local.progress import Failed, step, tail
from local.tools import tool

START_S = 60  # seconds until it must answer
REGION = "us-east-1"
# Whoever names an account is its root: AUTH tests our roles, it keeps nobody out.
ACCESS_KEY = "000000000000"

# What the workers may know of this machine. They inherit ministack's environment,
# and would pass here with what on AWS is not there.
KEPT = (
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HOME",
    "LANG",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)


class Ministack:
    """One ministack, with all it writes in one folder."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._process = Background(
            name="ministack",
            pid_file=directory / "ministack.pid",
            log=directory / "log" / "ministack.log",
        )

    @property
    def log(self) -> Path:
        """What it has printed since its start."""
        return self._process.log

    @property
    def pid(self) -> int | None:
        """Its process, or None if it is not running."""
        return self._process.pid()

    def is_running(self) -> bool:
        """Return whether it is there."""
        return self._process.is_running()

    def start(self) -> bool:
        """Start it and wait until it answers. Return whether it was not there yet.

        Raises Failed if its port is taken, or it does not answer.
        """
        if self.is_running():
            return False
        program = tool("ministack")
        if _is_taken(self.port):
            raise Failed(
                f"Port {self.port} is taken. Choose another before the first start, "
                "or after `make reset`: CRONHOP_PORT=4567 make run"
            )
        with step("Starting ministack"):
            self._clean()
            self._forget_streams()
            self._process.start(
                [program],
                env=self._environment(),
                cwd=self._directory,
                umask=0o077,  # it keeps secrets in the clear
            )
            self._wait()
        return True

    def stop(self) -> None:
        """End it so that it saves its state, which it does only now."""
        with step("Stopping ministack"):
            self._process.stop()
            self._clean()

    def _environment(self) -> dict[str, str]:
        for name in ("state", "s3", "tmp"):
            (self._directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "S3_DATA_DIR": str(self._directory / "s3"),
            "S3_PERSIST": "1",
            "SFTP_ENABLED": "0",
            "STATE_DIR": str(self._directory / "state"),
            "TMPDIR": str(self._directory / "tmp"),
        }

    def _forget_streams(self) -> None:
        """Let the tables' streams be followed from their beginning.

        It keeps how far they were followed, but not the streams: these begin anew,
        and nothing of them would be handed over until they are as long again.
        """
        kept = self._directory / "state" / "lambda.json"
        if kept.exists():
            state = json.loads(kept.read_text())
            state["payload"]["dynamodb_stream_positions"]["data"] = {}
            kept.write_text(json.dumps(state))

    def _clean(self) -> None:
        """Remove the layers that its workers have unpacked and left."""
        shutil.rmtree(self._directory / "tmp", ignore_errors=True)

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.is_running():
            try:
                with urlopen(f"{self.url}/_ministack/health", timeout=2):  # noqa: S310
                    return
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(0.05)
        raise Failed(f"ministack does not answer.\n{tail(self.log)}")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
