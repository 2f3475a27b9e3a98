"""Who judges a run while it goes: each is shown what may not be, and finds it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import watcher
from tests.faults.answers import of_answer, of_stream
from tests.faults.bench import SIZE, Bench
from tests.faults.history import Life
from tests.faults.invariants import check
from tests.faults.killed import compare
from tests.faults.people import SETTING, TTL
from tests.nvml.fake_nvml import GIB
from tests.readers import GPU

WORD = '{"choices": [{"delta": {"content": "a"}}]}'
ERROR = '{"error": {"message": "l/c did not answer"}}'

# -- endings


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        ([WORD] * 3 + ["[DONE]"], "whole"),
        ([WORD, ERROR], "told"),
        ([ERROR], "told"),
        ([], "short"),
        ([WORD], "short"),
        ([WORD] * 3, "short"),
        ([WORD] * 2 + ["[DONE]"], "short"),
        ([WORD] * 4 + ["[DONE]"], "short"),
        ([WORD] * 2 + ["[DONE]"] * 2, "short"),
        ([WORD, ERROR, WORD, "[DONE]"], "short"),
        ([ERROR, ERROR], "short"),
        ([WORD, '{"error": ""}'], "short"),
    ],
)
def test_only_a_last_error_excuses_a_stream_that_is_not_whole(
    events: list[str], ending: str
) -> None:
    assert of_stream(events)[0] == ending


@pytest.mark.parametrize(
    ("status", "text", "ending"),
    [
        (503, ERROR, "refused"),
        (503, '{"error": "no room"}', "refused"),
        (503, "Service Unavailable", "strange"),
        (500, '{"error": {"message": ""}}', "strange"),
        (200, ERROR, "strange"),
        (200, "<html>", "strange"),
    ],
)
def test_a_refusal_says_why(status: int, text: str, ending: str) -> None:
    assert of_answer(status, text)[0] == ending


# -- what the daemon says of itself


def state(**more: Any) -> dict[str, Any]:
    """A GPU with one model on it, and RAM that cannot be read."""
    pool: dict[str, Any] = {"id": GPU, "blind": None, "total": 24 * GIB, "free": 16 * GIB}
    pool |= {"reserve": GIB, "promised": 7 * GIB}
    pool["parts"] = [
        {"owner": "model", "name": "o/a", "size": 7 * GIB},
        {"owner": "unaccounted", "name": "unaccounted", "size": GIB},
    ]
    ram = {"id": "ram", "blind": "it cannot be read"}
    return {"pools": [pool | more, ram], "pins": ["o/a"], "leases": [{"model": "l/c"}]}


def test_an_account_that_does_not_sum_to_what_is_used_is_found() -> None:
    assert list(watcher.unsound(state())) == []
    (words,) = watcher.unsound(state(free=15 * GIB))
    assert f"the parts are {8 * GIB}" in words


def test_a_figure_that_is_not_the_drivers_is_found() -> None:
    assert list(watcher.untrue(state(), {8 * GIB, GIB})) == []
    (words,) = watcher.untrue(state(), {GIB})
    assert words.startswith(f"{8 * GIB} bytes of the GPU are in use")


def test_a_model_that_is_said_to_hold_what_another_does_is_found() -> None:
    assert watcher.misjudged(state(), {"o/a": 7 * GIB, "l/c": 0}) == []
    assert watcher.misjudged(state(), {"o/a": 0, "l/c": 7 * GIB}) == ["o/a", "l/c"]


def test_more_than_is_free_beyond_the_reserve_is_not_promised() -> None:
    assert watcher.promised(state(promised=15 * GIB)) == []
    assert watcher.promised(state(promised=15 * GIB + 1)) == [GPU]
    assert watcher.promised(state(free=GIB // 2, promised=0)) == []


def test_a_pin_and_a_lease_that_are_gone_are_found() -> None:
    assert list(watcher.lost(state(), {"o/a"}, {"l/c"})) == []
    pin, lease = watcher.lost(state(), {"o/a", "o/b"}, {"l/d"})
    assert (pin, lease) == ("pinned no more: ['o/b']", "leased no more: ['l/d']")


# -- the bench's own book


def bench(tmp_path: Path) -> Bench:
    """Without a daemon, a driver or a socket."""
    found = Bench(tmp_path / "bench", tmp_path / "none.so")
    found.history.lives.append(Life(1, 0.0, 0.5))
    return found


def test_who_works_in_an_engine_is_at_work_before_his_client_has_heard_a_word(
    tmp_path: Path,
) -> None:
    found = bench(tmp_path)
    found.daemon = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    shop = found.engines["o"]
    shop.loaded.append("a")
    shop.busy["a"] = 1
    found.told(shop, "unload", "a")
    assert any(
        words.startswith("I1: o/a") and "serves 1" in words for words in check(found.history)
    )


def test_what_a_model_has_is_told_once_it_has_rested(tmp_path: Path) -> None:
    found = bench(tmp_path)
    found.card.driver = SimpleNamespace(  # type: ignore[assignment]
        gpu=lambda *_, **__: None, proc=lambda *_, **__: None
    )
    found._pids["c"] = 1
    router = found.engines["l"]
    router.on_load = found.take
    begun = found.history.now()
    assert found.held(begun, ["o"]) == {"l/c": 0, "l/d": 0}
    router.take("c")
    assert found.held(begun, []) == {"o/a": 0, "o/b": 0, "l/d": 0}
    assert found.held(found.history.now(), ["o"]) == {"l/c": SIZE, "l/d": 0}
    router.loading["d"] = asyncio.Event()
    assert found.held(found.history.now(), ["o"]) == {"l/c": SIZE}
    assert found.history.used_since(begun) == {GIB, GIB + SIZE}
    assert found.history.used_since(found.history.now()) == {GIB + SIZE}


def test_what_is_promised_of_the_room_that_is_being_made_is_no_breach(tmp_path: Path) -> None:
    found = bench(tmp_path)
    found.daemon = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    assert found.makes_room([]), "nothing can be read"
    with closing(sqlite3.connect(found.journal)) as db:
        db.execute("CREATE TABLE decisions (id TEXT, body TEXT)")
        for id, *actions in (("d-1", "load"), ("d-2", "evict", "load")):
            body = json.dumps({"actions": [{"action": a} for a in actions]})
            db.execute("INSERT INTO decisions VALUES (?, ?)", (id, body))
        db.commit()
    assert not found.makes_room([])
    assert not found.makes_room(["d-1"])
    assert found.makes_room(["d-1", "d-2"])
    assert found.makes_room(["d-3"]), "it is not there yet"


class Restarted:
    """A new daemon, by its answers."""

    def __init__(self, pins: list[str], left: float, setting: str) -> None:
        self.client, self.setting = self, setting
        self.told = {"pins": pins, "leases": [{"model": "o/b", "id": "1", "left": left}]}

    async def state(self) -> dict[str, Any]:
        return self.told

    async def get(self, path: str) -> Any:
        return SimpleNamespace(json=lambda: {"value": self.setting})

    async def decisions(self) -> list[dict[str, Any]]:
        return [{"id": "d-1"}]


def after_a_kill(
    tmp_path: Path, pins: list[str], left: float, known: set[str], setting: str = "2"
) -> list[str]:
    found = bench(tmp_path)
    found.daemon = Restarted(pins, left, setting)  # type: ignore[assignment]
    found.people.settings = {SETTING: "2"}
    found.rows = lambda sql: []  # type: ignore[method-assign]
    found.people.pins = {"o/a"}
    found.people.leases = {"o/b": ("1", found.history.now())}
    asyncio.run(compare(found, {"decisions": known, "learned": {}}))
    return check(found.history)


def test_a_daemon_that_has_all_that_was_promised_is_in_order(tmp_path: Path) -> None:
    assert after_a_kill(tmp_path, ["o/a"], TTL, {"d-1"}) == []
    (words,) = after_a_kill(tmp_path, ["o/a"], TTL, {"d-1"}, setting="3")
    assert words == f"I9: {SETTING} is 3, and not 2"


@pytest.mark.parametrize(
    ("pins", "left", "known", "words"),
    [
        ([], TTL, "d-1", "I9: lost with the daemon: pin of ['o/a']"),
        (["o/a", "l/c"], TTL, "d-1", "I9: nobody asked for it: pin of ['l/c']"),
        (["o/a"], TTL, "d-2", "I9: the new daemon does not know ['d-2']"),
        (["o/a"], TTL - 60.0, "d-1", "I10: a lease has 540.0 s left, and not 600.0"),
    ],
)
def test_what_a_restart_loses_is_found(
    tmp_path: Path, pins: list[str], left: float, known: str, words: str
) -> None:
    (found,) = after_a_kill(tmp_path, pins, left, {known})
    assert found.startswith(words)
