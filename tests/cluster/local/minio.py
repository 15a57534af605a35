"""The object store in the cluster: namespace, Service, credentials, server, bucket.

The credentials are drawn when the cluster starts and are in its Secret alone. The data is as
short-lived as the cluster.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from .settings import (
    MINIO_ADDRESS,
    MINIO_BUCKET,
    MINIO_NAMESPACE,
    MINIO_PORT,
    MINIO_SECRET,
)

Manifest = Mapping[str, object]

_NAME = "minio"
_LABELS = {"app.kubernetes.io/name": _NAME}


def manifests(image: str) -> list[Manifest]:
    """Everything but the credentials."""
    return [_namespace(), _service(), _deployment(image)]


def new_credentials() -> Manifest:
    """A Secret with a fresh pair of keys."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": MINIO_SECRET, "namespace": MINIO_NAMESPACE},
        "stringData": {
            "accessKey": secrets.token_hex(10),
            "secretKey": secrets.token_hex(20),
        },
    }


def _namespace() -> Manifest:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": MINIO_NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME, "namespace": MINIO_NAMESPACE},
        "spec": {
            "clusterIP": MINIO_ADDRESS,
            "selector": _LABELS,
            "ports": [{"name": "s3", "port": MINIO_PORT}],
        },
    }


def _deployment(image: str) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": MINIO_NAMESPACE},
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": _LABELS}, "spec": _pod(image)},
        },
    }


def _pod(image: str) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(image)],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }


def _container(image: str) -> Manifest:
    return {
        "name": _NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["server", "/data", f"--address=:{MINIO_PORT}", "--quiet"],
        "env": [
            _from_secret("MINIO_ROOT_USER", "accessKey"),
            _from_secret("MINIO_ROOT_PASSWORD", "secretKey"),
            {"name": "MINIO_BROWSER", "value": "off"},
            {"name": "MINIO_UPDATE", "value": "off"},
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": [{"containerPort": MINIO_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/minio/health/ready", "port": MINIO_PORT},
            "periodSeconds": 1,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # The server takes the directories of its data directory for buckets. The second mount
        # is there for its subPath alone: the kubelet makes that directory before the start.
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "data", "mountPath": "/bucket", "subPath": MINIO_BUCKET},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _from_secret(variable: str, key: str) -> Manifest:
    reference = {"secretKeyRef": {"name": MINIO_SECRET, "key": key}}
    return {"name": variable, "valueFrom": reference}
