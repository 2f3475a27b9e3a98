"""Files read through a descriptor that is kept."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.kept import CHUNK, Kept


def test_each_read_is_of_what_stands_there_now(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    kept = Kept(path)
    assert kept.read() == b"one"
    path.write_text("other")
    assert kept.read() == b"other"


def test_a_long_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(256)) * (CHUNK // 100))
    assert Kept(path).read() == path.read_bytes()


def test_a_file_that_is_not_there_may_come(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        kept.read()
    (tmp_path / "x").write_text("here")
    assert kept.read() == b"here"


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-c", "input()"]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    yield running
    for program in running:
        program.kill()
        program.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_descriptor_that_fails_is_opened_again(
    tmp_path: Path, programs: list[subprocess.Popen[bytes]]
) -> None:
    path = tmp_path / "program"
    path.symlink_to(f"/proc/{programs[0].pid}/statm")
    kept = Kept(path)
    kept.read()
    before = len(os.listdir("/proc/self/fd"))
    programs[0].kill()
    programs[0].wait()
    with pytest.raises(FileNotFoundError):
        kept.read()
    path.unlink()
    path.symlink_to(f"/proc/{programs[1].pid}/stat")
    assert kept.read().startswith(b"%d " % programs[1].pid)
    assert len(os.listdir("/proc/self/fd")) == before
