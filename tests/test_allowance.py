"""What memory is left to the daemon where it may not have as much as it likes."""

from __future__ import annotations

import logging
import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor import allowance as module
from supervisor.allowance import AGAIN, KEPT, LAST, MIB, SPARE, Allowance

pytest.importorskip("resource")
linux = pytest.mark.skipif(sys.platform != "linux", reason="by /proc/self/statm")
MOST = 1024 * MIB


class Process:
    """One that may have MOST bytes of addresses, unless its `limits` are others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limits = {"RLIMIT_AS": MOST}
        self.takes(100 * MIB)
        (folder / "usual").write_text("0\n")

    def takes(self, addresses: int, data: int = 0) -> None:
        pages = [addresses // mmap.PAGESIZE, 1, 1, 1, 0, data // mmap.PAGESIZE, 0]
        (self.folder / "statm").write_text(" ".join(map(str, pages)) + "\n")

    def leaves(self, size: int) -> None:
        self.takes(MOST - size)

    def allowance(self, overcommit: str = "usual") -> Allowance:
        at = self.folder
        return Allowance(at / "statm", at / "meminfo", at / overcommit)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    made = Process(tmp_path)
    like = SimpleNamespace(
        RLIMIT_AS="RLIMIT_AS",
        RLIMIT_DATA="RLIMIT_DATA",
        RLIM_INFINITY=-1,
        getrlimit=lambda what: (made.limits.get(what, -1), -1),
    )
    monkeypatch.setattr(module, "resource", like)
    return made


def test_what_is_left_is_counted_by_each_limit_and_the_tightest_holds(process: Process) -> None:
    process.takes(700 * MIB, data=50 * MIB)
    assert process.allowance().left() == MOST - 700 * MIB
    process.limits["RLIMIT_DATA"] = 60 * MIB
    assert process.allowance().left() == 10 * MIB
    assert (
        process.allowance().why()
        == "this process may have 1024 MiB and no more (LimitAS, ulimit -v)"
    )
    del process.limits["RLIMIT_AS"]
    assert process.allowance().left() == 10 * MIB
    assert "(LimitDATA, ulimit -d)" in str(process.allowance().why())


def test_without_a_limit_everything_is_admitted(process: Process) -> None:
    process.limits.clear()
    free = process.allowance()
    assert (free.why(), free.left(), free.admits(1 << 40)) == (None, None, True)
    assert free._spare is None


def test_a_system_that_promises_no_more_than_it_has_is_a_limit_as_well(process: Process) -> None:
    process.limits.clear()
    (process.folder / "strict").write_text("2\n")
    meminfo = "MemTotal: 16 kB\nCommitLimit:    409600 kB\nCommitted_AS:   307200 kB\n"
    (process.folder / "meminfo").write_text(meminfo)
    strict = process.allowance("strict")
    assert "promises no more memory than it has" in str(strict.why())
    assert strict.left() == 100 * MIB
    assert process.allowance("nowhere").why() is None


@pytest.mark.parametrize("words", ["", "a b c d e f g\n"])
def test_where_nobody_can_tell_everything_is_admitted(process: Process, words: str) -> None:
    (process.folder / "statm").write_text(words)
    assert process.allowance().admits(1 << 40)
    (process.folder / "statm").unlink()
    assert process.allowance().admits(1 << 40)


def test_what_can_be_asked_again_leaves_some_for_what_cannot(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    one = process.allowance()
    process.leaves(KEPT + 10 * MIB)
    assert one.admits(10 * MIB)
    assert not caplog.messages
    assert not one.admits(10 * MIB + 1)
    (said,) = caplog.messages
    assert said.startswith("74 MiB of memory are left")


def test_the_log_says_once_that_little_is_left_and_once_that_it_is_over(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ullage")
    one = process.allowance()
    for left in (KEPT, KEPT - MIB, KEPT - 2 * MIB, KEPT, AGAIN - MIB, AGAIN, AGAIN):
        process.leaves(left)
        one.look()
    little, over = caplog.messages
    assert little.startswith(
        "63 MiB of memory are left (this process may have 1024 MiB and no more"
    )
    assert little.endswith("large bodies are refused until there is more")
    assert "again" in over


def test_for_a_very_large_body_it_is_not_over_before_there_is_room_for_that_one(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ullage")
    one = process.allowance()
    process.leaves(AGAIN + 10 * MIB)
    for _ in range(3):
        assert not one.admits(AGAIN)
        one.look()
    assert len(caplog.messages) == 1
    process.leaves(AGAIN + KEPT)
    one.look()
    assert "again" in caplog.messages[1]


def test_a_piece_is_kept_for_the_last_and_taken_again_when_there_is_enough(
    process: Process,
) -> None:
    one = process.allowance()
    one.look()
    assert one._spare is not None
    assert len(one._spare) == SPARE
    process.leaves(LAST)
    one.look()
    assert one._spare is not None
    process.leaves(LAST - MIB)
    one.look()
    assert one._spare is None
    process.leaves(AGAIN - MIB)  # what was given away is no reason to take it again
    one.look()
    assert one._spare is None
    process.leaves(AGAIN)
    one.look()
    assert one._spare is not None


@linux
def test_under_a_real_limit_the_piece_that_was_kept_can_be_had() -> None:
    """In a process of its own: the limit is lowered to what it has, and a MiB."""
    code = """
import resource, mmap
from supervisor.allowance import Allowance, MIB, LAST, SPARE
resource.setrlimit(resource.RLIMIT_AS, (64 << 30, resource.RLIM_INFINITY))
one = Allowance()
before = one.left()
one.look()
assert before - one.left() >= SPARE, (before, one.left())
taken = (64 << 30) - one.left()
resource.setrlimit(resource.RLIMIT_AS, (taken + MIB, resource.RLIM_INFINITY))
try:
    mmap.mmap(-1, LAST)
    raise SystemExit("there was room without it")
except (OSError, MemoryError):
    pass
assert not one.admits(1)
mmap.mmap(-1, LAST)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


THREADS = 8


@linux
def test_threads_take_few_addresses_where_those_are_counted() -> None:
    """In a process of its own: the C library cannot be told otherwise again."""
    code = f"""
import threading
from supervisor.allowance import MIB, STATM, share
share()
size = lambda: int(STATM.read_bytes().split()[0]) * 4096 // MIB
before, here, over = size(), threading.Barrier({THREADS + 1}), threading.Event()
def work():
    kept = [bytes(1000) for _ in range(1000)]
    here.wait()
    over.wait()
for _ in range({THREADS}):
    threading.Thread(target=work).start()
here.wait()
print(size() - before)
over.set()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < THREADS * 8  # a usual stack alone
