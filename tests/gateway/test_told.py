"""What the daemon learns of requests."""

from types import SimpleNamespace

from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.gateway.told import ASKED_EVERY, MOST_MODELS, Told


def ref(number):
    return ModelRef(EngineId("e"), ModelId(f"m{number}"))


def test_models_that_never_come_again_are_not_remembered_for_ever():
    posted = []
    told = Told(SimpleNamespace(post=posted.append))
    for number in range(3 * MOST_MODELS):
        told.asked_for(ref(number), 0.0)
        told.asked_for(ref(0), number * ASKED_EVERY)
    assert len(told._asked) == MOST_MODELS
    assert ref(0) in told._asked  # it is asked for all the time


def test_that_a_model_is_asked_for_is_told_once_a_second():
    posted = []
    told = Told(SimpleNamespace(post=posted.append))
    for tenth in range(25):
        told.asked_for(ref(1), tenth / 10)
    assert len(posted) == 3
