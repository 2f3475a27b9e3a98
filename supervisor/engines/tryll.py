"""Tryll: not HTTP, but frames over TCP, in a schema that its own Python client brings along."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, ClassVar, NoReturn, TypeVar
from urllib.parse import urlsplit

from collectors.reading import Seconds
from supervisor.addresses import connect, places
from supervisor.aside import Aside
from supervisor.core.snapshot import Ability, ModelId, State

from . import base
from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Checked,
    EngineConfused,
    EngineDown,
    EngineError,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .wire import CONTROL_TIMEOUT

CLIENT = "tryll_client"
PORT = 9100
ABSENT, LOCAL, DOWNLOADING, LOADED, DOWNLOADED = range(5)
MOST = 1024**2  # bytes of a frame, by its documentation

# The server speaks first, at once; whoever serves HTTP waits to be asked.
PATIENCE = Seconds(0.3)
GRACE = Seconds(1.0)  # for the client to give up by itself, before its thread is given up
T = TypeVar("T")


class Tryll(Adapter):
    """A load pins a model; an unload takes the pin away, and the model leaves when the last agent
    that uses it ends: until then it stays listed.

    Written after the documentation of 0.3.0 and never tried: neither the server nor its client,
    `tryll_client`, is public. Not known: its version, the codes of its refusals, what the client
    raises when the server goes away, and whether its list shows what a session of another
    backend has loaded. Speech models run on another, in RAM alone, and are not looked after.
    """

    kind: ClassVar[str] = "tryll"
    title: ClassVar[str] = "Tryll"
    # Others listen there too: it is searched for where it can be spoken to.
    ports: ClassVar[tuple[int, ...]] = (PORT,) if find_spec(CLIENT) else ()
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.WAITS
    checked: ClassVar[Checked] = Checked.DOCS
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})

    def _begin(self, key: str | None, options: Any) -> None:
        # A client blocks. A load may take minutes, and must not keep the list waiting.
        self._looking = Aside(f"{self.id}: its models")
        self._acting = Aside(f"{self.id}: a load or an unload")
        # It stays open: a server tells its makers of each session that begins or ends.
        self._session: Any = None

    async def identify(self) -> Identity | None:
        """By what it says first. No session is begun: whoever searches does not stay."""
        if find_spec(CLIENT) is None:
            raise self._needed("it is not installed")
        return Identity("not told") if await self._speaks_first() else None

    async def list(self) -> tuple[EngineModel, ...]:
        infos = await self._infos()
        here = [i for i in infos if i["status"].count() not in (ABSENT, DOWNLOADING)]
        loaded = sum(info["status"].value == LOADED for info in here)
        alone = Process(whole=True) if loaded == 1 else None
        return tuple(_model(info, alone) for info in here)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Answered when it is done. Pinning what an agent has loaded costs nothing."""
        call = "LoadModelRequest"
        if await self._status(call, model) in (ABSENT, DOWNLOADING):
            raise EngineRefused(self.id, call, f"{model} is not on its disk", 409)
        await self._act(call, LOAD_TIMEOUT, lambda s, t: s.load_model(model, timeout=t))

    async def unload(self, model: ModelId) -> None:
        call = "UnloadModelRequest"
        if await self._status(call, model) in (ABSENT, LOCAL, DOWNLOADING, DOWNLOADED):
            return
        await self._act(call, CONTROL_TIMEOUT, lambda s, t: s.unload_model(model, timeout=t))

    async def close(self) -> None:
        if (session := self._session) is not None:
            self._session = None
            with suppress(EngineError):
                await self._aside(self._looking, "close", base.CALL_TIMEOUT, session.shutdown)

    async def _status(self, call: str, model: ModelId) -> int:
        for info in await self._infos():
            if info["name"].value == model:
                return info["status"].count()
        raise EngineRefused(self.id, call, f"it has no model {model}", 404)

    async def _infos(self) -> tuple[Json, ...]:
        call, within = "ListModelsRequest", base.CALL_TIMEOUT
        at = await self._places(call)

        def look() -> object:
            if self._session is None:
                self._session = self._open(at, within)
            try:
                return [_members(info) for info in self._session.list_models(timeout=within)]
            except BaseException:
                lost, self._session = self._session, None
                lost.shutdown()
                raise

        found = await self._aside(self._looking, call, within, look)
        return tuple(Json(self.id, call, found))

    async def _act(self, call: str, within: Seconds, do: Callable[[Any, Seconds], Any]) -> None:
        at = await self._places(call)

        def act() -> None:
            session = self._open(at, base.CALL_TIMEOUT)
            try:
                do(session, within)
            finally:
                session.shutdown()

        await self._aside(self._acting, call, within, act)

    def _open(self, at: Sequence[str], within: Seconds) -> Any:
        """Blocks. A session sees the models of the backends that it is configured with."""
        client = self._client()
        session = self._first(client.TryllClient, at, within)
        try:
            backend = client.InferenceEngine.LlamaCpp
            session.configure_session(backend, embedding_engine=backend, timeout=within)
        except BaseException:
            session.shutdown()
            raise
        return session

    def _first(self, client: Any, at: Sequence[str], within: Seconds) -> Any:
        """A session with the first of these addresses that answers."""
        *others, last = at
        port = self._address()[1]
        for address in others:
            with suppress(Exception):  # its client's own, or the system's
                return client.connect(address, port, timeout=within)
        return client.connect(last, port, timeout=within)

    async def _places(self, call: str) -> tuple[str, ...]:
        """Its client would look the name up by itself, and call whomever that leads to."""
        try:
            return await places(*self._address())
        except OSError as broken:
            raise self._broken(call, broken) from broken

    async def _aside(self, aside: Aside, call: str, within: Seconds, work: Callable[[], T]) -> T:
        try:
            return await aside.call(work, Seconds(within + GRACE))
        except (EngineConfused, EngineRefused):
            raise
        except TimeoutError as late:
            raise EngineDown(self.id, call, f"no answer within {within:g} s") from late
        except OSError as broken:
            raise self._broken(call, broken) from broken
        except Exception as error:
            self._raise(call, within, error)

    def _raise(self, call: str, within: Seconds, error: Exception) -> NoReturn:
        """Its client has one error for all: with the server's code, or 0 for its own troubles."""
        if "TryllError" not in {kind.__name__ for kind in type(error).__mro__}:
            why = f"its client failed: {type(error).__name__}: {error}"
            raise EngineConfused(self.id, call, why) from error
        code = getattr(error, "code", 0)
        if code == 0 and "timeout" in str(error).lower():
            raise EngineDown(self.id, call, f"no answer within {within:g} s") from error
        if code == 0 or 1000 <= code < 2000 or code == 2001:  # it is shutting down
            raise EngineDown(self.id, call, str(error)) from error
        if 5000 <= code < 6000:
            raise EngineConfused(self.id, call, str(error)) from error
        raise EngineRefused(self.id, call, str(error)) from error

    async def _speaks_first(self) -> bool:
        """A frame is its length in four bytes, lowest first, and so many bytes, which begin with
        where in them the message is."""
        host, port = self._address()
        try:
            async with asyncio.timeout(base.CALL_TIMEOUT):
                reader, writer = await connect(
                    host, port, lambda address: asyncio.open_connection(address, port)
                )
        except TimeoutError as late:
            why = f"no answer within {base.CALL_TIMEOUT:g} s"
            raise EngineDown(self.id, "connect", why) from late
        except OSError as broken:
            raise self._broken("connect", broken) from broken
        try:
            async with asyncio.timeout(PATIENCE):
                length = int.from_bytes(await reader.readexactly(4), "little")
                if not 4 < length <= MOST:
                    return False
                frame = await reader.readexactly(length)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()
        return 4 <= int.from_bytes(frame[:4], "little") < length

    def _broken(self, call: str, error: OSError) -> EngineDown:
        """In the system's own word, whoever raised it in words of its own."""
        number = error.errno or 0  # one below 0 is of a name that nobody knows
        why = os.strerror(number) if number > 0 else error.strerror or str(error)
        return EngineDown(self.id, call, why, number=error.errno)

    def _address(self) -> tuple[str, int]:
        try:
            parts = urlsplit(self.url)
            return parts.hostname or "127.0.0.1", parts.port or PORT
        except ValueError as wrong:
            raise EngineConfused(self.id, "connect", f"no address: {wrong}") from wrong

    def _client(self) -> Any:
        try:
            return importlib.import_module(CLIENT)
        except ImportError as missing:
            raise self._needed(str(missing)) from missing

    def _needed(self, why: str) -> EngineRefused:
        words = f"needs Tryll's Python client, {CLIENT}, in this environment: {why}"
        return EngineRefused(self.id, f"import {CLIENT}", words)


def _model(info: Json, alone: Process | None) -> EngineModel:
    name, status = ModelId(info["name"].name()), info["status"].count()
    size = info["size_bytes"].size() or None  # 0: not on disk
    if status in (LOCAL, DOWNLOADED):
        return EngineModel(name, file_size=size)
    if status != LOADED:
        return EngineModel(name, State.UNKNOWN, file_size=size)
    return EngineModel(name, State.LOADED, file_size=size, process=alone)


def _members(info: Any) -> dict[str, Any]:
    status = info.status
    return {
        "name": info.name,
        "status": int(status) if isinstance(status, int) else status,  # an IntEnum
        "size_bytes": info.size_bytes,
    }
