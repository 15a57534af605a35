"""The CustomResourceDefinition document: names, version, columns, and the schema in it."""

from __future__ import annotations

from typing import Any

from sid_operator.api import names
from sid_operator.api.spec import SiDDistillationSpec
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.crd.rules import add_rules
from sid_operator.crd.schema import Schema, drop_item_defaults, structural_schema
from sid_operator.crd.texts import tell_defaults

DESCRIPTION = (
    "Distils a text-to-image teacher into a student that needs a few steps only, on the nodes of "
    "the cluster. Checkpoints, samples and the student go to a bucket."
)


def _column(name: str, path: str, kind: str, description: str, *, wide: bool = False) -> Schema:
    column: Schema = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": 1} if wide else column


COLUMNS = (
    _column("Teacher", ".spec.teacher.model", "string", "The model that is distilled."),
    _column("Phase", ".status.phase", "string", "Where the run stands."),
    _column("Iteration", ".status.progress.iteration", "integer", "Iterations done."),
    _column("Progress", ".status.progress.percent", "integer", "Iterations done, in percent."),
    _column("Restarts", ".status.restarts", "integer", "How often training was restarted."),
    _column("Age", ".metadata.creationTimestamp", "date", "Time since creation."),
    _column("Loss", ".status.metrics.generatorLoss", "number", "Generator loss.", wide=True),
    _column("FID", ".status.metrics.fid", "number", "Newest FID of the student.", wide=True),
    _column("ETA", ".status.progress.eta", "string", "Time to go at this pace.", wide=True),
    _column("Student", ".status.student.uri", "string", "The finished student.", wide=True),
)


def resource_schema() -> Schema:
    """The structural schema of a whole ``SiDDistillation``."""
    spec = structural_schema(SiDDistillationSpec)
    status = structural_schema(SiDDistillationStatus, defaults=False)
    schema: Schema = {
        "type": "object",
        "description": DESCRIPTION,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {names.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {names.KIND}."},
            # The API server's own bound, written out so that CEL rules on the name have a cost.
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 253}},
            },
            "spec": {**spec, "description": "What to distil, how, where, and on which nodes."},
            "status": {**status, "description": "What the operator tells of the run."},
        },
    }
    add_rules(schema)
    return schema


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as it is applied."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    schema = resource_schema()
    tell_defaults(schema["properties"]["spec"])
    drop_item_defaults(schema["properties"]["spec"])
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [dict(column) for column in COLUMNS],
        "schema": {"openAPIV3Schema": schema},
    }
