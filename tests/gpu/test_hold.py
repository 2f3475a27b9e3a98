"""What the program that holds a GPU's memory says where there is none to hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.hold import CANNOT
from tests.nvml.fake_nvml import compiler

HOLD = Path(__file__).with_name("hold.py")

# Every call works and none does anything, but that there is no device: error 100.
NO_DEVICE = "int cuInit(unsigned flags) { return 100; }"


def hold(size: int, library: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HOLD), str(size), library]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=30)


def test_without_a_driver_it_says_so_in_one_line() -> None:
    told = hold(1 << 30, "libcuda-of-nobody.so.1")
    assert (told.returncode, told.stdout) == (CANNOT, "")
    assert told.stderr.startswith("no CUDA driver: libcuda-of-nobody.so.1")
    assert told.stderr.count("\n") == 1


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_without_a_device_it_says_which_call_failed(tmp_path: Path) -> None:
    library, source = tmp_path / "libcuda.so", tmp_path / "cuda.c"
    source.write_text(NO_DEVICE)
    command = [compiler() or "cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    told = hold(0, str(library))
    assert (told.returncode, told.stdout) == (CANNOT, "")
    assert told.stderr == "cuInit: CUDA error 100\n"
