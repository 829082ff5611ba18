"""Templates: tasks that leave something open, of which tasks are made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cronhop.domain.task import Origin, TaskDefinition


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template as it is on record; `version` counts the changes of users.

    Its definition is that of a task, whose parameters may be without a value even
    if it has a schedule: who makes a task of it gives them.
    """

    template_id: str
    definition: TaskDefinition
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime

    @property
    def origin(self) -> Origin:
        """What a task says that is made of it now."""
        return Origin(template_id=self.template_id, version=self.version)
