"""What keeps pods from starting: read from pods and events, told with the remedy.

None of it is permanent: the run waits, and goes on by itself when the cause is gone. Texts of the
kubelet that change from try to try (back-off or error, the port that a connection came from) are
reduced to what stays the same, so that status and events do not flap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from sid_operator import reasons
from sid_operator.plan.causes import Cause
from sid_operator.plan.gang import current
from sid_operator.plan.model import CreationFailure
from sid_operator.plan.objects import printable, without_own_port
from sid_operator.plan.pods import Pod
from sid_operator.resources.run import Run

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
CONTAINER_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)
_NO_SECRET = re.compile(r'secret "([^"]+)" not found')
_NO_ACCOUNT = re.compile(r'serviceaccount "([^"]+)" not found')
_NO_PRIORITY_CLASS = re.compile(r"no PriorityClass with name (\S+) was found")
_NO_RUNTIME_CLASS = re.compile(r'RuntimeClass "([^"]+)" not found')
_NO_KEY = re.compile(r"couldn't find key (\S+) in Secret [^/\s]+/(\S+)")
_PREAMBLE = re.compile(r".*(\bdesc = |\bErrImagePull: )", re.DOTALL)


def waiting_cause(run: Run, pods: Iterable[Pod]) -> Cause | None:
    """Why pods that exist do not start; causes in containers come before the scheduler's."""
    candidates = current(pods)
    for pod in candidates:
        cause = _container_cause(run, pod)
        if cause is not None:
            return cause
    for pod in candidates:
        if pod.unschedulable:
            message = reasons.NO_NODE.format(pod=pod.name, details=_sentence(pod.unschedulable))
            return Cause(reasons.UNSCHEDULABLE, message, pod.name)
    return None


def creation_cause(run: Run, failures: Iterable[CreationFailure], since: datetime) -> Cause | None:
    """Why pods could not be created, by the newest event since ``since``."""
    recent = [failure for failure in failures if failure.time >= since]
    if not recent:
        return None
    newest = max(recent, key=lambda failure: failure.time)
    missing = _missing_object(run, newest.message)
    if missing is not None:
        return missing
    # The name of the pod that was tried is another each time.
    details = re.sub(r'pods "[^"]*" is forbidden', "pods are forbidden", newest.message)
    details = printable(without_own_port(details).removeprefix("Error creating: "))
    return Cause(reasons.PODS_NOT_CREATED, reasons.NO_PODS.format(details=details))


def _missing_object(run: Run, message: str) -> Cause | None:
    """What the resource names for its pods, and is not there."""
    account = _NO_ACCOUNT.search(message)
    if account and account[1] == run.spec.checkpoint.service_account_name:
        told = reasons.ACCOUNT_MISSING.format(account=account[1], namespace=run.namespace)
        return Cause(reasons.SERVICE_ACCOUNT_NOT_FOUND, told)
    priority = _NO_PRIORITY_CLASS.search(message)
    if priority and priority[1] == run.spec.scheduling.priority_class_name:
        told = reasons.PRIORITY_CLASS_MISSING.format(name=priority[1])
        return Cause(reasons.PRIORITY_CLASS_NOT_FOUND, told)
    runtime = _NO_RUNTIME_CLASS.search(message)
    if runtime and runtime[1] == run.spec.workers.runtime_class_name:
        told = reasons.RUNTIME_CLASS_MISSING.format(name=runtime[1])
        return Cause(reasons.RUNTIME_CLASS_NOT_FOUND, told)
    return None


def _container_cause(run: Run, pod: Pod) -> Cause | None:
    if pod.waiting is None:
        return None
    reason, message = pod.waiting
    message = without_own_port(message)
    if reason in IMAGE_REASONS:
        details = _sentence(_PREAMBLE.sub("", message) or reason).removesuffix(".")
        told = reasons.NO_IMAGE_PULLED.format(image=pod.image or run.image, details=details)
        return Cause(reasons.IMAGE_PULL_FAILED, told, pod.name)
    if reason in CONTAINER_REASONS:
        return _secret_cause(run, pod, message) or Cause(
            reasons.CONTAINER_NOT_CREATED,
            reasons.NO_CONTAINER.format(pod=pod.name, details=_sentence(message or reason)),
            pod.name,
        )
    return None


def _secret_cause(run: Run, pod: Pod, message: str) -> Cause | None:
    missing = _NO_SECRET.search(message)
    if missing:
        secret = missing[1]
        told = reasons.CREDENTIALS_MISSING.format(
            secret=secret, namespace=run.namespace, field=_field_of(run, secret)
        )
        return Cause(reasons.SECRET_NOT_FOUND, told, pod.name)
    keyless = _NO_KEY.search(message)
    if keyless:
        key, secret = keyless[1], keyless[2]
        told = reasons.KEY_MISSING.format(
            secret=secret, namespace=run.namespace, key=key, field=_field_of(run, secret)
        )
        return Cause(reasons.SECRET_KEY_NOT_FOUND, told, pod.name)
    return None


def _field_of(run: Run, secret: str) -> str:
    of_bucket = run.spec.checkpoint.secret_ref
    if of_bucket is not None and secret == of_bucket.name:
        return "checkpoint.secretRef"
    return "teacher.tokenSecretRef"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith(".") else text + "."
