"""Eight GPUs in the stand-in driver, and twenty engines with ten models each, which answer at the
pace of real ones. All of them in the process that drives the load."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from collectors.reading import Bytes, PoolId
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share, Source
from supervisor.journal.journal import Journal
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.faults import engines as bench
from tests.nvml.fake_nvml import GIB, State
from tests.readers import standing_for

GPUS, TOTAL, USED = 8, 24 * GIB, GIB // 2
RESERVE = 3 * TOTAL // 100 // 2**20 * 2**20  # bytes, of each GPU
LOAD_TIME, FREES = 0.6, 0.3  # seconds; until an unloaded model's memory is back
LOST = 15  # the driver's word for a GPU that has fallen off the bus
NEW = 3.0  # seconds in which the daemon has seen what a model takes that came for the first time
SIZES = (3, 4, 5, 6, 7)  # GiB
TAIL = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Cards:
    """What the driver says. `over` are the moments at which a model came, of a size that can be
    known, for which the card had not enough left. `held` is called when a card's memory has
    changed, `meddled` when somebody begins or ends to take what no daemon can know of."""

    def __init__(self, folder: Path) -> None:
        self.driver = State(folder / "nvml.txt")
        self.used = [USED] * GPUS
        # There now: strangers, who take what was promised to others, and models of a size that
        # nobody could know.
        self.strange = [0] * GPUS
        self.lost: set[int] = set()
        self.over: list[str] = []
        self.held: Callable[[int, str], object] = lambda gpu, why: None
        self.meddled: Callable[[int, bool], object] = lambda gpu, begins: None
        for i in range(GPUS):
            self.driver.gpus[i] = {
                "name": "NVIDIA_RTX_4090",
                "uuid": f"GPU-{i:04d}",
                "total": TOTAL,
                "used": USED,
            }
        self.driver.write()

    def unknown(self, gpu: int) -> None:
        """Somebody strange is there."""
        self.strange[gpu] += 1
        if self.strange[gpu] == 1:
            self.meddled(gpu, True)

    def known(self, gpu: int) -> None:
        """Who was strange there is so no longer."""
        self.strange[gpu] -= 1
        if not self.strange[gpu]:
            self.meddled(gpu, False)

    def lose(self, gpu: int) -> None:
        """Nobody can read it; who works on it goes on."""
        self.lost.add(gpu)
        self.driver.fault(LOST, index=gpu)

    def find(self, gpu: int) -> None:
        self.lost.discard(gpu)
        self.driver.drop(f"fault * {gpu} ")

    def add(self, gpu: int, size: int, pid: int | None, why: str) -> None:
        self.used[gpu] += size
        is_ours = pid is not None and size > 0  # who leaves has not been let in, nor a stranger
        if is_ours and self.used[gpu] > TOTAL and not self.strange[gpu]:
            held = f"{self.used[gpu] / GIB:.1f} GiB"
            self.over.append(f"{time.strftime('%T')} GPU {gpu} holds {held} after {why}")
        self.driver.gpus[gpu]["used"] = self.used[gpu]
        if pid is not None:
            if size > 0:
                self.driver.lines.append(f"proc {gpu} C {pid} {size}")
            else:
                self.driver.lines.remove(f"proc {gpu} C {pid} {-size}")
        self.driver.write()
        self.held(gpu, why)


class Paced(bench.Told):
    """`served` counts each request by its number, which clients send as `user`; `serving` are those
    under way, by model. Of a stream, `max_tokens` words come, one each `gap` seconds."""

    gap = 1.0

    def __init__(self, number: int, models: list[str], cards: Cards) -> None:
        sizes = {m: SIZES[(number + i) % len(SIZES)] * GIB for i, m in enumerate(models)}
        super().__init__(  # type: ignore[call-arg]
            models, sizes=sizes, on_load=self._came, on_unload=self._left
        )
        self.requests: Any = _Nowhere()
        self.number, self.name, self.gpu, self.cards = (
            number,
            f"e{number:02d}",
            number % GPUS,
            cards,
        )
        self.slow_loads = True
        self.served: Counter[str] = Counter()
        self.serving: defaultdict[str, set[str]] = defaultdict(set)
        self.behind_us: list[float] = []  # moments at which a request found no model
        self.away = False
        self.untold: set[str] = set()  # models of which nobody knows what they will take, or where

    def ordered(self: Any, kind: str, model: str) -> None:
        if model not in self.loading:
            self.done("load", model)
        if kind == "unload":
            self.done(kind, model)

    def _came(self: Any, model: str) -> None:
        self.cards.add(self.gpu, self.sizes[model], self.pids[model], f"+{model}")

    def _left(self: Any, model: str) -> None:
        """Its memory comes back a moment later, as that of a process does."""
        given = self.gpu, -self.sizes[model], self.pids[model], f"-{model}"
        asyncio.get_running_loop().call_later(FREES, self.cards.add, *given)

    def _want(self: Any, model: str) -> None:
        begins = model not in self.loading
        super()._want(model)  # type: ignore[misc]
        if begins and model in self.loading:
            later = asyncio.get_running_loop().call_later
            later(LOAD_TIME, self._comes, model)
            if model in self.untold:
                self.cards.unknown(self.gpu)
                later(LOAD_TIME + NEW, self._seen, model)

    def _seen(self: Any, model: str) -> None:
        """It was there long enough to be measured, unless its GPU could not be read."""
        self.cards.known(self.gpu)
        if model in self.loaded and self.gpu not in self.cards.lost:
            self.untold.discard(model)

    def _comes(self: Any, model: str) -> None:
        if model in self.loading and not self.away:
            if self.lacks(model):  # its child dies
                self.loading.pop(model).set()
            else:
                self.finish(model)
            self.done("load", model)

    def lacks(self: Any, model: str) -> bool:
        """Is there too little memory for one of which nobody could know? A card holds no more than
        it has. One of known size is let in, and told of."""
        return model in self.untold and self.cards.used[self.gpu] + self.sizes[model] > TOTAL

    def rename(self: Any, old: str, new: str) -> None:
        """A model that is not loaded has another name from now on, and the old one never again."""
        at = self.models.index(old)
        self.models[at] = new
        self.untold.discard(old)
        self.untold.add(new)
        self.sizes[new] = self.sizes.pop(old)
        self.pids.pop(old)
        for counted in (self.busy, self.worked):
            counted.pop(old, None)

    async def goes_away(self: Any) -> None:
        """Its process ends with all that it holds."""
        self.away = True
        self._server.close()
        for model in list(self.loading):
            self.loading.pop(model).set()
            self.done("load", model)
        for model in list(self.loaded):
            self.drop(model)
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self.busy.clear()

    async def comes_back(self: Any) -> None:
        self.away = False
        await self.start()

    async def _work(self: Any, writer: Any, model: str, body: Any) -> None:
        if model not in self.loaded:
            self.behind_us.append(time.monotonic())
            self._send(writer, 404, json.dumps({"error": f"{model} is not loaded"}).encode())
            return
        number, words = body["user"], body["max_tokens"]
        self.served[number] += 1
        self.busy[model] += 1
        self.serving[model].add(number)
        try:
            if not body.get("stream"):
                try:
                    await asyncio.sleep(self.gap)
                except asyncio.CancelledError:  # its end came before a byte: it is asked again
                    self.served[number] -= 1
                    raise
                message = {"role": "assistant", "content": f"{number} " * words}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self._send(writer, 200, json.dumps({"choices": [choice]}).encode())
                return
            event = b'data: {"choices":[{"index":0,"delta":{"content":"%s "}}]}\n\n' % (
                number.encode()
            )
            chunk = b"%x\r\n%s\r\n" % (len(event), event)
            writer.write(HEAD)
            for _ in range(words):
                if writer.transport.is_closing():
                    raise ConnectionResetError
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(self.gap)
            writer.write(TAIL)
        finally:
            self.serving[model].discard(number)
            if model in self.busy:
                self.busy[model] -= 1
            self.worked[model] = (self.worked[model] + 1) % 60  # minutes, to an Ollama


class _Nowhere(list[Any]):
    """Of hours of requests nobody keeps a list."""

    def append(self, _: Any) -> None:
        pass


class Router(Paced, FakeLlamaRouter):
    kind = "llamacpp"
    order = bench.Router.order


class Shop(Paced, FakeOllama):
    kind = "ollama"
    order = bench.Shop.order

    def _generate(self: Any, model: str, keep_alive: Any) -> Any:
        if keep_alive != 0 and self.lacks(model):
            return 500, {"error": "llama runner process has terminated: out of memory"}
        return super()._generate(model, keep_alive)  # type: ignore[misc]


Engine = Any


class Machine:
    """`async with` starts its engines, and the processes that stand for their models."""

    def __init__(self, folder: Path, engines: int = 20, models: int = 10) -> None:
        self.cards = Cards(folder)
        self.engines: list[Engine] = [
            (Shop if i % 3 == 2 else Router)(
                i, [f"m{i:02d}-{j}" for j in range(models)], self.cards
            )
            for i in range(engines)
        ]
        self._processes: dict[str, ExitStack] = {}  # by the model's name

    async def __aenter__(self) -> Machine:
        for engine in self.engines:
            await engine.start()
            for model in engine.models:
                self._stand(engine, model)
        return self

    def _stand(self, engine: Engine, model: str) -> None:
        stack = self._processes[model] = ExitStack()
        engine.pids.update(stack.enter_context(standing_for(engine, model)))

    def rename(self, engine: Engine, old: str, new: str) -> None:
        """It is another one from now on, and loaded by another command."""
        engine.rename(old, new)
        self._processes.pop(old).close()
        self._stand(engine, new)

    async def __aexit__(self, *_: object) -> None:
        for stack in self._processes.values():
            stack.close()
        for engine in self.engines:
            if not engine.away:
                await engine.stop()

    def refs(self) -> list[str]:
        return [f"{e.name}/{m}" for e in self.engines for m in e.models]

    def by_ref(self, ref: str) -> tuple[Engine, str]:
        engine, model = ref.split("/", 1)
        return self.engines[int(engine[1:])], model

    def learned(self, file: Path) -> None:
        """What each model takes, as a daemon before ours has seen it."""
        journal = Journal(file)
        journal.open()
        for engine in self.engines:
            for model in engine.models:
                pool = PoolId(f"GPU-{engine.gpu:04d}")
                share = Share(pool, Bytes(engine.sizes[model]), Source.LEARNED)
                journal.remember(ModelRef(EngineId(engine.name), ModelId(model)), (share,))
        journal.close(10.0)

    def config(self, gateway: str = "") -> str:
        """`gateway`: more lines of its table."""
        parts = [
            "detect = false",
            'lru_eviction_retry_interval = "500ms"',
            "[pools.ram]\nreserve = 0",
            '[gateway]\nmax_wait = "60s"\ndrain_after = "20s"\nmax_held = 512\n' + gateway,
            '[alerts.actions.make-room]\naction = "evict"\nmatch = { alertname = "Full-*" }',
            'below = "100%"\nfree = "60%"',
        ]
        parts += [f'[pools."GPU-{i:04d}"]\nreserve = {RESERVE}' for i in range(GPUS)]
        for e in self.engines:
            tied = f'pools = ["GPU-{e.gpu:04d}"]'
            parts.append(f'[engines.{e.name}]\nkind = "{e.kind}"\nurl = "{e.url}"\n{tied}')
        return "\n".join(parts) + "\n"
