"""Rules that the API server enforces across fields, in CEL: names, contradictions, lists.

Rules this module keeps:

* Every message says what is wrong *and* what to do about it.
* A check of one field alone stands with the field (:mod:`sid_operator.api.fields`), but for the
  fields that the trainer's model owns, which knows nothing of CEL.
* What the API server accepts, the operator's models accept (tested); the reverse need not hold.
"""

from __future__ import annotations

from typing import Any

from sid_operator.api.fields import VALIDATIONS
from sid_operator.api.names import MAX_NAME_LENGTH
from sid_operator.crd.immutability import IMMUTABLE
from sid_operator.crd.rule import Rule
from sid_operator.crd.schema import Schema
from sid_trainer.config import DEFAULT_IMAGES, GuidanceConfig

_PROCESSES = "(self.workers.nodes * (self.workers.gpusPerNode > 0 ? self.workers.gpusPerNode : 1))"
_BATCH, _MICRO = "self.training.batchSize", "self.training.microBatchSize"
_S3 = r"self.matches(r'^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/].*$')"
_PATH = r"self.matches(r'^/[^/].*$')"
_HUB_ID = r"self.matches(r'^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$')"
_DATASET = r"self.matches(r'^hf://datasets/[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(@[^/@]+)?/.*$')"
_HUB_FORMS = {
    _HUB_ID: "a Hugging Face id (organisation/model)",
    _DATASET: "hf://datasets/OWNER/NAME@REVISION/PATH",
}
_NO_GPU = r"!name.matches(r'^(nvidia\.com/(gpu|mig-)|amd\.com/gpu)')"
_GPUS_TWICE = (
    "GPUs are asked for by workers.gpusPerNode and workers.gpuResource: remove them from resources"
)
_REQUEST = "quantity(string(self.requests[name]))"
_LIMIT = "quantity(string(self.limits[name]))"
_SCALE = GuidanceConfig.model_fields["scale"].default
_ADVERSARIAL = "self.distillation.adversarial"
_LENGTH = (
    f"(has(self.training.iterations) ? self.training.iterations * {_BATCH} : "
    f"has(self.training.images) ? self.training.images : {DEFAULT_IMAGES})"
)


def _location(path: str, hub: str = "") -> Rule:
    """The value at ``path`` is a place that a pod can read from.

    ``hub`` is a rule for its form on the Hugging Face Hub, where it may lie there.
    """
    kinds = f"{_HUB_FORMS[hub]}, " if hub else ""
    return Rule(
        path,
        " || ".join(filter(None, [hub, _S3, _PATH])),
        f"must be {kinds}s3://bucket/key, or an absolute path on a volume of workers.volumes "
        "(/mnt/NAME/...)",
    )


def _no_column_of_text(path: str) -> Rule:
    """The prompts at ``path`` have a column only where their format has columns."""
    return Rule(
        path,
        r"!has(self.column) || !self.uri.matches(r'\.txt(\.gz)?$')",
        "column is given, but a .txt file has no columns: remove it",
        field="column",
    )


def _resource_names(path: str) -> Rule:
    return Rule(
        path,
        "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || "
        "name.startsWith('hugepages-') || name.contains('/'))",
        "unknown resource: use cpu, memory, ephemeral-storage, hugepages-SIZE, or the full name of "
        "an extended one (rdma/hca)",
    )


def _begins(start: str) -> Rule:
    """A phase of data-aided training begins before the run ends."""
    name = f"distillation.adversarial.{start}"
    return Rule(
        "spec",
        f"!has({_ADVERSARIAL}) || {_ADVERSARIAL}.{start} < {_LENGTH}",
        f"{name} is not before the end of the run: lower it, or raise training.iterations or "
        "training.images",
        field=name,
    )


NAMES = (
    Rule(
        "",
        f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
        f"metadata.name must be at most {MAX_NAME_LENGTH} characters long, as pods are named "
        "after it: choose a shorter one",
    ),
    Rule(
        "",
        r"self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must begin with a letter and have no dots (lower-case letters, digits and "
        "'-'), as a Service is named after it: choose another one",
    ),
)

CONTRADICTIONS = (
    Rule(
        "spec",
        f"{_BATCH} % {_PROCESSES} == 0",
        "training.batchSize must be a multiple of the number of training processes, "
        "workers.nodes * workers.gpusPerNode: change one of them",
        field="training.batchSize",
    ),
    Rule(
        "spec",
        f"!has({_MICRO}) || ({_BATCH} / {_PROCESSES} > 0 && "
        f"{_BATCH} / {_PROCESSES} % {_MICRO} == 0)",
        "training.microBatchSize must divide the share of training.batchSize that each training "
        "process has: use a divisor of it",
        field="training.microBatchSize",
    ),
    Rule(
        "spec.training",
        "!(has(self.iterations) && has(self.images))",
        "training.iterations and training.images are both set, and each gives the length of the "
        "run: remove one",
    ),
    Rule(
        "spec",
        "self.checkpoint.keepBest == 0 || has(self.evaluation.metrics) && "
        "has(self.evaluation.metrics.best) && has(self.evaluation.metrics.everyIterations) && "
        "self.evaluation.metrics.everyIterations % self.checkpoint.everyIterations == 0",
        "checkpoint.keepBest keeps checkpoints of measured students: give "
        "evaluation.metrics.best, and evaluation.metrics.everyIterations as a multiple of "
        "checkpoint.everyIterations",
        field="checkpoint.keepBest",
    ),
    Rule(
        "spec",
        "self.training.precision != 'pure-bf16' || self.deepspeed.offload == 'none'",
        "deepspeed.offload optimizer does not go with training.precision pure-bf16: use bf16, "
        "whose fp32 weights are then in host memory, or offload none",
        field="deepspeed.offload",
    ),
    Rule(
        "spec.distillation.guidance",
        f"self.scale == {float(_SCALE)} || self.strategy != 'ZeroCFG' && "
        "!(has(self.fakeTrainingScale) && has(self.fakeScale) && "
        "(self.strategy == 'AntiCFG' || has(self.teacherScale)))",
        "guidance.scale is not used by ZeroCFG, nor where the other scales are given: remove it, "
        "or choose LSG or AntiCFG without them",
        field="scale",
    ),
    Rule(
        "spec",
        f"!has({_ADVERSARIAL}) || has(self.data.images)",
        "distillation.adversarial needs real images: give data.images, or remove it for data-free "
        "training",
        field="distillation.adversarial",
    ),
    *(_begins(start) for start in ("studentStartsAfterImages", "startsAfterImages")),
    _no_column_of_text("spec.data.prompts"),
    _no_column_of_text("spec.evaluation.metrics.captions"),
    Rule(
        "spec.teacher",
        f"!has(self.revision) || {_HUB_ID.replace('self.', 'self.model.')}",
        "teacher.revision is for Hugging Face models only: remove it",
        field="revision",
    ),
    Rule(
        "spec.evaluation.metrics",
        "has(self.fid) || has(self.clipScore) || has(self.preference)",
        "evaluation.metrics measures nothing: give fid, clipScore or preference, or leave metrics "
        "out",
    ),
    Rule(
        "spec.evaluation.metrics",
        "!has(self.best) || "
        "self.best == 'fid' && has(self.fid) && has(self.fid.images) || "
        "self.best == 'fidTeacher' && has(self.fid) && self.fid.teacher || "
        "self.best == 'clipScore' && has(self.clipScore) || "
        "self.best == 'preferenceScore' && has(self.preference)",
        "evaluation.metrics.best is a metric that is not measured: configure it, or choose another",
        field="best",
    ),
    Rule(
        "spec.evaluation.metrics.fid",
        "has(self.images) || self.teacher",
        "evaluation.metrics.fid compares with nothing: give images.uri, or set teacher",
    ),
    Rule(
        "spec.evaluation",
        "self.teacher.steps > 0 || !has(self.metrics) || !has(self.metrics.fid) || "
        "!self.metrics.fid.teacher",
        "evaluation.metrics.fid.teacher needs samples of the teacher, but "
        "evaluation.teacher.steps is 0: give it steps",
        field="teacher.steps",
    ),
    Rule(
        "spec.evaluation",
        "self.teacher.steps > 0 || !has(self.metrics) || !has(self.metrics.teacher) || "
        "!self.metrics.teacher",
        "evaluation.metrics.teacher needs samples of the teacher, but "
        "evaluation.teacher.steps is 0: give it steps",
        field="teacher.steps",
    ),
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
    Rule(
        "spec",
        "self.deletionPolicy != 'Delete' || !has(self.runPolicy.ttlSecondsAfterFinished)",
        "with deletionPolicy Delete, runPolicy.ttlSecondsAfterFinished would remove the student "
        "soon after it was made: remove one of them",
        field="deletionPolicy",
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
        "!has(self.requests) || self.requests.all(name, !name.contains('/') || "
        f"(has(self.limits) && name in self.limits && {_REQUEST}.compareTo({_LIMIT}) == 0))",
        "an extended resource (with '/' in its name) has no request apart from its limit: give it "
        "under limits only",
        field="requests",
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
        "self.operator != 'Exists' || !has(self.value)",
        "value is not compared when operator is Exists: remove it, or use Equal",
        field="value",
    ),
    Rule(
        "spec.workers.tolerations[]",
        "has(self.key) || self.operator == 'Exists'",
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
        "self.operator in ['Exists', 'DoesNotExist'] ? "
        "!has(self.values) || size(self.values) == 0 : "
        "has(self.values) && (self.operator in ['Gt', 'Lt'] ? size(self.values) == 1 && "
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

_TLS = Rule(
    "spec.checkpoint",
    "!has(self.caBundleRef) || !has(self.endpoint) || self.endpoint.startsWith('https://')",
    "checkpoint.caBundleRef is for an endpoint with TLS: begin checkpoint.endpoint with https://, "
    "or remove the bundle",
    field="caBundleRef",
)

LOCATIONS = (
    _location("spec.teacher.model", _HUB_ID),
    _location("spec.student.initFrom", _HUB_ID),
    _location("spec.evaluation.metrics.clipScore.model", _HUB_ID),
    _location("spec.evaluation.metrics.preference.model", _HUB_ID),
    _location("spec.evaluation.metrics.fid.features"),
    _location("spec.evaluation.metrics.fid.images.uri"),
    _location("spec.data.prompts.uri", _DATASET),
    _location("spec.data.images.uri"),
    _location("spec.data.encodingCache.uri"),
    _location("spec.evaluation.metrics.captions.uri", _DATASET),
)

RULES = NAMES + CONTRADICTIONS + (_TLS,) + LOCATIONS + IMMUTABLE

LIST_KEYS = {
    "spec.workers.env": "name",
    "spec.workers.volumes": "name",
    "spec.workers.imagePullSecrets": "name",
    "spec.workers.resourceClaims": "name",
    "status.conditions": "type",
}
"""Lists whose items are told apart by a key: merged by server-side apply, and unique."""


def find(schema: Schema, path: str) -> dict[str, Any]:
    """The part of a schema at ``path``; raises ``KeyError`` when there is none."""
    node = schema
    for name in filter(None, path.replace("[]", ".[]").split(".")):
        node = node["items"] if name == "[]" else node["properties"][name]
    return node


def add_rules(schema: Schema) -> None:
    """Put all rules and list keys into the schema of the whole resource, in place."""
    for rule in RULES:
        find(schema, rule.path).setdefault(VALIDATIONS, []).append(rule.as_validation())
    for path, key in LIST_KEYS.items():
        find(schema, path).update(
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
        )
