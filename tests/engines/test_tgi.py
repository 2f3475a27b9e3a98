"""Text Generation Inference, by the shapes of its source."""

import asyncio

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.base import Activity, EngineModel, Process
from supervisor.engines.tgi import Tgi
from tests.engines.replay import Replay, capture

NEW = capture("tgi-3.3.7")
OLD = capture("tgi-2.0.0")
ZEPHYR = ModelId("HuggingFaceH4/zephyr-7b-beta")
LOADED = EngineModel(ZEPHYR, State.LOADED, context=4096, process=Process(whole=True))


def tgi(told):
    return Tgi(EngineId("t"), "http://127.0.0.1:3000", Replay(told).client(), None)


def seen(**counts):
    """Its activity, where its metrics are `counts` (request_count=3, queue_size=1, …)."""
    text = "".join(
        f"# TYPE tgi_{name} {'counter' if 'request' in name else 'gauge'}\ntgi_{name} {value}\n"
        for name, value in counts.items()
    )
    told = {"replies": [{"call": "GET /metrics", "status": 200, "text": text}]}
    return asyncio.run(tgi(told).activity(LOADED))


@pytest.mark.parametrize(("told", "version"), [(NEW, "3.3.7"), (OLD, "2.0.0")])
def test_it_is_known_whether_or_not_it_names_its_router(told, version):
    assert asyncio.run(tgi(told).identify()).version == version


@pytest.mark.parametrize("info", [{"router": "another"}, {"router": 3}, {"model_id": "m"}])
def test_another_server_with_an_info_of_its_own_is_none(info):
    told = {"replies": [{"call": "GET /info", "status": 200, "body": info | {"version": "1"}}]}
    assert asyncio.run(tgi(told).identify()) is None


def test_it_lists_the_one_model_that_it_was_started_for():
    assert asyncio.run(tgi(NEW).list()) == (LOADED,)
    assert asyncio.run(tgi(OLD).list()) == (LOADED,)


def test_it_can_be_told_to_do_nothing():
    assert Tgi.abilities == {Ability.LIST, Ability.IN_FLIGHT}


def test_what_waits_and_what_is_in_its_batch_is_in_flight():
    told = seen(request_count=9, request_success=4, queue_size=3, batch_current_size=2)
    assert told == Activity(5, mark="9/4")


def test_before_the_first_request_none_is_in_flight():
    assert seen() == Activity(0, mark="0/0")


def test_a_request_that_failed_is_done_too():
    assert asyncio.run(tgi(NEW).activity(LOADED)) == Activity(0, mark="41/41")


def test_a_request_that_came_and_is_in_neither_count_is_not_called_idle():
    told = seen(request_count=5, request_success=4, queue_size=0, batch_current_size=0)
    assert told == Activity(None, mark="5/4")


def test_large_counts_still_move_the_mark():
    marks = {seen(request_count=n, request_success=n).mark for n in (12345678, 12345679)}
    assert len(marks) == 2


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3"])
def test_a_count_that_is_no_number_of_requests_is_left_out(value):
    assert seen(queue_size=value, batch_current_size=2).in_flight == 2
