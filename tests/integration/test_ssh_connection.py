"""Connections against a real sshd, a stalling proxy and servers that are none."""

import inspect
import logging
import pkgutil
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module

import paramiko
import pytest

from cronhop.domain.credential import Secret
from cronhop.domain.host_key import fingerprint
from cronhop.errors import (
    AddressRefused,
    Busy,
    Deadline,
    HostKeyMissing,
    HostKeyRefused,
    LoginRefused,
    ProtocolError,
    RemoteError,
    Unreachable,
)
from cronhop.ssh import connection as connection_module
from cronhop.ssh.connection import Connection
from cronhop.ssh.connections import Connections
from cronhop.ssh.failure import MEANING, Phase, explain
from tests.proxy import listening, proxy
from tests.sshd import LOOPBACK, Sshd, free_port, keypair, wait_until

KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa": ["-t", "ecdsa"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as server:
        yield server


@pytest.fixture
def connection(sshd):
    with open_to(sshd) as opened:
        yield opened


def open_to(sshd, *, secret=None, seconds=30, allowed=LOOPBACK, refused=(), **changes):
    return Connection.open(
        sshd.server(**changes),
        secret or sshd.secret,
        deadline=time.monotonic() + seconds,
        allowed=allowed,
        refused=refused,
    )


# -- commands


def test_it_runs_a_script(connection):
    """stdin is a script for sh; stdout comes back."""
    answer = connection.run(b"echo out; echo err >&2", limit=100)

    assert (answer.stdout, answer.stderr) == (b"out\n", b"err\n")
    assert connection.execute(b"echo $((6 * 7))", limit=100) == b"42\n"


def test_windows_do_not_deadlock(connection):
    """Megabytes both ways and on stderr at once; stderr's beginning is kept."""
    data = b"#" + b"x" * 80 + b"\n"
    script = (
        b"head -c 5000000 /dev/zero >&2\nhead -c 6000000 /dev/zero\nexec cat\n"
        + data * 50_000
    )

    answer = connection.run(script, limit=20_000_000)

    assert answer.stdout[:6_000_000] == bytes(6_000_000)
    assert len(answer.stdout) > 6_000_000
    assert 0 < len(answer.stderr) <= 400


def test_noise_before_the_script_is_read_does_not_deadlock(connection):
    """A shell that writes more than a window before it reads is still fed."""
    script = b"head -c 9000000 /dev/zero\n" + b"# x\n" * 1_000_000

    assert len(connection.execute(script, limit=10_000_000)) == 9_000_000


def test_an_endless_answer_is_cut(connection):
    """A host cannot fill our memory."""
    with pytest.raises(ProtocolError):
        connection.execute(b"exec yes", limit=100_000)

    assert connection.execute(b"echo on", limit=100) == b"on\n"


def test_an_answer_that_does_not_come_is_not_waited_for(connection):
    """A call has its own limit; the connection stays usable."""
    with pytest.raises(Unreachable):
        connection.execute(b"exec sleep 9", limit=100, timeout_s=0.3)

    assert connection.execute(b"echo on", limit=100) == b"on\n"


def test_eight_commands_run_at_once(connection):
    """More wait for their turn."""
    with ThreadPoolExecutor(24) as pool:
        answers = pool.map(
            lambda number: connection.execute(b"echo %d" % number, limit=100), range(24)
        )

    assert sorted(map(int, answers)) == list(range(24))


def test_a_server_with_fewer_sessions_is_busy():
    """MaxSessions below ours is no failure of the command."""
    with Sshd(max_sessions=1) as server, open_to(server) as connection:
        holder = threading.Thread(
            target=lambda: connection.execute(b"echo x; sleep 4", limit=10), daemon=True
        )
        holder.start()
        wait_until(lambda: "Starting session" in server.log)

        with pytest.raises(Busy):
            connection.execute(b"true", limit=10)
        holder.join()


def test_a_broken_connection_is_unreachable(sshd):
    """The server's process dies in the middle of a command."""
    with open_to(sshd) as connection:
        assert connection.is_open
        with pytest.raises(Unreachable):
            connection.execute(b"kill -KILL $PPID; sleep 9", limit=10)
        assert not connection.is_open


# -- opening


def test_another_host_key_is_refused_before_the_login(sshd):
    """Both fingerprints are told, and the credential is not shown."""
    other = keypair()[1]
    before = len(sshd.log)

    with pytest.raises(HostKeyRefused) as caught:
        open_to(sshd, host_keys=(other,))

    assert caught.value.seen == fingerprint(sshd.host_key)
    assert caught.value.expected == (fingerprint(other),)
    wait_until(lambda: "Connection closed" in sshd.log[before:])
    assert "publickey" not in sshd.log[before:]


def test_a_host_key_of_another_type_is_told(sshd, tmp_path):
    """A server that has no key of the pinned type shows the one it has."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "key"],
        check=True,
    )
    pinned = (tmp_path / "key.pub").read_text()

    with pytest.raises(HostKeyRefused) as caught:
        open_to(sshd, host_keys=(pinned,))

    assert caught.value.seen == fingerprint(sshd.host_key)


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_the_pinned_type_is_asked_for(tmp_path, key_type):
    """A server with several keys is asked for the one that is pinned."""
    subprocess.run(
        ["ssh-keygen", "-q", *KINDS[key_type], "-N", "", "-f", tmp_path / "key"],
        check=True,
    )
    pinned = (tmp_path / "key.pub").read_text()

    with Sshd(options=[f"HostKey {tmp_path / 'key'}"]) as server:
        for host_keys in ((pinned,), (server.host_key,), (pinned, server.host_key)):
            with open_to(server, host_keys=host_keys) as connection:
                assert connection.execute(b"echo x", limit=10) == b"x\n"


def test_a_key_that_is_not_let_in(sshd):
    """A wrong key is a refused login."""
    with pytest.raises(LoginRefused):
        open_to(sshd, secret=Secret(private_key=keypair()[0]))


def test_a_session_comes_with_the_login(connection):
    """OpenSSH opens it in the same round trip; the first script takes it."""
    assert len(connection._sessions) == 1

    assert connection.execute(b"echo one", limit=100) == b"one\n"
    assert connection._sessions == []
    assert connection.execute(b"echo two", limit=100) == b"two\n"


def test_another_server_is_asked_one_thing_after_the_other(sshd, monkeypatch):
    """It may end the connection for a session that is asked for before the login."""
    monkeypatch.setattr("cronhop.ssh.transport._PATIENT", "SSH-2.0-Other")

    with open_to(sshd) as connection:
        assert connection._sessions == []
        assert connection.execute(b"echo one", limit=100) == b"one\n"


def test_a_server_without_sessions_lets_us_in():
    """The login counts, whatever becomes of the session that came with it."""
    with Sshd(max_sessions=0) as sshd, open_to(sshd) as connection:
        assert connection._sessions == []
        with pytest.raises(Busy):
            connection.execute(b"echo", limit=100)


@pytest.mark.parametrize("tries", [1, 6])
def test_a_refused_login_is_one_whatever_the_server_does_then(tries):
    """A server may hang up at once instead of refusing."""
    with Sshd(options=[f"MaxAuthTries {tries}"]) as server, pytest.raises(LoginRefused):
        open_to(server, secret=Secret(private_key=keypair()[0]))


@pytest.mark.parametrize(
    "secret",
    [
        Secret(private_key="canary"),
        Secret(private_key="-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n"),
        Secret(password="canary"),
        Secret(),
    ],
    ids=["no key", "cut key", "password not taken", "empty"],
)
def test_a_credential_that_cannot_work(sshd, secret):
    """Refused, and the secret is in no message."""
    with pytest.raises(LoginRefused) as caught:
        open_to(sshd, secret=secret)

    assert "canary" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["OpenSSH", "PEM", "PKCS8"])
@pytest.mark.parametrize("passphrase", [None, "pa ss'"])
def test_every_kind_of_key_logs_in(sshd, tmp_path, key_type, form, passphrase):
    """ed25519, ECDSA and RSA, in each format that ssh-keygen writes."""
    file = tmp_path / "key"
    options = [] if form == "OpenSSH" else ["-m", form]
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            *options,
            *KINDS[key_type],
            "-N",
            passphrase or "",
            "-f",
            file,
        ],
        check=True,
    )
    with sshd._authorized.open("a") as authorized:
        authorized.write(file.with_suffix(".pub").read_text())
    secret = Secret(private_key=file.read_text(), passphrase=passphrase)

    with open_to(sshd, secret=secret) as connection:
        assert connection.execute(b"echo in", limit=10) == b"in\n"
    if passphrase:
        with pytest.raises(LoginRefused, match="passphrase"):
            open_to(sshd, secret=Secret(private_key=file.read_text(), passphrase="x"))


def test_loopback_is_refused_unless_it_is_allowed(sshd):
    """Not even a packet is sent."""
    before = sshd.log.count("Connection from")

    for host in ("127.0.0.1", "127.1", "localhost", "::1", "0"):
        with pytest.raises(AddressRefused):
            open_to(sshd, host=host, allowed=())

    assert sshd.log.count("Connection from") == before


def test_a_name_may_lead_to_an_allowed_address(sshd):
    """Names are resolved, and what they lead to is connected to."""
    with open_to(sshd, host="localhost") as connection:
        assert connection.execute(b"echo x", limit=10) == b"x\n"


def test_nobody_listens():
    """A refused connection is told in the system's words."""
    with Sshd() as server, pytest.raises(Unreachable, match="refused"):
        open_to(server, port=free_port())


def test_a_refused_network_is_never_connected_to(sshd):
    """Not even if it is allowed as well."""
    before = sshd.log.count("Connection from")

    with pytest.raises(AddressRefused):
        open_to(sshd, host="localhost", refused=("127.0.0.0/8", "::1/128"))

    assert sshd.log.count("Connection from") == before


def test_without_a_pinned_key_nothing_is_sent(sshd):
    """A host that nobody knows is not even connected to."""
    before = sshd.log.count("Connection from")

    with pytest.raises(HostKeyMissing, match="approve"):
        open_to(sshd, host_keys=())

    assert sshd.log.count("Connection from") == before


def test_an_unknown_name(sshd):
    """A name that does not resolve, or whose resolver is silent."""
    with pytest.raises((Unreachable, Deadline)):
        open_to(sshd, host="no-such-host.invalid", seconds=3)


def test_a_silent_server(sshd, monkeypatch):
    """It is unreachable after a while, and nobody waits beyond the deadline."""
    with listening(lambda peer: None) as port:
        begun = time.monotonic()
        with pytest.raises(Deadline):
            open_to(sshd, port=port, seconds=0.5)
        assert time.monotonic() - begun < 1.5

        monkeypatch.setattr(connection_module, "OPENING_S", 0.5)
        with pytest.raises(Unreachable):
            open_to(sshd, port=port)
        assert time.monotonic() - begun < 3


def test_a_server_that_drops_connections_is_busy():
    """MaxStartups is no failure."""
    with (
        Sshd(max_startups="1:100:1") as server,
        socket.create_connection((server.host, server.port)) as holder,
    ):
        holder.recv(10)

        with pytest.raises(Busy):
            open_to(server)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", Busy),
        (b"Exceeded MaxStartups\r\n", Busy),
        (b"Not allowed at this time\r\n", Busy),
        (b"SSH-2.0-x\r\n", Busy),
        (b"HTTP/1.1 400 Bad\x1b[2J Request\r\n\r\n<html>", ProtocolError),
        (b"220 mail.evil ESMTP\r\n", ProtocolError),
        (b"SSH-1.5-old\r\n", ProtocolError),
        (b"x" * 5_000_000, ProtocolError),
        (
            b"SSH-2.0-x\r\n" + struct.pack(">I", 0x7FFFFFFF) + b"y" * 5_000_000,
            RemoteError,
        ),
        (b"SSH-2.0-x\r\n" + bytes(range(256)) * 1000, RemoteError),
        (
            b"SSH-2.0-\xff\xfe\r\n" + struct.pack(">IBB", 12, 4, 20) + b"z" * 10,
            RemoteError,
        ),
    ],
    ids=[
        "nothing",
        "startups",
        "penalty",
        "gone",
        "http",
        "smtp",
        "v1",
        "flood",
        "huge",
        "junk",
        "kex",
    ],
)
def test_a_server_that_is_none(sshd, said, error):
    """Bytes of a peer end in an error, and are not in its words."""

    def serve(peer):
        with suppress(OSError), peer:
            peer.sendall(said)
            peer.shutdown(socket.SHUT_WR)
            peer.recv(10_000)

    with listening(serve) as port, pytest.raises(error) as caught:
        open_to(sshd, port=port, seconds=3)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    for word in ("HTTP", "Bad", "evil", "xx", "yy", "old"):
        assert word not in str(caught.value)


def test_a_stall_at_any_byte_ends_at_the_deadline(sshd):
    """The server falls silent after n bytes; we are back within a second."""
    seconds = 1.0
    points = [*range(0, 1500, 100), *range(1500, 2700, 40), *range(2700, 3400, 100)]

    def visit(stall_at):
        with listening(proxy(sshd.port, stall_at=stall_at)) as port:
            begun = time.monotonic()
            deadline = begun + seconds
            try:
                with Connection.open(
                    sshd.server(port=port),
                    sshd.secret,
                    deadline=deadline,
                    allowed=LOOPBACK,
                ) as connection:
                    connection.execute(b"echo x", limit=100)
                    end = "done"
            except RemoteError as error:
                end = error.reason
            return stall_at, end, time.monotonic() - begun

    before = threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(visit, points))

    assert [result for result in results if result[2] > seconds + 1] == []
    assert "deadline" in {end for _, end, _ in results}
    wait_until(lambda: threading.active_count() <= before)


def test_a_drip_from_any_byte_on_ends_at_the_deadline(sshd):
    """A server that sends a byte now and then is not waited for any longer."""
    seconds = 1.0

    def visit(drip_at):
        dripping = proxy(sshd.port, stall_at=drip_at, drip_s=0.05)
        with listening(dripping) as port:
            begun = time.monotonic()
            try:
                with open_to(sshd, port=port, seconds=seconds) as connection:
                    connection.execute(b"echo x", limit=100)
            except RemoteError as error:
                return error.reason, time.monotonic() - begun
            return "done", time.monotonic() - begun

    before = threading.active_count()
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(visit, range(0, 2400, 200)))

    assert [taken for _, taken in results if taken > seconds + 1] == []
    assert {reason for reason, _ in results} == {"deadline"}
    wait_until(lambda: threading.active_count() <= before)


def test_the_deadline_ends_a_command(sshd):
    """Nothing outlives it, also not what waits for its turn."""
    with open_to(sshd, seconds=0.7) as connection, ThreadPoolExecutor(10) as pool:
        begun = time.monotonic()
        futures = [
            pool.submit(connection.execute, b"exec sleep 9", limit=10)
            for _ in range(10)
        ]
        errors = [future.exception() for future in futures]

    assert time.monotonic() - begun < 1.7
    assert {type(error) for error in errors} == {Deadline}


def test_nothing_is_left_behind(sshd):
    """When a connection is closed its threads and sockets are gone."""
    before = threading.active_count()

    for _ in range(3):
        connection = open_to(sshd)
        connection.execute(b"true", limit=10)
        connection.close()
        connection.close()
        assert connection._transport.stream.fileno() == -1

    assert threading.active_count() == before


def test_paramiko_logs_nothing(sshd, caplog):
    """What goes wrong is told once, by an exception."""
    with caplog.at_level(logging.WARNING):
        with pytest.raises(HostKeyRefused):
            open_to(sshd, host_keys=(keypair()[1],))
        with (
            listening(lambda peer: peer.sendall(b"SSH-2.0-x\r\n" + b"\0" * 64)) as port,
            pytest.raises(RemoteError),
        ):
            open_to(sshd, port=port, seconds=1)

    assert caplog.records == []


# -- the pool


def test_connections_are_shared(sshd):
    """Ten executions on one server need one login."""
    before = sshd.log.count("Accepted publickey")
    deadline = time.monotonic() + 30

    with Connections(allowed=LOOPBACK) as connections, ThreadPoolExecutor(10) as pool:
        opened = list(
            pool.map(
                lambda _: connections.to(sshd.server(), sshd.secret, deadline=deadline),
                range(10),
            )
        )
        other = connections.to(sshd.server(version=2), sshd.secret, deadline=deadline)

    assert len(set(opened)) == 1
    assert other is not opened[0]
    assert sshd.log.count("Accepted publickey") == before + 2
    assert not opened[0].is_open
    assert not other.is_open


def test_a_dead_connection_is_opened_again(sshd):
    """Who comes after a break gets a new one."""
    deadline = time.monotonic() + 30
    with Connections(allowed=LOOPBACK) as connections:
        first = connections.to(sshd.server(), sshd.secret, deadline=deadline)
        first.close()

        second = connections.to(sshd.server(), sshd.secret, deadline=deadline)

        assert second is not first
        assert second.execute(b"echo x", limit=10) == b"x\n"


def test_a_wrong_key_is_tried_once(sshd):
    """Servers count refused logins against our address."""
    wrong = Secret(private_key=keypair()[0])
    before = sshd.log.count("Connection from")
    deadline = time.monotonic() + 30

    def attempt(connections):
        with pytest.raises(LoginRefused):
            connections.to(sshd.server(), wrong, deadline=deadline)

    with Connections(allowed=LOOPBACK) as connections, ThreadPoolExecutor(10) as pool:
        list(pool.map(attempt, [connections] * 10))
        attempt(connections)

    assert sshd.log.count("Connection from") == before + 1


def test_a_crowd_gets_in_to_a_server_that_lets_few_in_at_once():
    """MaxStartups drops some of us: they are let in a little later."""
    deadline = time.monotonic() + 30
    with (
        Sshd(max_startups="2:100:3") as crowded,
        Connections(allowed=LOOPBACK) as connections,
        ThreadPoolExecutor(12) as pool,
    ):

        def visit(number):
            record = crowded.server(server_id=f"server-{number}")
            connection = connections.to(record, crowded.secret, deadline=deadline)
            return connection.execute(b"echo x", limit=10)

        assert list(pool.map(visit, range(12))) == [b"x\n"] * 12
        assert crowded.log.count("Accepted publickey") == 12


def test_a_server_that_stays_full_is_busy():
    """Who is dropped again and again gives up, and the visit is made later."""
    with (
        Sshd(max_startups="1:100:1") as full,
        socket.create_connection((full.host, full.port)) as holder,
        Connections(allowed=LOOPBACK) as connections,
    ):
        holder.recv(10)

        with pytest.raises(Busy):
            connections.to(full.server(), full.secret, deadline=time.monotonic() + 1)


def test_a_server_that_was_unreachable_is_tried_again(sshd):
    """A failure that may pass is not kept."""
    port = free_port()
    server = sshd.server(port=port)
    deadline = time.monotonic() + 30
    with Connections(allowed=LOOPBACK) as connections:
        with pytest.raises(Unreachable):
            connections.to(server, sshd.secret, deadline=deadline)

        listener = socket.create_server(("127.0.0.1", port))
        relay = proxy(sshd.port, stall_at=1 << 40)
        threading.Thread(
            target=lambda: relay(listener.accept()[0]), daemon=True
        ).start()

        assert connections.to(server, sshd.secret, deadline=deadline).is_open
    listener.close()


# -- errors


def paramikos_exceptions():
    """Every exception class that paramiko defines."""
    found = set()
    for module in pkgutil.iter_modules(paramiko.__path__):
        if module.name in ("_winapi", "win_pageant", "win_openssh"):
            continue
        for value in vars(import_module(f"paramiko.{module.name}")).values():
            if (
                inspect.isclass(value)
                and issubclass(value, Exception)
                and value.__module__.startswith("paramiko")
            ):
                found.add(value)
    return found


def test_every_exception_of_paramiko_has_a_meaning():
    """A new version that adds one makes this fail."""
    assert paramikos_exceptions() - set(MEANING) == set()
    assert len(MEANING) > 15


@pytest.mark.parametrize("phase", list(Phase))
def test_no_word_of_the_peer_is_repeated(phase):
    """What comes from outside is not in the message."""
    for kind in paramikos_exceptions():
        error = kind.__new__(kind)
        error.args = ("evil \x1b[2J",)
        with suppress(AttributeError):  # a __str__ that misses what __init__ sets
            assert "evil" not in str(explain(error, phase=phase))
