"""What clients get: domain objects as JSON."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response, content_types

from cronhop.domain.calendar import Calendar
from cronhop.domain.credential import Credential
from cronhop.domain.hold import Hold
from cronhop.domain.instant import instant
from cronhop.domain.notification import Channel, ChannelKind, Delivery, Rule
from cronhop.domain.parameter import Value
from cronhop.domain.run import Attempt, Execution, Run, State, StreamRecord
from cronhop.domain.server import Server
from cronhop.domain.task import Task
from cronhop.domain.template import Template
from cronhop.services.runs import OutputPage
from cronhop.services.why import Answer


def answer(
    body: Mapping[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    *,
    version: int | None = None,
) -> Response[str]:
    """Return a JSON answer; `version` becomes its ETag."""
    headers: dict[str, str | list[str]] = {}
    if version is not None:
        headers["ETag"] = f'"{version}"'
    return Response(
        status_code=status.value,
        content_type=content_types.APPLICATION_JSON,
        body=json.dumps(body),
        headers=headers,
    )


def empty() -> Response[str]:
    """Return an answer without a body."""
    return Response(status_code=HTTPStatus.NO_CONTENT.value, body="")


def credential_view(credential: Credential) -> dict[str, Any]:
    """Return a credential without what leads to its value."""
    return {
        "name": credential.name,
        "kind": credential.kind.value,
        "fingerprint": credential.fingerprint,
        "environment": credential.environment,
        "version": credential.version,
        "created_by": credential.created_by,
        "created_at": instant(credential.created_at),
        "updated_at": instant(credential.updated_at),
    }


def server_body(server: Server) -> dict[str, Any]:
    """Return the server as a client would send it."""
    return {
        "name": server.name,
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "credential": server.credential,
        "host_keys": list(server.host_keys),
        "environment": server.environment,
        "tags": dict(server.tags),
        "max_concurrency": server.max_concurrency,
        "status": server.status.value,
        "via_server": server.via_server,
    }


def server_view(server: Server) -> dict[str, Any]:
    """Return a server."""
    alert = server.host_key_alert
    return {
        "server_id": server.server_id,
        **server_body(server),
        "pending_check": server.pending_check,
        "last_check": server.last_check.to_dict() if server.last_check else None,
        "host_key_alert": {"seen": alert.seen, "at": instant(alert.at)}
        if alert
        else None,
        "version": server.version,
        "created_by": server.created_by,
        "created_at": instant(server.created_at),
        "updated_at": instant(server.updated_at),
    }


def calendar_view(calendar: Calendar) -> dict[str, Any]:
    """Return a calendar."""
    return {
        "name": calendar.name,
        "dates": [day.isoformat() for day in calendar.dates],
        "version": calendar.version,
        "created_by": calendar.created_by,
        "created_at": instant(calendar.created_at),
        "updated_at": instant(calendar.updated_at),
    }


def hold_view(hold: Hold | None) -> dict[str, Any] | None:
    """Return a pause or the freeze."""
    if hold is None:
        return None
    return {
        "by": hold.by,
        "at": instant(hold.at),
        "until": instant(hold.until),
        "reason": hold.reason,
    }


def task_view(
    task: Task, *, next_run: datetime | None, last_run: Run | None = None
) -> dict[str, Any]:
    """Return a task with its next slot and its newest run."""
    return {
        "task_id": task.task_id,
        **task.definition.to_dict(),
        "next_run": instant(next_run),
        "last_run": {
            "run_id": last_run.run_id,
            "state": last_run.state.value,
            "slot": instant(last_run.slot),
        }
        if last_run
        else None,
        "pause": hold_view(task.pause),
        "invalid": task.invalid,
        "template": asdict(task.template) if task.template else None,
        "deleted_at": instant(task.deleted_at),
        "version": task.version,
        "created_by": task.created_by,
        "created_at": instant(task.created_at),
        "updated_at": instant(task.updated_at),
    }


def template_view(template: Template) -> dict[str, Any]:
    """Return a template."""
    return {
        "template_id": template.template_id,
        **template.definition.to_dict(),
        "version": template.version,
        "created_by": template.created_by,
        "created_at": instant(template.created_at),
        "updated_at": instant(template.updated_at),
    }


def made_view(task: Task, template: Template) -> dict[str, Any]:
    """Return of a task how it stands to the template that it was made of."""
    version = task.template.version if task.template else None
    return {
        "task_id": task.task_id,
        "name": task.definition.name,
        "template_version": version,
        "behind": version != template.version,
    }


def why_view(asked: Answer) -> dict[str, Any]:
    """Return what became of an instant."""
    return {
        "at": instant(asked.at),
        "verdict": asked.verdict.value,
        "because": asked.because,
        "run_id": asked.run.run_id if asked.run else None,
        "slot_before": instant(asked.before),
        "slot_after": instant(asked.after),
    }


def channel_view(channel: Channel) -> dict[str, Any]:
    """Return a channel, and what became of the last thing sent over it."""
    is_topic = channel.kind is ChannelKind.SNS
    return {
        "name": channel.name,
        "kind": channel.kind.value,
        "url": None if is_topic else channel.target,
        "topic_arn": channel.target if is_topic else None,
        "credential": channel.credential,
        "last_delivery": _delivery_view(channel.last_delivery),
        "last_test": _delivery_view(channel.last_test),
        **_made(channel),
    }


def _delivery_view(delivery: Delivery | None) -> dict[str, Any] | None:
    if delivery is None:
        return None
    return {
        "id": delivery.notice_id,
        "at": instant(delivery.at),
        "ok": delivery.ok,
        "reason": delivery.reason,
    }


def rule_view(rule: Rule) -> dict[str, Any]:
    """Return a rule."""
    return {
        "name": rule.name,
        "on": [one.value for one in rule.on],
        "channels": list(rule.channels),
        "task_id": rule.task_id,
        "environment": rule.environment,
        "late_s": rule.late_s,
        **_made(rule),
    }


def _made(thing: Channel | Rule) -> dict[str, Any]:
    return {
        "version": thing.version,
        "created_by": thing.created_by,
        "created_at": instant(thing.created_at),
        "updated_at": instant(thing.updated_at),
    }


def run_view(run: Run) -> dict[str, Any]:
    """Return a run."""
    view: dict[str, Any] = {
        "run_id": run.run_id,
        "task_id": run.task_id,
        "trigger": run.trigger.value,
        "retry_of": run.retry_of,
        "environment": run.environment,
        "slot": instant(run.slot),
        "state": run.state.value,
        "reason": run.reason,
        "task_version": run.task_version,
        "created_by": run.created_by,
        "created_at": instant(run.created_at),
        "started_at": instant(run.started_at),
        "finished_at": instant(run.finished_at),
        "target_count": run.target_count,
        "cancel": {"by": run.cancel_by, "at": instant(run.cancel_at)}
        if run.cancel_by
        else None,
    }
    if run.missed_to:
        view["missed"] = {
            "from": instant(run.slot),
            "to": instant(run.missed_to),
            "at_least": run.missed_count,
        }
    return view


def whole_run_view(
    run: Run,
    parameters: Mapping[str, Value],
    targets: Sequence[str],
    counts: Mapping[State, int],
    executions: Sequence[Execution],
) -> dict[str, Any]:
    """Return a run with the values it was given, its servers and executions."""
    return {
        **run_view(run),
        "parameters": dict(parameters),
        "targets": list(targets),
        "counts": {state.value: number for state, number in counts.items()},
        "executions": [execution_view(one) for one in executions],
    }


def execution_view(
    execution: Execution, attempts: Sequence[Attempt] | None = None
) -> dict[str, Any]:
    """Return an execution, with its earlier attempts where they were asked for."""
    view: dict[str, Any] = {
        "run_id": execution.run_id,
        "server_id": execution.server_id,
        "position": execution.position,
        **_attempt_view(execution),
        "due_at": instant(execution.due_at),
    }
    if attempts is not None:
        every: list[Attempt | Execution] = [*attempts, execution]
        view["attempts"] = [_attempt_view(one) for one in every]
    return view


def _attempt_view(attempt: Attempt | Execution) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "state": attempt.state.value,
        "reason": attempt.reason,
        "exit_code": attempt.exit_code,
        "started_at": instant(attempt.started_at),
        "finished_at": instant(attempt.finished_at),
        "output_bytes": {
            "stdout": _bytes(attempt.stdout),
            "stderr": _bytes(attempt.stderr),
        },
    }


def output_view(page: OutputPage, encoding: str) -> dict[str, Any]:
    """Return a piece of output, as text or in base 64.

    As text, a character that the page cuts in two begins the next page, and
    what is no UTF-8 is replaced.
    """
    data, following = page.data, page.next_offset
    if encoding == "base64":
        text = base64.b64encode(data).decode()
    else:
        if not page.complete:
            data = _whole_characters(data)
            following -= len(page.data) - len(data)
        text = data.decode(errors="replace")
    return {
        **asdict(page),
        "data": text,
        "encoding": encoding,
        "next_offset": following,
    }


def _whole_characters(data: bytes) -> bytes:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    pending, _ = decoder.getstate()
    # A page of nothing but the beginning of a character must still get on.
    return data[: len(data) - len(pending)] or data


def _bytes(record: StreamRecord | None) -> int:
    return record.total_bytes if record else 0
