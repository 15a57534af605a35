"""``runPolicy.backoffLimit``: how often each pod of a run may fail.

Kubernetes counts the failures of all pods of a Job together, and its own limit for each of them
could not be changed on a run that goes on. So the Job stands ``nodes * backoffLimit`` failures, by
which one of its pods has failed too often in any case, and is ended as soon as one has.

Rules this module keeps:

* What the Job does not count (a pod that was taken away, or told to end) is not counted here.
* What befalls all pods at once, such as a store that is away, costs each of them one.
* A Job that an earlier version made, and that does not bear the limit, goes on by its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sid_operator.plan.jobs import Job
from sid_operator.plan.pods import Pod
from sid_operator.resources.metadata import Manifest
from sid_operator.resources.run import Run
from sid_trainer.contract import ExitCode

ENDING: Manifest = {"spec": {"backoffLimit": 0}}
"""The merge patch with which the Job controller ends a Job of which a pod has failed."""


def is_worn_out(job: Job, pods: Iterable[Pod]) -> bool:
    """Whether a pod has failed too often, and its Job is to be ended for it."""
    if job.pod_limit is None or job.finished or job.backoff_limit == 0:
        return False
    failures = Counter(pod.index for pod in pods if _counts(pod))
    return max(failures.values(), default=0) > job.pod_limit


def limit(job: Job, run: Run) -> int:
    """How often each pod of a Job may fail, by what the Job itself says."""
    if job.pod_limit is not None:
        return job.pod_limit
    return job.backoff_limit // run.spec.workers.nodes


def _counts(pod: Pod) -> bool:
    """Whether the Job counts the end of a pod as a failure."""
    told_to_end = pod.terminated is not None and pod.terminated.exit_code == ExitCode.TERMINATED
    return pod.phase == "Failed" and pod.disruption is None and not told_to_end
