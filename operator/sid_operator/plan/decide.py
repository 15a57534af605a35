"""``plan``: puts the policies together."""

from __future__ import annotations

from datetime import datetime

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionType
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan import (
    children,
    cleanup,
    expiry,
    late_edit,
    progress,
    refusal,
    suspension,
    telling,
)
from sid_operator.plan.causes import Cause
from sid_operator.plan.checkpoints import checkpoints_stored
from sid_operator.plan.conditions import Verdict, find, updated
from sid_operator.plan.disruption import seconds_until_stuck
from sid_operator.plan.ending import ended, is_over, pods_left
from sid_operator.plan.events import notices
from sid_operator.plan.gang import rank_zero
from sid_operator.plan.model import Action, Observed, Plan, Resource, ScrapeTarget
from sid_operator.plan.phase import phase
from sid_operator.plan.pod_events import wanted_events
from sid_operator.plan.readiness import (
    blocked_after,
    blocking_cause,
    lacks_pods_for_long,
    pods_ready,
)
from sid_operator.plan.room import room
from sid_operator.plan.running import running, unheard_after
from sid_operator.plan.stalling import seconds_until, stalled
from sid_operator.plan.waits import soonest
from sid_operator.resources.run import Run

RESYNC_SECONDS = 600.0
"""An event that was lost costs no more than this."""
RETRY_SECONDS = 30.0
"""Wait before looking again at what was in the way."""


def plan(resource: Resource, observed: Observed, now: datetime) -> Plan:
    """What is to be done about a resource.

    Args:
        resource: As the API server holds it.
        observed: What is seen of its children.
        now: The time, in UTC.
    """
    now = now.replace(microsecond=0)
    before = resource.status
    status = progress.merged(before, observed.report, observed.pods, now)
    if is_over(before):
        return _after_the_end(resource, observed, status, now)
    if resource.run is None:
        return _not_accepted(resource, status, reasons.INVALID_SPEC, resource.problem, now)
    over = ended(resource, resource.run, observed, status, now)
    if over is not None:
        return Plan(
            actions=(),
            status=over,
            notices=notices(before, over),
            look_again_after=_over_again_after(resource, observed, over, now),
        )
    in_the_way = children.conflict(resource, observed)
    if in_the_way:
        return _not_accepted(resource, status, reasons.NAME_CONFLICT, in_the_way, now)
    return _going_on(resource, resource.run, observed, status, now)


def _after_the_end(
    resource: Resource, observed: Observed, status: SiDDistillationStatus, now: datetime
) -> Plan:
    """Nothing is done any more, but the last words of pods may arrive late."""
    late = None
    if resource.run is not None:
        late = ended(resource, resource.run, observed, status, now)
    status = late or status
    verdicts = [pods_left(observed.pods, now)]
    if observed.refusal is not None or refusal.is_told(status.conditions):
        verdicts.append(refusal.accepted(_refused(observed)))
    conditions = updated(status.conditions, verdicts, resource.generation, now)
    status = status.model_copy(update={"conditions": conditions})
    events = late_edit.notices(resource, observed)
    if late_edit.is_new(resource):
        status = late_edit.noticed(resource, observed, status, now)
    if observed.refusal is not None:
        events = (*events, *notices(resource.status, status))
        retried = refusal.retried_after(status.conditions, now)
        return Plan(actions=(), status=status, notices=events, look_again_after=retried)
    actions = cleanup.keeping(resource, observed)
    again = _over_again_after(resource, observed, status, now)
    if expiry.is_due(resource, status, now):
        actions = (*actions, expiry.deletion(resource))
        again = RETRY_SECONDS  # in case the deletion comes to nothing
    return Plan(actions=actions, status=status, notices=events, look_again_after=again)


def _over_again_after(
    resource: Resource, observed: Observed, status: SiDDistillationStatus, now: datetime
) -> float | None:
    """Seconds after which time alone changes what is done about a run that is over."""
    return soonest(
        (
            expiry.seconds_left(resource, status, now),
            seconds_until_stuck(observed.pods, now),
        )
    )


def _not_accepted(
    resource: Resource, status: SiDDistillationStatus, reason: str, message: str, now: datetime
) -> Plan:
    idle = [
        Verdict(kind, "False", reasons.NOT_STARTED, reasons.NOT_YET)
        for kind in (ConditionType.PODS_READY, ConditionType.RUNNING)
        if find(status.conditions, kind) is None
    ]
    refused = Verdict(ConditionType.ACCEPTED, "False", reason, message)
    conditions = updated(status.conditions, [refused, *idle], resource.generation, now)
    failure = Cause(reason, message)
    after = _status(resource, None, status, conditions, failure, Observed(), now)
    return Plan(
        actions=(),
        status=after,
        notices=notices(resource.status, after),
        look_again_after=RETRY_SECONDS if reason != reasons.INVALID_SPEC else None,
    )


def _going_on(
    resource: Resource, run: Run, observed: Observed, status: SiDDistillationStatus, now: datetime
) -> Plan:
    room_found = room(run, resource.status, observed)
    blocking = room_found.held or blocking_cause(run, observed, now)
    blocked = None if suspension.is_suspended(run, observed) else blocking
    cause = telling.steady(blocked, resource, now)
    refused = telling.steady(_refused(observed), resource, now)
    no_job = cause if room_found.held else refused
    running_now = running(resource, run, observed, now)
    verdicts = [
        refusal.accepted(refused),
        *room_found.verdicts,
        pods_ready(run, observed, cause, no_job),
        running_now,
        *stalled(run, status, running_now, now),
        *checkpoints_stored(observed.report),
        *suspension.suspended(run, observed, status.conditions),
    ]
    conditions = updated(status.conditions, verdicts, resource.generation, now)
    failure = telling.failure(status, conditions, observed.pods, cause)
    after = _status(resource, run, status, conditions, failure, observed, now)
    is_new = resource.status.start_time is None and after.start_time is not None
    return Plan(
        actions=_actions(resource, observed, held=room_found.held is not None),
        status=after,
        notices=(*[children.created(run)] * is_new, *notices(resource.status, after)),
        scrape=_scrape(observed),
        look_again_after=_look_again_after(
            run,
            observed,
            conditions,
            now,
            seconds_until(run, status, running_now, now),
            telling.seconds_until_news(blocked, resource, now),
        ),
        wants_creation_failures=lacks_pods_for_long(run, observed, now),
        wants_pod_events=wanted_events(run, observed, now),
    )


def _refused(observed: Observed) -> Cause | None:
    return refusal.cause(observed.refusal) if observed.refusal is not None else None


def _actions(resource: Resource, observed: Observed, *, held: bool) -> tuple[Action, ...]:
    if observed.refusal is not None:
        return ()
    kept = cleanup.keeping(resource, observed)
    return (*kept, *children.actions(resource, observed, held=held))


def _status(
    resource: Resource,
    run: Run | None,
    status: SiDDistillationStatus,
    conditions: list[Condition],
    failure: Cause | None,
    observed: Observed,
    now: datetime,
) -> SiDDistillationStatus:
    job = observed.job
    started = status.start_time or (job.created if job is not None and job.ours else None)
    interrupted = telling.interruption(conditions, observed.pods, failure)
    update = {
        "phase": phase(status.phase, run, conditions, observed),
        "conditions": conditions,
        "observed_generation": resource.generation,
        "start_time": started,
        "failure": telling.as_told(failure, status, observed.pods, now),
        "last_failure": telling.as_told(interrupted, status, observed.pods, now)
        or status.last_failure,
    }
    return status.model_copy(update=update)


def _scrape(observed: Observed) -> ScrapeTarget | None:
    zero = rank_zero(observed.pods)
    return ScrapeTarget(zero.uid, zero.ip) if zero is not None and zero.ip else None


def _look_again_after(
    run: Run, observed: Observed, conditions: list[Condition], now: datetime, *more: float | None
) -> float:
    if observed.refusal is not None:
        return refusal.retried_after(conditions, now)
    waits = (
        *more,
        blocked_after(run, observed, now),
        unheard_after(observed, now),
        seconds_until_stuck(observed.pods, now),
    )
    return min([RESYNC_SECONDS, *(wait for wait in waits if wait is not None)])
