"""A child ends with everything that it started, and nobody else does."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collectors.listener import holder
from supervisor.aside import Aside
from supervisor.children import ending, kin
from supervisor.children import keep as keep_module
from supervisor.children.cgroup import Group, Groups, NoGroup
from supervisor.children.child import StillThere
from supervisor.children.ending import Kindred, end
from supervisor.children.handle import Handle, send
from tests.children.programs import (
    BEHIND,
    DEAF,
    DOUBLE,
    PYTHON,
    WAITS,
    child_of,
    forks,
    keeping,
    kill,
    pid_of,
    run,
    runs,
    said,
    start,
    until,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def groups():
    """Control groups of our own."""
    try:
        Groups().make("probe").remove()
    except NoGroup as why:
        pytest.skip(str(why))


@pytest.fixture
def stranger():
    other = subprocess.Popen([*PYTHON, WAITS], stdout=subprocess.DEVNULL)
    yield other
    other.kill()
    other.wait()


def test_one_that_hears_is_asked_to_end_and_is_waited_for(tmp_path):
    polite = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: (print('tidied up', flush=True), sys.exit()))
print('here', flush=True)
signal.pause()
"""

    async def story():
        async with keeping(tmp_path, m=start(polite, number=signal.SIGINT)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            pid = pid_of(keep, "m")
            await keep.stop("m")
            assert not runs(pid)
            assert "tidied up" in keep.log("m").tail(10)

    run(story())


def test_one_that_does_not_hear_is_killed_after_its_grace(tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(DEAF, grace=0.1)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            pid = pid_of(keep, "m")
            await keep.stop("m")
            assert not runs(pid)
            assert kin.birth(pid) is None, "it has been waited for"

    run(story())


@pytest.mark.parametrize(
    "leave",
    [
        "pass",
        "os.setpgid(0, 0)",
        "os.setsid()",
        DOUBLE,
        "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)",
    ],
    ids=["of its group", "of another group", "of another session", "forked twice", "deaf"],
)
@pytest.mark.parametrize("then", ["signal.pause()", "os._exit(0)"], ids=["while", "after"])
def test_whoever_it_started_ends_with_it(tmp_path, leave, then):
    """While it runs and is told to end; and after it has ended by itself."""

    async def story():
        async with keeping(tmp_path, m=start(forks(leave, then), grace=0.3)) as keep:
            await keep.start("m")
            pid = await child_of(keep, "m")
            if then == "signal.pause()":
                assert runs(pid)
                await keep.stop("m")
            await until(lambda: "m" not in keep.children)
            assert not runs(pid)

    run(story())


def test_whoever_has_lost_session_mark_and_parent_ends_by_its_control_group(tmp_path, groups):
    bare = [*PYTHON, f"import os; print('child', os.getpid(), flush=True); {WAITS}"]
    leave = f"{DOUBLE}\n    os.execve({bare[0]!r}, {bare!r}, {{}})"

    async def story():
        async with keeping(tmp_path, m=start(forks(leave), grace=0.3)) as keep:
            await keep.start("m")
            pid = await child_of(keep, "m")
            assert kin.mark_of(pid) is None
            folder = keep.children["m"].kindred.group.folder
            await keep.stop("m")
            assert not runs(pid)
            assert not folder.exists()

    run(story())


def test_a_process_table_that_hangs_keeps_nobody_alive_who_has_a_group(
    tmp_path, groups, monkeypatch
):
    async def hangs(aside, work, deadline):
        raise TimeoutError

    async def story():
        async with keeping(tmp_path, m=start(forks(DOUBLE), grace=0.1)) as keep:
            await keep.start("m")
            pid = await child_of(keep, "m")
            monkeypatch.setattr(Aside, "call", hangs)
            await keep.stop("m")
            await until(lambda: not runs(pid))
            monkeypatch.undo()

    run(story())


def test_one_that_stands_still_is_woken_to_hear_of_its_end(tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(WAITS, grace=300.0)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            os.kill(pid_of(keep, "m"), signal.SIGSTOP)
            await keep.stop("m")  # long before its grace is over

    run(story())


def test_a_process_that_started_at_another_time_is_nobody_of_ours(stranger):
    born = kin.birth(stranger.pid)
    send(stranger.pid, born - 1, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        Handle(stranger.pid, born - 1, ours=False)
    assert runs(stranger.pid)
    send(stranger.pid, born, signal.SIGKILL)
    assert stranger.wait(10) == -signal.SIGKILL


def test_ending_what_has_ended_finds_nobody(stranger):
    """Its pid may be somebody else's by now: only what carries its mark is looked for."""

    async def story():
        kindred = Kindred("no such mark", None, None, Aside("test"))
        kindred.known = {stranger.pid: kin.birth(stranger.pid) - 1}
        assert await end(kindred, signal.SIGKILL, 0.1) == frozenset()

    run(story())
    assert stranger.poll() is None


def test_the_first_process_is_known_although_nobody_can_look_for_others(stranger, monkeypatch):
    """Else who has its port would be somebody else, and it would be ended for that."""

    def hangs(kindred, root):
        raise TimeoutError

    async def story():
        main = Handle(stranger.pid, ours=False)
        kindred = Kindred("no such mark", main, None, Aside("test"))
        monkeypatch.setattr(Kindred, "_look", hangs)
        assert await kindred.find() == {main.pid: main.started}
        assert not kindred.whole

    run(story())


def test_who_serves_its_port_is_not_taken_for_a_stranger_while_nobody_can_look(
    tmp_path, monkeypatch
):
    """And whoever the first process has started ends with it all the same."""
    may_look = []
    looks = Kindred._look

    def hangs(kindred, root):
        if not may_look:
            raise TimeoutError
        return looks(kindred, root)

    monkeypatch.setattr(Kindred, "_look", hangs)

    async def story():
        async with keeping(tmp_path, m=start(BEHIND, "${PORT}", grace=5.0)) as keep:
            await keep.start("m")
            child = keep.children["m"]

            async def answers():
                await keep.look()
                return child.answers or child.leaving

            await until(answers)
            assert not child.leaving
            listens = holder(child.record.port)
            assert listens != child.record.pid
            await keep.stop("m")
            assert not runs(listens)

    run(story())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of threads")
def test_a_process_with_a_thread_that_nothing_ends_has_not_ended(tmp_path, monkeypatch):
    """As one that hangs in a driver: its first thread is gone, and its memory is not."""
    hangs = """
import ctypes, signal, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=time.sleep, args=(600,)).start()
print('here', flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
    monkeypatch.setattr(keep_module, "LINGER", 0.0)

    async def story():
        async with keeping(tmp_path, m=start(hangs, grace=0.1)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            pid = pid_of(keep, "m")
            await until(lambda: " (zombie)" in Path(f"/proc/{pid}/status").read_text())
            with monkeypatch.context() as patched:
                patched.setattr(ending, "KILLED", 0.1)
                patched.setattr(ending, "send", lambda *to: None)
                patched.setattr(Handle, "send", lambda *to: None)
                patched.setattr(Handle, "send_group", lambda *to: None)
                patched.setattr(Group, "kill", lambda group: None)
                with pytest.raises(StillThere, match=f"{pid} does not end"):
                    await keep.stop("m")
            kill(pid)
            await until(lambda: "m" not in keep.children)

    run(story())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of an end by a pidfd")
def test_the_end_of_a_process_that_is_no_child_is_noticed():
    middle = (
        f"import subprocess; p = subprocess.Popen({[*PYTHON, WAITS]!r},"
        " stdout=subprocess.DEVNULL); print(p.pid, flush=True)"
    )
    pid = int(subprocess.check_output([*PYTHON, middle]))

    async def story():
        handle = Handle(pid, ours=False)
        assert not handle.has_ended()
        handle.send(signal.SIGTERM)
        await handle.wait()
        assert handle.has_ended()
        assert handle.code is None
        handle.close()

    try:
        run(story())
    finally:
        kill(pid)


def test_without_a_pidfd_it_works_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr("supervisor.children.handle._pidfd", lambda pid: None)
    monkeypatch.setattr("supervisor.children.handle.POLL", 0.0)

    async def story():
        async with keeping(tmp_path, m=start(forks(DOUBLE))) as keep:
            await keep.start("m")
            pid = await child_of(keep, "m")
            os.kill(pid_of(keep, "m"), signal.SIGKILL)
            await until(lambda: "m" in keep.ended)
            assert "SIGKILL" in keep.ended["m"].text
            assert not runs(pid)

    run(story())


def is_listed(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are given to whoever asks for them")
def test_as_the_first_process_of_a_container_every_orphan_is_waited_for(tmp_path, monkeypatch):
    prctl, subreaper = ctypes.CDLL(None).prctl, 36
    monkeypatch.setattr(ending, "_is_first", lambda: True)
    assert prctl(subreaper, 1, 0, 0, 0) == 0
    try:

        async def story():
            async with keeping(tmp_path, m=start(forks(), grace=5.0)) as keep:
                for _ in range(2):
                    await keep.start("m")
                    pid = await child_of(keep, "m")
                    await keep.stop("m")
                    assert not is_listed(pid), "not even as a zombie"

        run(story())
    finally:
        prctl(subreaper, 0, 0, 0, 0)
