"""A pod that stays without containers: a volume, its sandbox or a claim, told from its Events.

Rules this module keeps:

* Events are asked for only where a pod waits for longer than it takes where nothing is missing, and
  ever more rarely: a pod shows the same while a large image is pulled.
* What was told long ago and not since is over: the kubelet tells again of what still fails.
* None of it is permanent: it is tried again, and the pod starts by itself.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.plan.causes import Cause
from sid_operator.plan.gang import current
from sid_operator.plan.model import Observed, PodEvent, PodQuestion
from sid_operator.plan.objects import printable
from sid_operator.plan.pods import Pod
from sid_operator.resources.bucket import CA_VOLUME
from sid_operator.resources.run import Run

GRACE = timedelta(seconds=10)
"""Time that mounting, or making a claim, takes at most where nothing is missing."""
SANDBOX_GRACE = timedelta(seconds=30)
"""The same for a sandbox; a node that has just joined has its network only then."""
REPEATED = timedelta(minutes=10)
"""Time within which the kubelet tells again of what fails: it tries mounts every two minutes, and
tells of a pod once in five minutes when it has told 25 times."""

MOUNT, SANDBOX, CLAIM = "FailedMount", "FailedCreatePodSandBox", "FailedResourceClaimCreation"

_FAILED = re.compile(r'for volume "([^"]+)"\s*: (.*)', re.DOTALL)
_NO_OBJECT = re.compile(r'(?:configmap|secret) "[^"]+" not found')
_NO_KEY = re.compile(r"references non-existent (?:config|secret) key")
_PREAMBLE = re.compile(r".*\bdesc = ", re.DOTALL)
_SANDBOX_ID = re.compile(r'\s*"?\b[0-9a-f]{64}\b"?')


def event_cause(run: Run, observed: Observed, now: datetime) -> Cause | None:
    """Why a pod still has no containers, by the newest event."""
    pods = {pod.uid: pod for pod in _waiting(run, observed)}
    told = [event for event in observed.pod_events if event.pod_uid in pods]
    # Claims are tried ever more rarely, but a pod whose claims are there is looked at by then.
    fresh = [one for one in told if one.reason == CLAIM or now - one.time <= REPEATED]
    if not fresh:
        return None
    newest = max(fresh, key=lambda event: event.time)
    return _cause(run, pods[newest.pod_uid], newest)


def wanted_events(run: Run, observed: Observed, now: datetime) -> tuple[PodQuestion, ...]:
    """What to ask of pods that have waited for longer than it takes."""
    return tuple(
        PodQuestion(pod.uid, reason)
        for pod in _waiting(run, observed)
        for reason, grace in _may_lack(run, pod).items()
        if now - _since(pod) >= grace
    )


def asked_after(run: Run, observed: Observed, now: datetime) -> float | None:
    """Seconds until pods that wait are to be asked about; they double. None where none waits."""
    waits = [
        max(now - _since(pod), *_may_lack(run, pod).values()).total_seconds()
        for pod in _waiting(run, observed)
    ]
    return min(waits, default=None)


def _waiting(run: Run, observed: Observed) -> list[Pod]:
    return [pod for pod in current(observed.pods) if _may_lack(run, pod)]


def _may_lack(run: Run, pod: Pod) -> dict[str, timedelta]:
    """The reasons of events that may tell what a pod lacks, and how long it has to get it."""
    if (pod.waiting or ("",))[0] == "ContainerCreating":
        volumes = run.spec.checkpoint.ca_bundle_ref is not None or bool(run.spec.workers.volumes)
        return {MOUNT: GRACE, SANDBOX: GRACE} if volumes else {SANDBOX: SANDBOX_GRACE}
    claims = not pod.looked_at and bool(run.spec.workers.resource_claims)
    return {CLAIM: GRACE} if claims else {}


def _since(pod: Pod) -> datetime:
    """When a pod began to wait for what may be missing: as soon as it had its node."""
    return pod.placed or pod.created


def _cause(run: Run, pod: Pod, event: PodEvent) -> Cause:
    if event.reason == MOUNT:
        return _mount_cause(run, pod, event.message)
    if event.reason == SANDBOX:
        return _sandbox_cause(run, pod, event.message)
    told = reasons.CLAIM_NOT_MADE.format(
        pod=pod.name, details=printable(event.message).rstrip(". ")
    )
    return Cause(reasons.CLAIM_MISSING, told, pod.name)


def _sandbox_cause(run: Run, pod: Pod, message: str) -> Cause:
    # The sandbox is another at each try.
    details = printable(_SANDBOX_ID.sub("", _PREAMBLE.sub("", message))).rstrip(". ")
    runtime = run.spec.workers.runtime_class_name
    remedy = reasons.REMEDY_RUNTIME.format(runtime=runtime) if runtime else reasons.REMEDY_NODE
    told = reasons.NO_SANDBOX.format(pod=pod.name, node=pod.node, details=details, remedy=remedy)
    return Cause(reasons.SANDBOX_NOT_CREATED, told, pod.name)


def _mount_cause(run: Run, pod: Pod, message: str) -> Cause:
    failed = _FAILED.search(message)
    volume, details = (failed[1], failed[2]) if failed is not None else ("", message)
    missing = _missing_bundle(run, details) if volume == CA_VOLUME else ""
    if missing:
        return Cause(reasons.CA_BUNDLE_NOT_FOUND, missing, pod.name)
    told = reasons.NO_VOLUME.format(pod=pod.name, details=printable(details))
    return Cause(reasons.VOLUME_NOT_MOUNTED, told, pod.name)


def _missing_bundle(run: Run, details: str) -> str:
    """What is missing of the CA bundle; "" where that is not the trouble."""
    ref = run.spec.checkpoint.ca_bundle_ref
    absent, keyless = _NO_OBJECT.search(details), _NO_KEY.search(details)
    if ref is None or not (absent or keyless):
        return ""
    text = reasons.CA_BUNDLE_MISSING if absent else reasons.CA_BUNDLE_KEY_MISSING
    return text.format(kind=ref.kind, name=ref.name, key=ref.key, namespace=run.namespace)
