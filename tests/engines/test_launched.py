"""What all engines share that are ours to start: what answers inside, what failed, what is late."""

import asyncio
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import launched as module
from supervisor.engines.adapter import Adapter
from supervisor.engines.base import Activity, EngineDown, EngineModel, EngineRefused, Identity
from supervisor.engines.launched import Launched, Phase, Status, Told
from supervisor.served import Launching

A, B = ModelId("alpha"), ModelId("beta")


class Runner:
    """Says what it was told to say, and writes down what it was asked for."""

    def __init__(self):
        self.says = {}
        self.asked = []
        self.refuses = None

    async def version(self):
        return "1"

    async def status(self):
        return self.says

    async def start(self, model, devices):
        self.asked.append(("start", model, tuple(devices)))
        if self.refuses:
            raise EngineRefused("own", f"start {model}", self.refuses)

    async def stop(self, model):
        self.asked.append(("stop", model))
        self.says[model] = Status(Phase.STOPPED)

    async def logs(self, model, lines):
        return ("its last line",)

    async def close(self):
        self.asked.append(("close",))


class Inside(Adapter):
    """What answers at a model's URL."""

    kind, title = "inside", "inside"
    abilities = frozenset({Ability.LIST, Ability.IN_FLIGHT, Ability.SLEEP, Ability.LOAD})

    def __init__(self, id, url):
        self.id, self.url = id, url
        self.lists = (EngineModel(ModelId("inner"), State.LOADED, reported=7, file_size=5),)
        self.known = Identity("9")
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.slept = []

    async def identify(self):
        await self.hangs.wait()
        return self.known

    async def list(self):
        await self.hangs.wait()
        if isinstance(self.lists, Exception):
            raise self.lists
        return self.lists

    async def activity(self, model):
        assert model.id == "inner"
        return Activity(3, "mark")

    async def sleep(self, model, *, deep=False):
        self.slept.append((model, deep))


class Kind(Launched):
    kind, title = "kind", "a kind"


class House:
    def __init__(self, client, **table):
        self.now = 1000.0
        self.insides = []
        served = {"alpha": {}, "beta": {}}
        told = Launching.model_validate({"served": served, **table})
        self.engine = Kind(EngineId("own"), "", client, None, Told(told, self.speak, Path("/x")))
        self.engine.runner = self.runner = Runner()
        self.engine.clock = lambda: self.now

    def speak(self, kind, id, url):
        self.insides.append(Inside(id, url))
        return self.insides[-1]

    def runs(self, run="1", url=None, phase=Phase.RUNNING, **more):
        self.runner.says[A] = Status(phase, run, url, **more)

    async def model(self, id=A):
        return next(m for m in await self.engine.list() if m.id == id)


def tell(story, answer=lambda request: httpx.Response(200), **table):
    async def told():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            here = House(client, **table)
            try:
                await asyncio.wait_for(story(here), 30)
            finally:
                await here.engine.close()

    asyncio.run(told())


URL = "http://127.0.0.1:1"
INSIDE = {"serves": "inside"}


# -- what answers inside


def test_a_phase_alone_tells_the_state_where_nobody_answers():
    async def story(here):
        for phase, state in (
            (Phase.STARTING, State.LOADING),
            (Phase.RUNNING, State.LOADED),
            (Phase.STOPPING, State.LEAVING),
            (Phase.STOPPED, None),
        ):
            here.runs(phase=phase, pid=17)
            model = await here.model()
            assert model.state is state
            assert (model.process is None) == (state is None)
            assert model.process is None or model.process.pid == 17

    tell(story)


def test_the_engine_inside_says_what_its_model_does_under_our_name():
    async def story(here):
        here.runs(url=URL, pid=17)
        model = await here.model()
        assert (model.id, model.state, model.reported) == (A, State.LOADED, 7)
        assert model.process.pid == 17
        assert model.file_size == 5
        assert here.insides[0].url == URL
        assert here.engine.abilities == Launched.abilities | {Ability.IN_FLIGHT, Ability.SLEEP}
        assert await here.engine.activity(model) == Activity(3, "mark")
        await here.engine.sleep(A, deep=True)
        assert here.insides[0].slept == [("inner", True)]

    tell(story, **INSIDE)


def test_what_was_declared_goes_before_what_a_file_says():
    async def story(here):
        assert (await here.model()).file_size == 2**30
        here.runs(url=URL)
        assert (await here.model()).file_size == 2**30

    tell(story, **INSIDE, served={"alpha": {"size": "1GiB"}})


@pytest.mark.parametrize(
    "lists",
    [
        EngineDown("own", "GET /", "Connection refused"),
        (EngineModel(ModelId("inner"), State.LOADING),),
    ],
)
def test_it_is_loading_until_the_engine_inside_says_otherwise(lists):
    async def story(here):
        here.runs(url=URL)
        await here.model()
        here.insides[0].lists, there = lists, here.insides[0].lists
        here.runs(run="2", url=URL)
        real = here.speak

        def speak(*words):
            found = real(*words)
            found.lists = lists
            return found

        object.__setattr__(here.engine.told, "speak", speak)
        assert (await here.model()).state is State.LOADING
        here.insides[-1].lists = there
        assert (await here.model()).state is State.LOADED

    tell(story, **INSIDE)


def test_a_stranger_at_its_address_is_not_taken_for_it():
    async def story(here):
        real = here.speak

        def speak(*words):
            found = real(*words)
            found.known = None
            return found

        object.__setattr__(here.engine.told, "speak", speak)
        here.runs(url=URL)
        assert (await here.model()).state is State.LOADING

    tell(story, **INSIDE)


def test_one_that_served_and_is_silent_is_still_there():
    async def story(here):
        here.runs(url=URL)
        await here.model()
        here.insides[0].lists = EngineDown("own", "GET /", "no answer")
        model = await here.model()
        assert (model.state, model.reported) == (State.LOADED, 7)

    tell(story, **INSIDE)


def test_one_that_hangs_makes_nobody_late_twice(monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.05)

    async def story(here):
        here.runs(url=URL)
        here.runner.says[B] = Status(Phase.RUNNING, "1", URL)
        await here.engine.list()
        here.insides[0].hangs.clear()
        loop = asyncio.get_running_loop()
        for within in (10.0, 0.04):  # the second time it is not waited for at all
            before = loop.time()
            states = [m.state for m in await here.engine.list()]
            assert states == [State.LOADED, State.LOADED]
            assert loop.time() - before < within
        here.insides[0].hangs.set()
        here.insides[0].lists = (EngineModel(ModelId("inner"), State.SLEEPING),)
        while (await here.model()).state is not State.SLEEPING:
            await asyncio.sleep(0)

    tell(story, **INSIDE)


def test_a_bug_of_ours_is_not_kept_silent():
    async def story(here):
        here.runs(url=URL)
        await here.model()
        here.insides[0].lists = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await here.model()

    tell(story, **INSIDE)


def test_another_run_is_asked_anew():
    async def story(here):
        here.runs(url=URL)
        await here.model()
        here.runs(run="2", url="http://127.0.0.1:2")
        await here.model()
        assert [i.url for i in here.insides] == [URL, "http://127.0.0.1:2"]

    tell(story, **INSIDE)


def test_it_is_ready_when_its_path_says_so_and_stays_so():
    answers = [503, 404, 200]
    asked = []

    def answer(request):
        asked.append(request.url.path)
        return httpx.Response(answers[len(asked) - 1])

    async def story(here):
        here.runs(url=URL)
        states = [(await here.model()).state for _ in range(4)]
        assert states == [State.LOADING, State.LOADING, State.LOADED, State.LOADED]
        assert asked == ["/health"] * 3

    tell(story, answer, ready="/health")


def test_without_a_path_or_an_engine_whoever_accepts_connections_is_ready():
    async def story(here):
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            here.runs(url=f"http://127.0.0.1:{port}")
            assert (await here.model()).state is State.LOADED
        here.runs(run="2", url=f"http://127.0.0.1:{port}")
        assert (await here.model()).state is State.LOADING

    tell(story)


# -- what failed


def failed(run="1", text="ended with exit code 1"):
    return Status(Phase.STOPPED, run, trouble=text, failed=True)


def test_what_failed_is_due_after_its_pause_and_not_when_somebody_starts_it():
    async def story(here):
        here.runner.says[A] = failed()
        for _ in range(3):
            model = await here.model()
        assert model.trouble == "ended with exit code 1; started again in 10s"
        assert not model.due
        here.now += 10
        assert (await here.model()).due
        await here.engine.load(A, ["GPU-1"])
        assert here.runner.asked == [("start", A, ("GPU-1",))]
        here.runs(run="2", phase=Phase.STARTING)
        model = await here.model()
        assert (model.due, model.trouble) == (False, None)

    tell(story)


def test_a_load_that_is_asked_for_does_not_wait_for_the_pause():
    async def story(here):
        here.runner.says[A] = failed()
        await here.model()
        await here.engine.load(A)
        assert here.runner.asked == [("start", A, ())]
        here.runner.says[A] = failed("2")
        assert "in 20s" in (await here.model()).trouble

    tell(story)


def test_a_crash_loop_is_tried_every_five_minutes_and_no_more():
    async def story(here):
        starts, run = [], 0
        while here.now < 1000 + 3600:
            here.runner.says[A] = failed(str(run))
            if (await here.model()).due:
                starts.append(here.now)
                await here.engine.load(A)
                run += 1
            here.now += 1
        assert len(starts) == 5 + (3600 - 310) // 300
        assert min(b - a for a, b in pairwise(starts[5:])) >= 300

    tell(story)


def test_who_has_served_for_a_while_has_not_failed_in_a_row():
    async def story(here):
        for run in ("1", "2", "3"):
            here.runner.says[A] = failed(run)
            await here.model()
        assert "in 40s" in (await here.model()).trouble
        here.runs(run="4")
        await here.model()
        here.now += 60
        here.runner.says[A] = failed("4")
        assert "in 10s" in (await here.model()).trouble

    tell(story)


def test_who_was_told_to_end_is_not_due():
    async def story(here):
        here.runner.says[A] = failed()
        await here.model()
        await here.engine.unload(A)
        here.now += 1000
        model = await here.model()
        assert (model.due, model.trouble) == (False, None)

    tell(story)


def test_a_start_that_is_refused_is_trouble_and_not_due():
    async def story(here):
        here.runner.refuses = "llama-server is not on the PATH"
        with pytest.raises(EngineRefused):
            await here.engine.load(A)
        here.now += 1000
        model = await here.model()
        assert (model.trouble, model.due) == ("llama-server is not on the PATH", False)

    tell(story)


def test_what_is_wrong_with_one_that_runs_is_told_too():
    async def story(here):
        here.runs(trouble="it has no limit")
        assert (await here.model()).trouble == "it has no limit"

    tell(story)


# -- what is late


def test_one_that_is_not_ready_in_time_is_ended_once_and_tried_again():
    async def story(here):
        here.runs(phase=Phase.STARTING)
        assert (await here.model()).state is State.LOADING
        here.now += 29
        await here.model()
        assert here.runner.asked == []
        here.now += 1
        await here.model()
        await here.model()
        while here.engine._late:
            await asyncio.sleep(0)
        assert here.runner.asked == [("stop", A)]
        model = await here.model()
        assert model.trouble == "was not ready within 30s (its last line); started again in 10s"
        here.now += 10
        assert (await here.model()).due

    tell(story, ready_timeout="30s")


def test_one_that_was_ready_may_be_silent_for_as_long_as_it_likes():
    async def story(here):
        here.runs(url=URL)
        await here.model()
        here.insides[0].lists = EngineDown("own", "GET /", "no answer")
        here.now += 10_000
        assert (await here.model()).state is State.LOADED
        assert here.runner.asked == []

    tell(story, **INSIDE, ready_timeout="30s")


def test_closing_ends_the_questions_under_way(monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.0)

    async def story(here):
        here.runs(url=URL)
        await here.model()
        here.insides[0].hangs.clear()
        await here.model()
        look = here.engine._runs[A].look
        await here.engine.close()
        assert look.cancelled()
        assert here.runner.asked == [("close",)]

    tell(story, **INSIDE)
