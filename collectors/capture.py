"""A capture of this machine, to attach to a report: what its files and its driver say of memory.

`python -m collectors --root DIR` then shows the same machine anywhere. Only the files named
here are copied. Of a process its program's name, its sizes and times, and which graphics cards
it has open: no command line, no environment, no user. Of whoever records, what the kernel lets
them see. UUIDs, serials and the names of control groups become numbers.
"""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from . import capture_mac, drm, intel_view
from .recorded import FILE, Pseudonyms, Recorder

HERE = Path("/")

LARGEST = 128 * 1024  # bytes; nothing that is read here is larger

CARD = "sys/class/drm/card[0-9]*"
PATTERNS = (
    "proc/meminfo",
    "proc/vmstat",
    "proc/swaps",
    "proc/pressure/memory",
    "proc/sys/kernel/osrelease",
    "proc/driver/nvidia/version",
    "proc/driver/nvidia/gpus/*/power",
    "proc/[0-9]*/comm",
    "proc/[0-9]*/statm",
    "sys/block/zram*/mm_stat",
    "sys/block/zram*/disksize",
    "sys/kernel/mm/hugepages/*/*_hugepages",
    "sys/devices/system/node/node[0-9]*/cpulist",
    "sys/devices/system/node/node[0-9]*/meminfo",
    "sys/module/*/parameters/pages_limit",
    "sys/module/amdgpu/version",
    f"{CARD}/gt_*_freq_mhz",
    f"{CARD}/gt/gt*/throttle_reason_*",
    f"{CARD}/lmem_total_bytes",
    f"{CARD}/device/uevent",
    f"{CARD}/device/vendor",
    f"{CARD}/device/device",
    f"{CARD}/device/revision",
    f"{CARD}/device/product_name",
    f"{CARD}/device/unique_id",
    f"{CARD}/device/numa_node",
    f"{CARD}/device/mem_info_*",
    f"{CARD}/device/*_busy_percent",
    f"{CARD}/device/current_link_*",
    f"{CARD}/device/ras/*_err_count",
    f"{CARD}/device/power/runtime_status",
    f"{CARD}/device/drm/*/dev",
    f"{CARD}/device/hwmon/hwmon*/name",
    f"{CARD}/device/hwmon/hwmon*/*_label",
    f"{CARD}/device/hwmon/hwmon*/*_input",
    f"{CARD}/device/hwmon/hwmon*/power*",
    f"{CARD}/device/tile*/physical_vram_size_bytes",
    f"{CARD}/device/tile*/gt*/freq*/*_freq",
    f"{CARD}/device/tile*/gt*/freq*/throttle/*",
    "sys/class/accel/accel[0-9]*/device/uevent",
    "sys/class/accel/accel[0-9]*/device/vendor",
    "sys/class/accel/accel[0-9]*/device/device",
    "sys/class/accel/accel[0-9]*/device/npu_*",
    "sys/class/accel/accel[0-9]*/device/vbnv",
    "sys/class/accel/accel[0-9]*/device/power/runtime_status",
    "sys/class/kfd/kfd/topology/nodes/*/gpu_id",
    "sys/class/kfd/kfd/topology/nodes/*/properties",
    "sys/class/kfd/kfd/proc/*/vram_*",
    "sys/fs/cgroup/dmem.capacity",
    "sys/fs/cgroup/*/dmem.current",
    "sys/fs/cgroup/unified/dmem.capacity",
    "sys/fs/cgroup/unified/*/dmem.current",
    "usr/share/libdrm/amdgpu.ids",
    "etc/nv_tegra_release",
    "proc/device-tree/model",
    "sys/class/devfreq/*/cur_freq",
    "sys/class/devfreq/*/device/load",
    "sys/class/devfreq/*/device/of_node/name",
    "sys/class/thermal/thermal_zone[0-9]*/type",
    "sys/class/thermal/thermal_zone[0-9]*/temp",
    "sys/kernel/debug/nvmap/iovmm/clients",
)
SERIALS = ("unique_id",)
# To read anything else of a card that sleeps would wake it.
QUIET = (
    "uevent",
    "vendor",
    "device",
    "revision",
    "unique_id",
    "product_name",
    "vbnv",
    "mem_info_vram_total",
    "lmem_total_bytes",
    "physical_vram_size_bytes",
    "dev",
    "runtime_status",
)
PCI = "sys/bus/pci/devices/*/class"
ACCELERATORS = ("0x03", "0x12")  # the PCI classes of displays and of processing accelerators
OF_PCI = ("class", "vendor", "power/runtime_status", "power/control")
GROUP_FILES = (
    "memory.max",
    "memory.high",
    "memory.current",
    "memory.stat",
    "memory.events",
    "memory.pressure",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
)
GROUPS = ("sys/fs/cgroup", "sys/fs/cgroup/memory", "sys/fs/cgroup/unified")  # the mounts
PLAIN_GROUPS = {"memory", "unified", "system.slice", "user.slice", "init.scope", "machine.slice"}
NAMESPACES = ("proc/self/ns/pid", "proc/self/ns/user")
OWN_STATUS = "proc/self/status"  # of which only one line is anybody's business
OF_OWN_STATUS = "CapEff:"
# Of what a process says of itself. All else in status is about users, of stat about addresses.
STATUS = (
    "Name",
    "State",
    "Pid",
    "PPid",
    "VmLck",
    "VmRSS",
    "RssAnon",
    "RssFile",
    "RssShmem",
    "VmPTE",
    "VmSwap",
    "HugetlbPages",
)
# State, parent, flags, faults, CPU times, threads, start, sizes.
STAT = (0, 1, 6, 9, 11, 12, 17, 19, 20, 21)
CLIENT_NAME = "drm-client-name"  # whatever a program called itself
DEVICE = re.compile(r"/dev/(dri|accel)/[A-Za-z]+[0-9]+")


class Capture:
    """Copies from `root` to `folder`, which may exist if it is empty. All raise OSError."""

    def __init__(self, root: Path, folder: Path, pseudonyms: Pseudonyms) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} exists and is not empty")
        self._root, self._folder, self._pseudonyms = root, folder, pseudonyms
        self._groups: dict[str, str] = {}
        self._asleep = tuple(f for f in _cards(root) if _is_asleep(f))
        self.written = 0

    def take(self, recorder: Recorder) -> None:
        """Everything. What cannot be read, or is too large, is left out."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for pattern in PATTERNS:
            for path in sorted(self._root.glob(pattern)):
                self._copy(path)
        for path in sorted(self._root.glob(PCI)):
            if (_text(path) or "").startswith(ACCELERATORS):
                for name in OF_PCI:
                    self._copy(path.parent / name)
        for process in sorted(self._root.glob("proc/[0-9]*")):
            self._process(process)
        self._clients()
        self._control_groups()
        self._rights()
        for name, text in capture_mac.files(self._root).items():
            self._write(f"{capture_mac.FOLDER}/{name}", text)
        if recorder.answers:
            recorder.save(self._folder / FILE)
            self.written += 1
        self._write("ABOUT", self._about(recorder))

    def _copy(self, path: Path) -> None:
        asleep = any(path.is_relative_to(card) for card in self._asleep)
        text = None if asleep and path.name not in QUIET else _text(path)
        if text is not None:
            if path.name in SERIALS:
                text = self._pseudonyms.serial(text) + "\n"
            self._write(self.place(path), text)

    def _process(self, folder: Path) -> None:
        place = self.place(folder)
        stat, status = _text(folder / "stat"), _text(folder / "status")
        if stat is None or status is None:
            return  # it has ended
        self._write(f"{place}/stat", plain_stat(stat))
        self._write(f"{place}/status", plain_status(status))

    def _clients(self) -> None:
        """What processes hold of cards, as fdinfo tells it. A card that sleeps is not asked."""
        awake = {_pci(card) for card in _cards(self._root) if card not in self._asleep}
        clients = drm.clients(self._root, only=awake)
        for n, client in enumerate(clients):
            fields = client.fields.items()
            text = "".join(f"{k}:\t{v}\n" for k, v in fields if k != CLIENT_NAME)
            for pid in client.pids:
                self._write(f"proc/{pid}/fd/{n}", "")
                self._write(f"proc/{pid}/fdinfo/{n}", text)
        for pid in drm.all_pids(self._root):  # who has one open that sleeps, only links tell
            for n, link in enumerate(_devices(self._root / f"proc/{pid}/fd"), len(clients)):
                self._link(f"proc/{pid}/fd/{n}", link)

    def _control_groups(self) -> None:
        """Ours and all above it, under other names."""
        text = _text(self._root / "proc/self/cgroup")
        if text is None:
            return
        lines = []
        for line in text.splitlines():
            number, controllers, path = (*line.split(":", 2), "", "")[:3]
            names = [name for name in path.split("/") if name]
            lines.append(f"{number}:{controllers}:/" + "/".join(map(self._group, names)))
            for mount in GROUPS:
                for first in range(len(names) + 1):  # a container's mount may show only the end
                    for last in range(first, len(names) + 1):
                        for name in GROUP_FILES:
                            self._copy(self._root.joinpath(mount, *names[first:last], name))
        self._write("proc/self/cgroup", "\n".join(lines) + "\n")

    def _rights(self) -> None:
        """What this process may see: where that is not all, some sums tell nothing."""
        status = _text(self._root / OWN_STATUS) or ""
        kept = [f"{line}\n" for line in status.splitlines() if line.startswith(OF_OWN_STATUS)]
        if kept:
            self._write(OWN_STATUS, "".join(kept))
        for namespace in NAMESPACES:
            try:
                self._link(namespace, os.readlink(self._root / namespace))
            except OSError:
                continue

    def place(self, path: Path) -> str:
        """Where a file of the root lies in the capture: control groups have other names."""
        place = path.relative_to(self._root)
        if place.parts[:3] != ("sys", "fs", "cgroup"):
            return place.as_posix()
        *groups, file = place.parts[3:]
        return "/".join(("sys/fs/cgroup", *map(self._group, groups), file))

    def _group(self, name: str) -> str:
        if name in PLAIN_GROUPS or name in (".", ".."):
            return name
        return self._groups.setdefault(name, f"group-{len(self._groups) + 1}")

    def _write(self, place: str, text: str) -> None:
        path = self._folder / place
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._pseudonyms.of(text))
            self.written += 1

    def _link(self, place: str, target: str) -> None:
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, path)
        self.written += 1

    def _about(self, recorder: Recorder) -> str:
        driver = recorder.answers.get("library", {}).get("nvmlSystemGetDriverVersion")
        kernel = (_text(self._root / "proc/sys/kernel/osrelease") or "unknown").strip()
        if self._root == HERE:
            kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
        lines = [
            "Recorded by `python -m collectors --record`.",
            f"date    {datetime.now(UTC):%Y-%m-%d}",
            f"kernel  {kernel}",
            f"NVIDIA  {driver if isinstance(driver, str) else 'no driver'}",
            "UUIDs, serials and the names of control groups are replaced by numbers. Of processes",
            "there are the program's name, sizes, times, and which graphics cards it has open; of",
            "the host's name there is nothing.",
        ]
        if intel_view.cards(self._root):
            lines.append("What Level Zero tells of Intel GPUs, which is in no file, is not in it.")
        return "\n".join(lines) + "\n"


def plain_status(text: str) -> str:
    """/proc/PID/status without users, groups, and all that is not about memory."""
    kept = (line for line in text.splitlines() if line.partition(":")[0] in STATUS)
    return "".join(f"{line}\n" for line in kept)


def plain_stat(text: str) -> str:
    """/proc/PID/stat with 0 for every field that nobody reads. The name may contain anything."""
    end = text.rfind(")") + 1
    fields = text[end:].split()
    kept = (value if i in STAT else "0" for i, value in enumerate(fields))
    return " ".join((text[:end], *kept)) + "\n"


def _cards(root: Path) -> list[Path]:
    """Folders of cards and of other accelerators."""
    return [*root.glob(CARD), *root.glob("sys/class/accel/accel[0-9]*")]


def _is_asleep(card: Path) -> bool:
    return (_text(card / "device/power/runtime_status") or "").startswith("suspend")


def _pci(card: Path) -> str:
    """Its address; "" off the bus."""
    lines = (_text(card / "device/uevent") or "").splitlines()
    return dict(line.partition("=")[::2] for line in lines).get("PCI_SLOT_NAME", "")


def _devices(folder: Path) -> list[str]:
    """The graphics cards and other accelerators that are open there, each once."""
    found = set()
    try:
        names = os.listdir(folder)
    except OSError:
        return []  # it ended, or belongs to someone else
    for name in names:
        try:
            link = os.readlink(folder / name)
        except OSError:
            continue  # closed meanwhile
        if DEVICE.fullmatch(link):
            found.add(link)
    return sorted(found)


def _text(path: Path) -> str | None:
    try:
        with path.open("rb", buffering=0) as file:
            data = file.read(LARGEST + 1)
    except OSError:
        return None
    return None if data is None or len(data) > LARGEST else data.decode(errors="replace")
