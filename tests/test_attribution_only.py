"""Where one engine alone is meant, the processes of others count as they were last seen."""

from __future__ import annotations

import asyncio

from collectors.reading import Bytes, gib
from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines.base import EngineModel, Process
from tests.builders import ref
from tests.test_attribution import LLAMA, Machine

OTHER = EngineId("other")
A, B = ref("a", "llama"), ref("b", "other")
UP = {LLAMA: "http://127.0.0.1:8080", OTHER: "http://127.0.0.1:8081"}


def loaded(name: str) -> EngineModel:
    return EngineModel(ModelId(name), State.LOADED, process=Process(argv=(("--alias", name),)))


LISTED = {A: loaded("a"), B: loaded("b")}


class Two(Machine):
    """Each engine has one model, with a process of its own: 1 for "a", 2 for "b"."""

    def __init__(self) -> None:
        super().__init__()
        self.start(1, "server", "--alias", "a")
        self.start(2, "server", "--alias", "b")
        self.asked: list[set[int]] = []  # whether they run yet

    def _times(self, pids):  # type: ignore[no-untyped-def]
        self.asked.append(set(pids))
        return super()._times(pids)

    def see(self, *only: EngineId, thorough: bool = True) -> dict[int, Bytes]:
        self.now += 1
        self.read.append(set())
        self.asked.clear()
        listed = {
            r: EngineModel(
                ModelId(r.model), State.LOADED, process=Process(argv=(("--alias", r.model),))
            )
            for r in (A, B)
        }
        found = self.attribution.read(listed, UP, thorough=thorough, only=only or None)
        return {pid: memory.anonymous for pid, memory in asyncio.run(found).items()}


def test_the_processes_of_others_are_neither_read_nor_asked_for() -> None:
    machine = Two()
    assert machine.see() == {1: gib(1), 2: gib(1)}
    machine.size = {1: gib(2), 2: gib(3)}
    assert machine.see(LLAMA) == {1: gib(2), 2: gib(1)}
    assert machine.read[-1] == {1}
    assert not any(2 in pids for pids in machine.asked)
    assert machine.attribution.pids_of(B) == (2,)
    assert machine.see() == {1: gib(2), 2: gib(3)}


def test_who_has_ended_meanwhile_is_missed_when_it_is_meant() -> None:
    machine = Two()
    machine.see()
    del machine.running[1], machine.running[2]
    assert set(machine.see(OTHER)) == {1}
    assert (machine.attribution.has_ended(A), machine.attribution.has_ended(B)) == (False, True)
    assert machine.see() == {}
    assert machine.attribution.has_ended(A)


def test_one_that_came_is_searched_for_when_its_engine_is_meant() -> None:
    machine = Two()
    argv = machine.running.pop(2)
    machine.see()
    machine.running[2] = argv
    listed = machine.listed
    machine.see(LLAMA)
    assert machine.listed == listed, "all command lines were read for nobody"
    assert machine.attribution.pids_of(B) == ()
    machine.see(OTHER)
    assert machine.attribution.pids_of(B) == (2,)
