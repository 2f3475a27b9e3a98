"""Bodies that are meant to take memory, of hundreds of clients at once: without an end, packed, and
deep. Judged by how high the memory of the daemon's process has ever been meanwhile."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.daemon import Daemon

from .found import Found, port_of
from .outside import MIB

CLIENTS = 200  # of each kind at each listener, at once
LARGEST, HELD = 8 * MIB, 32 * MIB  # a body at the gateway, and all of them: see LINES
LINES = f"max_body = {LARGEST}\nmax_bodies = {HELD}"  # of its table in the configuration
DEEP = 400_000  # brackets: its body is less than a MiB, which is the most of the API
MORE = 20 * MIB  # that it may take for all else
ENDLESS = 128 * MIB  # bytes of one body after which nobody will refuse it any more
PATIENCE = 60.0  # seconds

GATEWAY, API = "/v1/chat/completions", "/api/v1/load"
BOMB = gzip.compress(bytes(64 * MIB), 9)
NESTED = b'{"model":"nobody","messages":' + b"[" * DEEP + b"]" * DEEP + b"}"
KINDS = ("without an end", "packed", "deep")


def head(path: str, *lines: str) -> bytes:
    usual = ("Host: 127.0.0.1", "Content-Type: application/json")
    return "\r\n".join([f"POST {path} HTTP/1.1", *usual, *lines, "", ""]).encode()


def said(kind: str, path: str) -> Iterator[bytes]:
    """What a client sends, piece by piece."""
    if kind == "without an end":
        yield head(path, "Transfer-Encoding: chunked")
        piece = b'{"model":"nobody","messages":["' + b"x" * 65_000
        for _ in range(ENDLESS // len(piece)):
            yield b"%x\r\n%s\r\n" % (len(piece), piece)
    elif kind == "packed":
        yield head(path, "Content-Encoding: gzip", f"Content-Length: {len(BOMB)}") + BOMB
    else:
        yield head(path, f"Content-Length: {len(NESTED)}") + NESTED


async def _client(at: tuple[str, int], pieces: Iterator[bytes]) -> str:
    """How it ended: a status, cut, or taken: all of it, without a word."""
    try:
        reader, writer = await asyncio.open_connection(*at)
    except ConnectionError:
        return "cut"
    answer = asyncio.create_task(reader.readline())
    try:
        async with asyncio.timeout(PATIENCE):
            for piece in pieces:
                if answer.done():
                    break
                writer.write(piece)
                await writer.drain()
            line = await answer
        return line.split(b" ")[1].decode() if line else "cut"
    except ConnectionError:
        with suppress(ConnectionError):
            line = await answer
            return line.split(b" ")[1].decode() if line else "cut"
        return "cut"
    except TimeoutError:
        return "taken"
    finally:
        answer.cancel()
        writer.close()


class Height:
    """The most resident memory of a process since it was last asked to forget, in bytes."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def forget(self) -> int:
        """What it is now, from where it counts on."""
        (self._folder / "clear_refs").write_text("5")
        return self.now

    @property
    def now(self) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel tells no height")


def refused(ending: str) -> bool:
    return ending == "cut" or ending == "503" or (len(ending) == 3 and ending[0] == "4")


async def big_bodies(daemon: Daemon, gateway: str, found: Found, clients: int = CLIENTS) -> None:
    """One kind at one listener after the other."""
    height = Height(daemon.pid)
    # One may be there twice, as it grows and is moved; and what grows is given more than it has.
    most = HELD * 5 // 4 + LARGEST
    listeners = (("API", port_of(daemon.url), API, 0), ("gateway", port_of(gateway), GATEWAY, most))
    for listener, at, path, held in listeners:
        for kind in KINDS:
            await _client(at, said(kind, path))  # what the first of them costs is there once
            before = height.forget()
            many = (_client(at, said(kind, path)) for _ in range(clients))
            endings = Counter(await asyncio.gather(*many))
            more, what = height.now - before, f"{clients} bodies {kind} to the {listener}"
            found.add(what, ", ".join(f"{k}: {n}" for k, n in sorted(endings.items())))
            limit = held + MORE
            found.judge(
                f"{what}: memory",
                more < limit,
                f"{more / MIB:+.1f} of {limit / MIB:.0f} MiB",
            )
            wrong = {k: n for k, n in endings.items() if not refused(k)}
            found.judge(f"{what}: refused", not wrong, f"all but {wrong}" if wrong else "all")
    state = await daemon.state()
    found.judge("the daemon serves after them", bool(state["ready"]), "")
    broken = [line for line in daemon.lines if "Traceback" in line]
    found.judge("the log has no traceback", not broken, "; ".join(broken[:2]))
