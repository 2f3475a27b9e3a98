"""The one place where an engine is called: HTTP in, checked JSON or an EngineError out."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NoReturn, TypeVar

import httpx

from collectors.reading import Seconds
from supervisor.printable import printable

from . import base
from .answer import Json
from .base import EngineConfused, EngineDown, EngineRefused
from .pools import pooled

# An engine may answer an unload or a load late: it first waits for its own locks and for
# a child to end, which llama-server grants 10 s.
CONTROL_TIMEOUT = Seconds(20.0)
T = TypeVar("T")

MOST = 2 * 1024**2  # bytes of one answer; the largest honest one seen is below 1 MiB
# The whole call is timed; a free connection of ours is waited for less long than any engine.
PATIENCE = httpx.Timeout(None, pool=1.0)
QUOTED = 200  # characters of an engine's own words that go into an error


# Sent with every request of this daemon, so that it knows its own if they come back to it: an
# engine's address may turn out to be its own gateway's.
VIA = f"1.1 ullage-{secrets.token_hex(8)}"


def client() -> httpx.AsyncClient:
    """The client that all engines share. Proxies and .netrc are no business of loopback."""
    return httpx.AsyncClient(
        headers={"Via": VIA},
        # What one engine says is nothing for the others: a jar knows hosts, and they share one.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        transport=pooled(_trust()),
        trust_env=False,
        timeout=PATIENCE,
    )


NOT_MODIFIED = 304  # Docker's word for what is so already


@cache
def _trust() -> ssl.SSLContext:
    """Reading whom to trust takes 15 ms, once."""
    return httpx.create_ssl_context(trust_env=False)


ATTEMPTS = 3  # connections of which each may have been closed just now


@dataclass(frozen=True, slots=True)
class Wire:
    """How to reach one engine: at `url`, with `key` as its bearer token, and `headers` of its own
    with every call."""

    engine: str
    url: str
    client: httpx.AsyncClient
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    again: bool = True  # a request that a closing connection may have lost is sent once more

    async def get(self, path: str) -> Json:
        """A monitoring call."""
        return await self.call("GET", path, None, base.CALL_TIMEOUT)

    async def post(
        self,
        path: str,
        body: dict[str, Any] | None,
        within: Seconds | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Within the time of a monitoring call, unless more is given."""
        return await self.call("POST", path, body, within, headers)

    async def probe(self, path: str) -> Json | None:
        """As `get`, but None where whoever answers does not know `path`, or says no JSON."""
        try:
            return await self.get(path)
        except EngineConfused:
            return None
        except EngineRefused as no:
            # Without the right key, or while it is failing, anybody answers like this.
            if no.status in (401, 403) or no.status >= 500:
                raise
            return None

    async def call(
        self,
        method: str,
        path: str,
        body: Any,
        within: Seconds | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """A call that is answered with JSON."""
        call, status, content = await self._called(method, path, body, within, headers)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as bad:
            start = _one_line(content) or "nothing"
            raise EngineConfused(self.engine, call, f"not JSON: {start}") from bad
        # LM Studio answers an unknown path with 200 and an error.
        if isinstance(value, dict) and value.keys() == {"error"}:
            raise EngineRefused(self.engine, call, f"{status} {_complaint(content)}", status)
        return Json(self.engine, call, value)

    async def text(
        self,
        method: str,
        path: str,
        body: Any = None,
        within: Seconds | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A call whose answer is read as text, or not at all: "OK", metrics, or nothing. A page
        of HTML is nobody's answer: EngineConfused."""
        call, _, content = await self._called(method, path, body, within, headers)
        if content.lstrip()[:1] == b"<":
            raise EngineConfused(self.engine, call, "a page of HTML")
        return content.decode(errors="replace")

    async def content(self, method: str, path: str, within: Seconds | None = None) -> bytes:
        """A call that is answered with bytes."""
        return (await self._called(method, path, None, within, None))[2]

    async def events(
        self,
        method: str,
        path: str,
        body: Any,
        take: Callable[[Json], bool],
        within: Seconds | None = None,
    ) -> bool:
        """Hand each server-sent event's JSON to `take` until it says True; False: they ended
        before. What is no JSON is passed over, as "[DONE]". `within` is for all of them."""

        async def read(call: str) -> bool:
            async with self._answer(call, method, path, body, None) as reply:
                if reply.status_code >= 400:
                    self._refuse(call, reply.status_code, await self._content(call, reply))
                rest, total = b"", 0
                async for chunk in reply.aiter_bytes():
                    if (total := total + len(chunk)) > MOST:
                        raise EngineConfused(self.engine, call, f"more than {MOST >> 20} MiB")
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data:"):
                            try:
                                event = json.loads(line[5:])
                            except (ValueError, RecursionError):
                                continue
                            if take(Json(self.engine, call, event)):
                                return True
                return False

        return await self._in_time(method, path, within, read)

    async def _called(
        self,
        method: str,
        path: str,
        body: Any,
        within: Seconds | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[str, int, bytes]:
        """The call's name, its status below 400, and all of the answer."""

        async def read(call: str) -> tuple[str, int, bytes]:
            async with self._answer(call, method, path, body, headers) as reply:
                content = await self._content(call, reply)
                if reply.status_code >= 400:
                    self._refuse(call, reply.status_code, content)
                return call, reply.status_code, content

        return await self._in_time(method, path, within, read)

    async def _in_time(
        self,
        method: str,
        path: str,
        within: Seconds | None,
        read: Callable[[str], Awaitable[T]],
    ) -> T:
        """`within` bounds the whole call: an engine that sends a byte a second is late too.

        It has a task of its own, which is cancelled once: whoever asks may be out of time at the
        same moment, and a second cancellation, while the first one's connection is being closed,
        would leave that in use for ever.
        """
        call = f"{method} {path.partition('?')[0]}"
        bound = base.CALL_TIMEOUT if within is None else within
        try:
            task = asyncio.ensure_future(read(call))
            task.add_done_callback(_ended)
            _UNDER_WAY.add(task)
            try:
                if not (await asyncio.wait((task,), timeout=bound))[0]:
                    raise TimeoutError
            finally:
                if not task.done():
                    task.cancel()
            return task.result()
        except (TimeoutError, httpx.TimeoutException) as late:
            ours = isinstance(late, httpx.PoolTimeout)
            why = "all our connections are in use" if ours else f"no answer within {bound:g} s"
            raise EngineDown(self.engine, call, why) from late
        except httpx.HTTPError as broken:
            words, number = _why(broken)
            raise EngineDown(self.engine, call, words, number=number) from broken
        except (httpx.InvalidURL, ValueError, ExceptionGroup) as wrong:  # a port of 99999: a group
            raise EngineConfused(self.engine, call, f"cannot be sent: {wrong}") from wrong

    def _refuse(self, call: str, status: int, content: bytes) -> NoReturn:
        raise EngineRefused(self.engine, call, f"{status} {_complaint(content)}", status)

    @asynccontextmanager
    async def _answer(
        self,
        call: str,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[httpx.Response]:
        """The head of an answer that may be read; redirects and packed ones may not."""
        # Unpacked, a few kilobytes can be gigabytes: only plain bytes can be counted.
        sent = {"Accept": "application/json", "Accept-Encoding": "identity"}
        sent |= {**self.headers, **(headers or {})}
        if self.key is not None:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        reply = await self._send(method, self.url.rstrip("/") + path, body, sent)
        try:
            if reply.is_redirect and reply.status_code != NOT_MODIFIED:
                there = _one_line(reply.headers.get("location", "").encode()) or "elsewhere"
                why = f"sends us to {there}; redirects are not followed"
                raise EngineConfused(self.engine, call, why)
            if reply.headers.get("content-encoding", "identity") != "identity":
                raise EngineConfused(self.engine, call, "packed, though we asked for plain bytes")
            yield reply
        finally:
            await reply.aclose()

    async def _content(self, call: str, reply: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in reply.aiter_bytes():
            content += chunk
            if len(content) > MOST:
                raise EngineConfused(self.engine, call, f"more than {MOST >> 20} MiB")
        return bytes(content)

    async def _send(
        self, method: str, url: str, body: Any, headers: dict[str, str]
    ) -> httpx.Response:
        """The head of the answer.

        A server may close a connection that it kept open just as we use it again, and then
        has not seen the request: HTTP has it sent anew (RFC 9112, 9.3.1). llama-server was seen
        to do so a few times a minute. What must not be done twice is asked with `again` False.
        """
        attempts = ATTEMPTS if self.again else 1
        for attempt in range(1, attempts + 1):
            request = self.client.build_request(
                method, url, json=body, headers=headers, timeout=PATIENCE
            )
            try:
                return await self.client.send(request, stream=True, follow_redirects=False)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if attempt == attempts:
                    raise
        raise AssertionError("unreachable")


_UNDER_WAY: set[asyncio.Future[Any]] = set()  # a loop alone does not keep its tasks


def _ended(task: asyncio.Future[Any]) -> None:
    _UNDER_WAY.discard(task)
    if not task.cancelled():
        task.exception()  # nobody may be left to be told


def _why(broken: httpx.HTTPError) -> tuple[str, int | None]:
    """The system's own word and number, "Connection refused", where they stand below what httpx
    says."""
    found = _of_the_system(broken)
    if found is None or found.errno is None:
        return str(broken) or type(broken).__name__, None
    words = os.strerror(found.errno) if found.errno > 0 else str(found.strerror)
    return words, found.errno


def _of_the_system(error: BaseException) -> OSError | None:
    """Of a name with several addresses: where it was the same at each of them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause
        if isinstance(cause, ExceptionGroup):
            found = [_of_the_system(e) for e in cause.exceptions]
            return found[0] if len({e and e.errno for e in found}) == 1 else None
        cause = cause.__cause__ or cause.__context__
    return None


def _complaint(content: bytes) -> str:
    """An engine's own words for what is wrong: each kind wraps them in its own way."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        page = content.lstrip()[:1] == b"<"
        return "with a page of HTML" if page else _one_line(content) or "without a word"
    for _ in range(3):
        if not isinstance(value, dict):
            break
        value = next((value[k] for k in ("error", "message", "detail") if k in value), None)
    words = value.encode(errors="replace") if isinstance(value, str) else content
    return _one_line(words) or "without a word"


def _one_line(content: bytes) -> str:
    words = " ".join(content[: 4 * QUOTED].decode(errors="replace").split())
    return printable(words, "")[:QUOTED]
