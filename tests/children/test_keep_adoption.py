"""What an earlier daemon has left is taken over, or ended, and is never forgotten."""

import json
import logging
import os
import subprocess
import sys

import pytest

from supervisor.children import kin
from supervisor.children.keep import Keep
from tests.children.programs import (
    DOUBLE,
    PATIENCE,
    SERVES,
    WAITS,
    child_of,
    forks,
    keeping,
    kill,
    pid_of,
    run,
    runs,
    said,
    serves,
    until,
)
from tests.children.programs import start as made

pytestmark = pytest.mark.slow  # a whole interpreter for each of these daemons

# An earlier daemon: it starts model m from this code, and is killed.
DAEMON = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from supervisor.children.keep import Keep
from tests.children.programs import said, start

async def main():
    folder, code = Path(sys.argv[1]), sys.argv[2]
    keep = Keep("own", folder, {"m": start(code, *sys.argv[5:], grace=1.0,
                ends_with_daemon=False)}, ends_with_daemon=False)
    await keep.start("m")
    await said(keep, "m", sys.argv[4])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def start(code, *words):
    return made(code, *words, grace=1.0, ends_with_daemon=False)


def leave(folder, code, word="here", *words):
    """What a killed daemon has left running: the pid that it has written down."""
    command = [sys.executable, "-c", DAEMON, str(folder), code, ROOT, word, *words]
    done = subprocess.run(command, timeout=PATIENCE)
    assert done.returncode == -9
    (record,) = folder.glob("*.json")
    pid = json.loads(record.read_text())["pid"]
    assert runs(pid)
    return pid


def test_it_is_adopted_served_watched_and_ended(tmp_path):
    pid = leave(tmp_path, SERVES, "serving", "${PORT}")

    async def story():
        async with keeping(tmp_path, ends=False, m=start(SERVES, "${PORT}")) as keep:
            await serves(keep, "m")
            assert pid_of(keep, "m") == pid
            await keep.start("m")  # it runs already
            assert pid_of(keep, "m") == pid
            await keep.stop("m")
            assert not runs(pid)
            assert not list(tmp_path.glob("*.json"))

    run(story())


def test_the_end_of_an_adopted_one_is_noticed(tmp_path):
    pid = leave(tmp_path, WAITS)

    async def story():
        async with keeping(tmp_path, ends=False, m=start(WAITS)) as keep:
            await keep.look()
            kill(pid)
            await until(lambda: "m" in keep.ended)
            assert keep.ended["m"].text == "ended by itself (here)"

    run(story())


def test_it_is_left_again_and_adopted_again(tmp_path):
    pid = leave(tmp_path, WAITS)

    async def story():
        for _ in range(2):
            keep = Keep("own", tmp_path, {"m": start(WAITS)}, ends_with_daemon=False)
            await keep.look()
            assert pid_of(keep, "m") == pid
            await keep.close()
            assert runs(pid)
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            await keep.stop("m")
            assert not runs(pid)

    run(story())


@pytest.mark.parametrize(
    ("ends", "code", "models"),
    [(True, WAITS, "m"), (False, WAITS + " ", "m"), (False, WAITS, "n")],
    ids=["none is to be kept", "it would be started otherwise", "it is served no more"],
)
def test_what_is_not_to_be_kept_ends_with_all_that_it_started(tmp_path, ends, code, models):
    pid = leave(tmp_path, WAITS)

    async def story():
        async with keeping(tmp_path, ends=ends, **{models: start(code)}) as keep:
            await keep.look()
            assert keep.children["m"].leaving
            await until(lambda: not keep.children)
            assert not runs(pid)
            assert keep.ended == {}
            assert not list(tmp_path.glob("*.json"))

    run(story())


def test_a_model_whose_old_process_is_still_ending_starts_after_that(tmp_path):
    pid = leave(tmp_path, WAITS)

    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            await keep.start("m")
            assert not runs(pid)
            assert pid_of(keep, "m") != pid

    run(story())


@pytest.mark.parametrize("ends", [True, False])
def test_grandchildren_of_one_that_ended_meanwhile_are_found_by_their_mark(tmp_path, ends):
    code = forks(DOUBLE)
    pid = leave(tmp_path, code, "child ")

    async def story():
        async with keeping(tmp_path, ends=ends, m=start(code)) as keep:
            grandchild = await child_of(keep, "m")
            kill(pid)
            await until(lambda: not runs(pid))
            assert runs(grandchild)
            await keep.look()
            await until(lambda: not keep.children)
            assert not runs(grandchild)
            # What was to be kept and is gone has failed; what was to end has ended.
            assert bool(keep.ended) != ends
            if not ends:
                text = keep.ended["m"].text
                assert text == "ended while no daemon looked after it"

    run(story())


def test_a_record_that_cannot_be_read_loses_nobody(tmp_path, caplog):
    pid = leave(tmp_path, WAITS)
    (record,) = tmp_path.glob("*.json")
    record.write_text("{")

    async def story():
        async with keeping(tmp_path, ends=False, m=start(WAITS)) as keep:
            await keep.look()
            assert keep.children == {}
            await until(lambda: not runs(pid))

    with caplog.at_level(logging.WARNING):
        run(story())
    assert "cannot be read" in caplog.text
    assert str(pid) in caplog.text


def test_nobody_is_ended_for_a_record_of_another_boot_or_of_another_process(tmp_path):
    pid = leave(tmp_path, WAITS)
    (record,) = tmp_path.glob("*.json")
    told = json.loads(record.read_text())
    for change in ({"boot": "another"}, {"started": told["started"] - 1}):
        other = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WAITS], stdout=subprocess.DEVNULL
        )
        changed = {**told, "pid": other.pid, "started": kin.birth(other.pid), "mark": "x.y"}
        record.write_text(json.dumps(changed | change))

        async def story():
            async with keeping(tmp_path, m=start(WAITS)) as keep:
                await keep.look()
                await until(lambda: not keep.children)

        try:
            run(story())
            assert other.poll() is None
            assert not record.exists()
        finally:
            other.kill()
            other.wait()
    assert not runs(pid)  # it had our mark, and nobody knew of it any more


def test_another_daemon_s_children_are_left_in_peace(tmp_path):
    async def story():
        async with keeping(tmp_path / "a", m=start(WAITS)) as theirs:
            await theirs.start("m")
            await said(theirs, "m", "here")
            async with keeping(tmp_path / "b", m=start(WAITS)) as ours:
                await ours.start("m")
                await until(lambda: len(ours._tasks) == 1)  # the watch: all has been looked through
            assert runs(pid_of(theirs, "m"))

    run(story())


def test_a_folder_that_cannot_be_written_to_starts_nobody(tmp_path):
    (tmp_path / "file").touch()

    async def story():
        keep = Keep("own", tmp_path / "file" / "own", {"m": start(WAITS)})
        for call in (keep.look, lambda: keep.start("m"), lambda: keep.stop("m")):
            with pytest.raises(OSError):
                await call()
        await keep.close()

    run(story())
