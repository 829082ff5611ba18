"""The output of a run, as it comes, and what its end means for a script."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .api import Api
from .errors import Refused, Unreachable, Usage
from .terminal import VisibleStream, note, visible

TERMINAL = frozenset(
    {"completed", "failed", "timeout", "cancelled", "skipped", "missed", "lost"}
)
STREAMS = ("stdout", "stderr")
FOLLOWED = 100  # servers of a run whose output is shown while it comes
PAGE_BYTES = 256 * 1024
LOOK_EVERY_S = 1.0
POLL_EVERY_S = 5.0  # the API lets nobody ask for a visit more often
PATIENCE_S = 120.0  # for output of an ended run that is still on its way

# What a run that is followed ends the command with, where it is no command's code.
EXIT_CODES = {
    "failed": 125,
    "timeout": 124,
    "missed": 123,
    "skipped": 122,
    "lost": 121,
    "cancelled": 120,
}


def exit_code(run: Mapping[str, Any], executions: list[dict[str, Any]]) -> int:
    """Return what an ended run means to a shell.

    0: it is completed. The highest code of its commands: it failed and they have
    one. Else the number of its state in `EXIT_CODES`.
    """
    if run["state"] == "completed":
        return 0
    codes = [one["exit_code"] for one in executions if one["exit_code"]]
    if run["state"] == "failed" and codes:
        return int(max(codes))
    return EXIT_CODES[run["state"]]


@dataclass
class _Cursor:
    """How far a stream of an execution was read."""

    attempt: int
    offset: int = 0
    complete: bool = False
    shown: VisibleStream = field(default_factory=VisibleStream)
    line: str = ""  # begun, where lines have their server's name before them


class Follower:
    """Shows the output of a run: of all of its servers, or of some.

    With several, each line has its server's name before it.
    """

    def __init__(
        self,
        api: Api,
        run_id: str,
        *,
        streams: tuple[str, ...] = STREAMS,
        server_id: str | None = None,
        attempt: int | None = None,
        raw: bool = False,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._api = api
        self._run_id = run_id
        self._streams = streams
        self._server_id = server_id
        self._attempt = attempt
        self._raw = raw
        self._names = names or {}
        self._cursors: dict[tuple[str, str], _Cursor] = {}
        self._asked: dict[str, float] = {}
        self._prefixed = False
        self._last = ""  # character that was shown

    def run(self) -> dict[str, Any]:
        """Return the run as it is now."""
        return self._api.get(f"/v1/runs/{self._run_id}")

    def show(self, run: Mapping[str, Any]) -> bool:
        """Show what has come. Return whether everything is there, to its end."""
        several = (run["target_count"] or 0) > 1 and self._server_id is None
        if several and self._raw:
            raise Usage(
                "the bytes of several servers would be mixed",
                hint="name one by --server",
            )
        self._prefixed = several
        complete = True
        for execution in self._executions(run):
            complete = self._show_execution(execution) and complete
        sys.stdout.flush()
        return complete

    def follow(self) -> dict[str, Any]:
        """Show the output until the run has ended and all of it was shown.

        Returns the run. While a command runs, visits are asked for.
        """
        reason, patient_until = None, None
        while True:
            run = self.run()
            complete = self.show(run)
            if run["state"] in TERMINAL:
                if complete:
                    return run
                patient_until = patient_until or time.monotonic() + PATIENCE_S
                if time.monotonic() > patient_until:
                    note("The rest of the output has not come; `cronhop logs` later.")
                    return run
            elif run["reason"] not in {None, reason}:
                note(f"[{run['state']}: {run['reason']}]")
                reason = run["reason"]
            self._ask_for_visits(run)
            self._api.pause(LOOK_EVERY_S)

    def finish(self) -> None:
        """Show what was held back of lines and characters that have no end."""
        for (server_id, stream), cursor in self._cursors.items():
            self._write(server_id, stream, cursor, b"", final=True)
        if self._last not in {"", "\n"} and sys.stdout.isatty():
            sys.stdout.write("\n")  # what comes next begins a line
        sys.stdout.flush()

    def _executions(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = [one for one in run["executions"] if one["attempt"] > 0]
        if self._server_id is None:
            return found
        found = [one for one in found if one["server_id"] == self._server_id]
        if not found and len(run["executions"]) >= FOLLOWED:
            # One of many: a run shows its first hundred.
            path = f"/v1/runs/{self._run_id}/executions/{self._server_id}"
            one = self._api.find(path)
            found = [one] if one and one["attempt"] > 0 else []
        return found

    def _show_execution(self, execution: Mapping[str, Any]) -> bool:
        server_id, newest = execution["server_id"], int(execution["attempt"])
        complete = True
        for stream in self._streams:
            key = (server_id, stream)
            if key not in self._cursors:
                self._cursors[key] = _Cursor(attempt=self._attempt or 1)
            cursor = self._cursors[key]
            if self._may_have_more(execution, stream, cursor):
                self._read(server_id, stream, cursor)
            while cursor.complete and cursor.attempt < newest and not self._attempt:
                self._write(server_id, stream, cursor, b"", final=True)
                cursor = self._cursors[key] = _Cursor(attempt=cursor.attempt + 1)
                if stream == self._streams[0]:
                    name = self._names.get(server_id, server_id)
                    note(f"[attempt {cursor.attempt} on {name}]")
                self._read(server_id, stream, cursor)
            complete = complete and cursor.complete
        return complete and (
            execution["state"] in TERMINAL or self._attempt is not None
        )

    def _may_have_more(
        self, execution: Mapping[str, Any], stream: str, cursor: _Cursor
    ) -> bool:
        """Return whether a request may show more than was read."""
        if execution["state"] in TERMINAL or cursor.attempt < execution["attempt"]:
            return not cursor.complete
        return int(execution["output_bytes"][stream]) > cursor.offset

    def _read(self, server_id: str, stream: str, cursor: _Cursor) -> None:
        for page in self._pages(server_id, stream, cursor):
            if page["offset"] < page["next_offset"] and not page["data"]:
                gap = page["next_offset"] - page["offset"]
                note(f"[{gap} bytes of {stream} were not kept]")
            data = base64.b64decode(page["data"])
            self._write(server_id, stream, cursor, data)

    def _pages(
        self, server_id: str, stream: str, cursor: _Cursor
    ) -> Iterator[dict[str, Any]]:
        path = f"/v1/runs/{self._run_id}/executions/{server_id}/output"
        while not cursor.complete:
            page = self._api.get(
                path,
                stream=stream,
                offset=cursor.offset,
                limit=PAGE_BYTES,
                encoding="base64",
                attempt=cursor.attempt,
            )
            yield page
            before, cursor.offset = cursor.offset, page["next_offset"]
            cursor.complete = page["complete"]
            if cursor.offset in {before, page["total_bytes"]}:
                return

    def _write(
        self,
        server_id: str,
        stream: str,
        cursor: _Cursor,
        data: bytes,
        *,
        final: bool = False,
    ) -> None:
        file = sys.stdout if stream == "stdout" else sys.stderr
        if self._raw:
            file.flush()
            file.buffer.write(data)
            file.buffer.flush()
            return
        text = cursor.shown.feed(data, final=final)
        if self._prefixed:
            text, cursor.line = _whole_lines(
                cursor.line + text, self._names.get(server_id, server_id), final=final
            )
        file.write(text)
        file.flush()
        self._last = text[-1:] or self._last

    def _ask_for_visits(self, run: Mapping[str, Any]) -> None:
        for execution in self._executions(run):
            server_id = execution["server_id"]
            due = self._asked.get(server_id, 0) + POLL_EVERY_S <= time.monotonic()
            if execution["state"] != "running" or not due:
                continue
            self._asked[server_id] = time.monotonic()
            # It is a wish: the output comes anyway, a little later, and who may only
            # look may not wish.
            with suppress(Refused, Unreachable):
                self._api.post(f"/v1/runs/{self._run_id}/executions/{server_id}/poll")


def _whole_lines(text: str, name: str, *, final: bool) -> tuple[str, str]:
    """Return the whole lines with a name before them, and what was begun."""
    *lines, begun = text.split("\n")
    if final and begun:
        lines, begun = [*lines, begun], ""
    return "".join(f"[{visible(name)}] {line}\n" for line in lines), begun
