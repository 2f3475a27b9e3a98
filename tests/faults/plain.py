"""What a plain engine does by itself where the same breaks: llama-server's own router, which loads
a model for whoever asks for it, and nobody who supervises it. Once each."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil

from supervisor.demo.real import Missing, RealRouter, find_model, find_server

A, B = "alpha", "beta"
POLL = 0.01
LOOKED = 15.0  # seconds for which somebody looks on
LONG, SHORT = 400, 4  # tokens of an answer
STREAMS, AT_ONCE = 20, 4


class NotSeen(Exception):
    """What a story is about did not come while somebody looked on."""


@dataclass
class Ending:
    """`how`: whole, told (an error in words), cut, or nothing (until nobody looked any more)."""

    how: str
    took: float

    def __str__(self) -> str:
        return f"{self.how} after {self.took:.1f} s"


@dataclass
class Alone:
    """A router and its clients."""

    router: RealRouter
    http: httpx.AsyncClient

    async def ask(
        self, model: str, tokens: int = SHORT, words: asyncio.Event | None = None
    ) -> Ending:
        """A stream, read to its end. `words` is set with the first of them."""
        began = time.monotonic()
        body = {
            "model": model,
            "stream": True,
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": "Tell a long story."}],
        }
        how, url = "cut", f"{self.router.url}/v1/chat/completions"
        try:
            async with self.http.stream("POST", url, json=body) as reply:
                if reply.status_code != 200:
                    await reply.aread()
                    return Ending(f"{reply.status_code}", time.monotonic() - began)
                async for line in reply.aiter_lines():
                    if words is not None and '"content":"' in line:
                        words.set()
                    if "error" in line[:12]:
                        how = "told"
                    if line == "data: [DONE]":
                        how = "whole"
        except httpx.ReadTimeout:
            how = "nothing"
        except httpx.HTTPError:
            pass
        return Ending(how, time.monotonic() - began)

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.router.pid).children()
        except psutil.NoSuchProcess:
            return []

    async def child(self, besides: Collection[psutil.Process] = ()) -> psutil.Process:
        """The first that is seen, even if it is gone at the next look. Raises NotSeen."""
        found: list[psutil.Process] = []

        def there() -> bool:
            found.extend(each for each in self.children() if each not in besides)
            return bool(found)

        took = await until(there)
        if not found:
            raise NotSeen(f"no child of the router was seen for {took:.0f} s")
        return found[0]

    async def served(self) -> str:
        """Asking again and again, from now on: when somebody is served."""
        began = time.monotonic()
        while time.monotonic() - began < LOOKED:
            if (await self.ask(A)).how == "whole":
                return f"served again after {time.monotonic() - began:.1f} s"
            await asyncio.sleep(POLL)
        return f"not served again for {LOOKED:g} s"


async def until(true: Callable[[], bool]) -> float:
    """Seconds until it is so, or as long as somebody looks on."""
    began = time.monotonic()
    while not true() and time.monotonic() - began < LOOKED:
        await asyncio.sleep(POLL)
    return time.monotonic() - began


@asynccontextmanager
async def alone() -> AsyncIterator[Alone]:
    options = ("--models-autoload",)
    async with (
        RealRouter(names=(A, B), options=options) as router,
        httpx.AsyncClient(timeout=LOOKED, trust_env=False) as http,
    ):
        yield Alone(router, http)


PLAIN: dict[str, Callable[[Alone], Awaitable[str]]] = {}


def plain(*names: str) -> Callable[[Callable[[Alone], Awaitable[str]]], None]:
    return lambda story: PLAIN.update(dict.fromkeys(names, story))


def missing() -> str | None:
    """Why it cannot be seen here."""
    try:
        find_server()
        find_model()
    except Missing as error:
        return str(error).partition("\n")[0].rstrip(";:")
    return None


async def of(fault: str) -> str | None:
    """In words; None: it has no such thing to be broken."""
    story = PLAIN.get(fault)
    if story is None:
        return None
    async with alone() as at:
        try:
            return await story(at)
        except NotSeen as error:
            return str(error)


@plain("an engine crashes while it loads", "a process of ours is killed while it loads")
async def crashes_loading(at: Alone) -> str:
    asked = asyncio.create_task(at.ask(A))
    (await at.child()).kill()
    return f"{await asked}; {await at.served()}"


@plain("an engine dies between ready and the first byte")
async def dies_first(at: Alone) -> str:
    await at.ask(A)
    child = await at.child()
    (port,) = {c.laddr.port for c in child.net_connections("tcp") if c.status == "LISTEN"}
    child.suspend()
    before = _met(port)
    asked = asyncio.create_task(at.ask(A))
    await until(lambda: _met(port) > before)
    child.kill()
    return f"{await asked}; {await at.served()}"


def _met(port: int) -> int:
    """Connections to it, whether it has taken them or not."""
    found = psutil.net_connections("tcp")
    return sum(bool(c.laddr) and c.laddr.port == port and c.status == "ESTABLISHED" for c in found)


@plain("a process of ours is killed while it serves")
async def killed_serving(at: Alone) -> str:
    words = asyncio.Event()
    asked = asyncio.create_task(at.ask(A, LONG, words))
    await words.wait()
    (await at.child()).kill()
    return f"its stream is {(await asked).how}; {await at.served()}"


@plain("an engine hangs: it accepts, and never answers")
async def hangs(at: Alone) -> str:
    await at.ask(A)
    child = await at.child()
    child.suspend()
    ending = await at.ask(A)
    child.resume()
    return f"{ending}; once it goes on {await at.served()}"


@plain("an engine hangs while it unloads")
async def hangs_unloading(at: Alone) -> str:
    await at.ask(A)
    child = await at.child()
    child.suspend()
    await at.http.post(f"{at.router.url}/models/unload", json={"model": A})
    took = await until(lambda: not at.children())
    if at.children():
        child.resume()
        return f"waits for it, {LOOKED:g} s and more"
    return f"killed after {took:.1f} s; {await at.served()}"


@plain("clients leave in the middle of an answer")
async def clients_leave(at: Alone) -> str:
    await at.ask(A)
    words = asyncio.Event()
    leaving = asyncio.create_task(at.ask(A, LONG, words))
    await words.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    began = time.monotonic()
    url = f"{at.router.url}/slots?model={A}"
    while any(slot["is_processing"] for slot in (await at.http.get(url)).json()):
        if time.monotonic() - began > LOOKED:
            return f"works on for nobody, {LOOKED:g} s and more"
        await asyncio.sleep(POLL)
    return f"at rest after {time.monotonic() - began:.1f} s"


@plain("SIGKILL of the daemon")
async def killed(at: Alone) -> str:
    """Of the router itself."""
    words = asyncio.Event()
    asked = asyncio.create_task(at.ask(A, LONG, words))
    await words.wait()
    child = await at.child()
    assert at.router.pid is not None
    os.kill(at.router.pid, signal.SIGKILL)
    ending = await asked
    took = await until(lambda: not _runs(child))
    left = (
        f"its child runs on, {LOOKED:g} s and more"
        if _runs(child)
        else f"its child ends {took:.1f} s later"
    )
    return f"streams {ending.how}; {left}"


def _runs(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@plain("SIGTERM under 200 streams")
async def ended(at: Alone) -> str:
    """Under twenty: it works on one at a time here."""
    words = asyncio.Event()
    asked = [asyncio.create_task(at.ask(A, LONG, words)) for _ in range(STREAMS)]
    await words.wait()
    assert at.router.pid is not None
    os.kill(at.router.pid, signal.SIGTERM)
    endings = [e.how for e in await asyncio.gather(*asked)]
    counts = ", ".join(f"{endings.count(how)} {how}" for how in sorted(set(endings)))
    return f"of {STREAMS} streams {counts}"


@plain("no file can be opened any more")
async def no_descriptors(at: Alone) -> str:
    await at.ask(A)
    assert at.router.pid is not None
    return await _starved(at, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{at.router.pid}/fd")))


@plain("the daemon gets no more memory")
async def no_memory(at: Alone) -> str:
    await at.ask(A)
    return await _starved(at, resource.RLIMIT_AS, psutil.Process(at.router.pid).memory_info().vms)


async def _starved(at: Alone, what: int, most: int) -> str:
    """The router has so much of it and gets no more, while some ask at once."""
    router = psutil.Process(at.router.pid)
    _, hard = resource.prlimit(router.pid, what)
    resource.prlimit(router.pid, what, (most, hard))
    endings = [e.how for e in await asyncio.gather(*(_anew(at) for _ in range(AT_ONCE)))]
    counts = ", ".join(f"{endings.count(how)} {how}" for how in sorted(set(endings)))
    if not _runs(router):
        return f"of {AT_ONCE} requests {counts}; it has ended"
    resource.prlimit(router.pid, what, (hard, hard))
    return f"of {AT_ONCE} requests {counts}; then {await at.served()}"


async def _anew(at: Alone) -> Ending:
    """Over a connection of its own."""
    async with httpx.AsyncClient(timeout=LOOKED, trust_env=False) as http:
        return await Alone(at.router, http).ask(A)


@plain("a model needs more than there is")
async def too_big(at: Alone) -> str:
    """A child that may have no more than it has."""
    await at.ask(B)
    there = await at.child()
    asked = asyncio.create_task(at.ask(A))
    child = await at.child([there])
    resource.prlimit(child.pid, resource.RLIMIT_AS, (1, 1))
    first, other = await asked, await at.ask(B)
    return f"{first}, and tried anew for everybody who asks; another model is {other.how}"
