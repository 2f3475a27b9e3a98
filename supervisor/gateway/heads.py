"""HTTP/1.1 heads of requests: read strictly, once for as often as they come again, and written
anew for engines. No I/O.

A client sends the same head again and again, but for the length of its body: what was read is kept
by the head's bytes without that number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import httptools

Headers = tuple[tuple[bytes, bytes], ...]

HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding")
) | {b"upgrade", b"proxy-authenticate", b"proxy-authorization"}
# What is for this gateway alone: its own keys, and what is written anew. Nor is a stream to come
# packed: on loopback that is work for nothing, and nothing could be added to its end.
OURS: Final = frozenset((b"authorization", b"x-api-key", b"cookie", b"origin", b"host")) | {
    b"expect",
    b"accept-encoding",
    b"api-key",
    b"content-length",
}
# Where a request came from, and what it was before: only a proxy's word, and engines take it from
# this machine. There is no proxy before us whose word we take.
CLAIMS: Final = frozenset((b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip")) | {
    b"x-original-url",
    b"x-rewrite-url",
    b"x-original-host",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
}
# Engines use the first or the last of two: a form would be read by another boundary than ours.
SAID_ONCE: Final = (b"content-type", b"content-encoding")
METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
END: Final = b"\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
KEPT = 256  # heads; a head of more than KEPT_BYTES is read each time
KEPT_BYTES = 4096
DIGITS = 15  # of a length


class BadHead(Exception):
    """A request that is refused for its head: with this status, in these words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(slots=True, eq=False)
class Head:
    """A request's head, shared by all requests that begin alike: never changed. Names of headers
    are in lower case; content-length is not among them, for it belongs to one request alone."""

    method: bytes
    target: bytes
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    http11: bool
    keep_alive: bool
    upgrade: bytes | None  # what it asks to switch to: "websocket" or nothing
    chunked: bool = False  # its body comes in chunks
    expects: bool = False  # it waits for a 100 before it sends its body
    before: bytes = b""  # as it came, up to the digits of its length, or whole where it has none
    after: bytes = b""  # from there on
    memo: dict[Any, Any] = field(default_factory=dict)  # what follows from the head alone
    named: dict[bytes, bytes] = field(init=False)  # the first value of each header

    def __post_init__(self) -> None:
        self.named = dict(reversed(self.headers))

    def again(self, data: bytes) -> tuple[int, int] | None:
        """Does `data` begin with this very head once more? Where it ends then, and the length that
        it announces. Nothing is searched for: this is how most requests begin."""
        before, after = self.before, self.after
        if not before or not data.startswith(before):
            return None
        at = len(before)
        if not after:
            return at, 0
        end = data.find(b"\r", at, at + DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(after, end):
            return None
        return end + len(after), int(digits)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header, by its name in lower case."""
        return self.named.get(name)


class Heads:
    """Reads heads. `read` gives the head and the length that it announces for its body."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._kept: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> tuple[Head, int]:
        """Of a whole head, its empty line included. Raises BadHead."""
        # "ength: " stands in both usual spellings of the name, which is usually the last; whether
        # it is the name at all is looked at when a head is kept, and then true of each like it.
        at = raw.rfind(b"ength: ") + 7
        if at == 6:
            key, length, end = raw, 0, len(raw)
        else:
            end = raw.find(b"\r", at)
            digits = raw[at:end]
            if not digits.isdigit() or end - at > DIGITS:
                return self._parse(raw)
            key, length = raw[:at] + raw[end:], int(digits)
        head = self._kept.get(key)
        if head is not None:
            return head, length
        head, announced = self._parse(raw)
        named = at == 6 or raw[:at].lower().endswith(b"\r\ncontent-length: ")
        if named and announced == length and len(key) <= KEPT_BYTES:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = head
            head.before, head.after = (raw, b"") if at == 6 else (raw[:at], raw[end:])
        return head, announced

    def _parse(self, raw: bytes) -> tuple[Head, int]:
        seen = _Seen()
        parser = httptools.HttpRequestParser(seen)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise BadHead(400, f"this is not HTTP/1.1: {error}") from None
        return _judged(
            parser.get_method(),
            seen.target,
            parser.get_http_version() != "1.0",
            seen.headers,
            self._most,
        )


class _Seen:
    """What the parser calls back with."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def _judged(
    method: bytes, target: bytes, http11: bool, headers: list[tuple[bytes, bytes]], most: int
) -> tuple[Head, int]:
    """What the parser let through and we do not: whatever two servers could read differently."""
    if len(headers) > most:
        raise BadHead(431, f"more than {most} headers")
    if method not in METHODS:
        raise BadHead(405, "this method is not known here")
    if not target.startswith(b"/") or b"#" in target:
        raise BadHead(400, "a request's target begins with /, and has no #")
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name, []).append(value)
    hosts = len(named.get(b"host", ()))
    if hosts > 1 or (http11 and not hosts):
        raise BadHead(400, "a request says one Host, and only one")
    codings = named.get(b"transfer-encoding")
    lengths = named.get(b"content-length")
    if codings is not None and (lengths is not None or not http11):
        raise BadHead(400, "Transfer-Encoding together with Content-Length, or in HTTP/1.0")
    if codings is not None and [c.lower() for c in codings] != [b"chunked"]:
        raise BadHead(501, "the only Transfer-Encoding known here is chunked")
    if lengths is not None and (len(lengths) > 1 or not lengths[0].isdigit()):
        raise BadHead(400, "a request says one Content-Length, a number")
    for name in SAID_ONCE:
        if len(named.get(name, ())) > 1:
            raise BadHead(400, f"a request says one {name.decode().title()}, and only one")
    listed = words(named.get(b"connection", ()))
    upgrade = named.get(b"upgrade", [b""])[0].strip().lower()
    switch = http11 and b"upgrade" in listed and upgrade == b"websocket" and method == b"GET"
    path, _, query = target.partition(b"?")
    head = Head(
        method,
        target,
        path,
        query,
        [h for h in headers if h[0] != b"content-length"],
        http11,
        http11 and b"close" not in listed,
        upgrade if switch else None,
        codings is not None,
        http11 and b"100-continue" in words(named.get(b"expect", ())),
    )
    return head, int(lengths[0]) if lengths else 0


def words(values: list[bytes] | tuple[()]) -> set[bytes]:
    return {word.strip().lower() for value in values for word in value.split(b",")}


def forward(
    head: Head,
    body: bytes,
    host: bytes,
    target: bytes | None = None,
    add: Headers = (),
) -> bytes:
    """The request as an engine at `host` gets it: with its path and query from `target`, without
    what is meant for us, with `add`'s headers (the engine's own key), and with its length."""
    key = (host, target, add)
    begun: bytes | None = head.memo.get(key)
    if begun is None:
        begun = head.memo[key] = _begun(head, host, target or head.target, add)
        if len(head.memo) > 64:
            head.memo.clear()
    if not body and head.method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
        return begun + b"\r\n"
    return b"%scontent-length: %d\r\n\r\n%s" % (begun, len(body), body)


def _begun(head: Head, host: bytes, target: bytes, add: Headers) -> bytes:
    """Up to the length: what is the same for all requests that begin alike."""
    listed = words([v for n, v in head.headers if n == b"connection"])
    gone = HOP_BY_HOP | OURS | CLAIMS | listed | {name for name, _ in add}
    lines = [b"%s %s HTTP/1.1" % (head.method, target), b"host: " + host]
    for name, value in head.headers:
        # To some engines (CGI's heirs) a name with _ for - is the same name.
        meant = name.replace(b"_", b"-")
        if name in gone or meant in gone or meant.startswith((b"x-ullage-", b"x-forwarded-")):
            continue
        lines.append(b"%s: %s" % (name, value))
    lines.extend(b"%s: %s" % pair for pair in add)
    if head.upgrade is not None:
        lines.append(b"connection: upgrade\r\nupgrade: " + head.upgrade)
    return b"\r\n".join(lines) + b"\r\n"
