"""A MinIO that trusts the cluster's service accounts, and what EKS would put into their pods.

The API server is the issuer of the tokens, so MinIO must be able to read its keys: a binding lets
everybody, as clusters do whose issuer is on the internet. A MutatingAdmissionPolicy stands in for
the webhook of EKS: it gives pods of the account the token and the variables of a role.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

from minio import Minio

from sid_operator.resources.pod import CONTAINER_SECURITY, POD_SECURITY
from tests.cluster import kubectl, objects, runs
from tests.integration.trainer.issuer import AUDIENCE, ROLE, role_arn

Manifest = dict[str, Any]
NAME, PORT = "store", 9000
ACCOUNT = "distiller"
MOUNT = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
VARIABLES = {"AWS_ROLE_ARN": role_arn(region=""), "AWS_WEB_IDENTITY_TOKEN_FILE": f"{MOUNT}/token"}
TOKEN = f"""
Object.spec.volumes{{name: "aws-iam-token", projected: Object.spec.volumes.projected{{
  sources: [Object.spec.volumes.projected.sources{{
    serviceAccountToken: Object.spec.volumes.projected.sources.serviceAccountToken{{
      audience: "{AUDIENCE}", expirationSeconds: 600, path: "token"
    }}
  }}]
}}}}
"""
MOUNTED = f"""
Object.spec.containers.volumeMounts{{
  name: "aws-iam-token", mountPath: "{MOUNT}", readOnly: true
}}
"""


def _added(path: str, *values: str) -> str:
    """The part of a patch that adds to a list of the pod, which may have none."""
    there = "object" + path.replace("/", ".").replace(".0", "[0]")
    empty = f'JSONPatch{{op: "add", path: "{path}", value: []}}'
    items = ", ".join(f'JSONPatch{{op: "add", path: "{path}/-", value: {v}}}' for v in values)
    return f"(has({there}) ? [] : [{empty}]) + [{items}]"


MUTATION = " + ".join(
    [
        _added("/spec/volumes", TOKEN),
        _added("/spec/containers/0/volumeMounts", MOUNTED),
        _added(
            "/spec/containers/0/env",
            *(
                f'Object.spec.containers.env{{name: "{name}", value: "{value}"}}'
                for name, value in VARIABLES.items()
            ),
        ),
    ]
)


@contextlib.contextmanager
def store(namespace: str) -> Iterator[objects.Objects]:
    """The bucket ``sid`` of such a MinIO in the namespace, with the keys of its administrator."""
    keys = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT, "namespace": namespace},
    }
    everywhere = [_readable_issuer(namespace), *_webhook(namespace)]
    try:
        kubectl.apply(*everywhere, account, *_server(namespace, keys))
        ready = ("--for=condition=Ready", "--timeout=120s")
        kubectl.kubectl("wait", f"pod/{NAME}", "-n", namespace, *ready)
        kubectl.wait_until("pods get a token", lambda: _is_given(namespace), seconds=60)
        with kubectl.port_forward(namespace, f"service/{NAME}", PORT) as address:
            client = Minio(address, keys["accessKey"], keys["secretKey"], secure=False)
            client.make_bucket(objects.BUCKET)
            yield objects.Objects(client)
    finally:
        for made in everywhere:
            name = f"{made['kind']}/{made['metadata']['name']}"
            kubectl.kubectl("delete", name, "--ignore-not-found")


def endpoint(namespace: str) -> str:
    """Its URL in the cluster."""
    return f"http://{NAME}.{namespace}.svc:{PORT}"


def _is_given(namespace: str) -> bool:
    """Whether pods of the account are given what they need; it takes the API server seconds."""
    container = {"name": "x", "image": "x", "securityContext": CONTAINER_SECURITY}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": namespace},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "securityContext": POD_SECURITY,
            "containers": [container],
        },
    }
    made = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    return "aws-iam-token" in kubectl.kubectl(*made, stdin=json.dumps(pod))


def _readable_issuer(namespace: str) -> Manifest:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{namespace}-issuer"},
        "roleRef": {
            "apiGroup": group,
            "kind": "ClusterRole",
            "name": "system:service-account-issuer-discovery",
        },
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:unauthenticated"}],
    }


def _webhook(namespace: str) -> list[Manifest]:
    name, version = f"{namespace}-roles", "admissionregistration.k8s.io/v1"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    ours = f"has(object.spec.serviceAccountName) && object.spec.serviceAccountName == '{ACCOUNT}'"
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{**pods, "resources": ["pods"]}]},
        "matchConditions": [{"name": "of-the-account", "expression": ours}],
        "mutations": [
            {
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": MUTATION},
            }
        ],
    }
    binding = {"policyName": name, "matchResources": {"namespaceSelector": here}}
    return [
        {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, spec in (
            ("MutatingAdmissionPolicy", policy),
            ("MutatingAdmissionPolicyBinding", binding),
        )
    ]


def _server(namespace: str, keys: dict[str, str]) -> list[Manifest]:
    labels = {"app.kubernetes.io/name": NAME}
    metadata = {"name": NAME, "namespace": namespace, "labels": labels}
    ports = [{"name": "s3", "port": PORT}]
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": ports},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _pod()},
    ]


def _pod() -> Manifest:
    mounts = {"data": "/data", "tmp": "/tmp", "authority": "/certificates/CAs"}
    volumes: list[Manifest] = [{"name": name, "emptyDir": {}} for name in ("data", "tmp")]
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY | {"fsGroup": 65532},
        "volumes": [*volumes, {"name": "authority", "configMap": {"name": "kube-root-ca.crt"}}],
        "containers": [
            {
                "name": NAME,
                "image": runs.image_that_is_there("/minio:"),
                "args": [
                    *("server", "/data", f"--address=:{PORT}", "--quiet"),
                    "--certs-dir=/certificates",
                ],
                "env": _settings(),
                "securityContext": CONTAINER_SECURITY,
                "readinessProbe": {"httpGet": {"path": "/minio/health/ready", "port": PORT}},
                "volumeMounts": [{"name": n, "mountPath": path} for n, path in mounts.items()],
            }
        ],
    }


def _settings() -> list[Manifest]:
    about = json.loads(kubectl.kubectl("get", "--raw", "/.well-known/openid-configuration"))
    values = {
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "HOME": "/tmp",
        "MINIO_IDENTITY_OPENID_CONFIG_URL": f"{about['issuer']}/.well-known/openid-configuration",
        "MINIO_IDENTITY_OPENID_CLIENT_ID": AUDIENCE,
        "MINIO_IDENTITY_OPENID_ROLE_POLICY": ROLE,
    }
    root = {"MINIO_ROOT_USER": "accessKey", "MINIO_ROOT_PASSWORD": "secretKey"}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": NAME, "key": key}}}
            for name, key in root.items()
        ),
    ]
