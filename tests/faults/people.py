"""Clients of the gateway, and operators who pin, lease and set: what they were promised stands in
books of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from tests.faults.answers import Ending, of_answer, of_stream
from tests.faults.history import Request, Wish

if TYPE_CHECKING:
    from tests.faults.bench import Bench

POLL = 0.02
CLIENTS = 3
PAUSE = 0.15  # seconds between two requests of a client, on average
WISHES = 0.3  # seconds between two wishes of the operator, on average
OFFICE = "o"  # the engine whose models he pins and leases: what breaks has the others
TTL = 600.0
PATIENCE = 40.0
SETTING = "types.image.max_active_backends"  # changes nothing where nobody makes images


class People:
    """`pins`, `leases` (by model: id and end) and `settings` are what was answered with yes; what
    was asked when the daemon went is in `perhaps`, and may be so or not. Who holds the `desk` is
    the only one who wishes."""

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
        self.operating = True
        self.desk = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = 0

    async def __aenter__(self) -> People:
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.AsyncClient(trust_env=False, timeout=PATIENCE, limits=limits)
        self._tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        self._tasks.append(asyncio.create_task(self._operator()))
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
        engine, was = self.bench.name_of(model), self.bench.is_doing(model)
        request = Request(self._numbers, model, engine, history.now(), was=was)
        history.requests.append(request)
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "go"}]}
        url = f"{self.gateway}/v1/chat/completions"
        try:
            async with self.http.stream("POST", url, json=body) as reply:
                request.status = reply.status_code
                ending = await self._heard(reply, request)
        except httpx.ConnectError as error:
            ending = "unheard", repr(error)
        except httpx.HTTPError as error:
            ending = "cut", repr(error)
        history.ended(request, *ending)
        return request

    async def _heard(self, reply: httpx.Response, request: Request) -> Ending:
        kind = reply.headers.get("content-type", "")
        if reply.status_code != 200 or not kind.startswith("text/event-stream"):
            text = (await reply.aread()).decode(errors="replace")
            return of_answer(reply.status_code, text)
        return of_stream(await self._events(reply, request))

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

    async def _operator(self) -> None:
        """Pins, leases and settings come and go, whatever breaks; but not while it is open what
        the daemon has kept of them."""
        dice = random.Random(2)
        while self.asking and self.operating:
            await asyncio.sleep(dice.random() * 2 * WISHES)
            async with self.desk:
                if not self.operating or any(t.daemon for t in self.bench.history.open()):
                    continue
                with contextlib.suppress(httpx.HTTPError, RuntimeError):  # it may be gone
                    await self._ask_again()
                    await self._one(dice, [OFFICE])

    async def _ask_again(self) -> None:
        """What was not answered: who is told that it is so believes it."""
        unsure = {what.partition(" ")[2] for what in self.perhaps}
        if self.perhaps and self.gateway:
            state = await self.bench.daemon.state()
            self.pins |= unsure & set(state["pins"])
            for lease in state["leases"]:
                if lease["model"] in unsure - self.leases.keys():
                    began = self.bench.history.now() + lease["left"] - TTL
                    self.leases[lease["model"]] = lease["id"], began
            self.perhaps.clear()

    async def stand_aside(self) -> None:
        """Nobody wishes for anything from now on, but who asks for it here; all is answered."""
        async with self.desk:
            self.operating = False

    async def wish(self) -> None:
        """One of what operators do. What is not answered may have been heard."""
        async with self.desk:
            with contextlib.suppress(httpx.HTTPError):
                await self._one(self.dice, list(self.bench.engines))

    async def pin(self) -> None:
        async with self.desk:
            await self._pin(self.dice, list(self.bench.engines))

    async def lease(self) -> None:
        async with self.desk:
            await self._lease(self.dice, list(self.bench.engines))

    async def look(self) -> None:
        await self._look(self.dice, [])

    async def _one(self, dice: random.Random, engines: Sequence[str]) -> None:
        """One of what there is to wish, for a model of one of these engines."""
        wishes: tuple[Callable[[random.Random, Sequence[str]], Awaitable[None]], ...]
        wishes = self._pin, self._lease, self._set, self._look
        await dice.choice(wishes)(dice, engines)

    def _some(self, dice: random.Random, engines: Sequence[str]) -> str:
        engine = self.bench.engines[dice.choice(engines)]
        return f"{engine.name}/{dice.choice(engine.models)}"

    async def _send(self, what: str, method: str, path: str, **body: Any) -> httpx.Response:
        """What is not answered may have been heard: until then it is `perhaps`."""
        wish = Wish(self.bench.history.now(), f"{what} {body or ''}")
        self.bench.history.wishes.append(wish)
        self.perhaps.add(what)
        client = self.bench.daemon.client
        reply = await client.request(method, f"/api/v1/{path}", **({"json": body} if body else {}))
        wish.status, wish.words = reply.status_code, reply.text[:300]
        wish.answered = self.bench.history.now()
        self.perhaps.discard(what)
        return reply

    def forget(self) -> None:
        """What they were promised stood in a file that is lost."""
        self.pins.clear()
        self.leases.clear()
        self.settings.clear()
        self.perhaps.clear()
        self.decisions.clear()

    async def _pin(self, dice: random.Random, engines: Sequence[str]) -> None:
        """At most one at a time: there must be somebody who may go."""
        if self.pins:
            name = self.pins.pop()
            await self._send(f"pin {name}", "POST", "unpin", model=name)
            return
        name = self._some(dice, engines)
        reply = await self._send(f"pin {name}", "POST", "pin", model=name)
        if reply.status_code == 200 or f"{name} is pinned, but" in reply.text:
            self.pins.add(name)

    async def _lease(self, dice: random.Random, engines: Sequence[str]) -> None:
        if self.leases:
            name, (id, _) = self.leases.popitem()
            await self._send(f"lease {name}", "DELETE", f"leases/{id}")
            return
        name, asked = self._some(dice, engines), self.bench.history.now()
        body = {"model": name, "client": "bench", "ttl": f"{TTL:g}s"}
        reply = await self._send(f"lease {name}", "POST", "leases", **body)
        if reply.status_code == 201:
            self.leases[name] = (reply.json()["lease"]["id"], asked)

    async def _set(self, dice: random.Random, _: Sequence[str]) -> None:
        value = str(dice.randint(1, 99))
        was = self.settings.pop(SETTING, None)
        reply = await self._send("set", "PUT", f"settings/{SETTING}", value=value)
        if reply.status_code == 200:
            self.settings[SETTING] = value
        elif reply.status_code == 422:  # then nothing that is said of settings is tried
            self.bench.history.say("bench", f"{SETTING} cannot be set: {reply.text[:300]}")
        elif was is not None:
            self.settings[SETTING] = was

    async def _look(self, _: random.Random, __: Sequence[str]) -> None:
        """What they were told is decided must be known for ever."""
        rows = json.loads((await self.bench.daemon.client.get("/api/v1/decisions")).text)
        self.decisions |= {row["id"] for row in rows["decisions"]}
