"""What every engine keeps to that is ours to start, over a stand-in of whatever runs it."""

import asyncio
import inspect
import sys
import time
from contextlib import asynccontextmanager, suppress
from importlib import import_module

import pytest

from supervisor.config.served import LAUNCHED
from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import ENGINES, base, wire
from supervisor.engines.base import EngineDown, EngineError, EngineRefused
from tests.engines.contract import CONTROLS
from tests.engines.fakes import FAKES

KINDS = [kind for kind in ENGINES if kind in LAUNCHED]
STANDINS = {kind: import_module(f"tests.engines.standins.{kind}").standin for kind in KINDS}
PATIENCE = 20.0  # seconds; every wait is bounded
A, B = ModelId("alpha"), ModelId("beta")

kinds = pytest.mark.parametrize("kind", KINDS)


def that(*abilities):
    """The kinds whose back-end can fail in this way."""
    can = [k for k in KINDS if all(hasattr(STANDINS[k], name) for name in abilities)]
    return pytest.mark.parametrize("kind", can)


@asynccontextmanager
async def house(kind):
    async with STANDINS[kind]([A, B]) as s, wire.client() as client:
        made = ENGINES[kind](EngineId("own"), "", client, None, s.options)
        try:
            yield House(s, made)
        finally:
            await made.close()


class House:
    """A stand-in, and the engine that is made of it."""

    def __init__(self, s, made):
        self.s, self.engine = s, made

    async def model(self, id=A):
        return next(m for m in await self.engine.list() if m.id == id)

    async def until(self, true, id=A):
        """The model, as soon as `true` of it; whoever has to do something for it does."""
        deadline = time.monotonic() + PATIENCE
        while not true(model := await self.model(id)):
            assert time.monotonic() < deadline, model
            if model.state is State.LOADING and hasattr(self.s, "finish"):
                with suppress(KeyError):
                    self.s.finish(id)
            await asyncio.sleep(0)
        return model

    async def load(self, id=A):
        await self.engine.load(id)
        return await self.until(lambda m: m.state is State.LOADED, id)

    async def unload(self, id=A):
        """Has it ended when this returns? Whoever has to do something for it does."""
        asked = asyncio.create_task(self.engine.unload(id))
        deadline = time.monotonic() + PATIENCE
        while not asked.done() and time.monotonic() < deadline:
            await asyncio.sleep(0)
            if not asked.done() and hasattr(self.s, "finish"):
                with suppress(KeyError):
                    self.s.finish(id)
        await asked


def tell(kind, story):
    async def told():
        async with house(kind) as here:
            await asyncio.wait_for(story(here), 3 * PATIENCE)

    asyncio.run(told())


def test_every_kind_of_the_configuration_is_an_engine_without_a_fake():
    assert set(KINDS) == set(LAUNCHED)
    for kind in KINDS:
        assert FAKES[kind] is None
        assert ENGINES[kind].described
        assert ENGINES[kind].kind == kind
        assert ENGINES[kind].ports == ()


@kinds
def test_every_call_of_the_protocol_is_there(kind):
    for name in ("identify", "list", "activity", "habits", "logs", "close", *CONTROLS):
        own, agreed = getattr(ENGINES[kind], name), getattr(base.Engine, name)
        assert list(inspect.signature(own).parameters) == list(inspect.signature(agreed).parameters)


@kinds
def test_it_is_known_by_what_runs_it(kind):
    async def story(here):
        identity = await here.engine.identify()
        assert identity.version

    tell(kind, story)


@kinds
def test_every_model_is_listed_and_none_of_them_runs(kind):
    async def story(here):
        models = await here.engine.list()
        assert [m.id for m in models] == [A, B]
        for model in models:
            assert (model.state, model.process) == (None, None)
            assert (model.trouble, model.due) == (None, False)

    tell(kind, story)


@kinds
def test_to_load_is_to_start_and_to_unload_is_to_end(kind):
    async def story(here):
        await here.load(A)
        assert here.s.running(A)
        assert not here.s.running(B)
        await here.engine.load(A)  # it runs
        await here.load(B)
        await here.unload(A)
        assert not here.s.running(A)
        assert here.s.running(B)
        after = await here.model(A)
        assert (after.state, after.trouble, after.due) == (None, None, False)
        await here.engine.unload(A)  # it has ended
        assert (await here.model(B)).state is State.LOADED
        await here.load(A)
        assert here.s.running(A)

    tell(kind, story)


@kinds
def test_looking_starts_nobody_and_ends_nobody(kind):
    async def story(here):
        await here.load(A)
        for _ in range(3):
            await here.engine.identify()
            for model in await here.engine.list():
                await here.engine.activity(model)
            await here.engine.habits()
        assert (here.s.running(A), here.s.running(B)) == (True, False)

    tell(kind, story)


@kinds
def test_an_unknown_model_is_refused_by_name(kind):
    async def story(here):
        for call in (
            here.engine.load,
            here.engine.unload,
            here.engine.sleep,
            here.engine.wake,
            lambda m: here.engine.logs(m, 5),
        ):
            with pytest.raises(EngineRefused, match="alpha, beta") as no:
                await call(ModelId("gamma"))
            assert no.value.status == 404

    tell(kind, story)


@kinds
def test_what_cannot_be_told_to_sleep_says_so(kind):
    async def story(here):
        for call in (here.engine.sleep, here.engine.wake, lambda m: here.engine.restart()):
            with pytest.raises(EngineRefused):
                await call(A)

    tell(kind, story)


@kinds
def test_one_that_ends_by_itself_is_trouble_and_due_if_nobody_else_starts_it_again(kind):
    async def story(here):
        now = 1000.0
        here.engine.clock = lambda: now
        await here.load(A)
        here.s.crash(A)
        model = await here.until(lambda m: m.trouble is not None)
        assert model.state is not State.LOADED
        if "started again in" not in model.trouble:  # that is for whatever runs it to say
            now += 1000
            assert not (await here.model()).due
            return
        assert model.state is None
        assert "started again in 10s" in model.trouble
        assert not model.due
        now += 10
        assert (await here.model()).due
        await here.load(A)  # somebody has it started
        model = await here.model()
        assert (model.trouble, model.due) == (None, False)
        here.s.crash(A)
        model = await here.until(lambda m: m.trouble is not None)
        assert "started again in 20s" in model.trouble

    tell(kind, story)


@pytest.mark.parametrize("ended", [True, False])
@kinds
def test_whoever_has_it_ended_need_not_fear_that_it_comes_back(kind, ended):
    """Also where it was not there just then."""

    async def story(here):
        now = 1000.0
        here.engine.clock = lambda: now
        await here.load(A)
        here.s.crash(A)
        await here.until(lambda m: m.trouble is not None)
        if ended:
            await here.unload(A)
        else:
            here.engine.forget(A)
            here.engine.forget(ModelId("nobody"))
        now += 1000
        model = await here.until(lambda m: m.state is None)
        assert not model.due

    tell(kind, story)


@kinds
def test_a_start_that_fails_is_told_and_the_next_one_may_work(kind):
    async def story(here):
        here.s.fail_next_start(A)
        try:
            await here.engine.load(A)
        except EngineError:
            assert (await here.model()).state is None
        else:
            model = await here.until(lambda m: m.trouble is not None)
            assert model.state is not State.LOADED
        with suppress(EngineError):
            await here.unload(A)
        await here.load(A)
        assert (await here.model()).trouble is None

    tell(kind, story)


@kinds
def test_one_that_is_not_ready_in_time_is_ended_and_has_failed(kind):
    async def story(here):
        now = 1000.0
        here.engine.clock = lambda: now
        here.engine._served = {
            m: s.model_copy(update={"ready": "/never", "url": "http://127.0.0.1:1"})
            for m, s in here.engine._served.items()
        }
        await here.engine.load(A)
        await here.until(lambda m: m.state is State.LOADING)
        now += 599
        assert (await here.model()).state is State.LOADING
        now += 1
        model = await here.until(lambda m: m.state is None)
        assert "was not ready within 10m" in model.trouble
        assert not here.s.running(A)
        now += 10
        assert (await here.model()).due

    tell(kind, story)


@that("stop")
def test_without_its_back_end_it_is_down(kind):
    async def story(here):
        await here.engine.list()
        await here.s.stop()
        calls = (here.engine.identify, here.engine.list, lambda: here.engine.load(A))
        for call in calls:
            with pytest.raises(EngineDown):
                await call()

    tell(kind, story)


@that("hang")
def test_a_back_end_that_never_answers_is_down(kind, monkeypatch):
    for module in (base, wire, *_modules(kind)):
        for name in ("CALL_TIMEOUT", "CONTROL_TIMEOUT"):
            monkeypatch.setattr(module, name, 0.05, raising=False)

    async def story(here):
        here.s.hang()
        for call in (here.engine.identify, here.engine.list):
            with pytest.raises(EngineDown):
                await call()

    tell(kind, story)


@kinds
def test_without_the_right_to_it_it_is_refused(kind):
    async def story(here):
        here.s.deny()
        with pytest.raises(EngineRefused) as no:
            await here.engine.load(A)
        assert no.value.message
        assert not here.s.running(A)

    tell(kind, story)


@kinds
def test_what_runs_on_is_never_called_ended(kind):
    """However the back-end lies: either it is gone, or somebody says that it is not."""

    async def story(here):
        here.s.lie(A)
        await here.load(A)
        with suppress(EngineError):
            await here.unload(A)
            assert not here.s.running(A), "unload says that it is gone"
        model = await here.model()
        assert model.state is not None or not here.s.running(A)

    tell(kind, story)


@kinds
def test_its_last_lines_are_told_the_oldest_first(kind):
    async def story(here):
        await here.load(A)
        here.s.write(A, "loading", "loaded", "serving")
        assert (await here.engine.logs(A, 2)) == ("loaded", "serving")
        assert (await here.engine.logs(A, 100))[-3:] == ("loading", "loaded", "serving")

    tell(kind, story)


def _modules(kind):
    """Those of an adapter: its own, and what it imports of its package."""
    own = sys.modules[ENGINES[kind].__module__]
    yield own
    for value in vars(own).values():
        module = getattr(value, "__module__", None)
        if isinstance(module, str) and module.startswith("supervisor.engines."):
            yield sys.modules[module]
