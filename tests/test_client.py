"""The client, against real servers: good ones, slow ones, strange ones, none."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from supervisor.cli import client as subject
from supervisor.cli.client import BadAddress, Client, Garbled, NoDaemon, Refused, Timeout
from tests.canned import Daemon, running


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.delenv("ULLAGE_URL", raising=False)
    monkeypatch.delenv("ULLAGE_TOKEN", raising=False)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running() as found:
        yield found


@contextmanager
def stranger(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server of our own making: `behave` gets the connection, and the end of the test."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # nobody came
            with connection:
                try:
                    connection.recv(65536)
                    behave(connection, over)
                except OSError:
                    pass  # the client has hung up

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def saying(text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    return lambda connection, over: connection.sendall(text)


def http(body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (kind, len(body)) + body


# -- what works


def test_an_answer_is_given_as_it_was_written_and_as_a_value(daemon):
    text = daemon.say("/api/v1/state", {"mode": "enforce"})
    answer = Client(daemon.address).get("/api/v1/state")
    assert (answer.text, answer.document) == (text, {"mode": "enforce"})


def test_a_unix_socket_is_as_good_as_a_port(tmp_path):
    path = str(tmp_path / "s")
    with running(path) as daemon:
        daemon.say("/x", {"ok": True})
        assert Client(socket=path).get("/x").document == {"ok": True}
        assert Client(f"unix:{path}").get("/x").document == {"ok": True}
        assert [headers["Host"] for _, _, headers, _ in daemon.asked] == ["localhost"] * 2


def test_a_socket_is_preferred_to_the_url_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ULLAGE_URL", "http://127.0.0.1:1")
    path = str(tmp_path / "s")
    with running(path) as daemon:
        daemon.say("/x", {})
        assert Client(socket=path).get("/x").document == {}


def test_the_environment_says_where_and_with_which_token(daemon, monkeypatch):
    daemon.say("/x", {})
    monkeypatch.setenv("ULLAGE_URL", daemon.address)
    monkeypatch.setenv("ULLAGE_TOKEN", "open-sesame")
    Client().get("/x")
    Client(token="mine").get("/x")
    sent = [headers.get("Authorization") for _, _, headers, _ in daemon.asked]
    assert sent == ["Bearer open-sesame", "Bearer mine"]


def test_without_a_token_none_is_sent(daemon):
    daemon.say("/x", {})
    Client(daemon.address).get("/x")
    assert "Authorization" not in daemon.asked[0][2]


def test_the_default_address_is_the_port_of_the_daemon_on_loopback():
    assert Client().address == "http://127.0.0.1:8552"


def test_what_is_none_is_left_out(daemon):
    daemon.say("/x", {})
    asked = Client(daemon.address)
    asked.get("/x", limit=3, model=None)
    asked.get("/x", model=None)
    asked.post("/x", model="a/b", pool=None, wait=False)
    assert [(method, path) for method, path, _, _ in daemon.asked] == [
        ("GET", "/x?limit=3"),
        ("GET", "/x"),
        ("POST", "/x"),
    ]
    assert daemon.asked[2][2]["Content-Type"] == "application/json"
    assert daemon.body == {"model": "a/b", "wait": False}


def test_a_name_that_is_no_text_is_sent_as_its_bytes(daemon):
    daemon.say("/x", {})
    Client(daemon.address).get("/x", model=os.fsdecode(b"a\xff b"))
    assert daemon.asked[0][1] == "/x?model=a%FF+b"


# -- nobody, and nobody in time


def test_where_nobody_listens_it_says_how_to_start_one():
    with socket.socket() as taken:  # bound and not listening: refuses, and stays ours
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NoDaemon) as caught:
            Client(url).get("/x")
    assert url in caught.value.what
    assert "ullage run" in caught.value.try_


def test_a_socket_that_is_not_there_is_nobody(tmp_path):
    with pytest.raises(NoDaemon, match="unix:") as caught:
        Client(socket=str(tmp_path / "none")).get("/x")
    assert caught.value.why == "No such file or directory"


def test_a_path_too_long_for_a_socket_is_nobody(tmp_path):
    with pytest.raises(NoDaemon):
        Client(socket=str(tmp_path / ("x" * 200))).get("/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_socket_that_may_not_be_opened_is_told_from_none(tmp_path):
    path = tmp_path / "s"
    with running(str(path)):
        path.chmod(0)
        with pytest.raises(NoDaemon) as caught:
            Client(socket=str(path)).get("/x")
    assert "ullage run" not in caught.value.try_


def test_silence_ends_in_a_timeout():
    silent = stranger(lambda connection, over: over.wait())
    with silent as url, pytest.raises(Timeout, match=r"within 0\.05 s"):
        Client(url, timeout=0.05).get("/x")


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["headers", "body", "endless body"],
)
def test_one_byte_after_the_other_does_not_prolong_the_time(start):
    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        for _ in range(300):
            if over.wait(0.01):
                break
            connection.sendall(b" ")

    with stranger(drip) as url, pytest.raises(Timeout):
        Client(url, timeout=0.15).get("/x")


def test_no_time_at_all_is_a_timeout_and_no_mistake():
    silent = stranger(lambda connection, over: over.wait())
    with silent as url, pytest.raises(Timeout):
        Client(url, timeout=0).get("/x")


# -- strangers


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        http(b"<html>hello</html>", b"text/html"),
        http(b"[1, 2]"),
        http(b"\xff\xfe"),
        http(b"[" * 200_000),
        http(b'{"a": 1}').replace(b": 8", b": 80"),
    ],
    ids=["nothing", "tls", "ssh", "html", "list", "no text", "deep", "cut short"],
)
def test_what_is_not_ullage_is_said_to_be_strange(answer):
    with stranger(saying(answer)) as url, pytest.raises(Garbled, match=url):
        Client(url).get("/x")


def test_an_answer_beyond_the_limit_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(subject, "MOST", 1000)
    long = stranger(saying(http(b'"' + b"x" * 1000 + b'"')))
    with long as url, pytest.raises(Garbled, match="too long"):
        Client(url).get("/x")


def test_a_redirect_is_not_followed():
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with stranger(saying(answer)) as url, pytest.raises(Refused) as caught:
        Client(url).get("/x")
    assert caught.value.status == 302


# -- refusals


def test_a_refusal_carries_the_problem_and_the_closest_names(daemon):
    problem = {"status": 404, "detail": "no model is called 'qwen'", "closest": ["qwen3:8b"]}
    daemon.say("/x", problem, 404)
    with pytest.raises(Refused, match="no model is called 'qwen'") as caught:
        Client(daemon.address).post("/x")
    assert caught.value.status == 404
    assert caught.value.problem == problem
    assert caught.value.closest == ("qwen3:8b",)


def test_a_refusal_without_a_problem_still_says_its_status(daemon):
    daemon.says["/x"] = (500, "text/plain", b"oops")
    with pytest.raises(Refused, match="500"):
        Client(daemon.address).get("/x")


@pytest.mark.parametrize(
    ("status", "word"), [(401, "--token-file"), (421, "127.0.0.1"), (503, "again")]
)
def test_a_refusal_says_what_to_try(daemon, status, word):
    daemon.say("/x", {"detail": "no"}, status)
    with pytest.raises(Refused) as caught:
        Client(daemon.address).get("/x")
    assert word in caught.value.try_


# -- addresses


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1:8552",
        "127.0.0.1:8552",
        "http://",
        "http://:8552",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:8552/api",
        "http://me@127.0.0.1",
        "http://[::1",
        "http://a b",
        "unix:",
        "unix:a\0b",
    ],
)
def test_an_address_that_cannot_be_used_says_what_would_be_right(url):
    with pytest.raises(BadAddress) as caught:
        Client(url)
    assert "http://127.0.0.1:8552" in caught.value.try_


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "pässword", "a\nb"])
def test_a_token_that_is_no_header_is_refused(token):
    with pytest.raises(BadAddress, match="token"):
        Client(token=token)
