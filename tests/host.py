"""A model of hosts with runner.sh on them: one guard an attempt, one end.

That runner.sh keeps what this promises is shown elsewhere, on a real sshd.
"""

from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace

from cronhop.errors import Unreachable
from cronhop.ssh import runner
from cronhop.ssh.connections import Connections
from cronhop.ssh.runner import Cleaned, RemoteState, Report

TIMEOUT_S = 900  # of every command here


@dataclass
class Command:
    """What the host knows of one attempt: the oracle."""

    started_at: object
    starts: int = 0
    code: int | None = None
    how: str = "running"  # exited, timeout, cancelled, lost, forbidden
    ended_at: object = None


class Host:
    """A model of all servers, with runner.sh on them."""

    def __init__(self, world):
        self.world = world
        self.is_up = True
        self.commands = {}

    def visit(self):
        self.world.deathtrap.step()
        if not self.is_up:
            raise Unreachable("connection refused")
        now = self.world.clock()
        for command in self.commands.values():
            limit = command.started_at + timedelta(seconds=TIMEOUT_S)
            if command.how == "running" and now >= limit:
                command.how, command.code, command.ended_at = "timeout", 143, limit

    def report(self, key, *, here=False):
        command = self.commands.get(key)
        now = self.world.clock()
        state, reason = RemoteState.EXITED, None
        if command is None or command.how == "forbidden":
            state = RemoteState.ABSENT
        elif command.how == "running":
            state = RemoteState.RUNNING
        elif command.how == "lost":
            state, reason = RemoteState.LOST, "host rebooted"
        has_ended = state is RemoteState.EXITED
        self.world.deathtrap.step()
        return Report(
            state=state,
            started_here=here,
            exit_code=command.code if has_ended else None,
            timed_out=has_ended and command.how == "timeout",
            cancelled=has_ended and command.how == "cancelled",
            duration_s=(command.ended_at - command.started_at).total_seconds()
            if has_ended
            else None,
            age_s=(now - command.started_at).total_seconds() if command else None,
            stdout_bytes=0,
            stderr_bytes=0,
            stdout_head=b"",
            stderr_head=b"",
            reason=reason,
            escaped=0,
            stdout_kept=(),
            stderr_kept=(),
            stdout_cut=False,
            stderr_cut=False,
        )

    # The verbs of cronhop.ssh.runner

    def start(self, connection, job, **_):
        self.visit()
        here = job.key not in self.commands
        if here:
            self.commands[job.key] = Command(started_at=self.world.clock(), starts=1)
        return self.report(job.key, here=here)

    def attach(self, connection, key, **_):
        self.visit()
        return self.report(key)

    def forbid(self, connection, key, **_):
        self.visit()
        self.commands.setdefault(
            key, Command(started_at=self.world.clock(), how="forbidden")
        )
        return self.report(key)

    def cancel(self, connection, key, **_):
        self.visit()
        command = self.commands.get(key)
        if command is None:
            return self.forbid(connection, key)
        if command.how == "running":
            command.how, command.code = "cancelled", 143
            command.ended_at = self.world.clock()
        return self.report(key)

    def clean(self, connection, key):
        self.visit()
        return Cleaned(done=True, old=())

    @property
    def running(self):
        return [one for one in self.commands.values() if one.how == "running"]

    def connect(self, *args, **kwargs):
        if not self.is_up:
            raise Unreachable("connection refused")
        return SimpleNamespace()

    def install(self, patch):
        """Let every visit of an executor come here."""
        for verb in ("start", "attach", "forbid", "cancel", "clean"):
            patch.setattr(runner, verb, getattr(self, verb))
        patch.setattr(Connections, "to", self.connect)
