"""/proc/meminfo and its neighbours: texts as the kernel writes them, and any other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.kept import Kept
from collectors.meminfo import (
    Vmstat,
    cpuless_nodes,
    parse,
    parse_vmstat,
    read_nodes,
    zram_devices,
    zram_used,
)
from collectors.reading import NumaNode, mib

KEYS = (
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Active(file)",
    "Inactive(file)",
    "SReclaimable",
    "SUnreclaim",
    "KernelStack",
    "VmallocUsed",
    "PageTables",
    "SwapTotal",
    "SwapFree",
    "Hugepagesize",
    "Hugetlb",
    "HugePages_Total",
    "HugePages_Free",
)


def text(**sizes: int) -> bytes:
    """meminfo with these sizes, in MiB; HugePages_ in pages."""
    rows = [
        f"{key}: {size:8}" if key.startswith("HugePages_") else f"{key}: {size * 1024:8} kB"
        for key, size in sizes.items()
    ]
    return ("\n".join(rows) + "\n").encode()


def test_the_lines_that_are_needed_are_found_in_bytes() -> None:
    more = {"AnonPages": 7, "Shmem": 3, "Zswap": 2, "PageTables": 4, "Mlocked": 9}
    info = parse(text(MemTotal=100, MemFree=5, MemAvailable=60, **more))
    assert info is not None
    assert (info.total, info.available) == (mib(100), mib(60))
    assert (info.anonymous, info.shared, info.zswap) == (mib(7), mib(3), mib(2))
    assert (info.tables, info.locked) == (mib(4), mib(9))
    assert (info.swap_total, info.swap_free) == (0, 0)
    assert (info.kernel, info.huge, info.huge_free) == (None, None, None)


def test_a_line_is_not_taken_for_one_that_ends_alike() -> None:
    info = parse(b"XMemTotal: 9 kB\nMemTotal: 100 kB\nNotShmem: 5 kB\nShmemHugePages: 8 kB\n")
    assert info is not None
    assert (info.total, info.shared) == (100 * 1024, None)


def test_what_the_kernel_holds_is_counted_once() -> None:
    parts = {"SUnreclaim": 50, "PageTables": 7, "SecPageTables": 1, "Percpu": 4, "Bounce": 2}
    droppable = {"SReclaimable": 1000, "Slab": 1050, "KReclaimable": 1000}
    # Stacks lie in vmalloc's memory.
    info = parse(text(MemTotal=4000, KernelStack=10, VmallocUsed=30, **parts, **droppable))
    assert info is not None
    assert info.kernel == mib(50 + 1 + 4 + 2 + 30), "page tables count as their processes'"
    info = parse(text(MemTotal=4000, KernelStack=10, VmallocUsed=0, **parts))
    assert info is not None
    assert info.kernel == mib(50 + 1 + 4 + 2 + 10)


CACHED = {"Active(file)": 10, "Inactive(file)": 20, "SReclaimable": 4}


@pytest.mark.parametrize(
    ("sizes", "available"),
    [
        pytest.param({"MemFree": 40}, 57, id="linux-before-3.14"),
        pytest.param({"MemFree": 40, "MemAvailable": 0}, 57, id="a-container-that-says-0"),
        pytest.param({"MemFree": 2, "MemAvailable": 0}, 0, id="no-memory"),
        pytest.param({"MemFree": 40, "MemAvailable": 30}, 30, id="the-kernels-word"),
        pytest.param({"MemFree": 40, "MemAvailable": 300}, 100, id="never-more-than-there-is"),
    ],
)
def test_available_is_the_kernels_word_or_an_estimate_below_it(
    sizes: dict[str, int], available: int
) -> None:
    info = parse(text(MemTotal=100, **sizes, **CACHED))
    assert info is not None
    assert info.available == mib(available)


def test_huge_pages_are_counted_in_bytes() -> None:
    info = parse(text(MemTotal=4000, HugePages_Total=30, HugePages_Free=10, Hugepagesize=2))
    assert info is not None
    assert (info.huge, info.huge_free, info.all_usual) == (mib(60), mib(20), True)


def test_huge_pages_of_other_sizes_are_in_the_sum() -> None:
    usual = {"HugePages_Total": 1, "HugePages_Free": 1, "Hugepagesize": 2}
    info = parse(text(MemTotal=4000, **usual, Hugetlb=1026))
    assert info is not None
    assert (info.huge, info.all_usual) == (mib(1026), False)


@given(st.dictionaries(st.sampled_from(KEYS), st.integers(0, 1 << 40), max_size=len(KEYS)))
def test_parts_are_never_negative_and_never_more_than_the_whole(sizes: dict[str, int]) -> None:
    info = parse("".join(f"{key}: {size} kB\n" for key, size in sizes.items()).encode())
    assert (info is None) == (not sizes.get("MemTotal"))
    if info is not None:
        assert 0 <= info.available <= info.total
        assert 0 <= info.swap_free <= info.swap_total
        assert (info.huge is None) == (info.huge_free is None)
        assert 0 <= (info.huge_free or 0) <= (info.huge or 0)
        assert (info.kernel or 0) >= 0


@given(st.binary(max_size=60), st.sampled_from(KEYS), st.binary(max_size=30))
def test_no_text_is_too_strange(before: bytes, key: str, after: bytes) -> None:
    data = before + b"\n" + key.encode() + b": " + after
    info = parse(data)
    assert info is None or 0 <= info.available <= info.total
    parse_vmstat(data)


def test_a_number_beyond_all_memory_is_none() -> None:
    assert parse(b"MemTotal: " + b"9" * 5000 + b" kB\n") is None


def test_counts_since_boot_are_found() -> None:
    data = b"pgpgin 4\npswpin 5\npswpout 6\noom_kill 2\nworkingset_refault_anon 8\n"
    assert parse_vmstat(data + b"workingset_refault_file 7\n") == Vmstat(11, 2, 7)
    assert parse_vmstat(data + b"workingset_refault 9\n") == Vmstat(11, 2, 9)
    assert parse_vmstat(b"pswpin 5\n") == Vmstat()


def test_only_the_zram_that_swap_is_on_counts(tmp_path: Path) -> None:
    for name, used in (("zram0", 4096), ("zram1", 8192), ("zram2", 1 << 30)):
        (tmp_path / f"sys/block/{name}").mkdir(parents=True)
        (tmp_path / f"sys/block/{name}/mm_stat").write_text(f"  999 500 {used} 0 {used} 1 0 0\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/swaps").write_text(
        "Filename\t\tType\t\tSize\n/dev/zram0 partition 8 0 100\n/dev/sda2 partition 8 0 -2\n"
        "/dev/zram1 partition 8 0 100\n/var/zram2-is-a-file file 8 0 -2\n"
    )
    devices = zram_devices(tmp_path)
    assert devices is not None
    assert zram_used(devices) == 3 * 4096


@pytest.mark.parametrize("text", [None, "", "1 2", "1 2 three"])
def test_zram_that_does_not_say_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "mm_stat"
    if text is not None:
        path.write_text(text)
    assert zram_used([Kept(path)]) is None


def test_without_the_list_of_swaps_nobody_knows_of_zram(tmp_path: Path) -> None:
    assert zram_devices(tmp_path) is None
    assert zram_used([]) == 0


def node(root: Path, number: int, cpus: str, sizes: dict[str, int]) -> None:
    folder = root / f"sys/devices/system/node/node{number}"
    folder.mkdir(parents=True)
    (folder / "cpulist").write_text(f"{cpus}\n")
    rows = (f"Node {number} {key}:  {size * 1024} kB\n" for key, size in sizes.items())
    (folder / "meminfo").write_text("".join(rows))


def test_nodes_without_a_cpu_are_an_accelerators_memory(tmp_path: Path) -> None:
    files = {"Active(file)": 10, "Inactive(file)": 5}
    node(tmp_path, 0, "0-71", {"MemTotal": 480, "MemFree": 100})
    node(tmp_path, 10, "", {"MemTotal": 96, "MemFree": 90})
    node(tmp_path, 2, "", {"MemTotal": 96, "MemFree": 20, **files})
    node(tmp_path, 3, "", {"MemTotal": 0, "MemFree": 0})  # a slot for an instance that is not there
    (tmp_path / "sys/devices/system/node/has_cpu").write_text("0\n")
    nodes = cpuless_nodes(tmp_path)
    assert [number for number, _ in nodes] == [2, 3, 10]
    assert list(read_nodes(nodes)) == [
        NumaNode(2, mib(96), mib(35)),
        NumaNode(10, mib(96), mib(90)),
    ]


def test_a_machine_without_nodes_has_none(tmp_path: Path) -> None:
    assert cpuless_nodes(tmp_path) == ()
