"""Secrets that are planted, and looked for in all that is left of them."""

import base64
import contextlib
import json
import lzma
import re
import urllib.parse
import zlib

MIN_LINE = 12  # characters: a shorter line stands in other places by chance


def forms(canary):
    """Return how a secret may be written: name of the form, text."""
    data = canary.encode()
    found = {
        "plain": canary,
        "reversed": canary[::-1],
        "hex": data.hex(),
        "URL": urllib.parse.quote(canary, safe=""),
        "form": urllib.parse.quote_plus(canary),
        "JSON": json.dumps(canary)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(canary))[3:-3],
        "repr": repr(canary)[1:-1],
    }
    for before in range(3):
        # Without the characters that its neighbours have a part in.
        text = base64.b64encode(b"\0" * before + data).decode()
        found[f"base64 behind {before}"] = text[(0, 2, 3)[before] : -4]
    lines = [one for one in canary.splitlines()[1:-1] if len(one) >= MIN_LINE]
    for number, line in enumerate(lines):
        found[f"line {number}"] = line
    return found


def leaks(canaries, places):
    """Return (canary, form, place) of all that is found.

    `canaries` are secrets by name, `places` texts by name, or bytes, packed or not.
    What is broken into lines is put together again.
    """
    found = []
    for place, content in places.items():
        for text in _texts(content):
            whole = re.sub(r"(\\+[rn]|\s)+", "", text)
            for name, canary in canaries.items():
                for form, written in forms(canary).items():
                    if written in text or re.sub(r"\s+", "", written) in whole:
                        found.append((name, form, place))
    return sorted(set(found))


def plain(item):
    """Return an item of a table as text, its binary values unpacked."""
    return json.dumps(item, default=lambda one: " ".join(_texts(bytes(one))))


def _texts(content):
    if isinstance(content, str):
        return [content]
    found = [content.decode("utf-8", "replace")]
    for unpack in (lzma.decompress, lambda data: zlib.decompress(data, 47)):
        with contextlib.suppress(lzma.LZMAError, zlib.error):
            found.append(unpack(content).decode("utf-8", "replace"))
    return found
