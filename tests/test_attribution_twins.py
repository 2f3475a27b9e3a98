"""Two engines, or two models of one, with the same file: whose process is whose."""

from __future__ import annotations

import asyncio

import pytest

from collectors.reading import Process as Row
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, State
from supervisor.engines.base import EngineModel, Process
from tests.test_attribution import LLAMA, URL, A, Machine
from tests.test_attribution_kin import B, row

TWIN = EngineId("twin")
SAME = Process(argv=(("--model", "/blobs/1"),))


def twins(*, traced: bool = True) -> tuple[Machine, tuple[Row, ...]]:
    """Two engines, 5 and 6; each has a child, 15 and 16, that serves the same file."""
    machine = Machine()
    machine.others = {TWIN: "http://127.0.0.1:8081"}
    for pid in (5, 6):
        machine.start(pid, "ollama", "serve")
        machine.start(10 + pid, "llama-server", "--model", "/blobs/1")
    if traced:
        machine.ports |= {8080: 5, 8081: 6}
    return machine, (row(5, 1), row(6, 1), row(15, 5), row(16, 6))


@pytest.mark.parametrize("traced", [True, False])
def test_of_two_engines_with_the_same_file_each_has_its_own_process(traced: bool) -> None:
    machine, table = twins(traced=traced)
    other = ModelRef(TWIN, ModelId("a"))
    for models in ({A: SAME}, {A: SAME, other: SAME}):
        listed = {r: EngineModel(r.model, State.LOADED, process=p) for r, p in models.items()}
        urls = {LLAMA: URL, **machine.others}
        machine.read.append(set())
        asyncio.run(machine.attribution.read(listed, urls, table, thorough=False))
    assert (machine.attribution.pids_of(A), machine.attribution.pids_of(other)) == ((15,), (16,))


def test_an_engine_whose_process_cannot_be_seen_is_not_given_that_of_another() -> None:
    machine, table = twins()
    del machine.running[16]
    listed = {ModelRef(TWIN, ModelId("a")): EngineModel(ModelId("a"), State.LOADED, process=SAME)}
    machine.read.append(set())
    urls = {LLAMA: URL, **machine.others}
    asyncio.run(machine.attribution.read(listed, urls, table, thorough=False))
    assert machine.attribution.pids_of(ModelRef(TWIN, ModelId("a"))) == ()


def test_two_models_of_one_engine_with_the_same_file_have_a_process_each_or_share_one() -> None:
    for children, found in (({15, 17}, ((15,), (17,))), ({15}, ((15,), (15,)))):
        machine = Machine({8080: 5})
        machine.start(5, "ollama", "serve")
        for pid in children:
            machine.start(pid, "llama-server", "--model", "/blobs/1")
        table = (row(5, 1), *(row(pid, 5) for pid in children))
        models = (EngineModel(ModelId(name), State.LOADED, process=SAME) for name in "ab")
        machine.look(*models, table=table)
        attribution = machine.attribution
        assert (attribution.pids_of(A), attribution.pids_of(B)) == found
