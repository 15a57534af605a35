"""What to do when the workers of this pod have ended: a pure decision.

The gang policy. All ranks stop when one does; what differs is whose fault it was:

* A pod whose own worker failed for its own cause ends with that cause's exit code. Its Job
  replaces it, or fails at once where the code is permanent; log and message stay readable.
* A pod whose workers ended only because a peer was lost stays and launches them again, to wait for
  the peer's replacement: one failure costs one pod.
* Where there is no peer pod, a lost peer is a lost process of this pod: it ends.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sid_trainer.contract import EXIT_CODE_OF, ExitCode, Failure, FailureReason
from sid_trainer.process.failures import shortened

# A worker that a peer's death made abort: the collective library's watchdog raises SIGABRT.
_PEER_SIGNALS = frozenset({signal.SIGABRT})
# A worker that the agent itself stopped because another one had failed.
_STOPPED = signal.SIGTERM
_REASON_OF: dict[int, FailureReason] = {
    code: reason for reason, code in EXIT_CODE_OF.items() if code != ExitCode.FAILED
}
"""What the exit code of a worker says that could not write its failure."""


@dataclass(frozen=True)
class WorkerExit:
    """A worker that did not end well: exit code, negative for a signal; no rank if not known."""

    rank: int | None
    code: int


@dataclass(frozen=True)
class AgentOutcome:
    """How one launch of the agent ended.

    Attributes:
        kind: ``succeeded``; ``workers`` when workers failed; ``rendezvous`` when the group did not
            form or its store was lost; ``error`` when the agent itself broke.
        exits: the workers that failed.
        detail: the agent's own words.
    """

    kind: Literal["succeeded", "workers", "rendezvous", "error"]
    exits: tuple[WorkerExit, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the launcher does next, and the failure that it tells."""

    action: Literal["finish", "fail", "relaunch"]
    failure: Failure | None = None


def judge(
    outcome: AgentOutcome, told: Sequence[Failure], nodes: int, memory_killed: bool = False
) -> Verdict:
    """Decide what follows from the end of a launch.

    Args:
        outcome: how the agent ended.
        told: failures that this pod's workers wrote down, the earliest first.
        nodes: number of pods of the run.
        memory_killed: whether the kernel killed a process of this pod for want of memory.
    """
    if outcome.kind == "succeeded":
        return Verdict("finish")
    own = _own_failure(outcome, told, memory_killed)
    if own is not None:
        return Verdict("fail", own)
    lost = next(iter(told), None) or Failure(
        reason=FailureReason.PEER_LOST,
        message=shortened(
            f"the group of all ranks broke: {outcome.detail or _ends(outcome.exits)}"
        ),
    )
    return Verdict("relaunch" if nodes > 1 else "fail", lost)


def code_of(outcome: AgentOutcome) -> int:
    """The exit code of an agent, which says of its outcome what a code can."""
    failure = judge(outcome, [], nodes=1).failure
    return ExitCode.DONE if failure is None else EXIT_CODE_OF[failure.reason]


def outcome_of(code: int) -> AgentOutcome:
    """What is known of an outcome that could not be written: by :func:`code_of`."""
    if code == ExitCode.DONE:
        return AgentOutcome("succeeded")
    if code in _REASON_OF:
        return AgentOutcome("workers", (WorkerExit(None, code),))
    return AgentOutcome("error", detail=f"the agent ended with code {code}")


def _own_failure(
    outcome: AgentOutcome, told: Sequence[Failure], memory_killed: bool
) -> Failure | None:
    """The failure that began in this pod, if one did."""
    for failure in told:
        if failure.reason is not FailureReason.PEER_LOST:
            return failure
    if outcome.kind == "error":
        if memory_killed:
            return _memory_failure("torchrun")
        return Failure(reason=FailureReason.UNKNOWN, message=f"torchrun failed: {outcome.detail}")
    untold = [e for e in outcome.exits if e.rank not in {failure.rank for failure in told}]
    silent = [e for e in untold if not _followed(e)]
    # Nobody but SIGTERM from outside ends all workers by SIGTERM.
    if not silent and not told and untold and all(-e.code == _STOPPED for e in untold):
        silent = untold
    return _silent_failure(silent[0], memory_killed) if silent else None


def _followed(worker: WorkerExit) -> bool:
    """Whether a worker ended because another one had."""
    return -worker.code in {*_PEER_SIGNALS, _STOPPED} or worker.code == ExitCode.PEER_LOST


def _silent_failure(worker: WorkerExit, memory_killed: bool) -> Failure:
    """The failure of a worker that could not say why."""
    if worker.code in _REASON_OF:
        message = f"{_ends([worker])}, and its message could not be written: see the pod's log"
        return Failure(reason=_REASON_OF[worker.code], message=message, rank=worker.rank)
    if memory_killed:
        return _memory_failure(_named(worker), worker.rank)
    return Failure(
        reason=FailureReason.UNKNOWN,
        message=f"{_ends([worker])} and left no cause: see the pod's log",
        rank=worker.rank,
    )


def _memory_failure(who: str, rank: int | None = None) -> Failure:
    return Failure(
        reason=FailureReason.OUT_OF_MEMORY,
        message=f"{who} was killed because the pod's memory limit was reached: raise the memory in "
        "workers.resources, or lower training.microBatchSize",
        rank=rank,
    )


def _ends(workers: Sequence[WorkerExit]) -> str:
    """How workers ended: ``rank 0 ended with exit code 1, rank 1 ended with signal SIGABRT``."""
    return ", ".join(
        f"{_named(worker)} ended with "
        + (f"exit code {worker.code}" if worker.code >= 0 else _signal_name(-worker.code))
        for worker in workers
    )


def _named(worker: WorkerExit) -> str:
    return "a rank" if worker.rank is None else f"rank {worker.rank}"


def _signal_name(number: int) -> str:
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
