"""Everything that is read is recorded: what the collectors open is what a capture has of it."""

import builtins
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors import drm
from collectors.__main__ import main
from collectors.capture import Capture
from collectors.machine import find, fold
from collectors.owner import Owner, read_all
from collectors.reading import Tier
from collectors.recorded import FILE, Pseudonyms, Recorder
from tests.collectors import drm_tree, test_npu
from tests.collectors.intel_tree import ARC, CPU, RAPTOR_LAKE, Tree
from tests.collectors.regold import captures

OTHERS = ("fd", "fdinfo", "macos")
STATUS = "sys/class/*/*[0-9]/device/power/runtime_status"
MEMINFO = "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\n"


class Spy:
    """Which files and links below `root` are opened, and which are looked for in vain."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.opened: set[str] = set()
        self.missed: set[str] = set()

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, *arguments: Any, **named: Any) -> Any:
            text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
            below = text.startswith(f"{self.root}/")
            try:
                found = function(path, *arguments, **named)
            except OSError as error:
                if below and isinstance(error, FileNotFoundError):
                    self.missed.add(text)
                raise
            if below:
                self.opened.add(text)
            return found

        return watched

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in ((os, "open"), (builtins, "open"), (io, "open")):
                patch.setattr(module, name, self.watch(getattr(module, name)))
            patch.setattr(os, "readlink", self.watch(os.readlink))
            yield


def spied(root: Path) -> Spy:
    """What all collectors together read of a machine on record."""
    spy = Spy(root)
    owners = [Owner(collector) for collector in find(root)]
    with spy.at_work():
        machine = fold(read_all(owners, Tier.ALL))
    for owner in owners:
        owner.close()
    assert machine.faults == {}
    assert spy.opened, "the spy has seen nothing"
    return spy


def is_ours_to_make(path: Path) -> bool:
    """May this file, which was looked for in vain, be put there? Not below another file, not
    what a process would have open, and no text of a Mac's, which must have a meaning."""
    above = path.parent
    while not above.exists():
        above = above.parent
    return above.is_dir() and not path.is_symlink() and path.parent.name not in OTHERS


def completed(root: Path) -> Spy:
    """The machine with every file that anybody looks for, and what was read of it until then."""
    made: set[str] = set()
    for _ in range(4):
        spy = spied(root)
        missing = [path for path in map(Path, spy.missed) if is_ours_to_make(path)]
        if not missing:
            spy.opened |= made
            return spy
        made |= set(map(str, missing))
        for path in missing:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.name == "ns":
                path.symlink_to(f"{path.name}:[1]")
            elif path.name == "status" and path.parent.name == "self":
                path.write_text("CapEff:\t0000000000000000\n")
            else:
                path.write_text("1\n")
    raise AssertionError("there is always something else to read")


def record(root: Path, folder: Path) -> Capture:
    recorder = Recorder(None)
    if (root / FILE).exists():
        recorder.answers = json.loads((root / FILE).read_text())
    capture = Capture(root, folder, Pseudonyms())
    capture.take(recorder)
    return capture


def sleepers(root: Path) -> set[str]:
    """PCI addresses."""
    found = set()
    for status in root.glob(STATUS):
        if status.read_text().startswith("suspended"):
            event = (status.parents[1] / "uevent").read_text()
            found.add(event.rpartition("PCI_SLOT_NAME=")[2].split()[0])
    return found


def left_out(root: Path, spy: Spy, folder: Path) -> list[str]:
    """What was read of a machine and is not in its capture. Open files have other numbers
    there, and of them only those of graphics cards and accelerators are anybody's business."""
    capture = record(root, folder)
    asleep = sleepers(root)
    missing = []
    for path in map(Path, sorted(spy.opened)):
        place = path.relative_to(root)
        if "fdinfo" in place.parts:
            client = drm.parse(path.read_text())
            told = [drm.parse(f.read_text()) for f in (folder / place.parent).glob("*")]
            there = client is None or client.get("drm-pdev") in asleep or client in told
        elif place.parent.name == "fd":
            link = os.readlink(path)
            told_links = [
                os.readlink(f) for f in (folder / place.parent).iterdir() if f.is_symlink()
            ]
            there = not link.startswith(("/dev/dri/", "/dev/accel/")) or link in told_links
        else:
            there = os.path.lexists(folder / capture.place(path))
        if not there:
            missing.append(place.as_posix())
    return missing


@pytest.mark.parametrize("capture", captures(), ids=lambda path: path.name)
def test_everything_that_is_read_is_recorded(capture: Path, tmp_path: Path) -> None:
    """On a machine that has every file that is looked for, too."""
    root = tmp_path / "machine"
    shutil.copytree(capture, root, symlinks=True)
    assert left_out(root, completed(root), tmp_path / "capture") == []


@pytest.mark.parametrize(
    "capture", [c for c in captures() if any(c.glob(STATUS))], ids=lambda path: path.name
)
def test_everything_that_is_read_of_a_card_that_sleeps_is_recorded_without_waking_it(
    capture: Path, tmp_path: Path
) -> None:
    root = tmp_path / "machine"
    shutil.copytree(capture, root, symlinks=True)
    for status in root.glob(STATUS):
        status.write_text("suspended\n")
    assert left_out(root, completed(root), tmp_path / "capture") == []


def older_intel(root: Path) -> None:
    """A card on a kernel of Intel's own, as seen by root; a GPU in the CPU; an NPU."""
    tree = Tree(root)
    tree.write("proc/meminfo", MEMINFO)
    tree.right()
    card = tree.gpu(driver="i915")
    tree.write("sys/class/drm/card0/lmem_total_bytes", 1 << 34)
    for gt in ("gt0", "gt1"):
        tree.write(f"sys/class/drm/card0/gt/{gt}/throttle_reason_status", 1)
        tree.write(f"sys/class/drm/card0/gt/{gt}/throttle_reason_pl1", 1)
    assert card.is_dir()
    tree.gpu(CPU, 1, RAPTOR_LAKE, driver="i915")
    tree.client((77, 78), 5, driver="i915", local0="1 GiB", system0="2 MiB")
    tree.client(79, 6, CPU, driver="i915", node="card1", system0="30 MiB")
    test_npu.intel(root)
    test_npu.client(root, 80, "intel_vpu", "0000:00:0b.0", drm_resident_memory="9 MiB")


def sleeping_intel(root: Path) -> None:
    """A card that sleeps while somebody has it open, which only the links say."""
    older_intel(root)
    Tree(root).sleeps()


def two_tiles(root: Path) -> None:
    tree = Tree(root)
    tree.write("proc/meminfo", MEMINFO)
    tree.right()
    tree.gpu()
    for tile in (0, 1):
        tree.write(f"sys/class/drm/card0/device/tile{tile}/physical_vram_size_bytes", 1 << 34)
    tree.client(77, 5, vram0="1 GiB")


def older_groups(root: Path) -> None:
    """Control groups of the first version, with dmem beside them; huge pages of two sizes; a
    NUMA node without CPUs; swap in memory."""
    tree = Tree(root)
    more = "HugePages_Total: 1\nHugePages_Free: 1\nHugepagesize: 2048 kB\nHugetlb: 1050624 kB\n"
    tree.write("proc/meminfo", MEMINFO + more)
    for size, free in ((2048, 1), (1048576, 1)):
        tree.write(f"sys/kernel/mm/hugepages/hugepages-{size}kB/free_hugepages", free)
    tree.write("sys/devices/system/node/node1/cpulist", "")
    tree.write("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 1024 kB")
    tree.write("proc/swaps", "Filename Type\n/dev/zram0 partition 8 0 100")
    tree.write("sys/block/zram0/mm_stat", "9 8 4096 0")
    tree.write("proc/self/cgroup", "3:cpu,memory:/batch/job-7\n0::/batch")
    for group, limit in (("batch/job-7", 1 << 31), ("batch", 1 << 62)):
        tree.write(f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes", limit)
        tree.write(f"sys/fs/cgroup/memory/{group}/memory.usage_in_bytes", 4096)
        tree.write(f"sys/fs/cgroup/memory/{group}/memory.stat", "total_inactive_file 0")
    tree.gpu()
    tree.write("sys/fs/cgroup/unified/dmem.capacity", f"drm/{ARC}/vram0 {1 << 33}")
    tree.write("sys/fs/cgroup/unified/batch/dmem.current", f"drm/{ARC}/vram0 {1 << 30}")


def amd(root: Path) -> None:
    drm_tree.write(root, "proc/meminfo", MEMINFO)
    drm_tree.card(root, 0, "0000:03:00.0", unique_id="9f3a", **drm_tree.DISCRETE)
    drm_tree.topology(root)
    drm_tree.client(root, 77, 5, "0000:03:00.0", 3, comm="a", drm_resident_vram="1 GiB")
    drm_tree.write(root, "sys/class/kfd/kfd/proc/77/vram_111", "1073741824\n")
    test_npu.amd(root)


OTHER_NAMES = {
    "GPU-0000000000009f3a": "GPU-0000000000000001",
    "batch/job-7": "group-1/group-2",
}


@pytest.mark.parametrize(
    "make",
    [older_intel, sleeping_intel, two_tiles, older_groups, amd],
    ids=lambda make: make.__name__,
)
def test_a_machine_on_record_is_the_same_machine(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what its kernel lets whoever recorded it see, and with who holds a card open."""
    root, folder = tmp_path / "machine", tmp_path / "capture"
    make(root)
    assert left_out(root, spied(root), folder) == []
    shown = []
    for place in (root, folder):
        assert main(["--root", str(place)]) == 0
        shown.append(capsys.readouterr().out)
    for real, other in OTHER_NAMES.items():
        shown[0] = shown[0].replace(real, other)
    assert shown[0] == shown[1]
    shutil.rmtree(folder)
    assert left_out(root, completed(root), folder) == []


def test_of_whoever_records_only_the_rights_are_told(tmp_path: Path) -> None:
    older_intel(tmp_path / "machine")
    record(tmp_path / "machine", tmp_path / "capture")
    own = tmp_path / "capture/proc/self"
    assert (own / "status").read_text() == "CapEff:\t000001ffffffffff\n"
    assert os.readlink(own / "ns/user") == "user:[4026531837]"


def test_of_open_files_only_devices_are_told(tmp_path: Path) -> None:
    root = tmp_path / "machine"
    sleeping_intel(root)
    for n, link in enumerate(("/srv/somebody/secret.gguf", "socket:[4711]", "/dev/dri/../x")):
        os.symlink(link, root / f"proc/77/fd/{90 + n}")
    record(root, tmp_path / "capture")
    links = [p for p in tmp_path.glob("capture/proc/*/fd/*") if p.is_symlink()]
    assert {(p.parts[-3], os.readlink(p)) for p in links} == {
        ("77", "/dev/dri/renderD128"),
        ("78", "/dev/dri/renderD128"),
        ("79", "/dev/dri/card1"),
    }


def test_what_is_not_in_a_capture_is_said_in_it(tmp_path: Path) -> None:
    older_intel(tmp_path / "machine")
    record(tmp_path / "machine", tmp_path / "capture")
    assert "Level Zero" in (tmp_path / "capture/ABOUT").read_text()
    amd(tmp_path / "another")
    record(tmp_path / "another", tmp_path / "other")
    assert "Level Zero" not in (tmp_path / "other/ABOUT").read_text()
