"""Channels and rules, as clients send them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from cronhop.domain.notification import LATE_S, MAX_CHANNELS, ChannelKind, Occasion
from cronhop.services.channels import ChannelForm, RuleForm

from .schedule_body import SlugName
from .specs import StrictBody, told

MAX_LATE_S = 86400


def _no_doubles(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("it names one twice")
    return values


RuleOccasion = Literal["failure", "recovery", "success", "late", "missed", "long"]
Target = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class ChannelBody(StrictBody):
    """What a channel is."""

    kind: Literal["sns", "webhook", "slack"]
    url: Target | None = None
    topic_arn: Target | None = None
    credential: SlugName | None = None

    def form(self) -> ChannelForm:
        """Return what was sent."""
        return ChannelForm(
            kind=ChannelKind(self.kind),
            url=self.url,
            topic_arn=self.topic_arn,
            credential=self.credential,
        )


class NamedChannelBody(ChannelBody):
    """A channel."""

    name: SlugName


class RuleBody(StrictBody):
    """What a rule says."""

    on: Annotated[
        list[RuleOccasion],
        Field(min_length=1),
        told(uniqueItems=True),
        AfterValidator(_no_doubles),
    ]
    channels: Annotated[
        list[SlugName],
        Field(min_length=1, max_length=MAX_CHANNELS),
        told(uniqueItems=True),
        AfterValidator(_no_doubles),
    ]
    task_id: Annotated[str, StringConstraints(min_length=1, max_length=26)] | None = (
        None
    )
    environment: Annotated[str, StringConstraints(min_length=1)] | None = None
    late_s: Annotated[int, Field(ge=1, le=MAX_LATE_S)] = LATE_S

    def form(self) -> RuleForm:
        """Return what was sent."""
        return RuleForm(
            on=tuple(Occasion(one) for one in self.on),
            channels=tuple(self.channels),
            task_id=self.task_id,
            environment=self.environment,
            late_s=self.late_s,
        )


class NamedRuleBody(RuleBody):
    """A rule."""

    name: SlugName
