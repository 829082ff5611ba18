"""Output too large for the table: chunks in the bucket, never overwritten."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cronhop.domain.run import Chunk, Stream
from cronhop.errors import OutputUnavailable


class OutputBucket:
    """Keeps and reads chunks of streams.

    `client` is an S3 client. Objects are `<execution>/<stream>/<first>-<end>`.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep(self, key: str, stream: Stream, chunk: Chunk, data: bytes) -> None:
        """Keep a chunk of the stream of the execution named `key`.

        Raises OutputUnavailable.
        """
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=_name(key, stream, chunk), Body=data
            )
        except (BotoCoreError, ClientError) as exc:
            raise OutputUnavailable(type(exc).__name__) from exc

    def read(
        self, key: str, stream: Stream, chunk: Chunk, *, offset: int, limit: int
    ) -> bytes:
        """Return at most `limit` bytes of a chunk from `offset` of the stream.

        Raises OutputUnavailable.
        """
        first = offset - chunk.first
        last = min(first + limit, chunk.end - chunk.first) - 1
        try:
            answer = self._client.get_object(
                Bucket=self._bucket,
                Key=_name(key, stream, chunk),
                Range=f"bytes={first}-{last}",
            )
            data: bytes = answer["Body"].read()
        except (BotoCoreError, ClientError) as exc:
            raise OutputUnavailable("the bucket does not give this output") from exc
        return data


def _name(key: str, stream: Stream, chunk: Chunk) -> str:
    return f"{key}/{stream.value}/{chunk.first}-{chunk.end}"
