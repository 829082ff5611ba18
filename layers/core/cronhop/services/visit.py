"""A visit: one message's way to one execution."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cronhop.domain.credential import Secret
from cronhop.domain.message import Message
from cronhop.domain.run import Execution, Run
from cronhop.domain.server import Server
from cronhop.domain.task import LOST_AFTER_S, TaskDefinition, TaskKind
from cronhop.errors import Unreachable
from cronhop.services.passwords import Passwords
from cronhop.ssh.connection import Connection
from cronhop.ssh.connections import Connections
from cronhop.store import servers


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the messages of one invocation share.

    | field       | meaning                                                    |
    |-------------|------------------------------------------------------------|
    | connections | to the servers; closed when the invocation ends            |
    | ends_at     | when the environment is stopped                            |
    | stop_at     | the same by the monotonic clock, less what closing takes   |
    """

    connections: Connections
    ends_at: datetime
    stop_at: float


@dataclass(kw_only=True)
class Visit:
    """One message's way to an execution, and what it has done by now.

    | field      | meaning                                                     |
    |------------|-------------------------------------------------------------|
    | run        | as it was read, or as this visit has ended it               |
    | execution  | as it was claimed, or found                                 |
    | definition | the version of the task that the run executes               |
    | server     | None until it was read, or if it was deleted                |
    | has_sent   | this visit has sent what may start the command              |
    | is_held    | the lease is this visit's                                   |
    | answered   | the host has said something of the command                  |
    """

    run: Run
    execution: Execution
    message: Message
    invocation: Invocation
    definition: TaskDefinition | None
    server: Server | None = None
    is_held: bool = True
    has_sent: bool = False
    answered: bool = False

    @property
    def may_run(self) -> bool:
        """Whether an earlier visit started the command, or may have.

        A file transfer is never under way but in a visit: it is simply done again.
        """
        execution = self.execution
        if self.is_transfer:
            return False
        return (
            execution.started_at is not None or execution.first_visit != execution.owner
        )

    @property
    def is_alone(self) -> bool:
        """Whether the run is on this server only, and so is as its execution is."""
        return self.run.fleet is None

    @property
    def is_transfer(self) -> bool:
        """Whether the task transfers a file."""
        task = self.definition
        return task is not None and task.kind is TaskKind.FILE_TRANSFER

    @property
    def heard_at(self) -> datetime:
        """When anything was last heard of the command."""
        execution, run = self.execution, self.run
        return (
            execution.seen_at
            or execution.started_at
            or execution.first_at
            or run.started_at
            or run.due
        )

    @property
    def lost_after(self) -> timedelta:
        """How long nothing may be heard of the command."""
        task = self.definition
        return timedelta(seconds=task.lost_after_s if task else LOST_AFTER_S)

    @property
    def cancel_by(self) -> str | None:
        """Who wants the execution to end, None if nobody does."""
        return self.run.cancel_by or self.execution.cancel_by

    def connect(self, server: Server, passwords: Passwords) -> Connection:
        """Return the invocation's connection to the server.

        Raises RemoteError, SecretMissing, SecretUnavailable.
        """
        return self.invocation.connections.to(
            server,
            passwords.secret(server.credential),
            deadline=self.invocation.stop_at,
            via=_jump(server, passwords),
        )

    def connect_apart(
        self, server: Server, passwords: Passwords, *, deadline: float
    ) -> Connection:
        """Return a connection of this visit's own, with a deadline of its own.

        The caller closes it. Raises what `connect` raises.
        """
        secret = passwords.secret(server.credential)
        connection = self.invocation.connections.meet(
            server, deadline=deadline, via=_jump(server, passwords)
        )
        try:
            connection.log_in(secret)
        except BaseException:
            connection.close()
            raise
        return connection


def _jump(server: Server, passwords: Passwords) -> tuple[Server, Secret] | None:
    """Return the server's jump host and its credential, None if it has none."""
    if server.via_server is None:
        return None
    jump = servers.get(server.via_server)
    if jump is None:
        raise Unreachable("its jump host was not found")
    return jump, passwords.secret(jump.credential)
