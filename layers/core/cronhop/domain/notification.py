"""Notifications: who is told what of a run, and over which channel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cronhop.domain.address import check_host, is_within, literal
from cronhop.domain.run import Run, State
from cronhop.domain.tally import JUDGED
from cronhop.errors import Invalid

MAX_CHANNELS = 50
MAX_RULES = 200
MAX_URL = 2000  # characters
LONG_AT_LEAST = timedelta(minutes=1)
LATE_S = 30  # a run that began so long after it was due is late, if a rule says no more


class Occasion(StrEnum):
    """What somebody may want to be told of."""

    FAILURE = "failure"  #: a run ended in failed, timeout or lost, its last retry too
    RECOVERY = "recovery"  #: a run completed, and the one before it had not
    SUCCESS = "success"  #: a run completed
    LATE = "late"  #: a run began later than it was due
    MISSED = "missed"  #: slots were not started at all
    LONG = "long"  #: a run is under way for longer than is usual for its task
    TEST = "test"  #: somebody tries the channel; no rule names it


class ChannelKind(StrEnum):
    """How a channel is reached."""

    SNS = "sns"
    WEBHOOK = "webhook"
    SLACK = "slack"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of something sent over a channel.

    `notice_id` is None where it was sent before ids were recorded.
    """

    notice_id: str | None
    at: datetime
    ok: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A way to tell somebody.

    | field      | meaning                                                      |
    |------------|--------------------------------------------------------------|
    | target     | of `sns` the topic's ARN, of `webhook` the URL; of `slack`   |
    |            | None, for its URL is a secret                                |
    | credential | of kind password: of `webhook` the key that signs, of        |
    |            | `slack` the URL; None: nothing is signed                     |
    | last_test  | the last delivery of a test: others soon follow              |
    """

    name: str
    kind: ChannelKind
    target: str | None
    credential: str | None
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    last_delivery: Delivery | None = None
    last_test: Delivery | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When which channels are told.

    | field       | meaning                                                     |
    |-------------|-------------------------------------------------------------|
    | channels    | names of those that are told                                |
    | task_id     | of its runs only; None: of every task's                     |
    | environment | of tasks of it only; None: of any, or none                  |
    | late_s      | how late a run has to begin for the occasion `late`         |
    """

    name: str
    on: tuple[Occasion, ...]
    channels: tuple[str, ...]
    task_id: str | None
    environment: str | None
    late_s: int
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime

    def is_about(self, run: Run) -> bool:
        """Return whether the run is one of those that the rule is about."""
        return self.task_id in {None, run.task_id} and self.environment in {
            None,
            run.environment,
        }


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One thing to tell over one channel.

    It travels by a queue, as ids: what is told is read when it is told.
    `run_id` is None of a test.
    """

    channel: str
    occasion: Occasion
    rule: str | None = None
    run_id: str | None = None
    test_id: str | None = None

    @property
    def notice_id(self) -> str:
        """The same whenever it comes: one message a run, occasion and channel."""
        return f"{self.run_id or self.test_id}#{self.occasion.value}#{self.channel}"

    @property
    def group(self) -> str:
        """The channel: one that does not answer holds up no other."""
        return self.channel

    def to_json(self) -> str:
        """Return the notice as it travels."""
        return json.dumps(
            {name: value for name, value in asdict(self).items() if value is not None}
        )

    @classmethod
    def from_json(cls, text: str) -> Notice:
        """Return the notice that travelled as this text. Raises Invalid."""
        try:
            body: Mapping[str, Any] = json.loads(text)
            return cls(**{**body, "occasion": Occasion(body["occasion"])})
        except (ValueError, KeyError, TypeError) as exc:
            raise Invalid("", "this is no notice of ours") from exc


def notices(
    rules: Iterable[Rule],
    run: Run,
    *,
    recovered: bool = False,
    occasion: Occasion | None = None,
) -> list[Notice]:
    """Return what the rules want told of a run that has just begun or ended.

    Each channel is told once of an occasion. `recovered` says that the run before
    it had ended badly, `occasion` that there is this to tell instead.
    """
    happened = (
        frozenset({occasion}) if occasion else _happened(run, recovered=recovered)
    )
    found: dict[str, Notice] = {}
    for rule in rules:
        if not rule.is_about(run):
            continue
        wanted = happened & set(rule.on)
        if Occasion.LATE in wanted and (run.late_s or 0) < rule.late_s:
            wanted -= {Occasion.LATE}
        for one in sorted(wanted):
            for channel in rule.channels:
                notice = Notice(
                    channel=channel,
                    occasion=one,
                    rule=rule.name,
                    run_id=run.run_id,
                )
                found.setdefault(notice.notice_id, notice)
    return list(found.values())


def recovered(before: Sequence[Run]) -> bool:
    """Return whether the last run before that says anything ended badly.

    `before` are runs of the task, newest first.
    """
    last = next((run for run in before if run.state in JUDGED), None)
    return last is not None and last.state is not State.COMPLETED


def is_long(lasted: timedelta, usual: timedelta | None) -> bool:
    """Return whether a run that is under way takes longer than is usual.

    A minute at least: shorter ones are over before somebody could do anything.
    """
    return usual is not None and lasted > max(usual, LONG_AT_LEAST)


def _happened(run: Run, *, recovered: bool) -> frozenset[Occasion]:
    match run.state:
        case State.RUNNING:
            return frozenset({Occasion.LATE})  # if it is late enough for a rule
        case State.FAILED | State.TIMEOUT | State.LOST:
            return frozenset({Occasion.FAILURE})
        case State.MISSED:
            return frozenset({Occasion.MISSED})
        case State.COMPLETED if recovered:
            return frozenset({Occasion.SUCCESS, Occasion.RECOVERY})
        case State.COMPLETED:
            return frozenset({Occasion.SUCCESS})
        case _:
            return frozenset()


def check_url(
    url: str, *, allowed: Sequence[str] = (), refused: Sequence[str] = ()
) -> None:
    """Ensure that something may be sent to this URL. Raises Invalid.

    Plain HTTP is for addresses in the networks `allowed` only.
    """
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        raise Invalid("url", "it may not hold a login; sign with a credential")
    if parts.fragment:
        raise Invalid("url", "it may not have a fragment")
    host = parts.hostname or ""
    try:
        check_host(host, allowed=allowed, refused=refused)
    except Invalid as exc:
        raise Invalid("url", f"its host {exc.message}") from exc
    if parts.scheme == "https":
        return
    address = literal(host)
    if parts.scheme != "http" or address is None or not is_within(address, allowed):
        raise Invalid("url", "it does not begin with https://")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid("url", f"it has up to {MAX_URL} printable ASCII characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise Invalid("url", "it cannot be read") from exc
    return parts
