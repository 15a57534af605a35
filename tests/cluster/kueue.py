"""Kueue itself in the local cluster: built from its Go module, installed from the chart in it.

Rules this module keeps:

* Only the integration of Jobs is on. What serves pending workloads as an API of its own is left
  out: an aggregated API that does not answer keeps namespaces from being deleted.
* It sees one namespace alone: its webhooks would keep every other Job of the cluster waiting until
  it is ready. Nothing of it stays.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.cluster import kubectl
from tests.cluster.local import containerd, golang, oci
from tests.cluster.local.settings import IMAGE_REGISTRY, default_paths

NAMESPACE = "kueue-system"
MODULE = golang.Module(name="kueue", packages="tool")
GROUP = "kueue.x-k8s.io/v1beta1"
CLASSES = {"": 1000, "-urgent": 2000}
"""Priorities of a queue's classes, by the end of their names."""
LEFT_OUT = ("APIService", "PodDisruptionBudget")
CONFIGURATION = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443"},
    "webhook": {"port": 9443},
    "leaderElection": {"leaderElect": False},
    "integrations": {"frameworks": ["batch/job"]},
}

Object = dict[str, Any]


@contextlib.contextmanager
def installed(namespace: str) -> Iterator[None]:
    """Kueue works within the block, for the Jobs of one namespace."""
    documents = [_confined(one, namespace) for one in _manifests(_image())]
    crds = [one for one in documents if one["kind"] == "CustomResourceDefinition"]
    rest = [one for one in documents if one not in crds]
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        kubectl.apply(*crds)
        for crd in crds:
            kubectl.wait_established(crd["metadata"]["name"])
        kubectl.apply(*rest)
        kubectl.kubectl(
            *("rollout", "status", "deployment", "-n", NAMESPACE, "--timeout=180s"),
            *("-l", "app.kubernetes.io/name=kueue"),
        )
        yield
    finally:
        _delete(rest)
        # Gone for good: what is installed next would be removed with it.
        _delete(crds, "--timeout=120s")
        kubectl.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def _confined(document: Object, namespace: str) -> Object:
    """The manifest; a webhook of it sees one namespace, and what is in none."""
    for webhook in document.get("webhooks", []):
        webhook["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return document


def _delete(documents: list[Object], waiting: str = "--wait=false") -> None:
    bundle = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    kubectl.kubectl("delete", "--ignore-not-found", waiting, "-f", "-", stdin=bundle)


def _image() -> str:
    """The image, in the cluster's containerd."""
    paths = default_paths()
    reference = f"{IMAGE_REGISTRY}/kueue:{MODULE.key()}"
    if reference not in containerd.images(paths):
        program = golang.binaries(paths.cache, MODULE) / "kueue"
        archive = paths.state / "kueue.tar"
        oci.write_archive(
            oci.ProgramImage(reference, {"/manager": program}, ("/manager",)), archive
        )
        containerd.load_image(paths, archive)
        archive.unlink()
        containerd.remove_others(paths, reference)
    return reference


def _manifests(image: str) -> list[Object]:
    repository, tag = image.rsplit(":", 1)
    manager = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
    }
    values = {
        "controllerManager": {
            "manager": manager,
            "featureGates": [{"name": "VisibilityOnDemand", "enabled": False}],
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1},
        },
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(CONFIGURATION)},
    }
    source = golang.source_of(default_paths().cache, MODULE, "sigs.k8s.io/kueue")
    chart = str(source / "charts" / "kueue")
    command = ("template", "kueue", chart, "--namespace", NAMESPACE, "-f", "-")
    text = kubectl.run("helm", *command, stdin=json.dumps(values))
    return [one for one in yaml.safe_load_all(text) if one and one["kind"] not in LEFT_OUT]


def queue(namespace: str, cpu: str, local: str) -> list[Object]:
    """A LocalQueue of that name with so much CPU, in which the important preempt the others."""
    name = f"of-{namespace}"
    covered = ["cpu", "memory"]
    quota = [
        {"name": "cpu", "nominalQuota": cpu},
        {"name": "memory", "nominalQuota": "1Ti"},
    ]
    groups = [{"coveredResources": covered, "flavors": [{"name": name, "resources": quota}]}]
    selected = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return [
        {"apiVersion": GROUP, "kind": "ResourceFlavor", "metadata": {"name": name}},
        {
            "apiVersion": GROUP,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": selected,
                "resourceGroups": groups,
                "preemption": {"withinClusterQueue": "LowerPriority"},
            },
        },
        {
            "apiVersion": GROUP,
            "kind": "LocalQueue",
            "metadata": {"name": local, "namespace": namespace},
            "spec": {"clusterQueue": name},
        },
        *(
            {
                "apiVersion": GROUP,
                "kind": "WorkloadPriorityClass",
                "metadata": {"name": name + suffix},
                "value": priority,
                "description": "Goes first.",
            }
            for suffix, priority in CLASSES.items()
        ),
    ]


@contextlib.contextmanager
def queued(namespace: str, cpu: str, local: str = "team") -> Iterator[None]:
    """The queue is there within the block."""
    objects = queue(namespace, cpu, local)
    # The webhook answers a moment after its pod is ready.
    kubectl.wait_until("Kueue takes a queue", lambda: _applied(objects), seconds=90)
    kubectl.wait_until("the queue is open", lambda: _is_open(namespace, local), seconds=90)
    try:
        yield
    finally:
        kubectl.kubectl("delete", "jobs", "--all", "-n", namespace, "--wait=false")
        _delete(objects)
        kubectl.wait_until("the queue is gone", lambda: not _cluster_queues(), seconds=90)


def _applied(objects: list[Object]) -> bool:
    try:
        kubectl.apply(*objects)
    except kubectl.CommandError:
        return False
    return True


def _is_open(namespace: str, local: str) -> bool:
    return kubectl.is_true(kubectl.get("localqueue", local, "-n", namespace), "Active")


def _cluster_queues() -> list[Any]:
    found: list[Any] = kubectl.get("clusterqueues")["items"]
    return found
