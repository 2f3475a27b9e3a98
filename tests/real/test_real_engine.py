"""The daemon with the real llama-server and a real model, under three names.

Nothing is stood in for: the models are loaded by the engine's own clients, their bytes are
read from the kernel, and what came back is checked against the processes themselves.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from supervisor.demo.real import RealRouter
from tests.daemon import POLL, Daemon

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]

A, B, C = "alpha", "beta", "gamma"
LRU = 'ranking = "lru"'  # these stories are too short to teach anybody's habits


class Clients:
    """Whoever uses the engine behind Ullage's back."""

    def __init__(self, router: RealRouter) -> None:
        self.router = router
        # A server may close a connection that rests just as the next request is sent on it.
        each_its_own = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.AsyncClient(
            base_url=router.url, timeout=60, trust_env=False, limits=each_its_own
        )

    async def load(self, *models: str) -> None:
        """Have the engine load these, and wait until it says that they are there."""
        for model in models:
            reply = await self.http.post("/models/load", json={"model": model})
            assert reply.status_code == 200, reply.text
            async with asyncio.timeout(30):
                while await self.status(model) == "loading":
                    await asyncio.sleep(POLL)

    async def status(self, model: str) -> str:
        listed = (await self.http.get("/models")).json()["data"]
        return str(next(m["status"]["value"] for m in listed if m["id"] == model))

    async def chat(self, model: str, tokens: int = 8) -> None:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": tokens,
            "ignore_eos": True,
        }
        reply = await self.http.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text

    @asynccontextmanager
    async def generating(self, model: str) -> AsyncIterator[None]:
        """Two clients that ask for more as soon as they have an answer: one is always at work."""

        async def client() -> None:
            while not ended.is_set():
                await self.chat(model, 200)

        ended = asyncio.Event()
        tasks = [asyncio.create_task(client()) for _ in range(2)]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*tasks)

    def children(self) -> dict[str, psutil.Process]:
        """The engine's processes by the model they hold, as the kernel has them."""
        found = {}
        for child in psutil.Process(self.router.pid).children():
            try:
                words = child.cmdline()
            except psutil.NoSuchProcess:  # or a zombie: it holds nothing any more
                continue
            if "--alias" in words:
                found[words[words.index("--alias") + 1]] = child
        return found

    async def size_of_one(self) -> int:
        """Bytes that one loaded model's process holds; it is unloaded again."""
        await self.load(A)
        await self.chat(A)
        size = self.children()[A].memory_info().rss
        await self.http.post("/models/unload", json={"model": A})
        async with asyncio.timeout(20):
            while A in self.children():
                await asyncio.sleep(POLL)
        return int(size)


@asynccontextmanager
async def engine(*, mapped: bool = False) -> AsyncIterator[Clients]:
    async with RealRouter(names=[A, B, C], mapped=mapped) as router:
        clients = Clients(router)
        try:
            yield clients
        finally:
            await clients.http.aclose()


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(240):
            await story

    asyncio.run(bounded())


# A server on a busy machine was seen to take more than five seconds to end a child.
PATIENT = '[settle]\ntimeout = "30s"'


def config(clients: Clients, *more: str) -> str:
    if not any(line.startswith("[settle]") for line in more):
        more = (*more, PATIENT)
    lines = [
        "detect = false",
        'sample_interval = "250ms"',
        'relief_grace = "1s"',
        'relief_pause = "0s"',
        'restore_margin = "1MiB"',
        *(line for line in more if not line.startswith("[")),
        "[engines.llama]",
        'kind = "llamacpp"',
        f'url = "{clients.router.url}"',
    ]
    return "\n".join([*lines, *(line for line in more if line.startswith("["))])


def notes(decision: dict[str, Any]) -> dict[str, str]:
    return {n["model"].split("/")[1]: n["why"] for n in decision["notes"]}


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped weights", "read weights"])
def test_room_for_two_is_kept_by_evicting_the_least_recently_used_idle_one(
    tmp_path: Path, mapped: bool
) -> None:
    async def story() -> None:
        async with engine(mapped=mapped) as clients:
            size = await clients.size_of_one()
            budget = int(size * 2.5)  # two fit, three do not
            text = config(clients, LRU, f"[pools.ram]\nbudget = {budget}")
            async with Daemon(tmp_path / "state", text) as daemon:
                await clients.load(A, B)
                state = await daemon.wait_for_models(A, B)
                seen = {m["model"]: m for m in state["models"]}
                for name, child in clients.children().items():
                    held = child.memory_info().rss
                    assert abs(seen[name]["size"] - held) < 0.05 * held
                    assert {s["source"] for s in seen[name]["shares"]} == {"measured"}
                await clients.chat(A)  # so that B is the least recently used
                await daemon.wait(lambda s: _idle(s, A) < _idle(s, B))

                await clients.load(C)
                await daemon.wait_for_models(A, C)
                assert set(clients.children()) == {A, C}
                (decision,) = await _done(daemon)
                assert decision["trigger"] == "relief"
                (outcome,) = decision["outcomes"]
                assert (outcome["model"], outcome["result"]) == ("llama/beta", "done")
                judged = outcome["judgement"]
                assert judged["verdict"] == "recovered"
                assert judged["returned"] >= 0.75 * judged["promised"] > 0.5 * size
                (ram,) = (await daemon.state())["pools"]
                assert ram["held"] <= ram["budget"] == budget

                code, _, err = await daemon.cli("pin", A)
                assert code == 0, err
                async with clients.generating(C):
                    await daemon.wait(lambda s: _model(s, C)["in_flight"] == 1)
                    await clients.load(B)
                    await daemon.wait(lambda s: any(m["model"] == B for m in s["models"]))
                    await daemon.wait_for_models(A, C)  # B has just come, and is the only one
                    assert set(clients.children()) == {A, C}
                (newest, _) = await _done(daemon)
                assert notes(newest) == {A: "pinned", B: "makes room", C: "busy"}

                for model, words in (
                    (A, ["it is pinned", "stayed: it is pinned"]),
                    (B, ["not loaded", "it makes room", "recovered"]),
                    (C, ["is loaded and holds", "stayed: it was serving a request"]),
                ):
                    code, out, err = await daemon.cli("why", model)
                    assert code == 0, err
                    assert all(w in out for w in words), out

                await clients.chat(C)  # nobody was cut off: the engine still serves
                code, out, _ = await daemon.cli("status")
                assert code == 0
                assert "alpha" in out

    run(story())


def test_the_idle_watchdog_unloads_one_after_its_own_timeout(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            watch = f'[models.{A}.watchdog]\nidle_timeout = "2s"'
            async with Daemon(tmp_path / "state", config(clients, watch)) as daemon:
                await clients.load(B, A)  # A last: its time runs as soon as it is there
                await daemon.wait_for_models(A, B)
                await daemon.wait_for_models(B)
                assert set(clients.children()) == {B}
                (decision,) = await _done(daemon)
                assert decision["trigger"] == "idle"
                assert decision["outcomes"][0]["model"] == "llama/alpha"
                _, out, _ = await daemon.cli("why", A)
                assert "idle for longer than its timeout" in out

    run(story())


def test_the_limit_of_active_models_holds_and_the_least_recently_used_goes(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            async with Daemon(
                tmp_path / "state", config(clients, LRU, "max_active_backends = 2")
            ) as daemon:
                await clients.load(A, B)
                await daemon.wait_for_models(A, B)
                await clients.chat(A)
                await daemon.wait(lambda s: _idle(s, A) < _idle(s, B))
                await clients.load(C)
                await daemon.wait_for_models(A, C)
                (decision,) = await _done(daemon)
                assert decision["trigger"] == "limit"

                # Asked of Ullage, room is made before the load, not after it.
                code, _, err = await daemon.cli("load", B)
                assert code == 0, err
                await daemon.wait_for_models(B, C)
                newest = (await _done(daemon))[0]
                assert [a["action"] for a in newest["actions"]] == ["evict", "load"]
                assert [o["result"] for o in newest["outcomes"]] == ["done", "done"]

    run(story())


def test_what_was_decided_and_pinned_survives_a_sudden_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            daemon = Daemon(tmp_path / "state", config(clients))
            await daemon.start()
            await clients.load(A, B)
            await daemon.wait_for_models(A, B)
            assert (await daemon.post("pin", {"model": B})).status_code == 200
            assert (await daemon.post("evict", {"models": [A]})).status_code == 200
            assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
            async with daemon:
                state = await daemon.wait_for_models(B)
                assert state["pins"] == ["llama/beta"]
                (decision,) = await _done(daemon)
                assert decision["outcomes"][0]["judgement"]["verdict"] == "recovered"
                refused = await daemon.post("evict", {"models": [B]})
                assert "pinned" in refused.text
                await daemon.wait_for_models(B)

    run(story())


def test_in_advise_mode_it_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            text = config(clients, LRU, 'mode = "advise"', "max_active_backends = 1")
            async with Daemon(tmp_path / "state", text) as daemon:
                await clients.load(A, B)
                await daemon.wait_for_models(A, B)
                for decision in await _done(daemon):  # once, and again if its advice changes
                    assert decision["mode"] == "advise"
                    assert decision["outcomes"][0]["result"] == "skipped"
                    assert "advise" in decision["outcomes"][0]["detail"]
                assert set(clients.children()) == {A, B}

    run(story())


def _model(state: dict[str, Any], name: str) -> dict[str, Any]:
    return next((m for m in state["models"] if m["model"] == name), {"in_flight": None})


def _idle(state: dict[str, Any], name: str) -> float:
    return float(_model(state, name).get("idle", 0.0))


async def _done(daemon: Daemon) -> list[dict[str, Any]]:
    """All decisions, newest first, once those that do something have their outcomes."""
    found: list[dict[str, Any]] = []

    async def complete() -> bool:
        found[:] = (await daemon.get("decisions"))["decisions"]
        return bool(found) and all(d["outcomes"] for d in found if d["actions"])

    async with asyncio.timeout(20):
        while not await complete():
            await asyncio.sleep(POLL)
    return found
