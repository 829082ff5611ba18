"""Connections through a jump host: two real sshds, and a proxy between them."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from cronhop.domain.credential import Secret
from cronhop.domain.host_key import fingerprint
from cronhop.errors import (
    AddressRefused,
    Busy,
    Deadline,
    HostKeyRefused,
    LoginRefused,
    RemoteError,
    Unreachable,
)
from cronhop.ssh import connection as connection_module
from cronhop.ssh import connections as connections_module
from cronhop.ssh.connections import Connections
from cronhop.ssh.route import forwarded
from tests.proxy import listening, proxy
from tests.sshd import LOOPBACK, Sshd, free_port, keypair, wait_until

JUMP_ID = "01JSERVER000000000000000JP"


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as server:
        yield server


@pytest.fixture(scope="module")
def jump():
    with Sshd() as server:
        yield server


@pytest.fixture
def connections():
    with Connections(allowed=LOOPBACK) as made:
        yield made


def via(jump, *, secret=None, **changes):
    record = jump.server(server_id=JUMP_ID, name="jump", **changes)
    return record, secret or jump.secret


def behind(sshd, **changes):
    return sshd.server(via_server=JUMP_ID, **changes)


def soon(seconds=30):
    return time.monotonic() + seconds


def test_commands_run_behind_a_jump_host(sshd, jump, connections):
    """The server is reached by its jump host only, with a login of its own."""
    before = sshd.log.count("Accepted publickey"), jump.log.count("Accepted publickey")

    connection = connections.to(
        behind(sshd), sshd.secret, deadline=soon(), via=via(jump)
    )
    data = b"#" + b"x" * 80 + b"\n"
    answer = connection.execute(b"exec cat\n" + data * 40_000, limit=5_000_000)

    assert len(answer) > 3_000_000  # sh reads a little ahead
    assert connection.execute(b"echo on", limit=10) == b"on\n"
    assert sshd.log.count("Accepted publickey") == before[0] + 1
    assert jump.log.count("Accepted publickey") == before[1] + 1
    assert connection.address is None


def test_a_jump_host_is_logged_in_to_once(sshd, jump, connections):
    """Ten servers behind it share its connection, as do commands on itself."""
    before = jump.log.count("Accepted publickey")
    servers = [behind(sshd, server_id=f"behind-{number}") for number in range(10)]

    def visit(server):
        connection = connections.to(server, sshd.secret, deadline=soon(), via=via(jump))
        return connection.execute(b"echo x", limit=10)

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(visit, servers)) == [b"x\n"] * 10
    itself = connections.to(*via(jump), deadline=soon())
    assert itself.execute(b"echo jump", limit=10) == b"jump\n"
    assert jump.log.count("Accepted publickey") == before + 1


def test_a_server_is_never_reached_around_its_jump_host(sshd, jump, connections):
    """Without the jump host, or with another one, there is no connection."""
    with pytest.raises(Unreachable):
        connections.to(behind(sshd), sshd.secret, deadline=soon())
    with pytest.raises(Unreachable):
        connections.to(sshd.server(), sshd.secret, deadline=soon(), via=via(jump))


def test_failures_of_the_jump_host_are_told_as_such(sshd, jump, connections):
    """Its key, its login, its address: each says at which hop, and whose key."""
    other = keypair()[1]
    wrong = Secret(private_key=keypair()[0])
    before = sshd.log.count("Connection from")
    for hop, error in [
        (via(jump, host_keys=(other,)), HostKeyRefused),
        (via(jump, secret=wrong, version=2), LoginRefused),
        (via(jump, host="169.254.169.254", version=3), AddressRefused),
        (via(jump, port=free_port(), version=4), Unreachable),
    ]:
        for _ in range(2):  # what is kept of it is not changed by telling
            with pytest.raises(error, match=r"^via jump: (?!via)") as caught:
                connections.to(behind(sshd), sshd.secret, deadline=soon(), via=hop)
            if error is HostKeyRefused:
                assert caught.value.server_id == JUMP_ID
                assert caught.value.seen == fingerprint(jump.host_key)
    assert sshd.log.count("Connection from") == before


def test_failures_of_the_server_are_its_own(sshd, jump, connections):
    """Behind a jump host its own key is pinned, and its own credential shown."""
    other = keypair()[1]
    with pytest.raises(HostKeyRefused, match=r"^the host shows") as caught:
        connections.to(
            behind(sshd, host_keys=(other,)),
            sshd.secret,
            deadline=soon(),
            via=via(jump),
        )
    assert caught.value.server_id == sshd.server().server_id
    with pytest.raises(LoginRefused, match=r"^the server refused"):
        connections.to(
            behind(sshd, version=2),
            Secret(private_key=keypair()[0]),
            deadline=soon(),
            via=via(jump),
        )


def test_the_jump_host_cannot_connect(sshd, jump, connections):
    """Nobody listens there, or the name is not known there."""
    for changes in ({"port": free_port()}, {"host": "no-such-host.invalid"}):
        with pytest.raises(Unreachable, match="jump host cannot connect"):
            connections.to(
                behind(sshd, **changes), sshd.secret, deadline=soon(), via=via(jump)
            )


def test_a_jump_host_that_forwards_nothing(sshd, connections):
    """A refusal is no failure of the server's."""
    with (
        Sshd(options=["AllowTcpForwarding no"]) as strict,
        pytest.raises(Unreachable, match="does not forward"),
    ):
        connections.to(behind(sshd), sshd.secret, deadline=soon(), via=via(strict))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "localhost",
        "2852039166",
        "::1",
        "fe80::1",
        "0",
        "10.0.9.1",
    ],
)
def test_addresses_behind_a_jump_host_are_held_to_the_rules(sshd, host):
    """A jump host is asked for no loopback, link-local or refused address."""
    with pytest.raises(AddressRefused):
        forwarded(sshd.server(host=host), allowed=(), refused=("10.0.9.0/24",))


def test_what_a_jump_host_is_asked_for(sshd):
    """A name as it is, for it is resolved there; an address in its plain form."""
    for host, named in [("db.internal", "db.internal"), ("10.513", "10.0.2.1")]:
        asked = forwarded(sshd.server(host=host, port=7), allowed=(), refused=())
        assert asked == (named, 7)


def test_tunnels_are_bounded(sshd, jump, connections, monkeypatch):
    """More than one connection carries are busy, and free when one is closed."""
    monkeypatch.setattr(connection_module, "MAX_TUNNELS", 1)
    monkeypatch.setattr(connections_module, "BUSY_PAUSES_S", ())
    first = connections.to(behind(sshd), sshd.secret, deadline=soon(), via=via(jump))
    second = behind(sshd, server_id="second")

    with pytest.raises(Busy):
        connections.to(second, sshd.secret, deadline=soon(), via=via(jump))
    first.close()

    assert (
        connections.to(second, sshd.secret, deadline=soon(), via=via(jump)).execute(
            b"echo x", limit=10
        )
        == b"x\n"
    )


def test_nothing_is_left_behind(sshd, jump):
    """When the invocation ends, so do both hops and their threads."""
    before = threading.active_count()
    with Connections(allowed=LOOPBACK) as connections:
        connection = connections.to(
            behind(sshd), sshd.secret, deadline=soon(), via=via(jump)
        )
        connection.execute(b"true", limit=10)
        first = connections.to(*via(jump), deadline=soon())
    assert threading.active_count() == before
    assert not connection.is_open
    assert not first.is_open


def test_a_jump_host_that_dies_ends_what_goes_through_it(sshd, jump, connections):
    """The command's outcome is not known, and nobody waits for it."""
    connection = connections.to(
        behind(sshd), sshd.secret, deadline=soon(), via=via(jump)
    )
    first = connections.to(*via(jump), deadline=soon())
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(connection.execute, b"echo x; exec sleep 20", limit=10)
        wait_until(lambda: len(first._transport._channels.values()) == 1)
        with pytest.raises(Unreachable):
            first.execute(b"kill -KILL $PPID; sleep 9", limit=10)
        with pytest.raises(Unreachable):
            future.result(10)
    assert time.monotonic() - begun < 10
    wait_until(lambda: not connection.is_open)


@contextmanager
def at_hop(hop, sshd, jump, **trouble):
    """Yield server and jump host, one of them behind a proxy that makes trouble."""
    target = sshd if hop == "server" else jump
    with listening(proxy(target.port, **trouble)) as port:
        if hop == "server":
            yield behind(sshd, port=port), via(jump)
        else:
            yield behind(sshd), via(jump, port=port)


@pytest.mark.parametrize("drip_s", [None, 0.05], ids=["stall", "drip"])
@pytest.mark.parametrize(
    ("hop", "points"),
    [("server", range(0, 3600, 400)), ("jump", range(0, 9000, 500))],
)
def test_a_stall_at_any_byte_ends_at_the_deadline(sshd, jump, hop, points, drip_s):
    """Either hop falls silent, or nearly so, after n bytes; we are back in a second."""
    seconds = 1.5

    def visit(stall_at):
        trouble = {"stall_at": stall_at, "drip_s": drip_s}
        with (
            at_hop(hop, sshd, jump, **trouble) as (server, first),
            Connections(allowed=LOOPBACK) as connections,
        ):
            begun = time.monotonic()
            deadline = begun + seconds
            try:
                connection = connections.to(
                    server, sshd.secret, deadline=deadline, via=first
                )
                connection.execute(b"echo x", limit=100)
                end = "done"
            except RemoteError as error:
                end = error.reason
            return stall_at, end, time.monotonic() - begun

    before = threading.active_count()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(visit, points))

    assert [result for result in results if result[2] > seconds + 1] == []
    assert "deadline" in {end for _, end, _ in results}
    wait_until(lambda: threading.active_count() <= before)


def test_a_target_that_accepts_and_says_nothing(sshd, jump, monkeypatch):
    """It is unreachable after a while; the jump host's connection goes on."""
    monkeypatch.setattr(connection_module, "OPENING_S", 1.0)
    with (
        listening(lambda peer: None) as port,
        Connections(allowed=LOOPBACK) as connections,
    ):
        first = connections.to(*via(jump), deadline=soon())
        begun = time.monotonic()
        with pytest.raises(Unreachable):
            connections.to(
                behind(sshd, port=port), sshd.secret, deadline=soon(), via=via(jump)
            )
        assert time.monotonic() - begun < 2
        assert first.execute(b"echo on", limit=10) == b"on\n"
        with pytest.raises(Deadline):
            connections.to(
                behind(sshd, port=port, version=2),
                sshd.secret,
                deadline=soon(0.3),
                via=via(jump),
            )


@contextmanager
def dropping():
    """Yield a port of 127.0.0.1 whose backlog is full: Linux drops what comes."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_jump_host_that_never_answers_for_the_target(sshd, jump, connections):
    """Its sshd waits for a silent network: at our deadline we do not."""
    first = connections.to(*via(jump), deadline=soon())
    with dropping() as port:
        begun = time.monotonic()

        with pytest.raises(Deadline):
            connections.to(
                behind(sshd, port=port),
                sshd.secret,
                deadline=soon(0.5),
                via=via(jump),
            )

        assert time.monotonic() - begun < 1.5
    assert first.execute(b"echo on", limit=10) == b"on\n"


def test_a_flood_through_the_tunnel_is_cut(sshd, jump, connections):
    """A target cannot fill our memory, nor end its jump host's connection."""

    def serve(peer):
        try:
            while True:
                peer.sendall(b"SSH-2.0-x\r\n" + b"x" * 65536)
        except OSError:
            peer.close()

    with listening(serve) as port, pytest.raises(RemoteError):
        connections.to(
            behind(sshd, port=port), sshd.secret, deadline=soon(), via=via(jump)
        )
    first = connections.to(*via(jump), deadline=soon())
    assert first.execute(b"echo on", limit=10) == b"on\n"
