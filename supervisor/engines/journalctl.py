"""The last lines of a unit in the journal: the one thing of systemd's that has no call."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress

from . import base
from .base import EngineDown, EngineRefused

MOST = 1 << 20  # bytes that are read
QUOTED = 200  # characters of its complaint
PROGRAM = "journalctl"


async def last_lines(engine: str, unit: str, lines: int, *, user: bool) -> tuple[str, ...]:
    """What `unit` wrote, the oldest first; at most `lines` lines and 1 MiB."""
    arguments = ("--quiet", "--no-pager", "--output=cat", f"--lines={lines}")
    named = f"--user-unit={unit}" if user else f"--unit={unit}"
    call = f"{PROGRAM} {named}"
    try:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            named,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise EngineDown(engine, call, error.strerror or str(error)) from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(base.CALL_TIMEOUT):
            text, words = await asyncio.gather(_all(process.stdout), _all(process.stderr))
            status = await process.wait()
    except TimeoutError as late:
        why = f"no answer within {base.CALL_TIMEOUT:g} s"
        raise EngineDown(engine, call, why) from late
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):  # in an uninterruptible read it ends when it can
            await asyncio.wait_for(process.wait(), base.CALL_TIMEOUT)
    if status != 0:
        why = " ".join(words.split())[:QUOTED] or f"exit status {status}"
        raise EngineRefused(engine, call, f"{why} (the group systemd-journal may read it)", 403)
    return tuple(text.splitlines()[-lines:])  # an entry may have several


async def _all(stream: asyncio.StreamReader) -> str:
    """All of it, of which the last MiB is kept."""
    kept = b""
    while piece := await stream.read(1 << 16):
        kept = (kept + piece)[-MOST:]
    return kept.decode(errors="replace")
