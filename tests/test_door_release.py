"""Letting go of the devices for a while, and which pool is meant by a device's number."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Device, DeviceKind, PoolId, Seconds
from supervisor.core.snapshot import Snapshot
from supervisor.door import Ambiguous, Door, DoorError
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from tests.builders import GPU, NO_RESERVE, OTHER, machine, pool


class Machine:
    """A sampler, and its sources: what is held open is closed by the next thorough look."""

    def __init__(self, *names: str) -> None:
        self.sources = self
        self.names = list(names)
        self.open = set(names)
        self.stuck: set[str] = set()
        self.until: Seconds | None = None
        self.looks: list[bool] = []

    async def sample(self, *, thorough: bool, **_: Any) -> Snapshot:
        self.looks.append(thorough)
        self.open = set(self.names) if self.until is None else self.stuck
        return machine(free=4)

    def release(self, until: Seconds) -> list[str]:
        self.until = until
        return self.names

    def resume(self) -> list[str]:
        found, self.until = ([] if self.until is None else self.names), None
        return found

    def still_open(self) -> list[str]:
        return sorted(self.open)


def door(at: Machine | Snapshot) -> Door:
    sampler: Any = at if isinstance(at, Machine) else None
    executor: Any = None
    loop = Loop(sampler, executor, Journal(None), NO_RESERVE, clock=lambda: 1000.0)
    if isinstance(at, Snapshot):
        loop.snapshot = at
    return Door(loop)


def test_a_release_is_over_once_the_devices_are_closed() -> None:
    at = Machine("nvidia")
    assert asyncio.run(door(at).release(Seconds(600))) == ["nvidia"]
    assert (at.until, at.open) == (1600, set())
    assert at.looks == [True], "a look that waits for everybody closes them"


def test_where_nothing_is_held_open_that_is_said_and_nothing_is_done() -> None:
    at = Machine()
    with pytest.raises(DoorError, match="nothing to let go of"):
        asyncio.run(door(at).release(Seconds(600)))
    assert at.looks == []


def test_a_driver_that_does_not_let_go_is_no_success() -> None:
    at = Machine("nvidia")
    at.stuck = {"nvidia"}
    with pytest.raises(DoorError, match="nvidia: the driver does not let go"):
        asyncio.run(door(at).release(Seconds(600)))


def test_what_is_taken_back_is_read_at_once() -> None:
    at = Machine("nvidia")

    async def story() -> None:
        by = door(at)
        assert await by.resume() == []
        assert at.looks == [], "nothing was released"
        await by.release(Seconds(600))
        assert await by.resume() == ["nvidia"]
        assert (at.looks, at.open) == ([True, True], {"nvidia"})
        assert await by.resume() == []

    asyncio.run(story())


# -- which pool is meant


def devices(*found: Device, blind: PoolId | None = None) -> Door:
    world = replace(machine(free=4), devices=found)
    if blind is not None:
        world = replace(world, pools=(pool(4, id=OTHER),), blind={blind: "the driver is gone"})
    return door(world)


NVIDIA = Device("GPU-a", GPU, "RTX 4090", 0, "nvidia")
AMD = Device("pci-b", OTHER, "RX 7900 XTX", 0, "amd")
NPU = Device("npu", RAM, "NPU", 0, "intel", kind=DeviceKind.NPU)


def test_an_npu_is_no_accelerator_that_could_be_meant() -> None:
    assert devices(NVIDIA, NPU).pool(None) == GPU
    assert devices(NPU, NVIDIA).pool("gpu0") == GPU
    assert devices(NPU).pool(None) == RAM


def test_the_same_number_of_two_drivers_is_ambiguous() -> None:
    both = devices(NVIDIA, AMD)
    with pytest.raises(Ambiguous, match="'gpu0' is several pools; say which: gpu:0"):
        both.pool("gpu0")
    assert both.pool("pci-b") == OTHER
    assert both.pool("GPU-a") == GPU


def test_the_number_of_a_gpu_that_is_split_into_several_is_ambiguous() -> None:
    whole = Device("GPU-s", None, "H100", 1, "nvidia")
    one = Device("MIG-1", GPU, "1g", 1, "nvidia", parent="GPU-s")
    two = Device("MIG-2", OTHER, "2g", 1, "nvidia", parent="GPU-s")
    assert devices(whole, one).pool("gpu1") == GPU
    with pytest.raises(Ambiguous):
        devices(whole, one, two).pool("gpu1")
    assert devices(whole, one, two).pool("MIG-2") == OTHER


def test_two_gpus_in_one_memory_are_one_pool() -> None:
    first, second = replace(NVIDIA, pool=RAM), replace(AMD, pool=RAM)
    assert devices(first, second).pool(None) == RAM
    assert devices(first, second).pool("gpu0") == RAM


def test_the_only_accelerator_is_meant_although_it_cannot_be_read() -> None:
    """Whoever asks for room on it must not be given room in RAM instead."""
    assert devices(NVIDIA, blind=GPU).pool(None) == GPU
    assert devices(NVIDIA, blind=GPU).pool("gpu:0") == GPU
