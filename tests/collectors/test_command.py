"""`python -m collectors`, as a person and as a script run it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from collectors.__main__ import main
from collectors.capture import Capture
from collectors.display import show, size
from collectors.machine import Machine
from collectors.reading import RAM, MemoryPool, PoolKind, Process, gib, mib
from collectors.recorded import Pseudonyms, Recorder
from collectors.tree import account
from tests.nvml.fake_nvml import GIB, State

ROOT = Path(__file__).parents[2]


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "collectors", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["--json", *arguments]) == 0
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return loaded


@pytest.mark.slow
def test_a_script_gets_pools_devices_and_processes(nvml_library: Path, tmp_path: Path) -> None:
    state = State(tmp_path / "nvml.txt")
    state.gpu(0, name="NVIDIA RTX 4090", uuid="GPU-aaaa", total=24 * GIB, used=2 * GIB, util=50)
    state.fault(3, "nvmlDeviceGetPowerUsage")
    state.proc(0, "C", os.getpid(), GIB)
    state.proc(0, "C", 4_190_000, None)
    done = run("--json", env=state.env(nvml_library))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    keys = {"pools", "devices", "processes", "host", "blind", "faults", "incidents", "notes"}
    assert found.keys() == keys
    assert [p["id"] for p in found["pools"]] == ["ram", "GPU-aaaa"]
    assert found["pools"][1] == {
        "id": "GPU-aaaa",
        "kind": "dedicated",
        "total": gib(24),
        "free": gib(22),
        "used": gib(2),
        "reserved": 0,
        "device_limit": None,
        "device_used": None,
        "parts": [
            {
                "kind": "process",
                "label": found["pools"][1]["parts"][0]["label"],
                "size": gib(1),
                "pid": os.getpid(),
                "device": 0,
            },
            {
                "kind": "unaccounted",
                "label": "unaccounted",
                "size": gib(1),
                "pid": None,
                "device": 0,
            },
        ],
        "excess": 0,
        "cut": 0,
    }
    [device] = found["devices"]
    assert (device["kind"], device["utilization"], device["power"]) == ("gpu", 0.5, None)
    on_gpu = [(p["pid"], p["size"]) for p in found["processes"] if p["pool"] == "GPU-aaaa"]
    assert on_gpu == [(os.getpid(), GIB), (4_190_000, None)]


def test_a_machine_without_a_driver_is_a_fact_and_no_failure(
    driver: State, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.fault(9, "nvmlInitWithFlags")
    found = document(capsys)
    assert "no NVIDIA driver on this machine" in found["notes"]
    assert (found["devices"], found["faults"]) == ([], {})
    [pool] = found["pools"]
    assert (pool["id"], pool["kind"]) == ("ram", "host")
    assert found["host"].keys() >= {"swap_total", "swap_free", "limit", "limited_by"}


def test_processes_are_the_biggest_of_each_pool(
    driver: State, capsys: pytest.CaptureFixture[str]
) -> None:
    for pid, used in ((1, GIB), (2, 3 * GIB), (3, 2 * GIB), (4, None)):
        driver.proc(0, "C", pid, used)
    listed = document(capsys, "--top", "2")["processes"]
    assert [p["pid"] for p in listed if p["pool"] == "GPU-aaaa"] == [2, 3]
    in_ram = [p["size"] for p in listed if p["pool"] == "ram"]
    assert len(in_ram) == 2
    assert in_ram[0] >= in_ram[1] > 0


def test_a_person_gets_a_tree_for_each_pool(
    driver: State, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.gpu(0, uuid="GPU-12345678-0000-0000-0000-000000000000", used=20 * GIB)
    for pid in (4_190_001, 4_190_002, 4_190_003):
        driver.proc(0, "C", pid, 5 * GIB)
    driver.proc(0, "C", 4_190_000, None)
    assert main(["--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("RAM  ")
    at = lines.index("GPU 0  NVIDIA RTX 4090  GPU-12345678  dedicated")
    assert lines[at + 1 : at + 7] == [
        "█" * 26 + "░" * 4 + "  20.0 GiB of 23.5 GiB used, 3.5 GiB free",
        "├─   5.0 GiB  process 4190001",
        "├─  10.0 GiB  2 others",
        "├─   5.0 GiB  unaccounted",
        "├─            process 4190000: nobody says how much it holds",
        "└─   512 MiB  reserved by the driver, outside the total",
    ]
    at = lines.index("GPU 0  NVIDIA RTX 4090")
    assert lines[at + 1].split(", ") == [
        "  GPU-12345678-0000-0000-0000-000000000000",
        "0000:01:00.0",
        "driver 580.82.07",
    ]
    assert {"busy 12%", "41 °C", "65 W"} <= set(lines[at + 2].strip().split(", "))


def test_what_a_program_calls_itself_does_not_reach_the_terminal_as_it_is() -> None:
    lines = list(displayed("evil\x1b[31m\n\x07name"))
    assert any("evil?[31m?name 77" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def displayed(name: str) -> list[str]:
    pool = MemoryPool(RAM, PoolKind.HOST, gib(2), gib(1))
    machine = Machine((pool,), processes=(Process(77, 1, name, gib(1), gib(0)),))
    console = Console(file=io.StringIO(), width=80)
    show(machine, account(machine), console)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().splitlines()


def test_a_lost_gpu_is_named_to_a_person(driver: State, capsys: pytest.CaptureFixture[str]) -> None:
    driver.fault(15, index=0)
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("nvidia:0") + 1].startswith("└─ cannot be read: GPU is lost")


def test_a_source_that_fails_altogether_is_told_by_the_exit_status(
    driver: State, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.fault(18)
    assert main([]) == 1
    assert "nvidia: the driver was updated under its library" in capsys.readouterr().out


def test_a_limit_on_ram_is_shown_with_the_file_that_sets_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\n")
    (group / "memory.max").write_text(f"{mib(256)}\n")
    (group / "memory.current").write_text("0\n")
    assert main(["--root", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "RAM is limited to 256 MiB (the machine has 4.0 GiB) by /sys/fs/cgroup/memory.max" in (
        shown
    )
    assert "0 B of 256 MiB used, 256 MiB free" in shown


@pytest.mark.slow
def test_everything_is_plain_where_the_terminal_is_plain() -> None:
    capture = str(ROOT / "tests/captures/rtx-4090-desktop")
    done = run("--root", capture, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "|-   5.9 GiB  ollama 9310" in done.stdout
    assert "61 C" in done.stdout


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "collectors", "--root", "tests/captures/8x-h100-mig"]
    with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


# -- captures


def test_a_machine_that_was_recorded_is_shown_again_as_it_was(
    driver: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uuid = "12345678-9abc-def0-1234-56789abcdef0"
    driver.gpu(0, uuid=f"GPU-{uuid}")
    driver.proc(0, "C", os.getpid(), GIB)
    live = document(capsys)
    folder = tmp_path / "capture"
    assert main(["--record", str(folder)]) == 0
    assert str(folder) in capsys.readouterr().out
    driver.without_gpu(1)
    driver.gpu(0, used=0)
    replayed = document(capsys, "--root", str(folder))

    assert replayed["devices"][0]["uuid"] == "GPU-00000001-0000-0000-0000-000000000000"
    assert [p["total"] for p in replayed["pools"]] == [p["total"] for p in live["pools"]]
    assert replayed["pools"][1]["free"] == gib(21.5)
    assert replayed["notes"] == live["notes"]
    names = ("name", "pci", "driver", "temperature", "power", "utilization")
    assert [[d[n] for n in names] for d in replayed["devices"]] == [
        [d[n] for n in names] for d in live["devices"]
    ]
    [held] = [p for p in replayed["processes"] if p["by"] == "driver"]
    assert (held["pid"], held["size"]) == (os.getpid(), GIB)
    here = {p["pid"] for p in replayed["processes"] if p["by"] == "kernel"}
    assert here & {p["pid"] for p in live["processes"]}
    for key in ("swap_total", "physical", "limit"):
        assert replayed["host"][key] == live["host"][key]


def test_a_capture_tells_nothing_of_a_person(
    driver: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uuid = "12345678-9abc-def0-1234-56789abcdef0"
    driver.gpu(0, uuid=f"GPU-{uuid}")
    root = tmp_path / "root"
    private = {
        "proc/77/status": "Name:\tollama\nUmask:\t0022\nPPid:\t1\nUid:\t4711\t4711\t4711\t4711\n"
        "Groups:\t4711\nVmRSS:\t 8 kB\nRssAnon:\t 8 kB\nRssFile:\t 0 kB\nRssShmem:\t 0 kB\n",
        "proc/77/stat": "77 (a (b) c) S 1 77 77 0 -1 4194560 " + " ".join(["140737488355328"] * 44),
        "proc/77/comm": "ollama\n",
        "proc/77/cmdline": "ollama\0run\0secret-model",
        "proc/77/environ": "HOME=/srv/somebody",
        "proc/77/maps": "/srv/somebody/secret-model.gguf",
        "proc/self/cgroup": "0::/user.slice/somebody.service\n",
        "proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\n",
        "proc/sys/kernel/hostname": "somebodys-desk\n",
        "sys/fs/cgroup/user.slice/somebody.service/memory.max": "1073741824\n",
        "sys/fs/cgroup/user.slice/somebody.service/memory.current": "4096\n",
        "sys/class/drm/card0/device/uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n",
        "sys/class/drm/card0/device/vendor": "0x1002\n",
        "sys/class/drm/card0/device/device": "0x744c\n",
        "sys/class/drm/card0/device/unique_id": "deadbeefcafe4711\n",
        "sys/class/drm/card0/device/mem_info_vram_total": "25753026560\n",
        "proc/77/fd/3": "",
        "proc/77/fdinfo/3": "drm-driver:\tamdgpu\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t9\n"
        "drm-client-name:\tsomebody\ndrm-resident-vram:\t64 MiB\n",
        "proc/77/fd/4": "",
        "proc/77/fdinfo/4": "pos:\t4711\n",
    }
    for place, text in private.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    folder = tmp_path / "capture"
    main(["--record", str(folder), "--root", str(root)])

    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    told = "\n".join([*files, *(p.read_text() for p in files.values())])
    for secret in ("somebody", "secret", "4711", "deadbeef", uuid, "desk"):
        assert secret not in told
    assert files.keys() >= {"ABOUT", "proc/77/stat", "proc/77/comm"}
    assert not {"proc/77/cmdline", "proc/77/environ", "proc/77/maps"} & files.keys()
    stat = files["proc/77/stat"].read_text()
    assert stat.startswith("77 (a (b) c) S 1 0 0 0 0 4194560 0")
    assert stat.split()[-22:] == ["0"] * 22, "addresses"
    assert "RssAnon:\t 8 kB" in files["proc/77/status"].read_text()
    assert "drm-resident-vram:\t64 MiB" in files["proc/77/fdinfo/0"].read_text()
    group = "sys/fs/cgroup/user.slice/group-1/memory.max"
    assert files[group].read_text() == "1073741824\n"
    assert files["proc/self/cgroup"].read_text() == "0::/user.slice/group-1\n"


def test_a_card_that_sleeps_is_recorded_without_waking_it(tmp_path: Path) -> None:
    card = tmp_path / "root/sys/class/drm/card0/device"
    (card / "power").mkdir(parents=True)
    (card / "power/runtime_status").write_text("suspended\n")
    (card / "uevent").write_text("PCI_SLOT_NAME=0000:03:00.0\n")
    (card / "gpu_busy_percent").write_text("0\n")
    fdinfo = tmp_path / "root/proc/77/fdinfo"
    (tmp_path / "root/proc/77/fd").mkdir(parents=True)
    fdinfo.mkdir()
    (tmp_path / "root/proc/77/fd/3").write_text("")
    (fdinfo / "3").write_text("drm-driver:\txe\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t9\n")
    capture = Capture(tmp_path / "root", tmp_path / "capture", Pseudonyms())
    capture.take(Recorder(None))
    copied = {p.name for p in (tmp_path / "capture").rglob("*") if p.is_file()}
    assert copied == {"ABOUT", "uevent", "runtime_status"}


@pytest.mark.parametrize("is_file", [True, False])
def test_a_capture_never_overwrites_anything(
    tmp_path: Path, is_file: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "capture"
    if is_file:
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "letter").write_text("mine")
    with pytest.raises(SystemExit) as exit:
        main(["--record", str(folder)])
    assert exit.value.code == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert (folder if is_file else folder / "letter").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["--nonsense"], ["extra"], ["--top", "-1"], ["--top", "x"]])
def test_a_wrong_command_line_exits_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage: python -m collectors" in capsys.readouterr().err


def test_help_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (mib(300), "300 MiB"), (gib(1.5), "1.5 GiB")],
)
def test_sizes_are_written_for_people(n: int, text: str) -> None:
    assert size(n) == text
