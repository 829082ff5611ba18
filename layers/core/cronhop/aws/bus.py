"""The event bus that changes are told on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cronhop.domain.event import Event

BATCH = 10  # events a request, EventBridge's limit


class Bus:
    """Puts events on an EventBridge bus.

    `client` is an EventBridge client.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def put(self, events: Sequence[Event]) -> list[Event]:
        """Put the events in their order, and return those that were refused."""
        refused = []
        for start in range(0, len(events), BATCH):
            batch = events[start : start + BATCH]
            answer = self._client.put_events(Entries=list(map(self._entry, batch)))
            refused += [
                event
                for event, entry in zip(batch, answer["Entries"], strict=True)
                if "ErrorCode" in entry
            ]
        return refused

    def _entry(self, event: Event) -> dict[str, Any]:
        return {
            "EventBusName": self._name,
            "Source": "cronhop",
            "DetailType": event.kind.value,
            "Time": event.at,
            "Detail": json.dumps(event.to_dict()),
        }
