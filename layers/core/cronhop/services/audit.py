"""The audit: records are added and read, and end with their time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cronhop.domain.audit import AuditRecord, bounded
from cronhop.domain.ids import id_time
from cronhop.errors import Invalid
from cronhop.store import audit as store
from cronhop.store.page import Page


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is kept of what people do, for so many `days`."""

    days: int

    def add(self, record: AuditRecord) -> None:
        """Keep a record; what is too large in it is cut."""
        kept = replace(
            record, before=bounded(record.before), after=bounded(record.after)
        )
        store.add(kept, days=self.days)

    def listing(
        self,
        *,
        entity: str | None,
        actor: str | None,
        start: datetime | None,
        end: datetime | None,
        now: datetime,
        limit: int,
        after: str | None,
    ) -> Page[AuditRecord]:
        """Return records from `start` to `end`, newest first.

        Of an entity, of an actor, of both or of all. A page may be short and yet be
        followed by another one. Raises Invalid.
        """
        end = end or now
        start = start or now - timedelta(days=self.days)
        if start > end:
            raise Invalid("to", "it is before `from`")
        if after is not None:
            try:
                id_time(after)
            except ValueError as exc:
                raise Invalid("next_token", "it is none of ours") from exc
        if entity is None and actor is None:
            return store.recent(start=start, end=end, limit=limit, after=after)
        if entity is None:
            return store.of_actor(
                actor or "", start=start, end=end, limit=limit, after=after
            )
        page = store.of_entity(entity, start=start, end=end, limit=limit, after=after)
        items = [one for one in page.items if actor in {None, one.actor}]
        return Page(items=items, last=page.last)
