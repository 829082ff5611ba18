"""Queues: the executor's, and that of notices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

BATCH = 10  # messages a request, SQS's limit
AT_ONCE = 8  # requests
MAX_DELAY_S = 900  # SQS's limit; whoever waits longer waits in a row


class Sendable(Protocol):
    """What a queue carries; it serves groups fairly."""

    @property
    def group(self) -> str: ...
    def to_json(self) -> str: ...


M = TypeVar("M", bound=Sendable)


class Queue:
    """Sends messages to whoever takes them from this queue.

    `client` is an SQS client.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, messages: Sequence[tuple[M, float]]) -> list[M]:
        """Send (message, delay in seconds) pairs, and return those refused.

        A delay is rounded up, so that nothing comes before its time, and cut at
        15 minutes.
        """
        batches = [
            messages[start : start + BATCH] for start in range(0, len(messages), BATCH)
        ]
        if len(batches) < 2:  # noqa: PLR2004
            return [one for batch in batches for one in self._send_batch(batch)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [one for part in pool.map(self._send_batch, batches) for one in part]

    def put_off(self, receipt: str, seconds: int) -> None:
        """Hide a message that was received for so long from now."""
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=seconds
        )

    def _send_batch(self, batch: Sequence[tuple[M, float]]) -> list[M]:
        answer = self._client.send_message_batch(
            QueueUrl=self._url,
            Entries=[
                {
                    "Id": str(number),
                    "MessageBody": message.to_json(),
                    "DelaySeconds": min(max(math.ceil(delay_s), 0), MAX_DELAY_S),
                    "MessageGroupId": message.group,
                }
                for number, (message, delay_s) in enumerate(batch)
            ],
        )
        return [batch[int(entry["Id"])][0] for entry in answer.get("Failed", [])]
