"""File transfers: which ones can be meant."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.transfer import (
    MAX_CONTENT_BYTES,
    Direction,
    Encoding,
    FileTransfer,
)
from cronhop.errors import Invalid


def upload(**changes):
    given = {"direction": Direction.UPLOAD, "path": "a", "content": "x"}
    return FileTransfer(**given | changes)


def download(**changes):
    given = {"direction": Direction.DOWNLOAD, "path": "a", "object_key": "k"}
    return FileTransfer(**given | changes)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "/a",
        "-rf",
        "/etc/-n",
        "a b/c'd\"e$(f)`g`\\h",
        "...",
        "..a/b..",
        ".hidden",
        "grüße/日本",
        "a" * 255,
        "/".join(["a" * 100] * 10),
    ],
)
def test_a_path_is_any_name_of_a_file(path):
    """Absolute or relative; spaces, quotes and dashes are characters like others."""
    upload(path=path).check()
    download(path=path).check()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//a",
        "a//b",
        ".",
        "..",
        "./a",
        "a/.",
        "../a",
        "a/../b",
        "/a/..",
        "a/",
        "/a/",
        "~",
        "~/a",
        "~root/a",
        "a\0b",
        "a\nb",
        "a\rb",
        "a\tb",
        "\x1b[31m",
        "a\x7f",
        "a\x85b",
        "a\u202eb",
        "a\u2028b",
        "a\ud800",
        "a" * 256,
        "/".join(["a" * 100] * 11),
        "é" * 128,
    ],
)
def test_a_bad_path_is_refused(path):
    """What climbs, hides, ends a line, names a directory or is too long."""
    for spec in (upload(path=path), download(path=path)):
        with pytest.raises(Invalid) as refused:
            spec.check()
        assert refused.value.field == "path"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("./\0\n~- ab"))))
def test_no_path_climbs_or_hides_anything(path):
    """Whatever passes has no `..`, no NUL, no control character and ends in a name."""
    try:
        upload(path=path).check()
    except Invalid:
        return
    assert not {"..", "."} & set(path.split("/"))
    assert "" not in path.removeprefix("/").split("/")
    assert not any(unicodedata.category(char).startswith("C") for char in path)
    assert len(path.encode()) <= 1024


@pytest.mark.parametrize("root", ["/", "/srv", "/srv/www data"])
def test_a_root_is_absolute(root):
    """Any directory, the root of all included."""
    upload(root=root).check()


@pytest.mark.parametrize("root", ["", "srv", "/srv/", "/srv/../etc", "/a\0", "//"])
def test_a_bad_root_is_refused(root):
    """A relative one would be relative to what it bounds."""
    with pytest.raises(Invalid) as refused:
        upload(root=root).check()
    assert refused.value.field == "root"


@pytest.mark.parametrize("mode", ["644", "0644", "4755", "0000", "7777"])
def test_a_mode_is_octal(mode):
    """As chmod takes it, set-id bits when they are written out."""
    upload(mode=mode).check()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("mode", v)
            for v in ("", "8", "64", "0888", "0o644", "u+x", "00644", "-644")
        ],
        *[("mode", v) for v in ("644\n", "٦٤٤")],
        *[("owner", v) for v in ("", ":", "a:", ":a", "-R", "a b", "a:b:c", "a\n")],
        *[("owner", v) for v in ("a;b", "$(id)", "a/b", "x" * 33, "ü", "4294967295")],
        *[("content", v) for v in (None, "x" * (MAX_CONTENT_BYTES + 1), "\ud800")],
        ("encoding", None),
    ],
)
def test_a_bad_upload_is_refused_by_its_field(field, value):
    """The field at fault is named."""
    if field == "encoding":
        changes = {"content": None, "object_key": "k", "encoding": Encoding.BASE64}
    else:
        changes = {field: value}

    with pytest.raises(Invalid) as refused:
        upload(**changes).check()

    assert refused.value.field == field


@pytest.mark.parametrize("owner", ["root", "www-data:adm", "1000:1000", "svc$", "a.b"])
def test_an_owner_is_a_name_or_a_number(owner):
    """With a group, or without."""
    upload(owner=owner).check()


def test_an_upload_has_one_source():
    """Content and an object at once are refused."""
    with pytest.raises(Invalid, match="either content or object_key"):
        upload(object_key="k").check()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("object_key", None),
        ("content", "x"),
        ("mode", "0644"),
        ("owner", "root"),
        ("encoding", Encoding.BASE64),
    ],
)
def test_a_download_goes_to_an_object(field, value):
    """And has nothing of an upload."""
    with pytest.raises(Invalid) as refused:
        download(**{field: value}).check()
    assert refused.value.field == field


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0", "a\n", "é" * 513]
)
def test_a_bad_object_key_is_refused(key):
    """Nothing that a path, an emulator or a log would take for something else."""
    with pytest.raises(Invalid) as refused:
        download(object_key=key).check()
    assert refused.value.field == "object_key"


def test_content_is_text_or_base64():
    """Bytes that are no text go as base64; what is none is refused."""
    assert upload(content="grüße\n").data() == "grüße\n".encode()
    assert upload(content="AP8=", encoding=Encoding.BASE64).data() == b"\x00\xff"
    for bad in ("AP8", "A P8=", "é", "AP8=\n"):
        with pytest.raises(Invalid) as refused:
            upload(content=bad, encoding=Encoding.BASE64).check()
        assert refused.value.field == "content"


@pytest.mark.parametrize("spec", [upload(mode="0644", owner="a:b"), download(root="/")])
def test_it_survives_the_store(spec):
    """Plain values out, the same thing back."""
    plain = json.loads(json.dumps(spec.to_dict()))

    assert FileTransfer.from_dict(plain) == spec
