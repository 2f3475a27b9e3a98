"""Where clients' requests for a launched model go: to the server inside, in its own words."""

import pytest

from supervisor.core.snapshot import EngineId, ModelId
from supervisor.engines import ENGINES
from supervisor.engines.base import EngineDown, EngineModel, State
from supervisor.engines.serves import ANYTHING
from tests.engines.scripted import A, tell

B = ModelId("beta")


def test_a_model_is_served_as_by_the_kind_inside_whether_it_runs_or_not():
    async def story(here):
        here.engine.told = here.engine.told.__class__(
            here.engine.told.table,
            lambda kind, id, url: ENGINES[kind](EngineId(id), url, None, None),
            here.engine.told.folder,
        )
        assert here.engine.serves(A) == ENGINES["sglang"].paths
        assert here.engine.serves(ModelId("never heard of")) == ANYTHING

    tell(story, serves="sglang")


def test_one_of_which_nobody_said_what_it_is_may_serve_anything():
    async def story(here):
        assert here.engine.serves(A) == ANYTHING

    tell(story)


def test_a_request_goes_to_where_the_run_of_today_answers_and_nowhere_while_none_does():
    async def story(here):
        with pytest.raises(EngineDown):
            here.engine.address(A)
        here.runs(url="http://127.0.0.1:41001")
        await here.model()
        assert here.engine.address(A) == "http://127.0.0.1:41001"
        here.runs(run="2", url="http://127.0.0.1:41002")
        await here.model()
        assert here.engine.address(A) == "http://127.0.0.1:41002"
        with pytest.raises(EngineDown):
            here.engine.address(B)
        here.runner.says.clear()
        await here.model()
        with pytest.raises(EngineDown):
            here.engine.address(A)

    tell(story)


def test_the_server_inside_is_asked_for_the_model_by_the_name_that_it_has_for_it():
    async def story(here):
        assert here.engine.called(A) == A
        here.runs(url="http://127.0.0.1:41001")
        await here.model()
        inside = here.insides[-1]
        inside.address, inside.called = lambda model: inside.url, lambda model: model
        inside.lists = (EngineModel(ModelId("inner"), State.LOADED),)
        await here.model()
        assert here.engine.called(A) == "inner"
        assert here.engine.address(A) == "http://127.0.0.1:41001"

    tell(story, serves="vllm")
