"""Engines are found wherever they were named or usually are, and strangers are left in peace."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from supervisor import scout as module
from supervisor.config.config import EngineConfig
from supervisor.config.served import Launching
from supervisor.core.snapshot import EngineId
from supervisor.engines.wire import client
from supervisor.events import EnginesFound
from supervisor.scout import STRANGER, Scout
from tests.engines.fake import FakeLlamaRouter, FakeOllama


class House:
    """A scout, and what it has posted; it knows no engine yet."""

    def __init__(self, http: Any, *named: EngineConfig, search: bool = False) -> None:
        self.posted: list[EnginesFound] = []
        self.engines: dict[EngineId, Any] = {}
        self.now = 0.0
        self.scout = Scout(http, named, search, self.engines, self.posted.append, lambda: self.now)

    async def look(self) -> EnginesFound:
        await self.scout.look()
        self.engines |= {e.id: e for e in self.posted[-1].engines}
        return self.posted[-1]


def named(id: str, url: str, key: str | None = None) -> EngineConfig:
    return EngineConfig(EngineId(id), None, url, key)


def test_a_named_engine_is_missing_with_its_reason_until_it_is_there() -> None:
    async def story() -> None:
        async with FakeOllama() as server, client() as http:
            await server.stop()
            house = House(http, named("main", server.url))
            found = await house.look()
            ((engine,), ()) = found.missing, found.engines
            assert (engine.id, engine.up) == ("main", False)
            assert engine.fault == "Connection refused; looking again"
            await server.start()
            found = await house.look()
            assert [(e.id, e.kind) for e in found.engines] == [("main", "ollama")]
            assert found.missing == ()
            server.requests.clear()
            assert (await house.look()).engines == ()
            assert server.requests == []  # whoever is known is not asked who it is

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (200, "what answers is no engine that we know; looking again"),
        (401, "401 no; looking again"),
    ],
)
def test_what_is_no_engine_and_what_wants_a_key_are_told_apart(status: int, fault: str) -> None:
    async def story() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, json={"error": "no"}))
        house = House(httpx.AsyncClient(transport=transport), named("x", "http://127.0.0.1:9"))
        assert [e.fault for e in (await house.look()).missing] == [fault]

    asyncio.run(story())


def test_an_engine_of_another_machine_needs_no_kind_and_its_key_is_sent() -> None:
    asked: list[tuple[str, str | None]] = []

    class Far:
        @staticmethod
        async def identify(http: Any, url: str, id: EngineId, key: str | None) -> Any:
            asked.append((url, key))
            return module.Found("ollama", url)

    async def story() -> None:
        async with client() as http:
            house = House(http, named("far", "http://192.0.2.7:11434", "sk"))
            (engine,) = (await house.look()).engines
            assert engine.id == "far"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "identify", Far.identify)
        asyncio.run(story())
    assert asked == [("http://192.0.2.7:11434", "sk")]


def test_a_stranger_on_a_usual_port_is_asked_once_a_minute_and_a_silent_port_each_time() -> None:
    async def story() -> None:
        async with FakeOllama() as stranger, FakeLlamaRouter() as late, client() as http:
            stranger.fault = "garbage"
            await late.stop()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [stranger.url, late.url])
                house = House(http, search=True)
                await house.look()
                asked = len(stranger.requests)
                assert asked > 0
                await late.start()
                (engine,) = (await house.look()).engines
                assert (engine.id, engine.url) == ("llamacpp", late.url)
                assert len(stranger.requests) == asked
                house.now += STRANGER
                stranger.fault = None
                (engine,) = (await house.look()).engines
                assert engine.id == "ollama"

    asyncio.run(story())


def test_what_has_taken_the_port_of_an_engine_that_was_found_is_found_in_its_place() -> None:
    async def story() -> None:
        async with FakeOllama() as first, FakeLlamaRouter() as second, client() as http:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [first.url])
                house = House(http, search=True)
                (old,) = (await house.look()).engines
                await first.stop()
                second.port, second.fault = first.port, "garbage"
                await second.start()
                assert (await house.look()).engines == ()
                assert second.requests == [], "nobody says that something else answers there"
                house.scout.replaceable = lambda: (old.id,)
                assert (await house.look()).engines == ()
                asked, second.fault = len(second.requests), None
                assert asked > 0
                await house.look()
                assert len(second.requests) == asked, "asked once a minute"
                house.now += STRANGER
                (new,) = (await house.look()).engines
                assert (new.id, new.kind, new.url) == ("llamacpp", "llamacpp", old.url)

    asyncio.run(story())


def test_one_that_was_named_without_a_kind_keeps_its_name_and_key_when_its_port_changes_hands():
    async def story() -> None:
        async with FakeOllama() as first, FakeLlamaRouter() as second, client() as http:
            house = House(http, named("main", first.url, "sk"))
            (old,) = (await house.look()).engines
            await first.stop()
            second.port, second.key = first.port, "sk"
            await second.start()
            house.scout.replaceable = lambda: (old.id,)
            (new,) = (await house.look()).engines
            assert (new.id, new.kind, new.url) == ("main", "llamacpp", old.url)
            assert (await new.identify()) is not None, "with the key that it was named with"

    asyncio.run(story())


def test_an_engine_that_was_named_keeps_its_kind_and_one_of_the_same_kind_its_place() -> None:
    async def story() -> None:
        async with FakeOllama() as server, client() as http:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [server.url])
                house = House(http, search=True)
                (old,) = (await house.look()).engines
                house.scout.replaceable = lambda: (old.id,)
                server.requests.clear()
                assert (await house.look()).engines == ()
                assert server.requests != [], "it was started anew, and is what it was"
            told = EngineConfig(EngineId("mine"), "vllm", server.url, None)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [server.url])
                house = House(http, told, search=True)
                await house.look()
                house.scout.replaceable = lambda: (told.id,)
                server.requests.clear()
                assert (await house.look()).engines == ()
                assert server.requests == []

    asyncio.run(story())


def test_the_usual_port_of_an_engine_that_has_a_name_already_is_not_asked() -> None:
    async def story() -> None:
        async with FakeOllama() as server, client() as http:
            other = server.url.replace("127.0.0.1", "localhost")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [server.url])
                house = House(http, named("mine", other), search=True)
                assert [e.id for e in (await house.look()).engines] == ["mine"]
                assert (await house.look()).engines == ()

    asyncio.run(story())


def test_where_our_own_gateway_listens_there_is_no_engine() -> None:
    async def story() -> None:
        async with FakeOllama() as server, client() as http:
            ours: set[int] = {httpx.URL(server.url).port or 0}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [server.url])
                house = House(http, search=True)
                house.scout.ours = lambda: ours
                assert (await house.look()).engines == ()
                assert server.requests == []
                ours.clear()
                assert [e.id for e in (await house.look()).engines] == ["ollama"]

    asyncio.run(story())


def test_where_a_model_answers_that_is_ours_to_start_no_engine_is_looked_for() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["m"]) as server, client() as http:
            other = server.url.replace("127.0.0.1", "localhost")
            table = Launching.model_validate({"served": {"m": {"url": other}}})
            own = EngineConfig(EngineId("own"), "process", "", options=table)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", lambda: [server.url])
                house = House(http, own, search=True)
                house.engines[own.id] = SimpleNamespace(url="")
                assert (await house.look()).engines == ()
            assert server.requests == []

    asyncio.run(story())


@pytest.mark.parametrize(("search", "words"), [(True, "ullage demo"), (False, "detect is off")])
def test_finding_nobody_is_said_once(
    search: bool, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with client() as http:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "usual", list)
                house = House(http, search=search)
                for _ in range(3):
                    await house.look()

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    (record,) = caplog.records
    assert words in record.getMessage()


# -- named while running


def engine(id: str, url: str, **rest: Any) -> EngineConfig:
    found: Any = id
    return EngineConfig(found, "ollama", url, **rest)


@pytest.mark.parametrize(
    ("told", "can"),
    [
        (engine("new", "http://127.0.0.1:2"), True),
        (engine("new", "http://gpu.lan:1"), True),  # another machine's port
        (engine("new", "http://localhost:1"), False),
        (engine("old", "http://127.0.0.1:2"), False),
        (engine("new", "http://127.0.0.1:2", service=("systemd", "o.service")), False),
        (engine("new", "", options=Launching()), False),
    ],
)
def test_who_is_known_or_ours_to_look_after_is_not_taken_up(told: EngineConfig, can: bool) -> None:
    known: Any = {"old": type("Known", (), {"url": "http://127.0.0.1:1"})}
    http: Any = None
    assert Scout(http, (), False, known, lambda event: None).takes(told) is can


def test_one_that_was_taken_up_with_its_kind_is_there_without_being_asked_who_it_is() -> None:
    async def story() -> None:
        posted: list[Any] = []
        async with client() as http:
            scout = Scout(http, (), False, {}, posted.append)
            scout.take([engine("new", "http://127.0.0.1:2", key="sk")])
            await scout.look()
        ((found,), missing) = posted[0].engines, posted[0].missing
        assert (found.id, found.kind, found.url, missing) == (
            "new",
            "ollama",
            "http://127.0.0.1:2",
            (),
        )

    asyncio.run(story())
