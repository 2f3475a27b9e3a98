"""What an agent wants of the engine that holds a fleet together, whichever that is.

Every call is bounded in time by whoever carries it out, and raises BackendError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from collectors.reading import Bytes, Seconds

Row = dict[str, Any]


class BackendError(Exception):
    """`code` is one of these: `away` (nobody there, or no answer in time), `taken` (the name or the
    claim is somebody else's), `full` (the ledger has no room), or what the other host's daemon
    said. `status` is the HTTP status that a client is told. `unsure`: what was asked for may
    happen yet."""

    def __init__(self, code: str, detail: str, status: int = 503, unsure: bool = False) -> None:
        super().__init__(detail)
        self.code, self.detail, self.status, self.unsure = code, detail, status, unsure


@dataclass(frozen=True, slots=True)
class Heard:
    """What the directory answered. Ages in seconds, as it measured them; `up`: since when it is
    there. `words` are those that changed since version `since`, as rows; `ages` are of all hosts.
    `kept` are rows of promises: `id`, `model`, `shares` (bytes by host), `owner`, and `left`: the
    seconds that it still stands for.
    `versions`: of the engine, by host."""

    version: str
    up: Seconds
    ages: Mapping[str, Seconds]
    words: tuple[Row, ...] = ()
    kept: tuple[Row, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    dead: tuple[str, ...] = ()  # hosts whose node the engine knows to be dead


class Backend(Protocol):
    """The directory of hosts, the ledger, and the way to other hosts' daemons."""

    name: str

    @property
    def connected(self) -> bool: ...

    @property
    def trouble(self) -> tuple[str, ...]:
        """What is wrong, in sentences."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def tell(self, word: Row | None, kept: tuple[Row, ...], since: str, basis: str) -> Heard:
        """Say how this host stands (`word` None: as before), and hear of all that changed after
        version `since`. `basis`: the version that was known before the word was asked for."""
        ...

    async def claim(self, model: str, shares: Mapping[str, Bytes]) -> str:
        """The one claim of `model`: bytes of one host or, all or nothing, of several. Its id."""
        ...

    async def release(self, claim: str) -> None: ...

    async def ask(self, host: str, what: str, within: Seconds, **words: Any) -> Row:
        """Have another host's daemon asked: "offer", "accept", "drain", "undrain" or "unload"."""
        ...
