from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.owner import Owner
from supervisor.app import CHILDREN, _failed, _introduce, build
from supervisor.config.config import load
from supervisor.core.snapshot import EngineId
from supervisor.engines import ENGINES
from supervisor.engines.llamacpp import LlamaCpp
from supervisor.engines.sglang import Step
from tests.engines.fake import FakeOllama
from tests.scenarios.house import Ram

CONFIG = """
[engines.own]
kind = "process"
serves = "llamacpp"
key = "open-sesame"
command = ["true", "${PORT}"]
[engines.own.served.m]
"""


def test_an_engine_that_is_ours_to_start_is_told_all_that_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "ullage.toml"
    file.write_text(CONFIG)
    environ = {"STATE_DIRECTORY": str(tmp_path / "state")}
    app = build(load(file, environ, {}, kinds=frozenset(ENGINES)), owners=())
    engine: Any = app.loop.sampler.engines[EngineId("own")]
    assert engine.told.folder == tmp_path / "state" / CHILDREN / "own"
    assert engine.told.table.of("m").command == ("true", "${PORT}")
    inside = engine.told.speak("llamacpp", engine.id, "http://127.0.0.1:1")
    assert (type(inside), inside.id, inside._wire.key) == (LlamaCpp, "own", "open-sesame")
    assert app.loop.keeping.processes() == app.loop.sampler.processes() == ()
    assert app.loop.keeping.processes == app.loop.sampler.processes
    assert not (tmp_path / "state").exists()  # nothing is touched before the start
    asyncio.run(app.client.aclose())


def test_what_engines_have_to_remember_is_on_a_shelf_however_they_are_found(tmp_path: Path) -> None:
    file = tmp_path / "ullage.toml"
    named = '[engines.one]\nkind = "sglang"\nurl = "http://127.0.0.1:1"\n'
    file.write_text(CONFIG.replace('"llamacpp"', '"sglang"') + named)
    environ = {"STATE_DIRECTORY": str(tmp_path / "state")}
    app = build(load(file, environ, {}, kinds=frozenset(ENGINES)), owners=())
    engines: Any = app.loop.sampler.engines
    own = engines[EngineId("own")]
    scout: Any = app.jobs.every["find engines"][1]
    inside = own.told.speak("sglang", own.id, "http://127.0.0.1:2")
    found = scout.__self__._made("sglang", "http://127.0.0.1:3", ())
    for engine in (engines[EngineId("one")], inside, found):
        engine._write(Step.RELEASED)
    on_shelf = app.loop.journal.shelves["engines"].all()
    assert [url[-1] for url in on_shelf] == ["1", "2", "3"]
    asyncio.run(app.client.aclose())


class Quiet:
    """A loop of whose machine nothing is known."""

    snapshot = None
    sampler = SimpleNamespace(machine=None)

    async def changed(self) -> None: ...


def test_what_is_there_once_a_daemon_runs_is_not_looked_through_for_garbage_again() -> None:
    gc.unfreeze()  # what the tests themselves have set aside
    assert gc.get_freeze_count() == 0
    asyncio.run(_introduce(Quiet()))  # and it stays so, as ours was
    assert gc.get_freeze_count() > 10_000


def test_what_ends_though_it_should_not_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise LookupError("gone")

    async def story() -> None:
        bad = asyncio.create_task(breaks(), name="introduction")
        well = asyncio.create_task(asyncio.Event().wait(), name="SIGHUP")
        for task in (bad, well):
            task.add_done_callback(_failed)
        well.cancel()
        await asyncio.gather(bad, well, return_exceptions=True)

    asyncio.run(story())
    assert [r.getMessage() for r in caplog.records] == [
        "the introduction ended: LookupError('gone')"
    ]


def test_a_daemon_begins_to_decide_when_the_first_search_for_engines_is_over(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with FakeOllama() as engine:
            file = tmp_path / "ullage.toml"
            file.write_text(
                "detect = false\n[listen]\nport = 0\n[gateway]\nenabled = false\n"
                f'[engines.late]\nurl = "{engine.url}"\n'  # of a kind that is looked for
            )
            environ = {"STATE_DIRECTORY": str(tmp_path / "state")}
            config = load(file, environ, {}, kinds=frozenset(ENGINES))
            app = build(config, owners=[Owner(Ram())])
            await app.start()
            try:
                assert app.loop.beginning.searching
                while not app.loop.beginning.over:
                    await app.loop.changed()
                assert app.loop.snapshot is not None
                assert [e.id for e in app.loop.snapshot.engines] == ["late"]
                assert app.loop.snapshot.engines[0].up
            finally:
                await app.stop()

    asyncio.run(asyncio.wait_for(story(), 60))
