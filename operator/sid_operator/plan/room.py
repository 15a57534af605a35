"""Condition FitsMemory: whether the GPUs that the pods may get are large enough for the run.

So is the pods' own limit of host memory, where they have one.

It is told before any GPU is taken.

Rules this module keeps:

* It is there for runs on GPUs only. What is not known (the teacher's architecture, the nodes'
  GPUs, the memory of a slice or of other GPUs than NVIDIA's) makes it Unknown, and the run goes on.
* A run is held, which means that it gets no Job, only where no node's GPU can be enough however
  wrong the estimate is (:attr:`sid_trainer.memory.GpuNeed.certain`), before it ever had a Job,
  and where that is wished (:func:`_holds`). No autoscaler makes a node for a run that is held, as
  it has no pods; so in a queue, which may have nodes made, only a run whose author says so is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sid_operator import reasons
from sid_operator.api.conditions import ConditionStatus, ConditionType
from sid_operator.api.names import GPU_RESOURCE
from sid_operator.api.quantities import amount
from sid_operator.api.render import run_config
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan.causes import Cause
from sid_operator.plan.conditions import Verdict
from sid_operator.plan.levers import Way, enough
from sid_operator.plan.model import Observed
from sid_operator.plan.nodes import GpuNode, Nodes, open_to
from sid_operator.resources.run import Run
from sid_trainer.config import RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.memory import GIB, Account, GpuNeed, known_need, known_node_need, released_model

NARROW = 0.1
"""Part of a GPU that fragmentation may take: less to spare is told."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the check found.

    Attributes:
        verdicts: The condition, where there is one to tell.
        held: Why the run gets no Job, or None.
    """

    verdicts: tuple[Verdict, ...] = ()
    held: Cause | None = None


def room(run: Run, before: SiDDistillationStatus, observed: Observed) -> Room:
    """Compare what the run needs with the GPUs that its pods may get."""
    if not run.spec.workers.gpus_per_node:
        return Room()
    verdict = _judged(run, observed.nodes)
    started = observed.job is not None or before.start_time is not None
    if verdict.reason != reasons.TOO_LARGE or started or not _holds(run):
        return Room((verdict,))
    message = f"{verdict.message} {reasons.IS_HELD}"
    return Room((_verdict("False", verdict.reason, message),), Cause(verdict.reason, message))


def _holds(run: Run) -> bool:
    """Whether a run that is too large waits."""
    wished = run.spec.run_policy.room_check
    if wished is None and run.spec.scheduling.queue_name is not None:
        return False
    return (wished or run.room_check) == "Hold"


def _with_host(verdict: Verdict, run: Run, config: RunConfig, model: str) -> Verdict:
    """The verdict on GPUs, and on the limit of host memory where that is too low.

    No run is held for it: that a pod takes as much as is estimated is not certain.
    """
    limit = run.spec.workers.resources.limits.get("memory")
    if limit is None:
        return verdict
    need = known_node_need(config, model)
    if need.size <= amount(limit):
        return verdict
    reason = verdict.reason if verdict.status == "False" else reasons.HOST_TOO_SMALL
    told = _lacking_on_host(need, amount(limit))
    return _verdict("False", reason, f"{verdict.message} {told}")


def _lacking_on_host(need: Account, limit: int) -> str:
    largest = max(need.parts, key=lambda part: part.size)
    return reasons.HOST_LIMIT.format(
        need=_gib(need.size),
        largest=_gib(largest.size),
        part=largest.name,
        limit=_gib(limit),
    )


def _judged(run: Run, nodes: Nodes) -> Verdict:
    teacher = run.spec.teacher
    model = teacher.architecture or released_model(teacher.model)
    if model is None:
        told = reasons.NEED_NOT_KNOWN.format(model=teacher.model)
        return _verdict("Unknown", reasons.NEED_UNKNOWN, told)
    config = run_config(run.spec, run.namespace, run.name)
    try:
        need = known_need(config, model)
    except TrainerError as error:
        return _verdict("Unknown", reasons.NEED_UNKNOWN, str(error))
    ways = partial(enough, config, model)
    return _with_host(_on_gpus(run, nodes, need, ways), run, config, model)


def _on_gpus(
    run: Run, nodes: Nodes, need: GpuNeed, ways: Callable[[int], Sequence[Way]]
) -> Verdict:
    workers = run.spec.workers
    if workers.gpu_resource != GPU_RESOURCE:
        other = reasons.OTHER_GPUS.format(resource=workers.gpu_resource or "devices by claims")
        return _verdict("Unknown", reasons.GPUS_UNKNOWN, f"{_need(need)} {other}")
    candidates = open_to(workers, nodes.items)
    if not candidates:
        return _verdict("Unknown", reasons.GPUS_UNKNOWN, f"{_need(need)} {_unseen(nodes)}")
    smallest, largest = (pick(candidates, key=_by_memory) for pick in (min, max))
    if need.fits(largest.memory):
        return _fitting(need, smallest, largest)
    return _too_large(need, largest, ways(largest.memory))


def _fitting(need: GpuNeed, smallest: GpuNode, largest: GpuNode) -> Verdict:
    if not need.fits(smallest.memory):
        some = reasons.FITS_SOME.format(large=_gpu(largest), small=_gpu(smallest))
        return _verdict("Unknown", reasons.DEPENDS_ON_NODE, f"{_need(need)} {some}")
    spare = smallest.memory - need.per_gpu
    told = f"{_need(need)} {reasons.FITS_ALL.format(gpu=_gpu(smallest), spare=_gib(spare))}"
    if spare < NARROW * smallest.memory:
        return _verdict("True", reasons.FITS_BARELY, f"{told} {reasons.IS_NARROW}")
    return _verdict("True", reasons.FITS, told)


def _too_large(need: GpuNeed, largest: GpuNode, ways: Sequence[Way]) -> Verdict:
    lacking = _gib(need.per_gpu - largest.memory)
    told = [_need(need), reasons.FITS_NONE.format(gpu=_gpu(largest), lacking=lacking)]
    sure = need.certain > largest.memory
    if not sure:
        told.append(reasons.IN_DOUBT)
    told.append(_remedy(ways))
    return _verdict("False", reasons.TOO_LARGE if sure else reasons.MAY_NOT_FIT, " ".join(told))


def _need(need: GpuNeed) -> str:
    phase = need.largest_phase
    return reasons.NEEDS.format(
        need=_gib(need.per_gpu),
        resident=_gib(need.resident.size),
        phase=phase.name,
        besides=_gib(phase.size),
    )


def _unseen(nodes: Nodes) -> str:
    if nodes.problem:
        return nodes.problem
    return reasons.NO_NODE_OPEN if nodes.items else reasons.NO_NODE_TELLS


def _remedy(ways: Sequence[Way]) -> str:
    if not ways:
        return reasons.NO_WAY
    in_place = [_described(way) for way in ways if way.in_place]
    anew = [_described(way) for way in ways if not way.in_place]
    parts = [reasons.WAY_IN_PLACE.format(ways=" or ".join(in_place))] if in_place else []
    parts += [reasons.WAY_ANEW.format(ways=" or ".join(anew))] if anew else []
    return " ".join(parts)


def _described(way: Way) -> str:
    return f"{way.setting} ({_gib(way.need)} GiB)"


def _gpu(node: GpuNode) -> str:
    return f"{_gib(node.memory)} GiB" + (f" ({node.product})" if node.product else "")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _by_memory(node: GpuNode) -> int:
    return node.memory


def _verdict(status: ConditionStatus, reason: str, message: str) -> Verdict:
    return Verdict(ConditionType.FITS_MEMORY, status, reason, message)
