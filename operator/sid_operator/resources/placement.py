"""Where the pods of a run go: on which nodes, and how near to each other.

Rule: what Kubernetes' scheduler is told, Kueue's topology-aware scheduling is told as well: it
chooses the domain before the scheduler sees a pod.
"""

from __future__ import annotations

from sid_operator.api.names import LABEL_DISTILLATION
from sid_operator.resources.metadata import Manifest
from sid_operator.resources.run import Run

KUEUE_TOPOLOGY = {
    "Preferred": "kueue.x-k8s.io/podset-preferred-topology",
    "Required": "kueue.x-k8s.io/podset-required-topology",
}
_HIGHEST_WEIGHT = 100


def affinity(run: Run) -> Manifest:
    """The pods' affinity; empty where nothing is asked for."""
    parts = {"nodeAffinity": node_affinity(run), "podAffinity": _together(run)}
    return {name: part for name, part in parts.items() if part}


def nodes(run: Run) -> Manifest:
    """The fields of a pod, but for its affinity, that say which nodes may have it."""
    workers = run.spec.workers
    tolerations = [one.model_dump(by_alias=True, exclude_none=True) for one in workers.tolerations]
    fields = {"nodeSelector": workers.node_selector, "tolerations": tolerations}
    return {name: value for name, value in fields.items() if value}


def queue_annotations(run: Run) -> dict[str, str]:
    """Annotations of the pods that Kueue reads."""
    scheduling = run.spec.scheduling
    if scheduling.queue_name is None or scheduling.topology_key is None:
        return {}
    return {KUEUE_TOPOLOGY[scheduling.topology]: scheduling.topology_key}


def node_affinity(run: Run) -> Manifest:
    """What the labels of a pod's node must satisfy; empty where nothing is asked for."""
    wanted = run.spec.workers.node_affinity
    if not wanted:
        return {}
    expressions = [
        {"key": one.key, "operator": one.operator} | ({"values": one.values} if one.values else {})
        for one in wanted
    ]
    terms = [{"matchExpressions": expressions}]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}


def _together(run: Run) -> Manifest:
    scheduling = run.spec.scheduling
    if scheduling.topology_key is None:
        return {}
    term = {
        "labelSelector": {"matchLabels": {LABEL_DISTILLATION: run.name}},
        "topologyKey": scheduling.topology_key,
    }
    if scheduling.topology == "Required":
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    weighted = {"weight": _HIGHEST_WEIGHT, "podAffinityTerm": term}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [weighted]}
