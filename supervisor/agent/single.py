"""No fleet: this host alone. Everything that can be asked of a fleet can be asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from collectors.reading import Bytes, Seconds

from .backend import BackendError, Heard, Row
from .bridge import Bridge


class Single:
    """A fleet of one."""

    name = "single"
    connected = True
    trouble: tuple[str, ...] = ()

    def __init__(
        self, host: str, bridge: Bridge, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._host, self._bridge, self._clock = host, bridge, clock
        self._began = clock()
        self._version = 0
        self._word: Row | None = None
        self._claims: dict[str, str] = {}

    async def start(self) -> None:
        self._began = self._clock()

    async def stop(self) -> None:
        self._claims.clear()

    async def tell(self, word: Row | None, kept: tuple[Row, ...], since: str, basis: str) -> Heard:
        if word is not None and word != self._word:
            self._version += 1
            self._word = word
        version = f"{self._host}:{self._version}"
        known = () if self._word is None else (self._word,)
        return Heard(
            version,
            Seconds(self._clock() - self._began),
            {} if self._word is None else {self._host: Seconds(0.0)},
            known if since != version else (),
            tuple({**row, "owner": self._host} for row in kept),
        )

    async def claim(self, model: str, shares: Mapping[str, Bytes]) -> str:
        if strangers := shares.keys() - {self._host}:
            raise BackendError("away", f"there is no {min(strangers)} in a fleet of one", 404)
        if model in self._claims.values():
            raise BackendError("taken", f"{model} is being placed already", 409)
        id = uuid4().hex
        self._claims[id] = model
        return id

    async def release(self, claim: str) -> None:
        self._claims.pop(claim, None)

    async def ask(self, host: str, what: str, within: Seconds, **words: Any) -> Row:
        if host != self._host:
            raise BackendError("away", f"there is no {host} in a fleet of one", 404)
        if what == "accept":  # whose claim it is need not be looked up where nobody else claims
            return await self._bridge.accept(words["offer"], within)
        found: Row = await getattr(self._bridge, what)(within=within, **words)
        return found
