"""Condition Stalled: iterations should be made, and none is.

Rules this module keeps:

* What counts as long adapts to the pace so far: many times what an iteration took, and never less
  than five minutes, which the trainer's watchdog gives an iteration too.
* Where something else is due after the iteration that was told last (samples, a checkpoint, a
  measurement), or no pace is known yet, it is never less than a quarter of an hour: how long that
  takes follows from no pace, and the trainer tells nothing meanwhile.
* The trainer's own watchdog ends a gang that hangs; the condition tells people, and tells them
  too where the watchdog is off or everything is frozen.
* The condition is there only once it has been true.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionStatus, ConditionType
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan.conditions import Verdict, find
from sid_operator.resources.run import Run

SHORTEST = timedelta(minutes=5)
SHORTEST_OTHERWISE = timedelta(minutes=15)
"""Where silence may be something else than an iteration."""
ITERATIONS = 20
"""Iterations that would have been made at the usual pace before silence means something."""
LONGEST = timedelta(days=1)


def stalled(
    run: Run, status: SiDDistillationStatus, running: Verdict, now: datetime
) -> list[Verdict]:
    """The condition of a run that is not over, if there is one to tell.

    Args:
        run: tells the batch size and the watchdog's time.
        status: with the newest report in it.
        running: the condition Running of now.
        now: the time, in UTC.
    """
    silence = _silence(status, running, now)
    patience = _patience(run, status)
    if silence is not None and silence >= patience:
        return [_verdict("True", reasons.NO_PROGRESS, _message(run, status, patience))]
    return _ended(status.conditions)


def seconds_until(
    run: Run, status: SiDDistillationStatus, running: Verdict, now: datetime
) -> float | None:
    """Seconds until silence would mean something, or None where it would not or does already."""
    silence = _silence(status, running, now)
    if silence is None:
        return None
    left = (_patience(run, status) - silence).total_seconds()
    return left if left > 0 else None


def _silence(status: SiDDistillationStatus, running: Verdict, now: datetime) -> timedelta | None:
    """Time since the last sign of progress of a run that trains."""
    if running.status == "False" or running.message == reasons.STAGE["exporting"]:
        return None
    if status.progress is None or status.progress.last_update_time is None:
        return None
    return now - status.progress.last_update_time


def _patience(run: Run, status: SiDDistillationStatus) -> timedelta:
    pace = status.progress.images_per_second if status.progress is not None else None
    if not pace:
        return SHORTEST_OTHERWISE
    usual = min(ITERATIONS * run.spec.training.batch_size / pace, LONGEST.total_seconds())
    shortest = SHORTEST_OTHERWISE if _is_otherwise_at_work(run, status) else SHORTEST
    return max(shortest, timedelta(seconds=usual))


def _is_otherwise_at_work(run: Run, status: SiDDistillationStatus) -> bool:
    """Whether more than the next iteration is due after the one that was told last."""
    iteration = status.progress.iteration if status.progress is not None else 0
    evaluation, metrics = run.spec.evaluation, run.spec.evaluation.metrics
    due = {evaluation.every_iterations, run.spec.checkpoint.every_iterations}
    due.add(run.spec.training.total_iterations)
    if metrics is not None and metrics.every_iterations:
        due.add(metrics.every_iterations)
    return any(iteration % every == 0 for every in due)


def _message(run: Run, status: SiDDistillationStatus, patience: timedelta) -> str:
    iteration = status.progress.iteration if status.progress is not None else 0
    seconds = run.spec.training.watchdog_seconds
    what = reasons.WATCHDOG_WAITS.format(seconds=seconds) if seconds else reasons.WATCHDOG_OFF
    minutes = patience.total_seconds() / 60
    return reasons.STANDS_STILL.format(iteration=iteration, minutes=minutes, what=what)


def _ended(conditions: list[Condition]) -> list[Verdict]:
    if find(conditions, ConditionType.STALLED) is None:
        return []
    return [_verdict("False", reasons.PROGRESSING, reasons.IS_PROGRESSING)]


def _verdict(status: ConditionStatus, reason: str, message: str) -> Verdict:
    return Verdict(ConditionType.STALLED, status, reason, message)
