"""Checks of servers: asked for through the queue, made by executors, on record."""

import subprocess
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from cronhop.domain.credential import Secret
from cronhop.domain.host_key import fingerprint
from cronhop.domain.server import ServerDefinition
from cronhop.errors import Conflict, NotFound, PreconditionFailed, QueueUnavailable
from cronhop.services.check import Checker
from cronhop.services.dead_letters import revive
from cronhop.store import credentials, servers
from tests.sshd import Sshd, free_port
from tests.world import SOME_HOST_KEY


@pytest.fixture(scope="module")
def jump():
    with Sshd() as server:
        yield server


def check(world, server):
    """Ask for a check, let it be made, and return what is on record then."""
    world.clock.move(seconds=1)
    check_id = world.servers.check(server.server_id, now=world.clock())
    world.deliver()
    found = world.servers.get(server.server_id)
    assert found.last_check.check_id == check_id
    assert found.pending_check is None
    return found


def change(world, server, **changes):
    """Change the server as a user would."""
    present = vars(world.servers.get(server.server_id))
    names = [one.name for one in fields(ServerDefinition)]
    definition = ServerDefinition(**{name: present[name] for name in names} | changes)
    return world.servers.change(
        server.server_id, definition, version=None, now=world.clock()
    )


def approve(world, server, seen, **options):
    return world.servers.approve(
        server.server_id,
        seen,
        **{"only": False, "version": None, "now": world.clock(), **options},
    )


def add_jump(world, jump):
    return world.add_server(jump, name="jump")


def steps(server):
    return [(step.step, step.ok) for step in server.last_check.steps]


def test_a_check_tells_what_is_there(world, sshd):
    """Key, login, disk, sudo, clock and system, each step in words."""
    server = world.add_server(sshd)
    checker = Checker(
        secrets=world.secrets,
        alarms=world.checker.alarms,
        now=lambda: datetime.now(UTC) - timedelta(hours=1),
    )
    world.checker = checker

    checked = check(world, server)

    found = checked.last_check
    assert (found.ok, found.reason) == (True, None)
    (seen,) = found.host_keys_seen
    assert (seen.type, seen.key) == ("ssh-ed25519", sshd.host_key)
    assert seen.fingerprint == fingerprint(sshd.host_key)
    assert found.address == "127.0.0.1"
    assert 0 < found.latency_ms < 20_000
    assert abs(found.clock_skew_ms - 3_600_000) < 1000
    assert found.free_bytes > 0
    assert found.system.startswith("Linux")
    assert found.sudo in {True, False, None}
    assert [name for name, ok in steps(checked) if ok] == [
        "connect",
        "host_key",
        "login",
        "host",
        "sudo",
        "spool",
        "tools",
    ]
    assert checked.version == server.version
    assert checked.updated_at == server.updated_at


def test_a_check_is_pending_until_it_is_made(world, sshd):
    """Who asks sees that it is on its way."""
    server = world.add_server(sshd)

    check_id = world.servers.check(server.server_id, now=world.clock())

    asked = world.servers.get(server.server_id)
    assert (asked.pending_check, asked.last_check) == (check_id, None)
    with pytest.raises(NotFound):
        world.servers.check("01J00000000000000000000000", now=world.clock())


def test_a_queue_that_refuses_leaves_nothing_pending(world, sshd, monkeypatch):
    """The answer is an error, and nothing is on record."""
    server = world.add_server(sshd)
    monkeypatch.setattr(
        world.queue, "_send_batch", lambda batch: [one for one, _ in batch]
    )

    with pytest.raises(QueueUnavailable):
        world.servers.check(server.server_id, now=world.clock())

    assert world.servers.get(server.server_id).pending_check is None


def test_a_check_delivered_twice_or_late_changes_nothing(world, sshd):
    """The newest one that was asked for is the one on record."""
    server = world.add_server(sshd)
    for _ in range(2):
        world.servers.check(server.server_id, now=world.clock())
        world.clock.move(seconds=1)
    (old, _), (new, _) = world.messages()
    logins = sshd.log.count("Accepted publickey")

    world.deliver([old, new, new, old])

    assert world.servers.get(server.server_id).last_check.check_id == new.check_id
    assert sshd.log.count("Accepted publickey") == logins + 1


def test_a_check_of_a_server_that_is_gone(world, sshd):
    """Nothing is made up for it."""
    server = world.add_server(sshd)
    world.servers.check(server.server_id, now=world.clock())
    world.servers.delete(server.server_id, version=None)

    world.deliver()

    assert servers.get(server.server_id) is None


def test_a_result_for_another_place_is_not_kept(world, sshd, monkeypatch):
    """A server that moved meanwhile has not been checked where it is now."""
    server = world.add_server(sshd)
    world.servers.check(server.server_id, now=world.clock())
    record = servers.record_check

    def moved(*args):
        change(world, server, port=free_port())
        return record(*args)

    monkeypatch.setattr(servers, "record_check", moved)
    world.deliver()

    assert world.servers.get(server.server_id).last_check is None


def test_a_server_that_moves_is_unchecked(world, sshd):
    """What was seen at the old place cannot be approved for the new one."""
    server = world.add_server(sshd, host_keys=())
    check(world, server)

    moved = change(world, server, port=free_port())

    assert (moved.last_check, moved.pending_check) == (None, None)
    with pytest.raises(Conflict):
        approve(world, server, fingerprint(sshd.host_key))
    assert world.servers.get(server.server_id) == moved


@pytest.mark.parametrize(
    ("changes", "reason", "step"),
    [
        ({"port": 1}, "unreachable: ", "connect"),
        ({"host": "169.254.169.254"}, "address: ", "connect"),
        ({"host_keys": (SOME_HOST_KEY,)}, "host_key: the host shows", "host_key"),
        ({"host_keys": ()}, "host_key: no host key is pinned", "host_key"),
        ({"username": "no-such-user"}, "auth: ", "login"),
    ],
)
def test_a_check_tells_what_is_wrong(world, sshd, changes, reason, step):
    """The first step that fails gives the reason, and ends the check."""
    address = changes.pop("host", None)
    server = world.add_server(sshd, **changes)
    if address:
        servers.ServerRow(server_id=server.server_id).update(
            actions=[servers.ServerRow.host.set(address)]
        )

    checked = check(world, server)

    assert not checked.last_check.ok
    assert checked.last_check.reason.startswith(reason)
    assert steps(checked)[-1] == (step, False)
    assert [ok for _, ok in steps(checked)[:-1]] == [True] * (len(steps(checked)) - 1)


def test_no_credential_is_shown_to_a_host_that_is_not_known(world, sshd):
    """With a wrong key pinned, or with none."""
    for pinned in ((), (SOME_HOST_KEY,)):
        server = world.add_server(sshd, host_keys=pinned)
        before = len(sshd.log)
        check(world, server)
        assert "Accepted" not in sshd.log[before:]
        assert "publickey" not in sshd.log[before:]


def test_a_credential_that_is_gone_is_told(world, sshd):
    """The check fails in words, and not its message."""
    server = world.add_server(sshd)
    credentials.remove(credentials.get(server.credential))

    assert check(world, server).last_check.reason.startswith("credential: ")


def test_a_home_that_cannot_be_written_is_told(world, sshd, tmp_path):
    """Nothing could be started there."""
    home = tmp_path / "home"
    server = world.add_server(sshd)
    world.credentials.replace(
        server.credential,
        Secret(private_key=sshd.login(home)),
        version=None,
        now=world.clock(),
    )

    assert check(world, server).last_check.reason.startswith("no_workdir: ")


# -- approving


def test_the_first_key_is_approved_by_its_fingerprint(world, sshd):
    """A server without keys is checked, its key approved, and then it works."""
    server = world.add_server(sshd, host_keys=())
    seen = check(world, server).last_check.host_keys_seen[0].fingerprint
    assert seen == fingerprint(sshd.host_key)

    approved = approve(world, server, seen)

    assert approved.host_keys == (sshd.host_key,)
    assert approved.version == server.version + 1
    assert check(world, server).last_check.ok


def test_only_a_key_that_was_seen_is_approved(world, sshd):
    """The key's text is of our record; stale requests change nothing."""
    server = world.add_server(sshd, host_keys=())
    with pytest.raises(Conflict) as caught:
        approve(world, server, fingerprint(sshd.host_key))
    assert caught.value.field == "fingerprint"
    checked = check(world, server)
    with pytest.raises(Conflict):
        approve(world, server, fingerprint(SOME_HOST_KEY))
    with pytest.raises(PreconditionFailed):
        approve(world, server, fingerprint(sshd.host_key), version=9)
    assert world.servers.get(server.server_id) == checked


def test_an_approved_key_is_added_or_replaces_all(world, sshd):
    """By default old keys stay pinned."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    check(world, server)
    seen = fingerprint(sshd.host_key)

    both = approve(world, server, seen)
    again = approve(world, server, seen)
    only = approve(world, server, seen, only=True)

    assert both.host_keys == again.host_keys == (SOME_HOST_KEY, sshd.host_key)
    assert only.host_keys == (sshd.host_key,)


# -- changed keys


def test_another_key_raises_an_alert_once(world, sshd):
    """The first visit that meets it is told so, for each fingerprint."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    seen = fingerprint(sshd.host_key)
    checked = check(world, server)

    assert checked.host_key_alert.seen == seen
    assert checked.version == server.version
    assert checked.host_key_alert.why_not == (
        f"host_key: the host showed another key ({seen}) at 2026-06-01T10:01:01Z; "
        "approve it or check again"
    )
    now = world.clock()
    assert not servers.alert_host_key(checked, seen=seen, now=now)
    assert servers.alert_host_key(checked, seen="SHA256:other", now=now)
    assert not servers.alert_host_key(checked, seen=seen, now=now)
    assert world.servers.get(server.server_id).host_key_alert.seen == "SHA256:other"
    keys = [f"SHA256:{number}" for number in range(40)]
    told = [servers.alert_host_key(checked, seen=key, now=now) for key in keys]
    assert sum(told) == servers.MAX_ALERT_KEYS - 2


def test_no_alert_where_no_key_is_pinned(world, sshd):
    """A key that is the first one is no changed one."""
    server = world.add_server(sshd, host_keys=())

    assert check(world, server).host_key_alert is None


def test_an_alert_of_a_server_that_was_changed_is_none(world, sshd):
    """The key that a visit took for a strange one may have been approved since."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    check(world, server)
    seen = fingerprint(sshd.host_key)
    approve(world, server, seen)

    assert not servers.alert_host_key(server, seen=seen, now=world.clock())
    assert world.servers.get(server.server_id).host_key_alert is None


@pytest.mark.parametrize("way", ["approved", "changed", "back"])
def test_an_alert_ends(world, sshd, way):
    """By approval, by other keys, or when a check sees a pinned key again."""
    server = world.add_server(sshd, host_keys=(SOME_HOST_KEY,))
    alerted = check(world, server)
    assert change(world, alerted, tags={"a": "b"}).host_key_alert

    if way == "approved":
        approve(world, server, alerted.host_key_alert.seen)
    elif way == "changed":
        change(world, server, host_keys=(sshd.host_key,))
    else:
        servers.ServerRow(server_id=server.server_id).update(
            actions=[servers.ServerRow.host_keys.set([sshd.host_key])]
        )
        assert check(world, server).last_check.ok

    assert world.servers.get(server.server_id).host_key_alert is None
    again = world.servers.get(server.server_id)
    assert servers.alert_host_key(again, seen="SHA256:x", now=world.clock())


# -- behind a jump host


def test_a_check_goes_through_the_jump_host(world, sshd, jump):
    """Both hops are told, and the address is not known."""
    first = add_jump(world, jump)
    server = world.add_server(sshd, via_server=first.server_id)

    checked = check(world, server)

    assert checked.last_check.ok, checked.last_check
    assert steps(checked)[0] == ("jump", True)
    assert checked.last_check.address is None


def test_a_jump_host_with_another_key_is_the_one_alerted(world, sshd, jump):
    """The server behind it is not to blame."""
    first = world.add_server(jump, name="jump", host_keys=(SOME_HOST_KEY,))
    server = world.add_server(sshd, via_server=first.server_id)

    checked = check(world, server)

    assert checked.last_check.reason.startswith("host_key: via jump: the host shows")
    assert checked.host_key_alert is None
    alert = world.servers.get(first.server_id).host_key_alert
    assert alert.seen == fingerprint(jump.host_key)


def test_keys_of_other_types_can_be_pinned(world, tmp_path):
    """The line on record is the one that the host would be pinned by."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", tmp_path / "key"],
        check=True,
    )
    line = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    with Sshd(options=[f"HostKey {tmp_path / 'key'}"]) as server:
        record = world.add_server(server, host_keys=(line,))
        assert check(world, record).last_check.host_keys_seen[0].key == line


def test_a_dead_probe_is_told_and_let_go(world, sshd):
    """There is no row of a run to come back to."""
    server = world.add_server(sshd)
    world.servers.check(server.server_id, now=world.clock())
    ((probe, _),) = world.messages()

    revive(probe.to_json(), world.clock())

    assert world.servers.get(server.server_id).pending_check == probe.check_id
