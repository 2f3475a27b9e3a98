"""Text Embeddings Inference, by the shapes of its source."""

import asyncio

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.core.types import ModelType
from supervisor.engines.base import Activity, EngineModel, EngineRefused, Process
from supervisor.engines.tei import Tei
from tests.engines.replay import Replay, capture

NEW = capture("tei-1.9.3")
OLD = capture("tei-1.8.3")
INFO = next(r["body"] for r in NEW["replies"] if r["call"] == "GET /info")
GTE = EngineModel(
    ModelId("gte"),
    State.LOADED,
    context=512,
    process=Process(whole=True),
    type=ModelType.EMBEDDING,
)


def tei(told):
    return Tei(EngineId("t"), "http://127.0.0.1:3000", Replay(told).client(), None)


def answering(status=200, **info):
    body = {k: v for k, v in (INFO | info).items() if v is not None}
    return {"replies": [{"call": "GET /info", "status": status, "body": body}]}


def seen(**counts):
    """Its activity, where its metrics are `counts` (request_count=3, queue_size=1)."""
    text = "".join(
        f"# TYPE te_{name} {'counter' if 'request' in name else 'gauge'}\nte_{name} {value}\n"
        for name, value in counts.items()
    )
    told = {"replies": [{"call": "GET /metrics", "status": 200, "text": text}]}
    return asyncio.run(tei(told).activity(GTE))


@pytest.mark.parametrize(("told", "version"), [(NEW, "1.9.3"), (OLD, "1.8.3")])
def test_an_embedder_and_a_reranker_are_known(told, version):
    assert asyncio.run(tei(told).identify()).version == version


@pytest.mark.parametrize(
    "info", [{"router": "text-generation-router"}, {"model_type": "bert"}, {"version": None}]
)
def test_another_server_with_an_info_of_its_own_is_none(info):
    assert asyncio.run(tei(answering(**info)).identify()) is None


def test_a_server_with_a_key_is_not_taken_for_a_stranger():
    with pytest.raises(EngineRefused):
        asyncio.run(tei(answering(401)).identify())


def test_it_lists_the_one_model_that_it_was_started_for_by_the_name_that_clients_use():
    assert asyncio.run(tei(NEW).list()) == (GTE,)
    (older,) = asyncio.run(tei(OLD).list())
    assert (older.id, older.type) == ("BAAI/bge-reranker-base", ModelType.RERANK)


def test_it_can_be_told_to_do_nothing():
    assert Tei.abilities == {Ability.LIST, Ability.IN_FLIGHT}


def test_single_requests_and_batches_are_one_count():
    assert asyncio.run(tei(NEW).activity(GTE)) == Activity(0, mark="122/122")


def test_before_the_first_request_none_is_in_flight():
    assert asyncio.run(tei(OLD).activity(GTE)) == Activity(0, mark="0/0")


def test_what_waits_is_in_flight():
    assert seen(request_count=9, request_success=4, queue_size=3).in_flight == 3


def test_what_is_being_worked_on_is_in_no_queue_and_is_not_called_idle():
    told = seen(request_count=5, request_success=4, queue_size=0)
    assert told == Activity(None, mark="5/4")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3"])
def test_a_queue_of_no_number_is_not_in_flight(value):
    assert seen(queue_size=value).in_flight == 0
