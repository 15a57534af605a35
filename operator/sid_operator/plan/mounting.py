"""A pod that waits for a volume: which one, told from the kubelet's events.

Rules this module keeps:

* Events are asked for only where a volume of the user's may be missing, and ever more rarely: a pod
  shows the same while a large image is pulled.
* None of it is permanent: the kubelet tries again, and the pod starts by itself.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.plan.causes import Cause
from sid_operator.plan.gang import current
from sid_operator.plan.model import Observed
from sid_operator.plan.objects import printable
from sid_operator.plan.pods import Pod
from sid_operator.resources.bucket import CA_VOLUME
from sid_operator.resources.run import Run

GRACE = timedelta(seconds=10)
"""Time that mounting takes at most where nothing is missing."""

_FAILED = re.compile(r'for volume "([^"]+)"\s*: (.*)', re.DOTALL)
_NO_OBJECT = re.compile(r'(?:configmap|secret) "[^"]+" not found')
_NO_KEY = re.compile(r"references non-existent (?:config|secret) key")


def mount_cause(run: Run, observed: Observed) -> Cause | None:
    """Why a pod still waits for its volumes, by the newest event."""
    pod = _waiting_pod(run, observed)
    if pod is None or not observed.mount_failures:
        return None
    message = max(observed.mount_failures, key=lambda failure: failure.time).message
    failed = _FAILED.search(message)
    volume, details = (failed[1], failed[2]) if failed is not None else ("", message)
    missing = _missing_bundle(run, details) if volume == CA_VOLUME else ""
    if missing:
        return Cause(reasons.CA_BUNDLE_NOT_FOUND, missing, pod.name)
    told = reasons.NO_VOLUME.format(pod=pod.name, details=printable(details))
    return Cause(reasons.VOLUME_NOT_MOUNTED, told, pod.name)


def mounts_for_long(run: Run, observed: Observed, now: datetime) -> str:
    """Uid of a pod that has waited for longer than mounting takes, or ""."""
    pod = _waiting_pod(run, observed)
    return pod.uid if pod is not None and now - pod.created >= GRACE else ""


def mounted_after(run: Run, observed: Observed, now: datetime) -> float | None:
    """Seconds until a pod that waits is to be asked about; they double. None where none waits."""
    pod = _waiting_pod(run, observed)
    return None if pod is None else max(now - pod.created, GRACE).total_seconds()


def _waiting_pod(run: Run, observed: Observed) -> Pod | None:
    if run.spec.checkpoint.ca_bundle_ref is None and not run.spec.workers.volumes:
        return None
    pods = current(observed.pods)
    return next((pod for pod in pods if (pod.waiting or ("",))[0] == "ContainerCreating"), None)


def _missing_bundle(run: Run, details: str) -> str:
    """What is missing of the CA bundle; "" where that is not the trouble."""
    ref = run.spec.checkpoint.ca_bundle_ref
    absent, keyless = _NO_OBJECT.search(details), _NO_KEY.search(details)
    if ref is None or not (absent or keyless):
        return ""
    text = reasons.CA_BUNDLE_MISSING if absent else reasons.CA_BUNDLE_KEY_MISSING
    return text.format(kind=ref.kind, name=ref.name, key=ref.key, namespace=run.namespace)
