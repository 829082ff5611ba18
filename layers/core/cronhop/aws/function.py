"""A Lambda function that is called without waiting for its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


class Function:
    """The function of this name.

    `make_client` returns a Lambda client; it costs time, and few need it. Without a
    name, as outside of Lambda, it cannot be called.
    """

    def __init__(self, make_client: Callable[[], Any], name: str | None) -> None:
        self._make_client = make_client
        self._name = name

    def call(self, event: Mapping[str, Any]) -> None:
        """Let it run with this event. Raises what the client raises."""
        if not self._name:
            raise LookupError("no function is known by its name here")
        self._make_client().invoke(
            FunctionName=self._name,
            InvocationType="Event",
            Payload=json.dumps(event).encode(),
        )
