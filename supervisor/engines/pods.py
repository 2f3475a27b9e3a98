"""What Kubernetes says of a Deployment and its pods, in our words. Pure, but for the search."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from collectors.process import cgroup_of, read_times

from .launched import Phase, Status

if TYPE_CHECKING:
    from lightkube.models.apps_v1 import Deployment as DeploymentModel
    from lightkube.models.core_v1 import Pod as PodModel

ENDED = ("Succeeded", "Failed")  # such a pod is a record, and holds nothing
GRACE = 30  # seconds, unless the pod says otherwise
QUOTED = 200
_WAITING = ("ContainerCreating", "PodInitializing")  # no trouble: that is how one starts


@dataclass(frozen=True, slots=True)
class Pod:
    """`containers` are the ids of those that run; `grace` is in seconds."""

    name: str
    run: str
    leaving: bool = False
    containers: tuple[str, ...] = ()
    grace: int = GRACE
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    wanted: int
    ready: int
    selector: tuple[tuple[str, Any], ...]
    trouble: str | None = None
    keepers: tuple[tuple[str, str], ...] = ()  # who sets its replicas back, and the remedy


def deployment(found: DeploymentModel) -> Deployment:
    spec, status = found.spec, found.status
    assert spec is not None
    wanted = 1 if spec.replicas is None else spec.replicas
    ready = (status.readyReplicas or 0) if status is not None else 0
    conditions = {c.type: c for c in (status.conditions if status else None) or ()}
    failed = [
        c
        for c in (conditions.get("ReplicaFailure"), conditions.get("Progressing"))
        if c is not None and c.status == ("True" if c.type == "ReplicaFailure" else "False")
    ]
    trouble = (failed[0].message or failed[0].reason) if failed and wanted else None
    return Deployment(wanted, ready, tuple(_selector(spec.selector)), trouble, _keepers(found))


def pod(found: PodModel) -> Pod | None:
    """None: it has ended, and is listed as a record."""
    meta, spec, status = found.metadata, found.spec, found.status
    assert meta is not None
    if status is not None and status.phase in ENDED:
        return None
    containers = (status.containerStatuses if status else None) or ()
    restarts = sum(c.restartCount or 0 for c in containers)
    ids = [(c.containerID or "").rpartition("//")[2] for c in containers]
    grace = meta.deletionGracePeriodSeconds
    if grace is None:
        grace = spec.terminationGracePeriodSeconds if spec is not None else None
    return Pod(
        meta.name or "",
        f"{meta.uid}/{restarts}",
        meta.deletionTimestamp is not None,
        tuple(id for id in ids if id),
        GRACE if grace is None else grace,
        _trouble(found),
    )


def status(name: str, found: Deployment, pods: Collection[Pod], pid: int | None) -> Status:
    """Terminating pods hold their memory to their end."""
    live = sorted((p for p in pods if not p.leaving), key=lambda p: p.run)
    if found.wanted == 0:
        phase = Phase.STOPPING if pods else Phase.STOPPED
    else:
        phase = Phase.RUNNING if found.ready >= found.wanted else Phase.STARTING
    run = live[0].run if live else ""
    words = next((p.trouble for p in live if p.trouble), None) or found.trouble
    trouble = f"{name}: {words}"[:QUOTED] if words and found.wanted else None
    return Status(phase, run, pid=pid, trouble=trouble)


def on_this_machine(
    containers: Collection[str],
    group: Callable[[int], str | None] = cgroup_of,
    running: Callable[[], Iterable[int]] = psutil.pids,
) -> int | None:
    """The first process of one of these containers: their ids stand in its control group."""
    found = [pid for pid in running() if any(id in (group(pid) or "") for id in containers)]
    # Whoever has ended meanwhile has no time; a parent and its child may begin in one tick.
    began = {pid: times.started for pid, times in read_times(found).items()}
    return min(began, key=lambda pid: (began[pid], pid), default=None)


def _selector(told: Any) -> Iterator[tuple[str, Any]]:
    from lightkube import operators

    yield from (told.matchLabels or {}).items()
    for wanted in told.matchExpressions or ():
        values = wanted.values or []
        yield (
            wanted.key,
            {
                "In": operators.in_(values),
                "NotIn": operators.not_in(values),
                "Exists": operators.exists(),
                "DoesNotExist": operators.not_exists(),
            }[wanted.operator],
        )


def _trouble(found: PodModel) -> str | None:
    status = found.status
    if status is None:
        return None
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.message or condition.reason
    for container in status.containerStatuses or ():
        state, last = container.state, container.lastState
        waiting = state.waiting if state is not None else None
        if waiting is None or waiting.reason in (None, *_WAITING):
            continue
        ended = last.terminated if last is not None else None
        why = f", after {ended.reason} ({ended.exitCode})" if ended is not None else ""
        return f"{waiting.reason}{why}: {waiting.message or container.name}"
    return None


def _keepers(found: DeploymentModel) -> tuple[tuple[str, str], ...]:
    """Who keeps what a Deployment says as it is written elsewhere."""
    meta = found.metadata
    assert meta is not None
    labels, annotations = meta.labels or {}, meta.annotations or {}
    keepers = []
    if "argocd.argoproj.io/tracking-id" in annotations or "argocd.argoproj.io/instance" in labels:
        keepers.append(
            (
                f"Argo CD may set the replicas of {meta.name} back",
                "ignoreDifferences for /spec/replicas, with RespectIgnoreDifferences=true",
            )
        )
    if any(key.startswith("kustomize.toolkit.fluxcd.io/") for key in labels):
        keepers.append(
            (
                f"Flux may set the replicas of {meta.name} back",
                "leave `replicas` out of its manifest",
            )
        )
    return tuple(keepers)
