"""Clients of the gateway, and operators who pin, lease and set: what they were promised stands in
books of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx

from tests.faults.history import Request, Wish

if TYPE_CHECKING:
    from tests.faults.bench import Bench

POLL = 0.02
CLIENTS = 3
PAUSE = 0.15  # seconds between two requests of a client, on average
TTL = 600.0
PATIENCE = 40.0
TRIES = "lru_eviction_max_retries"  # a setting that changes nothing here


class People:
    """`pins`, `leases` (by model: id and end) and `settings` are what was answered with yes; what
    was asked when the daemon went is in `perhaps`, and may be so or not."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.gateway = ""
        self.dice = random.Random(1)
        self.pins: set[str] = set()
        self.leases: dict[str, tuple[str, float]] = {}
        self.settings: dict[str, Any] = {}
        self.perhaps: set[str] = set()
        self.decisions: set[str] = set()  # that somebody was told of
        self.asking = True
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = 0

    async def __aenter__(self) -> People:
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.AsyncClient(trust_env=False, timeout=PATIENCE, limits=limits)
        self._tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.asking = False
        async with asyncio.timeout(PATIENCE):
            for result in await asyncio.gather(*self._tasks, return_exceptions=True):
                if isinstance(result, BaseException):
                    self.bench.history.say("bench", repr(result))
        await self.http.aclose()

    def under_way(self) -> Iterator[Request]:
        return (r for r in self.bench.history.requests if r.ending is None)

    # -- requests

    async def _client(self) -> None:
        models = [m for e in self.bench.engines.values() for m in e.models]
        model = self.dice.choice(models)
        while self.asking:
            if self.dice.random() < 0.3:
                model = self.dice.choice(models)
            if self.gateway:
                await self.ask(model)
            await asyncio.sleep(self.dice.random() * 2 * PAUSE)

    async def probe(self, model: str) -> bool:
        """A request of the bench itself: was it served? It may fail, and is tried again."""
        if not self.gateway:
            return False
        return (await self.ask(model)).ending == "whole"

    async def ask(self, model: str) -> Request:
        """A stream, read to its end."""
        history = self.bench.history
        self._numbers += 1
        request = Request(self._numbers, model, self.bench.name_of(model), history.now())
        history.requests.append(request)
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "go"}]}
        url = f"{self.gateway}/v1/chat/completions"
        try:
            async with self.http.stream("POST", url, json=body) as reply:
                request.status = reply.status_code
                if reply.status_code != 200:
                    words = (await reply.aread()).decode(errors="replace")
                    history.ended(request, "refused", words)
                    return request
                events = await self._events(reply, request)
        except httpx.ConnectError as error:
            history.ended(request, "unheard", repr(error))
        except httpx.HTTPError as error:
            history.ended(request, "cut", repr(error))
        else:
            whole = bool(events) and events[-1] == "[DONE]" and len(events) == 4
            history.ended(request, "whole" if whole else "told", " ".join(events[-2:]))
        return request

    def asks(self, model: str) -> None:
        """Somebody asks, and nobody looks on: how it ended is in the history."""
        self._tasks.append(asyncio.create_task(self._asks(model)))

    async def _asks(self, model: str) -> None:
        await self.ask(model)

    async def leave(self, model: str) -> bool:
        """Hang up after the first word. True: there was one."""
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "go"}]}
        url = f"{self.gateway}/v1/chat/completions"
        async with self.http.stream("POST", url, json=body) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    return True
        return False

    async def _events(self, reply: httpx.Response, request: Request) -> list[str]:
        events = []
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                if request.first is None:
                    request.first = self.bench.history.now()
                events.append(line[6:])
        return events

    # -- wishes

    async def wish(self) -> None:
        """One of what operators do. What is not answered may have been heard."""
        wish = self.dice.choice((self.pin, self.lease, self.set_one, self.look))
        with contextlib.suppress(httpx.HTTPError):
            await wish()

    def _some(self) -> str:
        engine = self.dice.choice(list(self.bench.engines.values()))
        return f"{engine.name}/{self.dice.choice(engine.models)}"

    async def _send(self, what: str, method: str, path: str, **body: Any) -> httpx.Response:
        """What is not answered may have been heard: until then it is `perhaps`."""
        wish = Wish(self.bench.history.now(), f"{what} {body or ''}")
        self.bench.history.wishes.append(wish)
        self.perhaps.add(what)
        client = self.bench.daemon.client
        reply = await client.request(method, f"/api/v1/{path}", **({"json": body} if body else {}))
        wish.status, wish.words = reply.status_code, reply.text[:300]
        self.perhaps.discard(what)
        return reply

    def forget(self) -> None:
        """What they were promised stood in a file that is lost."""
        self.pins.clear()
        self.leases.clear()
        self.settings.clear()
        self.perhaps.clear()
        self.decisions.clear()

    async def pin(self) -> None:
        """At most one at a time: there must be somebody who may go."""
        if self.pins:
            name = self.pins.pop()
            await self._send(f"pin {name}", "POST", "unpin", model=name)
            return
        name = self._some()
        reply = await self._send(f"pin {name}", "POST", "pin", model=name)
        if reply.status_code == 200 or f"{name} is pinned, but" in reply.text:
            self.pins.add(name)

    async def lease(self) -> None:
        if self.leases:
            name, (id, _) = self.leases.popitem()
            await self._send(f"lease {name}", "DELETE", f"leases/{id}")
            return
        name, asked = self._some(), self.bench.history.now()
        body = {"model": name, "client": "bench", "ttl": f"{TTL:g}s"}
        reply = await self._send(f"lease {name}", "POST", "leases", **body)
        if reply.status_code == 201:
            self.leases[name] = (reply.json()["lease"]["id"], asked)

    async def set_one(self) -> None:
        value = self.dice.randint(1, 99)
        was = self.settings.pop(TRIES, None)
        reply = await self._send("set", "PUT", f"settings/{TRIES}", value=value)
        if reply.status_code == 200:
            self.settings[TRIES] = value
        elif was is not None:
            self.settings[TRIES] = was

    async def look(self) -> None:
        """What they were told is decided must be known for ever."""
        rows = json.loads((await self.bench.daemon.client.get("/api/v1/decisions")).text)
        self.decisions |= {row["id"] for row in rows["decisions"]}
