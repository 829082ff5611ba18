"""Runs and executions: the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """States of runs and executions. The terminal ones are never rewritten."""

    PENDING = "pending"  #: on record, not begun
    RUNNING = "running"  #: through the gate; its executions are under way
    COMPLETED = "completed"  #: ended with exit code 0
    FAILED = "failed"  #: ended with another exit code, or could not be started
    TIMEOUT = "timeout"  #: ended by its timeout
    CANCELLED = "cancelled"  #: ended by somebody's wish
    SKIPPED = "skipped"  #: not started, for a stated reason
    MISSED = "missed"  #: not started: later than its start deadline
    LOST = "lost"  #: the outcome cannot be known

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows this state."""
        return self not in OPEN_STATES

    @property
    def is_alarming(self) -> bool:
        """Whether somebody should be told of a run that ended so."""
        return self in ALARMING_STATES


SCHEDULER = "scheduler"  # who made the runs of slots
OPEN_STATES = frozenset({State.PENDING, State.RUNNING})
ALARMING_STATES = frozenset({State.FAILED, State.TIMEOUT, State.LOST, State.MISSED})


class Trigger(StrEnum):
    """What made a run."""

    SCHEDULE = "schedule"  #: a slot of the task's schedule
    MANUAL = "manual"  #: somebody, by hand
    BACKFILL = "backfill"  #: somebody, for a slot of the past
    RETRY = "retry"  #: somebody, for what another run did not complete


@dataclass(frozen=True, kw_only=True)
class Run:
    """One firing of a task: the one row of its slot, or of a run by hand.

    | field            | meaning                                               |
    |------------------|-------------------------------------------------------|
    | slot             | the instant it is due; None for a run by hand         |
    | schedule_version | of the task when the slot was sent                    |
    | task_version     | which spec it runs; set by the gate                   |
    | retry_of         | the run whose targets it tries again, of those that   |
    |                  | did not complete                                      |
    | has_own_targets  | it was given other targets than its task's            |
    | has_parameters   | it was given values for its task's parameters         |
    | targets          | id of its server, if it is one; set by the gate       |
    | target_count     | how many servers it runs on; set by the gate          |
    | fleet            | names the items that list them, if they are several   |
    | check_at         | when the tick looks after it: while it is open, and   |
    |                  | until the alarm of its end has been raised            |
    | missed_to        | the last slot of a range of missed ones, from `slot`  |
    | missed_count     | how many slots the range has, at least                |
    | cancel_by        | who wants it to end, None if nobody does              |
    | cancel_at        | since when                                            |
    | environment      | that of its task, as of when it was made or has begun |
    """

    run_id: str
    task_id: str
    trigger: Trigger
    slot: datetime | None
    state: State
    reason: str | None
    created_by: str
    created_at: datetime
    schedule_version: int
    check_at: datetime | None = None
    task_version: int | None = None
    targets: tuple[str, ...] = ()
    retry_of: str | None = None
    has_own_targets: bool = False
    has_parameters: bool = False
    target_count: int = 0
    fleet: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    missed_to: datetime | None = None
    missed_count: int | None = None
    cancel_by: str | None = None
    cancel_at: datetime | None = None
    environment: str | None = None

    @property
    def due(self) -> datetime:
        """The instant it should start: its slot, or when it was made."""
        if self.trigger is Trigger.BACKFILL or self.slot is None:
            return self.created_at
        return self.slot

    @property
    def late_s(self) -> float | None:
        """How long after it was due it began, in seconds; None if it has not."""
        if self.started_at is None:
            return None
        return round((self.started_at - self.due).total_seconds(), 3)


class Stream(StrEnum):
    """The output streams of a command."""

    STDOUT = "stdout"  #: standard output
    STDERR = "stderr"  #: standard error


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a stream in the bucket: bytes `first` to `end`, exclusive."""

    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class StreamRecord:
    """What is kept of one stream.

    Offsets are those of the stream as the command wrote it.

    | field       | meaning                                                 |
    |-------------|---------------------------------------------------------|
    | total_bytes | what the command wrote                                  |
    | chunks      | the pieces in the bucket, in order                      |
    | inline      | whether all of it lies in the table instead             |

    Whatever lies in neither was not kept, or is not kept yet.
    """

    total_bytes: int
    chunks: tuple[Chunk, ...] = ()
    inline: bool = False

    @property
    def truncated_bytes(self) -> int:
        """How many bytes were not kept."""
        if self.inline:
            return 0
        return self.total_bytes - sum(chunk.end - chunk.first for chunk in self.chunks)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """A run on one server.

    | field       | meaning                                                   |
    |-------------|-----------------------------------------------------------|
    | attempt     | number of the start of the command, from 1                |
    | due_at      | when a further attempt is due; of the first one None, or  |
    |             | in a run on several servers when its turn came            |
    | position    | among the targets of a run on several servers, from 0     |
    | cancel_by   | who wants it to end, None if nobody does                  |
    | owner       | token of the message that holds the lease                 |
    | lease_until | until when only the owner may touch the host              |
    | next_poll   | when the tick sends somebody; None when all is settled    |
    | first_visit | the first owner who may have started the command          |
    | first_at    | and when it claimed                                       |
    | held_since  | when its end was seen, but not all of its output was had  |
    | secret_ids  | of the credentials that it was started with, by variable  |
    | polls       | visits that found the command running                     |
    | seen_at     | when the host last said anything of the command           |
    | uncollected | it has ended, and output of it is still on the host       |
    """

    run_id: str
    server_id: str
    state: State
    reason: str | None
    attempt: int
    owner: str
    lease_until: datetime
    next_poll: datetime | None
    first_visit: str | None
    polls: int
    due_at: datetime | None = None
    position: int | None = None
    first_at: datetime | None = None
    held_since: datetime | None = None
    secret_ids: Mapping[str, str] | None = None
    cancel_by: str | None = None
    seen_at: datetime | None = None
    uncollected: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    stdout: StreamRecord | None = None
    stderr: StreamRecord | None = None

    @property
    def key(self) -> str:
        """The attempt's own name, on the host and in the bucket."""
        return self.key_of(self.attempt)

    def key_of(self, attempt: int) -> str:
        """Return the name of one of its attempts."""
        return f"{self.run_id}-{self.server_id}-{attempt}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an execution ended.

    | field       | meaning                                                   |
    |-------------|-----------------------------------------------------------|
    | is_attempt  | the command itself ended so; else it was not started, or  |
    |             | its end is not known                                      |
    | uncollected | some of its output is still on the host                   |
    | secret_ids  | those of its execution, if this visit started it          |
    """

    state: State
    reason: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stdout: StreamRecord | None = None
    stderr: StreamRecord | None = None
    is_attempt: bool = False
    uncollected: bool = False
    secret_ids: Mapping[str, str] | None = None

    @property
    def streams(self) -> tuple[StreamRecord, StreamRecord] | None:
        """What is kept of stdout and stderr, None if nothing is known of them."""
        return (self.stdout, self.stderr) if self.stdout and self.stderr else None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of the command that was followed by another.

    Its fields are those of the execution as it ended with this attempt.
    """

    attempt: int
    state: State
    reason: str | None
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    stdout: StreamRecord | None
    stderr: StreamRecord | None

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return Outcome(
            state=self.state,
            reason=self.reason,
            exit_code=self.exit_code,
            started_at=self.started_at,
            finished_at=self.finished_at,
            stdout=self.stdout,
            stderr=self.stderr,
            is_attempt=True,
        )
