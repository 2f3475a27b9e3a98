"""The image, the Compose files and the chart: that they fit the daemon, and what they give away."""

from __future__ import annotations

import base64
import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from deploy import chart, tables
from supervisor import __version__, daemon
from supervisor.cli.main import cli
from supervisor.config.config import load
from supervisor.config.settings import OTHER_VARIABLES, SETTINGS
from supervisor.engines import ENGINES, container

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent
DOCKER, CHART = ROOT / "deploy/docker", ROOT / "deploy/helm/ullage"
STATE, SETTINGS_FOLDER = "/var/lib/ullage", "/etc/ullage"
DEFAULTS = {s.key: s.default for s in SETTINGS}

Json = dict[str, Any]


def understood(words: list[str]) -> None:
    command = cli.commands[words[0]]
    command.make_parser(click.Context(command)).parse_args(words[1:])


# -- the image


def instructions(name: str) -> list[str]:
    text = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())
    return re.findall(rf"(?m)^{name} (.*)$", text)


def test_the_image_is_built_of_all_that_the_package_needs_and_of_nothing_else():
    copied = [w for line in instructions("COPY") if "--from" not in line for w in line.split()[:-1]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    locks = "deploy/requirements*.lock"  # and what they name
    assert set(copied) == needed | {locks}
    ignored, *let_through = (
        (DOCKER / "Dockerfile.dockerignore").read_text().split("\n", 1)[1].split()
    )
    assert ignored == "*"
    assert {w[1:] for w in let_through if w.startswith("!")} == needed | {locks}
    assert any(fnmatch.fnmatch("a/__pycache__", w) for w in let_through)


def test_the_extras_of_the_image_exist():
    (extras,) = (line.partition("=")[2] for line in instructions("ARG") if "EXTRAS" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_image_runs_the_daemon_as_nobody_in_particular_and_asks_whether_it_lives():
    (entrypoint,), (command,) = map(instructions, ("ENTRYPOINT", "CMD"))
    assert json.loads(entrypoint) == ["ullage"]
    understood(json.loads(command))
    (health,) = instructions("HEALTHCHECK")
    asked = json.loads(health.partition("CMD ")[2])
    assert asked == ["ullage", "health"]
    understood(asked[1:])
    assert instructions("USER") == ["65532:65532"]
    (environment,) = instructions("ENV")
    assert f"STATE_DIRECTORY={STATE}" in shlex.split(environment)


# -- Compose


def compose(name: str) -> Json:
    found: Json = yaml.safe_load((DOCKER / name).read_text())
    return found


OVERLAYS = ["compose.docker.yml", "compose.nvidia.yml", "compose.rocm.yml"]
SERVICES = compose("compose.yml")["services"] | compose("compose.monitoring.yml")["services"]
ULLAGE = SERVICES["ullage"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_of_the_service_that_there_is(name: str):
    assert set(compose(name)["services"]) == {"ullage"}


def test_every_file_of_compose_is_one_that_is_looked_at_here():
    files = {path.name for path in DOCKER.glob("compose*.yml")}
    assert files == {"compose.yml", "compose.monitoring.yml", *OVERLAYS}


def test_docker_s_socket_is_handed_in_where_it_is_looked_for_with_its_group_and_no_right_besides():
    told = compose("compose.docker.yml")["services"]["ullage"]
    assert set(told) == {"group_add", "volumes"}
    (mount,) = told["volumes"]
    assert mount["source"] == mount["target"] == str(container.USUAL)
    assert mount["bind"] == {"create_host_path": False}
    (group,) = told["group_add"]
    name, way, _ = group.removeprefix("${").partition(":?")
    assert (name, way) == ("DOCKER_GID", ":?")  # no guess: where it is not said, nothing starts
    guide = (ROOT / "deploy/README.md").read_text()
    assert f"export {name}=$(stat -c %g {container.USUAL})" in guide
    assert "as good as root" in (DOCKER / "compose.docker.yml").read_text()
    assert "docker.sock" not in (DOCKER / "compose.yml").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_has_more_than_it_needs(service: str):
    told = SERVICES[service]
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "ports", "ipc", "mem_limit"} & set(told)
    name, tag = told["image"].rsplit(":", 1)
    assert name
    assert tag != "latest"


def test_the_daemon_sees_the_machine_s_processes_and_has_no_limit_on_memory():
    assert (ULLAGE["pid"], ULLAGE["network_mode"], ULLAGE["cgroup"]) == ("host",) * 3
    for name in ("compose.yml", *OVERLAYS):
        told = compose(name)["services"]["ullage"]
        assert not [key for key in told if key.startswith("mem")]
        assert "limits" not in told.get("deploy", {}).get("resources", {})
    assert float(ULLAGE["stop_grace_period"].removesuffix("s")) > daemon.END


def test_nothing_listens_beyond_loopback():
    for service in ("prometheus", "alertmanager"):
        (address,) = (w for w in SERVICES[service]["command"] if "web.listen-address" in w)
        assert address.partition("=")[2].startswith("127.0.0.1:")
    assert "--cluster.listen-address=" in SERVICES["alertmanager"]["command"]
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert DEFAULTS["listen.host"] == "127.0.0.1"


def mounts(service: str) -> dict[str, str]:
    """Where things of the machine are in the container."""
    pairs = (entry.split(":") for entry in SERVICES[service]["volumes"])
    return {inside: outside for outside, inside, *_ in pairs}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there_and_cannot_be_written(service: str):
    volumes = compose("compose.yml")["volumes"] | compose("compose.monitoring.yml")["volumes"]
    for entry in SERVICES[service]["volumes"]:
        outside, _, *how = entry.split(":")
        if outside.startswith("."):
            assert how == ["ro"]
            assert outside == "./config" or (DOCKER / outside).is_dir()
        else:
            assert outside in volumes


def test_each_finds_the_other():
    assert mounts("ullage") == {STATE: "state", SETTINGS_FOLDER: "./config"}
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    listens = f"{DEFAULTS['listen.host']}:{DEFAULTS['listen.port']}"
    assert scraped["scrape_configs"][0]["static_configs"] == [{"targets": [listens]}]
    (told,) = scraped["alerting"]["alertmanagers"]
    assert (
        f"--web.listen-address={told['static_configs'][0]['targets'][0]}"
        in (SERVICES["alertmanager"]["command"])
    )
    for service in ("prometheus", "alertmanager"):
        (file,) = (w for w in SERVICES[service]["command"] if w.startswith("--config.file="))
        inside = Path(file.partition("=")[2])
        assert (DOCKER / mounts(service)[str(inside.parent)] / inside.name).is_file()
    alerts = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    files = re.findall(r"'credentials_file': '([^']+)'", str(alerts))
    assert files == [secret["target"] for secret in SERVICES["alertmanager"]["secrets"]]
    provided = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/ullage.yml").read_text())[
        "providers"
    ][0]["options"]["path"]
    assert (DOCKER / mounts("grafana")[provided] / "overview.json").is_file()
    source = (ROOT / "grafana/provisioning/datasources/ullage.yml").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", source)) <= set(SERVICES["grafana"]["environment"])
    assert SERVICES["grafana"]["environment"]["PROMETHEUS_URL"] == "http://" + next(
        w.partition("=")[2] for w in SERVICES["prometheus"]["command"] if "listen-address" in w
    )


# -- the chart


@pytest.fixture(scope="module")
def folder() -> Any:
    with chart.whole(CHART) as found:
        yield found


@pytest.fixture
def render(folder: Path) -> Any:
    def rendered(**values: Any) -> dict[str, Any]:
        try:
            return {o["kind"]: o for o in chart.rendered(folder, values)}
        except chart.Missing as error:
            pytest.skip(str(error))

    return rendered


def pod(objects: dict[str, Any]) -> Json:
    found: Json = objects["DaemonSet"]["spec"]["template"]["spec"]
    return found


def environment(objects: dict[str, Any]) -> Json:
    (container,) = pod(objects)["containers"]
    return {entry["name"]: entry for entry in container["env"]}


def test_by_default_it_advises_and_sees_no_more_than_its_own_pod(render):
    objects = render()
    assert set(objects) == {"ConfigMap", "DaemonSet", "Secret", "ServiceAccount"}
    assert environment(objects)["ULLAGE_MODE"]["value"] == "advise"
    told = pod(objects)
    assert (told["hostPID"], told["hostNetwork"]) == (False, False)
    assert told["automountServiceAccountToken"] is False
    (container,) = told["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert (security["runAsUser"], security["readOnlyRootFilesystem"]) == (65532, True)
    assert security["allowPrivilegeEscalation"] is False
    assert "limits" not in container["resources"]
    assert container["image"] == f"ullage:{__version__}"
    assert told["terminationGracePeriodSeconds"] > daemon.END


def test_the_pod_s_variables_exist_and_its_folders_are_the_daemon_s(render):
    objects = render()
    known = {s.env for s in SETTINGS} | set(OTHER_VARIABLES)
    named = {name for name in environment(objects) if name.startswith("ULLAGE_")}
    assert named == {"ULLAGE_LISTEN_HOST", "ULLAGE_URL", "ULLAGE_TOKEN", "ULLAGE_MODE"}
    assert named <= known
    (container,) = pod(objects)["containers"]
    assert {m["mountPath"] for m in container["volumeMounts"]} == {STATE, SETTINGS_FOLDER, "/tmp"}
    understood(container["args"])
    assert container["ports"] == [{"name": "http", "containerPort": int(DEFAULTS["listen.port"])}]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")]
    assert [p["path"] for p in probes] == ["/healthz", "/readyz"]
    assert {p["port"] for p in probes} == {"http"}


@pytest.mark.parametrize("values", ["default", "all"])
def test_the_configuration_of_the_chart_loads_with_the_pod_s_environment(render, tmp_path, values):
    given = yaml.safe_load((CHART / "ci/all-values.yaml").read_text()) if values == "all" else {}
    objects = render(**given | {"dashboards": {"enabled": False}})
    file = tmp_path / "ullage.toml"
    file.write_text(objects["ConfigMap"]["data"]["ullage.toml"])
    variables = {"ULLAGE_LISTEN_HOST": "10.1.2.3", "ULLAGE_TOKEN": "0123456789abcdef" * 2}
    if "Secret" in objects:
        ((key, token),) = objects["Secret"]["data"].items()
        assert environment(objects)["ULLAGE_TOKEN"]["valueFrom"]["secretKeyRef"] == {
            "name": objects["Secret"]["metadata"]["name"],
            "key": key,
        }
        variables["ULLAGE_TOKEN"] = base64.b64decode(token).decode()
        assert len(variables["ULLAGE_TOKEN"]) == 43  # as many bits as a digest has
    variables["ULLAGE_MODE"] = environment(objects)["ULLAGE_MODE"]["value"]
    config = load(None, variables, {}, kinds=frozenset(ENGINES), places=[file])
    assert (config.mode.value, config.listen_host) == (variables["ULLAGE_MODE"], "10.1.2.3")


def test_a_folder_of_the_node_is_given_to_the_account_that_writes_there(render):
    assert "initContainers" not in pod(render())
    told = pod(render(state={"hostPath": "/srv/ullage"}))
    (first,) = told["initContainers"]
    (container,) = told["containers"]
    security = first["securityContext"]
    assert (security["runAsUser"], security["capabilities"]["drop"]) == (0, ["ALL"])
    assert security["capabilities"]["add"] == ["CHOWN", "DAC_OVERRIDE"]
    (mount,) = first["volumeMounts"]
    assert mount in container["volumeMounts"]
    account = container["securityContext"]
    owner = f"{account['runAsUser']}:{account['runAsGroup']}"
    assert f"chown -Rh {owner} {mount['mountPath']}\n" in first["args"][0]
    seen = render(state={"hostPath": "/srv/ullage"}, hostPID=True, seeOwners=True)
    assert "initContainers" not in pod(seen)  # root may write there


def test_the_operator_scrapes_the_daemon_with_the_token_it_asks_for(render):
    objects = render(podMonitor={"enabled": True})
    monitor = objects["PodMonitor"]["spec"]
    labels = objects["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert objects["DaemonSet"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "ullage"}]
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    assert 'job=~".*ullage.*"' in rules  # as all of them call it
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    wanted = environment(objects)["ULLAGE_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert endpoint["authorization"]["credentials"] == wanted


def test_the_operator_has_the_rules_of_the_project_but_those_left_out(render):
    files = ("recording.yml", "alerts.yml")
    texts = ((ROOT / "deploy/prometheus" / name).read_text() for name in files)
    groups = [group for text in texts for group in yaml.safe_load(text)["groups"]]
    found = render(prometheusRule={"enabled": True})
    assert found["PrometheusRule"]["spec"]["groups"] == groups
    without = render(prometheusRule={"enabled": True, "without": ["UllageAbsent"]})
    rules = [r for g in groups for r in g["rules"] if r.get("alert") != "UllageAbsent"]
    left = [r for g in without["PrometheusRule"]["spec"]["groups"] for r in g["rules"]]
    assert left == rules


def test_the_chart_s_copies_are_what_the_project_has():
    copies = tables.charted()
    assert [p.name for p, text in copies.items() if p.read_text() != text] == [], "run `make docs`"
    assert set(copies) == {p for p in (CHART / "files").rglob("*") if p.is_file()}
    assert not any(p.is_symlink() for p in CHART.rglob("*"))


def test_the_chart_has_every_dashboard(folder):
    try:
        objects = chart.rendered(folder, {"dashboards": {"enabled": True}})
    except chart.Missing as error:
        pytest.skip(str(error))
    texts = {
        name.removeprefix("ullage-"): text
        for found in objects
        if "grafana_dashboard" in found["metadata"]["labels"]
        for name, text in found["data"].items()
    }
    files = {p.name: p.read_text() for p in (ROOT / "grafana").glob("*.json")}
    assert set(texts) == set(files)
    assert all(json.loads(texts[n]) == json.loads(files[n]) for n in files)
    assert max(map(len, texts.values())) < 2**20  # more does not fit into a ConfigMap


def test_the_chart_is_of_this_version():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__
