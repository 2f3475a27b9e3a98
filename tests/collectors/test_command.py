"""`python -m collectors`, as a person and as a script run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from collectors.__main__ import main, size
from collectors.reading import gib, mib
from tests.nvml.fake_nvml import GIB, State

ROOT = Path(__file__).parents[2]


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "collectors", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["--json", *arguments]) == 0
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return loaded


def test_a_script_gets_pools_devices_and_processes(nvml_library: Path, tmp_path: Path) -> None:
    state = State(tmp_path / "nvml.txt")
    state.gpu(0, name="NVIDIA RTX 4090", uuid="GPU-aaaa", total=24 * GIB, used=2 * GIB, util=50)
    state.fault(3, "nvmlDeviceGetPowerUsage")
    state.proc(0, "C", os.getpid(), GIB)
    state.proc(0, "C", 4_190_000, None)
    done = run("--json", env=state.env(nvml_library))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.keys() == {"pools", "devices", "processes", "host", "blind", "faults", "notes"}
    assert [p["id"] for p in found["pools"]] == ["ram", "GPU-aaaa"]
    assert found["pools"][1] == {
        "id": "GPU-aaaa",
        "kind": "dedicated",
        "total": gib(24),
        "free": gib(22),
        "used": gib(2),
        "reserved": 0,
    }
    [device] = found["devices"]
    assert (device["utilization"], device["power"]) == (0.5, None)
    on_gpu = [(p["pid"], p["size"]) for p in found["processes"] if p["pool"] == "GPU-aaaa"]
    assert on_gpu == [(os.getpid(), GIB), (4_190_000, None)]


def test_a_machine_without_a_driver_is_a_fact_and_no_failure(
    driver: State, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.fault(9, "nvmlInitWithFlags")
    found = document(capsys)
    assert found["notes"] == ["no NVIDIA driver on this machine"]
    assert (found["devices"], found["faults"]) == ([], {})
    assert [p["id"] for p in found["pools"]] == ["ram"]
    assert found["host"].keys() == {"swap_total", "swap_free", "limit", "limited_by"}


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


def test_a_person_gets_aligned_tables(driver: State, capsys: pytest.CaptureFixture[str]) -> None:
    driver.gpu(0, uuid="GPU-12345678-0000-0000-0000-000000000000", used=20 * GIB)
    driver.proc(0, "C", 4_190_000, None)
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["POOL", "KIND", "USED", "FREE", "TOTAL"]
    [pool] = [line for line in lines if line.startswith("GPU-12345678  dedicated")]
    assert pool.split()[3:] == ["20.0", "GiB", "3.5", "GiB", "23.5", "GiB"]
    assert pool.count("█") == 17
    [device] = [line for line in lines if "NVIDIA RTX 4090" in line]
    assert "GPU-12345678-0000-0000-0000-000000000000" in device
    assert device.split()[-6:] == ["580.82.07", "12%", "41", "°C", "65", "W"]
    [holder] = [line for line in lines if line.startswith("4190000")]
    assert holder.split() == ["4190000", "-", "GPU-12345678", "-"]
    ends = {len(line) for line in lines[: lines.index("")]}
    assert len(ends) == 1, "the columns of a table end together"


def test_a_lost_gpu_is_named_to_a_person(driver: State, capsys: pytest.CaptureFixture[str]) -> None:
    driver.fault(15, index=0)
    assert main([]) == 0
    assert "nvidia:0: cannot be read: GPU is lost" in capsys.readouterr().out


def test_a_source_that_fails_altogether_is_told_by_the_exit_status(
    driver: State, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.fault(18)
    assert main([]) == 1
    assert "nvidia: the driver was updated under its library" in capsys.readouterr().out


def test_a_limit_on_ram_is_shown_with_the_file_that_sets_it(
    driver: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (group / "memory.max").write_text(f"{mib(256)}\n")
    (group / "memory.current").write_text("0\n")
    assert main(["--root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "RAM is limited to 256 MiB by /sys/fs/cgroup/memory.max" in shown
    [pool] = [line for line in shown.splitlines() if line.startswith("ram")]
    assert pool.endswith("256 MiB   256 MiB")


def test_the_bar_is_plain_where_the_terminal_is_plain() -> None:
    done = run(env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode in (0, 1)
    assert done.stdout.isascii()
    assert done.stderr == ""


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
