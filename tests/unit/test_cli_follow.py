"""What is shown of a run's output, beside what the API's tests show."""

import base64
import sys

import pytest

from cronhop_cli.follow import Follower

ENDED = {"state": "completed", "reason": None, "target_count": 1}


class Api:
    """Has a run on one server that wrote this."""

    def __init__(self, stdout):
        self._stdout = stdout

    def get(self, path, *, stream=None, **query):
        data = self._stdout if stream == "stdout" else b""
        if stream is None:
            execution = {"server_id": "s", "attempt": 1, "state": "completed"}
            return {**ENDED, "executions": [execution]}
        return {
            "data": base64.b64encode(data).decode(),
            "offset": 0,
            "next_offset": len(data),
            "total_bytes": len(data),
            "complete": True,
        }


@pytest.mark.parametrize(
    ("written", "on_terminal", "shown"),
    [
        (b"whole\n", True, "whole\n"),
        (b"begun", True, "begun\n"),
        (b"begun", False, "begun"),
        (b"", True, ""),
    ],
)
def test_a_line_that_was_begun_is_ended(
    capsys, monkeypatch, written, on_terminal, shown
):
    """For those who read it; a file has what was written."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)
    follower = Follower(Api(written), "run")

    follower.follow()
    follower.finish()

    assert capsys.readouterr().out == shown
