"""Resources to try on the API server: a small valid one, with changes.

Requests are server-side dry runs wherever an object need not exist, and the API group is one that
no operator watches.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from sid_operator.api import names
from tests.cluster import definition, kubectl

Resource = dict[str, Any]
REMOVED = object()


def changed(document: Resource, changes: dict[str, Any]) -> Resource:
    """A copy with values at paths (``spec/student/steps``) replaced; ``REMOVED`` takes one out."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split("/")
        node = result
        for name in parents:
            node = node.setdefault(name, {})
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return result


def resource(changes: dict[str, Any] | None = None) -> Resource:
    """A small valid resource with ``changes``."""
    minimal: Resource = {
        "apiVersion": definition.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "case"},
        "spec": {
            "teacher": {"model": "organisation/model"},
            "data": {"prompts": {"uri": "s3://sid/prompts.txt"}},
            "checkpoint": {"bucket": "sid", "secretRef": {"name": "s3-credentials"}},
        },
    }
    return changed(minimal, changes or {})


def volume(**fields: object) -> dict[str, Any]:
    return {
        "spec/workers/volumes": [{"name": "m", "claimName": "c", "mountPath": "/mnt/m", **fields}]
    }


def variable(**fields: object) -> dict[str, Any]:
    return {"spec/workers/env": [{"name": "NCCL_DEBUG", "value": "INFO", **fields}]}


def metrics(**fields: object) -> dict[str, Any]:
    return {"spec/evaluation/metrics": {"clipScore": {"model": "openai/clip"}, **fields}}


def create(document: Resource) -> Resource:
    """What the server would store for ``document``."""
    told = kubectl.kubectl(
        "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(document)
    )
    stored: Resource = json.loads(told)
    return stored
