"""Things as YAML in the user's editor, and what is changed there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, TypeVar

from . import names, plan
from .command import confirm
from .errors import Failure
from .session import Session
from .task_file import read_one
from .task_form import Entity, from_api, unknown_fields
from .terminal import console, note, say, show_failure, show_json, yaml_text

T = TypeVar("T")


def edit_task(
    here: Session, entity: Entity, found: Mapping[str, Any], *, yes: bool
) -> None:
    """Let a task or a template of the API be changed."""
    if unknown := unknown_fields(found):
        raise Failure(
            f"{found['name']!r} has fields that this command line does not know:"
            f" {', '.join(unknown)}",
            hint="a newer cronhop-cli may know them",
        )
    before = yaml_text(from_api(found, names.server_names(here.api)))
    with edited(here, before, lambda path: read_one(path, entity)) as form:
        change = plan.of_one(here.api, entity, form, dict(found))
        path = f"/v1/{entity.plural}/{change.entity_id}"
        put(here, found, path, change, yes=yes)


def put(
    here: Session,
    found: Mapping[str, Any],
    path: str,
    change: plan.Change,
    *,
    yes: bool,
) -> None:
    """Show what changes, ask, do it if nobody else has changed it, and say so."""
    if change.action == plan.NONE:
        note("Nothing is changed.")
        changed = found
    else:
        for line in plan.lines(change):
            console(error=True).print(line, soft_wrap=True)
        confirm("Do that?", yes=yes)
        changed = here.api.put(path, change.body, f'"{found["version"]}"')
    if here.as_json:
        show_json(changed)
    elif change.action != plan.NONE:
        say(f"Changed {changed['name']}.")


@contextmanager
def edited(here: Session, text: str, read: Callable[[Path], T]) -> Iterator[T]:
    """Yield what somebody made of a text, in an editor until it can be read.

    If what is done with it fails, or is broken off, the text is kept and its place
    is told.
    """
    before = text.encode()
    folder = Path(mkdtemp(prefix="cronhop-"))
    path = folder / "edited.yaml"
    path.write_bytes(before)
    is_kept = False
    try:
        yield _edited(here, path, read)
    except BaseException:  # Ctrl-C is no Exception
        # Bytes, as an editor may have saved it in any encoding.
        is_kept = path.exists() and path.read_bytes() != before
        if is_kept:
            note(f"what you wrote is in {path}")
        raise
    finally:
        if not is_kept:
            rmtree(folder)


def _edited(here: Session, path: Path, read: Callable[[Path], T]) -> T:
    environ = here.environ
    editor = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "vi")
    while True:
        try:
            # What the user has named to edit files.
            subprocess.run([*editor, path], check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError) as exc:
            raise Failure(f"the editor failed: {exc}", hint="set EDITOR") from exc
        try:
            return read(path)
        except Failure as failure:
            if not sys.stdin.isatty():
                raise
            show_failure(failure)
            confirm("Edit it again?", yes=False)
