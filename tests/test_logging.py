"""The log: its lines and objects, what they belong to, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import io
import logging
import time
from pathlib import Path
from threading import RLock
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.config.config import load
from supervisor.config.logged import LogFormat
from supervisor.core.plan import Note, Plan, Trigger, Why
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.engines import ENGINES
from supervisor.events import About
from supervisor.journal.shelves import Shelf
from supervisor.keeping.farewells import Farewells
from supervisor.telemetry.about import about, now, of_decision
from supervisor.telemetry.logs import LONGEST, handler, secrets
from tests.builders import machine
from tests.lines import FORGED, objects, written
from tests.scenarios.shelf import other, run, shelf

REF = ModelRef(EngineId("ollama"), ModelId("qwen3:8b"))


# -- lines and objects


def test_a_line_for_people_is_what_it_always_was() -> None:
    with written() as (log, out):
        log.info("%s: asked for by %s", "d-000012", "a client")
        log.warning("short")
    first, second = out.getvalue().splitlines()
    assert first[24:] == "INFO    ullage.told: d-000012: asked for by a client"
    assert time.strptime(first[:19], "%Y-%m-%d %H:%M:%S")
    assert second[24:] == "WARNING ullage.told: short"


def test_an_object_says_when_how_bad_who_and_what_and_whom_it_names() -> None:
    began = time.time()
    with written(LogFormat.JSON) as (log, out):
        log.info("%s: %s is not possible", REF, "sleep", extra={"event": "rung", "took": 0.5})
    (told,) = objects(out.getvalue())
    at = told.pop("ts")
    assert at.endswith("Z")
    assert abs(time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - began) < 2
    assert told == {
        "level": "info", "logger": "ullage.told", "msg": "ollama/qwen3:8b: sleep is not possible",
        "model": "ollama/qwen3:8b", "engine": "ollama", "event": "rung", "took": 0.5,
    }  # fmt: skip


def test_values_that_json_has_not_are_written_as_what_they_say() -> None:
    more = {"level": "mine", "odd": {1}, "none": None, "nan": float("nan"), "yes": True, "n": 2}
    with written(LogFormat.JSON) as (log, out):
        log.info("x", extra={**more, "format": LogFormat.JSON})
    (told,) = objects(out.getvalue())
    assert told["level"] == "info"  # a field takes no other's place
    found = {k: told[k] for k in ("odd", "none", "nan", "yes", "n", "format")}
    assert found == {"odd": "{1}", "none": None, "nan": None, "yes": True, "n": 2, "format": "json"}


@pytest.mark.parametrize("format", LogFormat)
def test_a_name_can_neither_forge_a_line_nor_move_the_terminal(format: LogFormat) -> None:
    with written(format) as (log, out):
        log.info("%s has come", ModelRef(EngineId("x"), ModelId(FORGED)))
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    if format is LogFormat.JSON:
        (told,) = objects(text)
        assert told["model"] == f"x/{FORGED}"


def test_what_an_error_quotes_begins_no_line_of_its_own() -> None:
    with written() as (log, out):
        try:
            raise ValueError(FORGED)
        except ValueError:
            log.exception("it failed")
    first, *rest = out.getvalue().splitlines()
    assert first.endswith("it failed")
    assert any("Traceback" in line for line in rest)
    assert any("all is well" in line for line in rest)
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def test_an_error_is_one_object_with_its_name_and_its_trace() -> None:
    with written(LogFormat.JSON) as (log, out):
        try:
            raise ValueError(FORGED)
        except ValueError:
            log.exception("it failed")
    (told,) = objects(out.getvalue())
    assert (told["error"], told["level"]) == ("ValueError", "error")
    assert told["trace"].endswith(f"ValueError: {FORGED}")


@pytest.mark.parametrize("format", LogFormat)
def test_a_line_that_cannot_be_put_together_is_said_all_the_same(format: LogFormat) -> None:
    with written(format) as (log, out):
        log.info("%d of %d", "three")
    assert "%d of %d" in out.getvalue()
    assert "three" in out.getvalue()


def test_nobody_says_more_than_a_line_may_hold() -> None:
    with written() as (log, out):
        log.info("x" * (LONGEST + 5))
    assert out.getvalue().endswith("… (5 characters more)\n")
    assert len(out.getvalue()) < LONGEST + 200


@pytest.mark.parametrize("format", LogFormat)
def test_no_secret_is_in_the_message_the_fields_or_the_trace(format: LogFormat) -> None:
    with written(format, secrets=("hunter2222",)) as (log, out):
        try:
            raise ValueError("refused: hunter2222")
        except ValueError:
            log.exception("sent %s", "hunter2222", extra={"header": "x-api-key: abc123"})
    assert "hunter2222" not in out.getvalue()
    assert "abc123" not in out.getvalue()
    assert "refused: ***" in out.getvalue()


KEPT = """
[listen]
token = "token-1234567890"
[engines.far]
url = "http://127.0.0.1:1"
key = "key-of-far"
[engines.cellar]
kind = "http"
url = "http://127.0.0.1:2"
[engines.cellar.http]
headers = { X-Api-Key = "key-of-cellar", Accept = "everything" }
list_api = "/l"
models = "$"
[engines.own]
kind = "process"
[engines.own.served.a]
command = ["x", "${PORT}"]
serves = "vllm"
environment = { HF_TOKEN = "key-of-own", HF_HOME = "/models" }
"""


def test_what_is_configured_as_a_secret_is_known_as_one(tmp_path: Path) -> None:
    (tmp_path / "ullage.toml").write_text(KEPT)
    config = load(tmp_path / "ullage.toml", {}, {}, kinds=frozenset(ENGINES))
    found = set(secrets(config, {"OPENAI_API_KEY": "key-of-ours", "HOME": "/root"})) - {None}
    assert found == {
        "token-1234567890", "key-of-far", "key-of-cellar", "key-of-own", "key-of-ours",
    }  # fmt: skip
    made = handler(LogFormat.JSON, io.StringIO(), {}, ())
    made.hide(config.engines)  # as they are when the file is read again
    made.handle(logging.LogRecord("ullage", 20, "", 0, "key-of-far everything", (), None))
    made.flush(5)
    assert '"*** everything"' in made._stream.getvalue()  # type: ignore[attr-defined]


# -- what a line belongs to


def test_whatever_is_said_while_a_decision_is_carried_out_has_its_id() -> None:
    class Carries:
        @of_decision
        async def carry_out(self, run: Any) -> None:
            log.info("first")
            await asyncio.gather(self.deeper(), asyncio.to_thread(log.info, "in a thread"))

        async def deeper(self) -> None:
            await asyncio.sleep(0)
            log.info("in a task")

        @of_decision
        def note(self, run: Any) -> None:
            log.info("noted")

    async def story() -> None:
        one, two = (SimpleNamespace(decision=SimpleNamespace(id=f"d-00000{n}")) for n in (1, 2))
        await asyncio.gather(Carries().carry_out(one), Carries().carry_out(two))
        Carries().note(one)
        log.info("nobody's")

    with written(LogFormat.JSON) as (log, out):
        asyncio.run(story())
    told = objects(out.getvalue())
    for id in ("d-000001", "d-000002"):
        mine = {t["msg"] for t in told if t.get("decision") == id}
        assert mine >= {"first", "in a task", "in a thread"}
    assert {t["msg"] for t in told if "decision" not in t} == {"nobody's"}
    assert [t["decision"] for t in told if t["msg"] == "noted"] == ["d-000001"]


def test_a_task_that_outlives_the_decision_it_was_begun_in_speaks_for_itself() -> None:
    async def story() -> None:
        over = asyncio.Event()

        async def keeps() -> None:
            log.info("begun")
            await over.wait()
            log.info("ended by itself")

        with about(decision="d-000001", model="a"):
            task = asyncio.create_task(keeps())
            await asyncio.sleep(0)
            with about(model="b"):
                assert now() == {"decision": "d-000001", "model": "b"}
            assert now() == {"decision": "d-000001", "model": "a"}
        over.set()
        await task

    with written(LogFormat.JSON) as (log, out):
        asyncio.run(story())
    begun, ended = objects(out.getvalue())
    assert begun["decision"] == "d-000001"
    assert "decision" not in ended


def test_who_leaves_later_because_a_decision_said_so_is_told_with_its_id() -> None:
    farewells = Farewells(Shelf("farewells", RLock(), lambda statements: None))
    about_them = About(frozenset({REF}), parts=True)
    decided = SimpleNamespace(id="d-000009")
    run = SimpleNamespace(decision=decided, about=about_them, leaving=set(), later={}, outcomes=[])
    plan = Plan(Trigger.OPERATOR, (), notes=(Note(REF, Why.BUSY),))
    with written(LogFormat.JSON, name="ullage.loop") as (_, out):
        farewells.part(run, plan, machine(free=10), 0.0)  # type: ignore[arg-type]
    (told,) = objects(out.getvalue())
    assert told["msg"] == "unload ollama/qwen3:8b: leaving (contexts=0)"
    assert (told["decision"], told["model"]) == ("d-000009", "ollama/qwen3:8b")


def test_people_see_the_id_where_the_line_does_not_say_it_itself() -> None:
    with written() as (log, out), about(decision="d-000007"):
        log.info("d-000007: begun")
        log.info("its unit was restarted")
    first, second = out.getvalue().splitlines()
    assert first.endswith(": d-000007: begun")
    assert second.endswith(": its unit was restarted (d-000007)")


def test_in_the_house_every_line_of_a_decision_has_its_id_and_what_was_measured() -> None:
    out = io.StringIO()
    made = handler(LogFormat.JSON, out, {}, ())
    root = logging.getLogger("ullage")
    before, root.level = root.level, logging.DEBUG

    async def story() -> None:
        async with shelf(a=10, b=10) as (home, ram, _):
            root.addHandler(made)
            await other(home, ram, 44, 20)

    try:
        run(story())
    finally:
        root.removeHandler(made)
        root.level = before
    made.flush(5)
    told = objects(out.getvalue())
    decided = next(t for t in told if t.get("event") == "decision")
    assert decided["msg"].startswith(f"{decided['decision']}: ")
    assert (decided["trigger"], decided["mode"], decided["works"]) == ("relief", "enforce", True)
    outcome = next(t for t in told if t.get("event") == "outcome")
    assert outcome["decision"] == decided["decision"]
    assert (outcome["action"], outcome["result"], outcome["rung"]) == ("evict", "done", "unload")
    assert (outcome["model"], outcome["engine"]) == ("llama/a", "llama")
    assert outcome["promised_bytes"] == outcome["returned_bytes"] == 10 * 1024**3
    found = [t for t in told if t.get("event") == "finding"]
    pressure = [f["open"] for f in found if f["finding"] == "pressure"]
    assert pressure == [True, False]
    assert found[0]["subject"] == "ram"
    assert "decision" not in found[0]
