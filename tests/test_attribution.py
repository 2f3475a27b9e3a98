"""Which process holds which model, over time: found, followed, and not mistaken for another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from collectors.members import CONTAINER_CLIENTS
from collectors.reading import Bytes, ProcessMemory, Seconds, gib
from collectors.reading import Process as Listed
from supervisor.attribution import MEMORY_INTERVAL, ROOTS_INTERVAL, Attribution, Processes
from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines.base import EngineModel, Process
from tests.builders import ref

LLAMA = EngineId("llama")
A = ref("a", "llama")
URL = "http://127.0.0.1:8080"


class Machine:
    """Processes made of values: pid → command line, start, bytes, CPU time."""

    def __init__(self, ports: dict[int, int] | None = None, *, tells: bool = True) -> None:
        self.now = 100.0
        self.url, self.others = URL, dict[EngineId, str]()
        self.running: dict[int, tuple[tuple[str, ...], float]] = {}
        self.size: dict[int, Bytes] = {}
        self.cpu: dict[int, float] = {}
        self.read: list[set[int]] = []  # whose memory was read, call by call
        self.listed = 0
        self.ports = {} if ports is None else ports  # who listens on which
        self.groups: dict[int, str] = {}
        self.attribution = Attribution(
            Processes(
                self._memory, self._commands, self._times, self.ports.get, self.groups.get, tells
            ),
            lambda: self.now,
        )

    def start(self, pid: int, *argv: str, started: float = 1.0) -> None:
        self.running[pid] = (argv, started)
        self.size.setdefault(pid, gib(1))

    def look(
        self,
        *models: EngineModel,
        up: bool = True,
        thorough: bool = False,
        table: tuple[Listed, ...] = (),
        mains: dict[EngineId, int] | None = None,
    ) -> dict[int, ProcessMemory]:
        self.now += 1
        self.read.append(set())
        listed = {ref(m.id, "llama"): m for m in models}
        engines = {LLAMA: self.url, **self.others} if up else {}
        return asyncio.run(
            self.attribution.read(listed, engines, table, thorough=thorough, mains=mains)
        )

    def _commands(self) -> dict[int, tuple[str, ...]]:
        self.listed += 1
        return {pid: argv for pid, (argv, _) in self.running.items()}

    def _memory(self, pids: Iterable[int]) -> dict[int, ProcessMemory]:
        self.read[-1] |= set(pids)
        return self._times(pids)

    def _times(self, pids: Iterable[int]) -> dict[int, ProcessMemory]:
        return {
            p: ProcessMemory(p, self.running[p][1], self.size[p], (), Seconds(self.cpu.get(p, 0.0)))
            for p in pids
            if p in self.running
        }


def loaded(name: str = "a", port: str = "40000", state: State | None = State.LOADED) -> EngineModel:
    hint = Process(argv=(("--alias", name), ("--port", port))) if state else None
    return EngineModel(ModelId(name), state, process=hint)


CHILD = ("llama-server", "--port", "40000", "--alias", "a", "--model", "/models/a.gguf")


def test_an_engine_that_answers_here_by_nobody_known_is_untraced() -> None:
    machine = Machine({8080: 40})
    elsewhere, silent = EngineId("elsewhere"), EngineId("silent")
    machine.others = {elsewhere: "http://192.0.2.1:8080", silent: "http://localhost:8081"}
    machine.look()
    assert machine.attribution.untraced() == {LLAMA, silent}, "40 is no process of this machine"
    machine.start(40)
    machine.look()
    assert machine.attribution.untraced() == {LLAMA, silent}, "not searched for each second"
    machine.now += ROOTS_INTERVAL
    machine.look()
    assert machine.attribution.untraced() == {silent}
    machine.look(up=False)
    assert machine.attribution.untraced() == frozenset()


def test_where_the_kernel_never_tells_who_listens_that_is_nobodys_mistake() -> None:
    machine = Machine(tells=False)
    machine.look()
    assert machine.attribution.untraced() == frozenset()


def test_where_nobody_is_seen_to_listen_the_main_process_of_its_service_is_it() -> None:
    machine = Machine({})
    machine.start(40)
    machine.start(50)
    whole = EngineModel(ModelId("a"), State.LOADED, process=Process(whole=True))
    machine.look(whole)
    assert machine.attribution.untraced() == {LLAMA}
    machine.look(whole, mains={LLAMA: 39})
    assert machine.attribution.untraced() == {LLAMA}, "39 has ended"
    machine.look(whole, mains={LLAMA: 40})
    assert machine.attribution.untraced() == frozenset()
    assert machine.attribution.pids_of(A) == (40,)


@pytest.mark.parametrize("client", sorted(CONTAINER_CLIENTS))
def test_the_main_process_of_a_unit_that_has_a_container_started_is_not_the_engine(
    client: str,
) -> None:
    machine = Machine({})
    machine.start(40, client, "run", "vllm/vllm-openai")
    whole = EngineModel(ModelId("a"), State.LOADED, process=Process(whole=True))
    for name, untraced in ((client, {LLAMA}), ("vllm", set())):
        table = (Listed(40, 1, name, gib(1), Bytes(0)),)
        machine.look(whole, mains={LLAMA: 40}, table=table)
        assert machine.attribution.untraced() == untraced


def test_who_is_seen_to_listen_comes_before_the_main_process() -> None:
    machine = Machine({8080: 50})
    machine.start(40)
    machine.start(50)
    whole = EngineModel(ModelId("a"), State.LOADED, process=Process(whole=True))
    machine.look(whole, mains={LLAMA: 40})
    assert machine.attribution.pids_of(A) == (50,)


def test_a_process_is_found_by_its_words_in_any_order() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.start(8, "llama-server", "--alias", "b", "--port", "40000")
    machine.start(9, "vim", "--alias a --port 40000")
    assert machine.look(loaded())[7].anonymous == gib(1)
    assert machine.attribution.pids_of(A) == (7,)


def test_once_found_it_is_followed_without_a_sweep_of_all_processes() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    for _ in range(5):
        machine.look(loaded())
    assert machine.listed == 1


def test_memory_is_read_again_only_of_whoever_has_worked() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    machine.size[7] = gib(3)
    assert machine.look(loaded())[7].anonymous == gib(1)  # it stood still: nothing to read
    machine.cpu[7] = 0.5
    assert machine.look(loaded())[7].anonymous == gib(3)
    assert machine.read == [{7}, set(), {7}]


def test_now_and_then_and_when_asked_to_be_thorough_all_is_read() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    machine.size[7] = gib(3)
    assert machine.look(loaded(), thorough=True)[7].anonymous == gib(3)
    machine.size[7] = gib(4)
    machine.now += MEMORY_INTERVAL
    assert machine.look(loaded())[7].anonymous == gib(4)


def test_cpu_time_is_fresh_although_memory_is_not() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    machine.cpu[7] = 0.01
    assert machine.look(loaded())[7].cpu == 0.01
    assert machine.read[-1] == set()


def test_a_later_process_with_the_same_pid_is_another() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    machine.start(7, "bash", started=50.0)
    assert machine.look(loaded()) == {}
    assert machine.attribution.pids_of(A) == ()


def test_a_model_that_was_loaded_again_is_looked_for_again() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    del machine.running[7]
    machine.start(8, "llama-server", "--alias", "a", "--port", "41000")
    machine.look(loaded(port="41000"))
    assert machine.attribution.pids_of(A) == (8,)


def test_a_process_that_outlives_its_model_lingers_until_it_ends() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    assert machine.attribution.lingering() == {}
    machine.look(loaded(state=None))
    assert machine.attribution.pids_of(A) == ()
    assert machine.attribution.lingering() == {A: gib(1)}
    machine.cpu[7], machine.size[7] = 1.0, gib(0.25)
    machine.look(loaded(state=None))
    assert machine.attribution.lingering() == {A: gib(0.25)}
    del machine.running[7]
    machine.look(loaded(state=None))
    assert machine.attribution.lingering() == {}


def test_while_an_engine_is_silent_nobody_searches_for_its_processes() -> None:
    machine = Machine()
    machine.look(loaded(), up=False)
    assert machine.listed == 0


def test_a_pid_that_the_engine_tells_needs_no_search() -> None:
    machine = Machine()
    machine.start(7, "anything")
    hint = Process(pid=7, ours=True)
    machine.look(EngineModel(ModelId("a"), State.LOADED, process=hint))
    assert machine.attribution.pids_of(A) == (7,)
    assert machine.listed == 0


def test_of_a_model_whose_process_has_ended_that_is_known_until_it_is_found_again() -> None:
    machine = Machine()
    machine.start(7, *CHILD)
    machine.look(loaded())
    assert not machine.attribution.has_ended(A)
    del machine.running[7]
    machine.look(loaded(), up=False)
    assert machine.attribution.has_ended(A)
    machine.start(8, *CHILD)
    machine.look(loaded())
    assert not machine.attribution.has_ended(A)
    del machine.running[8]
    machine.look(loaded(state=None))  # the engine says itself that it is not loaded
    assert not machine.attribution.has_ended(A)


def test_what_an_engine_forks_is_not_its_model_before_it_has_become_another_program() -> None:
    machine = Machine({8080: 40})
    nameless = EngineModel(ModelId("a"), State.LOADED)

    def listed(**sizes: float) -> tuple[Listed, ...]:
        rows = (Listed(int(k[1:]), 40, "x", gib(s), Bytes(0)) for k, s in sizes.items())
        return (Listed(40, 1, "x", gib(9), Bytes(0)), *rows)

    for pid in (40, 41, 42, 43, 44):
        machine.start(pid)
    machine.look(nameless, table=listed(p41=4))
    assert machine.attribution.pids_of(A) == (41,)
    machine.look(
        nameless, table=listed(p41=4, p42=9, p43=9)
    )  # as their parent, between fork and exec
    assert machine.attribution.pids_of(A) == (41,)
    assert machine.read[-1] <= {41}
    machine.look(nameless, table=listed(p41=4, p42=0.01, p43=5))
    assert machine.attribution.pids_of(A) == (41, 43), "43 is a second process of the model"
    table = listed(p41=4, p43=5, p44=5)
    machine.look(nameless, table=table)
    assert machine.attribution.pids_of(A) == (41, 43)
    machine.look(nameless, table=table)  # which is not read for each look
    assert machine.attribution.pids_of(A) == (41, 43, 44)
