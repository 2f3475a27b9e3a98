"""Processes of the daemon's own, by what they write themselves: who judges them is shown what may
not be, and finds it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.children.ports import free_port
from tests.faults import book, watcher
from tests.faults.bench import POLL, Bench
from tests.faults.children_fail import PROGRAM, folder, once_each
from tests.faults.history import History, Leave, Life, Process, Promise, Trouble
from tests.faults.invariants import check
from tests.nvml.fake_nvml import GIB


def bench(tmp_path: Path) -> Bench:
    """Without a daemon, a driver or a socket."""
    found = Bench(tmp_path / "bench", tmp_path / "none.so")
    found.history.lives.append(Life(1, 0.0, 0.5))
    return found


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def begins(pid: int, **more: Any) -> str:
    row = {"what": "begun", "at": 1.0, "pid": pid, "ref": "own/alpha", "forked": 0.9}
    return json.dumps(row | {"started": started(pid), "decisions": []} | more)


def write(file: Path, *pids: int) -> None:
    file.write_text("".join(f"\n{begins(pid)}\n" for pid in pids))


def test_a_second_process_of_a_model_and_one_that_nobody_knows_are_found(tmp_path: Path) -> None:
    found = bench(tmp_path)
    found.daemon = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    folder(found).mkdir()
    records = tmp_path / "engines" / "own"
    records.mkdir(parents=True)

    def known(pid: int) -> None:
        (records / f"{pid}.json").write_text(json.dumps({"pid": pid, "model": "alpha"}))

    mine, parent = os.getpid(), os.getppid()
    write(folder(found) / "book", mine)
    known(mine)
    once_each(found)
    assert check(found.history) == []

    write(folder(found) / "book", mine, parent)
    once_each(found)
    twice, unknown = check(found.history)
    assert twice.startswith("children: more than one process of a model")
    assert unknown.startswith(f"children: nobody knows of [{parent}]")


def test_two_that_live_at_once_are_found_by_whoever_looks_on_with_a_daemon_or_without(
    tmp_path: Path,
) -> None:
    async def looks() -> list[str]:
        found = bench(tmp_path)
        found.book = tmp_path / "book"
        write(found.book, os.getpid(), os.getppid())
        async with watcher.watched(found):
            async with asyncio.timeout(10):
                while not found.history.wrong:
                    await asyncio.sleep(0)
        return check(found.history)

    pids = sorted((os.getpid(), os.getppid()))
    assert asyncio.run(looks()) == [f"children: more than one process of own/alpha: {pids}"]


def test_who_has_ended_lives_no_more_though_another_has_its_pid(tmp_path: Path) -> None:
    file, pid = tmp_path / "book", os.getpid()
    assert book.begun(file) == []
    other = {"ref": "own/beta"}
    file.write_text(f"{begins(pid, started=1)}\n{begins(pid)}\n{begins(os.getppid(), **other)}\n")
    before, now, beta = book.begun(file)
    assert book.living([before, now, beta]) == [now, beta]
    assert book.twice([now, beta]) == []


def test_what_was_written_half_is_left_out_and_nothing_beside_it(tmp_path: Path) -> None:
    file, pid = tmp_path / "book", os.getpid()
    told = {"what": "told", "at": 2.0, "pid": pid, "ref": "own/alpha", "busy": 1, "decisions": []}
    text = f'\n{{"what": "beg\n{begins(pid)}\n\n{json.dumps(told)}\n\n{begins(pid)[:40]}'
    file.write_text(text)
    (one,) = book.begun(file)
    assert (one.ref, one.pid, one.told) == ("own/alpha", pid, [Leave(2.0, 1, [])])


DECIDED = {"id": "d-1", "at": 0.0, "mode": "enforce", "trigger": "demand", "rooms": []}
FIRST = Life(1, 0.0, 0.5)
KILL = Trouble("kill", 4.9, daemon=True, lifted=5.0, normal=6.0)


def process(*told: Leave, **more: Any) -> Process:
    return replace(Process("own", "alpha", 7, 1.0, 90, 0.9, [DECIDED], list(told)), **more)


def judged(*processes: Process, **more: Any) -> list[str]:
    found = History(0.4, GIB, 24 * GIB)
    found.lives, found.processes = [FIRST], list(processes)
    for name, value in more.items():
        setattr(found, name, value)
    return check(found)


@pytest.mark.parametrize(
    ("one", "more", "words"),
    [
        (process(decisions=[]), {}, "I7: start of own/alpha at 1.00 is not written down"),
        (process(decisions=None), {}, "I7: start of own/alpha at 1.00: the journal could not be"),
        (
            process(decisions=[DECIDED | {"mode": "observe"}]),
            {},
            "I7: start of own/alpha at 1.00 is written down without",
        ),
        (
            process(forked=5.1, began=5.2),  # by the decision of the daemon before
            {"lives": [FIRST, Life(2, 5.0, wall=3.0)], "troubles": [KILL]},
            "I7: start of own/alpha at 5.20 is not written down",
        ),
        (process(Leave(2.0, 0, [])), {}, "I7: end of own/alpha at 2.00 is not written down"),
        (process(Leave(2.0, 2, [DECIDED])), {}, "I1: own/alpha at 2.00 serves 2, and is told"),
        (
            process(Leave(2.0, 0, [DECIDED])),
            {"promises": [Promise("leased", "own/alpha", 1.5, 2.5)]},
            "I1: own/alpha at 2.00 is leased, and is told",
        ),
        (
            process(Leave(2.0, 0, [DECIDED])),
            {"promises": [Promise(what, "own/alpha", 1.5) for what in ("forced", "pinned")]},
            "I1: own/alpha at 2.00 is pinned, and is told",
        ),
        (
            process(Leave(7.5, 1, [DECIDED])),  # long after a kill, by the daemon that took it up
            {"lives": [FIRST, Life(2, 5.0)], "troubles": [KILL]},
            "I1: own/alpha at 7.50 serves 1, and is told",
        ),
    ],
)
def test_a_process_that_begins_or_ends_as_it_must_not_is_found(
    one: Process, more: dict[str, Any], words: str
) -> None:
    (found,) = judged(one, **more)
    assert found.startswith(words), found


@pytest.mark.parametrize(
    ("one", "more"),
    [
        (process(Leave(2.0, 0, [DECIDED])), {}),
        (
            process(Leave(2.0, 2, [DECIDED])),
            {"promises": [Promise(what, "own/alpha", 1.5, 2.5) for what in ("forced", "leased")]},
        ),
        (
            process(Leave(2.0, 0, [DECIDED])),
            {"promises": [Promise("pinned", "own/alpha", 2.1), Promise("pinned", "own/beta", 1)]},
        ),
        (process(decisions=[]), {"troubles": [Trouble("full", 0.5, disk=True)]}),
        # Begun by a daemon that is killed: the next one has the journal when it looks.
        (
            process(forked=4.8, began=5.2, decisions=[]),
            {"lives": [FIRST, Life(2, 5.0)], "troubles": [KILL]},
        ),
        (process(forked=4.8, began=4.9, decisions=None), {"troubles": [KILL]}),
        (
            process(Leave(5.5, 1, [])),  # left by it, and ended by the next one
            {"lives": [FIRST, Life(2, 5.0)], "troubles": [KILL]},
        ),
    ],
)
def test_a_process_that_begins_and_ends_as_it_should_is_in_order(
    one: Process, more: dict[str, Any]
) -> None:
    assert judged(one, **more) == []


def test_a_run_without_a_process_has_judged_none(tmp_path: Path) -> None:
    found = bench(tmp_path)
    found.read_book()
    assert check(found.history) == []
    found.book = tmp_path / "book"
    found.read_book()
    assert check(found.history) == ["bench: no process of the daemon's own has begun"]
    write(found.book, os.getpid())
    found.read_book()
    assert len(found.history.processes) == 1


def test_a_child_writes_what_is_on_disk_about_it_and_for_whom_it_works(tmp_path: Path) -> None:
    """From its begin to its end by SIGTERM."""
    journal, file, port = tmp_path / "journal.db", tmp_path / "book", free_port()
    with closing(sqlite3.connect(journal)) as db:
        db.execute("CREATE TABLE decisions (id TEXT, body TEXT)")
        db.execute("CREATE TABLE outcomes (n INTEGER, decision TEXT, body TEXT)")
        for id, ref in (("d-1", "own/alpha"), ("d-2", "own/beta"), ("d-3", "own/alpha")):
            actions = [{"action": "load", "model": ref}]
            db.execute("INSERT INTO decisions VALUES (?, ?)", (id, body(id, actions)))
        over = json.dumps({"action": "load", "model": "own/alpha"})
        db.execute("INSERT INTO outcomes VALUES (1, 'd-1', ?)", (over,))
        db.commit()
    (tmp_path / "pace").write_text("30")
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(port), "own/alpha"]
    with subprocess.Popen([*command, str(tmp_path), str(journal)]) as child:
        try:
            serves(port)
            (one,) = book.begun(file)
            assert (one.pid, one.model, one.started) == (child.pid, "alpha", started(child.pid))
            assert [d["id"] for d in one.decisions or ()] == ["d-3"]
            assert 0 <= one.began - one.forked < 10
            with asked(port) as staying:
                with asked(port):
                    pass  # and hangs up
                child.terminate()
                assert child.wait(10) == -signal.SIGTERM
                staying.close()
        finally:
            child.kill()
    (one,) = book.begun(file)
    assert [(leave.busy, leave.decisions) for leave in one.told] == [(1, [])]


def body(id: str, actions: list[dict[str, str]]) -> str:
    return json.dumps({"id": id, "at": 1.0, "mode": "enforce", "rooms": [1], "actions": actions})


def serves(port: int) -> None:
    """Until it does."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(POLL)
    raise AssertionError("it does not listen")


@contextmanager
def asked(port: int) -> Iterator[socket.socket]:
    """Inside, a request is under way, of which the first word has come."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        heard = b""
        while b"data: " not in heard:
            heard += client.recv(4096)
        yield client
