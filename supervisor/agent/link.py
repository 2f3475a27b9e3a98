"""The engine of a fleet as the agent has it: Ray, through a process that is there to be ended.

That process comes and goes with Ray. Whatever becomes of it, each call here ends in time, and it is
started again without a hand.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from collectors.reading import Bytes, Seconds

from .backend import BackendError, Heard, Row

log = logging.getLogger("ullage.fleet")

JOIN: Final = Seconds(40.0)  # in which Ray is joined: some five seconds of work
NAME: Final = Seconds(10.0)  # in which Ray sees that who had our name has gone
PROMPT: Final = Seconds(3.0)  # for what Ray does in milliseconds
PAUSES: Final = (0.5, 0.5, 1.0, 2.0, 5.0)  # seconds before it is tried again
FAILURES: Final = 5  # calls in a row that Ray did not answer: then it is asked by another process
LATER: Final = Seconds(0.5)  # than the other host's own time is over: so it is told why
LINE: Final = 64 * 2**20  # bytes: a directory of a thousand hosts is a tenth of that
ENDS: Final = Seconds(1.0)  # in which a process that has nothing more to say has ended
WORDS: Final = 20  # last lines of the process that are kept
# A host may not join at all like that, whatever it tries.
FINAL: Final = frozenset({"refused", "taken", "resources"})

_SILENT: Final = "Ray does not answer"

Examine = Callable[[], Awaitable[None]]


class Link:
    """Ray. `program` is started for a driver; `given` is what it is told first.

    `examine` is asked before each start, and raises where this Ray may not be joined, or is not
    there.
    """

    name = "ray"

    def __init__(
        self,
        given: Row,
        late: Seconds,
        examine: Examine,
        program: tuple[str, ...] = (sys.executable, "-m", "supervisor.agent.rayed"),
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._given, self._late, self._examine = given, late, examine
        self._program, self._pauses = program, pauses
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[Row]] = {}
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._last: deque[str] = deque(maxlen=WORDS)
        self._joined = asyncio.Event()
        self._failures = 0
        self._trouble: tuple[str, ...] = ("Ray has not been joined yet",)
        self._warnings: tuple[str, ...] = ()
        self.refused: asyncio.Future[BackendError] | None = None

    @property
    def connected(self) -> bool:
        """Did Ray answer when it was asked last?"""
        return self._joined.is_set() and not self._failures

    @property
    def trouble(self) -> tuple[str, ...]:
        return (_SILENT,) if self._joined.is_set() and self._failures else self._trouble

    async def start(self) -> None:
        """Returns at once; it may take a while until it is `connected`."""
        self.refused = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(), name="ray")

    async def stop(self) -> None:
        if self._joined.is_set():
            with suppress(BackendError):
                await self._call("leave", PROMPT, {})
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # -- what is asked of Ray

    async def tell(self, word: Row | None, kept: tuple[Row, ...], since: str, basis: str) -> Heard:
        given = {"word": word, "kept": list(kept), "since": since, "basis": basis,
                 "late": self._late}  # fmt: skip
        found = (await self._call("tell", PROMPT, given))["answer"]
        if found["again"] and word is None:
            raise BackendError("again", "the directory does not know our word")
        return Heard(
            version=found["version"],
            up=Seconds(found["up"]),
            ages={h: Seconds(age) for h, age in found["ages"].items()},
            words=tuple(told["word"] for told in found["told"]),
            kept=tuple(found["kept"]),
            versions=found["versions"],
            dead=tuple(found["dead"]),
        )

    async def claim(self, model: str, shares: Mapping[str, Bytes]) -> str:
        found = await self._call("claim", PROMPT, {"model": model, "shares": dict(shares)})
        return str(found["answer"])

    async def release(self, claim: str) -> None:
        await self._call("release", PROMPT, {"claim": claim})

    async def ask(self, host: str, what: str, within: Seconds, **words: Any) -> Row:
        given = {"host": host, "what": what, "within": within, "words": words}
        row = await self._call("ask", Seconds(within + LATER), given)
        found: Row = row["answer"]
        return found

    # -- the process

    async def _call(self, do: str, within: Seconds, words: Row) -> Row:
        process = self._process
        if process is None or not self._joined.is_set() or process.stdin is None:
            raise BackendError("away", f"not connected: {'; '.join(self._trouble)}")
        id = next(self._ids)
        answer = self._open[id] = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(json.dumps({"id": id, "do": do, "words": words}).encode() + b"\n")
            async with asyncio.timeout(within):
                row: Row = await answer
        except (TimeoutError, OSError):
            self._failed(process)
            what = f"Ray did not answer within {within:g} s"
            raise BackendError("away", what, unsure=True) from None
        finally:
            self._open.pop(id, None)
        if "error" in row:
            error = BackendError(**row["error"])
            if error.code == "away" and do == "tell":
                self._failed(process)
            raise error
        self._failures = 0
        return row

    def _failed(self, process: Process) -> None:
        """Of a driver that has lost its Ray nothing is to be expected any more."""
        self._failures += 1
        if self._failures >= FAILURES and process is self._process:
            self._trouble = (_SILENT,)
            _kill(process)

    async def _keep(self) -> None:
        pauses, pause = iter(self._pauses), 0.0
        while True:
            try:
                await self._once(pause)
                pauses = iter(self._pauses)
            except BackendError as error:
                self._complain(error)
            except Exception as error:  # our bug: it costs us this attempt, and no other
                log.exception("Ray's driver")
                self._complain(BackendError("away", f"{type(error).__name__}: {error}"))
            pause = next(pauses, self._pauses[-1])

    def _complain(self, error: BackendError) -> None:
        if self._trouble != (error.detail,):
            log.warning("not in the fleet: %s", error.detail)
        self._trouble = (error.detail,)
        if error.code in FINAL and self.refused is not None and not self.refused.done():
            self.refused.set_result(error)

    async def _once(self, pause: float) -> None:
        """One driver, from its start to its end, which loads Ray for the `pause` before it joins.
        Raises BackendError where it did not join."""
        process = await asyncio.create_subprocess_exec(
            *self._program, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LINE
        )
        self._last.clear()
        words = asyncio.create_task(self._read_words(process), name="ray's words")
        try:
            await asyncio.sleep(pause)
            await self._node(process)
            async with asyncio.timeout(JOIN):
                await self._join(process)
            self._process, self._failures, self._trouble = process, 0, self._warnings
            self._joined.set()
            log.info("in the fleet")
            await self._read(process)
            if self._trouble == self._warnings:
                self._trouble = ("Ray has gone; it is joined again when it is back",)
            log.warning("not connected: %s", "; ".join(self._trouble))
        except TimeoutError:
            said = f": {self._last[-1]}" if self._last else ""
            raise BackendError("away", f"Ray was not joined within {JOIN:g} s{said}") from None
        finally:
            self._joined.clear()
            self._process = None
            for answer in list(self._open.values()):
                if not answer.done():
                    gone = {"code": "away", "detail": "Ray has gone", "unsure": True}
                    answer.set_result({"error": gone})
            await _end(process)
            await asyncio.gather(words, return_exceptions=True)

    async def _node(self, process: Process) -> None:
        """Until there is something to join; the driver has been started meanwhile."""
        while process.returncode is None:
            try:
                return await self._examine()
            except BackendError as error:
                if error.code != "absent":
                    raise
                self._complain(error)
            await asyncio.sleep(self._pauses[0])
        return None

    async def _join(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.write(json.dumps(self._given).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            said = self._last[-1] if self._last else f"it ended with {process.returncode}"
            raise BackendError("away", f"Ray's driver does not start: {said}")
        row = json.loads(line)
        if "error" in row:
            raise BackendError(**row["error"])
        self._warnings = tuple(row["joined"]["trouble"])

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            row = json.loads(line)
            answer = self._open.get(row["id"])
            if answer is not None and not answer.done():
                answer.set_result(row)

    async def _read_words(self, process: Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            if text := line.decode(errors="replace").strip():
                self._last.append(text)
                log.debug("ray: %s", text)


async def _end(process: Process) -> None:
    """One that ends by itself is only waited for: a signal would take its exit code from whoever
    waits for that, and asyncio would complain."""
    if process.stdout is not None and process.stdout.at_eof():
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDS):
                await process.wait()
    if process.returncode is None:
        _kill(process)
    await process.wait()


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
