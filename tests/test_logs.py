"""`ullage logs`: through the door, the API and the command line, to a terminal that is not hurt."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from supervisor import door as door_module
from supervisor.cli import logs as logs_cli
from supervisor.cli.logs import added
from supervisor.core.snapshot import EngineId, ModelId
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.engines.ollama import Ollama
from tests.canned import running as daemon_with
from tests.canned import ullage
from tests.web.fakes import FakeEngine, World, running, site

WROTE = tuple(f"line {n}" for n in range(100))
PATH = "/api/v1/logs"


def asked(query: str, *, does: Any = None) -> httpx.Response:
    """What the API answers, with an engine whose model qwen3:8b wrote WROTE."""

    async def logs(model: ModelId, lines: int) -> tuple[str, ...]:
        assert model == "qwen3:8b"
        if isinstance(does, Exception):
            raise does
        if does is not None:
            await does()
        return WROTE[-lines:]

    async def told() -> httpx.Response:
        world = World()
        here = site(world)
        engine: Any = FakeEngine(world, "ollama")
        engine.logs = logs
        here.loop.executor.engines["ollama"] = engine  # type: ignore[index]
        async with running(here) as http:
            return await http.get(f"{PATH}?{query}")

    return asyncio.run(told())


def test_the_last_lines_of_a_model_are_told_under_its_full_name() -> None:
    reply = asked("model=qwen3:8b&lines=2")
    assert reply.status_code == 200
    assert reply.json() == {"model": "ollama/qwen3:8b", "lines": ["line 98", "line 99"]}
    assert len(asked("model=qwen3:8b").json()["lines"]) == 50
    assert len(asked("model=ollama/qwen3:8b&lines=10000").json()["lines"]) == 100


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("", 422, "model: is missing"),
        ("model=qwen3:8b&lines=0", 422, 'lines: a whole number from 1 to 10000, not "0"'),
        ("model=qwen3:8b&lines=x", 422, "lines: a whole number"),
        ("model=qwen3:8b&line=5", 422, "no parameter is called 'line'"),
        ("model=qwen4", 404, "no model is called 'qwen4'; did you mean"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(query: str, status: int, detail: str) -> None:
    reply = asked(query)
    assert reply.status_code == status
    assert detail in reply.json()["detail"]


@pytest.mark.parametrize(
    "error",
    [
        EngineRefused("ollama", "show the log of qwen3:8b", "Ollama cannot be told to do that"),
        EngineDown("ollama", "GET /logs", "Connection refused"),
    ],
)
def test_an_engine_that_has_no_log_to_show_is_named_with_its_reason(error: Exception) -> None:
    reply = asked("model=qwen3:8b", does=error)
    assert reply.status_code == 409
    assert reply.json()["detail"] in str(error)


def test_of_an_engine_that_others_start_it_is_told_whose_log_that_is() -> None:
    async def told() -> str:
        async with httpx.AsyncClient() as client:
            engine = Ollama(EngineId("ollama"), "http://127.0.0.1:1", client, None)
            with pytest.raises(EngineRefused) as refused:
                await engine.logs(ModelId("qwen3:8b"), 5)
            return refused.value.message

    found = asyncio.run(told())
    assert found == "Ollama writes that itself; Ullage keeps it of models that it has started"


def test_a_log_that_cannot_be_had_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door_module, "LOGS_TIMEOUT", 0.01)
    reply = asked("model=qwen3:8b", does=asyncio.Event().wait)
    assert reply.status_code == 409
    assert "cannot be had in time" in reply.json()["detail"]


# -- the command


def test_the_command_shows_them_harmless_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_with() as daemon:
        monkeypatch.setenv("ULLAGE_URL", daemon.address)
        daemon.say(PATH, {"model": "own/m", "lines": ["one", "\x1b[2Jtwo", "three\u202e"]})
        result = ullage("logs", "m", "-n", "2")
        assert result.exit_code == 0
        assert result.stdout == "\\x1b[2Jtwo\nthree\\u202e\n"
        assert '"lines"' in ullage("logs", "m", "--json").stdout
        assert ullage("logs", "m", "--json", "-f").exit_code == 2
        assert ullage("logs", "m", "-n", "0").exit_code == 2


def test_following_shows_what_is_added_until_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = [["a", "b", "c"], ["c", "d", "e"], ["x"]]

    with daemon_with() as daemon:

        def sleep(_: float) -> None:
            if not later:
                raise KeyboardInterrupt
            daemon.say(PATH, {"model": "own/m", "lines": later.pop(0)})

        monkeypatch.setenv("ULLAGE_URL", daemon.address)
        monkeypatch.setattr(logs_cli, "time", type("T", (), {"sleep": staticmethod(sleep)}))
        daemon.say(PATH, {"model": "own/m", "lines": ["a", "b"]})
        result = ullage("logs", "-f", "m", "-n", "1")
        assert result.exit_code == 0
        assert result.stdout.split() == ["b", "c", "d", "e", "x"]


def test_a_daemon_that_is_started_anew_is_followed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_with() as daemon:
        turns = 0

        def sleep(_: float) -> None:
            nonlocal turns
            turns += 1
            if turns == 1:
                daemon.say(PATH, {"detail": "not yet"}, 503)
            elif turns == 2:
                daemon.say(PATH, {"model": "own/m", "lines": ["a", "b"]})
            else:
                raise KeyboardInterrupt

        monkeypatch.setenv("ULLAGE_URL", daemon.address)
        monkeypatch.setattr(logs_cli, "time", type("T", (), {"sleep": staticmethod(sleep)}))
        daemon.say(PATH, {"model": "own/m", "lines": ["a"]})
        assert ullage("logs", "-f", "m").stdout.split() == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ([], ["a"], ["a"]),
        (["a"], ["a"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b"], ["b", "c", "d"], ["c", "d"]),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        (["a", "a", "a"], ["a", "a", "a", "b"], ["b"]),
        (["a", "b", "a"], ["a", "b", "a", "c"], ["c"]),
        (["a"], [], []),
    ],
)
def test_what_is_new_is_what_follows_all_that_is_known(
    before: list[str], now: list[str], new: list[str]
) -> None:
    assert added(before, now) == new


def test_a_thousand_lines_that_are_all_alike_are_compared_in_no_time() -> None:
    began = time.process_time()
    assert added(["x"] * 1000, ["x"] * 1000) == []
    added(["x"] * 1000, ["x"] * 999 + ["y"])
    assert time.process_time() - began < 1.0
