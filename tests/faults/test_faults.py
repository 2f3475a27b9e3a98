"""A little of the bench, so that it stays able to find what it looks for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import plain, scorecard
from tests.faults.all import FAULTS, MODULES
from tests.faults.history import Call, Deed, History, Life, Memory, Request, Trouble
from tests.faults.invariants import check
from tests.faults.registry import Fault, Score, score
from tests.nvml.fake_nvml import GIB

SOME = {
    "SIGKILL of the daemon": 2,
    "a process of ours is killed while it loads": 1,
    "the wall clock is set": 1,
    "a model of ours takes more than its control group has": 1,
    "the disk may only be read as the daemon starts": 1,
}
DECIDED = [{"mode": "enforce", "rooms": [], "trigger": "demand"}]


def named(name: str) -> Fault:
    (found,) = [f for f in FAULTS if f.name == name]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_what_breaks_is_survived(name: str, tmp_path: Path, nvml_library: Path) -> None:
    found = asyncio.run(score(named(name), SOME[name], tmp_path / "f", nvml_library, seed=7))
    if found.skipped is not None:
        pytest.skip(found.skipped)
    assert found.violations == []
    assert found.runs == SOME[name]
    assert found.endings["whole"] > 0
    assert found.looks > 0
    assert found.wishes > 0


def test_no_two_faults_have_one_name() -> None:
    names = [f.name for f in FAULTS]
    assert len(set(names)) == len(names)
    assert all(fault.story.__module__ in {m.__name__ for m in MODULES} for fault in FAULTS)


def test_what_is_done_to_a_plain_engine_is_done_to_ours() -> None:
    assert plain.PLAIN.keys() <= {f.name for f in FAULTS}


def test_the_scorecard_is_put_into_a_document_in_place_of_the_one_before(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(f"Above.\n\n{scorecard.BEGIN}\nold\n{scorecard.END}\n\nBelow.\n")
    one = Score("the disk is slow", runs=4, seconds=[0.25, 1.5, 0.5], requests=1234, orders=9)
    for found in (Score("another"), one):
        scorecard.publish([found], document)
    text = document.read_text()
    assert "old" not in text
    assert "another" not in text
    assert text.startswith("Above.\n\n<!--")
    assert text.endswith("-->\n\nBelow.\n")
    assert "| the disk is slow | 4 | 0 | 0.50 s | 1.50 s |  |" in text
    assert "Faults: 1, runs: 4, requests: 1,234, orders: 9." in text


def test_a_document_without_a_place_for_the_scorecard_is_left_as_it_is(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("Nothing.\n")
    with pytest.raises(ValueError, match="no place for the scorecard"):
        scorecard.publish([], document)
    assert document.read_text() == "Nothing.\n"


# -- and the checks would see it


def history() -> History:
    found = History(settle=1.0, reserve=GIB, total=24 * GIB)
    found.lives.append(Life(1, 0.0, 0.5))
    return found


def call(kind: str, model: str, began: float, **more: object) -> Call:
    was = "gone" if kind == "load" else "loaded"
    usual = Call(
        "o", kind, model, began, 0, 0, was, 7 * GIB, 20 * GIB, False, False, DECIDED, began + 0.1
    )
    return replace(usual, **more)  # type: ignore[arg-type]


def request(**more: object) -> Request:
    return replace(Request(1, "a", "o", 1.0, 2.0, 200, "whole", 1), **more)  # type: ignore[arg-type]


BROKEN: dict[str, tuple[list[Call], list[Request], list[Trouble]]] = {
    "I1: o/a at 1.00 is pinned": ([call("unload", "a", 1.0, pinned=True)], [], []),
    "I1: o/a at 1.00 is leased": ([call("unload", "a", 1.0, leased=True)], [], []),
    "I1: o/a at 1.00 serves 2": ([call("unload", "a", 1.0, busy=2)], [], []),
    "I2: unload of o/a at 9.00": (
        [call("unload", "a", 9.0)],
        [],
        [Trouble("dark", 1.0, dark=True, lifted=10.0)],
    ),
    "I3: load of o/b at 1.05 during load of o/a": (
        [call("load", "a", 1.0), call("load", "b", 1.05)],
        [],
        [],
    ),
    "I3: o/a at 1.00 is told to load, and is loading": (
        [call("load", "a", 1.0, was="loading")],
        [],
        [],
    ),
    "I4: o/b at 1.50 goes before o/a": (
        [call("unload", "a", 1.0), call("unload", "b", 1.5)],
        [],
        [],
    ),
    "I5: o/a at 1.00 is loaded where": ([call("load", "a", 1.0, free=7 * GIB)], [], []),
    "I6: request 1 of o/a ended 2 times": ([], [request(endings=2)], []),
    "I6: request 1 of o/a was refused": ([], [request(ending="refused", status=503)], []),
    "I6: request 1 of o/a was cut (200)": (
        [],
        [request(ending="cut")],
        [Trouble("crash", 0.5, engines=("o",))],
    ),
    "I6: request 1 of o/a was short": (
        [],
        [request(ending="short")],
        [Trouble("kill", 0.5, engines=("o",), dark=True, daemon=True)],
    ),
    "I6: request 1 of o/a was strange": (
        [],
        [request(ending="strange")],
        [Trouble("kill", 0.5, engines=("l",), dark=True, daemon=True)],
    ),
    "I6: request 1 of o/a was unheard": (
        [],
        [request(ending="unheard", status=None)],
        [Trouble("crash", 0.5, engines=("o",), dark=True)],
    ),
    "I6: request 1 of o/a was refused (500)": (
        [],
        [request(ending="refused", status=500)],
        [Trouble("kill", 0.5, engines=("o",), daemon=True)],
    ),
    "I6: request 1 of o/a was refused (503)": (
        [],
        [request(ending="refused", status=503, was="loaded")],
        [Trouble("dark", 0.5, dark=True)],
    ),
    "I6: request 1 of o/a was refused (502)": (
        [],
        [request(ending="refused", status=502, was="gone")],
        [Trouble("dark", 0.5, dark=True)],
    ),
    "I6: request 1 of o/a was told (200)": (
        [],
        [request(ending="told", was="loaded")],
        [Trouble("dark", 0.5, dark=True)],
    ),
    "I7: load of o/a at 1.00 is not written": ([call("load", "a", 1.0, decisions=[])], [], []),
    "I7: load of o/a at 2.00 is not written": (
        [call("load", "a", 2.0, decisions=[]), call("load", "b", 3.0, decisions=[])],
        [],
        [Trouble("slow", 0.9, unwritten=2.0)],
    ),
    "I7: load of o/a at 1.00 is written down without": (
        [call("load", "a", 1.0, decisions=[{"mode": "enforce", "trigger": "demand"}])],
        [],
        [],
    ),
    "I7: load of o/b at 1.00 is written down without": (
        [call("load", "b", 1.0, decisions=[{"mode": "observe", "rooms": []}])],
        [],
        [],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_must_not_be_is_found_in_a_history(what: str) -> None:
    found = history()
    found.calls, found.requests, found.troubles = BROKEN[what]
    (words,) = check(found)
    assert words.startswith(what), words


def test_a_gpu_that_holds_more_than_it_has_is_found() -> None:
    found = history()
    found.memory.append(Memory(1.0, 25 * GIB, "+a"))
    (words,) = check(found)
    assert words.startswith("I5: the GPU holds"), words


def test_an_alert_that_acts_twice_is_found() -> None:
    found = history()
    found.deeds = [Deed(1.0, "f", "d-1"), Deed(1.0, "f", "d-1"), Deed(2.0, "g", "d-2")]
    assert check(found) == []
    found.deeds.append(Deed(3.0, "f", "d-3"))
    assert check(found) == ["I8: f has caused ['d-1', 'd-3']"]


def test_a_quiet_history_is_in_order() -> None:
    found = history()
    found.calls = [call("unload", "a", 1.0), call("load", "b", 2.0), call("unload", "c", 5.0)]
    found.requests = [
        request(),
        request(ending="refused", status=503, began=7.0, ended=7.5),
        request(ending="cut", began=11.0, ended=11.2),
        request(ending="refused", status=503, began=20.5, ended=21.0, was="gone"),
        request(ending="told", began=20.5, ended=21.0, was="loading"),
        request(ending="strange", began=30.5, ended=31.0),
    ]
    found.troubles = [
        Trouble("crash", 6.9, engines=("o",), lifted=7.0, normal=8.0),
        Trouble("kill", 11.1, daemon=True, lifted=11.5, normal=12.0),
        Trouble("dark", 20.0, dark=True, lifted=22.0, normal=23.0),
        Trouble("garbage", 30.0, engines=("o",), lifted=32.0, normal=33.0),
    ]
    assert check(found) == []
