"""Rules that the API server enforces within the workers and their scheduling, in CEL.

Rule of this module: what Kubernetes would refuse in the pods is refused in the resource, where its
author sees it.
"""

from __future__ import annotations

from sid_operator.crd.rule import Rule

_NO_GPU = r"!name.matches(r'^(nvidia\.com/(gpu|mig-)|amd\.com/gpu)')"
_GPUS_TWICE = (
    "GPUs are asked for by workers.gpusPerNode and workers.gpuResource: remove them from resources"
)
_REQUEST = "quantity(string(self.requests[name]))"
_LIMIT = "quantity(string(self.limits[name]))"
_HAS_CPU_OR_MEMORY = "('cpu' in self.{part} || 'memory' in self.{part})"


def _resource_names(path: str) -> Rule:
    return Rule(
        path,
        "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || "
        "name.startsWith('hugepages-') || name.contains('/'))",
        "unknown resource: use cpu, memory, ephemeral-storage, hugepages-SIZE, or the full name of "
        "an extended one (rdma/hca)",
    )


WORKERS = (
    Rule(
        "spec.workers.resources",
        f"(!has(self.requests) || self.requests.all(name, {_NO_GPU})) && "
        f"(!has(self.limits) || self.limits.all(name, {_NO_GPU}))",
        _GPUS_TWICE,
    ),
    Rule(
        "spec.workers",
        "!has(self.resources) || (!has(self.resources.requests) || "
        "!(self.gpuResource in self.resources.requests)) && (!has(self.resources.limits) || "
        "!(self.gpuResource in self.resources.limits))",
        _GPUS_TWICE,
        field="resources",
    ),
    *(_resource_names(f"spec.workers.resources.{part}") for part in ("requests", "limits")),
    Rule(
        "spec.workers.resources",
        "!has(self.requests) || !has(self.limits) || self.requests.all(name, "
        f"!(name in self.limits) || {_REQUEST}.compareTo({_LIMIT}) <= 0)",
        "a request is more than the limit of the same resource: raise the limit or lower the "
        "request",
        field="requests",
    ),
    Rule(
        "spec.workers.resources",
        "!has(self.requests) || self.requests.all(name, "
        "!name.contains('/') && !name.startsWith('hugepages-') || "
        f"(has(self.limits) && name in self.limits && {_REQUEST}.compareTo({_LIMIT}) == 0))",
        "an extended resource (with '/' in its name), or hugepages, has no request apart from its "
        "limit: give it under limits only",
        field="requests",
    ),
    Rule(
        "spec.workers.resources",
        f"!has(self.limits) || self.limits.all(name, !name.contains('/') || {_LIMIT}.isInteger())",
        "an extended resource (with '/' in its name) is counted in whole numbers: give 1, not 500m",
        field="limits",
    ),
    Rule(
        "spec.workers.resources",
        "!has(self.limits) || !self.limits.exists(name, name.startsWith('hugepages-')) || "
        f"{_HAS_CPU_OR_MEMORY.format(part='limits')} || "
        f"has(self.requests) && {_HAS_CPU_OR_MEMORY.format(part='requests')}",
        "hugepages are given only together with cpu or memory: add one of them",
        field="limits",
    ),
    Rule(
        "spec.workers.resourceClaims[]",
        "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
        "a claim has one source: give resourceClaimTemplateName, for a claim of each pod's own, or "
        "resourceClaimName",
    ),
    Rule(
        "spec.workers",
        "self.gpuResource != '' || self.gpusPerNode == 0 || "
        "has(self.resourceClaims) && size(self.resourceClaims) > 0",
        "workers.gpuResource is empty, so that the pods would get no GPUs: give "
        "workers.resourceClaims, or the resource by which the nodes offer theirs",
        field="gpuResource",
    ),
    Rule(
        "spec.workers.tolerations[]",
        "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
        "value is not compared when operator is Exists: remove it, or use Equal",
        field="value",
    ),
    Rule(
        "spec.workers.tolerations[]",
        "has(self.key) || has(self.operator) && self.operator == 'Exists'",
        "key may be left out with operator Exists only: give the key of the taint",
    ),
    Rule(
        "spec.workers.tolerations[]",
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        "tolerationSeconds is for effect NoExecute only: remove it, or set the effect",
        field="tolerationSeconds",
    ),
    Rule(
        "spec.workers.nodeAffinity[]",
        "has(self.operator) && self.operator in ['Exists', 'DoesNotExist'] ? "
        "!has(self.values) || size(self.values) == 0 : "
        "has(self.values) && (has(self.operator) && self.operator in ['Gt', 'Lt'] ? "
        "size(self.values) == 1 && "
        "self.values[0].matches(r'^[0-9]+$') : size(self.values) > 0)",
        "values do not fit the operator: give some for In and NotIn, one whole number for Gt and "
        "Lt, none for Exists and DoesNotExist",
        field="values",
    ),
    Rule(
        "spec.scheduling",
        "self.topology != 'Required' || has(self.topologyKey)",
        "topology Required needs to know within what: give topologyKey, or remove topology",
        field="topology",
    ),
    Rule(
        "spec.workers.volumes",
        "self.all(one, self.exists_one(other, other.mountPath == one.mountPath))",
        "two volumes have the same mountPath: give each its own",
    ),
)
