"""A collector in a process of its own: what it answers, and how it ends."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors.apart import Apart
from collectors.errors import CollectorError
from collectors.owner import Owner, read_all
from collectors.reading import Sample, Seconds, Tier
from tests.collectors.afar import POOL, TARGET, gate, tell

SOON = 10.0  # seconds; only ever waited for in full when a test fails
REPOSITORY = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    apart = Apart("afar", TARGET, tmp_path, Seconds(SOON))
    yield apart
    apart.close()


def pid_of(sample: Sample) -> int:
    return int(sample.notes[0].split()[1])


def calls(sample: Sample) -> int:
    return int(sample.notes[1].split()[1])


@contextmanager
def end_of(pid: int) -> Iterator[Callable[[float], bool]]:
    """Waits until a process has ended, even one that is not ours."""
    end, ended = os.pidfd_open(pid), select.poll()
    ended.register(end, select.POLLIN)
    yield lambda seconds: bool(ended.poll(seconds * 1000))
    os.close(end)


def test_readings_are_taken_in_one_other_process(apart: Apart) -> None:
    first, second = apart.read(Tier.MEMORY), apart.read(Tier.ALL)
    assert first.pools == (POOL,)
    assert pid_of(first) == pid_of(second) != os.getpid()
    assert (calls(second), apart.generation) == (2, 1)


def test_the_tiers_that_are_asked_for_reach_the_collector(apart: Apart) -> None:
    asked = (Tier.MEMORY, Tier.MEMORY | Tier.HEALTH, Tier.ALL)
    assert [apart.read(t).notes[2] for t in asked] == ["tiers 1", "tiers 5", "tiers 7"]


def test_what_the_collector_refuses_is_refused_here_and_its_process_lives_on(
    apart: Apart, tmp_path: Path
) -> None:
    tell(tmp_path, "refuse", "GPU is lost")
    with pytest.raises(CollectorError, match=r"^GPU is lost$"):
        apart.read(Tier.MEMORY)
    tell(tmp_path, "stumble")
    with pytest.raises(CollectorError, match=r"^ValueError: two lines$"):
        apart.read(Tier.MEMORY)
    tell(tmp_path)
    assert (calls(apart.read(Tier.MEMORY)), apart.generation) == (3, 1)


def test_an_answer_larger_than_any_buffer_arrives_whole(apart: Apart, tmp_path: Path) -> None:
    tell(tmp_path, "list", 30_000)
    holders = apart.read(Tier.ALL).holders
    assert holders is not None
    assert [h.pid for h in holders] == list(range(30_000))


def test_what_a_library_prints_or_reads_does_not_get_in_the_way(
    apart: Apart, tmp_path: Path
) -> None:
    tell(tmp_path, "chatter", 200_000)
    assert calls(apart.read(Tier.MEMORY)) == 1
    assert calls(apart.read(Tier.MEMORY)) == 2


@linux
def test_the_child_takes_little_along(apart: Apart, tmp_path: Path) -> None:
    """No file of the parent's, above all, not even one that was meant for other children."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        tell(tmp_path, "show")
        *modules, facts = apart.read(Tier.MEMORY).notes
    assert facts == repr({"files": [0, 1, 2, 3], "session": True, "deaf": True})
    assert not {"rich", "asyncio", "logging", "supervisor", "collectors.machine"} & set(modules)


def test_ctrl_c_is_not_for_the_child(apart: Apart) -> None:
    pid = pid_of(apart.read(Tier.MEMORY))
    os.kill(pid, signal.SIGINT)
    assert pid_of(apart.read(Tier.MEMORY)) == pid


def test_the_child_finds_what_its_parent_found_and_nothing_that_lies_in_its_way(
    apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert calls(apart.read(Tier.MEMORY)) == 1


def test_an_owner_hears_why_there_is_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.apart.SLACK", SOON)
    apart = Apart("afar", TARGET, tmp_path, Seconds(0.02))
    tell(tmp_path, "hang")
    with gate(tmp_path):
        owner = Owner(apart)
        [reading] = read_all([owner], Tier.MEMORY)
        apart.close()
        owner.close()
    assert reading.fault == "is starting (0 s)"


# -- its end


@linux
def test_closed_it_ends_at_once_and_the_next_read_starts_another(apart: Apart) -> None:
    first = pid_of(apart.read(Tier.MEMORY))
    with end_of(first) as ended:
        apart.close()
        assert ended(0)
    assert pid_of(apart.read(Tier.MEMORY)) != first
    assert apart.generation == 2


def test_closing_what_never_started_or_was_closed_does_nothing(apart: Apart) -> None:
    apart.close()
    apart.read(Tier.MEMORY)
    apart.close()
    apart.close()
    assert (apart.pid, apart.generation) == (None, 1)


def test_closing_takes_the_wait_off_a_read_in_another_thread(apart: Apart, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, gate(tmp_path):
        pool.submit(apart.read, Tier.MEMORY).result(SOON)
        tell(tmp_path, "hang")
        reading = pool.submit(apart.read, Tier.MEMORY)
        while apart._child is None or apart._child.asked_at is None:
            assert not reading.done()
        apart.close()
        with pytest.raises(CollectorError, match=r"^was closed$"):
            reading.result(1)
        tell(tmp_path)
        assert pool.submit(apart.read, Tier.MEMORY).result(SOON).pools == (POOL,)


def test_closing_leaves_the_line_to_a_read_that_still_uses_it(apart: Apart) -> None:
    """Its number would else be another file's by the time that the read looks."""
    apart.read(Tier.MEMORY)
    child = apart._child
    assert child is not None
    closing = threading.Thread(target=apart.close)
    with child.in_use:
        closing.start()
        assert child.ends_within(SOON)
        closing.join(0.05)
        assert child._line.fileno() >= 0
    closing.join()
    assert child._line.fileno() < 0


def test_closing_does_not_wait_long_for_one_that_cannot_be_killed(tmp_path: Path) -> None:
    apart = Apart("afar", TARGET, tmp_path, Seconds(0.02), kill=lambda process: None)
    tell(tmp_path, "hang")
    with gate(tmp_path):
        with pytest.raises(CollectorError, match="is starting"):
            apart.read(Tier.MEMORY)
        started = time.monotonic()
        apart.close()
        assert time.monotonic() - started < 2.0  # 0.4 on a machine that is not busy
        with pytest.raises(CollectorError, match=f"^process {apart.pid} is ending$"):
            apart.read(Tier.MEMORY)  # and does not start a second one beside it
    assert apart._child is not None
    assert apart._child.ends_within(SOON)  # once its call returns, it sees that nobody is there
    assert apart.generation == 1
    apart.close()


PARENT = """
import sys
from pathlib import Path
from collectors.apart import Apart
from collectors.reading import Tier
from tests.collectors.afar import TARGET, tell
root = Path(sys.argv[1])
apart = Apart("afar", TARGET, root)
print(apart.read(Tier.MEMORY).notes[0], flush=True)
tell(root, sys.argv[2])
if sys.argv[2] == "hang":
    apart.read(Tier.MEMORY)
input()
"""


@linux
@pytest.mark.parametrize("order", ["hang", "answer"])
def test_it_dies_with_its_parent_even_inside_a_call(tmp_path: Path, order: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), order]
    pipe = subprocess.PIPE
    os.mkfifo(tmp_path / "inside")
    with (
        gate(tmp_path),
        subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as parent,
    ):
        assert parent.stdout is not None
        with end_of(int(parent.stdout.readline().split()[1])) as ended:
            if order == "hang":
                (tmp_path / "inside").open().close()
            assert not ended(0)
            parent.kill()
            assert ended(SOON)


@linux
def test_it_dies_with_the_thread_that_started_it(apart: Apart) -> None:
    """So whoever forgets to close it, and ends its owner, leaves nothing behind."""
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(pid_of(apart.read(Tier.MEMORY))))
    thread.start()
    thread.join()
    assert apart._child is not None
    assert apart._child.process.wait(SOON) == -signal.SIGKILL


def by_hand(root: Path, parent: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, its = socket.socketpair()
    with its:
        command = [sys.executable, "-m", "collectors.child", TARGET, str(root), str(parent)]
        return subprocess.Popen(command, cwd=REPOSITORY, stdin=its), ours


def test_it_ends_when_nobody_is_there_to_ask(tmp_path: Path) -> None:
    process, line = by_hand(tmp_path, os.getpid())
    line.close()
    assert process.wait(SOON) == 0


def test_it_ends_at_once_if_its_parent_is_already_another(tmp_path: Path) -> None:
    process, line = by_hand(tmp_path, os.getpid() + 1)
    with line:
        assert process.wait(SOON) == 0
