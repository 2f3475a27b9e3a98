"""The process table, on trees made of text and on this machine."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.errors import CollectorError
from collectors.process import read_processes
from collectors.reading import Bytes, Process, mib
from collectors.table import STEP, ProcessTable, children, descendants

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

PAGES = 256  # of 4 KiB in a MiB
KERNEL_THREAD, PROGRAM = 0x208040, 0x400100  # flags


class Proc:
    """A /proc made of files. Sizes in MiB."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/meminfo").write_text("")
        self._aside = 0

    def put(
        self,
        pid: int,
        parent: int = 1,
        *,
        name: str = "llama-server",
        anon: int = 10,
        file: int = 0,
        shared: int = 0,
        tables: int = 0,
        locked: int = 0,
        statm: bool = True,
    ) -> None:
        """Write or change a program."""
        rows = {"RssAnon": anon, "RssFile": file, "RssShmem": shared}
        rows |= {"VmPTE": tables, "VmLck": locked}
        sizes = "".join(f"{key}:\t{size * 1024:8} kB\n" for key, size in rows.items())
        self._write(pid, "status", f"Name:\t{name}\nState:\tS\nPPid:\t{parent}\n{sizes}")
        self._write(pid, "stat", f"{pid} ({name}) S {parent} 1 1 0 -1 {PROGRAM} 0 0")
        if statm:
            self.count(pid, anon, file)

    def count(self, pid: int, anon: float, file: float, size: int = 0) -> None:
        """Change what statm says, and nothing else."""
        resident, shared = int((anon + file) * PAGES), int(file * PAGES)
        self._write(pid, "statm", f"{size} {resident} {shared} 0 0 0 0\n")

    def put_empty(self, pid: int, name: str, state: str, flags: int, parent: int = 2) -> None:
        """Write what has no memory: a kernel thread, or a program that has ended."""
        self._write(pid, "status", f"Name:\t{name}\nState:\t{state}\nPPid:\t{parent}\n")
        self._write(pid, "stat", f"{pid} ({name}) {state} {parent} 0 0 0 -1 {flags} 0 0")
        self._write(pid, "statm", "0 0 0 0 0 0 0\n")

    def end(self, pid: int) -> None:
        """Its inode stays in use elsewhere, as /proc never gives one to a second process."""
        self._aside += 1
        (self.root / f"proc/{pid}").rename(self.root / f"ended-{self._aside}")

    def _write(self, pid: int, name: str, text: str) -> None:
        (self.root / f"proc/{pid}").mkdir(exist_ok=True)
        (self.root / f"proc/{pid}" / name).write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.fixture
def table(proc: Proc) -> ProcessTable:
    return ProcessTable(proc.root)


def named(processes: Iterable[Process]) -> dict[int, str]:
    return {process.pid: process.name for process in processes}


def test_every_program_is_listed_with_what_it_holds(proc: Proc, table: ProcessTable) -> None:
    proc.put(700, 1, name="bash", anon=2, file=3)
    proc.put(42, 7, name="llama-server", anon=100, file=900, shared=50, tables=2, locked=400)
    assert table.read() == (
        Process(42, 7, "llama-server", mib(100 + 50 + 400 + 2), mib(500), shared=mib(50)),
        Process(700, 1, "bash", mib(2), mib(3)),
    )


def test_without_statm_each_status_is_read_each_time(proc: Proc, table: ProcessTable) -> None:
    proc.put(42, anon=100, statm=False)
    table.read()
    proc.put(42, anon=101, statm=False)
    assert table.read()[0].anonymous == mib(101)


@pytest.mark.parametrize(
    ("change", "is_seen"),
    [
        pytest.param({"anon": 10, "file": 20}, False, id="nothing"),
        pytest.param({"anon": 10.9, "file": 20}, False, id="less-than-a-step"),
        pytest.param({"anon": 11, "file": 20}, True, id="growth"),
        pytest.param({"anon": 9, "file": 20}, True, id="less"),
        pytest.param({"anon": 15, "file": 15}, True, id="file-pages-dropped-and-others-taken"),
        pytest.param({"anon": 10, "file": 20, "size": 1}, True, id="another-address-space"),
    ],
)
def test_a_status_is_read_again_when_its_counts_have_changed(
    proc: Proc, table: ProcessTable, change: dict[str, int], is_seen: bool
) -> None:
    proc.put(42, anon=10, file=20, name="before")
    table.read()
    proc.put(42, anon=77, file=20, name="after")
    proc.count(42, **change)
    [process] = table.read()
    assert (process.name, process.anonymous) == (
        ("after", mib(77)) if is_seen else ("before", mib(10))
    )


def test_slow_growth_is_seen_at_last(proc: Proc, table: ProcessTable) -> None:
    proc.put(42, anon=10)
    table.read()
    proc.put(42, anon=12, statm=False)
    steps = range(10 * PAGES, 12 * PAGES, STEP // 3)
    for pages in steps:
        proc.count(42, pages / PAGES, 0)
        table.read()
    assert table.read()[0].anonymous == mib(12)


def test_a_large_program_is_looked_at_each_time(proc: Proc, table: ProcessTable) -> None:
    proc.put(42, anon=10, file=3000)
    assert table.read()[0].anonymous == mib(10)
    proc.put(42, anon=10, file=3000, locked=3000)  # locking changes no count
    assert table.read()[0].anonymous == mib(3010)


def test_kernel_threads_are_not_listed(proc: Proc, table: ProcessTable) -> None:
    proc.put_empty(2, "kthreadd", "S", KERNEL_THREAD, parent=0)
    proc.put_empty(64, "kswapd0", "S", KERNEL_THREAD)
    proc.put(42)
    assert named(table.read()) == {42: "llama-server"}
    (proc.root / "proc/64/statm").write_text("9 9 9 0 0 0 0")
    (proc.root / "proc/64/status").write_text("Name:\tx\nPPid:\t2\nRssAnon:\t9 kB\n")
    assert named(table.read()) == {42: "llama-server"}, "and not read a second time"


def test_a_pid_that_a_kernel_thread_had_may_become_a_programs(
    proc: Proc, table: ProcessTable
) -> None:
    proc.put_empty(64, "kworker/0:1", "I", KERNEL_THREAD)
    assert table.read() == ()
    proc.end(64)
    proc.put(64)
    assert named(table.read()) == {64: "llama-server"}


def test_a_helper_of_the_kernel_becomes_a_program_under_its_own_pid(
    proc: Proc, table: ProcessTable
) -> None:
    proc.put_empty(90, "kworker/u8:3", "R", PROGRAM)
    assert table.read() == ()
    proc.put(90, 2, name="modprobe")
    assert named(table.read()) == {90: "modprobe"}


def test_a_pid_with_the_same_counts_is_still_another_process(
    proc: Proc, table: ProcessTable
) -> None:
    proc.put(42, 7, name="bash")
    table.read()
    proc.end(42)
    proc.put(42, 8, name="sleep")
    [process] = table.read()
    assert (process.name, process.parent) == ("sleep", 8)


def test_what_has_ended_is_listed_no_more(proc: Proc, table: ProcessTable) -> None:
    proc.put(42)
    proc.put(43)
    table.read()
    proc.end(42)
    proc.put_empty(43, "llama-server", "Z", PROGRAM, parent=1)
    assert table.read() == ()


def test_children_of_a_process_that_ended_have_another_parent(
    proc: Proc, table: ProcessTable
) -> None:
    proc.put(7, 1, name="bash")
    proc.put(42, 7)
    assert table.read()[1].parent == 7
    proc.end(7)
    proc.put(7, 1, name="innocent")  # whose child it is not
    proc.put(42, 1)
    assert descendants(7, table.read()) == frozenset()


def test_a_process_that_may_not_be_looked_at_is_left_out(proc: Proc, table: ProcessTable) -> None:
    (proc.root / "proc/99").mkdir()
    proc.put(42)
    assert named(table.read()) == {42: "llama-server"}


def test_without_a_process_table_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CollectorError, match="proc: No such file"):
        ProcessTable(tmp_path).read()


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_no_text_is_too_strange(
    tmp_path_factory: pytest.TempPathFactory, statm: bytes, status: bytes, stat: bytes
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "proc/42").mkdir(parents=True)
    table = ProcessTable(root)
    for text in (status, b"Name:\tx\nRssAnon:\t" + status):
        for name, data in (("statm", statm), ("status", text), ("stat", stat)):
            (root / "proc/42" / name).write_bytes(data)
        for process in (*table.read(), *table.read()):
            assert min(process.anonymous, process.file, process.parent) >= 0
    shutil.rmtree(root)


# -- families


def family(parents: dict[int, int]) -> list[Process]:
    return [Process(pid, parent, "", Bytes(0), Bytes(0)) for pid, parent in parents.items()]


def test_descendants_are_children_and_their_children() -> None:
    processes = family({1: 0, 5: 1, 6: 5, 7: 6, 8: 5, 9: 1})
    assert children(processes) == {0: [1], 1: [5, 9], 5: [6, 8], 6: [7]}
    assert descendants(5, processes) == {6, 7, 8}
    assert descendants(7, processes) == descendants(4711, processes) == frozenset()


@given(st.dictionaries(st.integers(1, 9), st.integers(0, 9)), st.integers(0, 9))
@example({1: 2, 2: 3, 3: 2}, 2)
def test_no_family_is_too_strange_even_in_a_circle(parents: dict[int, int], pid: int) -> None:
    found = descendants(pid, family(parents))
    assert pid not in found
    assert all(parents[child] in found | {pid} for child in found)


# -- the real thing


@on_linux
def test_this_machine_is_listed_as_each_process_is_read_alone() -> None:
    pid = os.getpid()
    table = ProcessTable()
    table.read()
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        processes = {process.pid: process for process in table.read()}
        assert (processes[pid].parent, processes[program.pid].parent) == (os.getppid(), pid)
        alone = read_processes([pid])[pid]
        assert abs(processes[pid].anonymous - alone.anonymous) < mib(8)
        assert program.pid in descendants(pid, processes.values())
    finally:
        program.kill()
        program.communicate()
    assert program.pid not in named(table.read())


@on_linux
def test_a_table_kept_for_long_says_what_a_fresh_one_does(proc: Proc) -> None:
    """Random changes of more than a step, on both: a kept table may be late by no more."""
    chance, kept = random.Random(7), ProcessTable(proc.root)
    living: set[int] = set()
    for _ in range(60):
        pid = chance.randrange(1, 12)
        if pid in living and chance.random() < 0.3:
            proc.end(pid)
            living.remove(pid)
        else:
            proc.put(pid, name=f"p{chance.randrange(3)}", anon=2 * chance.randrange(1, 200))
            living.add(pid)
        fresh = {p.pid: p.anonymous for p in ProcessTable(proc.root).read()}
        assert {p.pid: p.anonymous for p in kept.read()} == fresh
