"""Macs: three of them on record, and one made of values whose calls can be made to fail."""

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import apple_texts as texts
from collectors.apple import GPU, GUESSED, HIDDEN, INTEL, NO_SWAP, AppleCollector, limit_of, present
from collectors.darwin import Entry, VirtualMemory
from collectors.errors import CollectorError
from collectors.machine import fold
from collectors.reading import (
    RAM,
    Bytes,
    Carveout,
    Device,
    Health,
    Holder,
    Level,
    MemoryPool,
    PoolKind,
    Process,
    Reading,
    Sample,
    Seconds,
    Tier,
    gib,
    mib,
)

CAPTURES = Path(__file__).parent.parent / "captures"
M2, M1, M4 = (CAPTURES / name for name in ("m2-max-64gb", "m1-16gb", "m4-max-128gb"))
PAGE = 16384


def read(root: Path, tiers: Tier = Tier.ALL) -> Sample:
    return AppleCollector(root).read(tiers)


def level(sample: Sample) -> Level | None:
    assert sample.host is not None
    return sample.host.level


# -- Macs on record


def test_ram_is_one_pool_of_cpu_and_gpu_and_the_gpu_draws_from_it() -> None:
    sample = read(M2)
    used = (1204518 + 1178233 + 30214 + 1021377 + 214007 - 21034 - 803311) * PAGE
    free = Bytes(gib(64) - used)
    assert sample.pools == (MemoryPool(RAM, PoolKind.UNIFIED, gib(64), free),)
    assert sample.devices == (Device(GPU, RAM, "Apple M2 Max", 0, "apple"),)
    assert sample.blind == ()


def test_the_gpus_part_has_the_limit_that_metal_names_and_what_its_driver_gave_out() -> None:
    none = Bytes(0)
    assert read(M2).carveouts == (Carveout(GPU, none, none, limit=gib(48), used=gib(29)),)


def test_the_machine_that_comes_of_it_says_what_the_gpu_may_hold_and_holds() -> None:
    reading = Reading("host", Seconds(0), Seconds(0), read(M2))
    [pool] = fold([reading]).pools
    assert (pool.total, pool.device_limit, pool.device_used) == (gib(64), gib(48), gib(29))


def test_swap_compression_and_pressure_are_facts_of_the_host() -> None:
    host = read(M2).host
    assert host is not None
    assert host.physical == gib(64)
    assert (host.swap_total, host.swap_free) == (mib(2048), mib(1316.75))
    assert host.compressed == 214007 * PAGE
    assert host.swapped == 470789 + 929703
    assert host.level is Level.NORMAL


def test_every_process_that_can_be_read_is_listed_with_its_footprint() -> None:
    processes = read(M2).processes
    assert processes is not None
    assert Process(4821, 4790, "ollama", Bytes(23622320128), Bytes(0)) in processes
    assert Process(902, 1, "Google Chrome Helper (GPU)", Bytes(98566144), Bytes(0)) in processes
    assert {p.pid for p in processes}.isdisjoint({0, 1, 389, 5333})


def test_a_process_of_another_user_that_uses_the_gpu_is_named_without_a_size() -> None:
    sample = read(M2)
    assert sample.holders == (Holder(389, RAM, None, "WindowServer"),)
    assert sample.notes == (HIDDEN,)


def test_the_gpu_says_how_busy_it_is() -> None:
    assert read(M2).health == {GPU: Health(utilization=0.37)}


def test_where_nobody_says_the_limit_it_is_two_thirds_and_called_a_guess() -> None:
    sample = read(M1)
    assert sample.carveouts[0].limit == gib(16) * 2 // 3
    assert sample.notes == (GUESSED,)


def test_a_mac_short_of_memory_says_so() -> None:
    sample = read(M1)
    used = (301877 + 298114 + 2211 + 180233 + 221034 - 4410 - 160112) * PAGE
    assert sample.pools[0].free == gib(16) - used
    assert level(sample) is Level.WARNING


def test_the_operators_own_limit_is_the_limit() -> None:
    sample = read(M4)
    assert sample.carveouts[0].limit == gib(120)
    assert sample.notes == ()
    assert sample.host is not None
    assert (sample.host.swap_total, sample.host.compressed) == (0, 0)


@pytest.mark.parametrize("root", [M1, M4])
def test_without_a_process_table_nothing_is_said_of_processes(root: Path) -> None:
    sample = read(root)
    assert sample.processes is None
    assert sample.holders is None


@pytest.mark.parametrize("root", [M1, M2, M4])
def test_parts_of_a_recorded_mac_are_not_more_than_the_whole(root: Path) -> None:
    sample = read(root)
    [pool], [part] = sample.pools, sample.carveouts
    assert 0 < pool.free < pool.total
    assert part.limit is not None
    assert part.used is not None
    assert part.used < part.limit < pool.total
    memory = texts.parse_vm_stat((root / "macos/vm_stat.txt").read_text())
    assert memory is not None
    assert memory.held < pool.total


def test_a_mac_is_told_from_other_machines_without_asking_it(tmp_path: Path) -> None:
    assert present(M2)
    assert not present(tmp_path)


def test_a_record_without_the_counters_of_memory_cannot_be_read(tmp_path: Path) -> None:
    shutil.copytree(M2, tmp_path, dirs_exist_ok=True)
    (tmp_path / "macos/vm_stat.txt").unlink()
    with pytest.raises(CollectorError, match="how much RAM is in use"):
        read(tmp_path)


def test_a_record_without_the_sysctls_cannot_be_read(tmp_path: Path) -> None:
    shutil.copytree(M2, tmp_path, dirs_exist_ok=True)
    (tmp_path / "macos/sysctl.txt").unlink()
    with pytest.raises(CollectorError, match="how much RAM there is"):
        read(tmp_path)


def test_a_record_without_the_gpus_numbers_has_the_rest(tmp_path: Path) -> None:
    shutil.copytree(M2, tmp_path, dirs_exist_ok=True)
    (tmp_path / "macos/ioreg.txt").unlink()
    (tmp_path / "macos/users.txt").unlink()
    sample = read(tmp_path)
    assert sample.carveouts[0].used is None
    assert sample.health == {GPU: Health()}
    assert sample.holders is None
    assert sample.pools == read(M2).pools


# -- a Mac made of values


class Mac:
    """Answers calls; those named in `silent` fail. Commands are answered from the M2's record."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.values = {
            "hw.memsize": struct.pack("=Q", gib(32)),
            "machdep.cpu.brand_string": b"Apple M3\0",
            "vm.swapusage": struct.pack("=3Q2I", gib(2), gib(1), gib(1), PAGE, 1),
            "kern.memorystatus_vm_pressure_level": struct.pack("=i", 1),
            "iogpu.wired_limit_mb": struct.pack("=i", 0),
        }
        self.vm = VirtualMemory(PAGE, 500_000, 100_000, 0, 200_000, 50_000, 0, 100_000, 0)
        self.metal: Bytes | None = gib(21)
        self.sizes: dict[int, Bytes | None] = {1: mib(20), 7: gib(4)}
        self.ran: list[str] = []

    def sysctl(self, name: str) -> bytes | None:
        return None if name in self.silent else self.values.get(name)

    def memory(self) -> VirtualMemory | None:
        return None if "memory" in self.silent else self.vm

    def working_set(self) -> Bytes | None:
        return self.metal

    def footprint(self, pid: int) -> Bytes | None:
        return self.sizes[pid]

    def processes(self) -> list[Entry] | None:
        if "processes" in self.silent:
            return None
        return [Entry(0, 0, "kernel_task"), *(Entry(pid, 0, f"p{pid}") for pid in self.sizes)]

    def run(self, argv: Sequence[str]) -> str:
        self.ran.append(texts.FILES[tuple(argv)])
        if "commands" in self.silent:
            raise subprocess.TimeoutExpired(list(argv), 1.0)
        return texts.Recorded(M2).run(argv)

    def read(self, tiers: Tier = Tier.MEMORY) -> Sample:
        return AppleCollector(system=self, run=self.run).read(tiers)


def test_calls_alone_are_made_where_they_are_answered() -> None:
    mac = Mac()
    sample = mac.read()
    assert sample.pools[0].free == gib(32) - 750_000 * PAGE
    assert sample.carveouts[0].limit == gib(21)
    assert sample.carveouts[0].used is None
    assert mac.ran == []


def test_what_is_not_asked_for_is_not_read() -> None:
    sample = Mac().read(Tier.MEMORY)
    assert (sample.processes, sample.holders, sample.health) == (None, None, None)


def test_ioreg_is_asked_once_when_processes_and_health_are_due() -> None:
    mac = Mac()
    sample = mac.read(Tier.ALL)
    assert mac.ran == ["ioreg.txt"]
    assert sample.carveouts[0].used == gib(29)


def test_a_failing_call_is_made_up_for_by_the_commands_text() -> None:
    mac = Mac("memory")
    sample = mac.read()
    assert mac.ran == ["vm_stat.txt"]
    record = texts.parse_vm_stat((M2 / "macos/vm_stat.txt").read_text())
    assert record is not None
    assert sample.pools[0].free == max(0, gib(32) - record.used)


def test_counters_that_add_up_to_more_than_there_is_are_not_believed() -> None:
    mac = Mac()
    mac.values["hw.memsize"] = struct.pack("=Q", gib(64))
    mac.vm = VirtualMemory(PAGE, 1 << 31, 0, 0, 1, 0, 0, 0, 0)
    assert mac.read().pools == read(M2).pools
    assert mac.ran == ["vm_stat.txt"]


def test_a_mac_that_is_over_full_by_every_account_has_nothing_free() -> None:
    mac = Mac("commands")
    mac.vm = VirtualMemory(PAGE, 1 << 31, 0, 0, 1, 0, 0, 0, 0)
    assert mac.read().pools[0].free == 0


@pytest.mark.parametrize("name", ["hw.memsize", "vm.swapusage"])
def test_only_what_the_calls_do_not_say_is_taken_from_the_text(name: str) -> None:
    mac = Mac(name)
    sample = mac.read()
    assert mac.ran == ["sysctl.txt"]
    assert sample.devices[0].name == "Apple M3"
    assert sample.host is not None
    memsize, swap = sample.pools[0].total, sample.host.swap_total
    assert (memsize, swap) == ((gib(64), gib(2)) if name == "hw.memsize" else (gib(32), mib(2048)))


def test_a_setting_that_an_older_macos_lacks_is_not_looked_for_again() -> None:
    mac = Mac("iogpu.wired_limit_mb")
    assert mac.read().carveouts[0].limit == gib(21)
    assert mac.ran == []


def test_ram_that_nobody_can_read_is_an_error() -> None:
    with pytest.raises(CollectorError, match="in use"):
        Mac("memory", "commands").read()
    with pytest.raises(CollectorError, match="how much RAM there is"):
        Mac("hw.memsize", "commands").read()


def test_without_swap_and_pressure_the_rest_is_read() -> None:
    sample = Mac("vm.swapusage", "commands").read()
    assert sample.pools[0].total == gib(32)
    assert sample.host is None
    assert sample.notes == (NO_SWAP,)


@pytest.mark.parametrize(
    ("said", "meant"),
    [(1, Level.NORMAL), (2, Level.WARNING), (4, Level.CRITICAL), (0, None), (3, None), (-1, None)],
)
def test_the_kernels_word_on_pressure_is_one_of_three(said: int, meant: Level | None) -> None:
    mac = Mac()
    mac.values["kern.memorystatus_vm_pressure_level"] = struct.pack("=i", said)
    assert level(mac.read()) is meant


def test_pressure_that_cannot_be_read_is_unknown_and_not_normal() -> None:
    sample = Mac("kern.memorystatus_vm_pressure_level", "commands").read()
    assert level(sample) is None


def test_file_pages_beyond_all_reason_free_nothing_that_is_wired() -> None:
    mac = Mac()
    mac.vm = VirtualMemory(PAGE, 1000, 1000, 0, 200_000, 50_000, 10**9, 10**9, 0)
    assert mac.read().pools[0].free == gib(32) - 250_000 * PAGE


def test_a_gpu_of_an_intel_mac_is_none_of_ours() -> None:
    mac = Mac()
    mac.values["machdep.cpu.brand_string"] = b"Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz\0"
    sample = mac.read(Tier.ALL)
    assert sample.pools[0].kind is PoolKind.HOST
    assert (sample.devices, sample.carveouts, sample.holders) == ((), (), None)
    assert sample.notes == (INTEL,)
    assert mac.ran == []


def test_root_sees_every_process_and_asks_for_nobody_else() -> None:
    sample = Mac().read(Tier.PROCESSES)
    assert sample.processes is not None
    assert [(p.pid, p.anonymous) for p in sample.processes] == [(1, mib(20)), (7, gib(4))]
    assert sample.holders == ()
    assert sample.notes == ()


def test_a_process_that_ended_meanwhile_is_left_out_and_nothing_is_said_of_it() -> None:
    mac = Mac()
    mac.sizes[9] = None
    sample = mac.read(Tier.PROCESSES)
    assert sample.processes is not None
    assert [p.pid for p in sample.processes] == [1, 7]
    assert (sample.holders, sample.notes) == ((), ())


def test_a_process_table_that_cannot_be_read_is_no_empty_one() -> None:
    sample = Mac("processes").read(Tier.PROCESSES)
    assert (sample.processes, sample.holders) == (None, None)
    assert sample.pools[0].total == gib(32)


# -- the limit


@pytest.mark.parametrize(
    ("wired", "metal", "limit"),
    [
        (24 * 1024, gib(21), (gib(24), False)),  # the operator's word comes first
        (0, gib(21), (gib(21), False)),  # 0: macOS decides, and Metal knows what
        (None, gib(21), (gib(21), False)),
        (-1, gib(21), (gib(21), False)),
        (0, None, (Bytes(gib(32) * 2 // 3), True)),
        (64 * 1024, gib(21), (gib(32), False)),  # never more than there is
        (0, gib(64), (gib(32), False)),
    ],
)
def test_the_limit_is_the_operators_else_metals_else_a_guess(
    wired: int | None, metal: Bytes | None, limit: tuple[Bytes, bool]
) -> None:
    assert limit_of(gib(32), wired, lambda: metal) == limit


@given(
    st.integers(1, 1 << 60),
    st.none() | st.integers(-(1 << 31), 1 << 40),
    st.none() | st.integers(1, 1 << 62),
)
def test_a_limit_is_never_more_than_ram(total: int, wired: int | None, metal: int | None) -> None:
    size = None if metal is None else Bytes(metal)
    limit, _ = limit_of(Bytes(total), wired, lambda: size)
    assert 0 <= limit <= total
