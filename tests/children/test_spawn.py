"""A program begins as it was told to, or it does not begin at all."""

import asyncio
import ctypes
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.children import kin, spawn
from supervisor.children.spawn import CannotStart, Program, handed_down
from tests.children.programs import PYTHON, WAITS, kill, run, runs, until

REPORT = """
import json, os, resource, signal, sys
print(json.dumps({
    "words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(),
    "session": os.getsid(0) == os.getpid() == os.getpgid(0),
    "files": sorted(int(n) for n in os.listdir("/proc/self/fd")),
    "most": resource.getrlimit(resource.RLIMIT_NOFILE),
    "oom": open("/proc/self/oom_score_adj").read().strip(),
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
}))
"""


async def told(tmp_path, program, known=lambda handle: None):
    """Run it to its end: its exit code and what it wrote."""
    log = tmp_path / "log"
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        handle = await spawn.spawn(program, fd, known)
    finally:
        os.close(fd)
    await handle.wait()
    handle.reap()
    handle.close()
    return handle.code, log.read_text()


def test_nobody_else_waits_for_the_disk_on_which_it_is_written_down(tmp_path):
    async def story():
        loop, others = asyncio.get_running_loop(), threading.Event()

        def known(handle):
            loop.call_soon_threadsafe(others.set)
            assert others.wait(10), "the loop stands still"

        return await told(tmp_path, Program((*PYTHON, ""), {}), known)

    assert asyncio.run(story()) == (0, "")


def test_who_gives_up_on_a_start_leaves_nothing_that_is_written_later(tmp_path):
    async def story():
        loop, begun, disk, done = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), []

        def known(handle):
            loop.call_soon_threadsafe(begun.set)
            assert disk.wait(10)
            done.append(handle.pid)

        start = asyncio.create_task(told(tmp_path, Program((*PYTHON, WAITS), {}), known))
        await begun.wait()
        start.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not start.done()
        disk.set()
        with pytest.raises(asyncio.CancelledError):
            await start
        (pid,) = done
        assert not runs(pid)

    asyncio.run(story())


def report(tmp_path, *words, **more):
    environment = more.pop("environment", {"LANG": "C"})
    program = Program((*PYTHON, REPORT, *words), environment, **more)
    code, text = asyncio.run(told(tmp_path, program))
    assert code == 0, text
    return json.loads(text)


def test_it_may_have_as_many_files_as_the_daemon_could_before_it_took_more(tmp_path):
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))
    try:
        assert tuple(report(tmp_path)["most"]) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_words_reach_it_as_they_are_without_a_shell(tmp_path):
    words = ["two words", "$(id)", "a;b", "*", "--x=${PORT}", "ünï", 'q"', "new\nline", ""]
    assert report(tmp_path, *words)["words"] == words


def test_its_environment_and_folder_are_what_was_said(tmp_path):
    found = report(tmp_path, environment={"A": "b c", "É": "ü"}, folder=tmp_path)
    own = {k: v for k, v in found["environment"].items() if k != "LC_CTYPE"}  # Python's own
    assert own == {"A": "b c", "É": "ü"}
    assert found["folder"] == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_it_has_a_session_of_its_own_and_none_of_our_files_or_habits(tmp_path):
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)  # as a library may have done
    try:
        found = report(tmp_path)
    finally:
        os.close(leaked)
    assert found["session"]
    assert found["files"] == [0, 1, 2, 3]  # 3 is the folder that it lists
    assert found["blocked"] == 0
    assert int(found["oom"]) >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_what_the_daemon_may_do_beyond_others_it_may_not(tmp_path):
    """As where a drop-in gives the daemon capabilities, which are ambient then."""
    with ambient(SYS_PTRACE):
        assert bits("/proc/self/status", "CapAmb") == 1 << SYS_PTRACE
        words = (*PYTHON, "print(open('/proc/self/status').read())")
        code, text = asyncio.run(told(tmp_path, Program(words, {})))
    assert code == 0
    assert "CapAmb:\t0000000000000000\n" in text


SYS_PTRACE = 19  # linux/capability.h
PR_CAP_AMBIENT, RAISE, CLEAR_ALL = 47, 2, 4  # linux/prctl.h


def bits(path, key):
    lines = dict(line.split(":", 1) for line in Path(path).read_text().splitlines())
    return int(lines[key], 16)


@contextmanager
def ambient(capability):
    """This thread has a capability that it hands down. Skips where it has none to hand down."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = struct.pack("=Ii", 0x20080522, 0)
    held = ctypes.create_string_buffer(24)
    assert libc.capget(head, held) == 0
    before = list(struct.unpack("=6I", held.raw))  # effective, permitted, inheritable; twice
    with_it = [*before[:2], before[2] | 1 << capability, *before[3:]]
    if libc.capset(head, struct.pack("=6I", *with_it)):
        pytest.skip("this process may hand down no capability")
    try:
        if libc.prctl(PR_CAP_AMBIENT, RAISE, capability, 0, 0):
            pytest.skip("this process has no capability to hand down")
        yield
    finally:
        libc.prctl(PR_CAP_AMBIENT, CLEAR_ALL, 0, 0, 0)
        assert libc.capset(head, struct.pack("=6I", *before)) == 0


def test_a_broken_pipe_ends_it_as_it_ends_others(tmp_path):
    words = ("sh", "-c", "kill -PIPE $$; echo it was ignored")
    code, text = asyncio.run(told(tmp_path, Program(words, {"PATH": os.environ["PATH"]})))
    assert (code, text) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (Program(("no-such-program", "x"), {"PATH": "/usr/bin:/bin"}), "is not on the PATH"),
        (Program(("./no-such-program",), {}), "is not there"),
        (Program(("/",), {}), "Permission denied"),
        (Program(("true",), {"PATH": "/bin"}, folder=Path("/no/such")), "/no/such: No such file"),
        (Program(("true",), {"PATH": "/bin"}, groups=("/no/such/cgroup.procs",)), "No such file"),
        (Program(("true", "x" * 200_000), {"PATH": "/bin"}), "too long"),
    ],
)
def test_what_cannot_begin_is_said_and_leaves_nothing(tmp_path, program, why):
    seen = []
    with pytest.raises(CannotStart, match=why):
        asyncio.run(told(tmp_path, program, seen.append))
    assert not runs(seen[0].pid)


def test_it_does_not_begin_before_it_is_written_down(tmp_path):
    def known(handle):
        written.append((kin.birth(handle.pid), (tmp_path / "log").read_text()))

    written = []
    code, text = asyncio.run(told(tmp_path, Program((*PYTHON, "print('begun')"), {}), known))
    assert (code, text) == (0, "begun\n")
    assert written[0][0] is not None
    assert written[0][1] == ""


def test_what_cannot_be_written_down_does_not_begin(tmp_path):
    def known(handle):
        raise OSError(28, "No space left on device", "record.json")

    with pytest.raises(CannotStart, match=r"record.json: No space left on device"):
        asyncio.run(told(tmp_path, Program((*PYTHON, "print('begun')"), {}), known))
    assert (tmp_path / "log").read_text() == ""


def test_when_whoever_waits_gives_up_it_does_not_run_on(tmp_path, monkeypatch):
    async def never(line, program):
        begun.set()
        await asyncio.Event().wait()

    async def story():
        seen = []
        task = asyncio.create_task(told(tmp_path, Program(PYTHON, {}), seen.append))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not runs(seen[0].pid)

    begun = asyncio.Event()
    monkeypatch.setattr(spawn, "_converse", never)
    run(story())


@pytest.mark.parametrize("word", [b"", b'{"command": ["true"],'], ids=["nothing", "half a word"])
def test_a_launcher_whose_daemon_is_gone_ends_without_a_word(tmp_path, word):
    ours, theirs = socket.socketpair()
    with (tmp_path / "log").open("wb") as log, ours:
        pid = spawn._launch(theirs, log.fileno())
        theirs.close()
        ours.sendall(word)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "log").read_text() == ""


DAEMON = """
import asyncio, os, sys
from pathlib import Path
from supervisor.children.spawn import Program, spawn

async def main():
    code, ends, after = sys.argv[1:]
    words = (sys.executable, "-I", "-S", "-c", code)
    handle = await spawn(Program(words, {}, ends_with_daemon=ends == "stop"), 1, lambda h: None)
    # In one piece, whatever is said of buffers: the child writes to the same pipe.
    print(f"daemon of {handle.pid}\\n", end="", flush=True)
    if after == "waits":
        await handle.wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends it with its parent")
@pytest.mark.parametrize("ends", ["stop", "keep"])
def test_it_ends_with_the_daemon_however_that_ends_unless_it_is_to_be_kept(ends):
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, WAITS, ends, "waits"], stdout=subprocess.PIPE, text=True
    )
    lines = {daemon.stdout.readline().split()[0], (last := daemon.stdout.readline()).split()[0]}
    assert lines == {"daemon", "here"}
    pid = int(last.split()[-1]) if last.startswith("daemon") else None
    pid = pid or next(p for p, k in kin.table().items() if k.parent == daemon.pid)
    daemon.kill()
    daemon.wait()
    try:
        if ends == "stop":
            run(until(lambda: not runs(pid)))
        else:
            assert runs(pid)
    finally:
        kill(pid)


def test_what_is_the_daemon_s_alone_is_not_handed_down():
    own = {"ULLAGE_TOKEN": "x", "NOTIFY_SOCKET": "/n", "STATE_DIRECTORY": "/s", "LISTEN_FDS": "1"}
    assert handed_down({**own, "PATH": "/bin", "HF_HOME": "/m"}) == {
        "PATH": "/bin",
        "HF_HOME": "/m",
    }
