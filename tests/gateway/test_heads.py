"""Heads of requests: strictly read, once, and written anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.gateway.heads import BadHead, Heads, forward

BAD = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "chunks with a length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "packed chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        400,
    ),
    "the same length twice": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        400,
    ),
    "a list of lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", 400),
    "a signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
    "a length of nothing": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400),
    "a zero byte": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "no words of HTTP": (b"\x16\x03\x01\x02\r\n\r\n", 400),
    "a proxy's target": (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target with a fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two types of one body": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        400,
    ),
    "packed in two ways": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: br\r\nContent-Encoding: gzip\r\n\r\n",
        400,
    ),
    "a target that is all": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tunnel": (b"CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "another method": (b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "too many headers": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100 + b"\r\n",
        431,
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_head_that_two_servers_could_read_differently_is_refused(what: str) -> None:
    raw, status = BAD[what]
    with pytest.raises(BadHead) as refused:
        Heads().read(raw)
    assert refused.value.status == status


def request(length: int, *lines: bytes) -> bytes:
    extra = b"".join(line + b"\r\n" for line in lines)
    head = b"POST /v1/chat?x=1 HTTP/1.1\r\nHost: here\r\n%sContent-Length: %d\r\n\r\n"
    return head % (extra, length)


def test_a_head_is_read_once_however_long_the_bodies_are() -> None:
    heads = Heads()
    first, one = heads.read(request(7))
    second, other = heads.read(request(1234))
    assert first is second
    assert (one, other) == (7, 1234)
    assert (first.method, first.path, first.query) == (b"POST", b"/v1/chat", b"x=1")
    assert first.headers == [(b"host", b"here")]


def test_a_header_that_only_ends_like_a_length_is_part_of_the_head() -> None:
    heads = Heads()
    strong, length = heads.read(request(7, b"X-Strength: 5"))
    weak, _ = heads.read(request(7, b"X-Strength: 1"))
    assert length == 7
    assert (strong.get(b"x-strength"), weak.get(b"x-strength")) == (b"5", b"1")


def test_a_length_is_not_taken_from_a_header_that_only_ends_like_one() -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Strength: %d\r\n\r\n"
    heads = Heads()
    for strength in (5, 1, 5, 123):
        head, length = heads.read(raw % strength)
        assert length == 5
        assert head.get(b"x-strength") == b"%d" % strength


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"X-Strength", b"x-length", b"Accept", b"content-length", b"ength"]),
            st.sampled_from([b"1", b"22", b"x", b"+5", b"", b"3 3"]),
            st.sampled_from([b": ", b":", b":  "]),
        ),
        max_size=4,
    ),
    st.integers(0, 4),
)
def test_what_is_kept_reads_as_what_is_read_anew(
    headers: list[tuple[bytes, bytes, bytes]], place: int
) -> None:
    kept = Heads()
    for length in (b"0", b"17", b"0017", b"99999999999999999999"):
        lines = [name + colon + value + b"\r\n" for name, value, colon in headers]
        lines.insert(place, b"Content-Length: %s\r\n" % length)
        raw = b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"\r\n"
        found: list[object] = []
        for heads in (Heads(), kept, kept):
            try:
                head, announced = heads.read(raw)
                found.append((head.headers, head.keep_alive, announced))
            except BadHead as error:
                found.append(error.status)
        assert found[0] == found[1] == found[2]


def test_a_connection_ends_where_the_client_says_so() -> None:
    heads = Heads()
    assert heads.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[0].keep_alive
    assert not heads.read(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n")[
        0
    ].keep_alive
    assert not heads.read(b"GET / HTTP/1.0\r\n\r\n")[0].keep_alive


def test_only_websockets_are_switched_to() -> None:
    asks = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
    assert Heads().read(asks % b"WebSocket")[0].upgrade == b"websocket"
    assert Heads().read(asks % b"h2c")[0].upgrade is None


def test_a_body_that_comes_with_an_offer_of_http2_is_still_a_body() -> None:
    head, length = Heads().read(request(5, b"Connection: Upgrade", b"Upgrade: h2c"))
    assert (head.upgrade, length) == (None, 5)


def test_an_engine_gets_nothing_that_is_meant_for_us() -> None:
    head, _ = Heads().read(
        request(
            2, b"Authorization: Bearer ours", b"X-Api-Key: ours", b"Cookie: c=1",
            b"X-Ullage-Session: s", b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"TE: trailers",
            b"Accept-Encoding: gzip", b"User-Agent: u", b"Origin: http://there",
            b"Expect: 100-continue",
        )
    )  # fmt: skip
    sent = forward(head, b"{}", b"127.0.0.1:11434", None, ((b"authorization", b"Bearer theirs"),))
    assert sent == (
        b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: 127.0.0.1:11434\r\nuser-agent: u\r\n"
        b"authorization: Bearer theirs\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_an_engine_is_not_told_by_a_client_where_a_request_came_from_or_what_it_was() -> None:
    forged = (
        b"Forwarded: for=10.0.0.1", b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-Host: evil",
        b"X-Forwarded-Proto: https", b"X-Forwarded-Prefix: /admin", b"X-Real-IP: 10.0.0.1",
        b"X-Original-URL: /admin", b"X-HTTP-Method-Override: DELETE", b"X_Forwarded_For: 10.0.0.1",
    )  # fmt: skip
    head, _ = Heads().read(request(2, *forged))
    assert forward(head, b"{}", b"b") == (
        b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_a_name_with_another_kind_of_dash_is_the_same_name_to_some_engines() -> None:
    lines = (b"X_Api_Key: theirs", b"Content_Length: 99", b"Transfer_Encoding: chunked")
    head, _ = Heads().read(request(2, *lines, b"X_Ullage_Session: s", b"X_Other: kept"))
    sent = forward(head, b"{}", b"b")
    assert b"x_other: kept\r\n" in sent
    assert sent.lower().count(b"length") == 1
    assert not any(n in sent for n in (b"api_key", b"encoding", b"ullage"))


def test_what_is_sent_follows_the_engine_and_the_target() -> None:
    head, _ = Heads().read(b"GET /engines/one/health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert forward(head, b"", b"b", b"/health") == b"GET /health HTTP/1.1\r\nhost: b\r\n\r\n"
    assert forward(head, b"", b"c", b"/h") == b"GET /h HTTP/1.1\r\nhost: c\r\n\r\n"
    assert forward(head, b"", b"b", b"/health") == b"GET /health HTTP/1.1\r\nhost: b\r\n\r\n"
