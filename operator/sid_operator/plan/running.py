"""Condition Running: iterations are being made, as rank 0 itself tells.

Rules this module keeps:

* What was running counts as running until a report says otherwise or a pod is lost: the operator
  may have been away.
* Ready pods that tell nothing for long make the condition Unknown, not False: they may train
  unseen behind a NetworkPolicy.
* A run whose trainers have ended does not run, though a sidecar keeps their pods.
* Pods that are made anew for a changed spec are no restart after a failure.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.conditions import ConditionStatus, ConditionType, Phase
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan.causes import Cause
from sid_operator.plan.change import is_under_way
from sid_operator.plan.conditions import Verdict, find, is_true
from sid_operator.plan.failure import is_failing
from sid_operator.plan.gang import rank_zero
from sid_operator.plan.holding import holds_up
from sid_operator.plan.model import Observed, Resource
from sid_operator.plan.pods import Pod
from sid_operator.plan.progress import is_news
from sid_operator.plan.readiness import all_ready
from sid_operator.plan.suspension import is_suspended
from sid_operator.resources.run import Run
from sid_trainer.contract import PROGRESS_PORT, ProgressReport

REPORT_GRACE = timedelta(minutes=3)
"""Time that rank 0 has, once its pod is ready, to serve its progress: imports take a minute."""
RUNNING_STAGES = frozenset({"training", "exporting", "done"})


def running(resource: Resource, run: Run, observed: Observed, now: datetime) -> Verdict:
    """The condition Running of a run that is not over."""
    before = resource.status
    if is_suspended(run, observed):
        return _verdict("False", reasons.SUSPENDED, reasons.NO_PODS_WANTED)
    if is_under_way(resource, run, observed):
        return _verdict("False", reasons.CHANGED, reasons.SPEC_CHANGED)
    held = holds_up(observed.pods, now)
    if held or not all_ready(run, observed.pods):
        return _without_pods(before, observed, held)
    report = observed.report
    if report is not None:
        return _reported(before, report, now)
    if is_true(before.conditions, ConditionType.RUNNING):
        return _verdict("True", reasons.TRAINING, reasons.STAGE["training"])
    return _unreported(before, observed, now)


def unheard_after(observed: Observed, now: datetime) -> float | None:
    """Seconds until silence of a ready rank 0 means something, or None where it does not."""
    zero = rank_zero(observed.pods)
    if zero is None or zero.ready_since is None or observed.report is not None:
        return None
    left = (zero.ready_since + REPORT_GRACE - now).total_seconds()
    return left if left > 0 else None


def is_restarting(before: SiDDistillationStatus, observed: Observed) -> bool:
    """Whether the pods that are not ready yet replace others."""
    if is_true(before.conditions, ConditionType.RUNNING):
        return True
    if before.phase is Phase.RESTARTING:
        return True
    return any(pod.failed for pod in _of_this_start(observed))


def _of_this_start(observed: Observed) -> tuple[Pod, ...]:
    """The pods made since the Job was started or resumed; a suspension ends those before."""
    started = observed.job.started if observed.job is not None else None
    if started is None:
        return ()
    return tuple(pod for pod in observed.pods if pod.created >= started)


def _without_pods(before: SiDDistillationStatus, observed: Observed, held: Cause | None) -> Verdict:
    if held is not None:
        return _verdict("False", held.reason, held.message)
    if is_failing(observed.pods):
        return _verdict("False", reasons.FAILING, reasons.IS_FAILING)
    if is_restarting(before, observed):
        return _verdict("False", reasons.RESTARTING, reasons.PODS_REPLACED)
    return _verdict("False", reasons.NOT_STARTED, reasons.PODS_NOT_READY)


def _reported(before: SiDDistillationStatus, report: ProgressReport, now: datetime) -> Verdict:
    message = reasons.STAGE[report.stage]
    held = find(before.conditions, ConditionType.RUNNING)
    restarting = held is not None and held.reason == reasons.RESTARTING
    if restarting and not is_news(before, report, now):
        # From before the pod was lost: rank 0 may outlive it.
        return _verdict("False", reasons.RESTARTING, reasons.AWAITING_REPORT)
    if report.stage in RUNNING_STAGES:
        return _verdict("True", reasons.TRAINING, message)
    # A new attempt loads the teacher again: it restarts until it trains.
    again = restarting or (held is not None and held.status == "True")
    return _verdict("False", reasons.RESTARTING if again else reasons.NOT_STARTED, message)


def _unreported(before: SiDDistillationStatus, observed: Observed, now: datetime) -> Verdict:
    zero = rank_zero(observed.pods)
    since = zero.ready_since if zero is not None else None
    if zero is not None and since is not None and now - since >= REPORT_GRACE:
        message = reasons.UNHEARD.format(
            port=PROGRESS_PORT, pod=zero.name, seconds=REPORT_GRACE.total_seconds()
        )
        return _verdict("Unknown", reasons.NO_REPORT, message)
    held = find(before.conditions, ConditionType.RUNNING)
    again = held is not None and held.reason == reasons.RESTARTING
    reason = reasons.RESTARTING if again else reasons.NOT_STARTED
    return _verdict("False", reason, reasons.AWAITING_REPORT)


def _verdict(status: ConditionStatus, reason: str, message: str) -> Verdict:
    return Verdict(ConditionType.RUNNING, status, reason, message)
