"""What clients send: strict, and nothing that is not known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from cronhop.domain.credential import Secret
from cronhop.domain.parameter import (
    MAX_DESCRIPTION,
    MAX_INTEGER,
    MAX_LENGTH,
    MAX_PARAMETERS,
    MAX_VALUES,
    Parameter,
    ParameterType,
    ParameterWord,
)
from cronhop.domain.private_key import MAX_CHARACTERS
from cronhop.domain.retry import MAX_INTERVAL_S, Retry
from cronhop.domain.rollout import Rollout, Share
from cronhop.domain.run import State
from cronhop.domain.server import MAX_HOST_KEYS, ServerDefinition, ServerStatus
from cronhop.domain.service import ServiceControl
from cronhop.domain.targets import (
    MAX_SERVER_IDS,
    MAX_TARGETS,
    Pick,
    Selector,
    Targets,
)
from cronhop.domain.task import (
    CATCH_UP_LIMIT,
    LOST_AFTER_S,
    OUTPUT_CAP_BYTES,
    CatchUp,
    Overlap,
    Script,
    Spec,
    TaskDefinition,
    TaskKind,
)
from cronhop.domain.variable import check_variable
from cronhop.errors import Invalid

from .fields import PRINTABLE, EachOnce, Slug, StrictBody, Word, not_yet, told
from .schedule_body import ScheduleBody, other_form
from .specs import FileTransferBody, ServiceControlBody

DAY_S = 86400
MAX_COMMAND_BYTES = 64 * 1024


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it may not hold a NUL character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _short_enough(text: str) -> str:
    if len(text.encode()) > MAX_COMMAND_BYTES:
        raise ValueError(f"it has more than {MAX_COMMAND_BYTES} bytes")
    return text


def _program(words: list[str]) -> list[str]:
    if words and (not words[0] or words[0].startswith("-")):
        raise ValueError("its first word is no program")
    return words


def _trimmed(text: str) -> str:
    if text != text.strip():
        raise ValueError("it may not begin or end with a space")
    return text


def _share(*, least: int) -> PlainValidator:
    """Return the validator of a number of servers, or a percentage of all."""
    percentage = "([1-9][0-9]?|100)%" if least else "(0|[1-9][0-9]?|100)%"

    def check(value: object) -> Share:
        if isinstance(value, str) and re.fullmatch(percentage, value):
            return value
        if type(value) is int and least <= value <= MAX_TARGETS:
            return value
        raise ValueError(
            f'it is {least} to {MAX_TARGETS}, or {least}% to 100% of the servers: "25%"'
        )

    return PlainValidator(
        check,
        json_schema_input_type=Annotated[int, Field(ge=least, le=MAX_TARGETS)]
        | Annotated[str, StringConstraints(pattern=f"^{percentage}$")],
    )


def _scalar(value: object) -> str | int | None:
    if value is None or isinstance(value, str | int):
        return value
    raise ValueError("it is a text, a whole number, true or false")


def _pick(value: object) -> Pick | int:
    if isinstance(value, int) and not isinstance(value, bool):
        if 1 <= value <= MAX_TARGETS:
            return value
    elif value in list(Pick):
        return Pick(str(value))
    raise ValueError(f"it is one of {', '.join(Pick)}, or a number up to {MAX_TARGETS}")


def _argument(value: object, word: ValidatorFunctionWrapHandler) -> str | ParameterWord:
    if not isinstance(value, dict):
        return str(word(value))
    if list(value) != ["parameter"] or not isinstance(value["parameter"], str):
        raise ValueError('it is a word, or {"parameter": "NAME"}')
    return ParameterWord(parameter=value["parameter"])


def _variable(name: str) -> str:
    try:
        check_variable(name, "")
    except Invalid as exc:
        raise ValueError(exc.message) from exc
    return name


Name = Annotated[Word, AfterValidator(_trimmed)]
Variable = Annotated[str, AfterValidator(_variable)]
Value = Annotated[str, StringConstraints(max_length=8192), AfterValidator(_no_nul)]
AnyShare = Annotated[int | str, _share(least=0)]
SomeShare = Annotated[int | str, _share(least=1)]
Argument = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_no_nul)]
UserName = Annotated[
    str, StringConstraints(max_length=32, pattern=r"^[a-z_][a-z0-9_.-]*[$]?$")
]
ServerId = Annotated[str, StringConstraints(max_length=100)]
Command = Annotated[
    str,
    StringConstraints(min_length=1),
    AfterValidator(_short_enough),
    AfterValidator(_no_nul),
    AfterValidator(_not_blank),
]


class SecretBody(StrictBody):
    """The value of a credential: a private key, or a password."""

    private_key: Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)] | None = (
        None
    )
    passphrase: Annotated[str, StringConstraints(max_length=1024)] | None = None
    password: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=4096),
            AfterValidator(_no_nul),
        ]
        | None
    ) = None

    def secret(self) -> Secret:
        """Return what was sent."""
        return Secret(
            private_key=self.private_key,
            passphrase=self.passphrase or None,
            password=self.password,
        )


class CredentialBody(SecretBody):
    """A credential and its value."""

    name: Slug
    environment: Word | None = None


class ServerBody(StrictBody):
    """A server."""

    name: Name
    host: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    username: Annotated[
        str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x20\x7f:@/]+$")
    ]
    credential: Slug
    host_keys: Annotated[
        list[Annotated[str, StringConstraints(max_length=8192), PRINTABLE]],
        Field(max_length=MAX_HOST_KEYS),
    ] = []
    environment: Word | None = None
    tags: Annotated[dict[Word, Word], Field(max_length=50)] = {}
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    status: Literal["enabled", "disabled", "maintenance"] = "enabled"
    via_server: str | None = None

    def definition(self) -> ServerDefinition:
        """Return what was sent."""
        return ServerDefinition(
            name=self.name,
            host=self.host,
            port=self.port,
            username=self.username,
            credential=self.credential,
            host_keys=tuple(dict.fromkeys(line.strip() for line in self.host_keys)),
            environment=self.environment,
            tags=self.tags,
            max_concurrency=self.max_concurrency,
            status=ServerStatus(self.status),
            via_server=self.via_server,
        )


class HostKeyBody(StrictBody):
    """The approval of a host key that a check has seen."""

    fingerprint: Annotated[
        str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")
    ]
    replace: bool = False


class ParameterWordBody(StrictBody):
    """A word that is the value of a parameter."""

    parameter: str


class ScriptBody(StrictBody):
    """A command and its environment."""

    command: Command
    interpreter: Annotated[
        list[Argument], Field(max_length=20), AfterValidator(_program)
    ] = []
    arguments: Annotated[
        list[
            Annotated[
                Argument,
                WrapValidator(
                    _argument, json_schema_input_type=Argument | ParameterWordBody
                ),
            ]
        ],
        Field(max_length=100),
    ] = []
    workdir: Annotated[Value, StringConstraints(pattern=r"^/")] | None = None
    run_as: UserName | None = None
    environment: Annotated[dict[Variable, Value], Field(max_length=50)] = {}
    secrets: Annotated[dict[Variable, Slug], Field(max_length=10)] = {}

    def spec(self) -> Script:
        """Return what was sent."""
        return Script(
            command=self.command,
            interpreter=tuple(self.interpreter),
            arguments=tuple(self.arguments),
            workdir=self.workdir,
            run_as=self.run_as,
            environment=self.environment,
            secrets=self.secrets,
        )


Bound = Annotated[int, told(minimum=-MAX_INTEGER, maximum=MAX_INTEGER)]


class ParameterBody(StrictBody):
    """A parameter; what may be said of one of its type is checked by the domain."""

    name: Annotated[str, told(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
    type: Literal["string", "enum", "integer", "boolean", "server", "secret"]
    description: Annotated[str, told(maxLength=MAX_DESCRIPTION), PRINTABLE] = ""
    default: Annotated[
        str | int | bool | None,
        PlainValidator(_scalar, json_schema_input_type=str | int | bool | None),
    ] = None
    pattern: str | None = None
    max_length: Annotated[int, told(minimum=0, maximum=MAX_LENGTH)] | None = None
    values: Annotated[list[str], told(maxItems=MAX_VALUES, uniqueItems=True)] = []
    minimum: Bound | None = None
    maximum: Bound | None = None

    def parameter(self) -> Parameter:
        """Return what was sent."""
        plain = dict(self)
        return Parameter(
            **plain | {"type": ParameterType(self.type), "values": tuple(self.values)}
        )


class SelectorBody(StrictBody):
    """What the servers have to be like that a task runs on."""

    environment: Word | None = None
    tags: Annotated[dict[Word, Word], Field(max_length=50)] = {}
    name: Name | None = None
    or_: Annotated[None, not_yet("or in a selector is"), Field(alias="or")] = None
    not_: Annotated[None, not_yet("not in a selector is"), Field(alias="not")] = None

    def selector(self) -> Selector:
        """Return what was sent. Raises Invalid."""
        if not (self.environment or self.tags or self.name):
            raise Invalid(
                "targets.selector", "it names none of environment, tags and name"
            )
        return Selector(environment=self.environment, tags=self.tags, name=self.name)


class TargetsBody(StrictBody):
    """Where a task runs."""

    server_ids: (
        Annotated[EachOnce[ServerId], Field(min_length=1, max_length=MAX_SERVER_IDS)]
        | None
    ) = None
    selector: SelectorBody | None = None
    parameter: str | None = None
    pick: Annotated[
        Pick | int,
        PlainValidator(
            _pick,
            json_schema_input_type=Pick | Annotated[int, Field(ge=1, le=MAX_TARGETS)],
        ),
    ] = Pick.ALL

    def targets(self) -> Targets:
        """Return what was sent. Raises Invalid."""
        ways = [
            way
            for way in ("server_ids", "selector", "parameter")
            if getattr(self, way) is not None
        ]
        if not ways:
            raise Invalid("targets", "it needs server_ids, a selector or a parameter")
        if len(ways) > 1:
            raise Invalid(
                f"targets.{ways[1]}",
                f"{' or '.join(ways)}, not both; in a PATCH set the other to null",
            )
        if self.parameter is not None and self.pick is not Pick.ALL:
            raise Invalid("targets.pick", "a parameter is one server: leave it out")
        return Targets(
            server_ids=tuple(self.server_ids or ()),
            selector=self.selector.selector() if self.selector else None,
            parameter=self.parameter,
            pick=self.pick,
        )


class RetryBody(StrictBody):
    """How often a command is started, and on what."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 1
    interval_s: Annotated[int, Field(ge=1, le=DAY_S)] = 30
    backoff: Annotated[float, Field(ge=1, le=10)] = 2.0
    max_interval_s: Annotated[int, Field(ge=1, le=DAY_S)] | None = None
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    on: Annotated[list[Literal["failed", "timeout"]], Field(min_length=1)] = [
        "failed",
        "timeout",
    ]
    exit_codes: Annotated[
        list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=255)
    ] = []

    def retry(self) -> Retry:
        """Return what was sent. Raises Invalid."""
        longest = self.max_interval_s or max(self.interval_s, MAX_INTERVAL_S)
        if longest < self.interval_s:
            raise Invalid("retry.max_interval_s", "it is less than interval_s")
        if self.exit_codes and "failed" not in self.on:
            raise Invalid("retry.exit_codes", "they are those of failed, not in on")
        return Retry(
            max_attempts=self.max_attempts,
            interval_s=self.interval_s,
            backoff=self.backoff,
            max_interval_s=longest,
            jitter=self.jitter,
            on=tuple(State(state) for state in dict.fromkeys(self.on)),
            exit_codes=tuple(sorted(set(self.exit_codes))),
        )


class RolloutBody(StrictBody):
    """In which steps a run goes over several servers."""

    max_parallel: SomeShare | None = None
    batches: bool = False
    canary: SomeShare | None = None
    max_failures: AnyShare | None = None
    success_threshold: SomeShare | None = None

    def rollout(self) -> Rollout:
        """Return what was sent. Raises Invalid."""
        if self.batches and self.max_parallel is None:
            raise Invalid(
                "rollout.batches", "a batch has max_parallel servers: say how many"
            )
        return Rollout(**dict(self))


class TaskBody(StrictBody):
    """A task, but for what it does."""

    name: Name
    targets: TargetsBody
    schedule: ScheduleBody | None = None
    timeout_s: Annotated[int, Field(ge=1, le=7 * DAY_S)] = 3600
    kill_grace_s: Annotated[int, Field(ge=0, le=600)] = 10
    lost_after_s: Annotated[int, Field(ge=300, le=30 * DAY_S)] = LOST_AFTER_S
    output_cap_bytes: Annotated[int, Field(ge=2**16, le=2**27)] = OUTPUT_CAP_BYTES
    retry: RetryBody = RetryBody()
    rollout: RolloutBody = RolloutBody()
    overlap: Literal["skip", "queue", "replace", "allow"] = "skip"
    overlap_limit: Annotated[int, Field(ge=1, le=100)] = 1
    start_deadline_s: Annotated[int, Field(ge=1, le=7 * DAY_S)] = 3600
    catch_up: Literal["one", "all", "none"] = "one"
    catch_up_limit: Annotated[int, Field(ge=1, le=100)] = CATCH_UP_LIMIT
    enabled: bool = True
    parameters: Annotated[list[ParameterBody], Field(max_length=MAX_PARAMETERS)] = []
    environment: Word | None = None
    tags: Annotated[dict[Word, Word], Field(max_length=50)] = {}

    def _definition(self, kind: TaskKind, spec: Spec) -> TaskDefinition:
        return TaskDefinition(
            name=self.name,
            kind=kind,
            spec=spec,
            targets=self.targets.targets(),
            schedule=self.schedule.schedule() if self.schedule else None,
            timeout_s=self.timeout_s,
            kill_grace_s=self.kill_grace_s,
            overlap=Overlap(self.overlap),
            overlap_limit=self.overlap_limit,
            start_deadline_s=self.start_deadline_s,
            catch_up=CatchUp(self.catch_up),
            catch_up_limit=self.catch_up_limit,
            enabled=self.enabled,
            retry=self.retry.retry(),
            rollout=self.rollout.rollout(),
            lost_after_s=self.lost_after_s,
            output_cap_bytes=self.output_cap_bytes,
            parameters=tuple(one.parameter() for one in self.parameters),
            environment=self.environment,
            tags=self.tags,
        )


class ScriptTaskBody(TaskBody):
    """A task that runs a command."""

    kind: Literal["script"] = "script"
    spec: ScriptBody


class FileTransferTaskBody(TaskBody):
    """A task that brings a file to a server, or takes one from it."""

    kind: Literal["file_transfer"]
    spec: FileTransferBody


class ServiceControlTaskBody(TaskBody):
    """A task that does something with a systemd unit."""

    kind: Literal["service_control"]
    spec: ServiceControlBody


_TASK_BODIES: Mapping[
    object,
    type[ScriptTaskBody | FileTransferTaskBody | ServiceControlTaskBody],
] = {
    "script": ScriptTaskBody,
    "file_transfer": FileTransferTaskBody,
    "service_control": ServiceControlTaskBody,
}


def task_definition(
    body: object, present: Mapping[str, Any] | None = None
) -> TaskDefinition:
    """Return the task that a body says, or a merge patch to the `present` one.

    Raises RequestValidationError, Invalid.
    """
    if not isinstance(body, dict):
        raise Invalid("", "the body is not a JSON object")
    if present is not None:
        if body.get("kind", present["kind"]) != present["kind"]:
            # The spec of another kind has nothing in common with this one.
            of_kind = {"spec", "parameters"}
            present = {
                name: value for name, value in present.items() if name not in of_kind
            }
        if isinstance(body.get("schedule"), dict) and present["schedule"]:
            schedule = other_form(present["schedule"], body["schedule"])
            present = {**present, "schedule": schedule}
        body = _merge(present, body)
    kind = body.get("kind", "script") if isinstance(body, dict) else None
    model = _TASK_BODIES.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Invalid("kind", f"it is one of {', '.join(map(str, _TASK_BODIES))}")
    task = _validated(model, body)
    spec = task.spec.spec()
    if isinstance(spec, ServiceControl) and task.timeout_s <= spec.longest_s:
        raise Invalid("timeout_s", f"the waits of spec take up to {spec.longest_s} s")
    return task._definition(TaskKind(task.kind), spec)  # noqa: SLF001


def made_definition(
    template: TaskDefinition, body: Mapping[str, Any]
) -> tuple[TaskDefinition, Mapping[str, Any]]:
    """Return the task that is to be made of a template, and its parameters' values.

    What the body says stands instead of what the template does, field by field, but
    for what the task does, which is the template's. Raises RequestValidationError,
    Invalid.
    """
    own = dict(body)
    values = own.pop("parameters", {})
    if not isinstance(values, dict):
        raise Invalid("parameters", "it is not a JSON object, { … }")
    for name in ("kind", "spec"):
        if name in own:
            raise Invalid(name, "it is the template's; change the task afterwards")
    if "name" not in own:
        raise Invalid("name", "it is required")
    return task_definition({**template.to_dict(), **own}), values


class RunBody(StrictBody):
    """A run by hand, on other servers and with other values if it says so."""

    targets: TargetsBody | None = None
    parameters: dict[str, Any] = {}


B = TypeVar("B", bound=BaseModel)


def merged(model: type[B], present: Mapping[str, Any], patch: object) -> B:
    """Return the present body changed by a merge patch (RFC 7396).

    What the patch leaves out stays, null takes away. Raises as a body that is
    sent whole would.
    """
    if not isinstance(patch, dict):
        raise Invalid("", "the body is not a JSON object")
    return _validated(model, _merge(present, patch))


def _validated(model: type[B], body: object) -> B:
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        raise RequestValidationError(exc.errors()) from exc


def _merge(present: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    whole = dict(present) if isinstance(present, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = _merge(whole.get(name), value)
    return whole
