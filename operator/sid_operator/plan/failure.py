"""Why pods, or the run, failed: from termination records, exit codes and the Job's condition.

When one process fails, the others lose their peer and fail too; the cause is the failure that
explains the others. Permanent causes come first, then anything but a lost peer or a requested end,
then whoever failed first. That a pod was told to end is explained by who took it away
(:mod:`sid_operator.plan.disruption`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sid_operator import reasons
from sid_operator.api.status import FailureStatus
from sid_operator.plan.causes import Cause
from sid_operator.plan.disruption import disruption_cause
from sid_operator.plan.gang import newest
from sid_operator.plan.jobs import Job
from sid_operator.plan.objects import printable
from sid_operator.plan.pods import Pod, Terminated
from sid_operator.plan.wear import limit
from sid_operator.resources.run import Run
from sid_trainer.contract import EXIT_CODE_OF, PERMANENT_EXIT_CODES, FailureReason

REASON_OF_CODE = {int(code): reason for reason, code in EXIT_CODE_OF.items()}
CONSEQUENCES = frozenset({FailureReason.PEER_LOST.value, FailureReason.TERMINATED.value})
_EXIT_CODE = re.compile(r"pod [^/\s]+/(\S+) failed with exit code (\d+)")


def pod_cause(pods: Iterable[Pod]) -> Cause | None:
    """Why the gang failed last, or None where no pod tells."""
    failed = [pod for pod in newest(pods) if pod.failed or _taken(pod)]
    if not failed:
        return None
    return min(((_weight(pod), _cause(pod)) for pod in failed), key=lambda pair: pair[0])[1]


def is_failing(pods: Iterable[Pod]) -> bool:
    """Whether a pod ended with a permanent exit code: the Job is about to fail."""
    return any(_permanent(pod) for pod in newest(pods))


def job_failure(
    run: Run, job: Job, pods: Iterable[Pod], last: FailureStatus | None
) -> tuple[Cause, Cause]:
    """Why the run failed for good: the verdict for the condition, and the cause behind it.

    Args:
        run: The run.
        job: Which has failed; it tells the limits that were exceeded, whatever the spec says now.
        pods: What is left of them.
        last: The failure that the status held before.
    """
    if job.fail_reason == reasons.DEADLINE:
        message = reasons.DEADLINE_EXCEEDED.format(seconds=job.deadline)
        verdict = Cause(reasons.DEADLINE, message)
        return verdict, verdict
    cause = pod_cause(pods) or _remembered(last) or _from_message(job.fail_message)
    if job.fail_reason == reasons.BACKOFF_LIMIT:
        verdict = _worn_out(limit(job, run), cause)
        return verdict, cause or verdict
    cause = cause or Cause(reasons.JOB_FAILED, job.fail_message or reasons.UNKNOWN_CAUSE)
    return cause, cause


def _worn_out(allowed: int, cause: Cause | None) -> Cause:
    told = f"{cause.reason}: {cause.message}" if cause else reasons.UNKNOWN_CAUSE
    message = reasons.BACKOFF_EXCEEDED.format(limit=allowed, cause=told)
    return Cause(reasons.BACKOFF_LIMIT, message, cause.pod if cause else None)


def _remembered(last: FailureStatus | None) -> Cause | None:
    if last is None or last.reason == reasons.BACKOFF_LIMIT:  # the verdict itself is no cause of it
        return None
    return Cause.told(last)


def _from_message(message: str) -> Cause | None:
    found = _EXIT_CODE.search(message)
    if found is None:
        return None
    code = int(found[2])
    reason = REASON_OF_CODE.get(code, FailureReason.UNKNOWN)
    return Cause(reason.value, _code_message(code, reason, ""), found[1])


def _taken(pod: Pod) -> bool:
    """Whether Kubernetes takes the pod away, which has not ended well before."""
    return pod.leaving and pod.disruption is not None and not pod.succeeded


def _cause(pod: Pod) -> Cause:
    taken = disruption_cause(pod)
    return taken if taken is not None and not _failed_by_itself(pod) else _told_cause(pod)


def _failed_by_itself(pod: Pod) -> bool:
    record = pod.terminated.record if pod.terminated is not None else None
    failure = record.failure if record is not None else None
    return failure is not None and failure.reason not in CONSEQUENCES


def _told_cause(pod: Pod) -> Cause:
    ended = pod.terminated
    if ended is None:
        details = pod.message or pod.reason or reasons.UNKNOWN_CAUSE
        if pod.reason == reasons.EVICTED:
            return Cause(reasons.EVICTED, _evicted(pod, details), pod.name)
        return Cause(pod.reason or FailureReason.UNKNOWN.value, details, pod.name)
    if ended.record is not None and ended.record.failure is not None:
        failure = ended.record.failure
        return Cause(failure.reason.value, printable(failure.message), pod.name)
    return _cause_of_code(pod, ended)


def _cause_of_code(pod: Pod, ended: Terminated) -> Cause:
    if ended.reason == "OOMKilled":
        return Cause(FailureReason.OUT_OF_MEMORY.value, reasons.POD_OUT_OF_MEMORY, pod.name)
    if pod.reason == reasons.EVICTED:
        details = pod.message or ended.text
        return Cause(reasons.EVICTED, _evicted(pod, details), pod.name)
    if ended.reason in ("StartError", "ContainerCannotRun"):
        message = reasons.POD_CANNOT_START.format(details=ended.text.rstrip(". "))
        return Cause(reasons.CANNOT_START, message, pod.name)
    reason = REASON_OF_CODE.get(ended.exit_code, FailureReason.UNKNOWN)
    return Cause(reason.value, _code_message(ended.exit_code, reason, ended.text), pod.name)


def _evicted(pod: Pod, details: str) -> str:
    return reasons.POD_EVICTED.format(node=pod.node, details=details.rstrip(". "))


def _code_message(code: int, reason: FailureReason, text: str) -> str:
    details = reasons.EXIT_CODE_MESSAGES.get(reason, "")
    if text:
        details = f"{details} The end of its log: {text}".strip()
    return reasons.POD_EXITED.format(code=code, details=details).strip()


def _permanent(pod: Pod) -> bool:
    return pod.terminated is not None and pod.terminated.exit_code in PERMANENT_EXIT_CODES


def _weight(pod: Pod) -> tuple[bool, bool, float, int]:
    ended = pod.terminated
    consequence = _cause(pod).reason in CONSEQUENCES
    finished = ended.finished_at if ended is not None else pod.created
    return (not _permanent(pod), consequence, finished.timestamp(), pod.index)
