"""Whole families of processes: an engine's, and those of a model that has several."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from collectors.reading import Bytes, gib, mib
from collectors.reading import Process as Row
from supervisor.attribution import ROOTS_INTERVAL
from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines.base import EngineModel, Process
from tests.builders import ref
from tests.test_attribution import CHILD, LLAMA, URL, A, Machine, loaded

SERVER = ("llama-server", "--port", "8080")
VLLM = EngineModel(ModelId("a"), State.LOADED)  # it does not say which process holds it
B = ref("b", "llama")


def row(pid: int, parent: int, size: float = 1.0) -> Row:
    return Row(pid, parent, "x", gib(size), Bytes(0))


def house(**parents: int) -> tuple[Machine, tuple[Row, ...]]:
    """A machine with an engine, 5, that listens; `p7=5`: process 7 is a child of it."""
    machine = Machine()
    machine.start(5, *SERVER)
    machine.ports[8080] = 5
    for name in parents:
        machine.start(int(name[1:]), "worker")
    table = (row(5, 1), *(row(int(name[1:]), parent) for name, parent in parents.items()))
    return machine, table


# -- what a model's processes hold, and do


def test_the_children_of_a_models_process_are_charged_to_it() -> None:
    machine, table = house(p7=5, p8=7, p9=8)
    machine.start(7, *CHILD)
    held = machine.look(loaded(), table=table)
    assert machine.attribution.pids_of(A) == (7, 8, 9)
    assert sum(held[p].anonymous for p in machine.attribution.pids_of(A)) == gib(3)
    assert machine.attribution.kin.engines == {5: LLAMA}


def test_the_first_of_a_models_processes_is_its_own_and_not_the_one_with_the_lowest_pid() -> None:
    machine, table = house(p20=5, p8=20)
    machine.start(20, *CHILD)
    machine.look(loaded(), table=table)
    assert machine.attribution.pids_of(A) == (20, 8)


def test_of_a_model_that_names_no_process_all_large_children_of_its_engine_are() -> None:
    machine, table = house(p7=5, p8=5, p9=5)
    table = (*table[:-1], row(9, 5, 0.01))
    machine.look(VLLM, table=table)
    assert machine.attribution.pids_of(A) == (7, 8)


def told(*pids: int) -> EngineModel:
    return replace(VLLM, process=Process(pid=pids[0], more=pids[1:]))


def test_a_pid_that_its_engine_tells_is_believed_of_its_own_family() -> None:
    machine, table = house(p7=5, p8=7, p9=1)
    machine.look(told(8), table=table)
    assert machine.attribution.pids_of(A) == (8,)


def test_a_pid_of_another_world_is_not_taken_for_one_of_ours() -> None:
    for ports, table in (({8080: 5}, True), ({}, True), ({8080: 5}, False)):
        machine, rows = house(p7=5, p9=1)
        machine.ports = ports
        machine.attribution.processes = replace(machine.attribution.processes, listener=ports.get)
        machine.look(told(9), table=rows if table else ())
        assert 9 not in machine.attribution.pids_of(A)


def test_every_process_that_an_engine_tells_of_a_model_is_that_models() -> None:
    machine, table = house(p7=5, p8=5, p9=5)
    held = machine.look(told(7, 9), replace(told(8), id=ModelId("b")), table=table)
    assert machine.attribution.pids_of(A) == (7, 9)
    assert machine.attribution.pids_of(B) == (8,)
    assert held.keys() >= {7, 8, 9}


WHOLE = replace(VLLM, process=Process(whole=True))


def test_of_an_engine_that_is_one_model_every_process_is_that_models() -> None:
    machine, table = house(p7=5, p8=7)
    held = machine.look(WHOLE, table=table)
    assert machine.attribution.pids_of(A) == (5, 7, 8)
    assert {5, 7, 8} <= held.keys()
    assert machine.attribution.kin.engines == {}


@pytest.mark.parametrize("words", [("-hf", "org/model"), ("-m", "/models/a.gguf"), ()])
def test_an_engine_that_is_one_model_need_not_have_it_in_its_command_line(
    words: tuple[str, ...],
) -> None:
    machine, _ = house(p7=1)
    machine.start(5, *SERVER, *words)
    machine.start(7, "llama-bench", "-m", "/models/a.gguf")  # somebody else's
    machine.look(replace(VLLM, process=Process(argv=(("/models/a.gguf",),), whole=True)))
    assert machine.attribution.pids_of(A) == (5,)


def test_an_engine_that_is_one_model_may_stand_behind_a_proxy() -> None:
    machine = Machine({8080: 3})
    machine.start(3, "/usr/sbin/nginx")
    machine.start(5, *SERVER, "-m", "/models/a.gguf")
    machine.look(replace(VLLM, process=Process(argv=(("/models/a.gguf",),), whole=True)))
    assert machine.attribution.pids_of(A) == (5,)


def test_an_engine_that_is_one_model_has_nothing_of_it_once_it_is_unloaded() -> None:
    machine, table = house(p7=5)
    machine.look(WHOLE, table=table)
    machine.look(replace(WHOLE, state=None, process=None), table=table)
    assert machine.attribution.pids_of(A) == ()
    assert machine.attribution.kin.engines == {5: LLAMA, 7: LLAMA}


def test_an_engine_that_is_one_model_and_is_started_anew_is_found_again() -> None:
    machine, table = house(p7=5)
    machine.look(WHOLE, table=table)
    del machine.running[5]
    del machine.running[7]
    machine.start(50, *SERVER)
    machine.ports[8080] = 50
    machine.look(WHOLE, table=(row(50, 1),))
    assert machine.attribution.pids_of(A) == (50,)


def test_the_work_of_a_child_is_its_models_work() -> None:
    machine, table = house(p7=5, p8=7)
    machine.start(7, *CHILD)
    machine.look(loaded(), table=table)
    machine.cpu[8], machine.size[8] = 0.5, gib(3)
    held = machine.look(loaded(), table=table)
    assert [held[p].cpu for p in machine.attribution.pids_of(A)] == [0.0, 0.5]
    assert held[8].anonymous == gib(3), "it has worked: its memory is read anew"
    assert machine.read[-1] == {8}
    machine.look(loaded(), table=table)
    assert machine.read[-1] == set()


def test_children_that_stand_still_are_read_again_now_and_then() -> None:
    machine, table = house(p7=5, p8=7)
    machine.start(7, *CHILD)
    machine.look(loaded(), table=table)
    machine.size[8] = gib(2)
    assert machine.look(loaded(), table=table, thorough=True)[8].anonymous == gib(2)


def test_a_child_that_ends_is_no_longer_charged() -> None:
    machine, table = house(p7=5, p8=7)
    machine.start(7, *CHILD)
    machine.look(loaded(), table=table)
    del machine.running[8]
    assert set(machine.look(loaded(), table=table)) == {7}
    assert machine.attribution.pids_of(A) == (7,)


def test_a_stranger_with_the_pid_of_a_child_that_has_ended_is_not_charged_to_the_model() -> None:
    machine, table = house(p7=5, p8=7)
    machine.start(7, *CHILD)
    machine.look(loaded(), table=table)
    machine.start(8, "bash", started=50.0)
    for _ in range(2):  # the table still has it as it was
        assert set(machine.look(loaded(), table=table)) == {7}
        assert machine.attribution.pids_of(A) == (7,)
    machine.look(loaded(), table=(row(5, 1), row(7, 5), row(8, 1)))
    assert machine.attribution.pids_of(A) == (7,)


def test_a_new_child_with_the_pid_of_an_old_one_counts_once_the_table_has_it() -> None:
    machine, table = house(p7=5, p8=7)
    machine.start(7, *CHILD)
    machine.look(loaded(), table=table)
    machine.start(8, "worker", started=50.0)
    machine.look(loaded(), table=table)
    machine.look(loaded(), table=(*table, row(10, 1)))
    assert machine.attribution.pids_of(A) == (7, 8)


def test_a_process_of_another_control_group_is_the_engines_where_it_shares_its_own() -> None:
    machine, _ = house(p7=1, p8=1)
    table = (row(5, 1, 0.01), row(7, 1), row(8, 1))
    machine.groups |= dict.fromkeys((5, 7), "/system.slice/vllm.service")
    machine.groups[8] = "/system.slice/ssh.service"
    machine.look(VLLM, loaded("b", state=None), table=table)
    assert machine.attribution.pids_of(A) == (7,)


def test_the_control_group_of_a_small_process_is_not_asked_for() -> None:
    machine, _ = house(p7=1)
    machine.groups |= dict.fromkeys((5, 7), "/system.slice/vllm.service")
    table = (row(5, 1), Row(7, 1, "x", mib(63), mib(500)))
    machine.look(VLLM, table=table)
    assert machine.attribution.pids_of(A) == ()


# -- who answers for an engine


class Counted(dict[int, int]):
    """Ports, and how often it was asked who listens."""

    asked = 0

    def get(self, port: int, default: int | None = None) -> int | None:  # type: ignore[override]
        self.asked += 1
        return super().get(port, default)


def listened() -> tuple[Machine, Counted, tuple[Row, ...]]:
    ports = Counted()
    machine = Machine(ports)
    ports[8080] = 5
    machine.start(5, *SERVER)
    machine.start(7, *CHILD)
    return machine, ports, (row(5, 1), row(7, 5))


def test_who_listens_is_searched_for_once() -> None:
    machine, ports, _ = listened()
    for _ in range(5):
        machine.now += ROOTS_INTERVAL
        machine.look(loaded(), table=(row(5, 1), row(7, 5)))
    assert ports.asked == 1
    assert machine.attribution.kin.engines == {5: LLAMA}


def test_where_nobody_is_found_the_search_is_not_made_again_for_a_minute() -> None:
    machine, ports, table = listened()
    del ports[8080]
    machine.look(loaded(), table=table)
    machine.now += ROOTS_INTERVAL - 2
    machine.look(loaded(), table=table)
    assert ports.asked == 1
    ports[8080] = 5
    machine.now += 1
    machine.look(loaded(), table=table)
    assert (ports.asked, machine.attribution.kin.engines) == (2, {5: LLAMA})


@pytest.mark.parametrize("reused", [False, True])
def test_after_the_listeners_end_its_successor_is_searched_for_at_once(reused: bool) -> None:
    machine, ports, table = listened()
    machine.look(loaded(), table=table)
    if reused:
        machine.start(5, "bash", started=50.0)
    else:
        del machine.running[5]
    ports[8080] = 6
    machine.start(6, *SERVER, started=60.0)
    machine.look(loaded(), table=table)
    assert ports.asked == 2
    machine.look(loaded(), table=(row(5, 1), row(6, 1), row(7, 6)))
    assert machine.attribution.kin.engines == {6: LLAMA}
    assert ports.asked == 2


def test_nobody_is_searched_for_while_the_engine_is_silent() -> None:
    machine, ports, table = listened()
    machine.look(loaded(), up=False, table=table)
    assert ports.asked == 0


@pytest.mark.parametrize(
    ("url", "local"),
    [
        (URL, True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080/v1", True),
        ("http://0.0.0.0:8080", True),
        ("http://192.168.1.7:8080", False),
        ("http://gpu-box:8080", False),
        ("https://localhost.example.com:8080", False),
        ("http://127.0.0.1", False),
        ("http://127.0.0.1:port", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_an_engine_of_another_machine_is_never_searched_for_here(url: str, local: bool) -> None:
    machine, ports, table = listened()
    machine.url = url
    machine.look(loaded(), table=table)
    assert ports.asked == int(local)
    assert machine.attribution.kin.engines == ({5: LLAMA} if local else {})
    assert machine.attribution.pids_of(A) == (7,), "its command line says whose it is"


def test_of_two_engines_each_has_its_own() -> None:
    machine, ports, table = listened()
    other = EngineId("other")
    ports[9090] = 9
    machine.start(9, "other-server")
    machine.others = {other: "http://127.0.0.1:9090"}
    machine.look(loaded(), table=(*table, row(9, 1), row(10, 9)))
    assert machine.attribution.kin.engines == {5: LLAMA, 9: other, 10: other}


# -- ourselves


def test_we_and_our_children_are_nobodys_although_the_engine_started_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine, _, _ = listened()
    us = 40
    monkeypatch.setattr(os, "getpid", lambda: us)
    for pid in (us, us + 1):
        machine.start(pid, "ullage")
    table = (row(5, 1), row(us, 5), row(us + 1, us), row(us + 2, 5))
    machine.start(us + 2, "worker")
    machine.groups |= dict.fromkeys((5, us), "/system.slice/llama.service")
    machine.look(VLLM, table=table)
    assert machine.attribution.pids_of(A) == (us + 2,)
    assert machine.attribution.kin.engines == {5: LLAMA}


# -- after their model


def test_every_process_that_outlives_its_model_lingers() -> None:
    """What they hold has not come back, whatever the engine says."""
    machine, table = house(p7=5, p8=7)
    machine.start(7, *CHILD)
    machine.look(loaded(), table=table)
    assert machine.attribution.lingering() == {}
    machine.look(loaded(state=None), table=table)
    assert machine.attribution.lingering() == {A: gib(2)}
    del machine.running[8]
    machine.look(loaded(state=None), table=table)
    assert machine.attribution.lingering() == {A: gib(1)}
    del machine.running[7]
    machine.look(loaded(state=None), table=table)
    assert machine.attribution.lingering() == {}


def test_a_child_that_nobody_named_lingers_as_well() -> None:
    machine, table = house(p7=5)
    machine.look(VLLM, table=table)
    machine.look(table=table)
    assert machine.attribution.pids_of(A) == ()
    assert machine.attribution.lingering() == {A: gib(1)}
    machine.look(VLLM, table=table)
    assert machine.attribution.pids_of(A) == (7,), "loaded again, into the same process"


def test_a_model_that_we_started_ourselves_is_a_models_with_all_that_it_started() -> None:
    machine = Machine()
    for pid in (7, 8, 9):
        machine.start(pid, "child")
    us = os.getpid()
    table = (row(us, 1), row(7, us), row(8, 7), row(9, us))
    ours = replace(VLLM, process=Process(pid=7, ours=True))
    machine.look(ours, table=table)
    assert machine.attribution.pids_of(A) == (7, 8)
    assert machine.attribution.kin.engines == {}, "9 is of us, and no engine's"


def test_who_started_us_may_hold_a_model_and_we_are_still_nobodys() -> None:
    machine = Machine()
    for pid in (7, 8):
        machine.start(pid, "engine")
    us = os.getpid()
    table = (row(7, 1), row(8, 7), row(us, 7))
    machine.look(replace(VLLM, process=Process(pid=7, ours=True)), table=table)
    assert machine.attribution.kin.models == {A: {7, 8}}
