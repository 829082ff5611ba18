"""SFTP: whatever a server says, an answer or an error of ours."""

import hashlib
import io
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.errors import FileChanged, ProtocolError, RemoteError
from cronhop.ssh.sftp_session import BLOCK_BYTES, SftpSession, StatusError


class Said:
    """A pipe from which comes what was said before, whatever is sent."""

    def __init__(self, *packets):
        self._said = b"".join(packets)

    def send(self, data):
        return True

    def receive(self, limit):
        data, self._said = self._said[:limit], self._said[limit:]
        return data


class Server:
    """A server that keeps one file, and answers reads as `order` and `most` say."""

    def __init__(self, data, *, order, most):
        self._data = data
        self._order = order
        self._most = most
        self._asked = []
        self.most_asked = 0

    def send(self, data):
        kind, number = data[4], data[5:9]
        if kind == 5:
            offset, length = struct.unpack(">QI", data[-12:])
            self._asked.append((number, offset, length))
            self.most_asked = max(self.most_asked, len(self._asked))
        return True

    def receive(self, limit):
        if not self._asked:
            return VERSION
        number, offset, length = self._asked.pop(self._order(len(self._asked)))
        data = self._data[offset : offset + min(length, self._most)]
        return packet(103, number + string(data))


def packet(kind, body):
    return struct.pack(">IB", len(body) + 1, kind) + body


def string(data):
    return struct.pack(">I", len(data)) + data


def number(value):
    return struct.pack(">I", value)


VERSION = packet(2, number(3) + string(b"posix-rename@openssh.com") + string(b"1"))


@pytest.mark.parametrize("most", [BLOCK_BYTES, 30_000, 999_999])
@pytest.mark.parametrize("order", [lambda n: 0, lambda n: n - 1, lambda n: n // 2])
def test_answers_in_any_order_and_size_make_the_file(order, most):
    """A server may answer late requests first, and less than it was asked for."""
    data = bytes(range(256)) * 12_345
    server = Server(data, order=order, most=most)
    sink = io.BytesIO()

    digest = SftpSession(server).read(b"h", sink, size=len(data))

    assert sink.getvalue() == data
    assert digest.sha256 == hashlib.sha256(data).hexdigest()
    assert 1 < server.most_asked <= 64


def test_the_end_before_the_size_is_a_change():
    """It was longer when it was opened."""
    session = SftpSession(Said(VERSION, packet(101, number(1) + number(1))))

    with pytest.raises(FileChanged):
        session.read(b"h", io.BytesIO(), size=10)


@pytest.mark.parametrize(
    "answer",
    [
        packet(103, number(9) + string(b"x")),  # of nobody's request
        packet(103, number(1) + string(b"")),
        packet(103, number(1) + string(b"x" * 11)),
        packet(103, number(1) + number(100)),  # cut short
        packet(101, number(1) + number(0)),
        packet(102, number(1) + string(b"x")),
        packet(103, b""),
        struct.pack(">I", 0),
        struct.pack(">I", 2**31),
    ],
)
def test_an_answer_that_makes_no_sense_is_told(answer):
    """It is neither believed nor waited behind."""
    session = SftpSession(Said(VERSION, answer))

    with pytest.raises(ProtocolError):
        session.read(b"h", io.BytesIO(), size=10)


bodies = st.lists(
    st.one_of(
        st.integers(0, 200).map(number),
        st.binary(max_size=40),
        st.binary(max_size=40).map(string),
    ),
    max_size=4,
).map(b"".join)
packets = st.builds(packet, st.sampled_from([2, 101, 102, 103, 105, 201]), bodies)


@given(said=st.lists(st.one_of(packets, st.binary(max_size=64)), max_size=8))
def test_nothing_that_is_said_raises_another_error(said):
    """Garbage is an error of ours, at every step of both ways."""
    for begin in (b"", VERSION):
        pipe = Said(begin, *said)
        with suppress(RemoteError, StatusError):
            session = SftpSession(pipe)
            handle = session.open(b"/f")
            session.read(handle, io.BytesIO(), size=min(session.size(handle), 9999))
        pipe = Said(begin, *said)
        with suppress(RemoteError, StatusError):
            session = SftpSession(pipe)
            handle = session.create(b"/f")
            session.write(handle, io.BytesIO(b"x" * 99_999), limit=10**6)
            session.set_owner(handle, 1, None)
            session.replace(b"/f", b"/g")
