"""A machine with a gateway for the clients: the daemon, and engines behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from supervisor.demo.real import RealRouter
from tests.clients.talking import TalkingOllama
from tests.daemon import QUICK, Daemon, State
from tests.engines.fake import FakeLlamaRouter
from tests.real.test_real_engine import A, B, C, Clients, config

TOKEN = "the-laptops-own-token-0123456789"
LAPTOP = f'[gateway.tokens.laptop]\nsha256 = "{sha256(TOKEN.encode()).hexdigest()}"'
# Others use this machine too: what comes back cannot be told from what they take.
SETTLE = '[settle]\ntimeout = "200ms"\nstep = "50ms"'
# One thread each: those that wait for one another would turn round and round on a busy machine.
OPTIONS = (*("--threads", "1", "--no-warmup"), *("--embeddings", "--pooling", "mean"))
# A client that waits for a stream is told so soon: the small model is quickly there.
GATEWAY = '[gateway]\nport = 0\ncomments_after = "100ms"'


@dataclass(slots=True)
class Host:
    """`url` is what a client is told in place of its engine's. `router` are clients that go past
    the gateway, `fake` is an Ollama that is made of values."""

    daemon: Daemon
    url: str
    router: Clients | None = None
    fake: TalkingOllama | None = None

    async def emptied(self) -> None:
        """Nothing is loaded any more."""
        if await self.daemon.models():
            reply = await self.daemon.post("evict", {"all": True, "force": True})
            assert reply.status_code == 200, reply.text
        await self.daemon.wait_for_models()

    @asynccontextmanager
    async def working(self, model: str) -> AsyncIterator[None]:
        """Somebody asks `model` past the gateway, again and again: it is always at work."""

        async def client() -> None:
            assert self.router is not None
            while not ended.is_set():
                await self.router.chat(model, 30)

        ended = asyncio.Event()
        tasks = [asyncio.create_task(client()) for _ in range(2)]
        try:
            await self.daemon.wait(lambda s: any(m["busy"] for m in s["models"]))
            yield
        finally:
            ended.set()
            await asyncio.gather(*tasks)

    async def all_ended(self) -> State:
        """Nothing that came in by the gateway is under way any more, or held."""
        return await self.daemon.wait(
            lambda s: not s["gateway"]["in_flight"] and not s["gateway"]["held"]
        )


@asynccontextmanager
async def real(
    folder: Path, *tables: str, most: int = 2, gateway: str = GATEWAY
) -> AsyncIterator[Host]:
    """A real llama-server with three names for one small model, `most` of which may be loaded."""
    async with RealRouter(names=[A, B, C], options=OPTIONS) as router:
        clients = Clients(router)
        limit = f"max_active_backends = {most}"
        text = config(clients, 'ranking = "lru"', limit, SETTLE, *tables, gateway)
        try:
            async with Daemon(folder / "state", text) as daemon:
                yield Host(daemon, await _address(daemon), router=clients)
        finally:
            await clients.http.aclose()


@asynccontextmanager
async def made(folder: Path) -> AsyncIterator[Host]:
    """An Ollama that talks, and a llama-server, both made of values."""
    async with TalkingOllama(["qwen3:8b", "gemma3:4b"]) as ollama, FakeLlamaRouter(["a"]) as router:
        text = "\n".join([
            QUICK,
            SETTLE,
            "[pools.ram]\nreserve = 0",
            GATEWAY,
            f'[engines.ollama]\nkind = "ollama"\nurl = "{ollama.url}"',
            f'[engines.llama]\nkind = "llamacpp"\nurl = "{router.url}"',
            '[models."llama/a"]\nmemory = "1GiB"',
        ])  # fmt: skip
        async with Daemon(folder / "state", text) as daemon:
            yield Host(daemon, await _address(daemon), fake=ollama)


async def _address(daemon: Daemon) -> str:
    (url,) = (await daemon.state())["gateway"]["addresses"]
    return str(url)
