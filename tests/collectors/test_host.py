"""RAM within control groups, on file trees as the kernel lays them out."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cgroup import parse_limit, parse_membership, parse_stat
from collectors.errors import CollectorError
from collectors.host import HostCollector
from collectors.reading import RAM, HostFacts, MemoryPool, PoolKind, Sample, gib, mib

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


def read(root: Path, total: int = gib(64), available: int = gib(40)) -> Sample:
    memory = SimpleNamespace(total=total, available=available)
    swap = SimpleNamespace(total=gib(8), free=gib(7))
    return HostCollector(root, lambda: memory, lambda: swap).read(holders=False)


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
        host=HostFacts(swap_total=gib(8), swap_free=gib(7)),
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


def test_controllers_that_share_a_hierarchy_are_found() -> None:
    text = "5:cpu,cpuacct:/c\n4:memory,hugetlb:/m:odd\n1:name=systemd:/s\n"
    assert parse_membership(text) == [(False, "/m:odd")]


def test_a_broken_line_is_no_membership() -> None:
    assert parse_membership("\nnonsense\n0::\n0::relative\n1::/not-zero\n") == []


@given(st.integers(min_value=0, max_value=1 << 61))
def test_every_number_below_the_sentinel_is_a_limit(n: int) -> None:
    assert parse_limit(f"{n}\n") == n


@given(st.text())
def test_any_other_text_is_no_limit(text: str) -> None:
    limit = parse_limit(text)
    assert limit is None or str(limit) == text.strip().lstrip("0") or limit == 0


@given(st.dictionaries(st.from_regex(rb"[a-z_]{1,12}", fullmatch=True), st.integers(0, 1 << 62)))
def test_a_key_of_memory_stat_is_found_wherever_it_stands(stat: dict[bytes, int]) -> None:
    data = b"".join(b"%s %d\n" % row for row in stat.items())
    for key, value in stat.items():
        assert parse_stat(data, key) == value
    assert parse_stat(data, b"Missing") is None


def test_this_machine_can_be_read() -> None:
    [pool] = HostCollector().read(holders=True).pools
    assert mib(1) < pool.total <= psutil.virtual_memory().total
