"""File transfers: one file to a server, or one from it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from cronhop.errors import Invalid

MAX_BYTES: Final = 256 * 1024 * 1024  # of a file
MAX_CONTENT_BYTES: Final = 64 * 1024  # of inline content as it is sent, like a command
_MAX_PATH_BYTES: Final = 1024
_MAX_NAME_BYTES: Final = 255  # of one component, on every file system of Linux
_MAX_KEY_BYTES: Final = 1024  # S3's own
_MAX_ID: Final = 2**32 - 2  # the one above means "as it is"
_MODE: Final = re.compile(r"[0-7]{3,4}")
_OWNER: Final = re.compile(
    # A name as useradd makes them, or a number; then, perhaps, a group's.
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)?"
)


class Direction(StrEnum):
    """Which way a file goes."""

    UPLOAD = "upload"  #: to the server
    DOWNLOAD = "download"  #: from the server


class Encoding(StrEnum):
    """How inline content stands for bytes."""

    UTF_8 = "utf-8"  #: as the text is
    BASE64 = "base64"  #: RFC 4648, with padding


@dataclass(frozen=True, kw_only=True)
class FileTransfer:
    """A file and its way.

    | field      | meaning                                                     |
    |------------|-------------------------------------------------------------|
    | path       | on the server: absolute, or relative to `root`, or else to  |
    |            | the home directory                                          |
    | content    | what is uploaded, or None                                   |
    | encoding   | of `content`                                                |
    | object_key | names an object of the transfer bucket, the other end       |
    | mode       | octal, for an upload; None: that of the file it replaces,   |
    |            | else what the login's umask leaves                          |
    | owner      | `user` or `user:group`, for an upload; None: the login, or, |
    |            | if that is root, the owner of the file it replaces          |
    | root       | absolute; the file's directory lies in it, symlinks         |
    |            | resolved. None: the home directory for a relative path, no  |
    |            | bound for an absolute one                                   |
    """

    direction: Direction
    path: str
    content: str | None = None
    encoding: Encoding = Encoding.UTF_8
    object_key: str | None = None
    mode: str | None = None
    owner: str | None = None
    root: str | None = None

    def check(self) -> None:
        """Ensure that it can be meant. Raises Invalid naming the field."""
        _check_path(self.path, "path")
        if self.root is not None:
            _check_root(self.root)
        if self.direction is Direction.UPLOAD:
            self._check_upload()
        else:
            self._check_download()
        if self.object_key is not None:
            _check_key(self.object_key)

    def data(self) -> bytes:
        """Return the bytes of the inline content."""
        text = self.content or ""
        if self.encoding is Encoding.UTF_8:
            return text.encode()
        return base64.b64decode(text, validate=True)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, as the API shows and the store keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FileTransfer:
        """Return what `to_dict` made these plain values of."""
        return cls(
            **{
                **plain,
                "direction": Direction(plain["direction"]),
                "encoding": Encoding(plain["encoding"]),
            }
        )

    def _check_upload(self) -> None:
        if (self.content is None) == (self.object_key is None):
            raise Invalid("content", "an upload has either content or object_key")
        if self.content is None:
            if self.encoding is not Encoding.UTF_8:
                raise Invalid("encoding", "it is that of content, and there is none")
        else:
            self._check_content(self.content)
        if self.mode is not None and not _MODE.fullmatch(self.mode):
            raise Invalid("mode", "three or four octal digits, such as 0644")
        if self.owner is not None:
            _check_owner(self.owner)

    def _check_content(self, content: str) -> None:
        try:
            size = len(content.encode())
        except UnicodeEncodeError:
            raise Invalid("content", "it holds half of a surrogate pair") from None
        if size > MAX_CONTENT_BYTES:
            raise Invalid(
                "content",
                f"it has more than {MAX_CONTENT_BYTES} bytes; larger files come"
                " from the transfer bucket by object_key",
            )
        try:
            self.data()
        except (binascii.Error, ValueError):
            raise Invalid("content", "it is no base64") from None

    def _check_download(self) -> None:
        if self.object_key is None:
            raise Invalid("object_key", "a download goes to an object")
        for name in ("content", "mode", "owner"):
            if getattr(self, name) is not None:
                raise Invalid(name, "a download has none")
        if self.encoding is not Encoding.UTF_8:
            raise Invalid("encoding", "a download has none")


def _check_path(path: str, field: str) -> None:
    """Ensure that a path names a file, in one way only."""
    if not path:
        raise Invalid(field, "it is empty")
    _check_characters(path, field)
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise Invalid(field, f"it has more than {_MAX_PATH_BYTES} bytes")
    if path.endswith("/"):
        raise Invalid(field, "it ends with /: it names a directory")
    if path.startswith("~"):
        raise Invalid(field, "~ is not expanded; a relative path begins at home")
    parts = path.removeprefix("/").split("/")
    for part in parts:
        if part == "..":
            raise Invalid(field, "it may not go up by ..")
        if part in {"", "."}:
            raise Invalid(field, "it may not hold // or a component .")
        if len(part.encode()) > _MAX_NAME_BYTES:
            raise Invalid(field, f"a name has more than {_MAX_NAME_BYTES} bytes")


def _check_owner(owner: str) -> None:
    if not _OWNER.fullmatch(owner):
        raise Invalid("owner", "a user, or user:group, by name or number")
    for part in owner.split(":"):
        if part.isdigit() and int(part) > _MAX_ID:
            raise Invalid("owner", f"a number is beyond {_MAX_ID}")


def _check_root(root: str) -> None:
    if not root.startswith("/"):
        raise Invalid("root", "it is not absolute")
    if root != "/":
        _check_path(root, "root")


def _check_key(key: str) -> None:
    if not key:
        raise Invalid("object_key", "it is empty")
    _check_characters(key, "object_key")
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise Invalid("object_key", f"it has more than {_MAX_KEY_BYTES} bytes")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise Invalid(
            "object_key", "it may not begin or end with /, nor hold //, . or .."
        )


def _check_characters(text: str, field: str) -> None:
    """Ensure that nothing in a text is hidden from who reads it."""
    for char in text:
        if char == "\0":
            raise Invalid(field, "it may not hold a NUL character")
        if not char.isprintable():
            raise Invalid(field, "it may not hold control or invisible characters")
