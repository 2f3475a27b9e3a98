"""The kernel's alarm on its way to the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from supervisor.events import Event, Pressed
from supervisor.stalls import MACHINE, Stalls

linux = pytest.mark.skipif(not hasattr(socket, "MSG_OOB"), reason="needs urgent data")


class Kernel:
    """Urgent data sent to a socket is what the kernel does to a trigger."""

    def __init__(self) -> None:
        self.ends: dict[str, socket.socket] = {}

    def open(self, path: str) -> int:
        self.ends[path], theirs = socket.socketpair()
        return theirs.detach()

    def ring(self, path: str = MACHINE) -> None:
        self.ends[path].send(b"!", socket.MSG_OOB)

    def close(self) -> None:
        for end in self.ends.values():
            end.close()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    found = Kernel()
    yield found
    found.close()


class Counted(Stalls):
    """Counts how often the loop came to look."""

    woken = 0

    def _rang(self, *given: object) -> None:
        type(self).woken += 1
        super()._rang(*given)  # type: ignore[arg-type]


def watching(
    kernel: Kernel, story: Callable[[Stalls, list[Event]], Awaitable[None]], *paths: str
) -> None:
    async def told() -> None:
        posted: list[Event] = []
        stalls = Counted(posted.append, paths or (MACHINE,), kernel.open)
        Counted.woken = 0
        stalls.start()
        try:
            await story(stalls, posted)
        finally:
            stalls.close()

    asyncio.run(told())


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@linux
def test_each_alarm_is_posted_once(kernel: Kernel) -> None:
    async def story(stalls: Stalls, posted: list[Event]) -> None:
        await turns()
        assert posted == []
        for count in (1, 2, 3):
            kernel.ring()
            await turns()
            assert posted == [Pressed()] * count

    watching(kernel, story)


@linux
def test_the_groups_alarm_counts_as_the_machines_does(kernel: Kernel) -> None:
    async def story(stalls: Stalls, posted: list[Event]) -> None:
        kernel.ring("/sys/fs/cgroup/a/memory.pressure")
        await turns()
        kernel.ring(MACHINE)
        await turns()
        assert posted == [Pressed()] * 2

    watching(kernel, story, MACHINE, "/sys/fs/cgroup/a/memory.pressure")


@linux
def test_a_source_that_is_gone_is_let_go_and_keeps_nobody_busy(kernel: Kernel) -> None:
    async def story(stalls: Stalls, posted: list[Event]) -> None:
        before = set(os.listdir("/proc/self/fd"))
        kernel.ends["group"].close()
        await turns()
        assert Counted.woken == 1
        assert posted == []
        assert len(stalls.watches) == 1
        assert len(before - set(os.listdir("/proc/self/fd"))) == 3, "both ends, and the watch"
        kernel.ring()  # the other one is as good as it was
        await turns()
        assert posted == [Pressed()]

    watching(kernel, story, MACHINE, "group")


@linux
def test_closing_gives_all_descriptors_back_and_what_rings_then_is_not_heard(
    kernel: Kernel,
) -> None:
    async def story(stalls: Stalls, posted: list[Event]) -> None:
        before = len(os.listdir("/proc/self/fd"))
        [fd] = [watch.fileno() for watch in stalls.watches]
        kernel.ring()
        stalls.close()
        assert not asyncio.get_running_loop().remove_reader(fd), "the number may be another's"
        assert len(os.listdir("/proc/self/fd")) == before - 2
        await turns()
        assert (posted, stalls.watches, Counted.woken) == ([], [], 0)

    watching(kernel, story)


def test_where_the_kernel_gives_no_alarm_that_is_said_once_and_nothing_is_watched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        stalls = Stalls(lambda event: None, ("one",), lambda path: None)
        stalls.start()
        await turns()
        stalls.close()
        assert stalls.watches == []

    with caplog.at_level(logging.INFO, "ullage.stalls"):
        asyncio.run(story())
    [line] = caplog.messages
    assert line.startswith("the kernel gives no alarm for one")


def test_a_path_without_an_alarm_does_not_cost_us_the_others(kernel: Kernel) -> None:
    async def story() -> None:
        posted: list[Event] = []
        stalls = Stalls(
            posted.append, ("none", MACHINE), lambda p: None if p == "none" else kernel.open(p)
        )
        stalls.start()
        kernel.ring()
        await turns()
        stalls.close()
        assert posted == [Pressed()]

    asyncio.run(story())


def test_a_file_that_is_not_there_gives_no_alarm(tmp_path: Path) -> None:
    async def story() -> None:
        stalls = Stalls(lambda event: None, (str(tmp_path / "memory"),))
        stalls.start()
        assert stalls.watches == []

    asyncio.run(story())
