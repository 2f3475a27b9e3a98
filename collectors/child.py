"""The child of `Apart`: reads one source, and answers. Imports little, as it is there all day."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from . import reading
from .errors import CollectorError, Outdated
from .reading import Tier

NICE = 5
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _by_call(kind: Any) -> Callable[[Any], tuple[Any, tuple[Any, ...]]]:
    values = attrgetter(*(field.name for field in fields(kind)))
    one = len(fields(kind)) == 1
    return lambda item: (kind, (values(item),) if one else values(item))


# A frozen dataclass with slots is pickled by Python code of its own, field by field. As a call of
# its class, a sample with 400 holders costs 0.23 ms instead of 1.54, and 0.46 instead of 0.98 back.
BY_CALL: dict[type, Any] = {
    kind: _by_call(kind)
    for kind in vars(reading).values()
    if isinstance(kind, type) and is_dataclass(kind)
}


def framed(message: object) -> bytes:
    """A message as it goes over the line: its length in four bytes, and the pickle."""
    out = io.BytesIO()
    out.write(bytes(4))
    pickler = pickle.Pickler(out, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = BY_CALL
    pickler.dump(message)
    out.getbuffer()[:4] = (out.tell() - 4).to_bytes(4, "big")
    return out.getvalue()


def unframed(received: bytearray) -> Any:
    """Take the first message off what was received; None while it is not there in full."""
    end = 4 + int.from_bytes(received[:4], "big")
    if len(received) < max(end, 5):
        return None
    body = received[4:end]
    del received[:end]
    return pickle.loads(body)  # our own child's, or our parent's: nobody else's


def serve(target: str, root: Path, parent: int) -> None:
    """Answer what comes in on stdin, which is a socket, until the other end of it is closed.

    Leaves by os._exit: a library's own end has hung before, and crashed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes
    _die_with(parent)
    os.nice(NICE)
    line = os.dup(0)
    os.dup2(1, 0)  # /dev/null: what a library reads or prints does not get in the way
    module, _, name = target.partition(":")
    collector = getattr(importlib.import_module(module), name)(root=root)
    try:
        while (tiers := _question(line)) is not None:
            answer = memoryview(_answer(collector, tiers))
            while answer:
                answer = answer[os.write(line, answer) :]
    except OSError:
        pass  # the parent is gone, and has not listened to the end
    os._exit(0)


def _question(line: int) -> Tier | None:
    """What the parent asks. None: it has hung up."""
    received = bytearray()
    while (tiers := unframed(received)) is None:
        data = os.read(line, 4096)
        if not data:
            return None
        received += data
    return Tier(tiers)


def _answer(collector: Any, tiers: Tier) -> bytes:
    try:
        return framed((collector.read(tiers), ""))
    except Outdated as error:  # the parent hears of our end, and starts another
        os.write(2, f"{error}\n".encode())
        os._exit(1)
    except CollectorError as error:
        return framed((None, str(error)))
    except Exception as error:
        text = " ".join(str(error).split())
        return framed((None, f"{type(error).__name__}: {text}".rstrip(": ")))


def _die_with(parent: int) -> None:
    """Be killed when the parent dies, even inside a call that would not see EOF."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


def main(arguments: Sequence[str]) -> None:
    target, root, parent = arguments
    serve(target, Path(root), int(parent))


if __name__ == "__main__":
    main(sys.argv[1:])
