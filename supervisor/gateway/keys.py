"""What is added to requests on their way to an engine: its own key, which is never shown, and the
mark by which we know our own requests if they come back to us."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from supervisor.config.config import EngineConfig
from supervisor.config.described import Description
from supervisor.core.snapshot import EngineId
from supervisor.engines.wire import VIA

Headers = tuple[tuple[bytes, bytes], ...]

MARK = ((b"via", VIA.encode()),)


class Keys:
    def __init__(self, engines: Iterable[EngineConfig] = ()) -> None:
        self._headers: dict[EngineId, Headers] = {}
        self.add(engines)

    def __repr__(self) -> str:
        return f"Keys({sorted(e for e, headers in self._headers.items() if headers != MARK)})"

    def add(self, engines: Iterable[EngineConfig]) -> None:
        self._headers |= {engine.id: (*MARK, *_of(engine)) for engine in engines}

    def engine_headers(self, engine: EngineId) -> Headers:
        """What its requests need besides the client's, names in lower case."""
        return self._headers.get(engine, MARK)


def _of(engine: EngineConfig) -> Iterable[tuple[bytes, bytes]]:
    told = engine.options
    said = (told.headers or {}) if isinstance(told, Description) else {}
    found = {name.lower(): text for name, text in said.items()}
    if engine.key is not None:
        basic = engine.kind == "a1111" and ":" in engine.key  # as --api-auth was given it
        login = b64encode(engine.key.encode()).decode() if basic else engine.key
        found["authorization"] = f"{'Basic' if basic else 'Bearer'} {login}"
    return [(name.encode(), text.encode()) for name, text in found.items()]
