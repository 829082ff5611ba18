"""Delivery of notices: over a channel, once, and again while it does not take them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cronhop.aws.secrets import Secrets
from cronhop.aws.topic import Topic
from cronhop.domain.event import of_run
from cronhop.domain.instant import instant
from cronhop.domain.notification import (
    Channel,
    ChannelKind,
    Delivery,
    Notice,
    Occasion,
)
from cronhop.domain.run import Run
from cronhop.errors import DeliveryFailed, SecretMissing, SecretUnavailable
from cronhop.observe import log
from cronhop.services.credentials import secret_of
from cronhop.services.words import servers_of, task_name, words
from cronhop.store import notifications, runs
from cronhop.web.hook import Hook

VERSION = 1  # of what a webhook gets
LEASE = timedelta(minutes=2)  # longer than a delivery takes
FIRST_S, LONGEST_S = 30, 3600  # between a failed delivery and the next
_WHAT = {
    Occasion.RECOVERY: "recovered",
    Occasion.LATE: "late",
    Occasion.MISSED: "missed",
    Occasion.LONG: "takes long",
    Occasion.SUCCESS: "completed",
}


class Deliverer:
    """Delivers notices.

    `topic` makes the SNS topic of an ARN, `now` is the clock.
    """

    def __init__(
        self,
        secrets: Secrets,
        topic: Callable[[str], Topic],
        hook: Hook,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._secrets = secrets
        self._topic = topic
        self._hook = hook
        self._now = now

    def deliver(self, notice: Notice, *, received: int) -> int | None:
        """Deliver a notice, unless it was.

        Of several who come at once one delivers it; it comes twice only if that one
        dies before it can say that it has. Returns after how many seconds it is to
        be tried again, None if it is not. `received` counts the tries, this one
        included.
        """
        now = self._now()
        channel = notifications.channel(notice.channel)
        if channel is None:
            log.info("No such channel any more", action="channel_gone")
            return None
        if not notifications.claim(notice.notice_id, now=now, until=now + LEASE):
            if notifications.is_done(notice.notice_id):
                return None
            return int(LEASE.total_seconds())
        try:
            self._send(channel, notice)
        except (DeliveryFailed, SecretMissing, SecretUnavailable) as exc:
            log.warning(
                "A notification was not delivered",
                action="delivery_failed",
                channel=channel.name,
                why=str(exc),
            )
            notifications.give_back(notice.notice_id, now=now)
            self._record(channel, notice, ok=False, reason=str(exc))
            wanted_s = exc.after_s if isinstance(exc, DeliveryFailed) else None
            return max(_patience_s(received), wanted_s or 0)
        notifications.done(notice.notice_id, now=now)
        self._record(channel, notice, ok=True, reason="delivered")
        return None

    def _record(
        self, channel: Channel, notice: Notice, *, ok: bool, reason: str
    ) -> None:
        notifications.record_delivery(
            channel.name,
            Delivery(notice_id=notice.notice_id, at=self._now(), ok=ok, reason=reason),
            is_test=notice.occasion is Occasion.TEST,
        )

    def _send(self, channel: Channel, notice: Notice) -> None:
        run = runs.get(notice.run_id) if notice.run_id else None
        if notice.run_id and run is None:
            return  # kept no longer than the ledger wants it
        subject, text = _words(channel, notice, run)
        match channel.kind:
            case ChannelKind.SNS:
                if not self._topic(channel.target or "").publish(subject, text):
                    raise DeliveryFailed("SNS does not take it; see the log")
            case ChannelKind.WEBHOOK:
                self._post(channel, notice, text, run)
            case ChannelKind.SLACK:
                self._post_to_slack(channel, text)

    def _post(
        self, channel: Channel, notice: Notice, text: str, run: Run | None
    ) -> None:
        body = json.dumps(_body(notice, text, run, self._now())).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "cronhop",
            "X-Cronhop-Id": notice.notice_id,
        }
        if channel.credential:
            key = secret_of(self._secrets, channel.credential).password or ""
            at = int(self._now().timestamp())
            headers["X-Cronhop-Signature"] = signature(key, body, at=at)
        self._hook.post(channel.target or "", body, headers)

    def _post_to_slack(self, channel: Channel, text: str) -> None:
        url = secret_of(self._secrets, channel.credential or "").password or ""
        for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(char, name)
        body = json.dumps({"text": f"```{text}```"}).encode()
        headers = {"Content-Type": "application/json"}
        self._hook.post(url, body, headers, quote=False)


def _patience_s(received: int) -> int:
    """Return how long a channel is left alone after so many tries."""
    doublings = min(received - 1, 10)
    return min(FIRST_S << doublings, LONGEST_S)


def signature(key: str, body: bytes, *, at: int) -> str:
    """Return what shows that a body came from who has the key, at that second.

    `t=<epoch seconds>,v1=<hex>`: HMAC-SHA256 of `<epoch seconds>.<body>`.
    """
    signed = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


def _words(channel: Channel, notice: Notice, run: Run | None) -> tuple[str, str]:
    if run is None:
        text = f"test: channel {channel.name} works\n\ntest:     {notice.test_id}\n"
        return f"cronhop: test: {channel.name}", text
    return words(run, _WHAT.get(notice.occasion))


def _body(notice: Notice, text: str, run: Run | None, now: datetime) -> dict[str, Any]:
    """Return what a webhook gets."""
    told: dict[str, Any] | None = None
    if run:
        event = of_run(None, run, task_name=task_name(run), seen_at=now)
        told = {
            **event.detail,
            "servers": [
                {"server_id": server_id, "name": server.name if server else None}
                for server_id, server in servers_of(run)
            ],
        }
        del told["previous_state"]
    return {
        "version": VERSION,
        "id": notice.notice_id,
        "occasion": notice.occasion.value,
        "rule": notice.rule,
        "channel": notice.channel,
        "at": instant(now.replace(microsecond=0)),
        "text": text,
        "run": told,
    }
