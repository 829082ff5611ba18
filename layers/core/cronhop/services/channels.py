"""Channels, and rules that say when they are told."""

from __future__ import annotations

import secrets as tokens
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cronhop.aws.queue import Queue
from cronhop.domain.credential import CredentialKind
from cronhop.domain.ids import is_id
from cronhop.domain.notification import (
    MAX_CHANNELS,
    MAX_RULES,
    Channel,
    ChannelKind,
    Notice,
    Occasion,
    Rule,
    check_url,
)
from cronhop.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    QueueUnavailable,
)
from cronhop.services.credentials import require_credential
from cronhop.services.requests import is_own
from cronhop.services.uses import Use, require_unused
from cronhop.store import notifications as store
from cronhop.store import tasks
from cronhop.store.page import Page, walk


@dataclass(frozen=True, kw_only=True)
class ChannelForm:
    """What a user says of a channel; the fields are those of `Channel`."""

    kind: ChannelKind
    url: str | None
    topic_arn: str | None
    credential: str | None


@dataclass(frozen=True, kw_only=True)
class RuleForm:
    """What a user says of a rule; the fields are those of `Rule`."""

    on: tuple[Occasion, ...]
    channels: tuple[str, ...]
    task_id: str | None
    environment: str | None
    late_s: int


@dataclass(frozen=True, kw_only=True)
class Channels:
    """What people do with channels.

    `queue` is that of notices, `topics` what an SNS topic's ARN begins with,
    networks are as for servers.
    """

    queue: Queue
    topics: str
    allowed_networks: Sequence[str]
    refused_networks: Sequence[str]

    def create(
        self, name: str, form: ChannelForm, *, by: str, now: datetime
    ) -> Channel:
        """Put a channel on record. Raises Invalid, Conflict if its name is taken.

        What the same request has made by then is returned as it is.
        """
        channel = Channel(
            name=name,
            **_fields(form),
            version=1,
            created_by=by,
            created_at=now,
            updated_at=now,
        )
        if kept := _kept_channel(channel):
            return kept
        self._check(form)
        _require_room(store.channels, MAX_CHANNELS, "channels")
        if store.add(channel):
            return channel
        if kept := _kept_channel(channel):
            return kept
        raise Conflict(f"there is a channel {name!r} already", field="name")

    def replace(
        self, name: str, form: ChannelForm, *, version: int | None, now: datetime
    ) -> Channel:
        """Let the channel be another.

        Raises Invalid, NotFound, Conflict, PreconditionFailed if `version` is given
        and not the present one.
        """
        old = self.get(name, version=version)
        self._check(form)
        new = replace(old, **_fields(form), version=old.version + 1, updated_at=now)
        if not store.change(old, new):
            raise Conflict("it is just being changed by somebody else")
        return new

    def get(self, name: str, *, version: int | None = None) -> Channel:
        """Return the channel. Raises NotFound, PreconditionFailed."""
        channel = store.channel(name)
        if channel is None:
            raise NotFound(f"there is no channel {name!r}")
        if version not in {None, channel.version}:
            raise PreconditionFailed("it was changed since you read it")
        return channel

    def listing(self, *, limit: int, after: str | None) -> Page[Channel]:
        """Return channels by name."""
        return store.channels(limit=limit, after=after)

    def delete(self, name: str, *, version: int | None) -> None:
        """Remove a channel that no rule names. Raises NotFound, Conflict."""
        channel = self.get(name, version=version)
        uses = (
            Use("rule", rule.name)
            for rule in walk(store.rules)
            if name in rule.channels
        )
        require_unused(f"channel {name!r}", uses)
        if not store.remove(channel) and store.channel(name):
            raise Conflict("it is just being changed by somebody else")

    def test(self, name: str) -> str:
        """Let something be sent over the channel; it then shows what became of it.

        Returns the id of the test. Raises NotFound, QueueUnavailable.
        """
        channel = self.get(name)
        test_id = tokens.token_hex(8)
        notice = Notice(channel=channel.name, occasion=Occasion.TEST, test_id=test_id)
        if self.queue.send([(notice, 0.0)]):
            raise QueueUnavailable("the queue of notices does not take it just now")
        return test_id

    def _check(self, form: ChannelForm) -> None:
        wanted = _WANTED[form.kind]
        for field in ("url", "topic_arn", "credential"):
            is_there = getattr(form, field) is not None
            if is_there and field not in wanted:
                raise Invalid(field, f"a channel of kind {form.kind} has none")
            if not is_there and wanted.get(field):
                raise Invalid(field, f"a channel of kind {form.kind} needs one")
        if form.url is not None:
            check_url(
                form.url, allowed=self.allowed_networks, refused=self.refused_networks
            )
        if form.topic_arn is not None and not form.topic_arn.startswith(self.topics):
            raise Invalid("topic_arn", f"it does not begin with {self.topics}")
        if form.credential is not None:
            require_credential(
                form.credential, field="credential", kind=CredentialKind.PASSWORD
            )


#: The fields that a channel of each kind may have, and whether it must.
_WANTED = {
    ChannelKind.SNS: {"topic_arn": True},
    ChannelKind.WEBHOOK: {"url": True, "credential": False},
    ChannelKind.SLACK: {"credential": True},
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What people do with rules."""

    def create(self, name: str, form: RuleForm, *, by: str, now: datetime) -> Rule:
        """Put a rule on record, as a channel is. Raises Invalid, Conflict."""
        rule = Rule(
            name=name,
            **vars(form),
            version=1,
            created_by=by,
            created_at=now,
            updated_at=now,
        )
        if kept := _kept_rule(rule):
            return kept
        _check_rule(form)
        _require_room(store.rules, MAX_RULES, "rules")
        if store.add(rule):
            return rule
        if kept := _kept_rule(rule):
            return kept
        raise Conflict(f"there is a rule {name!r} already", field="name")

    def replace(
        self, name: str, form: RuleForm, *, version: int | None, now: datetime
    ) -> Rule:
        """Let the rule be another.

        Raises Invalid, NotFound, Conflict, PreconditionFailed if `version` is given
        and not the present one.
        """
        old = self.get(name, version=version)
        _check_rule(form)
        new = replace(old, **vars(form), version=old.version + 1, updated_at=now)
        if not store.change(old, new):
            raise Conflict("it is just being changed by somebody else")
        return new

    def get(self, name: str, *, version: int | None = None) -> Rule:
        """Return the rule. Raises NotFound, PreconditionFailed."""
        rule = store.rule(name)
        if rule is None:
            raise NotFound(f"there is no rule {name!r}")
        if version not in {None, rule.version}:
            raise PreconditionFailed("it was changed since you read it")
        return rule

    def listing(self, *, limit: int, after: str | None) -> Page[Rule]:
        """Return rules by name."""
        return store.rules(limit=limit, after=after)

    def delete(self, name: str, *, version: int | None) -> None:
        """Remove a rule. Raises NotFound, PreconditionFailed, Conflict."""
        rule = self.get(name, version=version)
        if not store.remove(rule) and store.rule(name):
            raise Conflict("it is just being changed by somebody else")


def _kept_channel(made: Channel) -> Channel | None:
    """Return what the same request has put on record, None if it has not."""
    kept = store.channel(made.name)
    # What was sent over it meanwhile is no matter of its maker's.
    alike = kept and replace(kept, last_delivery=None, last_test=None)
    return kept if is_own(alike, made) else None


def _kept_rule(made: Rule) -> Rule | None:
    kept = store.rule(made.name)
    return kept if is_own(kept, made) else None


def _check_rule(form: RuleForm) -> None:
    for name in form.channels:
        if store.channel(name) is None:
            raise Invalid("channels", f"there is no channel {name!r}")
    task_id = form.task_id
    if task_id is not None and not (is_id(task_id) and tasks.get(task_id)):
        raise Invalid("task_id", "there is no such task")


def _require_room(
    listing: Callable[..., Page[Channel] | Page[Rule]], limit: int, what: str
) -> None:
    if len(listing(limit=limit, after=None).items) >= limit:
        raise Conflict(f"there are {limit} {what} already, which is as many as may be")


def _fields(form: ChannelForm) -> dict[str, Any]:
    return {
        "kind": form.kind,
        "target": form.url or form.topic_arn,
        "credential": form.credential,
    }
