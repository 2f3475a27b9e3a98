"""The doctor: what every engine's habits are, and what to set, whatever one of them does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from supervisor import doctor as module
from supervisor.core.snapshot import EngineId, Installed, ModelId, Snapshot
from supervisor.doctor import UNTRACED, Advice, examine
from supervisor.engines.base import EngineConfused, Habit
from tests.builders import engine, machine, ref


class Engine:
    def __init__(self, name: str, *habits: Habit, error: Exception | None = None) -> None:
        self.id, self._habits, self._error = EngineId(name), habits, error

    async def habits(self) -> tuple[Habit, ...]:
        if self._error is not None:
            raise self._error
        return self._habits


def world(*names: str, down: str = "") -> Snapshot:
    engines = tuple(engine(n, "no answer within 2 s" if n == down else None) for n in names)
    return machine(free=1, engines=engines)


def ask(snapshot: Snapshot, *engines: Any) -> list[tuple[str, str]]:
    found = asyncio.run(examine(engines, snapshot))
    assert all(isinstance(a, Advice) and a.remedy for a in found)
    return [(a.about, a.what) for a in found]


def test_each_habit_is_told_of_its_engine_or_its_model_in_order() -> None:
    a = Engine("a", Habit("it forgets", "set X", ModelId("m")), Habit("it unloads", "set Y"))
    assert ask(world("a", "b"), Engine("b", Habit("it naps", "set Z")), a) == [
        ("a", "it unloads"),
        ("a/m", "it forgets"),
        ("b", "it naps"),
    ]


def test_an_engine_that_fails_at_it_costs_nobody_elses_answer() -> None:
    confused = EngineConfused("a", "GET /x", "not JSON")
    for error, word in ((confused, "not JSON"), (KeyError("x"), "KeyError")):
        found = ask(world("a", "b"), Engine("a", error=error), Engine("b", Habit("naps", "no")))
        assert [about for about, _ in found] == ["a", "b"]
        assert word in found[0][1]


def test_an_engine_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.01)

    class Hangs(Engine):
        async def habits(self) -> tuple[Habit, ...]:
            await asyncio.Event().wait()
            raise AssertionError

    ((about, what),) = ask(world("a"), Hangs("a"))
    assert (about, what.endswith("no answer within 0.01 s")) == ("a", True)


def test_an_engine_that_is_down_is_said_to_be_and_not_asked() -> None:
    found = ask(world("a", down="a"), Engine("a", error=RuntimeError("asked")))
    assert found == [("a", "it is not heard: no answer within 2 s")]


def test_a_model_that_ended_by_itself_is_named_with_its_log() -> None:
    crashed = Installed(ref("m", "a"), trouble="ended with exit code 1")
    found = asyncio.run(examine((), replace(world("a"), installed=(crashed,))))
    assert [(a.about, a.what) for a in found] == [("a/m", "ended with exit code 1")]
    assert "ullage logs a/m" in found[0].remedy


def test_an_engine_whose_process_nobody_knows_is_told_of_while_it_answers() -> None:
    untraced = {EngineId("a"), EngineId("b"), EngineId("gone")}
    found = asyncio.run(examine((), world("a", "b", "c", down="b"), untraced))
    assert [(a.about, a.what) for a in found] == [
        ("a", UNTRACED),
        ("b", "it is not heard: no answer within 2 s"),
    ]
    assert "CAP_DAC_READ_SEARCH" in found[0].remedy
