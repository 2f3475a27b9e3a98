"""Heads of engines' answers."""

from __future__ import annotations

import pytest

from supervisor.gateway.answers import BadAnswer, Body, read

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("raw", "body", "keep"),
    [
        (OK + b"Content-Length: 5\r\n\r\n", Body.LENGTH, True),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n", Body.CHUNKED, True),
        (OK + b"\r\n", Body.UNTIL_CLOSE, False),
        (OK + b"Content-Length: 5\r\nConnection: close\r\n\r\n", Body.LENGTH, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Body.LENGTH, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Body.NONE, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Body.NONE, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Body.NONE, True),
    ],
)
def test_how_a_body_ends_and_whether_the_connection_lasts(
    raw: bytes, body: Body, keep: bool
) -> None:
    answer = read(raw)
    assert (answer.body, answer.keep) == (body, keep)
    assert read(raw) is answer


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 999 What\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\n",
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"X : 1\r\n\r\n",
        OK + b"X: 1\r\n 2\r\n\r\n",
    ],
)
def test_an_answer_that_could_be_read_in_two_ways_is_none(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(raw)


def test_status_and_headers_go_on_but_not_what_is_for_one_hop_or_for_browsers() -> None:
    answer = read(
        b"HTTP/1.0 418 I am a teapot\r\nServer: x\r\nX-Kept: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
        b"Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\n"
    )
    assert answer.framed == (b"HTTP/1.1 418 I am a teapot\r\nx-kept: 1\r\ncontent-length: 2\r\n")
    assert answer.type == b""


@pytest.mark.parametrize("phrase", [b"\0OK", b"O\x1b[2JK", b"OK\x7f"])
def test_a_control_in_the_words_of_a_status_is_not_passed_on(phrase: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(b"HTTP/1.1 200 " + phrase + b"\r\nContent-Length: 0\r\n\r\n")
