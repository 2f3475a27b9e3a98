"""A machine's graphics cards and their clients, written as files below a folder."""

from pathlib import Path

from collectors.reading import gib, mib

# Files of an AMD card with 24 GiB, and of a GPU that lives in the machine's RAM.
DISCRETE = {
    "device": "0x744c",
    "mem_info_vram_total": gib(24),
    "mem_info_vram_used": gib(4),
    "mem_info_gtt_total": gib(32),
    "mem_info_gtt_used": mib(100),
    "mem_busy_percent": 3,
}
INTEGRATED = {
    "device": "0x1586",
    "mem_info_vram_total": mib(512),
    "mem_info_vram_used": mib(200),
    "mem_info_gtt_total": gib(100),
    "mem_info_gtt_used": gib(7),
}


def write(root, path, text=""):
    file = Path(root) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(text))
    return file


def card(root, index, pci, *, driver="amdgpu", vendor="0x1002", render=None, **files):
    """A card on a PCI bus. `files` are attributes of its device: mem_info_vram_total=..."""
    device = Path(root) / f"sys/class/drm/card{index}/device"
    write(device, "uevent", f"DRIVER={driver}\nPCI_SLOT_NAME={pci}\n")
    write(device, "vendor", f"{vendor}\n")
    write(device, f"drm/card{index}/dev", f"226:{index}\n")
    write(device, f"drm/renderD{128 + index if render is None else render}/dev")
    for name, value in files.items():
        write(device, name, f"{value}\n")
    return device


def client(root, pid, fd, pci, number, *, driver="amdgpu", comm=None, **fields):
    """One open device file of a process. `fields` with "_" for "-": drm_resident_vram="1 MiB"."""
    lines = {"pos": "0", "drm-driver": driver, "drm-client-id": number, "drm-pdev": pci}
    lines |= {name.replace("_", "-"): value for name, value in fields.items()}
    write(root, f"proc/{pid}/fd/{fd}")
    write(root, f"proc/{pid}/fdinfo/{fd}", "".join(f"{k}:\t{v}\n" for k, v in lines.items()))
    if comm is not None:
        write(root, f"proc/{pid}/comm", f"{comm}\n")


def topology(root, cores=0, gpu=111, render=128):
    """AMD's compute driver: a CPU, and a GPU with so many CPU cores on its own node."""
    node = "sys/class/kfd/kfd/topology/nodes"
    write(root, f"{node}/0/gpu_id", "0\n")
    write(root, f"{node}/0/properties", "cpu_cores_count 16\nsimd_count 0\ndrm_render_minor 0\n")
    write(root, f"{node}/1/gpu_id", f"{gpu}\n")
    text = f"cpu_cores_count {cores}\nsimd_count 80\ndrm_render_minor {render}\nodd\nname x\n"
    write(root, f"{node}/1/properties", text)
