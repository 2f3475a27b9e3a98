"""Engines of the bench: they take their time, and every call is put down as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.engines.fake import FakeLlamaRouter, FakeOllama

LOAD_TIME, WORD_TIME = 0.15, 0.02  # seconds


class Pace(asyncio.Event):
    """A gate through which every word takes a moment."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._hurry = asyncio.Event()
        self.set()

    async def wait(self) -> Any:
        await super().wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self.seconds)
        return True

    def hurry(self) -> None:
        """The words that are on their way are there now."""
        self._hurry.set()
        self._hurry = asyncio.Event()


class Told:
    """`told` is called with the kind and the model before an order is carried out; `done` is to be
    when its load or unload is over, for which `ordered` is called after it was answered."""

    told: Callable[[str, str], object] = staticmethod(lambda kind, model: None)
    done: Callable[[str, str], object] = staticmethod(lambda kind, model: None)

    def is_doing(self: Any, model: str) -> str:
        return "loaded" if model in self.loaded else "loading" if model in self.loading else "gone"

    def answer(self: Any, call: str, query: Any, body: Any) -> Any:
        order = self.order(call, body)
        if order is not None:
            self.told(*order)
        found = super().answer(call, query, body)  # type: ignore[misc]
        if order is not None:
            self.ordered(*order)
        return found


class Timed(Told):
    """Seconds: `load_times`; `gate.seconds` for a word."""

    def __init__(self, name: str, models: list[str], size: int) -> None:
        super().__init__(models, sizes=dict.fromkeys(models, size))  # type: ignore[call-arg]
        self.name = name
        self.gate: Any = Pace(WORD_TIME)
        self.slow_loads = True
        self.load_times: dict[str, float] = {}
        self.behind_us = 0  # models that a request had loaded, and not we
        self.too_big: set[str] = set()  # for whom there is too little memory, whatever was promised
        self.breaks_after: str | None = None  # first: when a request comes; word: after one
        self.hung_up: int | None = (
            None  # clients that left in an answer's middle; None: not counted
        )

    def ordered(self: Any, kind: str, model: str) -> None:
        if kind == "load" and model in self.loading:
            asyncio.get_running_loop().call_later(
                self.load_times.get(model, LOAD_TIME), self.come, model
            )
        else:
            self.done(kind, model)

    def come(self: Any, model: str) -> None:
        if model in self.loading and model in self.too_big:
            self.loading.pop(model).set()
        elif model in self.loading:
            self.finish(model)
        self.done("load", model)

    async def _work(self: Any, writer: Any, model: str, body: Any) -> Any:
        self.behind_us += model in self.models and model not in self.loaded
        if self.breaks_after == "first":
            await self.crash()
            return None
        if self.hung_up is None:
            return await super()._work(writer, model, body)  # type: ignore[misc]
        listens = asyncio.create_task(self._listen(writer))
        try:
            return await super()._work(writer, model, body)  # type: ignore[misc]
        finally:
            listens.cancel()

    async def _listen(self: Any, writer: Any) -> None:
        reader = writer._reader
        while not (reader.at_eof() or reader.exception() or writer.is_closing()):
            await asyncio.sleep(WORD_TIME)
        if self.hung_up is not None:
            self.hung_up += 1

    async def crash(self: Any) -> None:
        """Its process is gone with all that it held; nobody listens on its port."""
        self.breaks_after = None
        self._server.close()
        for model in list(self.loading):
            self.loading.pop(model).set()
            self.done("load", model)
        for model in list(self.loaded):
            self.drop(model)
        here = asyncio.current_task()
        for task in list(self._open):
            if task is not here:
                task.cancel()
        raise ConnectionResetError


class Router(Timed, FakeLlamaRouter):
    kind = "llamacpp"

    def order(self, call: str, body: Any) -> tuple[str, str] | None:
        for kind in ("load", "unload"):
            if call == f"POST /models/{kind}":
                return kind, body["model"]
        return None


class Shop(Timed, FakeOllama):
    kind = "ollama"

    def order(self, call: str, body: Any) -> tuple[str, str] | None:
        if call != "POST /api/generate" or "prompt" in body:
            return None
        return "unload" if body.get("keep_alive") == 0 else "load", body["model"]


Engine = Router | Shop
