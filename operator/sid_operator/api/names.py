"""Names that are part of the interface: of the API, of labels and keys, and of child objects.

Rule: a name that two modules, the chart or a user's script rely on is written here, once.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "sid-dit.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "SiDDistillation"
PLURAL: Final = "siddistillations"
SINGULAR: Final = "siddistillation"
SHORT_NAME: Final = "sid"
CATEGORY: Final = "all"
CRD_NAME: Final = f"{PLURAL}.{GROUP}"

OPERATOR: Final = "sid-operator"
"""In ``metadata.managedFields``, labels and Events of what the operator writes; its Lease and its
distribution are called so, too."""
TRAINER_CONTAINER: Final = "trainer"

LABEL_DISTILLATION: Final = f"{GROUP}/distillation"
"""On every child object and pod: the name of the resource that it belongs to."""
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
COMPONENT_WORKER: Final = "worker"
COMPONENT_CLEANUP: Final = "cleanup"
ANNOTATION_UID: Final = f"{GROUP}/uid"
"""On a clean-up Job: uid of the resource whose objects in the bucket it removes."""
ANNOTATION_RELEASED: Final = f"{GROUP}/released"
"""On a clean-up Job: when it was let go."""
ANNOTATION_QUEUE: Final = f"{GROUP}/queue"
"""On a clean-up Job: the queue that the run names, which it is put into where it needs one."""
ANNOTATION_SELF: Final = f"{GROUP}/self"
"""On a clean-up Job: its own uid, by which it is told from a copy (a backup's, or another
cluster's): a copy has another."""
LABEL_NO_BACKUP: Final = "velero.io/exclude-from-backup"
"""On every child object and pod: the operator makes them anew for a resource that is restored."""
ANNOTATION_HASH: Final = f"{GROUP}/hash"
"""On every child object: hash of the object as it was applied."""
ANNOTATION_POD_LIMIT: Final = f"{GROUP}/backoff-limit"
"""On the Job: how often each of its pods may fail; absent where an earlier version made it."""
ANNOTATION_POLICY_HASH: Final = f"{GROUP}/policy-hash"
"""On the Job: hash of the run policy that it was last given."""
ANNOTATION_CONTENT: Final = f"{GROUP}/content"
"""On the ConfigMap: hash of what this version of the operator wrote into it."""

LABEL_INDEX: Final = "batch.kubernetes.io/job-completion-index"
"""On a pod of an Indexed Job: its place in it, which Kubernetes writes there."""

LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
"""On a Job: the queue that owns its ``suspend``. Kueue itself sets it where a namespace has a
default queue."""
LABEL_QUEUE_PRIORITY: Final = "kueue.x-k8s.io/priority-class"
"""On a Job: Kueue's WorkloadPriorityClass, by which the queue orders and preempts."""

MAX_NAME_LENGTH: Final = 50
"""Pods are called NAME-INDEX, which must be a DNS label of 63 characters."""

GPU_RESOURCE: Final = "nvidia.com/gpu"
"""Whole GPUs of NVIDIA's device plugin: what pods ask for by default, and what nodes tell of."""

TOKEN_KEY: Final = "token"  # noqa: S105
"""Key of the Hugging Face token in the Secret ``teacher.tokenSecretRef``."""
ACCESS_KEY_KEY: Final = "accessKey"
"""Key of the S3 access key in the Secret ``checkpoint.secretRef``."""
SECRET_KEY_KEY: Final = "secretKey"  # noqa: S105
"""Key of the S3 secret key in the Secret ``checkpoint.secretRef``."""
SESSION_TOKEN_KEY: Final = "sessionToken"  # noqa: S105
"""Key of the session token of temporary credentials there; absent for permanent ones."""
CA_BUNDLE_KEY: Final = "ca.crt"
"""Key of the CA bundle in ``checkpoint.caBundleRef`` by default, as cert-manager writes it."""


def pod_hostname(name: str, index: int) -> str:
    """Hostname of a pod of the resource's Indexed Job, as Kubernetes gives it."""
    return f"{name}-{index}"


def rendezvous_host(name: str) -> str:
    """DNS name of pod 0, seen from a pod of the same namespace: its headless Service is NAME."""
    return f"{pod_hostname(name, 0)}.{name}"


def claim_volume_name(name: str) -> str:
    """Name in the pod of the user's volume ``name``; the prefix keeps clear of our own volumes."""
    return f"claim-{name}"
