"""The pod template: one training pod a node.

Rules this module keeps:

* It satisfies the Pod Security level ``restricted`` and asks nothing of the cluster that the
  resource's author could not ask for: no host access, no token of the Kubernetes API.
* Secrets enter as environment variables that the kubelet fills; the operator never reads them.
* The root file system is read-only; what programs write goes to ``/tmp`` and ``/scratch``.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from sid_operator.api import names
from sid_operator.api.pods import DeviceClaim
from sid_operator.resources import bucket, placement
from sid_operator.resources.metadata import Manifest, labels, pod_metadata
from sid_operator.resources.run import Run
from sid_trainer.contract import (
    CONFIG_PATH,
    GANG_VARIABLE,
    PROGRESS_PORT,
    RENDEZVOUS_PORT,
    TERMINATION_LOG,
)

SCRATCH = "/scratch"
_JOB_UID = "metadata.labels['batch.kubernetes.io/controller-uid']"
"""The Job controller puts it on each pod: what keeps pods of an earlier Job from joining."""

POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Together the Pod Security level ``restricted``."""


def pod_template(run: Run) -> Manifest:
    """The template of the Job's pods."""
    annotations = placement.queue_annotations(run)
    return {"metadata": pod_metadata(run, labels(run), annotations), "spec": _pod_spec(run)}


def _pod_spec(run: Run) -> Manifest:
    workers, scheduling = run.spec.workers, run.spec.scheduling
    spec: Manifest = {
        "restartPolicy": "Never",
        "subdomain": run.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": workers.termination_grace_period_seconds,
        "securityContext": _security(run),
        "containers": [_container(run)],
        "volumes": _volumes(run),
    }
    optional = {
        "imagePullSecrets": [{"name": name} for name in run.pull_secrets],
        "runtimeClassName": workers.runtime_class_name,
        "resourceClaims": [_claim(claim) for claim in workers.resource_claims],
        "affinity": placement.affinity(run),
        "schedulerName": scheduling.scheduler_name,
        "priorityClassName": scheduling.priority_class_name,
    }
    given = {key: value for key, value in optional.items() if value}
    return spec | bucket.service_account(run) | placement.nodes(run) | given


def _security(run: Run) -> Manifest:
    group = run.spec.workers.fs_group
    if group is None:
        return POD_SECURITY
    # Large volumes are gone through once, not at each start.
    return POD_SECURITY | {"fsGroup": group, "fsGroupChangePolicy": "OnRootMismatch"}


def _container(run: Run) -> Manifest:
    container: Manifest = {
        "name": names.TRAINER_CONTAINER,
        "image": run.image,
        "args": ["launch", "--config", CONFIG_PATH],
        "env": _environment(run),
        "ports": [
            {"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"},
            {"name": "rendezvous", "containerPort": RENDEZVOUS_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(run),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(run),
    }
    if run.spec.workers.image_pull_policy is not None:
        container["imagePullPolicy"] = run.spec.workers.image_pull_policy
    return container


def _environment(run: Run) -> list[Manifest]:
    token = run.spec.teacher.token_secret_ref
    environment: list[Manifest] = [
        {"name": "HOME", "value": SCRATCH},  # caches of Hugging Face, Triton and torch lie below it
        {"name": "TMPDIR", "value": "/tmp"},  # noqa: S108 - a volume of the pod
        {"name": GANG_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": _JOB_UID}}},
        *bucket.credentials(run),
    ]
    if token is not None:
        environment.append(bucket.from_secret("HF_TOKEN", token.name, names.TOKEN_KEY))
    return environment + [
        # The kubelet would put other variables in place of $(NAME).
        {"name": variable.name, "value": variable.value.replace("$", "$$")}
        for variable in run.spec.workers.env
    ]


def _resources(run: Run) -> Manifest:
    workers = run.spec.workers
    by_name = workers.gpus_per_node and workers.gpu_resource
    gpus = {workers.gpu_resource: str(workers.gpus_per_node)} if by_name else {}
    # Extended resources take their request from their limit.
    resources = {
        "requests": dict(workers.resources.requests),
        "limits": dict(workers.resources.limits) | gpus,
        "claims": [_claimed(claim) for claim in workers.resource_claims],
    }
    return {key: value for key, value in resources.items() if value}


def _claim(claim: DeviceClaim) -> Manifest:
    """A claim of the pod: where its devices come from."""
    return claim.model_dump(by_alias=True, exclude_none=True, exclude={"request"})


def _claimed(claim: DeviceClaim) -> Manifest:
    """What of it the container gets."""
    return claim.model_dump(by_alias=True, exclude_none=True, include={"name", "request"})


def _volumes(run: Run) -> list[Manifest]:
    workers = run.spec.workers
    shared_memory = {"medium": "Memory", "sizeLimit": workers.shared_memory}
    return [
        {"name": "config", "configMap": {"name": run.config_map_name}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "shm", "emptyDir": shared_memory},
        *bucket.ca_volumes(run),
        *(
            {
                "name": names.claim_volume_name(volume.name),
                "persistentVolumeClaim": {
                    "claimName": volume.claim_name,
                    "readOnly": volume.read_only,
                },
            }
            for volume in workers.volumes
        ),
    ]


def _mounts(run: Run) -> list[Manifest]:
    config_folder = str(PurePosixPath(CONFIG_PATH).parent)
    return [
        {"name": "config", "mountPath": config_folder, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a volume of the pod
        *bucket.ca_mounts(run),
        *(
            {
                "name": names.claim_volume_name(volume.name),
                "mountPath": volume.mount_path,
                "readOnly": volume.read_only,
            }
            for volume in run.spec.workers.volumes
        ),
    ]
