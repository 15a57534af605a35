"""What opens the bucket to a pod: credentials, and the authorities that vouch for the server.

Rules this module keeps:

* The operator reads neither: the kubelet fills environment variables and mounts the file.
* A role's variables and token are put into the pods of its service account by the cluster; nothing
  of the operator's stands in their way.
* The file is mounted read-only and alone; what else its ConfigMap or Secret holds stays outside.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from sid_operator.api import names
from sid_operator.api.render import storage_uri
from sid_operator.resources.metadata import Manifest
from sid_operator.resources.run import Run
from sid_trainer.contract import CA_BUNDLE_PATH

CA_VOLUME = "ca-bundle"
"""Name of the volume in the pod; those of users begin otherwise."""
_PATH = PurePosixPath(CA_BUNDLE_PATH)


def from_secret(variable: str, secret: str, key: str, *, optional: bool = False) -> Manifest:
    """An environment variable that the kubelet fills."""
    reference: Manifest = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def credentials(run: Run) -> list[Manifest]:
    """Environment variables that open the bucket; none where a role does."""
    if run.spec.checkpoint.secret_ref is None:
        return []
    secret = run.spec.checkpoint.secret_ref.name
    return [
        from_secret("AWS_ACCESS_KEY_ID", secret, names.ACCESS_KEY_KEY),
        from_secret("AWS_SECRET_ACCESS_KEY", secret, names.SECRET_KEY_KEY),
        from_secret("AWS_SESSION_TOKEN", secret, names.SESSION_TOKEN_KEY, optional=True),
    ]


def service_account(run: Run) -> Manifest:
    """Whose role opens the bucket, as part of a pod's spec; nothing where a Secret does."""
    name = run.spec.checkpoint.service_account_name
    return {} if name is None else {"serviceAccountName": name}


def ca_volumes(run: Run) -> list[Manifest]:
    """The volume with the CA bundle, where the resource names one."""
    ref = run.spec.checkpoint.ca_bundle_ref
    if ref is None:
        return []
    items = [{"key": ref.key, "path": _PATH.name}]
    if ref.kind == "Secret":
        return [{"name": CA_VOLUME, "secret": {"secretName": ref.name, "items": items}}]
    return [{"name": CA_VOLUME, "configMap": {"name": ref.name, "items": items}}]


def ca_mounts(run: Run) -> list[Manifest]:
    """Where it is mounted."""
    if run.spec.checkpoint.ca_bundle_ref is None:
        return []
    return [{"name": CA_VOLUME, "mountPath": str(_PATH.parent), "readOnly": True}]


def remove_arguments(run: Run) -> list[str]:
    """Arguments of the trainer's image that remove the run's folder from the bucket."""
    checkpoint = run.spec.checkpoint
    options = {
        "--storage": storage_uri(checkpoint, run.namespace, run.name),
        "--endpoint": checkpoint.endpoint,
        "--region": checkpoint.region,
        "--addressing": None if checkpoint.addressing == "auto" else checkpoint.addressing,
        "--ca-bundle": None if checkpoint.ca_bundle_ref is None else CA_BUNDLE_PATH,
    }
    given = [(name, value) for name, value in options.items() if value is not None]
    return ["remove", *(word for pair in given for word in pair)]
