"""A machine with Intel GPUs, made of files as xe and i915 lay them out."""

from collections.abc import Collection, Iterable
from pathlib import Path

from collectors.intel import IntelCollector
from collectors.level_zero import Memory
from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Sample, Tier, mib

ARC, CPU = "0000:03:00.0", "0000:00:02.0"
POOL = PoolId(f"pci-{ARC}")
SIZE = mib(12216)
EVERYTHING, NOTHING, PERFMON = "000001ffffffffff", "0" * 16, f"{1 << 38:016x}"
B580, RAPTOR_LAKE = "0xe20b", "0xa780"


class Tree:
    """A machine made of files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, content: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")

    def link(self, name: str, target: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def gpu(
        self,
        pci: str = ARC,
        index: int = 0,
        device: str = B580,
        driver: str = "xe",
        status: str = "active",
    ) -> Path:
        folder = f"sys/class/drm/card{index}/device"
        self.write(f"{folder}/uevent", f"DRIVER={driver}\nPCI_SLOT_NAME={pci}")
        self.write(f"{folder}/vendor", "0x8086")
        self.write(f"{folder}/device", device)
        self.write(f"{folder}/power/runtime_status", status)
        for node in (f"card{index}", f"renderD{128 + index}"):
            self.write(f"{folder}/drm/{node}/dev", "")
        return self.root / folder

    def sleeps(self, index: int = 0) -> None:
        self.write(f"sys/class/drm/card{index}/device/power/runtime_status", "suspended")

    def capacity(self, size: int = SIZE, pci: str = ARC, region: str = "vram0") -> None:
        told = self.root / "sys/fs/cgroup/dmem.capacity"
        before = told.read_text() if told.exists() else ""
        stolen = f"drm/{pci}/stolen {mib(64)}"
        self.write("sys/fs/cgroup/dmem.capacity", f"{before}drm/{pci}/{region} {size}\n{stolen}")

    def group(self, name: str, used: int, pci: str = ARC, region: str = "vram0") -> None:
        told = f"drm/{pci}/{region} {used}\ndrm/{pci}/stolen 999"
        self.write(f"sys/fs/cgroup/{name}/dmem.current", told)

    def right(self, capabilities: str = EVERYTHING, *, contained: bool = False) -> None:
        self.write("proc/self/status", f"Name:\tullage\nCapPrm:\tf\nCapEff:\t{capabilities}\n")
        self.link("proc/self/ns/user", "user:[4026531837]")
        self.link("proc/self/ns/pid", f"pid:[{4026532999 if contained else 4026531836}]")

    def client(
        self,
        pids: int | Iterable[int],
        id: int,
        pci: str = ARC,
        driver: str = "xe",
        node: str = "renderD128",
        **regions: str,
    ) -> None:
        told = {"drm-driver": driver, "drm-pdev": pci, "drm-client-id": str(id)}
        told |= {f"drm-resident-{region}": size for region, size in regions.items()}
        told |= {"drm-cycles-ccs": "5", "drm-total-cycles-ccs": "9"}
        text = "".join(f"{key}:\t{value}\n" for key, value in told.items())
        for pid in (pids,) if isinstance(pids, int) else pids:
            self.write(f"proc/{pid}/comm", f"program-{pid}")
            self.write(f"proc/{pid}/fdinfo/{id}", text)
            self.link(f"proc/{pid}/fd/{id}", f"/dev/dri/{node}")

    def read(self, tiers: Tier = Tier.MEMORY, meter: "Meter | None" = None) -> Sample:
        return IntelCollector(self.root, lambda: meter).read(tiers)


class Meter:
    """Level Zero, made of values."""

    def __init__(self, total: int, free: int) -> None:
        self.told = {ARC: Memory(Bytes(total), Bytes(free))}
        self.asked: list[str] = []

    def memory(self, only: Collection[str]) -> dict[str, Memory]:
        self.asked += only
        return {pci: memory for pci, memory in self.told.items() if pci in only}


def pool(free: int, total: int = SIZE) -> MemoryPool:
    return MemoryPool(POOL, PoolKind.DEDICATED, Bytes(total), Bytes(free))
