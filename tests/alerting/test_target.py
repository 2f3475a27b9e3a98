"""Labels choose among what is here, and are nothing more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Device, PoolId, gib
from supervisor.alerting.alert import Ended, Outcome
from supervisor.alerting.target import Blind, Target, find
from supervisor.config.alerted import ActionConfig, Kind
from supervisor.core.snapshot import Installed, Snapshot
from supervisor.door import Unknown
from tests.builders import GPU, OTHER, engine, machine, pool, ref, resident

from .post import action

EVICT = action(Kind.EVICT)


def snapshot() -> Snapshot:
    """Two cards, three models of two engines, and one that could be loaded."""
    here = [resident("a", 4), resident("b", 4), resident("a", 4, pool=OTHER, engine="vllm")]
    engines = (engine("ollama"), engine("vllm"))
    found = machine(*here, free=12, engines=engines)
    card = Device("GPU-5a1e", OTHER, "RTX 4090", 0, "nvidia", "580.95", "0000:01:00.0")
    known = tuple(Installed(ref(n), gib(3)) for n in ("c", "d:latest"))
    return replace(found, pools=(*found.pools, pool(2, id=OTHER)), devices=(card,), installed=known)


def named(name: str | None) -> PoolId:
    """As the door resolves a name that is configured."""
    if name in ("0", "gpu:0", None):
        return GPU
    raise Unknown("pool", name, ("gpu:0",))


def of(action: ActionConfig = EVICT, **labels: str) -> Target:
    found = find(action, labels, snapshot(), named)
    assert isinstance(found, Target), found
    return found


def why(action: ActionConfig = EVICT, **labels: str) -> str:
    found = find(action, labels, snapshot(), named)
    assert isinstance(found, Ended), found
    assert found.outcome is Outcome.UNKNOWN_TARGET
    return found.detail


def test_without_a_label_it_is_whatever_is_short() -> None:
    assert of() == Target(None, None, None, "every pool that is short")
    assert of(action(Kind.PAUSE)).said == "every engine"


def test_a_pool_is_named_by_its_id_or_the_uuid_of_an_accelerator() -> None:
    assert of(pool="gpu:0").pools == (GPU,)
    assert of(uuid="GPU-5a1e").pools == of(gpu_uuid="GPU-5a1e").pools == (OTHER,)
    assert of(pool="gpu:1", uuid="GPU-5a1e").said == "gpu:1"
    assert of(pool="").pools is None, "an empty label is none"
    for wrong in ("0", "gpu", "GPU:0", "gpu:0 "):
        assert "is not here" in why(pool=wrong)
    assert "several pools: gpu:0, gpu:1" in why(pool="gpu:0", uuid="GPU-5a1e")


def test_a_pool_that_is_configured_counts_whatever_the_alert_is_about() -> None:
    fixed = replace(EVICT, pool="0")
    assert of(fixed).pools == of(fixed, pool="gpu:1").pools == (GPU,)
    assert "'GPU-9', which is not here" in why(fixed, pool="GPU-9"), "and yet it has to be known"
    assert "no pool is called 'gpu:7'" in why(replace(EVICT, pool="gpu:7"))


def test_a_reserve_without_a_pool_is_of_the_only_one() -> None:
    spare = action(Kind.RESERVE, size=gib(4))
    assert of(spare) == Target((GPU,), None, None, "4 GiB of gpu:0")
    assert of(spare, pool="gpu:1").said == "4 GiB of gpu:1"


def test_an_engine_narrows_to_its_models() -> None:
    found = of(engine="vllm", pool="gpu:1")
    assert found == Target((OTHER,), found.engine, frozenset({ref("a", "vllm")}), "vllm in gpu:1")
    fixed = replace(EVICT, engine="ollama")
    assert of(fixed).refs == {ref(n) for n in ("a", "b", "c", "d:latest")}
    assert of(fixed, engine="ollama").said == "ollama"
    assert why(fixed, engine="vllm") == "it is about vllm, and act is for ollama"
    assert "did you mean vllm?" in why(engine="vlm")
    assert "the configuration names the engine 'sglang'" in why(replace(EVICT, engine="sglang"))


def test_a_model_is_known_by_its_name_with_or_without_its_engine() -> None:
    assert of(model="a").refs == {ref("a"), ref("a", "vllm")}
    assert of(model="vllm/a").refs == of(model="a", engine="vllm").refs == {ref("a", "vllm")}
    assert of(model="d").refs == {ref("d:latest")}
    assert of(model="a").said == "ollama/a, vllm/a"
    assert "names the model 'x', which is not here; there is ollama/a, ollama/b" in why(model="x")
    assert why(model="b", engine="vllm") == "vllm has no model 'b'"


def test_models_that_are_configured_are_those_alone() -> None:
    some = replace(EVICT, models=("ollama/*", "vllm/z"))
    assert of(some).refs == {ref(n) for n in ("a", "b", "c", "d:latest")}
    assert of(some).said == "ollama/*, vllm/z"
    assert of(some, model="b").refs == {ref("b")}
    assert why(some, model="vllm/a") == "it is about vllm/a, and act is for ollama/*, vllm/z"
    assert of(replace(EVICT, models=("z*",))).refs == frozenset()


def test_what_cannot_be_read_just_now_is_no_mistake() -> None:
    blind = replace(snapshot(), pools=(pool(2, id=OTHER),), blind={GPU: "the driver hangs"})
    with pytest.raises(Blind, match="gpu:0 cannot be read just now: the driver hangs"):
        find(EVICT, {"pool": "gpu:0"}, blind, named)
    assert isinstance(find(EVICT, {"pool": "gpu:1"}, blind, named), Target)
    assert isinstance(find(EVICT, {}, blind, named), Target)
