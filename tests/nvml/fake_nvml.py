"""Build the fake libnvidia-ml.so.1 and script it from a test.

    lib = build(folder)                      # compiles once, needs a C compiler
    state = State(tmp_path / "nvml.txt")
    state.gpu(0, total=24 * GIB, used=2 * GIB, reserved=GIB // 2)
    state.proc(0, "C", 4242, GIB)
    with state.loaded(lib):                  # this process now sees a fake driver
        pynvml.nvmlInit()

For another process, start it with State.env(lib) instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GIB = 1 << 30
XID = 0x8  # the event type
SOURCE = Path(__file__).with_name("fake_nvml.c")
SONAME = "libnvidia-ml.so.1"


def compiler() -> str | None:
    """The C compiler to build with, or None."""
    return shutil.which(os.environ.get("CC", "cc"))


def build(folder: Path) -> Path:
    """Compile the library into `folder` and return its path."""
    out = folder / SONAME
    if not out.exists():
        options = ["-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread"]
        cc = compiler() or "cc"
        command = [cc, *options, f"-Wl,-soname,{SONAME}", "-o", str(out), str(SOURCE)]
        subprocess.run(command, check=True)
    return out


class State:
    """The statements the fake library obeys. Every change is written at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: dict[str, str] = {}
        self.gpus: dict[int, dict[str, object]] = {}
        self.migs: dict[tuple[int, int], dict[str, object]] = {}
        self.lines: list[str] = []
        self.stamp = 0
        self.write()

    def driver(self, version: str, *, strict: bool = False) -> None:
        """`strict`: to a process that saw another version before, it is of the wrong version."""
        self.head["driver"] = f"{version} strict" if strict else version
        self.write()

    def gpu(self, index: int, **fields: object) -> None:
        """Add a GPU, or change some of its fields."""
        self.gpus.setdefault(index, {}).update(fields)
        self.write()

    def without_gpu(self, index: int) -> None:
        """The GPUs after it move up, as they do in the driver's list."""
        del self.gpus[index]
        order = {old: new for new, old in enumerate(sorted(self.gpus))}
        self.gpus = {order[i]: fields for i, fields in self.gpus.items()}
        self.migs = {(order[i], s): f for (i, s), f in self.migs.items() if i in order}
        self.write()

    def mig(self, parent: int, slot: int, **fields: object) -> None:
        """Add an instance of a GPU that has `mig=1`, or change some of its fields.

        For faults and field values, instances count on after the last GPU: with two GPUs, the
        first instance has index 2.
        """
        self.migs.setdefault((parent, slot), {}).update(fields)
        self.write()

    def without_mig(self, parent: int, slot: int) -> None:
        del self.migs[parent, slot]
        self.write()

    def proc(
        self,
        index: int,
        kind: str,
        pid: int,
        used: int | None,
        gi: int | None = None,
        ci: int | None = None,
    ) -> None:
        """`index` of the GPU, `kind` C, G or M (MPS). `used` None: the driver will not say.

        `gi` and `ci` name the instance; `ci` is 0 if only `gi` is given.
        """
        ids = [part for part in (gi, ci) if part is not None]
        self.add("proc", index, kind, pid, "na" if used is None else used, *ids)

    def xid(self, serial: int, index: int, code: int) -> None:
        """The GPU reports an error. Each `serial` is told once; they go upwards."""
        self.event(serial, index, XID, code)

    def event(self, serial: int, index: int, kind: int, data: int = 0) -> None:
        """An event of another `kind`; the GPU must have its bit in `events`."""
        self.add("event", serial, index, kind, data)

    def field(self, index: int, field: int, value: int) -> None:
        """What nvmlDeviceGetFieldValues says; an older value of the field is replaced."""
        self.drop(f"field {index} {field} ")
        self.add("field", index, field, value)

    def fault(
        self, code: int, function: str = "*", index: int | str = "*", delay: float = 0.0
    ) -> None:
        """Calls fail with `code` after `delay` seconds; with 0 they are only late.

        13 imitates a driver that lacks the function.
        """
        self.add("fault", function, index, code, round(delay * 1000))

    def hang(self, function: str = "*", index: int | str = "*") -> None:
        """Calls do not return until this is dropped."""
        self.add("hang", function, index)

    def add(self, *words: object) -> None:
        self.lines.append(" ".join(map(str, words)))
        self.write()

    def drop(self, prefix: str) -> None:
        """Forget every proc, event, field, fault or hang line that starts with `prefix`."""
        self.lines = [line for line in self.lines if not line.startswith(prefix)]
        self.write()

    def write(self) -> None:
        rows = [f"{key} {value}" for key, value in self.head.items()]
        rows += [_row("gpu", index, **self.gpus[index]) for index in sorted(self.gpus)]
        rows += [_row("mig", *slot, **self.migs[slot]) for slot in sorted(self.migs)]
        fresh = self.path.with_suffix(".new")
        fresh.write_text("\n".join(rows + self.lines) + "\n")
        self.stamp = max(time.time_ns(), self.stamp + 1)
        os.utime(fresh, ns=(self.stamp, self.stamp))  # two fast writes must not look the same
        fresh.replace(self.path)  # the library never sees half a file

    def env(self, lib: Path) -> dict[str, str]:
        """The environment that makes another process load the fake."""
        old = os.environ.get("LD_LIBRARY_PATH")
        path = f"{lib.parent}:{old}" if old else str(lib.parent)
        return {**os.environ, "FAKE_NVML_STATE": str(self.path), "LD_LIBRARY_PATH": path}

    @contextlib.contextmanager
    def loaded(self, lib: Path) -> Iterator[Any]:
        """Point this process's pynvml at the fake, whatever it loaded before."""
        import pynvml

        cache = pynvml._nvmlGetFunctionPointer_cache
        saved = pynvml.nvmlLib, dict(cache), pynvml._nvmlLib_refcount
        os.environ["FAKE_NVML_STATE"] = str(self.path)
        pynvml.nvmlLib = ctypes.CDLL(str(lib))
        cache.clear()
        _shut_down()
        others = set(threading.enumerate())
        try:
            yield pynvml
        finally:
            self.drop("fault")
            self.drop("hang")
            _await(set(threading.enumerate()) - others)
            _shut_down()
            pynvml.nvmlLib, old, pynvml._nvmlLib_refcount = saved
            cache.clear()
            cache.update(old)
            os.environ.pop("FAKE_NVML_STATE", None)


def _await(threads: set[threading.Thread]) -> None:
    """Until those whose call hung have come back: the driver that the next test sees is the same
    library, and they would open and close it under its hands.

    Who waits for reports does neither, and ends by itself once nobody has the driver open. Threads
    that wait for work, and those of other parts, may stay.
    """
    until = time.monotonic() + 5
    while late := sorted(_inside(threads)):
        assert time.monotonic() < until, f"threads that have not left the driver: {late}"
        time.sleep(0)


def _inside(threads: set[threading.Thread]) -> Iterator[str]:
    """The names of those that are reading the driver."""
    frames = sys._current_frames()
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        while thread.name != "nvidia events" and frame is not None:
            module = frame.f_globals.get("__name__", "")
            if module == "pynvml" or module.startswith("collectors.nv"):
                yield thread.name
                break
            frame = frame.f_back


def _shut_down() -> None:
    """Drop every init that was left."""
    import pynvml

    with contextlib.suppress(pynvml.NVMLError):
        while True:
            pynvml.nvmlShutdown()


def _row(*words: object, **fields: object) -> str:
    pairs = [f"{key}={str(value).replace(' ', '_')}" for key, value in fields.items()]
    return " ".join([*map(str, words), *pairs])
