"""What a fleet asks of this host: its word, and offers that change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.reading import RAM, gib
from supervisor.core.record import Mode
from supervisor.core.snapshot import Installed, State
from supervisor.fleet.words import read_offer, read_word
from supervisor.neighbours import Neighbours
from supervisor.web.server import Site
from tests.builders import engine, ref, resident

from .fakes import API, GPU, World, early, gateway
from .fleeting import FLEET, GEMMA, OFFERS, offer, play
from .measured import neighbours

# -- its word


def test_a_hosts_word_tells_its_pools_and_models_and_where_its_gateway_is() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        made.loop.traffic.waiting[ref("gemma3:4b")] = 2
        return (await http.get(f"{API}/fleet/word")).json()

    word = read_word(play(story, gateway=gateway()))
    assert (word.host, word.version, word.address) == ("gpu1", "1.2.3", FLEET.address)
    assert (word.rests, word.number) == (None, 0)
    spaces = {s.pool: s for s in word.spaces}
    assert set(spaces) == {GPU, RAM}
    assert spaces[GPU].total == gib(24)
    assert spaces[GPU].headroom == gib(20) - gib(15)  # what its budget leaves
    models = {f"{m.engine}/{m.name}": m for m in word.models}
    assert models["ollama/qwen3:8b"].ready
    assert models["ollama/llama3:70b"].in_flight == 1
    gemma = models[GEMMA]
    assert (gemma.status, gemma.ready, gemma.size, gemma.waiting) == ("local", False, gib(3), 2)


def test_each_start_has_an_epoch_of_its_own_and_keeps_it() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> list[str]:
        return [(await http.get(f"{API}/fleet/word")).json()["epoch"] for _ in range(2)]

    first, second = play(story), play(story)
    assert first[0] == first[1]
    assert first[0] != second[0]


def test_before_the_first_sample_there_is_nothing_to_say() -> None:
    assert early(f"{API}/fleet/word").status_code == 503


def test_a_host_whose_gateway_does_not_listen_has_no_address_for_others() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return (await http.get(f"{API}/fleet/word")).json()["address"]

    assert play(story) is None  # there is no gateway at all


def test_a_host_that_is_drained_rests_and_has_nothing_ready() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        assert (await http.post(f"{API}/drain", json={})).status_code == 200
        return (await http.get(f"{API}/fleet/word")).json()

    word = play(story)
    assert word["rests"] == "it is drained"
    assert not any(m["ready"] for m in word["models"])


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.OBSERVE])
def test_a_host_that_loads_nothing_still_serves_what_is_ready(mode: Mode) -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return (await http.get(f"{API}/fleet/word")).json()

    word = play(story, mode=mode)
    assert word["rests"] is None
    assert any(m["ready"] for m in word["models"])


def test_a_host_with_no_pool_that_can_be_read_rests() -> None:
    world = World()
    world.blind = {GPU: "the driver is gone", RAM: "no /proc/meminfo"}

    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return (await http.get(f"{API}/fleet/word")).json()

    word = play(story, world)
    assert (word["rests"], word["spaces"]) == ("it has no pool that can be read", [])


def test_a_name_that_is_no_text_is_left_out_of_the_word() -> None:
    world = World()
    world.installed += [Installed(ref("\x1b[2J"), gib(1)), Installed(ref("x" * 2000), gib(1))]

    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return (await http.get(f"{API}/fleet/word")).json()

    word = read_word(play(story, world))
    assert "gemma3:4b" in {m.name for m in word.models}
    assert all(m.name.isprintable() and len(m.name) < 100 for m in word.models)


# -- offers


def test_a_model_that_is_there_is_offered_at_once_and_for_nothing() -> None:
    found = read_offer(play(lambda http, _: offer(http, "qwen3:8b")))
    assert (found.ready, found.fits, found.loss, found.wait) == (True, True, 0.0, 0.0)
    assert (found.model, found.valid) == ("ollama/qwen3:8b", 10.0)


def test_an_offer_tells_what_a_load_takes_and_changes_nothing() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        told = await offer(http)
        assert made.loop.journal.decisions(10) == []
        assert not made.loop.reservations
        assert made.loop.journal.audit.find(9) == []
        return told

    found = read_offer(play(story))
    assert (found.ready, found.fits, found.leaves) == (False, True, ())
    assert found.size >= gib(3)
    assert found.wait > 0


def test_who_would_leave_for_it_is_its_loss() -> None:
    world = World()
    world.installed.append(Installed(ref("big"), gib(9)))
    found = read_offer(play(lambda http, _: offer(http, "big"), world))
    assert found.fits
    assert found.leaves == ("ollama/qwen3:8b",)
    assert found.loss > 0


def test_what_can_never_fit_is_told_with_what_is_in_its_way() -> None:
    world = World()
    world.installed.append(Installed(ref("huge"), gib(99)))
    found = read_offer(play(lambda http, _: offer(http, "huge"), world))
    assert not found.fits
    assert found.why.startswith(f"it needs about 118.8 GiB of {GPU}, models may hold 20.0 GiB")


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.OBSERVE])
def test_a_host_that_loads_nothing_offers_only_what_is_there(mode: Mode) -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return await offer(http), await offer(http, "qwen3:8b")

    absent, there = play(story, mode=mode)
    assert (absent["fits"], there["fits"]) == (False, True)
    assert f"the mode is {mode.value}" in absent["why"]


def test_of_several_engines_that_have_it_the_best_is_offered() -> None:
    world = World()
    world.installed += [Installed(ref("gemma3:4b", "llamacpp"), gib(3))]  # which is down
    assert play(lambda http, _: offer(http), world)["model"] == GEMMA


def test_nobody_is_offered_who_is_not_known_here() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return await http.post(OFFERS, json={"model": "gemma3:40b"})

    reply = play(story)
    assert reply.status_code == 404
    assert reply.json()["closest"][0].endswith("gemma3:4b")


def test_a_sleeping_model_is_offered_with_what_it_takes_to_wake_it() -> None:
    world = World()
    world.residents = [replace(resident("qwen3:8b", 0, pool=GPU), state=State.SLEEPING)]
    world.installed = [Installed(ref("qwen3:8b"), gib(6))]
    found = read_offer(play(lambda http, _: offer(http, "qwen3:8b"), world))
    assert (found.ready, found.fits) == (False, True)
    assert found.wait > 0


@pytest.mark.parametrize(
    ("fault", "able", "said"),
    [
        ("GET /models: refused", True, "llamacpp does not answer: GET /models: refused"),
        (None, False, "llamacpp cannot be told to load a model"),
    ],
)
def test_what_its_engine_cannot_load_now_is_not_offered(
    fault: str | None, able: bool, said: str
) -> None:
    world = World()
    world.engines = (engine("llamacpp", fault, able=able),)
    world.installed = [Installed(ref("gemma3:4b", "llamacpp"), gib(3))]
    found = read_offer(play(lambda http, _: offer(http), world))
    assert (found.fits, found.why) == (False, said)


# -- the others, on the plain page and in the state


def test_the_plain_page_has_the_fleet_where_there_is_one() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> tuple[str, Any]:
        return (await http.get("/plain")).text, (await http.get(f"{API}/state")).json()["fleet"]

    page, state = play(story, neighbours=neighbours(trouble=("<b>gpu2</b> is silent",)))
    assert "<caption>Fleet</caption>" in page
    assert "&lt;b&gt;gpu2&lt;/b&gt; is silent." in page
    assert [host["host"] for host in state["hosts"]] == ["gpu1", "gpu2", "gpu3"]
    lost = Neighbours(FLEET, fault="the agent at /x: no answer within 2 s")
    page, state = play(story, neighbours=lost)
    assert "<p>Fleet: the agent at /x: no answer within 2 s.</p>" in page
    assert state["hosts"] == []
    page, state = play(story)
    assert ("Fleet" in page, state) == (False, None)


def test_an_alias_is_offered_as_the_first_model_that_is_ready_or_else_that_fits() -> None:
    aliases = {
        "chat": ("nosuch", "gemma3:4b", "qwen3:8b"),
        "small": ("nosuch", "gemma3:4b"),
        "qwen3:8b": ("gemma3:4b",),  # it hides the model of that name, as in the gateway
        "none": ("nosuch", "nobody"),
    }

    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        found = [(await offer(http, name))["model"] for name in ("chat", "small", "qwen3:8b")]
        return found, await http.post(OFFERS, json={"model": "none"})

    found, unknown = play(story, aliases=aliases)
    assert found == ["ollama/qwen3:8b", GEMMA, GEMMA]
    assert unknown.status_code == 404
    assert "nosuch" in unknown.json()["detail"]
