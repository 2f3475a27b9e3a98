"""The bench itself: what has not happened is no proof, and what was left out has not passed."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from supervisor.journal.schema import MIGRATIONS
from tests.faults.__main__ import verdict
from tests.faults.bench import Bench
from tests.faults.children_fail import at_once
from tests.faults.engines import Pace, Router
from tests.faults.engines_fail import GIVEN_UP, is_told_why
from tests.faults.history import Call, History, Request, Trouble, Wish
from tests.faults.journal_fails import TORN, Tear, files, readable_pins, without_log
from tests.faults.killed import LATE, compare, kept
from tests.faults.measures import no_slower, no_tail
from tests.faults.people import TTL, People
from tests.faults.registry import Score


class Quiet(Bench):
    """Without engines, a daemon, or a GPU: its history, and a journal of its own."""

    def __init__(self, folder: Path) -> None:
        self.history = History(0.4, 1, 24)

    async def normal(self, trouble: Trouble) -> None:
        trouble.normal = self.history.now()


@pytest.fixture
def bench(tmp_path: Path) -> Quiet:
    return Quiet(tmp_path)


@pytest.mark.parametrize(("met", "wrong"), [(True, []), (False, ["bench: it: nothing broke"])])
def test_what_nobody_has_met_was_not_broken(bench: Quiet, met: bool, wrong: list[str]) -> None:
    async def story() -> None:
        happened = False
        async with bench.trouble("it", proof=lambda: happened):
            happened = met

    asyncio.run(story())
    assert bench.history.wrong == wrong


@pytest.mark.parametrize(("strict", "code"), [(True, 3), (False, 0)])
def test_a_fault_that_was_left_out_is_told_of_and_fails_where_all_must_be_tried(
    strict: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = [Score("a", runs=1), Score("b", skipped="needs root")]
    console = Console(width=200)
    assert verdict(scores, console, strict) == code
    assert "incomplete: 1 of 2 faults were left out: b (needs root)" in capsys.readouterr().out
    assert verdict(scores[:1], console, strict) == 0
    assert "incomplete" not in capsys.readouterr().out
    assert verdict([Score("a", violations=["I1"]), scores[1]], console, strict) == 1


def test_a_daemon_that_starts_slowly_has_not_passed() -> None:
    assert Score("a", starts=[1.0, 1.5, 9.0], start_limit=2.0).passed
    assert not Score("a", starts=[1.0, 2.5, 9.0], start_limit=2.0).passed
    assert Score("a", starts=[9.0]).passed


TOLD = "error: l/c could not be loaded"


@pytest.mark.parametrize(
    ("ending", "status", "words", "right"),
    [
        ("refused", 503, TOLD, True),
        ("refused", 502, TOLD, True),
        ("refused", 500, TOLD, False),
        ("refused", 503, "no", False),
        ("told", 200, TOLD, True),
        ("told", 200, "l/c", False),
        ("cut", 200, TOLD, False),
        ("whole", 200, TOLD, False),
    ],
)
def test_who_waited_in_vain_is_told_whose_fault_it_is(
    ending: str, status: int, words: str, right: bool
) -> None:
    request = Request(1, "c", "l", 1.0, 2.0, status, ending, 1, words)
    assert is_told_why(request) == right


def test_others_are_no_slower_by_the_median(bench: Quiet) -> None:
    no_slower(bench, [0.1, 0.1, 3.0], [0.12, 0.13, 5.0], "it")
    assert bench.history.wrong == []
    no_slower(bench, [0.1, 0.1, 3.0], [0.12, 0.15, 0.15], "it")
    no_slower(bench, [], [0.1], "it")
    assert [words.split(":")[0] for words in bench.history.wrong] == ["slow", "bench"]


def asked(began: float, took: float | None, **more: Any) -> Request:
    ended, ending = (None, None) if took is None else (began + took, "whole")
    usual = Request(1, "a", "o", began, ended, 200, ending, 1, was="loaded")
    return replace(usual, **more)


def told(kind: str, model: str, began: float, ended: float) -> Call:
    return Call("o", kind, model, began, 0, 0, "loaded", 1, 1, False, False, [], ended)


BEFORE = [asked(at / 10, 0.1) for at in range(10)]  # the slowest may take 0.8 s
LATE_ONE = asked(3.0, 0.9)


@pytest.mark.parametrize(
    ("during", "calls", "wrong"),
    [
        ([asked(3.0, 0.75)], [], []),
        ([*[asked(3.0, 0.1)] * 90, LATE_ONE], [], ["slow"]),
        ([*[asked(3.0, 0.1)] * 199, LATE_ONE], [], []),
        ([asked(0.5, 9.0)], [], ["slow"]),
        ([asked(3.0, None)], [], ["slow"]),
        ([asked(3.0, 0.1), replace(LATE_ONE, engine="l")], [], []),
        ([asked(3.0, 0.1), replace(LATE_ONE, was="gone")], [], []),
        ([asked(2.2, 0.1), LATE_ONE], [told("unload", "a", 2.5, 3.0)], []),
        ([asked(3.0, 0.1), LATE_ONE], [told("unload", "b", 2.5, 3.0)], ["slow"]),
        ([LATE_ONE], [told("load", "a", 3.9, 4.0)], ["bench"]),
        ([], [], ["bench"]),
    ],
)
def test_the_slowest_of_others_are_as_quick_as_they_were_before(
    bench: Quiet, during: list[Request], calls: list[Call], wrong: list[str]
) -> None:
    """Of a hundred and more the 99th in a hundred; nobody counts for whom something was loaded."""
    bench.history.requests = [*BEFORE, *during]
    bench.history.calls = calls
    no_tail(bench, Trouble("hang", 2.0, engines=("l",)), 0.0)
    assert [words.split(":")[0] for words in bench.history.wrong] == wrong


def test_late_is_late_also_where_the_request_is_told(bench: Quiet) -> None:
    at_once(bench, "refused", GIVEN_UP + 0.1, "")
    assert len(bench.history.wrong) == 1


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """As a daemon leaves it that is killed: a pin in its file, another in the log ahead of it."""
    begun, left = tmp_path / "begun", tmp_path / "left"
    begun.mkdir()
    with closing(sqlite3.connect(begun / "journal.db", isolation_level=None)) as db:
        for sql in (s for script in MIGRATIONS for s in script):
            db.execute(sql)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("INSERT INTO shelves VALUES ('pins', 'l/c', '{}')")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("INSERT INTO shelves VALUES ('pins', 'o/a', '{}')")
        db.execute("INSERT INTO holdings VALUES ('o', 'a', 'loaded', 0, 0, 'g', 'g', 7, 9, 1, 2)")
        shutil.copytree(begun, left)
    return left / "journal.db"


@pytest.mark.parametrize("tear", [tear for tear, _ in TORN])
def test_whatever_is_torn_is_other_than_it_was(journal: Path, tear: Tear) -> None:
    before = files(journal)
    assert len(before) == 2
    tear(journal)
    assert files(journal) != before


def test_pins_are_read_as_far_as_the_file_alone_can_be_read(journal: Path) -> None:
    assert readable_pins(journal) == {"l/c"}
    without_log(journal)
    assert readable_pins(journal) == {"l/c", "o/a"}
    journal.write_bytes(b"no database" * 1000)
    assert readable_pins(journal) == set()


class Next:
    """A daemon after a start: it has a lease, and knows of no decision."""

    def __init__(self, left: float) -> None:
        self.left, self.client = left, self

    async def state(self) -> dict[str, object]:
        return {"pins": [], "leases": [{"model": "o/a", "id": "l-1", "left": self.left}]}

    async def get(self, path: str) -> httpx.Response:
        return httpx.Response(200, json={"value": 3})

    async def decisions(self) -> list[object]:
        return []


@pytest.mark.parametrize(
    ("began", "held", "wrong"),
    [
        (0.0, 9, []),
        (5.0, 9, []),
        (-2 * LATE, 9, ["I10"]),
        (5.0 + 2 * LATE, 9, ["I10"]),
        (0.0, 10, ["I9"]),
    ],
)
def test_what_a_daemon_has_after_a_kill_is_what_was_promised(
    bench: Quiet, journal: Path, began: float, held: int, wrong: list[str]
) -> None:
    """A lease began between its request and the answer; of no model less is known than before."""
    now = bench.history.now()
    asked = now - 100.0
    bench.people = People(bench)
    bench.people.leases = {"o/a": ("l-1", asked)}
    bench.history.wishes = [Wish(asked, "lease o/a", 201, '{"lease": {"id": "l-1"', asked + 5.0)]
    bench.rows = lambda sql: _rows(journal, sql)  # type: ignore[method-assign]
    bench.daemon = Next(TTL - 100.0 + began)  # type: ignore[assignment]
    key = ("o", "a", "loaded", 0, 0, "g", "g")
    before = kept(bench)
    assert before["learned"] == {key: 9}
    asyncio.run(compare(bench, {**before, "learned": {key: held}}))
    assert [words.split(":")[0] for words in bench.history.wrong] == wrong


def _rows(journal: Path, sql: str) -> list[object]:
    with closing(sqlite3.connect(journal)) as db:
        return db.execute(sql).fetchall()


@pytest.mark.parametrize(("stays", "counted"), [(True, 0), (False, 1)])
def test_an_engine_of_the_bench_counts_who_leaves_in_the_middle(stays: bool, counted: int) -> None:
    async def story() -> None:
        async with Router("l", ["c"], 1) as engine:
            engine.hung_up, engine.gate.seconds = 0, 0.1
            body = {"model": "c", "stream": True}
            url = f"{engine.url}/v1/chat/completions"
            async with (
                httpx.AsyncClient(trust_env=False) as http,
                http.stream("POST", url, json=body) as reply,
            ):
                words = reply.aiter_lines()
                await anext(words)
                assert engine.hung_up == 0
                if stays:
                    assert [w async for w in words if w][-1] == "data: [DONE]"
            async with asyncio.timeout(10):
                while engine.busy["c"]:
                    await asyncio.sleep(0)
            assert engine.hung_up == counted

    asyncio.run(story())


def test_a_stand_ins_words_that_are_on_their_way_come_at_once_where_it_is_hurried() -> None:
    async def story() -> None:
        gate = Pace(3600.0)
        words = [asyncio.create_task(gate.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        gate.hurry()
        async with asyncio.timeout(10):
            await asyncio.gather(*words)
        next_word = asyncio.create_task(gate.wait())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not next_word.done()
        next_word.cancel()

    asyncio.run(story())
