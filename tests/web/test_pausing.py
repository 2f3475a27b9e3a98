"""The routes of a pause and of drained engines, and what the state and `why` say of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.builders import resident
from tests.web.fakes import API, EPOCH, GPU, World, get, play

PAUSE, DRAIN = f"{API}/pause", f"{API}/drain"


async def state(http: httpx.AsyncClient) -> Any:
    found = (await http.get(f"{API}/state")).json()
    return found["paused"], found["drained"]


async def why(http: httpx.AsyncClient) -> str:
    answer = await http.get(f"{API}/why?model=qwen3:8b")
    return "\n".join(answer.json()["sentences"])


def test_a_pause_begins_is_shown_everywhere_and_ends() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        assert await state(http) == (None, [])
        assert (await http.get(PAUSE)).json() == {"paused": None, "sentences": []}
        begun = await http.post(PAUSE, json={"for": "10m"})
        text = "paused for 10 min more: only what is asked for is done; `ullage continue` ends it"
        said = {"paused": {"until": EPOCH + 600}, "sentences": [text]}
        assert (begun.status_code, begun.json()) == (200, said)
        assert (await http.get(PAUSE)).json() == said
        assert await state(http) == ({"until": EPOCH + 600}, [])
        assert text in await why(http)
        await http.post(PAUSE, json={})  # from now on without an end
        assert await state(http) == ({"until": None}, [])
        for _ in range(2):
            ended = await http.delete(PAUSE)
            assert (ended.status_code, ended.json()) == (200, {"paused": None, "sentences": []})
        assert await state(http) == (None, [])
        assert "paused" not in await why(http)

    play(story)


def test_an_engine_is_drained_and_takes_requests_again() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        begun = await http.post(DRAIN, json={"engine": "ollama", "for": "1h", "unload": False})
        row = {"engine": "ollama", "until": EPOCH + 3600, "in_flight": 1}
        text = "ollama is drained for 60 min more: it takes no requests and no loads; "
        text += "`ullage undrain` ends it"
        assert begun.json() == {"drained": [row], "sentences": [text]}
        assert await state(http) == (None, [row])
        assert text in await why(http)
        refused = await http.post(f"{API}/load", json={"model": "gemma3:4b"})
        assert refused.status_code == 409
        assert refused.json()["detail"] == f"ollama/gemma3:4b is not loaded: {text}"
        await http.post(DRAIN, json={"engine": "llamacpp"})
        assert [r["engine"] for r in (await state(http))[1]] == ["llamacpp", "ollama"]
        ended = await http.delete(DRAIN, params={"engine": "ollama"})
        assert [r["engine"] for r in ended.json()["drained"]] == ["llamacpp"]
        again = await http.delete(DRAIN, params={"engine": "ollama"})
        assert again.status_code == 200  # as it was wanted
        assert (await http.delete(DRAIN)).json() == {"drained": [], "sentences": []}

    play(story)


def test_every_engine_is_drained_at_once_and_only_all_of_them_come_back() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        begun = await http.post(DRAIN, json={"engine": None})
        assert begun.json()["drained"] == [{"engine": None, "until": None, "in_flight": 1}]
        assert begun.json()["sentences"][0].startswith("every engine is drained: it takes no")
        one = await http.delete(DRAIN, params={"engine": "ollama"})
        assert one.status_code == 409
        assert "`ullage undrain` ends that for all of them" in one.json()["detail"]
        assert (await http.delete(DRAIN)).json()["drained"] == []

    play(story)


def test_who_is_pinned_stays_and_it_is_said_what_to_do() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        await http.post(f"{API}/pin", json={"model": "qwen3:8b"})
        told = (await http.post(DRAIN, json={"engine": "ollama"})).json()["sentences"]
        assert told[1:] == [
            "ollama/qwen3:8b stays: it is pinned; `ullage unpin ollama/qwen3:8b` lets it go"
        ]
        keeps = (await http.post(DRAIN, json={"engine": "ollama", "unload": False})).json()
        assert len(keeps["sentences"]) == 1

    play(story)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (PAUSE, {"for": "soon"}, "for: "),
        (PAUSE, {"for": 0}, "for: "),
        (PAUSE, {"fro": "10m"}, "did you mean for?"),
        (DRAIN, {"engin": "ollama"}, "did you mean engine?"),
        (DRAIN, {"engine": ""}, "engine: "),
        (DRAIN, {"engine": "ollama", "unload": "yes"}, "unload: "),
    ],
)
def test_what_is_asked_wrongly_is_refused_and_changes_nothing(
    path: str, body: Any, says: str
) -> None:
    async def story(http: httpx.AsyncClient) -> None:
        answer = await http.post(path, json=body)
        assert answer.status_code == 422
        assert says in answer.text
        assert await state(http) == (None, [])

    play(story)


def test_an_engine_that_nobody_knows_is_refused_with_the_closest_name() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        for answer in (
            await http.post(DRAIN, json={"engine": "olama"}),
            await http.delete(DRAIN, params={"engine": "olama"}),
        ):
            assert answer.status_code == 404
            assert answer.json()["closest"][0] == "ollama"
        assert await state(http) == (None, [])

    play(story)


def test_requests_whose_number_nobody_knows_count_as_one() -> None:
    world = World()
    world.hold(resident("a", 4, pool=GPU, busy=3), resident("b", 4, pool=GPU))
    world.residents.append(replace(resident("c", 4, pool=GPU, busy=1), in_flight=None))
    other = resident("d", 4, pool=GPU, engine="llamacpp", busy=1)
    world.residents.append(replace(other, in_flight=5))

    async def story(http: httpx.AsyncClient) -> None:
        await http.post(DRAIN, json={"engine": None})
        begun = await http.post(DRAIN, json={"engine": "ollama"})
        assert [row["in_flight"] for row in begun.json()["drained"]] == [7, 2]

    play(story, world)


def test_it_is_all_described() -> None:
    paths = get(f"{API}/openapi.json").json()["paths"]
    assert set(paths[PAUSE]) == set(paths[DRAIN]) == {"get", "post", "delete"}
