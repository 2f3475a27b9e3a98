"""At most one process a model, with its record, its log and its end."""

import asyncio
import os
import signal
import socket
import threading

import pytest

from collectors.listener import listener
from collectors.reading import mib
from supervisor.children import keep as module
from supervisor.children import kin
from supervisor.children.cgroup import Group, NoGroup
from supervisor.children.keep import Keep
from supervisor.children.spawn import CannotStart
from tests.children.programs import (
    SERVES,
    WAITS,
    forks,
    keeping,
    pid_of,
    run,
    runs,
    said,
    serves,
    start,
    until,
)

pytestmark = pytest.mark.slow  # real processes, each an interpreter of its own

FAILS = "import sys; print('no such model', flush=True); sys.exit(3)"
SERVER = (SERVES, "${PORT}")


@pytest.fixture
def taken():
    """A port that another program serves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def records(folder):
    return list(folder.glob("*.json"))


def test_it_runs_serves_its_port_and_ends(tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(*SERVER)) as keep:
            await keep.look()
            assert (keep.children, keep.ended) == ({}, {})
            await keep.start("m")
            child = await serves(keep, "m")
            assert len(records(tmp_path)) == 1
            assert kin.mark_of(pid_of(keep, "m")) == child.record.mark
            await keep.stop("m")
            assert (keep.children, keep.ended, records(tmp_path)) == ({}, {}, [])

    run(story())


def test_starting_what_runs_and_stopping_what_does_not_is_nothing_new(tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            await keep.stop("m")
            await asyncio.gather(*(keep.start("m") for _ in range(5)))
            pid = pid_of(keep, "m")
            await keep.start("m")
            assert pid_of(keep, "m") == pid
            assert len([k for k in kin.table().values() if k.session == pid]) == 1
            await asyncio.gather(*(keep.stop("m") for _ in range(5)))
            await keep.stop("m")
            assert not runs(pid)

    run(story())


def test_the_last_word_counts_whoever_is_in_the_middle(tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            starting = asyncio.create_task(keep.start("m"))
            await until(lambda: keep._locks["m"].locked())
            await keep.stop("m")
            await starting
            assert keep.children == {}
            await keep.start("m")
            pid = pid_of(keep, "m")
            stopping = asyncio.create_task(keep.stop("m"))
            await until(lambda: keep.children["m"].leaving)
            await keep.start("m")  # waits for the end of the one before
            await stopping
            assert pid_of(keep, "m") != pid
            assert not runs(pid)

            stopping = asyncio.create_task(keep.stop("m"))
            await until(lambda: keep.children["m"].leaving)
            starting = asyncio.create_task(keep.start("m"))
            await until(lambda: keep._locks["m"].locked())
            await keep.stop("m")
            with pytest.raises(CannotStart, match="was told to end"):
                await starting
            await stopping
            assert keep.children == {}

    run(story())


def test_an_end_of_its_own_is_told_with_its_code_and_its_last_words(tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(FAILS), n=start(WAITS)) as keep:
            await keep.start("m")
            await until(lambda: "m" in keep.ended)
            assert keep.ended["m"].text == "ended with exit code 3 (no such model)"
            assert (keep.children, records(tmp_path)) == ({}, [])
            first = keep.ended["m"].run
            await keep.start("m")
            await until(lambda: "m" in keep.ended)
            assert keep.ended["m"].run != first
            await keep.stop("m")
            assert keep.ended == {}

            await keep.start("n")
            await said(keep, "n", "here")
            os.kill(pid_of(keep, "n"), signal.SIGSEGV)
            await until(lambda: "n" in keep.ended)
            assert keep.ended["n"].text == "was ended by SIGSEGV (here)"

    run(story())


def test_an_end_that_was_asked_for_is_no_failure_whatever_its_code(tmp_path):
    grumbles = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print('here', flush=True)
signal.pause()
"""

    async def story():
        async with keeping(tmp_path, m=start(grumbles)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            await keep.stop("m")
            assert keep.ended == {}

    run(story())


def test_one_that_was_told_to_end_while_it_ended_by_itself_has_not_failed(tmp_path):
    leaves_a_deaf_child = forks("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "os._exit(7)")

    async def story():
        async with keeping(tmp_path, m=start(leaves_a_deaf_child, grace=0.3)) as keep:
            await keep.start("m")
            await until(lambda: keep.children["m"].leaving)
            await keep.stop("m")
            assert keep.ended == {}

    run(story())


def test_what_cannot_begin_is_refused_and_leaves_nothing(tmp_path):
    def missing(port, mark):
        return module.Program(("no-such-program",), {"PATH": "/bin"})

    async def story():
        starts = {"m": module.Start(missing, "f")}
        async with keeping(tmp_path, **starts) as keep:
            with pytest.raises(CannotStart, match="no-such-program is not on the PATH"):
                await keep.start("m")
            assert (keep.children, records(tmp_path)) == ({}, [])

    run(story())


# -- ports


def test_a_port_that_was_taken_meanwhile_costs_nothing_but_another_try(
    tmp_path, taken, monkeypatch
):
    ports = [taken]
    real = module.free_port
    monkeypatch.setattr(module, "free_port", lambda besides: ports.pop() if ports else real())

    async def story():
        async with keeping(tmp_path, m=start(*SERVER)) as keep:
            await keep.start("m")
            child = await serves(keep, "m")
            assert child.record.port != taken
            assert child.attempt == 2
            assert keep.ended == {}

    run(story())


def test_a_program_that_does_not_mind_a_taken_port_is_not_taken_for_who_has_it(
    tmp_path, taken, monkeypatch
):
    ports = [taken]
    real = module.free_port
    monkeypatch.setattr(module, "free_port", lambda besides: ports.pop() if ports else real())
    patient = SERVES.replace("s.bind", "try: s.bind").replace(
        "s.listen()", "except OSError: print('waits', flush=True); signal.pause()\ns.listen()"
    )

    async def story():
        async with keeping(tmp_path, m=start(patient, "${PORT}")) as keep:
            await keep.start("m")
            await said(keep, "m", "waits")
            child = await serves(keep, "m")
            assert child.record.port != taken
            assert keep.ended == {}

    run(story())


def test_a_look_that_takes_long_goes_on_and_keeps_nobody_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SEEN", 0.01)
    may, looks = threading.Event(), []

    def listens(port):
        looks.append(port)
        assert may.wait(20)
        return listener(port)

    async def story():
        async with keeping(tmp_path, m=start(*SERVER)) as keep:
            keep._listens = listens
            await keep.start("m")
            child = keep.children["m"]

            async def looked():
                await keep.look()
                return looks

            await until(looked)
            for _ in range(3):
                await keep.look()
            given_up = asyncio.create_task(keep.look())
            await asyncio.sleep(0)
            given_up.cancel()
            assert (len(looks), child.answers) == (1, False)
            may.set()
            await serves(keep, "m")
            assert len(looks) == 1

    run(story())


def test_a_port_that_is_always_taken_is_a_failure_in_the_end(tmp_path, taken, monkeypatch):
    monkeypatch.setattr(module, "free_port", lambda besides: taken)

    async def story():
        async with keeping(tmp_path, m=start(*SERVER)) as keep:
            await keep.start("m")
            await until(lambda: "m" in keep.ended)
            assert "ended with exit code 1 (OSError" in keep.ended["m"].text
            tail = keep.log("m").tail(100)
            assert sum("starting" in line for line in tail) == module.ATTEMPTS

    run(story())


def test_a_port_of_the_operator_s_choice_is_used_and_no_other(tmp_path, taken):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]

    async def story():
        starts = {"m": start(*SERVER, port=free), "n": start(*SERVER, port=taken)}
        async with keeping(tmp_path, **starts) as keep:
            await keep.start("m")
            assert (await serves(keep, "m")).record.port == free
            with pytest.raises(CannotStart, match=f"port {taken} is taken by another program"):
                await keep.start("n")

    run(story())


def test_two_never_have_one_port(tmp_path, monkeypatch):
    asked = []
    real = module.free_port
    monkeypatch.setattr(module, "free_port", lambda b: asked.append(b) or real(b))

    async def story():
        async with keeping(tmp_path, m=start(*SERVER), n=start(*SERVER)) as keep:
            await keep.start("m")
            await keep.start("n")
            assert asked == [frozenset(), frozenset({keep.children["m"].record.port})]

    run(story())


# -- memory


class NoGroups:
    def find(self, name):
        return None

    def make(self, name, limit=None):
        raise NoGroup("there are none here")


class Short(Group):
    def was_short(self):
        return True

    def remove(self):
        return False


def test_without_a_control_group_it_runs_unless_it_has_a_limit(tmp_path):
    async def story():
        starts = {"m": start(WAITS), "n": start(WAITS, memory=mib(64))}
        keep = Keep("own", tmp_path, starts, groups=NoGroups())
        try:
            await keep.start("m")
            with pytest.raises(
                CannotStart, match="its memory_limit cannot be kept: there are none here"
            ):
                await keep.start("n")
            assert set(keep.children) == {"m"}
        finally:
            await keep.close()

    run(story())


def test_who_was_killed_for_want_of_memory_is_told_of_the_limit(tmp_path):
    class Groups(NoGroups):
        def make(self, name, limit=None):
            assert limit == mib(64)
            folder = tmp_path / f"ullage-{name}"
            folder.mkdir()
            (folder / "cgroup.procs").touch()
            return Short(folder)

    async def story():
        keep = Keep("own", tmp_path, {"m": start(WAITS, memory=mib(64))}, groups=Groups())
        try:
            await keep.start("m")
            await said(keep, "m", "here")
            os.kill(pid_of(keep, "m"), signal.SIGKILL)
            await until(lambda: "m" in keep.ended)
            assert keep.ended["m"].text == (
                "was killed: it took more than its memory_limit of 64MiB (here)"
            )
        finally:
            await keep.close()

    run(story())


# -- the daemon's end
