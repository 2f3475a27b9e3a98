"""Kubernetes over a real socket, with the library that the adapter uses."""

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from supervisor.core.snapshot import ModelId, State
from supervisor.engines import base, pods, wire
from supervisor.engines.base import EngineConfused, EngineDown, EngineRefused
from tests.engines.standins import telling as standins
from tests.engines.standins.kubernetes import StandIn, container_of
from tests.engines.standins.telling import hung, lacking, only, until

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "deploy/kubernetes/ullage-scale-rbac.yaml"
M = ModelId("alpha")


def told(story, models=("alpha",), **said):
    return standins.told(StandIn(models), "kubernetes", story, **said)


def test_a_deployment_is_scaled_up_listed_and_scaled_to_nothing():
    async def story(s, e):
        before = await only(e)
        await e.load(M)
        await e.load(M)
        there = await only(e)
        await e.unload(M)
        await e.unload(M)
        return before, there, await only(e), await e.identify(), s.patches

    before, there, after, identity, patches = told(story)
    assert (before.state, before.trouble) == (None, None)
    assert (there.state, there.trouble) == (State.LOADED, None)
    assert (after.state, after.trouble) == (None, None)
    assert identity.version.startswith("Kubernetes at http://127.0.0.1:")
    assert patches == [{"spec": {"replicas": n}} for n in (1, 1, 0)]


def test_it_is_loaded_when_as_many_are_ready_as_were_asked_for():
    async def story(s, e):
        s.deployments[M].starts = "waits"
        await e.load(M)
        states = [(await only(e)).state]
        s.deployments[M].pods[0].ready = True
        states.append((await only(e)).state)
        s.finish(M)
        states.append((await only(e)).state)
        return s.patches, states

    patches, states = told(story, replicas=2)
    assert patches == [{"spec": {"replicas": 2}}]
    assert states == [State.LOADING, State.LOADING, State.LOADED]


def test_pods_that_terminate_still_hold_their_memory_and_an_unload_waits_for_them():
    async def story(s, e):
        await e.load(M)
        s.deployments[M].stops = "lingers"
        unload = asyncio.create_task(e.unload(M))
        await until(lambda: s.deployments[M].pods[0].leaving)
        leaving = (await only(e)).state
        early = unload.done()
        s.finish(M)
        await unload
        return leaving, early, (await only(e)).state

    assert told(story) == (State.LEAVING, False, None)


@pytest.mark.slow
def test_a_pod_that_never_ends_is_not_waited_for_beyond_its_grace():
    async def story(s, e):
        now = [0.0]

        async def step(seconds):
            now[0] += seconds

        e.runner.sleep, e.runner.clock = step, lambda: now[0]
        await e.load(M)
        s.deployments[M].stops = "lingers"
        s.deployments[M].pods[0].grace = 90
        with pytest.raises(EngineDown, match="still there: alpha-1"):
            await e.unload(M)
        return now[0]

    assert 90 < told(story) <= 121


def test_what_is_scaled_back_by_others_was_not_unloaded():
    async def story(s, e):
        await e.load(M)
        s.lie(M)
        with pytest.raises(EngineRefused, match="something scaled it back to 1"):
            await e.unload(M)

    told(story)


def test_a_conflict_is_no_sign_of_work():
    async def story(s, e):
        await e.load(M)
        s.conflicts = True
        with pytest.raises(EngineRefused, match="has been modified") as no:
            await e.unload(M)
        return no.value.status

    assert told(story) == 0  # 409 would stand for an engine that is serving


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fails", "alpha: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
        ("quota", "alpha: exceeded quota: gpus"),
    ],
)
def test_a_deployment_that_does_not_come_up_says_why(how, words):
    async def story(s, e):
        s.deployments[M].starts = how
        await e.load(M)
        there = await only(e)
        await e.unload(M)
        return there, (await only(e)).trouble

    there, after = told(story)
    assert (there.state, there.trouble) == (State.LOADING, words)
    assert after is None


def test_a_container_that_crashes_again_and_again_is_loading_anew_and_says_why():
    async def story(s, e):
        await e.load(M)
        before = (await only(e)).state
        s.crash(M)
        return before, await only(e)

    before, model = told(story)
    assert before is State.LOADED
    assert model.state is State.LOADING
    assert model.trouble.startswith("alpha: CrashLoopBackOff, after OOMKilled (137): back-off")


def test_a_pod_that_has_ended_is_a_record_and_holds_nothing():
    async def story(s, e):
        await e.load(M)
        s.deployments[M].pods[0].phase = "Failed"  # as an evicted one stays listed
        s.deployments[M].replicas = 0
        return (await only(e)).state

    assert told(story) is None


def test_a_deployment_that_is_not_there_spoils_nothing_for_the_others():
    async def story(s, e):
        del s.deployments["beta"]
        await e.load(M)
        with pytest.raises(EngineRefused) as no:
            await e.load(ModelId("beta"))
        await e.unload(ModelId("beta"))
        return {m.id: (m.state, m.trouble) for m in await e.list()}, no.value.status

    found, status = told(story, models=("alpha", "beta"))
    assert found == {
        "alpha": (State.LOADED, None),
        "beta": (None, "there is no Deployment beta"),
    }
    assert status == 404


def test_one_that_wants_no_pods_and_has_none_is_asked_for_no_pods_again():
    async def story(s, e):
        for _ in range(3):
            await e.list()
        return sum("/pods" in call for call, _ in s.serving.calls)

    assert told(story) == 1


def test_and_yet_what_others_scale_up_and_down_is_seen_to_its_end():
    async def story(s, e):
        there = s.deployments[M]
        there.stops = "lingers"
        states = []
        for replicas in (0, 1, 0):
            s._set(there, replicas)
            states.append((await only(e)).state)
        return states

    assert told(story) == [None, State.LOADED, State.LEAVING]


def test_the_process_is_found_by_its_containers_control_group_and_searched_for_once():
    async def story(s, e):
        searched = []

        def search(ids):
            searched.append(ids)
            return 4711

        e.runner._search = search
        await e.load(M)
        pod = s.deployments[M].pods[0]
        first = [(await only(e)).process for _ in range(3)]
        before = container_of(pod)
        pod.restarts += 1
        await only(e)
        return first, searched, [(before,), (container_of(pod),)]

    first, searched, expected = told(story)
    assert first == [base.Process(pid=4711, ours=True)] * 3
    assert searched == expected


def test_of_all_processes_of_a_container_the_first_is_its_own():
    me, parent = os.getpid(), os.getppid()
    groups = {me: "/kubepods/pod1/cri-containerd-abc.scope", parent: "/kubepods/pod1/abc"}
    found = pods.on_this_machine(["abc"], groups.get, lambda: [me, parent, 1])
    assert found == parent  # it is older
    gone = 2**22 + 1  # beyond what Linux gives
    groups[gone] = "/kubepods/pod1/abc"
    assert pods.on_this_machine(["abc"], groups.get, lambda: [gone, me]) == me
    assert pods.on_this_machine(["abc"], groups.get, lambda: [gone]) is None
    assert pods.on_this_machine(["xyz"], groups.get, lambda: [me, parent]) is None


def test_the_last_lines_of_a_pod_are_read():
    async def story(s, e):
        nothing = await e.logs(M, 5)
        await e.load(M)
        s.write(M, "one", "two", "three")
        return nothing, await e.logs(M, 2)

    assert told(story) == ((), ("two", "three"))


def test_whoever_else_scales_it_is_told_with_the_remedy():
    async def story(s, e):
        quiet = await e.habits()

        def scaler(name, target, labels):
            spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "maxReplicas": 3}
            return {"metadata": {"name": name, "labels": labels}, "spec": spec}

        s.scalers = [
            scaler("hpa", "alpha", {}),
            scaler("keda-hpa-so", "alpha", {"scaledobject.keda.sh/name": "so"}),
            scaler("other", "beta", {}),
        ]
        s.deployments[M].annotations = {"argocd.argoproj.io/tracking-id": "x"}
        s.deployments[M].labels = {"kustomize.toolkit.fluxcd.io/name": "x"}
        return quiet, await e.habits()

    quiet, habits = told(story)
    assert quiet == ()
    assert [h.remedy for h in habits] == [
        "ignoreDifferences for /spec/replicas, with RespectIgnoreDifferences=true",
        "leave `replicas` out of its manifest",
        "kubectl delete hpa hpa",
        'annotate the ScaledObject so with autoscaling.keda.sh/paused: "true"',
    ]
    assert habits[2].what == "hpa scales alpha by itself, to 1 to 3 replicas"


def test_every_part_of_a_selector_is_sent():
    async def story(s, e):
        s.deployments[M].expressions = [
            {"key": "tier", "operator": "In", "values": ["big", "gpu"]},
            {"key": "tier", "operator": "Exists"},
            {"key": "canary", "operator": "DoesNotExist"},
            {"key": "zone", "operator": "NotIn", "values": ["b"]},
        ]
        await e.list()
        return next(call for call, _ in s.serving.calls if "/pods" in call)

    selector = unquote_plus(told(story).partition("labelSelector=")[2])
    assert selector == "app=alpha,tier in (big,gpu),tier,!canary,zone notin (b)"


def test_a_server_that_hangs_is_down_at_each_of_its_calls(monkeypatch):
    for module, name in ((base, "CALL_TIMEOUT"), (wire, "CONTROL_TIMEOUT")):
        monkeypatch.setattr(module, name, 0.05)

    told(hung)


def test_a_server_that_is_not_there_is_down_by_its_address():
    async def story(s, e):
        await e.list()
        await s.stop()
        with pytest.raises(EngineDown, match=r"http://127\.0\.0\.1:"):
            await e.list()

    told(story)


@pytest.mark.parametrize("text", ["", "[]", "clusters: 3", "{bad", None])
def test_a_kubeconfig_that_cannot_be_read_is_told_and_raises_nothing_else(text):
    async def story(s, e):
        s.kubeconfig.unlink() if text is None else s.kubeconfig.write_text(text)
        with pytest.raises(EngineDown if text is None else (EngineDown, EngineConfused)) as no:
            await e.list()
        return str(no.value)

    message = told(story)
    assert text is not None or "kubeconfig" in message


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"spec": 3}, {"spec": {"replicas": "x"}, "metadata": []}, b"<html>", "x"],
)
def test_whatever_is_answered_nothing_but_an_engine_error_is_raised(value):
    async def story(s, e):
        for status in (200, 403, 500):
            s.serving._answer = lambda *_, status=status: (status, value)
            for call in (e.list(), e.load(M), e.unload(M), e.logs(M, 1), e.habits(), e.identify()):
                with pytest.raises(base.EngineError):
                    await call

    told(story)


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    told(lacking("lightkube", "kubernetes", monkeypatch))
