"""What all engines share that are ours to start: what is asked of whoever answers inside."""

import asyncio

import httpx
import pytest

from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.engines import launched as module
from supervisor.engines.base import Activity, EngineDown, EngineModel
from supervisor.engines.launched import Launched, Phase, Status
from tests.engines.scripted import INSIDE, URL, A, B, tell


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


def test_a_page_is_an_answer_too():
    async def story(here):
        here.runs(url=URL)
        assert (await here.model()).state is State.LOADED

    tell(story, lambda _: httpx.Response(200, text="<!doctype html><p>Hello"), ready="/")


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
