"""llama.cpp's llama-server: as a router with a child for each model, or with one model of its own.

What was seen on build b1-7e4c0a9: a load is answered at once and takes a second or more;
an unload is answered at once, and the model is listed until its child has stopped;
GET /slots and GET /metrics wake a sleeping model, and keep one from ever falling asleep.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, ClassVar
from urllib.parse import urlencode

from collectors.reading import Bytes, Seconds
from supervisor.aside import Aside
from supervisor.core.header import Setup
from supervisor.core.snapshot import Ability, ModelId, State

from . import commands, slots
from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    Checked,
    EngineDown,
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

STATES = {
    "unloaded": None,
    "downloading": None,
    "downloaded": None,
    "loading": State.LOADING,
    "loaded": State.LOADED,
    "sleeping": State.SLEEPING,
}
ROUTER = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT, Ability.WAKE})
# It cannot drop its model, and it does not say whether it is meant to sleep: asking for its
# slots might keep it awake for good, and could change nothing.
SINGLE = frozenset({Ability.LIST})
AWAKE = SINGLE | {Ability.IN_FLIGHT}  # we started it ourselves, and not to fall asleep
NAPS = ("--sleep-idle-seconds", "LLAMA_ARG_SLEEP_IDLE_SECONDS")
STAT_TIMEOUT = Seconds(0.5)  # for all files that are new
PIECE = re.compile(r"(.*-)00001-of-(\d{5})(\.gguf)")  # the first file of a model in pieces


_Key = tuple[ModelId, str | None]  # a model, and the file that it is of


class LlamaCpp(Adapter):
    """A router, or a server with one model; `identify` and `list` find out which."""

    kind: ClassVar[str] = "llamacpp"
    title: ClassVar[str] = "llama.cpp"
    paths: ClassVar[Serves] = at("/v1", f"{TEXT} {MESSAGES} rerank transcriptions")
    ports: ClassVar[tuple[int, ...]] = (8080,)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    checked: ClassVar[Checked] = Checked.REAL
    lists_loads: ClassVar[bool] = True
    abilities: frozenset[Ability] = ROUTER

    def _begin(self, key: str | None, options: Any) -> None:
        self._sizes: dict[str, Bytes | None] = {}
        self._told: dict[_Key, Bytes] = {}
        self._aside = Aside(f"{self.id}: the size of a file")
        self._sleepers: frozenset[ModelId] = frozenset()
        self._single = SINGLE
        self._naps: dict[ModelId, str] = {}

    def started_with(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        words = {word.partition("=")[0] for word in command} | environment.keys()
        self._single = AWAKE if words.isdisjoint(NAPS) else SINGLE

    async def identify(self) -> Identity | None:
        try:
            props = await self._wire.probe("/props")
        except EngineRefused as no:
            if not _still_loading(no):
                raise
            self._is_router(False)  # a router answers for itself from the first moment
            return Identity()
        if props is None or not isinstance(props.value, dict):
            return None
        router = props.value.get("role") == "router"
        if not router and "default_generation_settings" not in props:
            return None
        build = props.value.get("build_info")  # imitators of /props have none
        if not isinstance(build, str):
            return None
        self._is_router(router)
        return Identity(build)

    async def list(self) -> tuple[EngineModel, ...]:
        try:
            entries = tuple((await self._wire.get("/models"))["data"])
        except EngineRefused as no:
            if _still_loading(no):
                raise EngineDown(no.engine, no.call, "still loading its model") from no
            raise
        # Only a router knows of states, and only a router can have no model at all.
        router = not entries or any("status" in entry for entry in entries)
        self._is_router(router)
        if not router:
            return tuple([await self._own(entry) for entry in entries[:1]])
        known = [(entry, _args(entry)) for entry in entries]
        self._naps = {_id(e): nap for e, args in known if (nap := _nap(args)) is not None}
        self._sleepers = frozenset(self._naps)
        idle = [path for e, args in known if _state(e) is None and (path := _weights(args))]
        sizes = await self._file_sizes(idle)
        self._told = self._retold(known)
        return tuple(_model(entry, args, sizes, self._told) for entry, args in known)

    def _retold(self, known: Iterable[tuple[Json, tuple[str, ...]]]) -> dict[_Key, Bytes]:
        """What a router says of a model while that runs is true of it afterwards, too: its file
        may be on another machine, or in a container."""
        told = ((_key(entry, args), _tensors(entry)) for entry, args in known)
        sizes = ((key, self._told.get(key) if now is None else now) for key, now in told)
        return {key: size for key, size in sizes if size is not None}

    async def activity(self, model: EngineModel) -> Activity:
        if model.state is State.SLEEPING:
            return Activity(in_flight=0)
        awake = model.state is State.LOADED and model.id not in self._sleepers
        if not awake or Ability.IN_FLIGHT not in self.abilities:
            return Activity(in_flight=None)
        query = urlencode({"model": model.id, "autoload": "false"})
        try:
            answer = await self._wire.get(f"/slots?{query}")
        except EngineRefused as no:
            if no.status == 501:  # started with --no-slots
                return Activity(in_flight=None)
            raise
        return slots.activity(answer)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        # A full router first ends another model's child, and answers after that.
        await self._tell("/models/load", model, "already running", LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        await self._tell("/models/unload", model, "not running", CONTROL_TIMEOUT)

    async def wake(self, model: ModelId) -> None:
        """Any task wakes it, and so does the question for its slots; it is answered once awake."""
        query = urlencode({"model": model, "autoload": "false"})
        await self._wire.call("GET", f"/slots?{query}", None, LOAD_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        """What the router does by itself, as it says; `list` has seen the children's arguments."""
        found = [
            Habit(
                f"falls asleep by itself after {nap} s without work",
                "start it without --sleep-idle-seconds, and give Ullage an idle watchdog instead",
                model,
            )
            for model, nap in self._naps.items()
        ]
        props = await self._wire.get("/props")
        autoload, most = props.get("models_autoload"), props.get("max_instances")
        if autoload is not None and autoload.flag():
            what = "loads any model that a client names, without asking whether there is room"
            found.append(Habit(what, "start it with --no-models-autoload, and load with Ullage"))
        if most is not None and most.count() > 0:
            what = f"unloads the least recently used model for a new one once {most.count()} are up"
            found.append(Habit(what, "start it with --models-max 0: Ullage counts bytes instead"))
        return tuple(found)

    async def _tell(self, path: str, model: ModelId, done: str, within: Seconds) -> None:
        try:
            await self._wire.post(path, {"model": model}, within)
        except EngineRefused as no:
            if no.status != 400 or done not in no.message:
                raise

    async def _own(self, entry: Json) -> EngineModel:
        props = await self._wire.get("/props")
        asleep = (flag := props.get("is_sleeping")) is not None and flag.flag()
        path = None if (found := props.get("model_path")) is None else found.text()
        return EngineModel(
            id=_id(entry),
            state=State.SLEEPING if asleep else State.LOADED,
            file_size=_tensors(entry),
            weights=path,
            # It may have been given as -m or as --model, and need not have been: of -hf, and of
            # what the environment says, no command line has the path.
            process=Process(argv=((path,),) if path else (), whole=True),
            setup=Setup(path, *_served(props)),
        )

    async def _file_sizes(self, paths: Sequence[str]) -> Mapping[str, Bytes | None]:
        """Each file is asked for once, aside: a network mount that is gone never answers."""
        self._sizes = sizes = {p: self._sizes[p] for p in paths if p in self._sizes}
        new = [path for path in paths if path not in sizes]

        def measure() -> None:
            for path in new:  # one by one: what is known so far stays known
                sizes[path] = _file_size(path)

        if new:
            with suppress(TimeoutError):  # the models are there, whatever their files say
                await self._aside.call(measure, STAT_TIMEOUT)
        return self._sizes

    def _is_router(self, router: bool) -> None:
        self.abilities = ROUTER if router else self._single


def _still_loading(no: EngineRefused) -> bool:
    """Until its one model is loaded, a server answers every path like this."""
    return no.status == 503 and "Loading model" in no.message


def _key(entry: Json, args: tuple[str, ...]) -> _Key:
    return _id(entry), _weights(args)


def _model(
    entry: Json,
    args: tuple[str, ...],
    sizes: Mapping[str, Bytes | None],
    told: Mapping[_Key, Bytes],
) -> EngineModel:
    state = _state(entry)
    path = _weights(args)
    size = _tensors(entry)
    if size is None and path is not None:
        size = sizes.get(path)
    if size is None:
        size = told.get(_key(entry, args))
    return EngineModel(
        id=_id(entry),
        state=state,
        file_size=size,
        weights=path,
        # An unloaded model keeps the arguments, and the port, of its last child.
        process=None if state is None else _process(args),
        setup=commands.llamacpp(args),
    )


def _served(props: Json) -> tuple[int | None, int | None]:
    """Tokens that one slot of a server with one model has, and how many slots there are."""
    each, slots = props["default_generation_settings"].get("n_ctx"), props.get("total_slots")
    return (
        None if each is None else each.count() or None,
        None if slots is None else slots.count() or None,
    )


def _id(entry: Json) -> ModelId:
    return ModelId(entry["id"].name())


def _state(entry: Json) -> State | None:
    return STATES.get(entry["status"]["value"].text(), State.UNKNOWN)


def _args(entry: Json) -> tuple[str, ...]:
    args = entry["status"].get("args")
    return () if args is None else args.texts()


def _tensors(entry: Json) -> Bytes | None:
    """Bytes of all tensors, which is the file's size but for its header; while running only."""
    meta = entry.get("meta")
    size = None if meta is None else meta.get("size")
    return None if size is None else size.size()


def _process(args: tuple[str, ...]) -> Process | None:
    runs = ((name, _option(args, name)) for name in ("--alias", "--port"))
    argv = tuple((name, word) for name, word in runs if word not in (None, "0"))
    return Process(argv=argv) if argv else None


def _weights(args: tuple[str, ...]) -> str | None:
    return _option(args, "--model", "-m")


def _nap(args: tuple[str, ...]) -> str | None:
    """After how many seconds without work it falls asleep by itself."""
    seconds = _option(args, "--sleep-idle-seconds")
    return None if seconds is None or seconds.startswith("-") else seconds


def _option(args: tuple[str, ...], *names: str) -> str | None:
    pairs = pairwise(args)
    return next((value for name, value in pairs if name in names), None)


def _file_size(path: str) -> Bytes | None:
    """None where the file is not on this machine, as with an engine in a container."""
    if not os.path.isabs(path):  # relative to the engine's own folder
        return None
    try:
        return Bytes(sum(os.stat(piece).st_size for piece in _pieces(path)))
    except (OSError, ValueError):
        return None


def _pieces(path: str) -> Iterable[str]:
    if (found := PIECE.fullmatch(path)) is None:
        return (path,)
    start, count, end = found.groups()
    return (f"{start}{i:05}-of-{count}{end}" for i in range(1, int(count) + 1))
