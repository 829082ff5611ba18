"""The shapes of what clients get, for the OpenAPI document.

The views make it; tests hold their answers against these. No function loads this.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from cronhop.domain.credential import CredentialKind
from cronhop.domain.notification import ChannelKind
from cronhop.domain.parameter import ParameterType
from cronhop.domain.retry import Retry
from cronhop.domain.rollout import Rollout
from cronhop.domain.run import State, Trigger
from cronhop.domain.schedule import DstNote
from cronhop.domain.server import ServerStatus
from cronhop.domain.server_check import ServerCheck
from cronhop.domain.service import ServiceControl
from cronhop.domain.targets import Pick, Selector
from cronhop.domain.task import CatchUp, Overlap, Script
from cronhop.domain.transfer import FileTransfer
from cronhop.services.why import Verdict

from .notification_bodies import RuleOccasion

Ulid = Annotated[str, StringConstraints(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
Count = Annotated[int, Field(ge=0)]


class FieldError(TypedDict):
    """A field, and what is wrong with it."""

    field: str
    message: str


class Problem(TypedDict):
    """An error (RFC 9457); `errors` are the fields at fault."""

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    errors: NotRequired[list[FieldError]]


class GatewayError(TypedDict):
    """What the gateway says of a request that it lets nobody see."""

    message: str | None


class Login(TypedDict):
    """Where clients get their tokens."""

    issuer: str
    client_id: str


class Health(TypedDict):
    """The service is up."""

    status: Literal["ok"]
    version: str
    login: Login | None


class Me(TypedDict):
    """Who asks; `environments` null: all."""

    name: str
    subject: str
    roles: list[str]
    environments: list[str] | None
    actions: list[str]


class Made(TypedDict):
    """What people make, and change by its version."""

    version: Annotated[int, Field(ge=1)]
    created_by: str
    created_at: datetime
    updated_at: datetime


class Credential(Made):
    """A credential, without what leads to its value."""

    name: str
    kind: CredentialKind
    fingerprint: str | None
    environment: str | None


class HostKeyAlert(TypedDict):
    """The host showed a key that is not pinned."""

    seen: str
    at: datetime


class Server(Made):
    """A server."""

    server_id: Ulid
    name: str
    host: str
    port: int
    username: str
    credential: str
    host_keys: list[str]
    environment: str | None
    tags: dict[str, str]
    max_concurrency: int | None
    status: ServerStatus
    via_server: Ulid | None
    pending_check: Ulid | None
    last_check: ServerCheck | None
    host_key_alert: HostKeyAlert | None


class CheckAsked(TypedDict):
    """The check that an executor will do."""

    check_id: Ulid


class ByServers(TypedDict):
    """The servers with these ids."""

    server_ids: list[str]
    pick: Pick | int


class BySelector(TypedDict):
    """The servers that match when a run starts."""

    selector: Selector
    pick: Pick | int


class ByParameter(TypedDict):
    """The server that is the value of a parameter."""

    parameter: str
    pick: Pick | int


class _Window(TypedDict):
    timezone: str
    starts_at: datetime | None
    ends_at: datetime | None
    exclude_calendars: list[str]


class Cron(_Window):
    """By a cron expression."""

    cron: str
    seconds: bool


class Every(_Window):
    """By an interval."""

    every_s: int
    anchor: datetime | None


class Once(TypedDict):
    """At one instant."""

    at: datetime
    timezone: str
    exclude_calendars: list[str]


class Parameter(TypedDict):
    """A parameter, with what may be said of one of its type."""

    name: str
    type: ParameterType
    description: str
    default: str | int | bool | None
    pattern: NotRequired[str | None]
    max_length: NotRequired[int | None]
    values: NotRequired[list[str]]
    minimum: NotRequired[int | None]
    maximum: NotRequired[int | None]


class _Definition(TypedDict):
    name: str
    targets: ByServers | BySelector | ByParameter
    schedule: Cron | Every | Once | None
    timeout_s: int
    kill_grace_s: int
    overlap: Overlap
    overlap_limit: int
    start_deadline_s: int
    catch_up: CatchUp
    catch_up_limit: int
    enabled: bool
    retry: Retry
    rollout: Rollout
    lost_after_s: int
    output_cap_bytes: int
    parameters: list[Parameter]
    environment: str | None
    tags: dict[str, str]


class _ScriptDefinition(_Definition):
    kind: Literal["script"]
    spec: Script


class _FileTransferDefinition(_Definition):
    kind: Literal["file_transfer"]
    spec: FileTransfer


class _ServiceControlDefinition(_Definition):
    kind: Literal["service_control"]
    spec: ServiceControl


Definition = _ScriptDefinition | _FileTransferDefinition | _ServiceControlDefinition


class LastRun(TypedDict):
    """The newest run of a task."""

    run_id: Ulid
    state: State
    slot: datetime | None


class Hold(TypedDict):
    """A pause, or the freeze; `until` null: without an end."""

    by: str
    at: datetime
    until: datetime | None
    reason: str


class Origin(TypedDict):
    """Which version of which template a task was made of."""

    template_id: Ulid
    version: int


class _OfTask(Made):
    task_id: Ulid
    next_run: datetime | None
    last_run: LastRun | None
    pause: Hold | None
    invalid: str | None
    template: Origin | None
    deleted_at: datetime | None


class ScriptTask(_ScriptDefinition, _OfTask):
    """A task that runs a command."""


class FileTransferTask(_FileTransferDefinition, _OfTask):
    """A task that brings a file to a server, or takes one from it."""


class ServiceControlTask(_ServiceControlDefinition, _OfTask):
    """A task that does something with a systemd unit."""


Task = ScriptTask | FileTransferTask | ServiceControlTask


class _OfTemplate(Made):
    template_id: Ulid


class ScriptTemplate(_ScriptDefinition, _OfTemplate):
    """A template of tasks that run a command."""


class FileTransferTemplate(_FileTransferDefinition, _OfTemplate):
    """A template of tasks that transfer a file."""


class ServiceControlTemplate(_ServiceControlDefinition, _OfTemplate):
    """A template of tasks that do something with a systemd unit."""


Template = ScriptTemplate | FileTransferTemplate | ServiceControlTemplate


class MadeOfTemplate(TypedDict):
    """How a task stands to the template that it was made of."""

    task_id: Ulid
    name: str
    template_version: int | None
    behind: bool


class BackfillSlot(TypedDict):
    """A slot; `before` is the state of its own run, null if it has none."""

    at: datetime
    before: State | None
    run_id: Ulid | None


class Backfill(TypedDict):
    """The slots of a window."""

    dry_run: bool
    slots: list[BackfillSlot]


class Why(TypedDict):
    """What became of an instant, or will."""

    at: datetime
    verdict: Verdict
    because: str | None
    run_id: Ulid | None
    slot_before: datetime | None
    slot_after: datetime | None


class ImportedLine(TypedDict):
    """A line of a crontab, and its task or why it cannot be one."""

    line: int
    text: str
    task: Definition | None
    task_id: Ulid | None
    reason: str | None
    notes: list[str]


class Imported(TypedDict):
    """The tasks that a crontab's lines are."""

    dry_run: bool
    tasks: list[ImportedLine]


class PreviewSlot(TypedDict):
    """A slot, in UTC and by the schedule's clock."""

    at: datetime
    local: datetime
    note: DstNote | None
    excluded_by: str | None


class Preview(TypedDict):
    """The coming slots of a schedule, and what may surprise."""

    slots: list[PreviewSlot]
    warnings: list[str]


class UpcomingSlot(TypedDict):
    """A coming slot, and what will hold it back as things are now."""

    at: datetime
    task_id: Ulid
    name: str
    held_back: str | None


class Load(TypedDict):
    """How many runs start in a minute."""

    minute: datetime
    starts: Count


class Upcoming(TypedDict):
    """The coming slots of all tasks."""

    after: datetime
    until: datetime
    slots: list[UpcomingSlot]
    load: list[Load]
    complete: bool


class Calendar(Made):
    """A set of dates."""

    name: str
    dates: list[date]


class Freeze(TypedDict):
    """The freeze of the stack, null if there is none."""

    freeze: Hold | None


class Delivery(TypedDict):
    """What became of something sent over a channel."""

    id: str | None
    at: datetime
    ok: bool
    reason: str | None


class Channel(Made):
    """A way to tell somebody."""

    name: str
    kind: ChannelKind
    url: str | None
    topic_arn: str | None
    credential: str | None
    last_delivery: Delivery | None
    last_test: Delivery | None


class TestSent(TypedDict):
    """The notification that is on its way."""

    test_id: str


class Rule(Made):
    """When which channels are told."""

    name: str
    on: list[RuleOccasion]
    channels: list[str]
    task_id: str | None
    environment: str | None
    late_s: int


class Cancel(TypedDict):
    """Who asked for its end."""

    by: str
    at: datetime


Missed = TypedDict(
    "Missed",
    {"from": datetime, "to": datetime, "at_least": int},
)
Missed.__doc__ = "The range of slots that a run stands for."


class Run(TypedDict):
    """A run."""

    run_id: Ulid
    task_id: Ulid
    trigger: Trigger
    retry_of: Ulid | None
    environment: str | None
    slot: datetime | None
    state: State
    reason: str | None
    task_version: int | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    target_count: Count
    cancel: Cancel | None
    missed: NotRequired[Missed]


class OutputBytes(TypedDict):
    """How much was written."""

    stdout: Count
    stderr: Count


class Attempt(TypedDict):
    """One start of a command."""

    attempt: Count
    state: State
    reason: str | None
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    output_bytes: OutputBytes


class Execution(Attempt):
    """What a run does on one server, as of its last attempt."""

    run_id: Ulid
    server_id: str
    position: int | None
    due_at: datetime | None


class WholeExecution(Execution):
    """An execution with every attempt, the last one as well."""

    attempts: list[Attempt]


class WholeRun(Run):
    """A run with its first targets and executions."""

    parameters: dict[str, str | int | bool]
    targets: list[str]
    counts: dict[State, Count]
    executions: list[Execution]


class PollAsked(TypedDict):
    """Whether a visit was asked for."""

    asked: bool


class Output(TypedDict):
    """A piece of output."""

    attempt: Count
    data: str
    encoding: Literal["utf-8", "base64"]
    offset: Count
    next_offset: Count
    total_bytes: Count
    complete: bool
    truncated_bytes: Count


class AuditRecord(TypedDict):
    """One change or refusal."""

    audit_id: Ulid
    at: datetime
    entity: str
    action: str
    actor: str
    subject: str
    request: str
    status: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str
    source_address: str
    user_agent: str


_Days = TypedDict("_Days", {"from": date, "to": date})


class _Counts(TypedDict):
    runs: Count
    states: dict[State, Count]
    success_rate: float | None
    late: Count


class _Timed(_Counts):
    p50_s: float | None
    p95_s: float | None


class DayStats(_Counts):
    """What was on one day."""

    day: date


class TimedDayStats(_Timed):
    """What a task did on one day."""

    day: date


class BusyServer(TypedDict):
    """A server, and how much ran on it."""

    server_id: str
    name: str | None
    busy_s: float | None
    executions: Count
    states: dict[State, Count]


class Busiest(TypedDict):
    """The servers on which most ran."""

    since: date
    items: list[BusyServer]


class NeverSuccessful(TypedDict):
    """A task that never succeeded."""

    task_id: Ulid
    name: str
    first_end: datetime | None


class AllNeverSuccessful(TypedDict):
    """Those of the tasks that were looked at; `complete`: of all."""

    items: list[NeverSuccessful]
    complete: bool


class Stats(_Days, _Counts):
    """What the fleet did in some days."""

    days: list[DayStats]
    busiest_servers: Busiest
    never_successful: AllNeverSuccessful


class TaskStats(_Days, _Timed):
    """What a task did in some days."""

    task_id: Ulid
    last_success: datetime | None
    days: list[TimedDayStats]


T = TypeVar("T")


class Listed(TypedDict, Generic[T]):
    """A page of a list; `next_token` null: the last."""

    items: list[T]
    next_token: str | None
