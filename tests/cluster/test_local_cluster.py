"""What pods of a training run need from a cluster's network: the local cluster gives it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import install, kubectl

pytestmark = pytest.mark.cluster

# Both pods wait until each is found by the other's name, then report what they reached.
PROBE = """
import http.client, json, os, socket, ssl, time

def resolve(name):
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.gethostbyname(name)
        except socket.gaierror:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)

account = "/var/run/secrets/kubernetes.io/serviceaccount"
trust = ssl.create_default_context(cafile=f"{account}/ca.crt")
kubernetes = http.client.HTTPSConnection("kubernetes.default.svc", context=trust, timeout=10)
kubernetes.request("GET", "/version")
minio = http.client.HTTPConnection("minio.minio.svc", 9000, timeout=10)
minio.request("GET", "/minio/health/live")
index = int(os.environ["JOB_COMPLETION_INDEX"])
print(json.dumps({
    "own": resolve(f"probe-{index}.peers"),
    "peer": resolve(f"probe-{1 - index}.peers"),
    "address": os.environ["ADDRESS"],
    "kubernetes": json.load(kubernetes.getresponse())["gitVersion"],
    "minio": minio.getresponse().status,
}))
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"local-cluster-{uuid.uuid4().hex[:8]}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    kubectl.wait_for_account(name)
    yield name
    kubectl.kubectl("delete", "namespace", name, "--wait=false")


def headless_service(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "peers", "namespace": namespace},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": "probe"},
        },
    }


def probe_job(namespace: str, image: str) -> dict[str, Any]:
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", PROBE],
        "env": [{"name": "ADDRESS", "valueFrom": address}],
    }
    pod = {"subdomain": "peers", "restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {
            "completionMode": "Indexed",
            "completions": 2,
            "parallelism": 2,
            "backoffLimit": 0,
            "template": {"spec": pod},
        },
    }


def test_pods_of_a_job_reach_each_other_kubernetes_and_minio(namespace: str) -> None:
    image = install.local_images()["operator"]
    kubectl.apply(headless_service(namespace), probe_job(namespace, image))
    kubectl.kubectl(
        "-n", namespace, "wait", "job/probe", "--for=condition=Complete", "--timeout=180s"
    )
    logs = kubectl.kubectl("-n", namespace, "logs", "-l", "job-name=probe", "--tail=-1")
    first, second = (json.loads(line) for line in logs.splitlines())
    assert first["own"] == first["address"] == second["peer"]
    assert second["own"] == second["address"] == first["peer"]
    assert first["own"] != second["own"]
    assert {first["minio"], second["minio"]} == {200}
    assert first["kubernetes"].startswith("v1.")


def test_image_runs_as_a_restricted_user(namespace: str) -> None:
    image = install.local_images()["operator"]
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    labels = json.dumps({"metadata": {"labels": restricted}})
    kubectl.kubectl("patch", "namespace", namespace, "--patch", labels)
    container = {
        "name": "whoami",
        "image": image,
        "command": ["python", "-c", "import os; print(os.getuid())"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "whoami", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }
    kubectl.apply(pod)
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl.kubectl("-n", namespace, "wait", "pod/whoami", succeeded, "--timeout=180s")
    assert kubectl.kubectl("-n", namespace, "logs", "whoami").strip() == "65532"
