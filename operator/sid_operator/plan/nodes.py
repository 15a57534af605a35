"""Nodes as the room check sees them: which GPUs there are, and which of them the pods may get.

Rules this module keeps:

* A node's GPU memory is what the label ``nvidia.com/gpu.memory`` says (NVIDIA's GPU feature
  discovery), in MiB; a node without it is not seen at all.
* What passes is not looked at: taints that tell of a node's health, and cordons. The GPUs stay
  what they are.
* The taint ``nvidia.com/gpu`` counts as tolerated: clusters that set it commonly have admission
  tolerate it for pods that ask for GPUs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sid_operator.api.names import GPU_RESOURCE
from sid_operator.api.pods import NodeRequirement, Toleration
from sid_operator.api.workers import WorkersSpec
from sid_operator.kube.kinds import Object
from sid_operator.plan.objects import printable

LABEL_MEMORY = "nvidia.com/gpu.memory"
LABEL_PRODUCT = "nvidia.com/gpu.product"
LABEL_COUNT = "nvidia.com/gpu.count"
MIB = 2**20
LARGEST = 2**53
"""Largest number that a label is believed."""
_PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
_BLOCKING = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint that keeps pods away."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuNode:
    """A node that tells the memory of its GPUs.

    Attributes:
        memory: bytes of each of its GPUs.
        gpus: how many it has.
        product: their name, or "".
    """

    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    memory: int
    gpus: int
    product: str


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that tell their GPUs' memory.

    Attributes:
        problem: Why none are known, or "".
    """

    items: tuple[GpuNode, ...] = ()
    problem: str = ""


def gpu_node(obj: Object) -> GpuNode | None:
    """Read a node; None where it does not tell its GPUs' memory."""
    labels = obj["metadata"].get("labels") or {}
    memory = _number(labels.get(LABEL_MEMORY))
    if not memory:
        return None
    allocatable = (obj.get("status") or {}).get("allocatable") or {}
    return GpuNode(
        labels=labels,
        taints=tuple(_blocking(obj)),
        memory=memory * MIB,
        gpus=_number(allocatable.get(GPU_RESOURCE)) or _number(labels.get(LABEL_COUNT)),
        product=printable(str(labels.get(LABEL_PRODUCT, ""))),
    )


def open_to(workers: WorkersSpec, nodes: Iterable[GpuNode]) -> list[GpuNode]:
    """The nodes that the pods of a run may be put on, whatever else runs there now."""
    return [
        node
        for node in nodes
        if node.gpus >= workers.gpus_per_node
        and all(node.labels.get(k) == v for k, v in workers.node_selector.items())
        and all(_satisfies(node.labels, wanted) for wanted in workers.node_affinity)
        and all(any(_tolerates(one, t) for one in workers.tolerations) for t in node.taints)
    ]


def _blocking(obj: Object) -> Iterable[Taint]:
    for taint in (obj.get("spec") or {}).get("taints") or []:
        key, effect = str(taint.get("key", "")), str(taint.get("effect", ""))
        passing = key.startswith(_PASSING) or key == GPU_RESOURCE
        if effect in _BLOCKING and not passing:
            yield Taint(key, str(taint.get("value") or ""), effect)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in (None, taint.effect):
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    if toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.value


def _satisfies(labels: Mapping[str, str], wanted: NodeRequirement) -> bool:
    """Whether labels satisfy a requirement, as the scheduler reads it."""
    value = labels.get(wanted.key)
    match wanted.operator:
        case "In":
            return value in wanted.values
        case "NotIn":
            return value not in wanted.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compares(value, wanted)


def _compares(value: str | None, wanted: NodeRequirement) -> bool:
    try:
        number, limit = int(value or ""), int(wanted.values[0])
    except (ValueError, IndexError):
        return False
    return number > limit if wanted.operator == "Gt" else number < limit


def _number(text: object) -> int:
    """A whole number above 0 as labels and quantities write it, else 0."""
    told = str(text)
    return min(int(told), LARGEST) if told.isascii() and told.isdigit() and len(told) < 17 else 0
