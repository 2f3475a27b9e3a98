"""What an engine is to us: one adapter, a few calls, errors that say whose fault it is.

EngineError
  EngineDown       nobody answers, or not in time
  EngineRefused    it understood and said no: do not retry, tell whoever asked
  EngineConfused   it answered something that cannot be read: our bug, or a new version

An adapter parses at the door: no JSON, no vendor unit goes further in. It never decides,
never asks again for what was answered, never hides a refusal, and never reads anything that
could make the engine load or wake a model.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol

import httpx

from collectors.reading import Bytes, Seconds
from supervisor.core.header import UNTOLD, Header, Setup
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.core.types import ModelType

from .serves import Serves


class EngineError(Exception):
    """`engine` names it, `call` is the request, as "GET /models"."""

    def __init__(self, engine: str, call: str, message: str) -> None:
        super().__init__(f"{engine}: {call}: {message}")
        self.engine, self.call, self.message = engine, call, message


class EngineDown(EngineError):
    """Nobody answers, or not in time. `number` is the system's own for why, as errno has it;
    None: it is not the system that says so."""

    def __init__(self, engine: str, call: str, message: str, *, number: int | None = None) -> None:
        super().__init__(engine, call, message)
        self.number = number

    @property
    def refused(self) -> bool:
        """Nobody listens at its address."""
        return self.number == errno.ECONNREFUSED


class EngineRefused(EngineError):
    """It understood and said no. `status` is the HTTP status."""

    def __init__(self, engine: str, call: str, message: str, status: int = 0) -> None:
        super().__init__(engine, call, message)
        self.status = status


class EngineConfused(EngineError):
    """It answered something that cannot be read."""


@dataclass(frozen=True, slots=True)
class Process:
    """How to find the process that holds a model's memory, among the machine's processes.

    Either there is a `pid`, or `argv` describes it: a process matches when its command line
    contains every run of words in `argv`, as ("--alias", "qwen3"). `whole`: the process that
    answers for the engine and all its children hold this model, and no other; with `argv`, where
    that fits none.

    An engine in a container gives pids of its own world, which are somebody else's here. So a
    `pid` is believed if that process descends from the one that answers for the engine, or if
    it is known to be this machine's (`ours`). `more` are further processes of the same model.
    """

    pid: int | None = None
    argv: tuple[tuple[str, ...], ...] = ()
    whole: bool = False
    ours: bool = False
    more: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineModel:
    """One model as its engine lists it. `state` None: installed, holds no memory.

    `reported` and `reported_gpu` are the engine's own word for all its bytes and for the
    part of them on accelerators; None where it says nothing. `file_size` is the model
    file's. `weights` is the path of that file, where the engine tells. `mark` is as in
    Activity, where the list itself has something that moves with work. `setup` is how it was
    loaded, or would be; `header` what its file says, where the engine tells that itself. `type` is
    what it is for, and `npu` whether it runs on the NPU, by the engine's word. `anywhere`: it can
    be told which accelerators to load it on, and nobody else has said.
    """

    id: ModelId
    state: State | None = None
    reported: Bytes | None = None
    reported_gpu: Bytes | None = None
    file_size: Bytes | None = None
    weights: str | None = None
    process: Process | None = None
    mark: str | None = None
    context: int | None = None
    keep_alive: Seconds | None = None
    expires_at: float | None = None
    trouble: str | None = None
    due: bool = False
    setup: Setup = UNTOLD
    header: Header | None = None
    type: ModelType | None = None
    npu: bool = False
    anywhere: bool = False


@dataclass(frozen=True, slots=True)
class Activity:
    """`in_flight` requests now; None where the engine does not say.

    `mark` changes whenever the model has worked since the last look (a task number, a
    count of tokens, a keep-alive's expiry); None where there is nothing of the kind.
    `progress` changes as long as its work goes on (tokens, steps of a picture), and stands still
    when that does; None where the mark is all there is.
    """

    in_flight: int | None
    mark: str | None = None
    progress: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Habit:
    """Something that an engine does of its own accord and that works against us: `what` it does,
    and the `remedy`, as "start it with OLLAMA_KEEP_ALIVE=-1". Of one `model`, or of all."""

    what: str
    remedy: str
    model: ModelId | None = None


class Proof(Enum):
    """Whose memory shows that an unload worked."""

    PROCESS = "the model's own process"
    ENGINE = "the engine's processes"
    POOL = "the pool's free bytes"


class WhenBusy(Enum):
    """What an unload does to requests that are being served."""

    WAITS = "waits for them"
    CUTS = "cuts them short"
    REFUSES = "is refused"
    UNKNOWN = "not known"


class Checked(Enum):
    """What an adapter has been tried on."""

    REAL = "a real server"
    SOURCE = "replies made after its source"
    DOCS = "replies made after its documentation"


class Notes(Protocol):
    """What adapters have to remember beyond the daemon's end, each by its server's URL."""

    def get(self, key: str) -> Mapping[str, Any] | None: ...

    def keep(self, key: str, body: dict[str, Any]) -> None: ...

    def drop(self, key: str) -> None: ...

    async def settled(self) -> None:
        """What was written is on disk; or that takes too long, or there is none."""


class Engine(Protocol):
    """One running engine. Every call raises EngineError and nothing else.

    `timeout` bounds each monitoring call, in seconds. `load` may take minutes.
    """

    kind: ClassVar[str]
    title: ClassVar[str]  # what people call it
    ports: ClassVar[tuple[int, ...]]  # where it usually listens on loopback
    proof: ClassVar[Proof]
    when_busy: ClassVar[WhenBusy]
    checked: ClassVar[Checked]
    described: ClassVar[bool]  # by the configuration: nobody can tell by asking
    lists_loads: ClassVar[bool]  # a load that it has answered is in its list from then on
    abilities: frozenset[Ability]  # of its kind, until `identify` finds out more
    sometimes: ClassVar[frozenset[Ability]]  # what some of its kind can do besides
    paths: ClassVar[Serves]  # where engines of its kind answer what clients ask
    # Method and path of each call that the configuration says changes it; ${MODEL} is a name.
    orders: tuple[tuple[str, str], ...]

    id: EngineId
    url: str

    def __init__(
        self,
        id: EngineId,
        url: str,
        client: httpx.AsyncClient,
        key: str | None,
        options: Any = None,
    ) -> None:
        """`client` is shared and has no base URL; `key` is a bearer token for the engine;
        `options` is what the configuration says about it, where its kind is `described`."""

    def started_with(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """We started it ourselves, like this."""

    def remembers(self, notes: Notes) -> None:
        """Called before anything is asked: here is what was written down, also by an earlier
        daemon."""

    async def identify(self) -> Identity | None:
        """Who answers at `url`? None: somebody, but not this kind of engine."""

    async def list(self) -> tuple[EngineModel, ...]:
        """Every model that the engine has, and those that hold memory with their state."""

    async def activity(self, model: EngineModel) -> Activity:
        """What a loaded model is doing. Never loads, never wakes. Only with IN_FLIGHT."""

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Ask for a load and return when it is under way or done (not necessarily done).

        `devices` are the UUIDs of the accelerators that it was planned for, where its engine can
        be told; empty: wherever the engine likes. With LOAD.
        """

    async def unload(self, model: ModelId) -> None:
        """Ask for an unload. Returning proves nothing: only the memory does. With UNLOAD."""

    def forget(self, model: ModelId) -> None:
        """One that is not there is not wanted back either, though it ended by itself."""

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        """Ask it to give its accelerator's memory back. With SLEEP, or DEEP_SLEEP if `deep`."""

    async def wake(self, model: ModelId) -> None:
        """Ask a sleeping model to be ready again. With SLEEP or DEEP_SLEEP."""

    async def restart(self) -> None:
        """Ask the engine to start itself anew. With RESTART."""

    async def cancel(self, model: ModelId) -> None:
        """Ask it to end the requests that it works on, and to stay loaded. With CANCEL."""

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        """The last lines that the model's process wrote, the oldest first. Of launched engines."""

    async def close(self) -> None:
        """The daemon ends."""

    async def habits(self) -> tuple[Habit, ...]:
        """What it does of its own accord that works against us. Asked rarely; never loads."""

    # What follows is what a client's request for a model needs, and asks nobody.

    def serves(self, model: ModelId) -> Serves:
        """Where what clients ask of `model` is answered."""

    def address(self, model: ModelId) -> str:
        """The URL of the server that answers for `model`. Raises EngineDown while none runs."""

    def called(self, model: ModelId) -> str:
        """What that server calls it: requests have to name it so."""


# Monitoring calls: an engine that takes longer is late, and a late source is blind.
CALL_TIMEOUT = Seconds(2.0)
LOAD_TIMEOUT = Seconds(600.0)
