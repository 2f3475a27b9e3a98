"""The chart with a fleet: Ray beside each daemon, its head by KubeRay or there already, or none."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import chart
from supervisor.config.config import load
from supervisor.config.given import ConfigError
from supervisor.config.settings import OTHER_VARIABLES, SETTINGS
from supervisor.engines import ENGINES
from tests.test_documents import understood

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy/helm/ullage"
SECRET = {"gateway": {"enabled": True, "existingSecret": "gateways"}}
THERE = {"head": {"create": False, "address": "ray-head.ray.svc:6379"},
         "token": {"existingSecret": "ours", "key": "word"}}  # fmt: skip

Json = dict[str, Any]
Render = Callable[..., Json]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with chart.whole(CHART) as found:
        yield found


@pytest.fixture
def render(folder: Path) -> Render:
    def rendered(values: Json | None = None, **fleet: Any) -> Json:
        given = {**(values or {}), "fleet": {"enabled": True, **fleet}}
        try:
            return {o["kind"]: o for o in chart.rendered(folder, given)}
        except chart.Missing as error:
            pytest.skip(str(error))

    return rendered


def pod(objects: Json) -> Json:
    found: Json = objects["DaemonSet"]["spec"]["template"]["spec"]
    return found


def container(told: Json, name: str) -> Json:
    (found,) = (c for c in told["containers"] if c["name"] == name)
    return dict(found)


def variables(of: Json) -> Json:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in of.get("env", ())}


def test_without_a_fleet_there_is_nothing_of_ray(folder: Path) -> None:
    try:
        objects = chart.rendered(folder, {})
    except chart.Missing as error:
        pytest.skip(str(error))
    assert "ray" not in yaml.safe_dump(objects).replace("array", "").lower().split()
    kinds = {o["kind"] for o in objects}
    assert kinds == {"ConfigMap", "DaemonSet", "Secret", "ServiceAccount"}
    (daemonset,) = (o for o in objects if o["kind"] == "DaemonSet")
    told = daemonset["spec"]["template"]["spec"]
    assert [c["name"] for c in told["containers"]] == ["ullage"]
    assert "shareProcessNamespace" not in told


def test_a_fleet_advises_too_until_it_is_told_to_act(render: Render) -> None:
    assert variables(container(pod(render()), "ullage"))["ULLAGE_MODE"] == "advise"


def test_beside_each_daemon_are_a_node_of_ray_and_the_agent(render: Render) -> None:
    told = pod(render())
    assert [c["name"] for c in told["containers"]] == ["ullage", "raylet", "agent"]
    assert told["shareProcessNamespace"] is True  # the agent looks at Ray's processes
    daemon, raylet, agent = told["containers"]
    assert agent["args"] == ["fleet", "join", "--node-ip", "$(POD_IP)"]
    understood(["fleet", "join", "--node-ip", "10.1.2.3"])
    (script,) = raylet["args"]
    assert "ullage --socket /run/ullage/ullage.sock fleet resources --json" in script
    understood(["fleet", "resources", "--json"])
    for option in ("--block", "--num-cpus=1", '--resources="$found"', '--address="$RAY_HEAD"'):
        assert option in script
    own, others = variables(daemon), variables(agent)
    assert own["ULLAGE_LISTEN_SOCKET"] == others["ULLAGE_LISTEN_SOCKET"]
    assert own["ULLAGE_FLEET_NAME"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    folders = {c["name"]: {m["mountPath"] for m in c["volumeMounts"]} for c in told["containers"]}
    assert all("/run/ullage" in mounts for mounts in folders.values())
    assert {"/tmp", "/dev/shm"} <= folders["raylet"] & folders["agent"]
    assert "/etc/ullage" in folders["agent"]
    named = {m["name"] for c in told["containers"] for m in c["volumeMounts"]}
    assert named == {v["name"] for v in told["volumes"]}


@pytest.mark.parametrize("fleet", [{}, SECRET, THERE], ids=["head", "gateways", "there"])
def test_every_variable_of_ours_exists_and_is_told_before_it_is_used(
    render: Render, fleet: Json
) -> None:
    known = {s.env for s in SETTINGS} | set(OTHER_VARIABLES)
    for each in pod(render(**fleet))["containers"]:
        names = [entry["name"] for entry in each.get("env", ())]
        assert len(names) == len(set(names))
        assert {name for name in names if name.startswith("ULLAGE_")} <= known
        for i, entry in enumerate(each.get("env", ())):
            if "$(POD_IP)" in entry.get("value", ""):
                assert "POD_IP" in names[:i], entry
        for used in each.get("args", ()):
            assert "$(POD_IP)" not in used or "POD_IP" in names


def test_nothing_of_it_is_root_or_may_become_it(render: Render) -> None:
    objects = render()
    head = objects["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]
    for each in (*pod(objects)["containers"][1:], *head["containers"]):
        security = each["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
    assert head["automountServiceAccountToken"] is False


def test_kuberay_makes_the_head_with_a_token_and_without_a_dashboard(render: Render) -> None:
    objects = render()
    cluster = objects["RayCluster"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert "workerGroupSpecs" not in cluster["spec"]  # its nodes are beside the daemons
    head = cluster["spec"]["headGroupSpec"]
    assert head["rayStartParams"]["include-dashboard"] == "false"
    assert head["rayStartParams"]["num-cpus"] == "0"
    (ray,) = head["template"]["spec"]["containers"]
    assert ray["image"] == container(pod(objects), "raylet")["image"]  # so they are of one version
    for probe in ("readinessProbe", "livenessProbe"):  # KubeRay's own would ask the dashboard
        assert ray[probe]["tcpSocket"] == {"port": "gcs"}
    name = cluster["metadata"]["name"]
    for each in ("raylet", "agent"):
        told = variables(container(pod(objects), each))
        assert told["RAY_AUTH_MODE"] == "token"
        assert told["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": name, "key": "auth_token"}}
    raylet = variables(container(pod(objects), "raylet"))
    assert raylet["RAY_HEAD"] == f"{name}-head-svc.{chart.NAMESPACE}.svc:6379"


def test_the_version_that_kuberay_is_told_is_the_images(render: Render) -> None:
    lock = (ROOT / "deploy/requirements-fleet.lock").read_text()
    version = render()["RayCluster"]["spec"]["rayVersion"]
    assert f"\nray=={version} " in lock


def test_a_ray_that_is_there_already_is_joined_with_its_own_token(render: Render) -> None:
    objects = render(**THERE)
    assert "RayCluster" not in objects
    told = variables(container(pod(objects), "raylet"))
    assert told["RAY_HEAD"] == "ray-head.ray.svc:6379"
    assert told["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "ours", "key": "word"}}


def test_only_those_of_the_fleet_reach_rays_ports(render: Render) -> None:
    objects = render()
    policy = objects["NetworkPolicy"]["spec"]
    mine = policy["podSelector"]["matchLabels"]
    pods = objects["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    head = objects["RayCluster"]["spec"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert mine.items() <= pods.items()
    assert mine.items() <= head.items()
    among, others = policy["ingress"]
    assert among == {"from": [{"podSelector": {"matchLabels": mine}}]}
    assert [p["port"] for p in others["ports"]] == [8552, 8553]
    assert "NetworkPolicy" not in render(networkPolicy=False)


@pytest.mark.parametrize("fleet", [{}, SECRET, THERE], ids=["head", "gateways", "there"])
def test_the_configuration_loads_for_the_daemon_and_the_agent(
    render: Render, tmp_path: Path, fleet: Json
) -> None:
    objects = render(**fleet)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 2)
    token.chmod(0o440)
    text = objects["ConfigMap"]["data"]["ullage.toml"]
    file = tmp_path / "ullage.toml"
    file.write_text(text.replace("/run/secrets/ullage-fleet/token", str(token)))
    for name in ("ullage", "agent"):
        told = variables(container(pod(objects), name))
        given = {k: v.replace("$(POD_IP)", "10.1.2.3") for k, v in told.items()
                 if k.startswith("ULLAGE_") and isinstance(v, str)}  # fmt: skip
        given |= {"ULLAGE_FLEET_NAME": "node-7", "ULLAGE_TOKEN": "0123456789abcdef" * 2}
        if "ULLAGE_FLEET_TOKEN_FILE" in given:
            given["ULLAGE_FLEET_TOKEN_FILE"] = str(token)
        config = load(None, given, {}, kinds=frozenset(ENGINES), places=[file])
        assert (config.fleet.said, config.fleet.name) == (True, "node-7")
        assert str(config.fleet.socket) == "/run/ullage/fleet.sock"
        assert str(config.socket) == "/run/ullage/ullage.sock"
        assert config.fleet.gateway is (fleet is SECRET)
        if fleet is SECRET:
            assert config.fleet.address == "http://10.1.2.3:8553"
            assert (config.gateway.enabled, config.gateway.host) == (True, "10.1.2.3")
            assert [t.name for t in config.gateway.tokens] == ["fleet"]
        else:
            assert config.fleet.address is None


def test_what_lets_gateways_in_is_in_a_file_that_others_cannot_read(render: Render) -> None:
    told = pod(render(**SECRET))
    (volume,) = (v for v in told["volumes"] if v["name"] == "fleet")
    assert volume["secret"]["secretName"] == "gateways"
    assert volume["secret"]["defaultMode"] == 0o440
    assert {p["name"]: p["containerPort"] for p in told["containers"][0]["ports"]} == {
        "http": 8552,
        "gateway": 8553,
    }


def test_a_configuration_that_has_such_a_token_already_is_told_so(
    render: Render, tmp_path: Path
) -> None:
    objects = render({"config": "[gateway.tokens.fleet]\nper_minute = 3\n"}, **SECRET)
    file = tmp_path / "ullage.toml"
    file.write_text(objects["ConfigMap"]["data"]["ullage.toml"])
    with pytest.raises(ConfigError, match="fleet"):
        load(None, {}, {}, kinds=frozenset(ENGINES), places=[file])
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(file.read_text())
