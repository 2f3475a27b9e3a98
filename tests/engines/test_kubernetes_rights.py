"""What Ullage may do in a cluster: what it needs, and no more."""

from pathlib import Path

import pytest

from supervisor.core.snapshot import ModelId
from supervisor.engines.base import EngineRefused
from tests.engines.standins import telling as standins
from tests.engines.standins.kubernetes import StandIn
from tests.engines.standins.telling import denied

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "deploy/kubernetes/ullage-scale-rbac.yaml"
M = ModelId("alpha")


def told(story, models=("alpha",), rules=None):
    return standins.told(StandIn(models, rules=rules), "kubernetes", story)


def test_without_rights_the_missing_ones_are_named_and_where_they_are_written():
    no = told(denied)
    assert no.status == 403
    assert 'cannot patch resource "deployments/scale" in API group "apps"' in str(no)
    assert "ullage-scale-rbac.yaml" in str(no)


def role():
    yaml = pytest.importorskip("yaml")
    (found,) = [d for d in yaml.safe_load_all(MANIFEST.read_text()) if d["kind"] == "Role"]
    return found["rules"]


def test_the_role_that_we_ship_is_enough_for_everything():
    async def story(s, e):
        model = ModelId("vllm-qwen3")
        await e.identify()
        await e.load(model)
        await e.logs(model, 1)
        await e.habits()
        await e.unload(model)

    told(story, models=("vllm-qwen3",), rules=role())


@pytest.mark.parametrize("left_out", range(5))
def test_and_no_rule_of_it_is_too_much(left_out):
    rules = role()
    del rules[left_out]

    async def story(s, e):
        model = ModelId("vllm-qwen3")
        try:
            await e.load(model)
            await e.logs(model, 1)
            await e.habits()
        except EngineRefused as no:
            return no.status

    assert told(story, models=("vllm-qwen3",), rules=rules) == 403


def test_the_manifest_is_what_kubernetes_understands_by_it():
    codecs = pytest.importorskip("lightkube.codecs")
    kinds = [type(found).__name__ for found in codecs.load_all_yaml(MANIFEST.read_text())]
    assert kinds == ["ServiceAccount", "Role", "RoleBinding"]
