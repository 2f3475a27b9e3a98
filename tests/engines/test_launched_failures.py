"""What all engines share that are ours to start: what failed, what is late, when it is due."""

import asyncio
from itertools import pairwise

import pytest

from supervisor.core.snapshot import State
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.engines.launched import Phase, Status
from tests.engines.scripted import INSIDE, URL, A, tell


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
