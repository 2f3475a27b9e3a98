"""OpenAI's own libraries, of both languages, ask a real llama-server through the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.clients.conftest import Stage
from tests.clients.host import TOKEN
from tests.clients.program import Program, needs
from tests.real.test_real_engine import A, B, C

pytestmark = [pytest.mark.slow, pytest.mark.clients]

SCRIPTS = {"python": "with_openai.py", "node": "with_openai.cjs"}


@pytest.fixture(params=SCRIPTS)
def language(request: pytest.FixtureRequest) -> str:
    language: str = request.param
    needs("openai", language)
    return language


def client(language: str, stage: Stage, home: Path, key: str = TOKEN) -> Program:
    url = f"{stage.host.url}/v1"
    return Program(SCRIPTS[language], home, OPENAI_BASE_URL=url, OPENAI_API_KEY=key)


def test_models_come_when_they_are_asked(llama: Stage, home: Path, language: str) -> None:
    async def story() -> None:
        async with client(language, llama, home) as ai:
            assert (await ai.ask("models"))["ids"] == [A, B, C]
            assert await ai.ask("model", name=A) == {"id": A, "owner": "llama"}

            # Nothing is loaded: each first request waits for its model, and is told so.
            seen = await ai.ask("comments", model=A)
            assert seen["comments"], seen
            assert seen["comments"][0].startswith(f": ullage: llama/{A} is being loaded")
            assert seen["last"] == "data: [DONE]"
            seen = await ai.ask("chat", model=B)
            assert seen["text"], seen
            assert seen["headers"]["x-ullage-model"] == f"llama/{B}"
            assert float(seen["headers"]["x-ullage-waited"]) > 0

            # The third takes the place of the least recently used one.
            seen = await ai.ask("stream", model=C)
            assert seen["text"], seen
            await llama.host.daemon.wait_for_models(B, C)
            seen = await ai.ask("chat", model=C)
            assert seen["headers"] == {"x-ullage-model": f"llama/{C}"}

    llama.play(story())


def test_all_ways_to_ask_a_model_that_is_there(llama: Stage, home: Path, language: str) -> None:
    async def story() -> None:
        async with client(language, llama, home) as ai:
            # Two that are not there, at once.
            one, other = await asyncio.gather(
                ai.ask("stream", model=A, tokens=20), ai.ask("chat", model=B, tokens=20)
            )
            assert one["text"], one
            assert other["text"], other
            one, other = await asyncio.gather(
                ai.ask("stream", model=A, tokens=20), ai.ask("stream", model=B, tokens=20)
            )
            assert one["pieces"] > 3
            assert other["pieces"] > 3

            assert (await ai.ask("complete", model=A))["text"]
            assert (await ai.ask("respond", model=A))["text"]
            seen = await ai.ask("respond_stream", model=A)
            assert (seen["first"], seen["last"]) == ("response.created", "response.completed")
            seen = await ai.ask("embed", model=B, texts=["a cask", "its ullage"])
            assert len(seen["lengths"]) == 2
            assert min(seen["lengths"]) == max(seen["lengths"]) > 100

            # Who leaves in the middle is noticed, and its model is not at work any more.
            gone = await llama.host.daemon.metric("ullage_request_clients_gone_total")
            assert (await ai.ask("leave", model=A))["pieces"] == 3
            await llama.host.all_ended()
            now = await llama.host.daemon.metric("ullage_request_clients_gone_total")
            assert now == gone + 1
            assert (await ai.ask("chat", model=A))["text"]

    llama.play(story())


def test_errors_are_those_that_the_library_knows(llama: Stage, home: Path, language: str) -> None:
    async def story() -> None:
        async with client(language, llama, home) as ai:
            seen = await ai.ask("chat", model="alhpa")
            assert (seen["error"], seen["status"]) == ("NotFoundError", 404)
            assert seen["code"] == "model_not_found"
            assert "did you mean alpha?" in seen["message"]
            assert await ai.ask("stream", model="alhpa") == seen
            assert (await ai.ask("model", name="alhpa"))["error"] == "NotFoundError"
            assert (await ai.ask("chat", model=""))["error"] == "BadRequestError"
            await ai.ask("key", value="wrong")
            seen = await ai.ask("chat", model=A)
            assert (seen["error"], seen["status"]) == ("AuthenticationError", 401)
            assert (await ai.ask("models"))["error"] == "AuthenticationError"
        assert await llama.host.daemon.models() == {}, "a model was loaded for an error"

    llama.play(story())


def test_who_has_waited_too_long_is_told_when_to_come_again(
    hurried: Stage, home: Path, language: str
) -> None:
    async def story() -> None:
        router = hurried.host.router
        assert router is not None
        await router.load(A)
        async with client(language, hurried, home, key="any") as ai, hurried.host.working(A):
            seen, streamed = await asyncio.gather(
                ai.ask("chat", model=B), ai.ask("stream", model=B)
            )
            assert (seen["error"], seen["status"]) == ("InternalServerError", 503)
            assert {"APIStatusError", "APIError"} & set(seen["also"])
            assert int(seen["retry_after"]) >= 1
            assert seen["code"] == "model_wait_timeout"
            assert "as many models are active as may be (host)" in seen["message"]
            # A stream that has begun to tell how it stands ends with the error as an event.
            assert streamed["error"] == "APIError", streamed
            assert streamed["code"] == "model_wait_timeout"

    hurried.play(story())
