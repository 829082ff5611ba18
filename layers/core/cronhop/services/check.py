"""Checks of servers: whether commands could be started there, and what is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from cronhop.aws.secrets import Secrets
from cronhop.domain.credential import Secret
from cronhop.domain.host_key import fingerprint_of, line_of
from cronhop.domain.message import Probe
from cronhop.domain.server import Server
from cronhop.domain.server_check import SeenKey, ServerCheck, Step
from cronhop.errors import (
    HostKeyRefused,
    RemoteError,
    SecretMissing,
    SecretUnavailable,
    Unreachable,
)
from cronhop.services.alarms import Alarms
from cronhop.services.credentials import secret_of
from cronhop.ssh import probe as host
from cronhop.ssh.connection import Connection
from cronhop.ssh.connections import Connections
from cronhop.store import servers

_SUDO = {
    "yes": "sudo works without a password",
    "no": "sudo asks for a password",
    "missing": "there is no sudo",
    None: "not known",
}


@dataclass(frozen=True, kw_only=True)
class Checker:
    """Checks servers, and records what it finds.

    `now` is the clock.
    """

    secrets: Secrets
    alarms: Alarms
    now: Callable[[], datetime]

    def check(
        self, probe: Probe, connections: Connections, *, deadline: float
    ) -> ServerCheck | None:
        """Do the check, unless it was done or another one was asked for since.

        1. connect, through the jump host where there is one
        2. compare the host key that is shown with the pinned ones
        3. log in; nothing of the credential is sent to a host that is not known
        4. ask the host about itself
        5. record whether another key was shown, and then it all

        Returns what was recorded, None if nothing was. What fails is part of the
        result; `deadline` is an instant of the monotonic clock.
        """
        server = servers.get(probe.server_id)
        if server is None or _is_over(server, probe):
            return None
        visit = _Visit(
            check=ServerCheck(check_id=probe.check_id, at=self.now(), ok=False)
        )
        try:
            self._visit(server, visit, connections, deadline)
        except RemoteError as exc:
            visit.end(f"{exc.reason}: {exc}")
            if isinstance(exc, HostKeyRefused):
                visit.refused = exc
        except (SecretMissing, SecretUnavailable) as exc:
            visit.end(f"credential: {exc}")
        # First the alert: it keeps commands back, and the message comes again only
        # until the result is on record.
        self._tell(server, visit)
        check = replace(visit.check, steps=tuple(visit.steps))
        return check if servers.record_check(server, check) else None

    def _visit(
        self,
        server: Server,
        visit: _Visit,
        connections: Connections,
        deadline: float,
    ) -> None:
        via = None
        if server.via_server:
            visit.step = "jump"
            via = visit.jump = self._jump(server.via_server)
            connections.to_jump(server, via, deadline=deadline)
            visit.well(f"logged in to {via[0].name}")
        visit.step = "connect"
        begun = time.monotonic()
        with connections.meet(server, deadline=deadline, via=via) as connection:
            visit.know(address=connection.address)
            visit.well(f"connected to {connection.address or server.host}")
            visit.step = "host_key"
            visit.know(host_keys_seen=(_seen(connection),))
            connection.check_host_key()
            visit.well("it is a pinned one")
            visit.knows_key = True
            visit.step = "login"
            secret = secret_of(self.secrets, server.credential)
            connection.log_in(secret)
            visit.know(latency_ms=round((time.monotonic() - begun) * 1000))
            visit.well(f"logged in as {server.username}")
            self._ask(visit, connection)

    def _ask(self, visit: _Visit, connection: Connection) -> None:
        visit.step = "host"
        asked = self.now().timestamp()
        facts = host.ask(connection)
        answered = self.now().timestamp()
        visit.know(
            sudo=facts.sudo == "yes" if facts.sudo else None,
            free_bytes=facts.free_bytes,
            free_inodes=facts.free_inodes,
            system=facts.system,
        )
        if facts.middle is not None:
            skew_s = facts.middle - (asked + answered) / 2
            visit.know(clock_skew_ms=round(skew_s * 1000))
        visit.well(facts.system or "it says nothing of its system")
        visit.step = "sudo"
        visit.well(_SUDO[facts.sudo])
        visit.step = "spool"
        if not facts.is_writable:
            visit.end("no_workdir: the home directory is not there or not writable")
        elif 0 in {facts.free_bytes, facts.free_inodes}:
            visit.end("no_workdir: the home directory's file system is full")
        else:
            visit.well("the home directory is writable")
        visit.step = "tools"
        if not (facts.has_setsid and facts.has_proc):
            missing = "/proc" if facts.has_setsid else "setsid"
            visit.end(f"no_workdir: there is no {missing}, commands cannot be detached")
        else:
            visit.well("setsid and /proc are there")
        visit.know(ok=visit.check.reason is None)

    def _jump(self, server_id: str) -> tuple[Server, Secret]:
        jump = servers.get(server_id)
        if jump is None:
            raise Unreachable("its jump host was not found")
        return jump, secret_of(self.secrets, jump.credential)

    def _tell(self, server: Server, visit: _Visit) -> None:
        """Record that a host showed another key, or a pinned one again."""
        refused = visit.refused
        if visit.knows_key and server.host_key_alert:
            servers.end_alert(server)
        if refused is None:
            return
        whose = server
        if visit.jump and refused.server_id == visit.jump[0].server_id:
            whose = visit.jump[0]
        self.alarms.of_host_key(whose, refused.seen)


@dataclass(kw_only=True)
class _Visit:
    """A check under way: what it found, and the step that it is at."""

    check: ServerCheck
    step: str = "connect"
    steps: list[Step] = field(default_factory=list)
    jump: tuple[Server, Secret] | None = field(default=None, repr=False)
    knows_key: bool = False
    refused: HostKeyRefused | None = None

    def know(self, **facts: object) -> None:
        """Take down facts."""
        self.check = replace(self.check, **facts)  # type: ignore[arg-type]

    def well(self, outcome: str) -> None:
        """Take down that the step went well."""
        self.steps.append(Step(step=self.step, ok=True, outcome=outcome))

    def end(self, reason: str) -> None:
        """Take down that the step did not, and so the check; the first one counts."""
        self.steps.append(Step(step=self.step, ok=False, outcome=reason))
        self.know(ok=False, reason=self.check.reason or reason)


def _is_over(server: Server, probe: Probe) -> bool:
    done = server.last_check.check_id if server.last_check else ""
    return done >= probe.check_id or (server.check_id or "") > probe.check_id


def _seen(connection: Connection) -> SeenKey:
    key_type, blob = connection.host_key
    return SeenKey(
        type=key_type, fingerprint=fingerprint_of(blob), key=line_of(key_type, blob)
    )
