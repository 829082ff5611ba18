"""Channels and rules, as clients send them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from cronhop.domain.notification import LATE_S, MAX_CHANNELS, ChannelKind, Occasion
from cronhop.services.channels import ChannelForm, RuleForm

from .fields import EachOnce, Slug, StrictBody, Word

MAX_LATE_S = 86400


RuleOccasion = Literal["failure", "recovery", "success", "late", "missed", "long"]
Target = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class ChannelBody(StrictBody):
    """What a channel is."""

    kind: Literal["sns", "webhook", "slack"]
    url: Target | None = None
    topic_arn: Target | None = None
    credential: Slug | None = None

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

    name: Slug


class RuleBody(StrictBody):
    """What a rule says."""

    on: Annotated[EachOnce[RuleOccasion], Field(min_length=1)]
    channels: Annotated[EachOnce[Slug], Field(min_length=1, max_length=MAX_CHANNELS)]
    task_id: Annotated[str, StringConstraints(min_length=1, max_length=26)] | None = (
        None
    )
    environment: Word | None = None
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

    name: Slug
