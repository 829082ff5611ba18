"""What is sent to URLs: whole, to the host that is named, and nowhere else."""

import socket
import ssl
from threading import Event, Thread

import pytest

from cronhop.errors import DeliveryFailed
from cronhop.web import hook as hook_module
from cronhop.web.hook import Hook
from tests.hook import certificate, receiver
from tests.sshd import LOOPBACK, free_port

HEADERS = {"Content-Type": "application/json"}


@pytest.fixture
def hook():
    return Hook(allowed=LOOPBACK)


def test_a_body_arrives_whole(hook):
    """With its path, query, host and headers."""
    with receiver() as server:
        url = f"http://127.0.0.1:{server.port}/a/b?c=d"
        hook.post(url, b'{"x": "\xc3\xa4"}', HEADERS)

    ((path, headers, body),) = server.got
    assert (path, body) == ("/a/b?c=d", b'{"x": "\xc3\xa4"}')
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "headers", "after_s"),
    [
        (500, {}, None),
        (404, {}, None),
        (302, {"Location": "http://127.0.0.1/"}, None),
        (429, {"Retry-After": "90"}, 90),
        (503, {"Retry-After": "99999999999"}, 3600),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, None),
    ],
)
def test_no_other_answer_than_2xx_will_do(hook, status, headers, after_s):
    """What was said is quoted, a redirection is not followed."""
    with receiver() as server:
        server.answer = (status, headers, b"no\x1b[2J" + b"x" * 1000)
        with pytest.raises(
            DeliveryFailed, match=rf"HTTP {status}: no\?\[2Jx"
        ) as caught:
            hook.post(f"http://127.0.0.1:{server.port}/", b"{}", HEADERS)

    assert caught.value.after_s == after_s
    assert len(server.got) == 1
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "headers",
    [{"Content-Encoding": "gzip"}, {"Transfer-Encoding": "chunked"}],
    ids=["no gzip", "no chunks"],
)
def test_a_2xx_will_do_whatever_follows(hook, headers):
    """Who has taken it is not told once more for a body that nobody reads."""
    with receiver() as server:
        server.answer = (200, headers, b"ok")
        hook.post(f"http://127.0.0.1:{server.port}/", b"{}", HEADERS)

    assert len(server.got) == 1


def test_the_certificate_has_to_be_the_hosts(tmp_path):
    """Of the name in the URL, whatever address it leads to."""
    file = certificate(tmp_path / "cert.pem", "localhost")
    context = ssl.create_default_context(cafile=file)
    with receiver(tls=file) as server:
        trusting = Hook(allowed=LOOPBACK, context=context)
        trusting.post(f"https://localhost:{server.port}/", b"{}", HEADERS)
        for hook, host, why in (
            (trusting, "127.0.0.1", "'127.0.0.1' doesn't match 'localhost'"),
            (Hook(allowed=LOOPBACK), "localhost", "self-signed certificate"),
        ):
            with pytest.raises(
                DeliveryFailed, match=f"certificate is not valid.*{why}"
            ):
                hook.post(f"https://{host}:{server.port}/", b"{}", HEADERS)

    assert len(server.got) == 1


def test_a_name_that_leads_astray_is_not_followed(monkeypatch):
    """What it resolves to is checked, and is what is connected to."""

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(DeliveryFailed, match="never connected to"):
        Hook().post("https://hooks.example.org/", b"{}", HEADERS)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "https://127.0.0.1/", "ftp://example.org/", "https://"],
)
def test_a_url_that_may_not_be_is_not_used(url):
    """It may have been allowed when it was written."""
    with pytest.raises(DeliveryFailed, match=r"^url: "):
        Hook().post(url, b"{}", HEADERS)


def test_nobody_there_is_a_failure(hook):
    """Not an error of ours."""
    with pytest.raises(DeliveryFailed, match="no answer: connection refused"):
        hook.post(f"http://127.0.0.1:{free_port()}/", b"{}", HEADERS)


def test_who_answers_nonsense_is_a_failure(hook):
    """Whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"\0" * 100 + b"\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(DeliveryFailed, match="no answer: the connection ended"):
            hook.post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"{}", HEADERS)
        thread.join()


@pytest.mark.parametrize(
    ("scheme", "said", "why"),
    [
        ("http", b"", "it took longer than 0.3 s"),
        ("https", b"HTTP/1.1 400 no\r\n\r\n", "it does not speak TLS as we do"),
    ],
)
def test_why_there_is_no_answer_is_told(hook, monkeypatch, scheme, said, why):
    """In words that say where to look, not in a library's."""
    monkeypatch.setattr(hook_module, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        done = Event()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(said)
                done.wait(20)

        thread = Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(DeliveryFailed, match=why):
            hook.post(f"{scheme}://127.0.0.1:{port}/", b"{}", HEADERS)
        done.set()
        thread.join()
