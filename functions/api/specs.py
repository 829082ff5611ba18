"""What a task does, as clients send it: the specs of kinds other than scripts.

Their values are checked by the domain: `spec()` raises Invalid naming the field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from cronhop.domain.service import (
    MAX_JOURNAL_LINES,
    MAX_WAIT_S,
    Action,
    Probe,
    ServiceControl,
)
from cronhop.domain.transfer import Direction, Encoding, FileTransfer
from cronhop.errors import Invalid

from .fields import StrictBody, not_yet, told


class FileTransferBody(StrictBody):
    """A file and its way."""

    direction: Literal["upload", "download"]
    path: str
    content: str | None = None
    encoding: Literal["utf-8", "base64"] = "utf-8"
    object_key: str | None = None
    mode: Annotated[str, told(pattern="^[0-7]{3,4}$")] | None = None
    owner: str | None = None
    root: str | None = None
    resume: Annotated[None, not_yet("going on with a cut transfer is")] = None

    def spec(self) -> FileTransfer:
        """Return what was sent."""
        spec = FileTransfer(
            direction=Direction(self.direction),
            path=self.path,
            content=self.content,
            encoding=Encoding(self.encoding),
            object_key=self.object_key,
            mode=self.mode,
            owner=self.owner,
            root=self.root,
        )
        _check(spec.check)
        return spec


Wait = Annotated[int, told(minimum=1, maximum=MAX_WAIT_S)]


class ProbeBody(StrictBody):
    """What must hold besides."""

    tcp_port: Annotated[int, told(minimum=1, maximum=65535)]
    wait_s: Wait = 30
    http: Annotated[None, not_yet("probes by HTTP are")] = None


class ServiceControlBody(StrictBody):
    """An action on a unit."""

    unit: Annotated[
        str, told(pattern=r"^[A-Za-z0-9:_@][A-Za-z0-9:_.@\\-]*$", maxLength=255)
    ]
    action: Literal["start", "stop", "restart", "reload", "status", "enable", "disable"]
    wait_s: Wait = 30
    probe: ProbeBody | None = None
    journal_lines: Annotated[int, told(minimum=0, maximum=MAX_JOURNAL_LINES)] = 20
    run_as: str | None = "root"
    init: Annotated[None, not_yet("services of SysV and others than systemd are")] = (
        None
    )

    def spec(self) -> ServiceControl:
        """Return what was sent."""
        spec = ServiceControl(
            unit=self.unit,
            action=Action(self.action),
            wait_s=self.wait_s,
            probe=Probe(tcp_port=self.probe.tcp_port, wait_s=self.probe.wait_s)
            if self.probe
            else None,
            journal_lines=self.journal_lines,
            run_as=self.run_as,
        )
        _check(spec.check)
        return spec


def _check(check: Callable[[], None]) -> None:
    """Let a field that is refused have its place in the request."""
    try:
        check()
    except Invalid as exc:
        raise Invalid(f"spec.{exc.field}", exc.message) from exc
