"""llama-swap: it starts a server of the operator's choice for each model, and proxies to it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar
from urllib.parse import quote

from collectors.reading import Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    Checked,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import MESSAGES, TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

STATES = {"starting": State.LOADING, "ready": State.LOADED}  # "stopping": still there
ALL = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT})
VERSION = re.compile(r"v(\d{1,9})(?!\d)")
COUNTS_SINCE = 192  # the first whose events tell of requests in flight
CANCELS_SINCE = 235  # and of each by its name, by which it can be ended
LONGEST = 64 * 1024  # characters of a command
CONTAINERS = ("docker", "podman", "nerdctl")


class LlamaSwap(Adapter):
    """An unload answers when the server has ended, and cuts short what it was serving. Any path
    below /upstream/ starts a server: load() alone may ask one. Made after the source of v250."""

    kind: ClassVar[str] = "llamaswap"
    title: ClassVar[str] = "llama-swap"
    paths: ClassVar[Serves] = at(
        "/v1", f"{TEXT} {MESSAGES} rerank images edits transcriptions speech"
    )
    ports: ClassVar[tuple[int, ...]] = (8080,)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = ALL
    sometimes: ClassVar[frozenset[Ability]] = frozenset({Ability.CANCEL})

    _up: frozenset[ModelId] = frozenset()  # as they were listed last

    async def identify(self) -> Identity | None:
        answer = await self._wire.probe("/running")
        if answer is None or not isinstance(answer.value, dict):
            return None
        running = answer.value.get("running")
        if not isinstance(running, list) or not all(
            isinstance(one, dict) and {"model", "state"} <= one.keys() for one in running
        ):
            return None
        build = await self._wire.probe("/api/version")  # since v173
        version = build.value.get("version") if build and isinstance(build.value, dict) else None
        if not isinstance(version, str) or not version:
            version = None
        number = VERSION.match(version or "v0")  # one that was built at home has none
        build_number = None if number is None else int(number[1])
        old = build_number is not None and build_number < COUNTS_SINCE
        self.abilities = ALL - {Ability.IN_FLIGHT} if old else ALL
        if build_number is not None and build_number >= CANCELS_SINCE:
            self.abilities |= {Ability.CANCEL}
        return Identity(version or "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        listed, running = await asyncio.gather(self._wire.get("/v1/models"), self._running())
        self._up = frozenset(running)
        found = {_name(entry, "id"): entry for entry in listed["data"] if _is_local(entry)}
        return tuple(
            _model(name, found.get(name), running.get(name)) for name in sorted({*found, *running})
        )

    async def activity(self, model: EngineModel) -> Activity:
        if Ability.IN_FLIGHT not in self.abilities:
            return Activity(None)
        if (told := await self._at_work()) is None:
            return Activity(None)
        requests = told.get("requests")
        if requests is not None:
            own = [one for one in requests if _name(one, "model") == model.id]
            flow = (f"{one['id'].text()}/{_sent(one)}" for one in own)
            mark = ",".join(one["id"].text() for one in own)
            return Activity(len(own), mark, progress=",".join(flow))
        total = told["total"].count()  # before v235, of all models
        alone = total == 0 or self._up == {model.id}
        return Activity(total if alone else None, str(total))

    async def cancel(self, model: ModelId) -> None:
        """Each of its requests by its name. One that has ended meanwhile is as good as ended."""
        if Ability.CANCEL not in self.abilities:
            raise self._unable(f"end the requests of {model}")
        told = await self._at_work()
        requests = () if told is None else told.get("requests") or ()
        for one in requests:
            if _name(one, "model") != model:
                continue
            path = f"/api/inflight/{quote(one['id'].text(), safe='')}/cancel"
            try:
                await self._wire.text("POST", path, None, CONTROL_TIMEOUT)
            except EngineRefused as no:
                if no.status != 404:
                    raise

    async def _at_work(self) -> Json | None:
        """The requests in flight, or how many there are. None: it does not say in time."""
        seen: list[Json] = []

        def take(event: Json) -> bool:
            if (told := _in_flight(event)) is not None:
                seen.append(told)
            return told is not None

        return seen[0] if await self._wire.events("GET", "/api/events", None, take) else None

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when its server is ready; whoever may not run beside it has then been stopped."""
        path = f"/upstream/{quote(model, safe='')}/health"
        try:
            await self._wire.text("GET", path, None, LOAD_TIMEOUT)
        except (EngineConfused, EngineRefused):
            # Not every server has this path: what it answers there is no matter once it is up.
            up = (await self._running()).get(model)
            if _state(up) not in (State.LOADING, State.LOADED):
                raise

    async def unload(self, model: ModelId) -> None:
        path = f"/api/models/unload/{quote(model, safe='')}"
        await self._wire.text("POST", path, None, CONTROL_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        """Which models may not run side by side is not told."""
        return tuple(
            Habit(
                f"unloads {name} when it has had no request for {after:g} s",
                f"set ttl: 0 for {name} in llama-swap's configuration",
                name,
            )
            for name, entry in sorted((await self._running()).items())
            if (after := _ttl(entry)) is not None
        )

    async def _running(self) -> dict[ModelId, Json]:
        return {_name(e, "model"): e for e in (await self._wire.get("/running"))["running"]}


def _in_flight(event: Json) -> Json | None:
    """How many requests there are, or which: the first event that tells of all of them."""
    kind, data = event.get("type"), event.get("data")
    if kind is None or kind.value != "inflight" or data is None:
        return None
    try:
        told = Json(event.engine, event.call, json.loads(data.text()), "inflight")
    except (ValueError, RecursionError):
        return None
    return told if "requests" in told or "total" in told else None


def _sent(request: Json) -> str:
    """Bytes of the answer so far."""
    sent = request.get("resp_bytes")
    return "-" if sent is None else str(sent.value)


def _name(entry: Json, key: str) -> ModelId:
    return ModelId(entry[key].name())


def _is_local(entry: Json) -> bool:
    """An alias, a peer's model, a selector or a profile holds no memory of its own."""
    meta = entry.get("meta")
    own = None if meta is None else meta.get("llamaswap")
    kind = None if own is None else own.get("type")
    return kind is None or kind.text() == "model"


def _state(running: Json | None) -> State | None:
    return None if running is None else STATES.get(running["state"].text(), State.UNKNOWN)


def _model(name: ModelId, listed: Json | None, running: Json | None) -> EngineModel:
    if running is None:
        return EngineModel(name)
    words = _words(running)
    meta = None if listed is None else listed.get("meta")
    context = None if meta is None else meta.get("n_ctx")
    return EngineModel(
        name,
        _state(running),
        weights=next((b for a, b in pairwise(words) if a in ("-m", "--model")), None),
        process=_process(words),
        context=None if context is None else context.count(),
        keep_alive=_ttl(running),
    )


def _ttl(running: Json) -> Seconds | None:
    ttl = running.get("ttl")
    return None if ttl is None or ttl.number() <= 0 else Seconds(ttl.number())


def _words(running: Json) -> list[str]:
    """The command as llama-swap splits it: lines of comment are left out."""
    command = running.get("cmd")  # since v186
    if command is None:
        return []
    if len(text := command.text()) > LONGEST:  # to split it takes the square of a word's length
        return []
    lines = (line.strip() for line in text.splitlines())
    kept = [line.removesuffix("\\") for line in lines if not line.startswith("#")]
    try:
        return shlex.split("\n".join(kept))
    except ValueError:
        return []


def _process(words: Sequence[str]) -> Process | None:
    """By what follows the program, whose own name may be another once it runs. What a container
    holds, the command that started it does not."""
    if len(words) < 2 or words[0].rpartition("/")[2] in CONTAINERS:
        return None
    return Process(argv=(tuple(words[1:]),))
