"""File transfers: a bucket on moto, a real sshd, and the use case between them."""

import io
import os
import time
from hashlib import sha256
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import IncompleteReadError, ReadTimeoutError
from botocore.stub import ANY, Stubber

from cronhop.aws.files import Files
from cronhop.domain.transfer import Direction, Encoding, FileTransfer
from cronhop.errors import FileRefused, ObjectRefused, ObjectUnavailable
from cronhop.services.transfer import FULL, transfer
from cronhop.settings import Settings
from cronhop.ssh.connection import Connection
from tests.sshd import LOOPBACK
from tests.world import REGION

BUCKET = "test-transfers"


@pytest.fixture
def client(world):
    client = boto3.client("s3", region_name=REGION)
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return client


@pytest.fixture
def files(client):
    return Files(client, BUCKET)


@pytest.fixture
def connection(sshd):
    deadline = time.monotonic() + 60
    with Connection.open(
        sshd.server(), sshd.secret, deadline=deadline, allowed=LOOPBACK
    ) as opened:
        yield opened


def upload(path, **changes):
    return FileTransfer(direction=Direction.UPLOAD, path=path, **changes)


def download(path, key):
    return FileTransfer(direction=Direction.DOWNLOAD, path=path, object_key=key)


# -- the bucket


def test_an_object_is_read_with_its_size(client, files):
    """As a stream, which ends."""
    client.put_object(Bucket=BUCKET, Key="a/b c", Body=b"12345")

    with files.reading("a/b c") as source:
        assert source.size == 5
        assert [source.read(3), source.read(3), source.read(3)] == [b"123", b"45", b""]


def test_an_object_is_kept_whole(client, files):
    """From the file's beginning, with a checksum of the whole; the older one is gone."""
    client.put_object(Bucket=BUCKET, Key="k", Body=b"old")
    file = io.BytesIO(b"new")
    file.read()

    files.put("k", file, sha256=sha256(b"new").hexdigest())

    kept = client.get_object(Bucket=BUCKET, Key="k")
    assert kept["Body"].read() == b"new"
    with Stubber(client) as stub:
        asked = {"Bucket": BUCKET, "Key": "k", "Body": ANY, "ChecksumSHA256": ANY}
        stub.add_response("put_object", {}, asked)
        files.put("k", file, sha256=sha256(b"new").hexdigest())


@pytest.mark.parametrize(
    ("bucket", "message"),
    [
        (BUCKET, "'missing': there is no such object"),
        ("test-nowhere", "there is no such bucket"),
        ("", "the stack has none"),
    ],
)
def test_what_is_not_there_is_refused(client, bucket, message):
    """Somebody has to change something before it can work."""
    files = Files(client, bucket)

    with pytest.raises(ObjectRefused, match=message), files.reading("missing"):
        pass


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AccessDenied", ObjectRefused),
        ("SlowDown", ObjectUnavailable),
        ("InternalError", ObjectUnavailable),
        ("ExpiredToken", ObjectUnavailable),
    ],
)
def test_an_error_of_the_bucket_tells_whether_it_may_pass(files, client, code, error):
    """In words of ours, with the code of S3."""
    with Stubber(client) as stub:
        stub.add_client_error("get_object", code)
        stub.add_client_error("put_object", code)

        with pytest.raises(error, match="object 'k'"), files.reading("k"):
            pass
        with pytest.raises(error, match="object 'k'"):
            files.put("k", io.BytesIO(), sha256="00" * 32)


@pytest.mark.parametrize(
    "error",
    [
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
        ReadTimeoutError(endpoint_url="s3"),
        ConnectionResetError(),
    ],
)
def test_a_stream_that_breaks_may_pass(client, files, error):
    """A part of an object is never taken for the whole."""

    def breaking(size):
        raise error

    client.put_object(Bucket=BUCKET, Key="k", Body=b"12345")
    with files.reading("k") as source:
        source._body.read = breaking
        with pytest.raises(ObjectUnavailable):
            source.read(3)


def test_a_stack_has_a_bucket_or_none():
    """By its setting."""
    environ = dict.fromkeys(
        [
            "AWS_REGION",
            "CRONHOP_TABLE_PREFIX",
            "CRONHOP_QUEUE_URL",
            "CRONHOP_BUCKET",
            "CRONHOP_SECRET_PREFIX",
        ],
        "x",
    )

    assert Settings.from_env(environ).transfer_bucket == ""
    environ["CRONHOP_TRANSFER_BUCKET"] = BUCKET
    assert Settings.from_env(environ).transfer_bucket == BUCKET


# -- the transfer


def test_content_of_the_task_arrives(connection, sshd, files):
    """Text or bytes, with mode; twice is as once."""
    text = upload("text", content="grüße\n", mode="0640")
    binary = upload("binary", content="AP8=", encoding=Encoding.BASE64)

    first = transfer(connection, text, files, key="1")
    assert transfer(connection, text, files, key="1") == first
    assert transfer(connection, binary, files, key="1").bytes == 2

    assert (sshd.home / "text").read_bytes() == "grüße\n".encode()
    assert (sshd.home / "text").stat().st_mode & 0o777 == 0o640
    assert (sshd.home / "binary").read_bytes() == b"\x00\xff"
    assert first.sha256 == sha256("grüße\n".encode()).hexdigest()
    assert first.summary == (
        "inline content -> text\n"
        "8 bytes\n"
        f"sha256 {first.sha256} (on the server: sha256sum)\n"
    )


def test_an_object_goes_there_and_back(connection, sshd, client, files):
    """Byte for byte, of several megabytes."""
    data = os.urandom(5_000_001)
    client.put_object(Bucket=BUCKET, Key="in/data", Body=data)

    there = transfer(connection, upload("data", object_key="in/data"), files, key="1")
    back = transfer(connection, download("data", "out/data"), files, key="1")

    assert (sshd.home / "data").read_bytes() == data
    kept = client.get_object(Bucket=BUCKET, Key="out/data")["Body"].read()
    assert kept == data
    assert there.sha256 == back.sha256 == sha256(data).hexdigest()
    assert back.summary.startswith("data -> out/data\n5000001 bytes\n")


def test_what_is_too_large_is_refused_before_it_is_sent(
    connection, sshd, client, files
):
    """An object by its size, a file by its own; nothing of it is left anywhere."""
    client.put_object(Bucket=BUCKET, Key="big", Body=bytes(1001))
    (sshd.home / "big").write_bytes(bytes(1001))
    before = sorted(sshd.home.iterdir())

    with pytest.raises(ObjectRefused, match="'big': it has more than 1000 bytes"):
        transfer(connection, upload("f", object_key="big"), files, key="1", limit=1000)
    with pytest.raises(FileRefused, match="more than 1000 bytes"):
        transfer(connection, download("big", "out"), files, key="1", limit=1000)

    assert sorted(sshd.home.iterdir()) == before
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1


def test_an_object_that_breaks_off_is_no_file(connection, sshd, client, files):
    """The file on the server stays the old one; nothing else is there."""
    client.put_object(Bucket=BUCKET, Key="k", Body=bytes(100_000))
    (sshd.home / "kept").write_bytes(b"old")
    reading = files.reading

    class Breaking:
        size = 100_000
        parts = iter([bytes(32768)])

        def read(self, size):
            for part in self.parts:
                return part
            raise ObjectUnavailable("broken")

    class Contextual:
        def __enter__(self):
            return Breaking()

        def __exit__(self, *_):
            pass

    files.reading = lambda key: Contextual()
    with pytest.raises(ObjectUnavailable):
        transfer(connection, upload("kept", object_key="k"), files, key="1")
    files.reading = reading

    assert (sshd.home / "kept").read_bytes() == b"old"
    assert not list(sshd.home.glob(".cronhop-*"))


def test_a_full_disk_of_our_own_may_pass(connection, sshd, files, monkeypatch):
    """Other transfers fill it as well, and end."""
    (sshd.home / "f").write_bytes(b"x")

    def full(*, buffering):
        return Path("/dev/full").open("r+b", buffering=buffering)

    monkeypatch.setattr("cronhop.services.transfer.TemporaryFile", full)

    with pytest.raises(ObjectUnavailable, match=FULL):
        transfer(connection, download("f", "k"), files, key="1")


def test_without_a_bucket_only_content_goes(connection, client):
    """Before anything is asked of the server."""
    files = Files(client, "")

    for spec in (upload("f", object_key="k"), download("f", "k")):
        with pytest.raises(ObjectRefused, match="the stack has none"):
            transfer(connection, spec, files, key="1")
    assert transfer(connection, upload("f", content="x"), files, key="1").bytes == 1
