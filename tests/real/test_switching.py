"""Single-model mode, switched on while the daemon runs, and a client that moves on: with the real
llama-server, seen in its processes and their memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon import Daemon
from tests.real.test_real_engine import A, B, C, Clients, config, engine, run

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]


async def known(clients: Clients, daemon: Daemon) -> int:
    """Load each of the models once, so that its size is known; they are unloaded again. Bytes of
    the last one's process."""
    size = 0
    for name in (A, B, C):
        await clients.load(name)
        await daemon.wait_for_models(name)
        size = held(clients)[name]
        code, out, err = await daemon.cli("evict", name)
        assert code == 0, out + err
        await daemon.wait_for_models()
    return size


def held(clients: Clients) -> dict[str, int]:
    """What each model's process holds, in bytes, by the kernel's word."""
    return {name: child.memory_info().rss for name, child in clients.children().items()}


async def loads(daemon: Daemon, name: str, **more: str) -> dict[str, Any]:
    reply = await daemon.post("load", {"model": name, **more})
    found: dict[str, Any] = reply.json()
    assert found["ok"], found
    return found


async def settings(daemon: Daemon, *words: str) -> str:
    code, out, err = await daemon.cli("settings", *words)
    assert code == 0, err
    return out


def test_single_model_mode_switched_on_live_holds_for_the_next_load(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            text = config(clients, 'lru_eviction_retry_interval = "100ms"')
            async with Daemon(tmp_path / "state", text) as daemon:
                size = await known(clients, daemon)
                await loads(daemon, A)
                await loads(daemon, B)
                await daemon.wait_for_models(A, B)
                router = psutil.Process(clients.router.pid)

                out = await settings(daemon, "set", "single_model_mode", "true")
                assert "to apply it at once: ullage settings set --apply-now" in out
                before = len(await daemon.decisions())
                await daemon.wait(lambda s: s["uptime"] > 0)
                await clients.chat(A)
                await clients.chat(B)
                await daemon.wait_for_models(A, B)  # nobody left by the switch
                assert len(await daemon.decisions()) == before
                assert sum(held(clients).values()) > 1.5 * size

                again = await loads(daemon, A)  # the same model is a no-op
                assert again["decision"]["actions"] == []
                assert set(held(clients)) == {A, B}

                await loads(daemon, C)
                await daemon.wait_for_models(C)
                assert set(held(clients)) == {C}
                children = sum(c.memory_info().rss for c in router.children())
                assert children < 1.5 * size

                # It holds for the next daemon too, and is taken back by one word.
                await daemon.stop()
                await daemon.start()
                assert "true  (override)" in await settings(daemon, "get", "single_active_backend")
                await settings(daemon, "unset", "single_model_mode")
                await loads(daemon, A)
                await daemon.wait_for_models(A, C)

                # Applied now: whoever has to leave does so at once.
                await settings(daemon, "set", "single_model_mode", "true", "--apply-now")
                state = await daemon.wait(lambda s: len(s["models"]) == 1)
                assert set(held(clients)) == {m["model"] for m in state["models"]}

                code, _, err = await daemon.cli("settings", "set", "max_active_backends", "lots")
                assert (code, "is not a count" in err) == (5, True), err

    run(story())


def test_what_a_client_moves_on_from_gives_its_memory_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as clients:
            text = config(clients, 'unload_on_switch = "engine"')
            async with Daemon(tmp_path / "state", text) as daemon:
                size = await known(clients, daemon)
                await loads(daemon, A, client="agent")
                await loads(daemon, A, client="other")
                await clients.chat(A)
                await loads(daemon, B, client="agent")
                await daemon.wait_for_models(A, B)  # another client holds it
                assert sum(held(clients).values()) > 1.5 * size

                await loads(daemon, B, client="other")
                await daemon.wait_for_models(B)
                assert set(held(clients)) == {B}

                code, out, err = await daemon.cli("load", C, "--client", "agent")
                assert code == 0, out + err
                await daemon.wait_for_models(B, C)  # B is the other's
                async with clients.generating(B):
                    # What comes between our last look and the engine's unload, nobody can spare.
                    await daemon.wait(
                        lambda s: any(m["model"] == B and m["busy"] for m in s["models"])
                    )
                    await loads(daemon, C, client="other")
                    assert B in held(clients)
                await daemon.wait_for_models(C)
                assert set(held(clients)) == {C}
                assert held(clients)[C] < 1.5 * size
                newest = (await daemon.decisions())[-1]
                assert newest["trigger"] == "switch"
                assert "has moved on" in newest["cause"]

    run(story())
