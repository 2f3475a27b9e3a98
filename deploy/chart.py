"""The Helm chart: linted and rendered by Helm's own library, its objects held against schemas."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OLDEST = "1.30"  # of Kubernetes, as Chart.yaml asks for it
# Of operators no schema is at hand: their objects are looked at here.
OPERATORS = frozenset({"monitoring.coreos.com/v1", "ray.io/v1"})
NAME, NAMESPACE = "ullage", "gpu"

Values = Mapping[str, Any]
Object = dict[str, Any]

# What somebody may well write, and is refused: whole values, and what is said of them.
WRONG_VALUES: tuple[tuple[Values, str], ...] = (
    ({"mode": "advice"}, "mode"),
    ({"hostPid": True}, "hostPid"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"resources": {"limits": {"memory": "512Mi"}}}, "limits"),
    ({"podMonitor": {"interval": "often"}}, "interval"),
    ({"state": {"hostPath": "var/lib"}}, "hostPath"),
    ({"seeOwners": True}, "needs hostPID"),
    ({"fleet": {"enabled": True, "head": {"create": False}}}, "needs fleet.head.address"),
    ({"fleet": {"enabled": True, "head": {"address": "ray:6379"}}}, "has to be false"),
    (
        {"fleet": {"enabled": True, "head": {"create": False, "address": "ray:6379"}}},
        "fleet.token.existingSecret is missing",
    ),
    ({"fleet": {"enabled": True, "gateway": {"enabled": True}}}, "fleet.gateway.existingSecret"),
    ({"fleet": {"enabled": True}, "hostPID": True, "seeOwners": True}, "does not go with"),
    ({"fleet": {"rayVersion": "2.40.0"}}, "rayVersion"),
    (
        {"prometheusRule": {"enabled": True, "without": ["UllageHungry"]}},
        "there is no alert UllageHungry",
    ),
)


class Wrong(Exception):
    """A file is not what it should be. The message says how."""


class Missing(Exception):
    """What would look at it is not on this machine."""


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A copy of the chart, to which something may be added."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(folder, Path(place, folder.name)))


def lint(folder: Path) -> None:
    """Raises Wrong for errors and warnings, with default values and with each of ci/."""
    helm = _helm()
    for values in (None, *(_load(p.read_text())[0] for p in _ci(folder))):
        try:
            report = helm.lint(folder, values, strict=True)
        except helm.HelmError as error:
            raise Wrong(str(error)) from None
        said = [m["error"] for m in report["messages"] if m["severity"] > 1]
        if said or report["errors"]:
            raise Wrong("\n".join([*said, *report["errors"]]))


def rendered(folder: Path, values: Values) -> list[Object]:
    """Every object, as it would be sent to a cluster. Raises Wrong."""
    helm = _helm()
    try:
        with helm.Chart.load(folder) as chart:
            files = chart.render(dict(values), name=NAME, namespace=NAMESPACE)
    except helm.HelmError as error:
        raise Wrong(str(error)) from None
    texts = (text for name, text in sorted(files.items()) if not name.endswith(".txt"))
    return [found for text in texts for found in _load(text) if found]


def refuses(folder: Path) -> int:
    """How many wrong values the chart refuses. Raises Wrong where it takes one."""
    for values, word in WRONG_VALUES:
        try:
            rendered(folder, values)
        except Wrong as error:
            if word not in str(error):
                raise Wrong(f"{values} is refused for {error}") from None
        else:
            raise Wrong(f"{values} is not refused")
    return len(WRONG_VALUES)


def valid(folder: Path) -> str:
    """Raises Wrong where a cluster would refuse an object, by default and with each of ci/."""
    try:
        import kubernetes_validate as kubernetes  # type: ignore[import-untyped]
    except ImportError as error:
        raise Missing(f"kubernetes-validate cannot be had: {error}") from None
    newest = kubernetes.latest_version()
    count = 0
    for values in ({}, *(_load(p.read_text())[0] for p in _ci(folder))):
        for found in rendered(folder, values):
            count += 1
            if found["apiVersion"] in OPERATORS:
                _operated(found)
                if found["kind"] != "RayCluster":
                    continue
                found = _pod(found)
            for version in (OLDEST, newest):
                try:
                    kubernetes.validate(found, version, strict=True)
                except Exception as error:  # of its own, and of the schemas
                    name = f"{found['kind']} {found['metadata']['name']}"
                    raise Wrong(f"{name}, Kubernetes {version}: {error}") from None
    return f"{count} objects, Kubernetes {OLDEST} and {newest}"


def rules(objects: list[Object]) -> str:
    """The rules among them, as a file of Prometheus."""
    (found,) = [o for o in objects if o["kind"] == "PrometheusRule"]
    import yaml  # type: ignore[import-untyped]

    text: str = yaml.safe_dump({"groups": found["spec"]["groups"]})
    return text


_KEYS = {
    "PodMonitor": {"selector", "podMetricsEndpoints"},
    "PrometheusRule": {"groups"},
    "RayCluster": {"rayVersion", "authOptions", "headGroupSpec"},
}
_HEAD = {"serviceType", "rayStartParams", "template"}


def _operated(found: Object) -> None:
    """What the operator takes, as far as it is used here."""
    kind, spec = found["kind"], found["spec"]
    if kind not in _KEYS or set(spec) != _KEYS[kind]:
        raise Wrong(f"{kind}: its spec has {', '.join(sorted(spec))}")
    if kind == "RayCluster":
        head = spec["headGroupSpec"]
        if set(head) != _HEAD or not spec["authOptions"].keys() <= {"mode", "secretName"}:
            raise Wrong(f"{kind}: its head has {', '.join(sorted(head))}")
        if not all(isinstance(value, str) for value in head["rayStartParams"].values()):
            raise Wrong(f"{kind}: rayStartParams are texts, all of them")


def _pod(found: Object) -> Object:
    """The pod that the operator would make of a RayCluster's head."""
    template = found["spec"]["headGroupSpec"]["template"]
    metadata = {**template["metadata"], "name": found["metadata"]["name"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _ci(folder: Path) -> Iterator[Path]:
    yield from sorted((folder / "ci").glob("*.yaml"))


def _load(text: str) -> list[Any]:
    try:
        import yaml
    except ImportError as error:
        raise Missing(f"PyYAML cannot be had: {error}") from None
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise Wrong(str(error)) from None


def _helm() -> Any:
    try:
        import helm_python
    except (ImportError, OSError) as error:
        raise Missing(f"helm-python-sdk cannot be had: {error}") from None
    return helm_python
