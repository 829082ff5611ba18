"""What clients send: strict, and nothing that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestValidationError,
)
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from cronhop.domain.credential import Secret
from cronhop.domain.private_key import MAX_CHARACTERS
from cronhop.domain.schedule import CronSchedule
from cronhop.domain.server import MAX_HOST_KEYS, ServerDefinition, ServerStatus
from cronhop.domain.task import (
    CatchUp,
    Overlap,
    Script,
    Targets,
    TaskDefinition,
    TaskKind,
)
from cronhop.domain.variable import check_variable
from cronhop.errors import Invalid

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


def _trimmed(text: str) -> str:
    if text != text.strip():
        raise ValueError("it may not begin or end with a space")
    return text


def _one_for_now(servers: list[str]) -> list[str]:
    if len(servers) > 1:
        raise ValueError("more than one server is not there yet; make a task for each")
    return servers


def _variable(name: str) -> str:
    try:
        check_variable(name, "")
    except Invalid as exc:
        raise ValueError(exc.message) from exc
    return name


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$"),
    AfterValidator(_trimmed),
]
CredentialName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    ),
]
Variable = Annotated[str, AfterValidator(_variable)]
Value = Annotated[str, StringConstraints(max_length=8192), AfterValidator(_no_nul)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Command = Annotated[
    str,
    StringConstraints(min_length=1),
    AfterValidator(_short_enough),
    AfterValidator(_no_nul),
    AfterValidator(_not_blank),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SecretBody(_Body):
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

    name: CredentialName


class ServerBody(_Body):
    """A server."""

    name: Name
    host: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    username: Annotated[
        str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x20\x7f:@/]+$")
    ]
    credential: CredentialName
    host_keys: Annotated[
        list[Annotated[str, StringConstraints(max_length=8192)]],
        Field(max_length=MAX_HOST_KEYS),
    ] = []
    environment: Word | None = None
    tags: Annotated[dict[Word, Word], Field(max_length=50)] = {}
    max_concurrency: None = None
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
            host_keys=tuple(line.strip() for line in self.host_keys),
            environment=self.environment,
            tags=self.tags,
            max_concurrency=self.max_concurrency,
            status=ServerStatus(self.status),
            via_server=self.via_server,
        )


class HostKeyBody(_Body):
    """The approval of a host key that a check has seen."""

    fingerprint: Annotated[
        str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")
    ]
    replace: bool = False


class ScriptBody(_Body):
    """A command and its environment."""

    command: Command
    environment: Annotated[dict[Variable, Value], Field(max_length=50)] = {}
    secrets: Annotated[dict[Variable, CredentialName], Field(max_length=10)] = {}


class TargetsBody(_Body):
    """Where a task runs."""

    server_ids: Annotated[list[str], Field(min_length=1), AfterValidator(_one_for_now)]


class ScheduleBody(_Body):
    """When a task runs."""

    cron: str
    timezone: str = "UTC"


class TaskBody(_Body):
    """A task."""

    name: Name
    kind: Literal["script"] = "script"
    spec: ScriptBody
    targets: TargetsBody
    schedule: ScheduleBody | None = None
    timeout_s: Annotated[int, Field(ge=1, le=7 * DAY_S)] = 3600
    kill_grace_s: Annotated[int, Field(ge=0, le=600)] = 10
    overlap: Literal["skip", "allow"] = "skip"
    start_deadline_s: Annotated[int, Field(ge=1, le=7 * DAY_S)] = 3600
    catch_up: Literal["one"] = "one"
    enabled: bool = True

    def definition(self) -> TaskDefinition:
        """Return what was sent."""
        return TaskDefinition(
            name=self.name,
            kind=TaskKind(self.kind),
            spec=Script(
                command=self.spec.command,
                environment=self.spec.environment,
                secrets=self.spec.secrets,
            ),
            targets=Targets(server_ids=tuple(self.targets.server_ids)),
            schedule=CronSchedule(
                cron=self.schedule.cron, timezone=self.schedule.timezone
            )
            if self.schedule
            else None,
            timeout_s=self.timeout_s,
            kill_grace_s=self.kill_grace_s,
            overlap=Overlap(self.overlap),
            start_deadline_s=self.start_deadline_s,
            catch_up=CatchUp(self.catch_up),
            enabled=self.enabled,
        )


class RunBody(_Body):
    """A run by hand."""

    parameters: Annotated[dict[str, str], Field(max_length=0)] = {}


B = TypeVar("B", bound=BaseModel)


def merged(model: type[B], present: Mapping[str, Any], patch: object) -> B:
    """Return the present body changed by a merge patch (RFC 7396).

    What the patch leaves out stays, null takes away. Raises as a body that is
    sent whole would.
    """
    if not isinstance(patch, dict):
        raise Invalid("", "the body is not a JSON object")
    try:
        return model.model_validate(_merge(present, patch))
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
