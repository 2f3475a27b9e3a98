"""Bodies as they go by: untouched, and not a byte more than they are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.gateway.bodies import BadBody, Chunked, Counted, Unchunked

# Payloads that look like framing.
PIECES = st.lists(
    st.sampled_from(
        [b"data: x\n\n", b"\r\n0\r\n\r\n", b"0\r\n", b"5\r\nhello", b"\r\n", b"z" * 300]
    ),
    max_size=6,
)
TRAILERS = st.sampled_from([b"", b"x-checksum: 1\r\n", b"a: 1\r\nb: 2\r\n"])
AFTER = st.sampled_from(
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"rubbish", b"\r\n", b"0\r\n\r\n"]
)


def framed(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    return chunks + b"0\r\n" + trailers + b"\r\n"


def cuts(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(a % (len(data) + 1) for a in at)})
    return [data[a:b] for a, b in pairwise(places)]


@given(PIECES, TRAILERS, st.lists(st.integers(0, 2000), max_size=4))
def test_chunks_go_by_untouched_however_they_are_read(
    pieces: list[bytes], trailers: bytes, at: list[int]
) -> None:
    body, raw, bare = framed(pieces, trailers), Chunked(), Unchunked()
    raw.begin()
    reads = cuts(body, at)
    assert b"".join(raw.feed(read) for read in reads) == body
    assert b"".join(bare.feed(read) for read in reads) == b"".join(pieces)
    assert raw.over
    assert bare.over
    assert not raw.more


@given(PIECES, TRAILERS, AFTER, st.lists(st.integers(0, 2000), max_size=3))
def test_what_follows_a_body_never_goes_by_with_it(
    pieces: list[bytes], trailers: bytes, after: bytes, at: list[int]
) -> None:
    body, raw = framed(pieces, trailers), Chunked()
    raw.begin()
    passed = b""
    for read in cuts(body + after, at):
        try:
            passed += raw.feed(read)
        except BadBody:
            break
        if raw.over:
            break
    else:
        raise AssertionError("the end was not seen")
    assert body.startswith(passed)  # it is cut short rather than lengthened


def test_a_second_answer_in_one_read_is_left_out() -> None:
    body, raw = framed([b"hello"]), Chunked()
    raw.begin()
    assert raw.feed(body + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body) == body
    assert raw.over
    assert raw.more


def test_an_empty_line_after_a_body_is_left_out_as_well() -> None:
    body, raw = framed([b"hello"]), Chunked()
    raw.begin()
    assert raw.feed(body + b"\r\n") == body
    assert raw.more


def test_nothing_of_a_second_answer_is_unpacked() -> None:
    body = Unchunked()
    second = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed([b"secret"])
    assert body.feed(framed([b"hello"]) + second) == b"hello"
    assert body.more


def test_one_follows_many_bodies() -> None:
    raw = Chunked()
    for _ in range(3):
        raw.begin()
        assert raw.feed(framed([b"a", b"b"])) == framed([b"a", b"b"])
        assert (raw.over, raw.more) == (True, False)


@given(PIECES.filter(bool), st.integers(0, 5000))
def test_last_words_fit_only_between_two_chunks(pieces: list[bytes], place: int) -> None:
    body = framed(pieces)[: -len(b"0\r\n\r\n")]
    place %= len(body) + 1
    ends, at = {0}, 0
    for piece in pieces:
        at += len(b"%x\r\n%s\r\n" % (len(piece), piece))
        ends.add(at)
    raw = Chunked()
    raw.begin()
    raw.feed(body[:place])
    assert raw.between() is (place in ends)


@pytest.mark.parametrize(
    "bad",
    [b"5\nhello\r\n", b"5\r\nhello\n", b"-5\r\n", b"0x5\r\n", b"f" * 20 + b"\r\n", b"5;a\nhello"],
)
def test_framing_that_others_might_let_through_is_refused(bad: bytes) -> None:
    for body in (Chunked(), Unchunked()):
        if body.over:
            body.begin()
        with pytest.raises(BadBody):
            body.feed(bad)


def test_a_length_is_kept_to() -> None:
    body = Counted(5)
    assert body.feed(b"he") == b"he"
    assert not body.over
    assert body.feed(b"lloHTTP/1.1 200 OK") == b"llo"
    assert body.over
    assert body.more
    assert Counted(0).over
