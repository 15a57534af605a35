"""Events: what changed between two statuses, in the words of a person who reports it.

Rule: where words change with everything that happens in the cluster, other words for the same cause
in the same pod are no news, unless the spec was changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sid_operator import reasons
from sid_operator.api.conditions import ConditionType, Phase
from sid_operator.api.status import FailureStatus, SiDDistillationStatus
from sid_operator.plan.causes import MAX_MESSAGE, RESTLESS
from sid_operator.plan.conditions import find
from sid_operator.plan.model import Notice

TROUBLE = (
    (ConditionType.STALLED, "True", reasons.EVENT_STALLED),
    (ConditionType.CHECKPOINTS, "False", reasons.EVENT_NOT_STORED),
)
"""Conditions, the status in which they are bad news, and the reason of the Event."""
ROOM = frozenset(
    {reasons.MAY_NOT_FIT, reasons.TOO_LARGE, reasons.DEPENDS_ON_NODE, reasons.HOST_TOO_SMALL}
)
"""Reasons of FitsMemory that are bad news."""


def notices(before: SiDDistillationStatus, after: SiDDistillationStatus) -> tuple[Notice, ...]:
    """The Events that tell the way from one status to the next."""
    return tuple(
        dataclasses.replace(notice, message=notice.message[:MAX_MESSAGE])
        for notice in (
            *_phase(before, after),
            *_failure(before, after),
            *_trouble(before, after),
            *_room(before, after),
            *_refused(before, after),
        )
    )


def _phase(before: SiDDistillationStatus, after: SiDDistillationStatus) -> Iterator[Notice]:
    if before.phase == after.phase or after.phase is None:
        return
    if after.phase is Phase.SUCCEEDED:
        yield Notice("Normal", after.phase, _message(after, ConditionType.COMPLETE))
    elif after.phase is Phase.FAILED:
        failed = find(after.conditions, ConditionType.FAILED)
        reason = failed.reason if failed is not None else ""
        yield Notice("Warning", after.phase, f"{reason}: {_message(after, ConditionType.FAILED)}")
    elif after.phase is Phase.RESTARTING:
        yield Notice("Warning", after.phase, _restarting(after))
    elif after.phase is Phase.RUNNING:
        yield Notice("Normal", after.phase, _running(after), known_by=after.phase)
    elif after.phase in reasons.PHASE_EVENTS:
        yield Notice("Normal", after.phase, reasons.PHASE_EVENTS[after.phase])
    elif before.phase is Phase.SUSPENDED:
        yield Notice("Normal", reasons.EVENT_RESUMED, reasons.GOES_ON)


def _restarting(status: SiDDistillationStatus) -> str:
    return " ".join(
        filter(None, [reasons.PHASE_EVENTS[Phase.RESTARTING], _described(status.failure)])
    )


def _running(status: SiDDistillationStatus) -> str:
    told = reasons.PHASE_EVENTS[Phase.RUNNING]
    if status.progress is None:
        return told
    made, wanted = status.progress.iteration, status.progress.iterations
    return f"{told} {reasons.MADE_SO_FAR.format(made=made, wanted=wanted)}"


def _failure(before: SiDDistillationStatus, after: SiDDistillationStatus) -> Iterator[Notice]:
    running = find(after.conditions, ConditionType.RUNNING)
    told_at_the_end = running is not None and running.reason == reasons.FAILING
    if after.failure is None or after.phase in (Phase.FAILED, Phase.SUCCEEDED) or told_at_the_end:
        return
    told_with_phase = after.phase is Phase.RESTARTING and before.phase is not after.phase
    if told_with_phase or not _is_news(before, after):
        return
    failure = after.failure
    known_by = (failure.pod or failure.reason) if failure.reason in RESTLESS else ""
    yield Notice("Warning", failure.reason, failure.message, known_by=known_by)


def _trouble(before: SiDDistillationStatus, after: SiDDistillationStatus) -> Iterator[Notice]:
    """Conditions that turned bad while the run goes on."""
    for kind, bad, reason in TROUBLE:
        now = find(after.conditions, kind)
        then = find(before.conditions, kind)
        if now is None or now.status != bad or (then is not None and then.status == bad):
            continue
        yield Notice("Warning", reason, now.message)


def _room(before: SiDDistillationStatus, after: SiDDistillationStatus) -> Iterator[Notice]:
    """The GPUs turned out too small; a run that is held for it tells so as its failure."""
    now = find(after.conditions, ConditionType.FITS_MEMORY)
    then = find(before.conditions, ConditionType.FITS_MEMORY)
    if now is None or now.reason not in ROOM or (then is not None and then.reason == now.reason):
        return
    if after.failure is None or after.failure.reason != now.reason:
        yield Notice("Warning", now.reason, now.message)


def _refused(before: SiDDistillationStatus, after: SiDDistillationStatus) -> Iterator[Notice]:
    """A run that is over has another failure to tell, or none."""
    now = find(after.conditions, ConditionType.ACCEPTED)
    then = find(before.conditions, ConditionType.ACCEPTED)
    over = after.phase is not None and after.phase.finished
    known = then is not None and then.reason == reasons.REFUSED
    if over and now is not None and now.reason == reasons.REFUSED and not known:
        yield Notice("Warning", now.reason, now.message, known_by=now.reason)


def _is_news(before: SiDDistillationStatus, after: SiDDistillationStatus) -> bool:
    """Whether the failure is told by an Event."""
    then, now = before.failure, after.failure
    if then is None or now is None or (then.reason, then.pod) != (now.reason, now.pod):
        return now is not None
    edited = before.observed_generation != after.observed_generation
    return then.message != now.message and (edited or now.reason not in RESTLESS)


def _described(failure: FailureStatus | None) -> str:
    if failure is None:
        return ""
    where = f" in pod {failure.pod}" if failure.pod else ""
    return f"{failure.reason}{where}: {failure.message}"


def _message(status: SiDDistillationStatus, kind: ConditionType) -> str:
    condition = find(status.conditions, kind)
    return condition.message if condition is not None else ""
