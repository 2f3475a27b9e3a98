"""What happened in a run, as the bench itself saw it. Times are on its own monotonic clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NEVER = float("inf")


@dataclass
class Life:
    """One process of the daemon. `ended`: when it was gone; `killed`: not by its own will. Seconds
    in which it was `queued` for a CPU until it was ready: those are a busy machine's."""

    pid: int
    began: float
    ready: float | None = None
    ended: float | None = None
    killed: bool = False
    queued: float = 0.0
    wall: float = 0.0  # Unix time of its begin, or earlier: no decision of its own is before


@dataclass
class Call:
    """An engine is told to load or to unload, with what was true at that moment.

    `life` is the number of the daemon that told it; `decisions` are those of this daemon that are
    on disk and have such an action without an outcome. Sizes in bytes.
    """

    engine: str
    kind: str  # load, unload
    model: str
    began: float
    life: int
    busy: int  # requests that it had accepted, and not yet answered to their end
    was: str  # loaded, loading or gone
    size: int
    free: int  # of the GPU, by the driver
    pinned: bool
    leased: bool
    decisions: list[dict[str, Any]]
    ended: float | None = None


@dataclass
class Leave:
    """A process of the daemon's own is told to end. It works for so many who are there still."""

    at: float
    busy: int
    decisions: list[dict[str, Any]] | None  # to have it go, unfinished; None: it could not look


@dataclass
class Process:
    """A model that is a process of the daemon's own, by its own record. `began`: when it looked
    for what is on disk about its load, before anything else; `forked`: when the daemon began with
    it, which is `started` in the kernel's ticks."""

    engine: str
    model: str
    pid: int
    began: float
    started: int
    forked: float
    decisions: list[dict[str, Any]] | None
    told: list[Leave] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"{self.engine}/{self.model}"


@dataclass
class Promise:
    """That nobody sends a model away: from when it was given until somebody asks to end it. Or,
    where that is `forced`, that it may go although it is leased or at work."""

    what: str  # pinned, leased or forced
    ref: str
    began: float
    ended: float | None = None

    def covers(self, at: float) -> bool:
        return self.began <= at <= (NEVER if self.ended is None else self.ended)


@dataclass
class Request:
    """Of a client at the gateway. `was` is what its model was when it came, "" where nobody knows.
    `ending`: whole, refused (with an error), told (an error within the stream), short (a stream
    that ends too early, and says nothing), strange (neither a stream nor an error), cut, unheard
    (no daemon); None while it is under way."""

    number: int
    model: str
    engine: str
    began: float
    ended: float | None = None
    status: int | None = None
    ending: str | None = None
    endings: int = 0
    words: str = ""
    first: float | None = None  # when its first byte came
    was: str = ""  # loaded, loading or gone


@dataclass
class Wish:
    """Of an operator; `status` 0: it was not answered."""

    at: float
    what: str
    status: int = 0
    words: str = ""
    answered: float | None = None


@dataclass
class Deed:
    """What was decided because of an alert; `episode` names the alert and when it began."""

    at: float
    episode: str
    decision: str


@dataclass
class Memory:
    at: float
    used: int  # of the GPU, by the driver, in bytes
    why: str


@dataclass
class Trouble:
    """Somebody broke something. Whom it may reach: `engines`; a pool that is `dark`; the `daemon`
    itself; what the `disk` keeps, or keeps only seconds later: who has waited for it for
    `unwritten` seconds goes on without. `meddles`: models come and go, and nobody was asked.
    `repeats`: an order may be sent once more, for its answer is lost.
    `normal`: when all was well again."""

    what: str
    began: float
    engines: tuple[str, ...] = ()
    dark: bool = False
    daemon: bool = False
    disk: bool = False
    unwritten: float = NEVER
    meddles: bool = False
    repeats: bool = False
    lifted: float | None = None
    normal: float | None = None

    @property
    def took(self) -> float | None:
        """Seconds from the end of the cause until all was well."""
        if self.normal is None or self.lifted is None:
            return None
        return self.normal - self.lifted

    def covers(self, since: float, until: float, after: float = 0.0) -> bool:
        ends = NEVER if self.normal is None else self.normal + after
        return since <= ends and until >= self.began


@dataclass
class History:
    """`wrong` is what was seen to be wrong at once; the rest is judged by `invariants`."""

    settle: float
    reserve: int
    total: int
    lives: list[Life] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    looks: int = 0  # of the watcher

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def say(self, invariant: str, what: str) -> None:
        self.wrong.append(f"{invariant}: {what}")

    def life_at(self, at: float) -> Life:
        """The latest daemon by then."""
        return next((life for life in reversed(self.lives) if life.began <= at), self.lives[0])

    def open(self) -> Iterator[Trouble]:
        """What is broken now, or not yet well again."""
        return (t for t in self.troubles if t.normal is None)

    def used_since(self, since: float) -> set[int]:
        """Bytes of the GPU that were in use then, and at any time from then on."""
        before = [m.used for m in self.memory if m.at <= since]
        return {*before[-1:], *(m.used for m in self.memory if m.at > since)}

    def ended(self, request: Request, ending: str, words: str = "") -> None:
        request.endings += 1
        request.ended, request.ending, request.words = self.now(), ending, words[:300]

    def write(self, file: Path) -> None:
        """One object a line, in the order of time."""
        rows: list[tuple[float, dict[str, Any]]] = []
        kinds: Iterable[tuple[str, list[Any], str]] = (
            ("life", self.lives, "began"),
            ("call", self.calls, "began"),
            ("process", self.processes, "began"),
            ("promise", self.promises, "began"),
            ("request", self.requests, "began"),
            ("memory", self.memory, "at"),
            ("wish", self.wishes, "at"),
            ("deed", self.deeds, "at"),
            ("trouble", self.troubles, "began"),
        )
        for kind, things, at in kinds:
            rows += [(getattr(t, at), {"row": kind, **asdict(t)}) for t in things]
        rows.sort(key=lambda row: row[0])
        lines = [json.dumps(row) for _, row in rows] + [json.dumps({"wrong": self.wrong})]
        file.write_text("\n".join(lines) + "\n")
