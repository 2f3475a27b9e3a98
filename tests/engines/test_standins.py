"""The stand-ins answer as the real ones were seen to: same calls, same statuses, same shapes."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.engines.standins import container, kubernetes, systemd

CAPTURES = Path(__file__).parent / "standins/captures"


def capture(name):
    return json.loads((CAPTURES / f"{name}.json").read_text())


def unlike(ours, real, where=""):
    """What stands in our answer otherwise than in the real one: a key, or the kind of a value."""
    if isinstance(ours, dict) and isinstance(real, dict):
        for key, value in ours.items():
            if key not in real:
                yield f"{where}.{key}"
            else:
                yield from unlike(value, real[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(real, list):
        for value in ours[:1] if real else ():
            yield from unlike(value, real[0], f"{where}[]")
    elif ours is not None and real is not None and type(ours) is not type(real):
        yield f"{where}: {type(ours).__name__} for {type(real).__name__}"


CONTAINER = [
    ("exited", "GET", "json"),
    ("stop of one that has ended", "POST", "stop?t=1"),
    ("start", "POST", "start"),
    ("start of one that runs", "POST", "start"),
    ("running", "GET", "json"),
    ("unpause of one that runs", "POST", "unpause"),
    ("pause", None, None),
    ("paused", "GET", "json"),
    ("start of a paused one", "POST", "start"),
    ("stop of a paused one", "POST", "stop?t=1"),
    ("unpause", "POST", "unpause"),
    ("stop", "POST", "stop?t=3"),
    ("start of a bad one", "POST", "start"),
    ("bad", "GET", "json"),
]


@pytest.mark.parametrize("name", ["docker-20.10.24", "podman-4.3.1"])
def test_the_docker_engine_stands_in_for_itself(name):
    real = capture(name)

    async def story():
        async with container.StandIn(["alpha"], podman=name.startswith("podman")) as s:
            transport = httpx.AsyncHTTPTransport(uds=str(s.socket), verify=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://d") as client:
                s.boxes["alpha"].status = "exited"
                s.boxes["alpha"].runs = 1
                answers = {"version": await client.get("/version")}
                answers["unknown"] = await client.get("/containers/nosuch/json")
                for label, method, what in CONTAINER:
                    if label not in real:
                        continue
                    if label == "pause":
                        s.boxes["alpha"].status = "paused"
                        continue
                    if label == "start of a bad one":
                        s.boxes["alpha"].status = "created"
                        s.fail_next_start("alpha")
                    answers[label] = await client.request(method, f"/containers/alpha/{what}")
                return answers

    answers = asyncio.run(story())
    assert answers.keys() == real.keys() - {"_meta", "pause"}
    for label, answer in answers.items():
        assert answer.status_code == real[label]["status"], label
        ours = answer.json() if answer.content else None
        assert list(unlike(ours, real[label]["body"])) == [], label
        if isinstance(ours, dict) and "State" in ours:
            assert ours["State"]["Status"] == real[label]["body"]["State"]["Status"]
            assert ours["State"]["ExitCode"] in (0, 127)


def test_a_kubernetes_api_server_stands_in_for_itself():
    real = capture("kubernetes-1.33.4")
    deployment = "/apis/apps/v1/namespaces/llm/deployments/alpha"
    listed = "/api/v1/namespaces/llm/pods?labelSelector=app%3Dalpha"

    async def story():
        async with kubernetes.StandIn(["alpha"]) as s:
            url = f"http://127.0.0.1:{s.serving.port}"
            headers = {"Authorization": "Bearer open-sesame"}
            async with httpx.AsyncClient(base_url=url, headers=headers, verify=False) as client:

                async def scale(replicas):
                    return await client.patch(
                        f"{deployment}/scale",
                        json={"spec": {"replicas": replicas}},
                        headers={"Content-Type": "application/merge-patch+json"},
                    )

                there = s.deployments["alpha"]
                there.stops = "lingers"
                answers = {"deployment without pods": await client.get(deployment)}
                answers["scale up"] = await scale(1)
                answers["deployment with a pod that is ready"] = await client.get(deployment)
                answers["pods, one ready"] = await client.get(listed)
                answers["scale to nothing"] = await scale(0)
                answers["deployment, its pod terminating"] = await client.get(deployment)
                answers["pods, one terminating"] = await client.get(listed)
                answers["unknown"] = await client.get(f"{deployment}-nope")
                s.deny()
                answers["forbidden"] = await scale(0)
                return answers

    answers = asyncio.run(story())
    for label, answer in answers.items():
        body = real[label]["body"]
        assert answer.status_code == real[label]["status"], label
        assert list(unlike(answer.json(), body)) == [], label
        if "spec" in body:
            assert answer.json()["spec"].get("replicas") == body["spec"].get("replicas"), label
    said = answers["deployment, its pod terminating"].json()["status"]
    assert "replicas" not in said  # nothing is left to be seen of a pod that terminates
    words = answers["forbidden"].json()["message"], real["forbidden"]["body"]["message"]
    assert {w.partition("is forbidden: User")[1] for w in words} == {"is forbidden: User"}


def test_systemd_stands_in_for_itself():
    real = capture("systemd-252")

    async def story():
        async with systemd.StandIn(["m1", "fails", "masked"]) as s:
            s.unit("masked").load = "masked"
            s.unit("fails").starts = "fails"
            s._StartUnit("", "m1.service", "replace")
            s._StartUnit("", "fails.service", "replace")
            await asyncio.sleep(0)  # the ends of both jobs are told
            found, errors = {}, {}
            for name in ("m1", "fails", "masked", "nosuch"):
                _, (path,) = s._LoadUnit("", f"{name}.service")
                _, (properties,) = s._GetAll(path, "")
                found[name] = {key: (v.signature, v.value) for key, v in properties.items()}
            for call in real["errors"]:
                member, _, name = call.partition(" ")
                mode = () if member in ("GetUnit", "LoadUnit") else ("replace",)
                with pytest.raises(systemd._Refused) as no:
                    getattr(s, f"_{member}")("", name, *mode)
                errors[call] = list(no.value.args)
            return found, errors

    found, errors = asyncio.run(story())
    assert errors == real["errors"]
    for name, properties in found.items():
        for key, (signature, value) in properties.items():
            assert signature == real[name][key][0], key
            if key in ("LoadState", "ActiveState", "SubState", "Result", "LoadError"):
                assert value == real[name][key][1], (name, key)
