"""Files to a real sshd and from it: whole or not at all, and checked."""

import io
import os
import pwd
import random
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cronhop.domain.transfer import Direction, FileTransfer
from cronhop.errors import (
    Deadline,
    FileChanged,
    FileRefused,
    Invalid,
    ProtocolError,
    RemoteError,
    Unreachable,
)
from cronhop.ssh import sftp, sftp_session
from cronhop.ssh.connection import Connection
from tests.sshd import LOOPBACK, Sshd, wait_until

LIMIT = 8 * 1024 * 1024
SIZES = [0, 1, 32767, 32768, 32769, 5 * 1024 * 1024]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

needs_no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may do it")


def upload(connection, path, data=b"new", **changes):
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    return sftp.upload(
        connection, str(path), source, **{"key": "k", "limit": LIMIT} | changes
    )


def download(connection, path, **changes):
    sink = io.BytesIO()
    moved = sftp.download(connection, str(path), sink, **{"limit": LIMIT} | changes)
    return moved, sink.getvalue()


def some_bytes(size):
    return random.Random(size).randbytes(size)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def mode_of(path):
    return oct(path.stat().st_mode & 0o7777)


class Gate:
    """A source that gives its first part, then waits, then gives the second."""

    def __init__(self, first, second=b""):
        self._parts = [io.BytesIO(first), io.BytesIO(second)]
        self.is_waiting = threading.Event()
        self.go_on = threading.Event()

    def read(self, size):
        if data := self._parts[0].read(size):
            return data
        self.is_waiting.set()
        assert self.go_on.wait(30)
        return self._parts[1].read(size)


@contextmanager
def cut_proxy(port):
    """Pass connections on to a port; yield its own port and what cuts them all."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets = []

    def pump(source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept():
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection(("127.0.0.1", port))
                sockets.extend([client, upstream])
                for pair in ((client, upstream), (upstream, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def cut():
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], cut
    finally:
        cut()
        listener.shutdown(socket.SHUT_RDWR)
        for one in (listener, *sockets):
            one.close()


# -- bytes


@pytest.mark.parametrize("size", SIZES)
def test_bytes_arrive_as_they_are(connection, home, size):
    """Any bytes, of any size, both ways; the checksum is that of the host too."""
    data = some_bytes(size)

    there = upload(connection, "file", data)
    back, got = download(connection, "file")

    assert (home / "file").read_bytes() == data == got
    assert there == back
    assert (there.size, there.sha256) == (size, sha256(data).hexdigest())
    assert there.verified_by == "sha256sum"
    assert names(home) == ["file"]


@pytest.mark.parametrize(
    "name",
    ["-rf", "a b", "'\"$(id)`id`;\\n\\0101%b", "*", "grüße", "日本", "..a", "n" * 255],
)
def test_a_name_is_only_a_name(connection, home, name):
    """No shell and no program sees anything in it."""
    upload(connection, name, b"1")
    upload(connection, home / name, b"2")

    assert names(home) == [name]
    assert download(connection, name)[1] == b"2"


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_what_passes_the_check_arrives_in_its_place(connection, home, name):
    """Whatever path is accepted is one file below home, and read back from there."""
    spec = FileTransfer(direction=Direction.UPLOAD, path=f"d/{name}", content="x")
    try:
        spec.check()
    except Invalid:
        return
    target = home / "d" / name
    target.parent.mkdir(parents=True, exist_ok=True)

    upload(connection, spec.path, b"x")

    assert target.read_bytes() == b"x"
    target.unlink()


def test_a_relative_path_begins_at_home(connection, home):
    """Or at the root, when there is one."""
    (home / "r").mkdir()

    upload(connection, "f", b"1")
    upload(connection, "f", b"2", root=str(home / "r"))

    assert (home / "f").read_bytes() == b"1"
    assert (home / "r/f").read_bytes() == b"2"


def test_many_transfers_and_scripts_share_a_connection(connection, home):
    """More of them than it has channels, at once; none waits for another for ever."""
    data = some_bytes(300_000)

    def one(number):
        upload(connection, f"f{number}", data, key=str(number))
        assert connection.execute(b"echo $((6 * 7))", limit=100) == b"42\n"
        return download(connection, f"f{number}")[1]

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(one, range(16))) == {data}
    assert connection.is_open


def test_new_keys_are_agreed_on_under_way(connection, home):
    """Beyond so many bytes SSH takes new keys; a transfer goes on through that."""
    connection._transport.packetizer.REKEY_BYTES = 1024 * 1024
    data = some_bytes(6 * 1024 * 1024)

    upload(connection, "f", data)

    assert download(connection, "f")[1] == data


# -- mode and owner


def test_a_new_file_has_the_mode_of_its_task(connection, home):
    """Or what the login's umask leaves."""
    upload(connection, "given", mode="0751")
    upload(connection, "set-id", mode="4711")
    upload(connection, "plain")

    assert mode_of(home / "given") == "0o751"
    assert mode_of(home / "set-id") == "0o4711"
    assert mode_of(home / "plain") == "0o644"


def test_a_file_that_is_replaced_keeps_its_mode(connection, home):
    """But for set-id bits: other bytes have not earned them."""
    for mode in (0o600, 0o4755, 0o44):
        (home / "f").write_bytes(b"old")
        (home / "f").chmod(mode)

        upload(connection, "f")

        assert mode_of(home / "f") == oct(mode & 0o777)


@needs_root
def test_root_gives_a_file_its_owner(connection, home):
    """By the task, by name or number; or else that of the file it replaces."""
    nobody = pwd.getpwnam("nobody")

    upload(connection, "named", owner="nobody:root", mode="4750")
    upload(connection, "numbered", owner="12345:54321")
    (home / "old").write_bytes(b"old")
    os.chown(home / "old", 12345, 54321)
    upload(connection, "old")

    def owner_of(name):
        return (home / name).stat().st_uid, (home / name).stat().st_gid

    assert owner_of("named") == (nobody.pw_uid, 0)
    assert mode_of(home / "named") == "0o4750"
    assert owner_of("numbered") == owner_of("old") == (12345, 54321)


def test_an_owner_that_is_nobody_is_refused(connection, home):
    """A user, a group; the old file stays."""
    (home / "f").write_bytes(b"old")

    with pytest.raises(FileRefused, match="no user of the owner's name"):
        upload(connection, "f", owner="no-such-user")
    with pytest.raises(FileRefused, match="no group of the owner's name"):
        upload(connection, "f", owner="root:no-such-group")

    assert (home / "f").read_bytes() == b"old"
    assert names(home) == ["f"]


def test_another_owner_is_given_by_sudo(poor, home):
    """Where the login may not: by `sudo -n chown`, and the mode after it.

    The programs are stand-ins: root, as which this may run, needs no sudo.
    """
    others = [tool for tool in TOOLS if tool not in {"chown", "id"}]
    connection = poor(*others, "sha256sum", "sh")
    chown, sudo, me = (home / ".path" / name for name in ("chown", "sudo", "id"))
    me.write_text("#!/bin/sh\n[ $# -eq 1 ] && echo 4711 || echo 4712\n")
    me.chmod(0o755)
    chown.write_text('#!/bin/sh\n[ "$GRANTED" ] && echo "$*" >>"$HOME/.log"\n')
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift && GRANTED=1 exec "$@"\n')
    chown.chmod(0o755)
    sudo.chmod(0o755)

    upload(connection, "f", owner="www-data:adm", mode="0640")

    assert mode_of(home / "f") == "0o640"
    (line,) = (home / ".log").read_text().splitlines()
    assert line.startswith(f"-h -- www-data:adm {home}/.cronhop-")
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
    with pytest.raises(FileRefused, match="a password is required"):
        upload(connection, "g", owner="www-data:adm")
    assert not (home / "g").exists()


@needs_no_root
def test_what_the_login_may_not_do_is_refused(connection, home):
    """A directory that it cannot write to or enter, a file that it cannot read."""
    for name, mode in (("locked", 0o500), ("closed", 0o000)):
        (home / name).mkdir(mode=mode)
    (home / "secret").write_bytes(b"x")
    (home / "secret").chmod(0)

    with pytest.raises(FileRefused, match="cannot be written to"):
        upload(connection, "locked/f")
    with pytest.raises(FileRefused, match="cannot be entered"):
        upload(connection, "closed/f")
    with pytest.raises(FileRefused, match="cannot be read"):
        download(connection, "secret")

    (home / "closed").chmod(0o700)


# -- atomicity


def test_a_reader_never_meets_half_a_file(connection, home):
    """While it is replaced again and again: all of one or all of another."""
    wholes = {bytes([65 + number]) * 500_000 for number in range(5)}
    seen, done = set(), threading.Event()
    upload(connection, "f", min(wholes))

    def look():
        while not done.is_set():
            seen.add((home / "f").read_bytes())

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(look)
        for whole in sorted(wholes):
            upload(connection, "f", whole)
        done.set()
        reader.result()

    assert seen <= wholes


def test_nobody_else_reads_a_file_that_is_being_written(connection, home):
    """The temporary file is its owner's alone."""
    gate = Gate(b"secret" * 10_000, b"end")

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(upload, connection, "f", gate, mode="0644")
        assert gate.is_waiting.wait(10)
        (temporary,) = home.iterdir()
        assert mode_of(temporary) == "0o600"
        gate.go_on.set()
        sent.result()

    assert names(home) == ["f"]


def test_a_cut_leaves_the_old_file(connect, sshd, home):
    """What is left of the new one goes with the next transfer of the execution."""
    (home / "f").write_bytes(b"old")
    gate = Gate(some_bytes(3_000_000), b"rest")

    with cut_proxy(sshd.port) as (port, cut), ThreadPoolExecutor(1) as pool:
        sent = pool.submit(upload, connect(port=port), "f", gate)
        assert gate.is_waiting.wait(10)
        cut()
        gate.go_on.set()
        with pytest.raises(Unreachable):
            sent.result(10)

    assert (home / "f").read_bytes() == b"old"
    (left,) = set(names(home)) - {"f"}
    assert left.startswith(".cronhop-")
    upload(connect(), "f", key="another execution")
    assert left in names(home)
    upload(connect(), "f")
    assert names(home) == ["f"]


def test_what_is_left_for_a_day_is_removed(connection, home):
    """By any transfer to the same path, and by no other."""
    gone, young, others = (
        home / f".cronhop-{sftp._hash(name)}-0-{number}"
        for number, name in enumerate(["f", "f", "g"])
    )
    for path in (gone, young, others):
        path.write_bytes(b"left")
    for path in (gone, others):
        os.utime(path, (0, time.time() - 49 * 3600))

    upload(connection, "f")

    assert names(home) == sorted([young.name, others.name, "f"])


def test_an_error_of_the_source_leaves_nothing(connection, home):
    """It is passed on, and the connection can be used further."""

    class Broken:
        def read(self, size):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        upload(connection, "f", Broken())

    assert names(home) == []
    assert connection.is_open
    upload(connection, "f")


def test_other_bytes_than_were_sent_are_not_put_in_place(connection, home, monkeypatch):
    """The host's checksum decides."""
    (home / "f").write_bytes(b"old")
    write = sftp_session.SftpSession.write

    def wrong(self, handle, source, *, limit):
        digest = write(self, handle, source, limit=limit)
        (temporary,) = home.glob(".cronhop-*")
        temporary.write_bytes(b"x" * digest.size)
        return digest

    monkeypatch.setattr(sftp_session.SftpSession, "write", wrong)

    with pytest.raises(FileChanged, match="other bytes"):
        upload(connection, "f", b"new")

    assert (home / "f").read_bytes() == b"old"
    assert names(home) == ["f"]


# -- what is refused


def test_a_target_that_is_no_file_is_refused(connection, home):
    """A directory, a pipe: neither is replaced."""
    (home / "d").mkdir()
    os.mkfifo(home / "p")

    with pytest.raises(FileRefused, match="is a directory"):
        upload(connection, "d")
    with pytest.raises(FileRefused, match="no regular file"):
        upload(connection, "p")
    with pytest.raises(FileRefused, match="no regular file"):
        upload(connection, "/dev/null")

    assert names(home) == ["d", "p"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing/f", "directory does not exist"),
        ("file/f", "no directory"),
        ("/proc/f", "cannot be written|permission denied"),
    ],
)
def test_a_directory_that_cannot_take_it_is_named(connection, home, path, message):
    """The reason is one that somebody can act on."""
    (home / "file").write_bytes(b"")

    with pytest.raises(FileRefused, match=message):
        upload(connection, path)


def test_a_symlink_is_replaced_itself(connection, home):
    """What it leads to is not touched, be it there or not."""
    (home / "other").write_bytes(b"other")
    (home / "link").symlink_to("other")
    (home / "dangling").symlink_to("nowhere")

    upload(connection, "link")
    upload(connection, "dangling")

    assert names(home) == ["dangling", "link", "other"]
    assert (home / "other").read_bytes() == b"other"
    assert not (home / "link").is_symlink()
    assert mode_of(home / "link") == "0o644"


def test_no_symlink_leads_out_of_the_root(connection, home, tmp_path):
    """Home is the root of a relative path; inside, links may go where they like."""
    root = home / "root"
    (root / "in").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "up").symlink_to("..")
    (root / "round").symlink_to("in")
    (home / "root2").mkdir()
    (home / "root\n").mkdir()
    (root / "newline").symlink_to("../root\n")
    (root / "beside").symlink_to("../root2")
    (home / "leave").symlink_to(tmp_path)
    bound = {"root": str(root)}

    for path in ("out/f", "up/f", "beside/f", str(home / "f"), "/etc/f"):
        with pytest.raises(FileRefused, match="outside its root"):
            upload(connection, path, **bound)
    with pytest.raises(FileRefused, match="line break"):
        upload(connection, "newline/f", **bound)
    with pytest.raises(FileRefused, match="outside its root"):
        upload(connection, "leave/f")
    with pytest.raises(FileRefused, match="root is no directory"):
        upload(connection, "f", root=str(home / "none"))

    assert list(tmp_path.iterdir()) == []
    assert names(home / "root2") == []
    upload(connection, "round/f", **bound)
    upload(connection, root / "in/g", **bound)
    upload(connection, home / "leave/f")
    upload(connection, str(home / "h").lstrip("/"), root="/")
    assert names(root / "in") == ["f", "g"]
    assert names(tmp_path) == ["f"]
    assert (home / "h").exists()


def test_no_download_leads_out_of_the_root(connection, home, tmp_path):
    """Neither by a directory nor by the file itself; without a root it is followed."""
    (tmp_path / "secret").write_bytes(b"secret")
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "out").symlink_to(tmp_path)
    (home / "in").write_bytes(b"in")
    (home / "inner").symlink_to("in")
    (home / "chain").symlink_to("link")

    for path in ("link", "out/secret", "chain"):
        with pytest.raises(FileRefused, match="outside its root"):
            download(connection, path)

    assert download(connection, "inner")[1] == b"in"
    assert download(connection, home / "link")[1] == b"secret"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "no such file"),
        ("missing/f", "directory does not exist"),
        ("d", "is a directory"),
        ("p", "no regular file"),
        ("/dev/zero", "no regular file"),
        ("dangling", "symlink to nothing"),
        ("/proc/meminfo", "bytes but no size"),
        ("big", "more than"),
    ],
)
def test_only_a_regular_file_is_read(connection, home, path, message):
    """And within the limit; the reason is said."""
    (home / "d").mkdir()
    os.mkfifo(home / "p")
    (home / "dangling").symlink_to("nowhere")
    (home / "big").write_bytes(b"")
    os.truncate(home / "big", LIMIT + 1)

    with pytest.raises(FileRefused, match=message):
        download(connection, path)

    assert connection.is_open


def test_a_source_beyond_the_limit_is_refused(connection, home):
    """As soon as that is known; nothing of it stays."""
    with pytest.raises(FileRefused, match="more than 100000 bytes"):
        upload(connection, "f", bytes(100_001), limit=100_000)

    upload(connection, "g", bytes(100_000), limit=100_000)
    assert names(home) == ["g"]


def test_a_file_that_changes_is_not_taken_for_another(connection, home, monkeypatch):
    """Rewritten, shorter: an error. Longer: what was there when it was opened."""
    path = home / "f"
    read = sftp_session.SftpSession.read

    def while_read(change, *, before):
        def changed(self, handle, sink, *, size):
            if before:
                change()
            digest = read(self, handle, sink, size=size)
            if not before:
                change()
            return digest

        monkeypatch.setattr(sftp_session.SftpSession, "read", changed)

    path.write_bytes(bytes(100_000))
    while_read(lambda: os.truncate(path, 5), before=True)
    with pytest.raises(FileChanged, match="shorter"):
        download(connection, "f")

    path.write_bytes(bytes(100_000))
    while_read(lambda: path.write_bytes(b"x" * 100_000), before=False)
    with pytest.raises(FileChanged, match="changed"):
        download(connection, "f")

    path.write_bytes(b"line\n")
    with path.open("ab") as file:
        while_read(lambda: (file.write(b"more\n"), file.flush()), before=True)
        assert download(connection, "f")[1] == b"line\n"


@needs_root
def test_a_full_disk_is_called_so(connection, home):
    """The old file stays, and nothing of the new one."""
    mount = home / "small"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "none", str(mount)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (mount / "f").write_bytes(b"old")

        with pytest.raises(FileRefused, match="disk is full"):
            upload(connection, "small/f", bytes(2_000_000))

        assert (mount / "f").read_bytes() == b"old"
        assert names(mount) == ["f"]
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        with pytest.raises(FileRefused, match="cannot be written"):
            upload(connection, "small/f")
    finally:
        subprocess.run(["umount", str(mount)], check=True)


# -- hosts that lack something


@pytest.fixture
def poor(connect, home):
    """Open a connection whose PATH has nothing but these programs."""

    def open_one(*programs):
        path = home / ".path"
        path.mkdir()
        for program in programs:
            found = subprocess.check_output(["which", program], text=True).strip()
            (path / program).symlink_to(found)
        return connect(options=f',environment="PATH={path}"')

    return open_one


TOOLS = ["find", "rm", "id", "stat", "chmod", "chown", "wc", "head", "readlink", "dd"]


@pytest.mark.parametrize(
    ("tools", "verified_by"),
    [
        (["sha256sum"], "sha256sum"),
        (["openssl"], "openssl"),
        (["busybox"], "busybox"),
        ([], "read back"),
    ],
)
def test_a_checksum_is_computed_by_what_is_there(poor, home, tools, verified_by):
    """Without any program for it the file is read back."""
    connection = poor(*TOOLS, *tools)
    data = some_bytes(100_000)

    there = upload(connection, "f", data, mode="0640")
    back, got = download(connection, "f")

    assert there.verified_by == back.verified_by == verified_by
    assert got == data
    assert mode_of(home / "f") == "0o640"


def test_a_server_without_sftp_is_called_so(home):
    """And its connection can be used further."""
    with Sshd(subsystem="none /nonexistent") as sshd:
        connection = Connection.open(
            sshd.server(),
            sshd.secret,
            deadline=time.monotonic() + 20,
            allowed=LOOPBACK,
        )
        with connection:
            with pytest.raises(FileRefused, match="offers no SFTP"):
                upload(connection, "f")
            assert connection.execute(b"echo 1", limit=9) == b"1\n"


@pytest.mark.parametrize(
    ("server", "error", "message"),
    [
        ("#!/bin/sh\nexec cat", ProtocolError, "another SFTP"),
        ("#!/bin/sh\nexec cat /dev/zero", ProtocolError, "no SFTP"),
        ("#!/bin/sh\nhead -c 100000 /dev/urandom", RemoteError, None),
        ("#!/bin/sh\nexit 1", FileRefused, "no SFTP"),
        (
            "#!/bin/sh\nprintf '\\0\\0\\0\\5\\2\\0\\0\\0\\3'",
            FileRefused,
            "posix-rename",
        ),
        ("#!/bin/sh\nexec sleep 60", Deadline, None),
    ],
    ids=["echo", "zeroes", "noise", "nothing", "old", "silence"],
)
def test_a_server_that_is_none_is_survived(tmp_path, server, error, message):
    """Whatever it says, within the deadline, an error that says what is wrong."""
    program = tmp_path / "server"
    program.write_text(server)
    program.chmod(0o755)
    with Sshd(subsystem=f"sftp {program}") as sshd:
        began = time.monotonic()
        with (
            Connection.open(
                sshd.server(), sshd.secret, deadline=began + 3, allowed=LOOPBACK
            ) as connection,
            pytest.raises(error, match=message),
        ):
            upload(connection, "f", bytes(100_000))
        assert time.monotonic() - began < 4


def test_a_silent_server_does_not_outlast_the_deadline():
    """Stopped in the middle of a transfer: over within a second of the deadline."""
    gate = Gate(some_bytes(1_000_000), some_bytes(30_000_000))
    with Sshd() as sshd, ThreadPoolExecutor(1) as pool:
        deadline = time.monotonic() + 3
        connection = Connection.open(
            sshd.server(), sshd.secret, deadline=deadline, allowed=LOOPBACK
        )
        sent = pool.submit(upload, connection, "f", gate, limit=100_000_000)
        assert gate.is_waiting.wait(10)
        sessions = _descendants(sshd.pid)
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        try:
            gate.go_on.set()
            with pytest.raises(Deadline):
                sent.result(10)
            assert sessions
            assert time.monotonic() < deadline + 1
        finally:
            for pid in sessions:
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not _descendants(sshd.pid))


def _descendants(pid):
    """The processes that a process has started, and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, _, rest = stat.read_text().partition(" (")
            parents[int(number)] = int(rest.rpartition(") ")[2].split()[1])
    found = {pid}
    while more := {one for one in parents if parents[one] in found} - found:
        found |= more
    return found - {pid}
