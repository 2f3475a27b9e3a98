"""Clients of the gateway: each asks again and again, and reads its answer word by word.

Who asks for what is heavy-tailed: most of a few models that are always wanted, the rest of all
others, which take each other's places. Some leave after a word, and some ask for what nobody has.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

HOT, TAIL = 0.93, 0.03  # of requests; and others ask for what does not exist
LEAVES = 0.08
PLAIN = 0.05  # of them, no streams
PATIENCE = 150.0  # seconds until an answer has begun, at the latest
REFUSED = (429, 502, 503, 504, 529)


@dataclass
class Asked:
    number: str
    model: str
    words: int
    stream: bool
    leaves: bool
    at: float
    ended: float = 0.0  # both by the monotonic clock


@dataclass
class Told:
    """How requests ended; and in `wrong` those that did as none may."""

    endings: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    broken: list[Asked] = field(default_factory=list)  # off, after a word of a model
    refused: list[Asked] = field(default_factory=list)  # of those that ask for who is always wanted
    hot: int = 0
    open: int = 0
    most: int = 0
    sent: int = 0

    def end(self, ending: str) -> None:
        self.endings[ending] += 1


class Call(asyncio.Protocol):
    """One request on a connection of its own; `over` has how it ended."""

    def __init__(self, asked: Asked, request: bytes) -> None:
        self._asked, self._request = asked, request
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.first: float | None = None
        self.status = 0
        self._body = b""
        self._complete = 0
        self._extra = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(self._request)

    def on_body(self, body: bytes) -> None:
        if self.first is None and b"data: " in body:
            self.first = time.monotonic() - self._asked.at
        self._body += body
        if self._asked.leaves and self.first is not None:
            self._end("left")

    def on_message_complete(self) -> None:
        self._complete += 1

    def data_received(self, data: bytes) -> None:
        if self._complete:
            self._extra = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"wrong: {error}")
            return
        if self._complete and not self.over.done():
            self.status = self._parser.get_status_code()
            # What else might come has a moment to do so.
            asyncio.get_running_loop().call_later(0.05, self._judged)

    @property
    def said(self) -> int:
        """Words of its model."""
        return self._body.count(b"%s " % self._asked.number.encode())

    def _judged(self) -> None:
        self._end(self._ending())

    def _ending(self) -> str:
        asked, body = self._asked, self._body
        if self._extra or self._complete != 1:
            return "wrong: answered twice"
        if self.status != 200:
            return "refused" if self.status in (*REFUSED, 404) and b"error" in body else "wrong"
        said = self.said
        if not asked.stream:
            return "whole" if said == asked.words else f"wrong: {said} words of {asked.words}"
        if body.endswith(b"data: [DONE]\n\n") and b'"error"' not in body:
            return "whole" if said == asked.words else f"wrong: {said} words of {asked.words}"
        return "told" if b'"error"' in body else f"wrong: ends with {body[-80:]!r}"

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._complete:
            self._end(f"cut: {exc}; {self._body[-80:]!r}")

    def _end(self, ending: str) -> None:
        if not self.over.done():
            self.over.set_result(ending)
            self._transport.close()


class Crowd:
    """`most` clients at once. `hot` and `tail` are names of models."""

    def __init__(
        self, gateway: str, hot: list[str], tail: list[str], words: int, seed: int
    ) -> None:
        host, _, port = gateway.removeprefix("http://").partition(":")
        self._at = host, int(port)
        self.hot, self.tail, self.words = hot, tail, words
        self.dice = random.Random(seed)
        self.told = Told()
        self.asking = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[str, Call] = {}

    def waits(self, number: str) -> bool:
        """Is its client there, and still to hear the end of its answer?"""
        call = self._calls.get(number)
        return call is not None and not call.over.done()

    def begin(self, clients: int, ramp: float) -> None:
        self.asking = True
        for i in range(clients):
            task = asyncio.create_task(self._client(ramp * i / clients))
            self._tasks.add(task)

    async def end(self) -> None:
        """Each has its last answer."""
        self.asking = False
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _client(self, late: float) -> None:
        await asyncio.sleep(late)
        while self.asking:
            await self.ask(self.some())
            await asyncio.sleep(self.dice.random() * 0.4)

    def some(self) -> Asked:
        dice = self.dice
        self.told.sent += 1
        number, kind = f"n{self.told.sent}", dice.random()
        words = max(1, round(self.words * (0.4 + 1.2 * dice.random())))
        if kind < HOT:
            model = dice.choice(self.hot)
        elif kind < HOT + TAIL:
            model, words = dice.choice(self.tail), max(1, words // 4)
        else:
            model = f"nobody-{dice.randrange(10**9)}"
        stream, leaves = dice.random() >= PLAIN, dice.random() < LEAVES
        return Asked(number, model, words, stream, stream and leaves, 0.0)

    def request(self, asked: Asked) -> bytes:
        body = json.dumps(
            {
                "model": asked.model,
                "stream": asked.stream,
                "max_tokens": asked.words,
                "user": asked.number,
                "messages": [{"role": "user", "content": "hello " * 60}],
            }
        ).encode()
        session = self.dice.randrange(10**9) if self.dice.random() < 0.3 else 1
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._at[1]}\r\n"
            f"Content-Type: application/json\r\nX-Ullage-Session: agent-{session}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def ask(self, asked: Asked) -> str:
        told = self.told
        told.open += 1
        told.most = max(told.most, told.open)
        told.hot += asked.model in self.hot
        asked.at = time.monotonic()
        ending, call = "cut: no connection", Call(asked, self.request(asked))
        self._calls[asked.number] = call
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: call, *self._at)
            async with asyncio.timeout(PATIENCE + 3 * asked.words):
                ending = await call.over
        except TimeoutError:
            ending = "wrong: no answer"
        except OSError as error:
            ending = f"cut: {error}"
        finally:
            told.open -= 1
            del self._calls[asked.number]
        asked.ended = time.monotonic()
        kind = ending.partition(":")[0]
        told.end(kind)
        if call.first is not None:
            told.firsts.append(call.first)
        # Who is held is told by a stream, too, that its wait was in vain.
        if kind == "told" and call.said:
            told.broken.append(asked)
        elif kind in ("told", "refused") and asked.model in self.hot:
            told.refused.append(asked)
        if kind == "refused":
            told.statuses[call.status] += 1
            gone = "." in asked.model or asked.model not in (*self.hot, *self.tail)  # was renamed
            if (call.status == 404) != asked.model.startswith("nobody-") and not gone:
                told.wrong.append(f"{asked.model}: {call.status} {call._body[-200:]!r}")
        elif kind not in ("whole", "left", "told"):
            told.wrong.append(f"{asked.model}, {asked.number}: {ending}, status {call.status}")
        return ending


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie; 0 of none."""
    ordered: Any = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) if ordered else 0.0
