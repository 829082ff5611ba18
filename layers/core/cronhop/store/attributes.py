"""Attribute types of ours: instants as numbers, so that they sort; holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pynamodb.attributes import Attribute
from pynamodb.constants import NUMBER, STRING
from pynamodb.expressions.update import Action

from cronhop.domain.hold import Hold

LISTED = "1"  # the one key of an index that lists a table's living items


class InstantAttribute(Attribute[datetime]):
    """An aware UTC datetime, kept as epoch seconds to the millisecond."""

    attr_type = NUMBER

    def serialize(self, value: datetime) -> str:
        seconds = Decimal(round(value.timestamp() * 1000)) / 1000
        return f"{seconds.normalize():f}"

    def deserialize(self, value: Any) -> datetime:
        return datetime.fromtimestamp(float(value), tz=UTC)


class HoldAttribute(Attribute[Hold]):
    """A hold as JSON."""

    attr_type = STRING

    def serialize(self, value: Hold) -> str:
        return json.dumps(
            {
                "by": value.by,
                "at": value.at.isoformat(),
                "until": value.until.isoformat() if value.until else None,
                "reason": value.reason,
            }
        )

    def deserialize(self, value: str) -> Hold:
        plain = json.loads(value)
        return Hold(
            by=plain["by"],
            at=datetime.fromisoformat(plain["at"]),
            until=datetime.fromisoformat(plain["until"]) if plain["until"] else None,
            reason=plain["reason"],
        )


def set_or_remove(*values: tuple[Attribute[Any], Any]) -> list[Action]:
    """Return the actions that leave each attribute with its value, None: without."""
    return [
        attribute.set(value) if value is not None else attribute.remove()
        for attribute, value in values
    ]
