"""Other clients of a real llama-server, by way of the gateway: anthropic, litellm, llm."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.clients.conftest import Stage
from tests.clients.host import TOKEN
from tests.clients.program import CLIENTS, Program, command, environment, needs
from tests.real.test_real_engine import A, B, C

pytestmark = [pytest.mark.slow, pytest.mark.clients]

LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it asks the network for prices


def test_anthropics_own_library(llama: Stage, home: Path) -> None:
    needs("anthropic")
    env = {"ANTHROPIC_BASE_URL": llama.host.url, "ANTHROPIC_API_KEY": TOKEN}

    async def story() -> None:
        async with Program("with_anthropic.py", home, **env) as ai:
            assert (await ai.ask("models"))["ids"] == [A, B, C]
            assert (await ai.ask("model", name=B))["id"] == B
            streamed, seen = await asyncio.gather(
                ai.ask("stream", model=A), ai.ask("chat", model=B)
            )
            assert streamed["text"], streamed
            assert streamed["stopped"] == "max_tokens"
            assert seen["text"], seen
            assert seen["headers"]["x-ullage-model"] == f"llama/{B}"
            assert (await ai.ask("count", model=A))["tokens"] > 3
            assert (await ai.ask("leave", model=A))["pieces"] == 3
            await llama.host.all_ended()

            seen = await ai.ask("chat", model="alhpa")
            assert (seen["error"], seen["status"]) == ("NotFoundError", 404)
            assert "did you mean alpha?" in seen["message"]
            await ai.ask("key", value="wrong")
            seen = await ai.ask("chat", model=A)
            assert (seen["error"], seen["status"]) == ("AuthenticationError", 401)

    llama.play(story())


def test_anthropics_own_library_waits_no_longer_than_it_may(hurried: Stage, home: Path) -> None:
    needs("anthropic")
    env = {"ANTHROPIC_BASE_URL": hurried.host.url, "ANTHROPIC_API_KEY": "any"}

    async def story() -> None:
        router = hurried.host.router
        assert router is not None
        await router.load(A)
        async with Program("with_anthropic.py", home, **env) as ai, hurried.host.working(A):
            seen, streamed = await asyncio.gather(
                ai.ask("chat", model=B), ai.ask("stream", model=B)
            )
            assert seen["status"] == 503
            assert "APIStatusError" in seen["also"]
            assert int(seen["retry_after"]) >= 1
            assert seen["body"]["error"]["type"] == "overloaded_error"
            assert streamed["error"] == "APIStatusError", streamed
            assert streamed["body"]["error"] == seen["body"]["error"]

    hurried.play(story())


def test_litellm(llama: Stage, ollama: Stage, home: Path) -> None:
    needs("litellm")

    async def story() -> None:
        url = llama.host.url
        async with Program("with_litellm.py", home, KEY=TOKEN, **LITELLM) as ai:
            one, other = await asyncio.gather(
                ai.ask("stream", model=f"openai/{A}", base=f"{url}/v1"),
                ai.ask("chat", model=f"anthropic/{B}", base=url),
            )
            assert one["text"], one
            assert other["text"], other
            texts = ["a cask", "its ullage"]
            seen = await ai.ask("embed", model=f"openai/{A}", base=f"{url}/v1", texts=texts)
            assert len(seen["lengths"]) == 2
            seen = await ai.ask("leave", model=f"openai/{A}", base=f"{url}/v1")
            assert seen["pieces"] == 3, seen
            await llama.host.all_ended()
            # It puts its paths behind whatever it is given.
            seen = await ai.ask("chat", model=f"anthropic/{A}", base=f"{url}/")
            assert seen.get("text"), seen
            there = f"{ollama.host.url}/"
            seen = await ai.ask("stream", model="ollama_chat/qwen3:8b", base=there)
            assert seen.get("text") == "the empty space", seen
            seen = await ai.ask("chat", model="openai/alhpa", base=f"{url}/v1")
            assert (seen["error"], seen["status"]) == ("NotFoundError", 404)
            assert "did you mean alpha?" in seen["message"]
            seen = await ai.ask("stream", model="anthropic/alhpa", base=url)
            assert (seen["error"], seen["status"]) == ("NotFoundError", 404)

    llama.play(story())


def test_llm_on_the_command_line(llama: Stage, home: Path) -> None:
    needs("llm")
    # As its documentation has it for servers that speak OpenAI's API.
    (home / "extra-openai-models.yaml").write_text(
        f"- model_id: casks\n  model_name: {A}\n  api_base: {llama.host.url}/v1\n"
        "  api_key_name: ullage\n"
        f"- model_id: typo\n  model_name: alhpa\n  api_base: {llama.host.url}/v1\n"
        "  api_key_name: ullage\n"
    )
    env = environment(home, LLM_USER_PATH=str(home))

    async def llm(*words: str) -> tuple[int, str, str]:
        return await command([CLIENTS / "bin/llm", *words], env)

    async def story() -> None:
        said = ("Say something.", "-o", "max_tokens", "4", "--key", TOKEN)
        code, out, err = await llm("-m", "casks", *said)
        assert code == 0, err
        assert out.strip()
        code, out, err = await llm("-m", "typo", "--no-stream", *said)
        assert code == 1
        assert "did you mean alpha?" in err

    llama.play(story())
