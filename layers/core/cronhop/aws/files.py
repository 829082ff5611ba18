"""Files on their way from a server or to one, in the stack's transfer bucket."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cronhop.errors import ObjectRefused, ObjectUnavailable

_REFUSED: Final = {
    "NoSuchKey": "there is no such object",
    "NoSuchBucket": "there is no such bucket",
    # S3's answer for what is not there, too: the role may not list the bucket.
    "AccessDenied": "there is none, or the executor's role may not use it",
    "InvalidObjectState": "it is archived",
    "PermanentRedirect": "the bucket is in another region",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
    "KMS.DisabledException": "its key is disabled",
}


@dataclass(frozen=True)
class ObjectStream:
    """An object that is being read: its size, and its bytes by `read`.

    Where S3 keeps a checksum of the whole, the end of the bytes is compared with it.
    """

    size: int
    _body: Any

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`, b"" at the end.

        Raises ObjectUnavailable.
        """
        with _translated(""):
            data: bytes = self._body.read(size)
            return data


class Files:
    """Gives and takes objects of a bucket that belongs to the user.

    `client` is an S3 client; `bucket` "" if the stack has none. Raises ObjectRefused
    for what somebody has to change first, ObjectUnavailable for what may pass.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    @contextmanager
    def reading(self, key: str) -> Iterator[ObjectStream]:
        """Open an object; it is not read further at the end."""
        with _translated(key):
            answer = self._client.get_object(
                Bucket=self._required(), Key=key, ChecksumMode="ENABLED"
            )
        try:
            yield ObjectStream(answer["ContentLength"], answer["Body"])
        finally:
            answer["Body"].close()

    def put(self, key: str, file: IO[bytes], *, sha256: str) -> None:
        """Keep a file from its beginning under a key, whatever was there.

        S3 itself compares it with `sha256`, in hexadecimal: it is kept whole or not
        at all.
        """
        file.seek(0)
        with _translated(key):
            self._client.put_object(
                Bucket=self._required(),
                Key=key,
                Body=file,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
            )

    def check(self) -> None:
        """Ensure that there is a bucket."""
        self._required()

    def _required(self) -> str:
        if not self._bucket:
            raise ObjectRefused(
                "the stack has none; its parameter TransferBucket names one"
            )
        return self._bucket


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Let nothing of botocore's out. An OSError is urllib3's, of a broken read."""
    name = f"object {key!r}: " if key else ""
    try:
        yield
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if code in _REFUSED:
            raise ObjectRefused(f"{name}{_REFUSED[code]}") from exc
        raise ObjectUnavailable(f"{name}{code or type(exc).__name__}") from exc
    except (BotoCoreError, OSError) as exc:
        raise ObjectUnavailable(f"{name}{type(exc).__name__}") from exc
