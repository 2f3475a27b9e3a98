"""Pressure stall information, with a pair of sockets in the trigger's place and with a real one."""

import asyncio
import errno
import os
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.pressure import Watch, parse, read, trigger
from collectors.reading import Pressure, Seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs epoll")

TEXT = """some avg10=0.12 avg60=0.05 avg300=0.00 total=2500000
full avg10=0.00 avg60=0.00 avg300=0.00 total=1000001
"""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_totals_are_read_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/memory").write_text(TEXT)
    assert read(tmp_path) == Pressure(some=Seconds(2.5), full=Seconds(1.000001))


def test_a_group_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "memory.pressure").write_text(TEXT.replace("2500000", "7000000"))
    found = read(tmp_path / "elsewhere", tmp_path)
    assert found is not None
    assert found.some == 7.0


def test_a_kernel_that_does_not_count_has_none(tmp_path: Path) -> None:
    assert read(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "some avg10=0.00 total=5\n", "some total=x\nfull total=y\n", TEXT[:60]]
)
def test_half_an_answer_is_none(text: str) -> None:
    assert parse(text.encode()) is None


@given(st.binary(max_size=80))
def test_any_text_is_pressure_or_none(data: bytes) -> None:
    for text in (data, b"some total=" + data + b"\nfull total=" + data):
        found = parse(text)
        assert found is None or (found.some >= 0 and found.full >= 0)


# -- the trigger


class Kernel:
    """Takes triggers as /proc/pressure/memory does, by a rule for their windows in us."""

    def __init__(self, refuse: dict[int, int]) -> None:
        self.refuse = refuse  # window → errno
        self.written: list[bytes] = []

    def write(self, fd: int, data: bytes) -> int:
        self.written.append(data)
        if number := self.refuse.get(int(data.rstrip(b"\0").split()[2])):
            raise OSError(number, os.strerror(number))
        return len(data)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "memory"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize(
    ("refuse", "written", "found"),
    [
        pytest.param({}, [b"some 150000 1000000\0"], True, id="privileged"),
        pytest.param(
            {1_000_000: errno.EINVAL},
            [b"some 150000 1000000\0", b"some 300000 2000000\0"],
            True,
            id="unprivileged",
        ),
        pytest.param(
            {1_000_000: errno.EPERM, 2_000_000: errno.EPERM},
            [b"some 150000 1000000\0", b"some 300000 2000000\0"],
            False,
            id="unprivileged-before-6.4",
        ),
        pytest.param({1_000_000: errno.EBUSY}, [b"some 150000 1000000\0"], False, id="busy"),
        pytest.param(
            {1_000_000: errno.EOPNOTSUPP}, [b"some 150000 1000000\0"], False, id="switched-off"
        ),
    ],
)
def test_a_trigger_is_set_as_the_kernel_allows_or_not_at_all(
    file: str,
    monkeypatch: pytest.MonkeyPatch,
    refuse: dict[int, int],
    written: list[bytes],
    found: bool,
) -> None:
    kernel, before = Kernel(refuse), descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", kernel.write)
        fd = trigger(file)
    assert kernel.written == written
    assert all(len(text) <= 32 for text in kernel.written), "what the kernel takes"
    assert (fd is not None) == found
    assert descriptors() == before + found, "one without a trigger would poll as ready for ever"
    if fd is not None:
        os.close(fd)


def test_without_the_file_there_is_no_trigger(tmp_path: Path) -> None:
    assert trigger(str(tmp_path / "memory")) is None


@pytest.mark.parametrize(("stall", "window"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_stall_that_can_never_be_is_refused(stall: float, window: float) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        trigger(stall=Seconds(stall), window=Seconds(window))


def test_this_kernels_trigger_is_quiet_until_there_is_pressure() -> None:
    # So much waiting that no test machine has it.
    fd = trigger(stall=Seconds(1.9), window=Seconds(2.0))
    if fd is None:
        pytest.skip("no trigger on this machine")
    watch = Watch(fd)
    [*ready], _, _ = select.select([watch.fileno()], [], [], 0)
    assert ready == []
    with pytest.raises(OSError) as refused:
        os.write(fd, b"some 150000 2000000\0")
    assert refused.value.errno == errno.EBUSY, "it has its trigger"
    watch.close()


# -- the watch


class Alarm(NamedTuple):
    kernel: socket.socket  # urgent data that it sends is an event
    watch: Watch


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    ours, theirs = socket.socketpair()
    watch = Watch(theirs.detach())
    with ours:
        yield Alarm(ours, watch)
    watch.close()


def is_ready(watch: Watch) -> bool:
    return bool(select.select([watch.fileno()], [], [], 0)[0])


def test_an_event_wakes_the_loop_once(alarm: Alarm) -> None:
    seen: list[bool] = []

    async def scenario() -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def drained() -> None:
            seen.append(alarm.watch.drain())
            woken.set()

        loop.add_reader(alarm.watch.fileno(), drained)
        for _ in range(3):
            alarm.kernel.send(b"!", socket.MSG_OOB)
            await asyncio.wait_for(woken.wait(), 60)
            woken.clear()
            for _ in range(20):  # were it still ready, the loop would call again
                await asyncio.sleep(0)
        loop.remove_reader(alarm.watch.fileno())

    asyncio.run(scenario())
    assert seen == [True, True, True]


def test_without_an_event_nothing_is_ready(alarm: Alarm) -> None:
    assert not is_ready(alarm.watch)
    alarm.kernel.send(b"ordinary data is no event")
    assert not is_ready(alarm.watch)


def test_a_source_that_is_gone_is_let_go_and_does_not_keep_the_loop_busy(
    alarm: Alarm,
) -> None:
    alarm.kernel.close()
    assert is_ready(alarm.watch)
    assert not alarm.watch.drain()
    assert alarm.watch.gone
    assert not is_ready(alarm.watch)
    assert not alarm.watch.drain()


def test_closing_gives_both_descriptors_back() -> None:
    before = descriptors()
    ours, theirs = socket.socketpair()
    watch = Watch(theirs.detach())
    assert not watch.gone
    watch.close()
    watch.close()
    ours.close()
    assert (watch.fileno(), watch.gone, descriptors()) == (-1, True, before)
