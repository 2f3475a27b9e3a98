"""RAM and its limits, on file trees as the kernel lays them out."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from collectors.errors import CollectorError
from collectors.host import INVENTORY, HostCollector
from collectors.reading import (
    RAM,
    HostFacts,
    MemoryPool,
    PoolKind,
    Pressure,
    Sample,
    Seconds,
    Tier,
    gib,
    mib,
)
from collectors.table import descendants

from .conftest import Clock

CAPTURES = Path(__file__).parent.parent / "captures"

NO_LIMIT = "9223372036854771712"  # v1, pages of 4 KiB
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def v2(
    root: Path, group: str, limit: object, used: int, idle: int = 0, high: object = "max"
) -> None:
    folder = f"{V2}/{group}".rstrip("/")
    stat = f"anon 1\nfile 2\nactive_file 3\ninactive_file {idle}\nslab 4"
    write(
        root,
        {
            f"{folder}/memory.max": limit,
            f"{folder}/memory.high": high,
            f"{folder}/memory.current": used,
            f"{folder}/memory.stat": stat,
        },
    )


def v1(root: Path, group: str, limit: object, used: int, idle: int = 0) -> None:
    folder = f"{V1}/{group}".rstrip("/")
    write(
        root,
        {
            f"{folder}/memory.limit_in_bytes": limit,
            f"{folder}/memory.usage_in_bytes": used,
            f"{folder}/memory.stat": f"inactive_file 7\ntotal_inactive_file {idle}",
        },
    )


def meminfo(root: Path, total: int = gib(64), available: int = gib(40), more: str = "") -> None:
    rows = {"MemTotal": total, "MemFree": gib(1), "MemAvailable": available}
    rows |= {"SwapTotal": gib(8), "SwapFree": gib(7)}
    text = "".join(f"{key}: {size // 1024:9} kB\n" for key, size in rows.items())
    write(root, {"proc/meminfo": text + more})


def read(root: Path, total: int = gib(64), available: int = gib(40)) -> Sample:
    meminfo(root, total, available)
    return HostCollector(root).read(Tier.MEMORY)


def ram(root: Path, **machine: int) -> tuple[int, int]:
    [pool] = read(root, **machine).pools
    assert (pool.id, pool.kind) == (RAM, PoolKind.HOST)
    return pool.total, pool.free


def limited_by(root: Path) -> str | None:
    host = read(root).host
    assert host is not None
    return host.limited_by


def test_without_control_groups_ram_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert read(tmp_path) == Sample(
        pools=(MemoryPool(RAM, PoolKind.HOST, gib(64), gib(40)),),
        host=HostFacts(swap_total=gib(8), swap_free=gib(7), physical=gib(64), available=gib(40)),
    )


def test_free_is_never_more_than_the_total(tmp_path: Path) -> None:
    assert ram(tmp_path, total=gib(4), available=gib(5)) == (gib(4), gib(4))


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    """cgroup v2; we live in /a/b, nobody is limited."""
    write(tmp_path, {"proc/self/cgroup": "0::/a/b"})
    v2(tmp_path, "a", "max", gib(20))
    v2(tmp_path, "a/b", "max", gib(10))
    return tmp_path


def test_groups_without_a_limit_change_nothing(unified: Path) -> None:
    assert ram(unified) == (gib(64), gib(40))
    assert limited_by(unified) is None


def test_a_limit_caps_the_total_and_what_is_left_of_it_caps_the_free(unified: Path) -> None:
    v2(unified, "a/b", gib(16), used=gib(10))
    assert ram(unified) == (gib(16), gib(6))


def test_file_pages_that_nobody_uses_count_as_room(unified: Path) -> None:
    v2(unified, "a/b", gib(16), used=gib(10), idle=gib(4))
    assert ram(unified) == (gib(16), gib(10))


def test_the_smallest_limit_is_named_even_when_it_is_an_ancestors(unified: Path) -> None:
    v2(unified, "a", gib(12), used=gib(11))
    v2(unified, "a/b", gib(16), used=gib(2))
    assert ram(unified) == (gib(12), gib(1))
    assert limited_by(unified) == "/sys/fs/cgroup/a/memory.max"


def test_the_least_room_may_be_under_another_limit_than_the_smallest(unified: Path) -> None:
    v2(unified, "a", gib(30), used=gib(29))
    v2(unified, "a/b", gib(16), used=gib(2))
    assert ram(unified) == (gib(16), gib(1))


def test_the_limit_that_throttles_counts_too(unified: Path) -> None:
    v2(unified, "a/b", gib(16), used=gib(10), high=gib(12))
    assert ram(unified) == (gib(12), gib(2))
    assert limited_by(unified) == "/sys/fs/cgroup/a/b/memory.high"


def test_a_group_beyond_its_limit_has_no_room_and_not_less(unified: Path) -> None:
    v2(unified, "a/b", gib(16), used=gib(17))
    assert ram(unified) == (gib(16), 0)


def test_the_hosts_own_shortage_counts_within_a_large_limit(unified: Path) -> None:
    v2(unified, "a/b", gib(50), used=gib(1))
    assert ram(unified, available=gib(3)) == (gib(50), gib(3))


def test_a_limit_whose_use_cannot_be_read_is_an_error_not_a_guess(unified: Path) -> None:
    v2(unified, "a/b", gib(16), used=gib(10))
    (unified / V2 / "a/b/memory.current").unlink()
    with pytest.raises(CollectorError, match=r"memory\.current"):
        read(unified)


def test_without_memory_stat_all_that_is_charged_counts_as_used(unified: Path) -> None:
    v2(unified, "a/b", gib(16), used=gib(10), idle=gib(4))
    (unified / V2 / "a/b/memory.stat").unlink()
    assert ram(unified) == (gib(16), gib(6))


@pytest.mark.parametrize("path", ["/", "/../..", "/docker/0123", "/docker/0123/."])
def test_in_a_container_the_mount_itself_is_our_group(tmp_path: Path, path: str) -> None:
    write(tmp_path, {"proc/self/cgroup": f"0::{path}"})
    v2(tmp_path, "", gib(8), used=gib(3))
    assert ram(tmp_path) == (gib(8), gib(5))
    assert limited_by(tmp_path) == "/sys/fs/cgroup/memory.max"


def test_a_container_that_shows_only_the_lower_part_of_our_path_is_understood(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/docker/0123/worker"})
    v2(tmp_path, "", gib(8), used=gib(3))
    v2(tmp_path, "worker", gib(4), used=gib(3))
    assert ram(tmp_path) == (gib(4), gib(1))


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """cgroup v1 beside an empty v2, as systemd's hybrid layout has them; we live in /a/b."""
    lines = ["9:name=systemd:/x", "4:memory:/a/b", "3:cpuset:/", "0::/x"]
    write(tmp_path, {"proc/self/cgroup": "\n".join(lines)})
    v1(tmp_path, "", NO_LIMIT, gib(30))
    v1(tmp_path, "a", NO_LIMIT, gib(20))
    v1(tmp_path, "a/b", NO_LIMIT, gib(10))
    return tmp_path


@pytest.mark.parametrize("huge", [NO_LIMIT, "9223372036854710272", "9223372036854775807"])
def test_the_number_that_means_no_limit_is_none(legacy: Path, huge: str) -> None:
    v1(legacy, "a/b", huge, gib(10))  # pages of 4 and 64 KiB, and no pages
    assert ram(legacy) == (gib(64), gib(40))
    assert limited_by(legacy) is None


def test_a_legacy_limit_counts_with_all_groups_below_it(legacy: Path) -> None:
    v1(legacy, "a", gib(24), gib(20), idle=gib(5))
    assert ram(legacy) == (gib(24), gib(9))
    assert limited_by(legacy) == "/sys/fs/cgroup/memory/a/memory.limit_in_bytes"


def test_where_there_is_no_meminfo_the_system_is_asked(tmp_path: Path) -> None:
    memory = SimpleNamespace(total=gib(16), available=gib(6))
    swap = SimpleNamespace(total=gib(2), free=gib(1))
    sample = HostCollector(tmp_path, lambda: memory, lambda: swap).read(Tier.ALL)
    assert sample.pools == (MemoryPool(RAM, PoolKind.HOST, gib(16), gib(6)),)
    assert sample.host == HostFacts(
        swap_total=gib(2), swap_free=gib(1), physical=gib(16), available=gib(6)
    )
    assert sample.processes is None


def test_another_machines_files_are_never_answered_from_this_one(tmp_path: Path) -> None:
    with pytest.raises(CollectorError, match="proc/meminfo: No such file"):
        HostCollector(tmp_path).read(Tier.MEMORY)


@pytest.mark.parametrize("text", ["", "MemTotal: 0 kB", "MemTotal: much", "\0\xff"])
def test_a_meminfo_that_says_nothing_is_an_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"proc/meminfo": text})
    with pytest.raises(CollectorError, match="how much RAM"):
        HostCollector(tmp_path).read(Tier.MEMORY)


def test_swap_compressed_on_zram_and_before_a_device_is_ram(tmp_path: Path) -> None:
    meminfo(tmp_path, more="Zswap: 1024 kB\nZswapped: 4096 kB\n")
    swaps = "Filename Type\n/dev/zram0 partition 8 0 100"
    write(tmp_path, {"proc/swaps": swaps, "sys/block/zram0/mm_stat": f"9 8 {mib(3)} 0"})
    host = HostCollector(tmp_path).read(Tier.MEMORY).host
    assert host is not None
    assert host.zram == mib(4)


def test_huge_pages_are_told_apart(tmp_path: Path) -> None:
    meminfo(tmp_path, more="HugePages_Total: 512\nHugePages_Free: 100\nHugepagesize: 2048 kB\n")
    sample = HostCollector(tmp_path).read(Tier.MEMORY)
    assert sample.host is not None
    assert (sample.host.huge, sample.host.huge_free) == (gib(1), mib(200))
    assert sample.notes == ()


def test_huge_pages_of_other_sizes_are_counted_where_there_are_some(tmp_path: Path) -> None:
    more = "HugePages_Total: 1\nHugePages_Free: 1\nHugepagesize: 2048 kB\nHugetlb: 2099200 kB\n"
    meminfo(tmp_path, more=more)
    pages = "sys/kernel/mm/hugepages"
    collector = HostCollector(tmp_path)
    host = collector.read(Tier.MEMORY).host
    assert host is not None
    assert (host.huge, host.huge_free) == (gib(2) + mib(2), None)
    write(tmp_path, {f"{pages}/hugepages-2048kB/free_hugepages": 1})
    write(tmp_path, {f"{pages}/hugepages-1048576kB/free_hugepages": 1})
    host = collector.read(Tier.MEMORY).host
    assert host is not None
    assert host.huge_free == gib(1) + mib(2)


def test_what_there_is_to_read_is_looked_up_once_a_minute(tmp_path: Path, clock: Clock) -> None:
    meminfo(tmp_path)
    write(tmp_path, {"proc/swaps": "Filename Type", "proc/self/cgroup": "0::/a"})
    v2(tmp_path, "a", gib(60), used=gib(1))
    collector = HostCollector(tmp_path, clock=clock)

    def seen() -> tuple[object, ...]:
        host = collector.read(Tier.MEMORY).host
        assert host is not None
        return host.limit, host.zram, [(node.node, node.free) for node in host.nodes]

    assert seen() == (gib(60), 0, [])
    (tmp_path / "proc/self/cgroup").write_text("0::/b\n")
    v2(tmp_path, "a", gib(50), used=gib(1))
    v2(tmp_path, "b", gib(40), used=gib(1))
    node = "sys/devices/system/node/node1"
    swaps = "Filename Type\n/dev/zram0 partition 8 0 100"
    memory = "Node 1 MemTotal: 2048 kB\nNode 1 MemFree: {} kB"
    write(tmp_path, {"proc/swaps": swaps, "sys/block/zram0/mm_stat": "9 8 4096 0 0"})
    write(tmp_path, {f"{node}/cpulist": "", f"{node}/meminfo": memory.format(1024)})
    clock.now += INVENTORY - 1
    assert seen() == (gib(50), 0, []), "a limit itself is read each time"
    clock.now += 1
    assert seen() == (gib(40), 4096, [(1, mib(1))])
    write(tmp_path, {f"{node}/meminfo": memory.format(512), "sys/block/zram0/mm_stat": "9 8 8192"})
    assert seen() == (gib(40), 8192, [(1, mib(0.5))]), "and so are their numbers"


@pytest.mark.parametrize("name", ["vmstat", "pressure/memory", "swaps"])
def test_what_cannot_be_read_takes_nothing_else_with_it(tmp_path: Path, name: str) -> None:
    shutil.copytree(CAPTURES / "no-gpu", tmp_path / "machine")
    (tmp_path / "machine/proc" / name).unlink()
    before = HostCollector(CAPTURES / "no-gpu").read(Tier.ALL)
    sample = HostCollector(tmp_path / "machine").read(Tier.ALL)
    assert (sample.pools, sample.processes) == (before.pools, before.processes)
    assert sample.host is not None
    assert before.host is not None
    lost = {
        "vmstat": {"swapped", "oom_kills", "refaults"},
        "pressure/memory": {"pressure"},
        "swaps": {"zram"},
    }[name]
    told, expected = asdict(sample.host), asdict(before.host)
    assert {key for key in told if told[key] != expected[key]} == lost
    assert all(told[key] is None for key in lost)


def test_a_home_server_without_a_gpu() -> None:
    sample = HostCollector(CAPTURES / "no-gpu").read(Tier.ALL)
    [pool] = sample.pools
    assert (pool.total, pool.free) == (32703020 * 1024, 29774364 * 1024)
    host = sample.host
    assert host is not None
    assert (host.limit, host.zram, host.shared) == (None, mib(384), 41220 * 1024)
    assert (host.swapped, host.oom_kills, host.refaults) == (412014, 1, 88214)
    assert host.pressure == Pressure(some=Seconds(18.42211), full=Seconds(15.320044))
    assert (host.tables, host.locked) == (20776 * 1024, 0)
    assert sample.processes is not None
    assert host.anonymous is not None
    assert host.tables is not None
    assert host.anonymous + host.tables == sum(p.anonymous for p in sample.processes)
    names = [p.name for p in sample.processes if p.file > gib(1)]
    assert names == ["ollama", "llama-server"]
    assert not sample.notes


def test_a_container_has_what_its_limit_leaves_and_the_machine_is_known_behind_it() -> None:
    sample = HostCollector(CAPTURES / "container-cgroup-v2").read(Tier.ALL)
    [pool] = sample.pools
    host = sample.host
    assert host is not None
    assert (pool.total, host.limit, host.limited_by) == (
        gib(20),
        gib(20),
        "/sys/fs/cgroup/memory.max",
    )
    assert pool.free == gib(20) - (17368580096 - 1781760000)
    assert host.physical == 65728896 * 1024
    assert sample.processes is not None
    [locked] = [p for p in sample.processes if p.name == "llama-server"]
    assert locked.anonymous > gib(10), "locked weights are not available"
    assert locked.file < mib(5)
    assert descendants(1, sample.processes) == {7, 22, 95, 131}


def test_processes_are_listed_only_when_asked_for() -> None:
    assert HostCollector(CAPTURES / "no-gpu").read(Tier.MEMORY | Tier.HEALTH).processes is None


def test_this_machine_can_be_read() -> None:
    sample = HostCollector().read(Tier.ALL)
    [pool] = sample.pools
    assert mib(1) < pool.total <= psutil.virtual_memory().total
    assert sample.processes is not None
    assert os.getpid() in {p.pid for p in sample.processes}
