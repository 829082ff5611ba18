"""Which stacks the user has, and the tokens for them: files that only he reads."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from .errors import Failure, Usage

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A stack and how one logs in there.

    | field         | meaning                                                 |
    |---------------|---------------------------------------------------------|
    | url           | the API's, without /v1                                  |
    | issuer        | whose tokens it accepts                                 |
    | client_id     | as what the command line logs in there                  |
    | auth_endpoint | Cognito's, where it is not the issuer's host            |
    | username      | who logged in last, None after a login with a device    |
    | insecure_http | whether plain HTTP was asked for                        |
    """

    url: str
    issuer: str = ""
    client_id: str = ""
    auth_endpoint: str | None = None
    username: str | None = None
    insecure_http: bool = False


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a login gave. It is shown by nothing: `expires_at` is epoch seconds."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: float


class Profiles:
    """The profiles in one folder, made with 0700, in files of 0600."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Profiles:
        """Return those of this user; CRONHOP_CONFIG_DIR names another folder."""
        own = environ.get("CRONHOP_CONFIG_DIR")
        return cls(Path(own) if own else platformdirs.user_config_path("cronhop"))

    def all(self) -> dict[str, Profile]:
        """Return the profiles by name."""
        kept = self._read(self._file).get("profiles", {})
        known = Profile.__dataclass_fields__
        return {
            name: Profile(**{key: one[key] for key in known if key in one})
            for name, one in kept.items()
        }

    def current(self) -> str:
        """Return the name of the profile that is used if none is named."""
        return str(self._read(self._file).get("current", DEFAULT))

    def get(self, name: str) -> Profile | None:
        """Return the profile of this name, None if there is none."""
        return self.all().get(check_name(name))

    def put(self, name: str, profile: Profile, *, use: bool) -> None:
        """Keep a profile; the first one and, with `use`, this one becomes current."""
        kept = self.all()
        current = name if use or not kept else self.current()
        self._write_all(kept | {check_name(name): profile}, current)

    def remove(self, name: str) -> None:
        """Forget a profile and its tokens."""
        kept = self.all()
        kept.pop(check_name(name), None)
        self.forget_tokens(name)
        current = self.current()
        self._write_all(kept, next(iter(kept), DEFAULT) if current == name else current)

    def tokens(self, name: str) -> Tokens | None:
        """Return the tokens of a profile, None if nobody is logged in."""
        kept = self._read(self._tokens(name))
        if not isinstance(kept.get("access_token"), str):
            return None
        return Tokens(
            access_token=kept["access_token"],
            refresh_token=kept.get("refresh_token"),
            expires_at=float(kept.get("expires_at", 0)),
        )

    def keep_tokens(self, name: str, tokens: Tokens) -> None:
        """Keep tokens; whoever reads the file meets the old or the new ones."""
        self._write(self._tokens(name), asdict(tokens))

    def forget_tokens(self, name: str) -> bool:
        """Forget the tokens of a profile. Return False if there were none."""
        path = self._tokens(name)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    @property
    def _file(self) -> Path:
        return self.folder / "profiles.json"

    def _tokens(self, name: str) -> Path:
        return self.folder / f"tokens-{check_name(name)}.json"

    def _write_all(self, profiles: Mapping[str, Profile], current: str) -> None:
        plain = {name: asdict(one) for name, one in profiles.items()}
        self._write(self._file, {"current": current, "profiles": plain})

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            document = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise Failure(
                f"{path} cannot be read: {exc}", hint="remove it, and log in again"
            ) from exc
        return document if isinstance(document, dict) else {}

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        """Replace a file by one that was never readable by others."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # mkstemp makes it 0600.
            descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        except OSError as exc:
            raise Failure(f"{self.folder} cannot be written: {exc}") from exc
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(document, file, indent=2)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def check_name(name: str) -> str:
    """Return the name of a profile, which is part of a file's name. Raises Usage."""
    if not _NAME.fullmatch(name):
        raise Usage(
            f"{name!r} is no name of a profile",
            hint="use letters, digits, dots, dashes and underscores",
        )
    return name
