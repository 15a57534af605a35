"""Kubeflow Trainer with the JobSet controller as a contender."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.cluster.control_plane.api import Api
from tests.cluster.control_plane.plane import ControlPlane
from tests.cluster.scale.contender import Contender, Object
from tests.cluster.scale.kubeflow import PROGRAMS, Kubeflow, versions

USERS = tuple(program.user for program in PROGRAMS)
NAMESPACE = "theirs"
RUNTIME = "torch"
IMAGE = "registry.invalid/trainer:1"
API_VERSION = "trainer.kubeflow.org/v1alpha1"


async def contender(api: Api, plane: ControlPlane, root: Path, pods: int) -> Contender:
    """Both controllers, with their CRDs, webhooks and a runtime in place."""
    kubeflow = await asyncio.to_thread(Kubeflow, plane, root)
    for crd in kubeflow.crds():
        await api.install_crd(crd)
    with kubeflow.launched():  # a webhook is asked about the runtime
        for document in kubeflow.webhooks():
            plural = f"{document['kind'].lower()}s"
            await api.demand("POST", f"/apis/admissionregistration.k8s.io/v1/{plural}", document)
        await api.demand("POST", f"/apis/{API_VERSION}/clustertrainingruntimes", _runtime())
    return Contender(
        name="Kubeflow Trainer and JobSet",
        versions=versions(),
        users=frozenset(USERS),
        namespace=NAMESPACE,
        path=f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/trainjobs",
        plural="trainjobs",
        manifest=lambda name: manifest(name, pods),
        job_of=lambda name: f"{name}-node-0",
        launch=kubeflow.launched,
    )


def manifest(name: str, pods: int) -> Object:
    """A TrainJob of so many pods."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "runtimeRef": {"name": RUNTIME},
            "trainer": {"numNodes": pods, "image": IMAGE},
        },
    }


def _runtime() -> Object:
    """A runtime for PyTorch with nothing in it but what must be."""
    container = {"name": "node", "image": IMAGE, "command": ["train"]}
    step = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    job = {"metadata": step, "spec": {"template": {"spec": {"containers": [container]}}}}
    return {
        "apiVersion": API_VERSION,
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": RUNTIME, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": job}]}},
        },
    }
