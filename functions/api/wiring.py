"""The composition root of the API, built at the first request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cronhop.aws.output import OutputBucket
from cronhop.aws.queue import Queue
from cronhop.aws.secrets import Secrets
from cronhop.aws.session import Session
from cronhop.services.audit import Audit
from cronhop.services.backfill import Backfill
from cronhop.services.calendars import Calendars
from cronhop.services.channels import Channels, Rules
from cronhop.services.credentials import Credentials
from cronhop.services.dispatch import Dispatcher
from cronhop.services.freeze import Freeze
from cronhop.services.preview import Preview
from cronhop.services.requests import Requests
from cronhop.services.runs import Runs
from cronhop.services.servers import Servers
from cronhop.services.statistics import Statistics
from cronhop.services.tasks import Tasks
from cronhop.services.templates import Templates
from cronhop.services.upcoming import Upcoming
from cronhop.services.why import Why
from cronhop.settings import Settings
from cronhop.store import connection


@dataclass(frozen=True, kw_only=True)
class Services:
    """The use cases that routes call, and the settings that they are made by."""

    settings: Settings
    credentials: Credentials
    servers: Servers
    tasks: Tasks
    templates: Templates
    runs: Runs
    calendars: Calendars
    freeze: Freeze
    preview: Preview
    why: Why
    upcoming: Upcoming
    backfill: Backfill
    audit: Audit
    channels: Channels
    rules: Rules
    requests: Requests
    statistics: Statistics


@cache
def services() -> Services:
    """Return the use cases of this environment."""
    settings = Settings.from_env()
    session = Session(settings)
    connection.connect(settings, session.botocore)
    queue = Queue(session.client("sqs"), settings.queue_url)
    dispatcher = Dispatcher(queue, shards=settings.shards)
    tasks = Tasks(
        dispatcher=dispatcher, has_transfer_bucket=bool(settings.transfer_bucket)
    )
    return Services(
        settings=settings,
        credentials=Credentials(
            secrets=Secrets(session.client("secretsmanager"), settings)
        ),
        servers=Servers(
            queue=queue,
            allowed_networks=settings.allowed_networks,
            refused_networks=settings.refused_networks,
        ),
        tasks=tasks,
        templates=Templates(tasks=tasks),
        runs=Runs(
            bucket=OutputBucket(session.client("s3"), settings.bucket),
            dispatcher=dispatcher,
        ),
        calendars=Calendars(),
        freeze=Freeze(),
        preview=Preview(),
        why=Why(),
        upcoming=Upcoming(shards=settings.shards),
        backfill=Backfill(dispatcher=dispatcher),
        audit=Audit(days=settings.audit_days),
        channels=Channels(
            queue=Queue(session.client("sqs"), settings.notice_queue_url),
            topics=settings.topics,
            allowed_networks=settings.allowed_networks,
            refused_networks=settings.refused_networks,
        ),
        rules=Rules(),
        requests=Requests(),
        statistics=Statistics(),
    )


def now() -> datetime:
    """Return the instant of this request, to the millisecond that is kept of it."""
    exact = datetime.now(UTC)
    return exact.replace(microsecond=exact.microsecond // 1000 * 1000)
