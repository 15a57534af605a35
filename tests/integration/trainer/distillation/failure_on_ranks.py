"""Run on each rank: spoil updates on rank 1 alone; save what came of it on both.

Arguments: the teacher's directory, the output folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sid_ranks import Rank, joined, quiet, run_config
from torch import Tensor

from sid_trainer.checkpoint.state import RankState
from sid_trainer.contract import TrainerError
from sid_trainer.engine.distributed import leave
from sid_trainer.engine.iteration import MicroBatch
from sid_trainer.engine.trained_network import TrainedNetwork
from sid_trainer.process.ending import end_with
from sid_trainer.training.loop import Schedule, run_loop

SPOILED, LAST = 1, 3
CASES: dict[str, dict[str, Any]] = {
    "fp32": {"training": {"microBatchSize": 2, "maxSkippedUpdates": 1}},
    "offload": {"training": {"precision": "bf16"}, "deepspeed": {"offload": "optimizer"}},
}
LEFT_OUT = {
    "fp32 prompt": ("student", "fake"),
    "fp32 fake-loss": ("fake",),
    "fp32 student-gradient": ("student",),
    "offload prompt": ("student", "fake"),
}
"""What is spoiled in which case, and whose update is left out for it."""


def not_a_number(batch: list[MicroBatch]) -> list[MicroBatch]:
    """The batch with prompts that are not finite in its last micro-batch."""
    *sound, last = batch
    spoiled = {name: torch.full_like(t, torch.nan) for name, t in last.condition.tensors.items()}
    condition = type(last.condition)(spoiled)
    return [*sound, MicroBatch(last.samples, condition)]


@contextmanager
def spoiling(network: TrainedNetwork, spoil: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the loss of the first micro-batch of a network's update."""
    accumulate, calls = network.accumulate, iter((spoil,))
    network.accumulate = lambda loss: accumulate(next(calls, lambda x: x)(loss))  # type: ignore[method-assign]
    try:
        yield
    finally:
        network.accumulate = accumulate  # type: ignore[method-assign]


def infinite(loss: Tensor) -> Tensor:
    """An infinite loss whose gradient is finite."""
    return loss + torch.inf


def broken_gradient(loss: Tensor) -> Tensor:
    """A finite loss whose gradient is not."""
    loss = loss * 1
    loss.register_hook(lambda gradient: gradient * torch.nan)
    return loss


def spoiled_iteration(rank: Rank, what: str, here: bool) -> None:
    """An iteration that goes wrong on the rank where ``here`` is true."""
    if not here:
        rank.iterate(SPOILED)
    elif what == "prompt":
        rank.distiller.iterate(SPOILED, not_a_number(rank.batch))
    elif what == "fake-loss":
        with spoiling(rank.networks.fake, infinite):
            rank.iterate(SPOILED)
    else:
        with spoiling(rank.networks.student, broken_gradient):
            rank.iterate(SPOILED)


def iteration_without(rank: Rank, left_out: tuple[str, ...]) -> None:
    """A sound iteration, of which the updates of some networks are taken back when made."""
    networks, before = rank.networks, rank.networks.capture()
    steps: Any = before.meta["steps"]
    frozen = networks.fake.frozen

    def taken_back() -> Any:
        networks.fake.restore(before.tensors, steps["fake"])
        return frozen()

    if "fake" in left_out:
        networks.fake.frozen = taken_back  # type: ignore[method-assign]
    try:
        rank.iterate(SPOILED)
    finally:
        networks.fake.frozen = frozen  # type: ignore[method-assign]
    if "student" in left_out and networks.average is not None:
        networks.student.restore(before.tensors, steps["student"])
        average = {n.removeprefix("ema/weight/"): t for n, t in before.tensors.items()}
        networks.average.restore(average)
        networks.update_average()


def run(rank: Rank, start: RankState, iterate: Callable[[], None]) -> dict[str, Any]:
    """Tensors and facts after the last iteration, of which one is ``iterate``'s."""
    rank.networks.restore(start)
    for iteration in range(1, LAST):
        if iteration == SPOILED:
            iterate()
        else:
            rank.iterate(iteration)
    state = rank.networks.capture()
    return {"tensors": state.tensors, "meta": state.meta}


class Batches:
    """The rank's batches; from the second iteration on rank 1's are not finite, but the third's."""

    def __init__(self, batch: list[MicroBatch], rank: int) -> None:
        self._batch, self._rank = batch, rank

    def of(self, iteration: int) -> list[MicroBatch]:
        spoiled = self._rank == 1 and iteration in (1, 3, 4, 5)
        return not_a_number(self._batch) if spoiled else self._batch


class Recorder:
    """Services that note their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        told = f"loss {metrics['generatorLoss']!r}" if "generatorLoss" in metrics else "no loss"
        self.calls.append(f"iteration {iteration} skipped {metrics['skippedUpdates']:.0f} {told}")

    def samples(self, iteration: int) -> None:
        self.calls.append(f"samples {iteration}")

    def checkpoint(self, iteration: int) -> None:
        self.calls.append(f"checkpoint {iteration}")

    def secure(self, iteration: int) -> None:
        self.calls.append(f"secure {iteration}")

    def keep(self, iteration: int) -> None:
        self.calls.append(f"keep {iteration}")

    def meet(self, iteration: int) -> None:
        """Nothing is on its way."""


def loop(rank: Rank, number: int) -> list[str]:
    """What the loop tells until it ends the run."""
    recorder, batches = Recorder(), Batches(rank.batch, number)
    schedule = Schedule(total=9, samples_every=2, checkpoint_every=1)
    try:
        run_loop(rank.distiller, batches, schedule, recorder, 0)  # type: ignore[arg-type]
    except TrainerError as error:
        recorder.calls.append(f"{error.reason.value}: {error}")
    return recorder.calls


def main() -> None:
    teacher, output = sys.argv[1], Path(sys.argv[2])
    quiet()
    place = joined()
    results: dict[str, Any] = {}
    for name, sections in CASES.items():
        rank = Rank(run_config(teacher, **sections), place)
        if name == "fp32":
            told = loop(rank, place.rank)
            (output / f"told-{place.rank}.txt").write_text("\n".join(told))
        rank.iterate(0)
        start = rank.networks.capture()
        for key in [key for key in LEFT_OUT if key.startswith(name)]:
            what, here = key.split()[1], place.rank == 1
            spoiled = run(rank, start, partial(spoiled_iteration, rank, what, here))
            sound = run(rank, start, partial(iteration_without, rank, LEFT_OUT[key]))
            results[key] = {"spoiled": spoiled, "without": sound, "start": start.meta}
    torch.save(results, output / f"results-{place.rank}.pt")
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
