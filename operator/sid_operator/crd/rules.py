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
from sid_operator.api.spec import ONE_IDENTITY
from sid_operator.crd.immutability import IMMUTABLE
from sid_operator.crd.rule import Rule
from sid_operator.crd.schema import Schema
from sid_operator.crd.workers import WORKERS
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


def _hub_revision(section: str) -> Rule:
    return Rule(
        f"spec.{section}",
        f"!has(self.revision) || {_HUB_ID.replace('self.', 'self.model.')}",
        f"{section}.revision is for Hugging Face models only: remove it",
        field="revision",
    )


def _no_column_of_text(path: str) -> Rule:
    """The prompts at ``path`` have a column only where their format has columns."""
    return Rule(
        path,
        r"!has(self.column) || !self.uri.matches(r'\.txt(\.gz)?$')",
        "column is given, but a .txt file has no columns: remove it",
        field="column",
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
    Rule(
        "spec",
        f"has({_ADVERSARIAL}) || !has(self.data.images)",
        "data.images is read by data-aided training alone: add distillation.adversarial ({} has "
        "its defaults), or remove data.images for data-free training",
        field="data.images",
    ),
    *(_begins(start) for start in ("studentStartsAfterImages", "startsAfterImages")),
    _no_column_of_text("spec.data.prompts"),
    _no_column_of_text("spec.evaluation.metrics.captions"),
    *(
        _hub_revision(section)
        for section in ("teacher", "evaluation.metrics.clipScore", "evaluation.metrics.preference")
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
        "spec",
        "self.deletionPolicy != 'Delete' || !has(self.runPolicy.ttlSecondsAfterFinished)",
        "with deletionPolicy Delete, runPolicy.ttlSecondsAfterFinished would remove the student "
        "soon after it was made: remove one of them",
        field="deletionPolicy",
    ),
)

_TLS = Rule(
    "spec.checkpoint",
    "!has(self.caBundleRef) || !has(self.endpoint) || self.endpoint.startsWith('https://')",
    "checkpoint.caBundleRef is for an endpoint with TLS: begin checkpoint.endpoint with https://, "
    "or remove the bundle",
    field="caBundleRef",
)

_IDENTITY = Rule(
    "spec.checkpoint", "has(self.secretRef) != has(self.serviceAccountName)", ONE_IDENTITY
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

RULES = NAMES + CONTRADICTIONS + WORKERS + (_TLS, _IDENTITY) + LOCATIONS + IMMUTABLE

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
