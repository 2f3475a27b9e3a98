"""A collector's process that starts slowly, hangs, crashes, or cannot be killed."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectors.apart import GIVE_UP, LONGEST_PAUSE, START, Apart, Process
from collectors.errors import CollectorError, NoAnswer
from collectors.reading import Sample, Seconds, Tier
from tests.collectors.afar import TARGET, gate, tell
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State

SOON = 10.0  # seconds; only ever waited for in full when a test fails
SHORT = Seconds(0.02)

Make = Callable[..., Apart]


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    made: list[Apart] = []

    def new(deadline: float = SOON, target: str = TARGET, **options: object) -> Apart:
        apart = Apart("afar", target, tmp_path, Seconds(deadline), clock, **options)  # type: ignore[arg-type]
        made.append(apart)
        return apart

    yield new
    for apart in made:
        apart._kill = Process.kill
        apart.close()


def fault(apart: Apart) -> str:
    with pytest.raises(CollectorError) as error:
        apart.read(Tier.MEMORY)
    return str(error.value)


def late(apart: Apart) -> str:
    """A fault that says that it may hang."""
    with pytest.raises(NoAnswer) as error:
        apart.read(Tier.MEMORY)
    return str(error.value)


def answer(apart: Apart) -> Sample:
    """Asks again until there is one: another process answers when it likes."""
    apart._wait = Seconds(SOON)
    for _ in range(int(SOON / 0.01)):
        try:
            return apart.read(Tier.MEMORY)
        except CollectorError as error:
            last = error
            threading.Event().wait(0.01)
    raise last


def process(apart: Apart) -> Process:
    assert apart._child is not None
    return apart._child.process


def end_of(apart: Apart) -> int:
    return process(apart).wait(SOON)


# -- slow


def reads_on(apart: Apart, folder: Path, clock: Clock) -> None:
    """After the pause there is another process, and it answers."""
    tell(folder)
    clock.now += 1
    assert answer(apart).notes[1] == "calls 1"


def test_until_a_first_answer_has_come_it_is_starting_and_left_alone(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    apart = make(SHORT)
    tell(tmp_path, "hang")
    with gate(tmp_path):
        assert late(apart) == "is starting (0 s)"
        for passed in (GIVE_UP + 1, START):
            clock.now = 1000 + passed
            assert fault(apart) == f"is starting ({passed:.0f} s)"
        tell(tmp_path)
    assert answer(apart).notes[1] == "calls 2"
    assert apart.generation == 1


def test_one_that_does_not_start_is_killed_and_replaced(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    apart = make(SHORT)
    tell(tmp_path, "hang")
    with gate(tmp_path):
        fault(apart)
        clock.now += START + 1
        assert fault(apart) == f"no answer for 61 s: process {process(apart).pid} was killed"
        assert end_of(apart) == -signal.SIGKILL
        clock.now += 1
        assert fault(apart) == "is starting (0 s)"
        assert apart.generation == 2


def test_a_call_that_is_late_is_given_up_and_while_it_lasts_no_other_is_made(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    apart = make()
    answer(apart)
    tell(tmp_path, "hang")
    with gate(tmp_path):
        apart._wait = SHORT
        assert late(apart) == "no answer within 0.02 s"
        apart._wait = Seconds(SOON)
        clock.now += GIVE_UP
        started = time.monotonic()
        assert late(apart) == "no answer for 15 s"
        assert time.monotonic() - started < SOON / 2  # nobody waits for it a second time
        tell(tmp_path)
    assert answer(apart).notes[1] == "calls 3"
    assert apart.generation == 1


def test_of_an_answer_that_comes_too_late_only_the_incidents_are_kept(
    make: Make, tmp_path: Path
) -> None:
    apart = make()
    answer(apart)
    tell(tmp_path, "tick")
    with gate(tmp_path):
        apart._wait = SHORT
        fault(apart)
        fault(apart)
    sample = answer(apart)
    assert sample.notes[1] == "calls 3"
    assert [i.code for i in sample.incidents] == [2, 3]
    assert [i.code for i in apart.read(Tier.MEMORY).incidents] == [4]


# -- hanging


def test_one_that_hangs_is_killed_and_another_takes_its_place(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    apart = make()
    answer(apart)
    tell(tmp_path, "hang")
    with gate(tmp_path):
        apart._wait = SHORT
        fault(apart)
        clock.now += GIVE_UP + 1
        killed = f"no answer for 16 s: process {process(apart).pid} was killed"
        assert fault(apart) == killed
        assert end_of(apart) == -signal.SIGKILL
        assert fault(apart) == f"{killed}; another is started in 1 s"
        reads_on(apart, tmp_path, clock)
        assert apart.generation == 2


def test_one_that_cannot_be_killed_is_named_and_never_joined_by_a_second(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    killed: list[int] = []
    apart = make(kill=lambda process: killed.append(process.pid))
    answer(apart)
    pid = process(apart).pid
    tell(tmp_path, "hang")
    with gate(tmp_path):
        apart._wait = SHORT
        fault(apart)
        clock.now += GIVE_UP + 1
        fault(apart)
        assert fault(apart) == f"process {pid} is ending"
        for hours in (1, 2):
            clock.now += 3600 * hours
            # It sleeps here; in a driver that hangs the letter is D.
            told = " (state S)" if sys.platform == "linux" else ""
            hangs = f"process {pid} hangs in the driver and cannot be killed{told}"
            assert late(apart) == hangs
        assert (killed, apart.generation) == ([pid], 1)
        process(apart).kill()
        end_of(apart)
        tell(tmp_path)
        assert answer(apart).notes[0] != f"pid {pid}"
        assert apart.generation == 2


# -- crashing


@pytest.mark.parametrize(
    ("orders", "how"),
    [
        (("abort",), "by SIGABRT: free(): invalid pointer"),
        (("outlive", "its library is an older one"), "with status 1: its library is an older one"),
    ],
    ids=["a crash", "one that will never read again"],
)
def test_an_end_is_a_fault_that_says_how_and_the_next_one_reads_on(
    make: Make, tmp_path: Path, clock: Clock, orders: tuple[str, ...], how: str
) -> None:
    apart = make()
    answer(apart)
    tell(tmp_path, *orders)
    said = f"its process ended {how}"
    assert fault(apart) == said
    assert fault(apart) == f"{said}; another is started in 1 s"
    reads_on(apart, tmp_path, clock)
    assert apart.generation == 2


def test_one_that_somebody_killed_while_nothing_was_asked_is_a_fault_too(make: Make) -> None:
    apart = make()
    answer(apart)
    process(apart).terminate()
    end_of(apart)
    assert fault(apart) == "its process ended by SIGTERM"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("tests.collectors.nowhere:It", "No module named 'tests.collectors.nowhere'"),
        ("tests.collectors.afar:It", "module 'tests.collectors.afar' has no attribute 'It'"),
    ],
)
def test_one_that_cannot_make_its_collector_says_why(make: Make, target: str, why: str) -> None:
    said = fault(make(target=target))
    assert said.startswith("its process ended with status 1: ")
    assert why in said


def test_a_process_that_cannot_be_started_is_a_fault_and_not_tried_at_once_again(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = make()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        assert fault(apart).startswith("its process cannot be started: ")
    assert fault(apart).endswith("; another is started in 1 s")
    clock.now += 1
    assert answer(apart).notes[1] == "calls 1"


@pytest.fixture
def hopeless(make: Make, monkeypatch: pytest.MonkeyPatch) -> Apart:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    return make()


def pauses(apart: Apart, clock: Clock, count: int) -> list[float]:
    found = []
    for _ in range(count):
        assert fault(apart) == "its process ended with status 1"
        found.append(apart._next_start - clock.now)
        clock.now = apart._next_start
    return found


def test_pauses_between_crashes_double_up_to_a_minute(hopeless: Apart, clock: Clock) -> None:
    assert pauses(hopeless, clock, 8) == [1, 2, 4, 8, 16, 32, 60, 60]
    assert hopeless.generation == 8


def test_after_it_was_closed_there_is_no_pause(hopeless: Apart, clock: Clock) -> None:
    pauses(hopeless, clock, 3)
    fault(hopeless)
    hopeless.close()
    assert pauses(hopeless, clock, 1) == [1]


def test_a_child_that_lasted_starts_the_pauses_anew(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    apart, found = make(), []
    for lasted in (0, 0, LONGEST_PAUSE):
        tell(tmp_path)
        answer(apart)
        clock.now += lasted
        tell(tmp_path, "abort")
        fault(apart)
        found.append(apart._next_start - clock.now)
        clock.now = apart._next_start
    assert found == [1, 2, 1]


# -- the real binding on a driver that hangs


@pytest.mark.slow
def test_nvidia_is_read_apart_and_a_driver_that_hangs_loses_only_its_child(
    nvml_library: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path / "nvml.txt")
    state.gpu(0, name="NVIDIA RTX 4090", uuid="GPU-aaaa", total=24 * GIB, used=2 * GIB)
    state.proc(0, "C", os.getpid(), GIB)
    for variable, value in state.env(nvml_library).items():
        monkeypatch.setenv(variable, value)
    apart = Apart("nvidia", "collectors.nvidia:NvidiaCollector", clock=clock)
    apart._wait = Seconds(SOON)
    sample = apart.read(Tier.ALL)
    assert [(p.id, p.free) for p in sample.pools] == [("GPU-aaaa", 22 * GIB)]
    assert sample.holders is not None
    assert [h.pid for h in sample.holders] == [os.getpid()]

    state.hang("nvmlDeviceGetMemoryInfo_v2")
    apart._wait = SHORT
    assert fault(apart) == "no answer within 0.02 s"
    clock.now += GIVE_UP + 1
    assert "was killed" in fault(apart)
    end_of(apart)
    state.drop("hang")
    clock.now += 1
    apart._wait = Seconds(SOON)
    assert [p.id for p in apart.read(Tier.MEMORY).pools] == ["GPU-aaaa"]
    apart.close()
