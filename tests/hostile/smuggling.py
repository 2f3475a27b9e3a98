"""Requests that two servers could read differently: each hides a second one, or is none."""

from __future__ import annotations

from typing import Final

POST: Final = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
GET: Final = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HIDDEN: Final = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_CHUNKS: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n"
_NONE: Final = b"\r\n\r\n0\r\n\r\n" + HIDDEN

# Refused, and no engine hears of them.
REFUSED: Final[dict[str, bytes]] = {
    "chunks and a length": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked" + _NONE,
    "a length and chunks": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5" + _NONE,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 46\r\n\r\n" + HIDDEN,
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a length in hex": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length of two words": POST + b"Content-Length: 5 5\r\n\r\nhello",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked" + _NONE,
    "identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity" + _NONE,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" + _NONE,
    "chunked after a control": POST + b"Transfer-Encoding: \x0bchunked" + _NONE,
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"' + _NONE,
    "a coding of nothing": POST + b"Transfer-Encoding: \r\n\r\n" + HIDDEN,
    "a space before the colon": POST + b"Transfer-Encoding : chunked" + _NONE,
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked" + _NONE,
    "a bad end of a chunk": _CHUNKS + b"5\r\nhelloXX0\r\n\r\n" + HIDDEN,
    "an extension that ends in LF": _CHUNKS + b"5;a\nhello\r\n0\r\n\r\n" + HIDDEN,
    "an extension with a CR": _CHUNKS + b"5;a=\rb\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "chunks by LF": _CHUNKS + b"5\nhello\n0\n\n" + HIDDEN,
    "a chunk's size in 0x": _CHUNKS + b"0x5\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a chunk's size with a sign": _CHUNKS + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with a space": _CHUNKS + b"5 \r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a chunk beyond 64 bits": _CHUNKS + b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "a length among the trailers": _CHUNKS + b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    "lines that end in LF": POST.replace(b"\r", b"") + b"Content-Length: 0\n\n" + HIDDEN,
    "one line that ends in LF": POST[:-2] + b"\nX: 1\r\n\r\n" + HIDDEN,
    "a head that ends in LF": GET[:-2] + b"\n\n" + HIDDEN,
    "a bare CR": POST + b"X: a\rContent-Length: 5\r\n\r\nhello",
    "a folded line": POST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a value": POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a name": POST + b"X\0: a\r\nContent-Length: 0\r\n\r\n",
    "a name that is no token": POST + b"X(: 1\r\nContent-Length: 0\r\n\r\n",
    "a name beyond ASCII": POST + b"X-\xc3\xa9: 1\r\nContent-Length: 0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xff\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: 127.0.0.1\r\n\r\n",
    "tabs between the words": b"GET\t/\tHTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a proxy's target": b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a control in the target": b"GET /\x01 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bytes in the target": b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}
# Of these the gateway knows more than the other listener, to whom they mean nothing.
REFUSED_BY_THE_GATEWAY: Final[dict[str, bytes]] = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a fragment": b"GET /v1/models#/../x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "two types": POST + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n",
    "chunked and a space": POST + b"Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n" + HIDDEN,
}
# Passed on as one request with a body of five bytes, framed anew.
HELLO: Final[dict[str, bytes]] = {
    "a tab before the length": POST + b"Content-Length:\t5\r\n\r\nhello",
    "a length with zeros before it": POST + b"Content-Length: 0000000000000000000005\r\n\r\nhello",
    "another case": POST + b"Transfer-Encoding: cHuNkEd\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "an extension": _CHUNKS + b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
    "a trailer": _CHUNKS + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "framing called a hop": POST
    + b"Connection: content-length, host\r\nContent-Length: 5\r\n\r\nhello",
    "a length of another spelling": POST
    + b"Content_Length: 99\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
    "an offer of HTTP/2": POST + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nhello",
}
