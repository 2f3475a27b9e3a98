"""A Kubernetes API server as its callers see it, with the controllers and nodes behind it.

What it answers was seen of Kubernetes 1.33: a scale of 0 is left out, a Deployment without pods
counts as available, a pod is listed until its node says that it has ended.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from supervisor.config.served import Launching
from supervisor.engines.launched import Told

from .serving import Serving

NAMESPACE = "llm"
USER = "system:serviceaccount:llm:ullage"
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{server}", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: open-sesame}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""


@dataclass
class Pod:
    name: str
    uid: str
    ready: bool = True
    leaving: bool = False
    phase: str = "Running"
    restarts: int = 0
    waiting: tuple | None = None  # reason, message
    ended: tuple | None = None  # reason, exit code, of the last run
    unscheduled: str | None = None
    grace: int = 30


@dataclass
class Deployment:
    """`starts` says what comes of the next scaling up, `stops` of every scaling down."""

    name: str
    replicas: int = 0
    starts: str = "runs"  # runs, waits, fails, quota
    stops: str = "ends"  # ends, lingers, returns
    labels: dict = field(default_factory=dict)
    annotations: dict = field(default_factory=dict)
    pods: list = field(default_factory=list)
    conditions: list = field(default_factory=list)
    expressions: list = field(default_factory=list)  # of its selector, besides app=NAME
    made: int = 0
    written: list = field(default_factory=list)


class StandIn:
    """`async with StandIn(["m1"]) as s`: a cluster with one Deployment for each model.

    `rules` are those of a Role, which is then all that the caller may do."""

    def __init__(self, models=("alpha", "beta"), *, rules=None):
        self.models = tuple(models)
        self.deployments = {m: Deployment(m) for m in self.models}
        self.scalers = []
        self.rules = rules
        self.denied = self.conflicts = False
        self.serving = Serving(self._answer)

    async def __aenter__(self):
        pytest.importorskip("lightkube")
        self.folder = Path(tempfile.mkdtemp(prefix="ullage-"))
        self.kubeconfig = self.folder / "config"
        await self.start()
        self.options = self.told(served={m: {"deployment": m} for m in self.models})
        return self

    async def __aexit__(self, *_):
        await self.stop()
        shutil.rmtree(self.folder)

    async def start(self):
        await self.serving.listen()
        server = f"http://127.0.0.1:{self.serving.port}"
        self.kubeconfig.write_text(KUBECONFIG.format(server=server))

    async def stop(self):
        await self.serving.close()

    # -- what the contract test asks of every stand-in

    def told(self, **table):
        usual = {"kubeconfig": str(self.kubeconfig), "namespace": NAMESPACE}
        return Told(Launching.model_validate(usual | table), _nobody, self.folder)

    def running(self, model):
        return bool(self.deployments[model].pods)

    def crash(self, model):
        """Its container ends by itself, and is started again after a while."""
        for pod in self.deployments[model].pods:
            pod.ready, pod.restarts = False, pod.restarts + 1
            pod.waiting = "CrashLoopBackOff", "back-off 40s restarting failed container"
            pod.ended = "OOMKilled", 137

    def hang(self):
        self.serving.hanging = True

    def deny(self):
        self.denied = True

    def fail_next_start(self, model):
        self.deployments[model].starts = "fails"

    def lie(self, model):
        """It says that it was scaled down, and something scales it up again."""
        self.deployments[model].stops = "returns"

    def write(self, model, *lines):
        self.deployments[model].written += lines

    # -- its own

    def finish(self, model):
        """What the nodes had to do is done: it is ready, or its pods have ended."""
        deployment = self.deployments[model]
        deployment.pods = [pod for pod in deployment.pods if not pod.leaving]
        for pod in deployment.pods:
            pod.ready = True

    @property
    def patches(self):
        return [body for call, body in self.serving.calls if call.startswith("PATCH")]

    def _answer(self, method, path, query, body, fields):
        assert fields["authorization"] == "Bearer open-sesame"
        group, namespace, rest = _split(path)
        kind, name, part = (*rest, "", "")[:3]
        resource = f"{kind}/{part}" if part else kind
        verb = {"GET": "get" if name else "list", "PATCH": "patch"}[method]
        no = self._forbidden(verb, group, resource, name, namespace)
        if no is not None:
            return no
        if resource == "deployments":
            return self._deployment(name)
        if resource == "deployments/scale":
            assert fields["content-type"] == "application/merge-patch+json"
            return self._scale(name, body)
        if resource == "pods":
            return self._pods(query.get("labelSelector", ""))
        if resource == "pods/log":
            return self._log(name, query)
        assert resource == "horizontalpodautoscalers", resource
        return 200, {"kind": "HorizontalPodAutoscalerList", "metadata": {}, "items": self.scalers}

    def _forbidden(self, verb, group, resource, name, namespace):
        allowed = self.rules is None or any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and ("resourceNames" not in rule or name in rule["resourceNames"])
            for rule in self.rules
        )
        if allowed and not (self.denied and verb == "patch"):
            return None
        whole = resource.partition("/")[0]
        named = f'{whole}.{group} "{name}"' if group else f'{whole} "{name}"'
        return _no(
            403,
            "Forbidden",
            f'{named} is forbidden: User "{USER}" cannot {verb} resource "{resource}" in API group'
            f' "{group}" in the namespace "{namespace}"',
        )

    def _deployment(self, name):
        found = self.deployments.get(name)
        if found is None:
            return _no(404, "NotFound", f'deployments.apps "{name}" not found')
        ready = sum(pod.ready and not pod.leaving for pod in found.pods)
        status = {"observedGeneration": 1, "conditions": found.conditions}
        if count := sum(not pod.leaving for pod in found.pods):
            status["replicas"] = count
        if ready:
            status["readyReplicas"] = ready
        selector = {"matchLabels": {"app": name}}
        if found.expressions:
            selector["matchExpressions"] = found.expressions
        meta = {"name": name, "namespace": NAMESPACE}
        if found.labels:
            meta["labels"] = found.labels
        if found.annotations:
            meta["annotations"] = found.annotations
        return 200, {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": found.replicas,
                "selector": selector,
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}},
            },
            "status": status,
        }

    def _scale(self, name, body):
        found = self.deployments.get(name)
        if found is None:
            return _no(404, "NotFound", f'deployments.apps "{name}" not found')
        if self.conflicts:
            why = "the object has been modified; please apply your changes to the latest version"
            return _no(409, "Conflict", f'Operation cannot be fulfilled on "{name}": {why}')
        wanted = body["spec"]["replicas"]
        self._set(found, wanted)
        spec = {"replicas": wanted} if wanted else {}  # 0 is left out
        answer = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name}}
        if not wanted and found.stops == "returns":
            self._set(found, 1)
        return 200, answer | {"spec": spec, "status": {"replicas": 0, "selector": f"app={name}"}}

    def _set(self, found, wanted):
        found.replicas = wanted
        live = [pod for pod in found.pods if not pod.leaving]
        for pod in live[wanted:]:
            if found.stops == "lingers":
                pod.leaving, pod.ready = True, False
            else:
                found.pods.remove(pod)
        if found.starts == "quota" and wanted:
            words = "exceeded quota: gpus"
            found.conditions = [
                {"type": "ReplicaFailure", "status": "True", "reason": "X", "message": words}
            ]
            return
        while len([pod for pod in found.pods if not pod.leaving]) < wanted:
            found.made += 1
            pod = Pod(f"{found.name}-{found.made}", f"{found.name}-uid-{found.made}")
            pod.ready = found.starts == "runs"
            if found.starts == "fails":
                pod.unscheduled = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
                pod.phase = "Pending"
            found.pods.append(pod)
        if wanted:
            found.starts = "runs"

    def _pods(self, selector):
        name = selector.split(",")[0].removeprefix("app=")
        found = self.deployments.get(name)
        items = [_pod(name, pod) for pod in found.pods] if found is not None else []
        return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

    def _log(self, pod, query):
        found = next(d for d in self.deployments.values() if pod in [p.name for p in d.pods])
        lines = found.written[-int(query["tailLines"]) :]
        return 200, "".join(f"{line}\n" for line in lines).encode()


def container_of(pod):
    """The id of a pod's container, in its present run."""
    return f"{pod.uid}-{pod.restarts}"


def _pod(name, pod):
    meta = {"name": pod.name, "uid": pod.uid, "namespace": NAMESPACE, "labels": {"app": name}}
    if pod.leaving:
        meta |= {
            "deletionTimestamp": "2026-11-21T10:00:00Z",
            "deletionGracePeriodSeconds": pod.grace,
        }
    status = {"phase": pod.phase, "qosClass": "BestEffort"}
    if pod.unscheduled:
        condition = {"type": "PodScheduled", "status": "False", "message": pod.unscheduled}
        status["conditions"] = [condition | {"reason": "Unschedulable"}]
    else:
        container = {"name": "main", "image": "x", "imageID": "", "ready": pod.ready}
        container |= {"restartCount": pod.restarts, "state": {"running": {}}}
        container["containerID"] = f"containerd://{container_of(pod)}"
        if pod.waiting:
            reason, message = pod.waiting
            container["state"] = {"waiting": {"reason": reason, "message": message}}
        if pod.ended:
            reason, code = pod.ended
            container["lastState"] = {"terminated": {"reason": reason, "exitCode": code}}
        status["containerStatuses"] = [container]
    spec = {"terminationGracePeriodSeconds": pod.grace, "containers": []}
    return {"metadata": meta, "spec": spec, "status": status}


def _split(path):
    """The API group, the namespace, and what follows it."""
    words = path.strip("/").split("/")
    group = words[1] if words[0] == "apis" else ""
    at = words.index("namespaces")
    return group, words[at + 1], words[at + 2 :]


def _no(code, reason, message):
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, status | {"message": message, "reason": reason, "code": code}


def _nobody(kind, id, url):
    raise AssertionError("nobody inside is spoken to")


standin = StandIn
