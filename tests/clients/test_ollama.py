"""Ollama's own libraries, of both languages: the gateway stands where Ollama stood."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.clients.conftest import Stage
from tests.clients.program import Program, needs

pytestmark = [pytest.mark.slow, pytest.mark.clients]

SCRIPTS = {"python": "with_ollama.py", "node": "with_ollama.cjs"}
QWEN, GEMMA, OTHER = "qwen3:8b", "gemma3:4b", "a"


@pytest.fixture(params=SCRIPTS)
def language(request: pytest.FixtureRequest) -> str:
    language: str = request.param
    needs("ollama", language)
    return language


def client(language: str, stage: Stage, home: Path) -> Program:
    return Program(SCRIPTS[language], home, OLLAMA_HOST=stage.host.url)


def test_models_of_the_whole_host_come_and_go(ollama: Stage, home: Path, language: str) -> None:
    async def story() -> None:
        host = ollama.host
        assert host.fake is not None
        async with client(language, ollama, home) as ai:
            assert (await ai.ask("models"))["ids"] == [OTHER, GEMMA, QWEN]
            assert (await ai.ask("ps"))["loaded"] == {}
            shown = await ai.ask("show", model=QWEN)
            assert shown == {"family": "qwen3", "capabilities": ["completion", "tools"]}
            assert await host.daemon.models() == {}, "to tell of a model is not to load it"
            if language == "node":
                assert (await ai.ask("version"))["version"] == "0.32.15"

            one, other = await asyncio.gather(
                ai.ask("stream", model=QWEN), ai.ask("chat", model=GEMMA)
            )
            assert one == {"text": "the empty space", "pieces": 4}
            assert other["text"] == "the empty space"
            reply = await host.daemon.post("load", {"model": OTHER})
            assert reply.status_code == 200, reply.text
            await host.daemon.wait_for_models(QWEN, GEMMA, OTHER)
            seen = (await ai.ask("ps"))["loaded"]
            assert seen.keys() == {QWEN, GEMMA, OTHER}
            assert seen[QWEN] == host.fake.sizes[QWEN]

            seen = await ai.ask("generate", model=QWEN)
            assert seen == {"text": "the empty space", "why": "stop"}
            seen = await ai.ask("embed", model=QWEN, texts=["a cask", "its ullage"])
            assert seen["lengths"] == [3, 3]

            assert (await ai.ask("unload", model=QWEN, chats=False))["why"] == "unload"
            await host.daemon.wait_for_models(GEMMA, OTHER)
            calls = len(host.fake.requests)
            assert (await ai.ask("unload", model=QWEN, chats=True))["why"] == "unload"
            assert all(call[0].startswith("GET") for call in host.fake.requests[calls:])
            assert (await ai.ask("load", model=QWEN))["why"] == "load"
            await host.daemon.wait_for_models(GEMMA, OTHER, QWEN)
            # The client's own word goes on to Ollama.
            assert host.fake.calls("POST /api/generate")[-1]["keep_alive"] == "10m"

    ollama.play(story())


def test_who_leaves_and_who_errs(ollama: Stage, home: Path, language: str) -> None:
    async def story() -> None:
        host = ollama.host
        assert host.fake is not None
        async with client(language, ollama, home) as ai:
            host.fake.gate.clear()
            try:
                assert (await ai.ask("leave", model=QWEN))["pieces"] == 1
                await host.all_ended()
            finally:
                host.fake.gate.set()

            for how in ("chat", "stream", "generate", "show"):
                seen = await ai.ask(how, model="qwen3:7b")
                assert (seen["error"], seen["status"]) == ("ResponseError", 404), seen
                assert f"did you mean {QWEN}" in seen["message"]
            # One of an engine that does not speak Ollama's API: told where to ask instead.
            seen = await ai.ask("chat", model=OTHER)
            assert (seen["error"], seen["status"]) == ("ResponseError", 400)
            assert "/v1/chat/completions" in seen["message"]
            seen = await ai.ask("pull", model="qwen3:0.6b")
            assert (seen["error"], seen["status"]) == ("ResponseError", 403)
            assert "manage = true" in seen["message"]
            assert host.fake.calls("POST /api/pull") == []

    ollama.play(story())
