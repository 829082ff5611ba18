"""Fetch uv where python3 has neither venv nor pip: `fetch_uv.py TARGET`.

Debian's python3 comes without both. This runs under such a bare one: it needs the
standard library only, and nothing else of this folder. The index is that of
the variables that uv and pip take it from, else the one that uv.lock was made with.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import re
import sys
import zipfile
from html.parser import HTMLParser
from operator import itemgetter
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import Request, urlopen

VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
LOCK = Path(__file__).parents[1] / "uv.lock"
JSON = "application/vnd.pypi.simple.v1+json"
# Not every mirror has the JSON form.
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
TIMEOUT_S = 60
WHEEL = re.compile(r"uv-(\d+(?:\.\d+)*)-py3-none-(.+)\.whl")


class Failed(Exception):
    """It could not be fetched. The message is for the user."""


class Links(HTMLParser):
    """The wheels of an index page in its HTML form, by name: URL and SHA-256."""

    def __init__(self) -> None:
        super().__init__()
        self.wheels: dict[str, tuple[str, str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a link that is not withdrawn and has a digest."""
        given = dict(attrs)
        url, digest = urldefrag(given.get("href") or "")
        if tag == "a" and "data-yanked" not in given and digest.startswith("sha256="):
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            self.wheels[name] = (url, digest.removeprefix("sha256="))


def main() -> None:
    """Fetch the newest uv for this machine. Raises Failed if that cannot be."""
    target = Path(sys.argv[1])
    given = next(filter(None, map(os.environ.get, VARIABLES)), None) or of_lock()
    index = re.sub(r"^[\w.-]+=", "", given)  # uv's own variable may name its index
    page = f"{index.rstrip('/')}/uv/"
    name, (url, digest) = newest(wheels(*get(page, page)))
    content, _ = get(urljoin(page, url), page)
    if hashlib.sha256(content).hexdigest() != digest:
        raise Failed(f"{name} is not what the index says it is.")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        version = name.split("-")[1]
        program = wheel.read(f"uv-{version}.data/scripts/uv")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(program)
    part.chmod(0o755)
    part.replace(target)


def of_lock() -> str:
    """Return the index that the project's packages come from."""
    found = re.search(
        r'^source = \{ registry = "(https://[^"]+)" \}', LOCK.read_text(), re.M
    )
    if found is None:
        raise Failed(f"{LOCK.name} names no index.")
    return found[1]


def get(url: str, index: str) -> tuple[bytes, str]:
    """Return what is at a URL, and its type.

    A login that the index's URL carries goes to the index's host only.
    """
    parts, login = urlsplit(url), urlsplit(index)
    host = parts.netloc.rpartition("@")[2]
    request = Request(  # noqa: S310  (the user's index, or the lock's)
        parts._replace(netloc=host).geturl(), headers={"Accept": ACCEPT}
    )
    if login.username and host == login.netloc.rpartition("@")[2]:
        pair = f"{unquote(login.username)}:{unquote(login.password or '')}"
        basic = base64.b64encode(pair.encode()).decode()
        # Unredirected: it goes nowhere else.
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return answer.read(), answer.headers.get_content_type()
    except OSError as error:
        raise Failed(f"{request.full_url}: {error}") from error


def wheels(page: bytes, kind: str) -> dict[str, tuple[str, str]]:
    """Return the wheels of an index page by name: URL and SHA-256."""
    if kind == JSON:
        return {
            file["filename"]: (file["url"], file["hashes"]["sha256"])
            for file in json.loads(page)["files"]
            if not file.get("yanked") and "sha256" in file["hashes"]
        }
    links = Links()
    links.feed(page.decode())
    return links.wheels


def newest(found: dict[str, tuple[str, str]]) -> tuple[str, tuple[str, str]]:
    """Return the newest release's wheel for this machine.

    Raises Failed if there is none.
    """
    fits = re.compile(rf"{_system()}\d*_(\d+_)*{platform.machine()}")
    candidates = []
    for name in found:
        match = WHEEL.fullmatch(name)  # a version with letters is no release
        if match and any(map(fits.fullmatch, match[2].split("."))):
            candidates.append((name, tuple(map(int, match[1].split(".")))))
    if not candidates:
        raise Failed(f"No uv for {_system()} {platform.machine()} in the index.")
    name, _ = max(candidates, key=itemgetter(1))
    return name, found[name]


def _system() -> str:
    """Return how wheels call this system."""
    if sys.platform == "darwin":
        return "macosx"
    return "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"uv cannot be fetched: {failure}")
