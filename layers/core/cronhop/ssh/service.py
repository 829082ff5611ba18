"""Service control as a command: a fixed script, and arguments."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from cronhop.domain.service import ServiceControl


def command(spec: ServiceControl) -> tuple[str, tuple[str, ...]]:
    """Return a script for /bin/sh that does what `spec` says, and its arguments.

    The script is always the same text; its exit codes are written there.
    """
    port, probe_s = (spec.probe.tcp_port, spec.probe.wait_s) if spec.probe else (0, 0)
    numbers = (spec.wait_s, port, probe_s, spec.journal_lines)
    return _script(), (spec.action.value, spec.unit_name, *map(str, numbers))


@lru_cache(maxsize=1)
def _script() -> str:
    return files("cronhop.ssh").joinpath("service.sh").read_text()
