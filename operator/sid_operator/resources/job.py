"""The Indexed Job: one pod a node, its index the node's rank.

Rules this module keeps:

* The pod template of a Job cannot be changed; what differs in :func:`run_hash` needs a new Job.
* The run policy can be changed in place (:func:`policy_patch`), without rendering the template
  again: another version of the operator may have made it.
* With a queue, ``suspend`` belongs to the queue and is never written; a Job may have one that the
  resource does not name.
* Exit codes 64 to 78 end the run at once; disruptions and exit code 143 (asked to end) do not
  count; everything else may be retried, ``backoffLimit`` times for each pod. The Job counts all
  pods together: it stands ``nodes`` times as many, and bears the limit of each as an annotation,
  which planning keeps (:mod:`sid_operator.plan.wear`).
"""

from __future__ import annotations

from sid_operator.api.names import (
    ANNOTATION_HASH,
    ANNOTATION_POD_LIMIT,
    ANNOTATION_POLICY_HASH,
    LABEL_QUEUE,
    LABEL_QUEUE_PRIORITY,
    TRAINER_CONTAINER,
)
from sid_operator.resources.metadata import Manifest, metadata, policy_hash, run_hash
from sid_operator.resources.pod import pod_template
from sid_operator.resources.run import Run
from sid_trainer.contract import PERMANENT_EXIT_CODES, ExitCode


def job(run: Run) -> Manifest:
    """The Job of a run."""
    workers = run.spec.workers
    policy = _policy(run, queued=run.spec.scheduling.queue_name is not None)
    spec = {
        "completionMode": "Indexed",
        "completions": workers.nodes,
        "parallelism": workers.nodes,
        "podReplacementPolicy": "Failed",  # a straggler must be gone before its successor comes
        "podFailurePolicy": {"rules": _failure_rules()},
        "template": pod_template(run),
        **{key: value for key, value in policy.items() if value is not None},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _job_metadata(run),
        "spec": spec,
    }


def policy_patch(run: Run, *, queued: bool, by_pod: bool) -> Manifest:
    """The merge patch that gives an existing Job the run policy of today.

    Args:
        run: Tells the policy.
        queued: The Job is in a queue.
        by_pod: The Job bears the limit of each pod. One that does not may have had more failures
            of a pod already than the limit allows.
    """
    limit = _pod_limit(run) if by_pod else {}
    patch: Manifest = {
        "metadata": {"annotations": {ANNOTATION_POLICY_HASH: policy_hash(run), **limit}},
        "spec": _policy(run, queued=queued),
    }
    of_queue = run.spec.scheduling.workload_priority_class
    if of_queue is not None:
        patch["metadata"]["labels"] = {LABEL_QUEUE_PRIORITY: of_queue}
    return patch


def _job_metadata(run: Run) -> Manifest:
    hashes = {ANNOTATION_HASH: run_hash(run), ANNOTATION_POLICY_HASH: policy_hash(run)}
    result = metadata(run, run.name, hashes | _pod_limit(run))
    return result | {"labels": result["labels"] | _queue_labels(run)}


def _pod_limit(run: Run) -> dict[str, str]:
    return {ANNOTATION_POD_LIMIT: str(run.spec.run_policy.backoff_limit)}


def _queue_labels(run: Run) -> dict[str, str]:
    """What Kueue is told."""
    scheduling = run.spec.scheduling
    labels = {
        LABEL_QUEUE: scheduling.queue_name,
        LABEL_QUEUE_PRIORITY: scheduling.workload_priority_class,
    }
    return {name: value for name, value in labels.items() if value is not None}


def _policy(run: Run, *, queued: bool) -> Manifest:
    policy = run.spec.run_policy
    values: Manifest = {
        "backoffLimit": run.spec.workers.nodes * policy.backoff_limit,
        "activeDeadlineSeconds": policy.active_deadline_seconds,
    }
    if not queued:
        values["suspend"] = policy.suspend
    return values


def _failure_rules() -> list[Manifest]:
    return [
        {"action": "FailJob", "onExitCodes": _exit_codes(*PERMANENT_EXIT_CODES)},
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {"action": "Ignore", "onExitCodes": _exit_codes(int(ExitCode.TERMINATED))},
    ]


def _exit_codes(*codes: int) -> Manifest:
    return {"containerName": TRAINER_CONTAINER, "operator": "In", "values": list(codes)}
