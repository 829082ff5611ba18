"""Tasks: what to do, where and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from cronhop.domain.schedule import CronSchedule


class TaskKind(StrEnum):
    """What a task does."""

    SCRIPT = "script"  #: runs a command


class Overlap(StrEnum):
    """What happens to a slot while an earlier run of the task is under way."""

    SKIP = "skip"  #: it is recorded as skipped
    ALLOW = "allow"  #: it runs beside the other


class CatchUp(StrEnum):
    """Which of several slots that were missed together still run."""

    ONE = "one"  #: the newest; the older ones are one `missed` row


@dataclass(frozen=True, kw_only=True)
class Script:
    """A command.

    | field       | meaning                                                  |
    |-------------|----------------------------------------------------------|
    | command     | text for /bin/sh, or a script that names its interpreter |
    | environment | variables, in the clear                                  |
    | secrets     | variables whose values are credentials of kind password  |
    """

    command: str
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The servers of a task, by id."""

    server_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """What a user says of a task.

    | field            | meaning                                               |
    |------------------|-------------------------------------------------------|
    | schedule         | None: by hand only                                    |
    | timeout_s        | how long the command may run                          |
    | kill_grace_s     | between TERM and KILL at the timeout                  |
    | start_deadline_s | how late it may still start                           |
    | enabled          | whether its schedule is followed                      |
    """

    name: str
    kind: TaskKind
    spec: Script
    targets: Targets
    schedule: CronSchedule | None
    timeout_s: int
    kill_grace_s: int
    overlap: Overlap
    start_deadline_s: int
    catch_up: CatchUp
    enabled: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, as the API shows and the store keeps it."""
        plain = asdict(self)
        plain["targets"]["server_ids"] = list(self.targets.server_ids)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TaskDefinition:
        """Return what `to_dict` made these plain values of."""
        schedule = plain["schedule"]
        return cls(
            name=plain["name"],
            kind=TaskKind(plain["kind"]),
            spec=Script(**plain["spec"]),
            targets=Targets(server_ids=tuple(plain["targets"]["server_ids"])),
            schedule=CronSchedule(**schedule) if schedule else None,
            timeout_s=plain["timeout_s"],
            kill_grace_s=plain["kill_grace_s"],
            overlap=Overlap(plain["overlap"]),
            start_deadline_s=plain["start_deadline_s"],
            catch_up=CatchUp(plain["catch_up"]),
            enabled=plain["enabled"],
        )


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as it is on record.

    | field            | meaning                                                |
    |------------------|--------------------------------------------------------|
    | version          | counts the changes of users                            |
    | schedule_version | counts the changes of schedule and enabled             |
    | next_run         | the dispatcher's cursor: the first slot not yet sent   |
    | active_run       | the run that holds the task where runs may not overlap |
    | invalid          | why its schedule is parked, None if it is not          |
    """

    task_id: str
    definition: TaskDefinition
    version: int
    schedule_version: int
    next_run: datetime | None
    active_run: str | None
    invalid: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime
