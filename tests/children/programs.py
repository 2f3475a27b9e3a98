"""Small real programs for children to be, and what tests do with them."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from supervisor.children import keep as module
from supervisor.children import kin
from supervisor.children.cgroup import Groups
from supervisor.children.child import Start
from supervisor.children.keep import Keep
from supervisor.children.records import fingerprint
from supervisor.children.spawn import Program, handed_down

PATIENCE = 20.0  # seconds; every wait is bounded

# Nothing but the interpreter: 15 ms each.
PYTHON = (sys.executable, "-I", "-S", "-c")
SERVES = """
import signal, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()
print("serving", flush=True)
signal.pause()
"""
# Its child serves, and hears of nothing but SIGKILL.
BEHIND = f"""
import os, signal
if os.fork() == 0:
    for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
    {SERVES.strip().replace(chr(10), chr(10) + "    ")}
else:
    signal.pause()
"""
WAITS = "import signal; print('here', flush=True); signal.pause()"
DEAF = """
import signal
for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
print('here', flush=True)
while True: signal.pause()
"""
# Its child prints its pid; {leave} says how far it goes away, {then} what the parent does after.
FORKS = """
import os, signal
heard, say = os.pipe()
if os.fork() == 0:
    {leave}
    print('child', os.getpid(), flush=True)
    os.write(say, b'.')
    while True: signal.pause()
os.read(heard, 1)
{then}
"""
DOUBLE = "os.setsid()\n    if os.fork(): os._exit(0)"


def forks(leave="pass", then="signal.pause()"):
    return FORKS.format(leave=leave, then=then)


def program(code, *words, ends_with_daemon=True, **environment):
    """A Program of Python code; `${PORT}` in its words is the port."""

    def made(port, mark):
        said = [str(port) if word == "${PORT}" else word for word in words]
        env = {**handed_down(os.environ), **environment, kin.MARK: mark}
        return Program((*PYTHON, code, *said), env, Path("/"), ends_with_daemon)

    return made


def start(code, *words, grace=5.0, **more):
    """How a model is started that runs `code`."""
    keys = {k: more.pop(k) for k in ("port", "memory") if k in more}
    number = more.pop("number", signal.SIGTERM)
    made = program(code, *words, **more)
    return Start(made, fingerprint(code, words, more), signal=number, grace=grace, **keys)


@asynccontextmanager
async def keeping(folder, ends=True, **starts):
    """A Keep of these models, of which nothing is left afterwards, whatever its test did."""
    keep = Keep("own", folder, starts, ends_with_daemon=ends)
    try:
        yield keep
    finally:
        await keep.close()
        if keep._mark:
            for mark, pids in kin.marked(f"{keep._mark}.", kin.table()).items():
                for pid in pids:
                    kill(pid)
                await module._remove(Groups().find(mark))


def kill(pid, number=signal.SIGKILL):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def until(true, what=""):
    """Until `true()` is, which may be awaitable; its value."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, what or true
        await asyncio.sleep(0)


async def said(keep, model, words):
    """The first line of its log that has these words."""

    def line():
        return next((t for t in keep.log(model).tail(1000) if words in t), None)

    return await until(line, words)


async def child_of(keep, model):
    """The pid that its child has printed."""
    return int((await said(keep, model, "child ")).split()[1])


async def serves(keep, model):
    async def answers():
        await keep.look()
        child = keep.children.get(model)
        return child is not None and child.answers

    await until(answers, model)
    return keep.children[model]


def runs(pid):
    return pid in kin.table()


def pid_of(keep, model):
    return keep.children[model].kindred.main.pid


def run(story):
    asyncio.run(asyncio.wait_for(story, 3 * PATIENCE))
