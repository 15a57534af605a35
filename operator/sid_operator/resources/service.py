"""The headless Service: the DNS names by which the pods of a run find each other.

Addresses are published before pods are ready: rank 0 must be found for the others to become ready.
"""

from __future__ import annotations

from sid_operator.api.names import ANNOTATION_HASH, LABEL_DISTILLATION
from sid_operator.resources.metadata import Manifest, content_hash, metadata
from sid_operator.resources.run import Run
from sid_trainer.contract import PROGRESS_PORT, RENDEZVOUS_PORT


def service(run: Run) -> Manifest:
    """The Service of a run."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {
            LABEL_DISTILLATION: run.name,
            "batch.kubernetes.io/job-name": run.name,
        },
        "ports": [
            {"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"},
            {"name": "progress", "port": PROGRESS_PORT, "protocol": "TCP"},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(run, run.name, {ANNOTATION_HASH: content_hash(run, spec)}),
        "spec": spec,
    }
