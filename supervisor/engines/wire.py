"""The one place where an engine is called: HTTP in, checked JSON or an EngineError out."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unicodedata import category

import httpx

from collectors.reading import Bytes, Seconds

from . import base
from .base import EngineConfused, EngineDown, EngineRefused

# An engine may answer an unload or a load late: it first waits for its own locks and for
# a child to end, which llama-server grants 10 s.
CONTROL_TIMEOUT = Seconds(20.0)
MOST = 16 * 1024**2  # bytes of one answer; the largest honest one seen is below 1 MiB
# The whole call is timed; a free connection of ours is waited for less long than any engine.
PATIENCE = httpx.Timeout(None, pool=1.0)
NO_NAME = ("Cc", "Zl", "Zp")  # Unicode's controls, and its ends of lines
QUOTED = 200  # characters of an engine's own words that go into an error


def client() -> httpx.AsyncClient:
    """The client that all engines share. Proxies and .netrc are no business of loopback."""
    return httpx.AsyncClient(
        trust_env=False,
        timeout=PATIENCE,
        # Kept for less than the 5 s after which llama-server closes an idle connection:
        # a request sent into a closing one looks like an engine that is down.
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=2.0),
    )


ATTEMPTS = 3  # connections of which each may have been closed just now


@dataclass(frozen=True, slots=True)
class Json:
    """A value of an answer that knows where it stands, so that a complaint can name it.

    Each reader returns the value in the shape asked for, or raises EngineConfused.
    """

    engine: str
    call: str
    value: Any
    where: str = "the answer"

    def get(self, key: str) -> Json | None:
        """The member `key` of an object; None where it is absent or null."""
        found = self._object().get(key)
        return None if found is None else self._at(found, key)

    def __getitem__(self, key: str) -> Json:
        found = self.get(key)
        if found is None:
            raise self._confused(f"with {key!r}")
        return found

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def __iter__(self) -> Iterator[Json]:
        if not isinstance(self.value, list):
            raise self._confused("a list")
        return iter([self._at(v, str(i)) for i, v in enumerate(self.value)])

    def text(self) -> str:
        """Text that can be sent and stored again: half a surrogate pair is not text."""
        if not isinstance(self.value, str):
            raise self._confused("text")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            raise self._confused("text") from None
        return self.value

    def texts(self) -> tuple[str, ...]:
        """A list of texts; ten models' command lines are read each second, so in one go."""
        words = self.value
        if isinstance(words, list) and all(type(word) is str for word in words):
            try:
                "".join(words).encode()
            except UnicodeEncodeError:
                pass  # told below, with its place
            else:
                return tuple(words)
        return tuple(word.text() for word in self)

    def name(self) -> str:
        """Text that names something: not empty, and on one line. Whoever shows it to a terminal
        has to mind that it may hold more than letters, as a joiner or a space that does not break.
        """
        if not (text := self.text()) or any(category(c) in NO_NAME for c in text):
            raise self._confused("a name")
        return text

    def size(self) -> Bytes:
        """A number of bytes."""
        if type(self.value) is not int or not 0 <= self.value < 2**63:
            raise self._confused("a number of bytes")
        return Bytes(self.value)

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self._confused("true or false")
        return self.value

    def _object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._confused("an object")
        return self.value

    def _at(self, value: Any, step: str) -> Json:
        where = step if self.where == "the answer" else f"{self.where}.{step}"
        return Json(self.engine, self.call, value, where)

    def _confused(self, wanted: str) -> EngineConfused:
        kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
        found = "nothing" if self.value is None else kinds.get(type(self.value), "a number")
        message = f"{self.where}: expected {'an object ' if wanted[:4] == 'with' else ''}{wanted}"
        return EngineConfused(self.engine, self.call, f"{message}, found {found}")


@dataclass(frozen=True, slots=True)
class Wire:
    """How to reach one engine: at `url`, with `key` as its bearer token."""

    engine: str
    url: str
    client: httpx.AsyncClient
    key: str | None = None

    async def get(self, path: str) -> Json:
        """A monitoring call."""
        return await self.call("GET", path, None, base.CALL_TIMEOUT)

    async def post(self, path: str, body: dict[str, Any], within: Seconds | None = None) -> Json:
        return await self.call("POST", path, body, base.CALL_TIMEOUT if within is None else within)

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

    async def call(self, method: str, path: str, body: Any, within: Seconds) -> Json:
        """`within` bounds the whole call: an engine that sends a byte a second is late too."""
        call = f"{method} {path.partition('?')[0]}"
        try:
            async with asyncio.timeout(within):
                status, content = await self._exchange(call, method, path, body)
        except (TimeoutError, httpx.TimeoutException) as late:
            ours = isinstance(late, httpx.PoolTimeout)
            why = "all our connections are in use" if ours else f"no answer within {within:g} s"
            raise EngineDown(self.engine, call, why) from late
        except httpx.HTTPError as broken:
            raise EngineDown(self.engine, call, _in_words(broken)) from broken
        except (httpx.InvalidURL, ValueError, ExceptionGroup) as wrong:  # a port of 99999: a group
            raise EngineConfused(self.engine, call, f"cannot be sent: {wrong}") from wrong
        if status >= 400:
            raise EngineRefused(self.engine, call, f"{status} {_complaint(content)}", status)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as bad:
            start = _one_line(content) or "nothing"
            raise EngineConfused(self.engine, call, f"not JSON: {start}") from bad
        # LM Studio answers an unknown path with 200 and an error.
        if isinstance(value, dict) and value.keys() == {"error"}:
            raise EngineRefused(self.engine, call, f"{status} {_complaint(content)}", status)
        return Json(self.engine, call, value)

    async def _exchange(self, call: str, method: str, path: str, body: Any) -> tuple[int, bytes]:
        # Unpacked, a few kilobytes can be gigabytes: only plain bytes can be counted.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        reply = await self._send(method, self.url.rstrip("/") + path, body, headers)
        try:
            if reply.is_redirect:
                there = _one_line(reply.headers.get("location", "").encode()) or "elsewhere"
                why = f"sends us to {there}; redirects are not followed"
                raise EngineConfused(self.engine, call, why)
            if reply.headers.get("content-encoding", "identity") != "identity":
                raise EngineConfused(self.engine, call, "packed, though we asked for plain bytes")
            content = bytearray()
            async for chunk in reply.aiter_bytes():
                content += chunk
                if len(content) > MOST:
                    raise EngineConfused(self.engine, call, f"more than {MOST >> 20} MiB")
            return reply.status_code, bytes(content)
        finally:
            await reply.aclose()

    async def _send(
        self, method: str, url: str, body: Any, headers: dict[str, str]
    ) -> httpx.Response:
        """The head of the answer.

        A server may close a connection that it kept open just as we use it again, and then
        has not seen the request: HTTP has it sent anew (RFC 9112, 9.3.1). llama-server was seen
        to do so a few times a minute. All that we ask for may be asked for twice.
        """
        for attempt in range(1, ATTEMPTS + 1):
            request = self.client.build_request(
                method, url, json=body, headers=headers, timeout=PATIENCE
            )
            try:
                return await self.client.send(request, stream=True, follow_redirects=False)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")


def _in_words(broken: httpx.HTTPError) -> str:
    """The system's own word, "Connection refused", where it stands below what httpx says."""
    cause: BaseException | None = broken
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(broken) or type(broken).__name__


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
    return "".join(c for c in words if c.isprintable())[:QUOTED]
