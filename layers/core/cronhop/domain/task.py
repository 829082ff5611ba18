"""Tasks: what to do, where and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from cronhop.domain import schedule as schedules
from cronhop.domain.hold import Hold
from cronhop.domain.parameter import (
    Parameter,
    ParameterType,
    ParameterWord,
    check_complete,
    check_declared,
    check_values,
    fill,
)
from cronhop.domain.retry import RETRIED, Retry
from cronhop.domain.rollout import Rollout
from cronhop.domain.run import State
from cronhop.domain.schedule import Schedule
from cronhop.domain.service import ServiceControl
from cronhop.domain.targets import Targets
from cronhop.domain.transfer import FileTransfer
from cronhop.errors import Invalid

OUTPUT_CAP_BYTES = 10 * 1024 * 1024  # kept of each stream, unless the task says else
CATCH_UP_LIMIT = 10  # slots of an outage that `all` starts, unless the task says else
LOST_AFTER_S = 24 * 3600  # of silence, unless the task says else


class TaskKind(StrEnum):
    """What a task does."""

    SCRIPT = "script"  #: runs a command
    FILE_TRANSFER = "file_transfer"  #: brings a file to a server, or takes one
    SERVICE_CONTROL = "service_control"  #: starts, stops … a systemd unit


class Overlap(StrEnum):
    """What happens to a slot while an earlier run of the task is under way."""

    SKIP = "skip"  #: it is recorded as skipped
    QUEUE = "queue"  #: it waits for its turn, as many as the task says
    REPLACE = "replace"  #: the other is cancelled, then it runs
    ALLOW = "allow"  #: it runs beside the other


class CatchUp(StrEnum):
    """Which of several slots that were missed together still run."""

    ONE = "one"  #: the newest; the older ones are one `missed` row
    ALL = "all"  #: the newest ones, as many as the task's limit
    NONE = "none"  #: none


@dataclass(frozen=True, kw_only=True)
class Script:
    """A command.

    | field       | meaning                                                  |
    |-------------|----------------------------------------------------------|
    | command     | text for /bin/sh, or a script that names its interpreter |
    | interpreter | what reads the command instead, with its options         |
    | arguments   | of the command: words, or parameters whose values they   |
    |             | are                                                      |
    | workdir     | where it runs, absolute; None: at home                   |
    | run_as      | the user it runs as through sudo; None: who logs in      |
    | environment | variables, in the clear                                  |
    | secrets     | variables whose values are credentials of kind password  |
    """

    command: str
    interpreter: tuple[str, ...] = ()
    arguments: tuple[str | ParameterWord, ...] = ()
    workdir: str | None = None
    run_as: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Script:
        """Return what these plain values were made of."""
        arguments = tuple(
            word if isinstance(word, str) else ParameterWord(**word)
            for word in plain.get("arguments", ())
        )
        return cls(**_frozen(plain) | {"arguments": arguments})


Spec = Script | FileTransfer | ServiceControl


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """What a user says of a task.

    | field            | meaning                                               |
    |------------------|-------------------------------------------------------|
    | schedule         | None: by hand only                                    |
    | rollout          | in which steps a run goes over several servers        |
    | timeout_s        | how long the command may run                          |
    | kill_grace_s     | between TERM and KILL at the timeout                  |
    | overlap_limit    | how many may wait where they are queued               |
    | start_deadline_s | how late it may still start                           |
    | catch_up_limit   | how many slots of an outage `catch_up` all starts     |
    | lost_after_s     | how long nothing may be heard of the command          |
    | output_cap_bytes | how much is kept of each stream                       |
    | enabled          | whether its schedule is followed                      |
    | parameters       | what its command gets besides, and a run may change   |
    | environment      | it runs only on servers of it; None: on any           |
    | tags             | free words to find it by                              |
    """

    name: str
    kind: TaskKind
    spec: Spec
    targets: Targets
    schedule: Schedule | None
    timeout_s: int
    kill_grace_s: int
    overlap: Overlap
    start_deadline_s: int
    catch_up: CatchUp
    enabled: bool
    retry: Retry = field(default_factory=Retry)
    catch_up_limit: int = CATCH_UP_LIMIT
    rollout: Rollout = field(default_factory=Rollout)
    overlap_limit: int = 1
    lost_after_s: int = LOST_AFTER_S
    output_cap_bytes: int = OUTPUT_CAP_BYTES
    parameters: tuple[Parameter, ...] = ()
    environment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> Mapping[str, str]:
        """The variables of the command whose values are credentials."""
        own = self.spec.secrets if isinstance(self.spec, Script) else {}
        return {**own, **self._values(ParameterType.SECRET)}

    @property
    def server_ids(self) -> tuple[str, ...]:
        """The servers that it names by id, each once."""
        servers = self._values(ParameterType.SERVER)
        return tuple(dict.fromkeys([*self.targets.server_ids, *servers.values()]))

    def _values(self, kind: ParameterType) -> dict[str, str]:
        return {
            one.name: str(one.default)
            for one in self.parameters
            if one.type is kind and one.default is not None
        }

    def check_values(self, values: Mapping[str, Any]) -> None:
        """Ensure that its parameters may have these values. Raises Invalid."""
        check_values(self.parameters, values)

    def filled(self, values: Mapping[str, Any]) -> TaskDefinition:
        """Return it with these values of its parameters, which are known to fit."""
        return replace(self, parameters=fill(self.parameters, values))

    def check_parameters(self) -> None:
        """Ensure that its parameters can be declared, and are where it names them.

        Raises Invalid naming the field.
        """
        check_declared(self.parameters)
        if self.parameters and not isinstance(self.spec, Script):
            raise Invalid("parameters", f"a {self.kind} has none, only a script does")
        if isinstance(self.spec, Script):
            _check_named(self.spec, self.parameters)
        self.check_target(self.targets)

    def check_target(self, targets: Targets) -> None:
        """Ensure that the target, if it is a parameter, can be one. Raises Invalid."""
        wanted = targets.parameter
        types = {one.name: one.type for one in self.parameters}
        if wanted is not None and types.get(wanted) is not ParameterType.SERVER:
            raise Invalid(
                "targets.parameter", f"there is no parameter {wanted} of type server"
            )

    def target_of(self, targets: Targets) -> str:
        """Return the id of the server that is the target by a parameter's value.

        Raises Invalid if it is none.
        """
        self.check_target(targets)
        return self._values(ParameterType.SERVER)[targets.parameter or ""]

    def check_complete(self) -> None:
        """Ensure that each parameter has a value. Raises Invalid naming it."""
        check_complete(self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, as the API shows and the store keeps it."""
        plain = {name: _plain(value) for name, value in asdict(self).items()}
        plain["targets"] = self.targets.to_dict()
        plain["parameters"] = [one.to_dict() for one in self.parameters]
        if self.schedule:
            plain["schedule"] = schedules.to_dict(self.schedule)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TaskDefinition:
        """Return what `to_dict` made these plain values of."""
        schedule = plain["schedule"]
        retry = plain.get("retry", {})
        return cls(
            name=plain["name"],
            kind=TaskKind(plain["kind"]),
            spec=_spec(TaskKind(plain["kind"]), plain["spec"]),
            targets=Targets.from_dict(plain["targets"]),
            schedule=schedules.from_dict(schedule) if schedule else None,
            timeout_s=plain["timeout_s"],
            kill_grace_s=plain["kill_grace_s"],
            overlap=Overlap(plain["overlap"]),
            start_deadline_s=plain["start_deadline_s"],
            catch_up=CatchUp(plain["catch_up"]),
            enabled=plain["enabled"],
            retry=Retry(
                **_frozen(retry)
                | {"on": tuple(State(state) for state in retry.get("on", RETRIED))}
            ),
            catch_up_limit=plain.get("catch_up_limit", CATCH_UP_LIMIT),
            overlap_limit=plain.get("overlap_limit", 1),
            rollout=Rollout(**plain.get("rollout", {})),
            lost_after_s=plain.get("lost_after_s", LOST_AFTER_S),
            output_cap_bytes=plain.get("output_cap_bytes", OUTPUT_CAP_BYTES),
            parameters=tuple(
                Parameter.from_dict(one) for one in plain.get("parameters", ())
            ),
            environment=plain.get("environment"),
            tags=plain.get("tags", {}),
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which version of which template a task was made of."""

    template_id: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as it is on record.

    | field            | meaning                                                |
    |------------------|--------------------------------------------------------|
    | version          | counts the changes of users                            |
    | schedule_version | counts the changes of schedule and enabled             |
    | next_run         | the dispatcher's cursor: the first slot not yet sent   |
    | last_target      | the server that a round-robin took last                |
    | active_run       | the run that holds the task where runs may not overlap |
    | waiting          | runs that wait for their turn, oldest first            |
    | invalid          | why its schedule is parked, None if it is not          |
    | pause            | what holds back its slots, None if nothing does        |
    | template         | what it was made of, None if it is its own             |
    | deleted_at       | since when it is deleted, None if it is not            |
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
    last_target: str | None = None
    waiting: tuple[str, ...] = ()
    pause: Hold | None = None
    template: Origin | None = None
    deleted_at: datetime | None = None

    @property
    def schedule(self) -> Schedule | None:
        """Its schedule with what of it depends on the task, None: by hand only."""
        if self.definition.schedule is None:
            return None
        return schedules.bound(
            self.definition.schedule, task_id=self.task_id, created_at=self.created_at
        )


def _plain(value: Any) -> Any:
    """Return dataclasses' values as JSON knows them: lists for tuples."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _spec(kind: TaskKind, plain: Mapping[str, Any]) -> Spec:
    match kind:
        case TaskKind.SCRIPT:
            return Script.from_dict(plain)
        case TaskKind.FILE_TRANSFER:
            return FileTransfer.from_dict(plain)
        case TaskKind.SERVICE_CONTROL:
            return ServiceControl.from_dict(plain)


def _check_named(spec: Script, parameters: Sequence[Parameter]) -> None:
    """Ensure that a script and its parameters fit each other. Raises Invalid."""
    types = {one.name: one.type for one in parameters}
    for number, name in enumerate(types):
        if name in spec.environment or name in spec.secrets:
            raise Invalid(
                f"parameters.{number}.name",
                f"{name} is in the spec's environment or secrets as well",
            )
    for number, word in enumerate(spec.arguments):
        if isinstance(word, str):
            continue
        if word.parameter not in types:
            raise Invalid(
                f"spec.arguments.{number}",
                f"there is no parameter {word.parameter[:100]}",
            )
        if types[word.parameter] is ParameterType.SECRET:
            raise Invalid(
                f"spec.arguments.{number}",
                "arguments are seen by others on the server: a secret is a variable"
                " only",
            )


def _frozen(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in plain.items()
    }
