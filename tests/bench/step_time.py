"""Time of an iteration under ZeRO-3 against the same work in plain PyTorch, measured in turn.

Both take the same k in the same iteration. On several ranks each does the plain iteration of its
own share by itself, so what is above 1 is partitioning, communication, and the trainer.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.bench import ranks
from tests.bench.clocks import clocks
from tests.bench.report import Section, Spread
from tests.bench.workloads import WORKLOADS, workload

WARM_UP = 3


def section(device: str, rounds: int) -> Section:
    """Measure every workload of a device."""
    rows = []
    for name, offered in WORKLOADS[device].items():
        for processes in offered.processes:
            found = ranks.run("step_time", device, processes, name=name, rounds=rounds)
            cpu, wall = Spread(found["cpu"]), Spread(found["wall"])
            described = offered.describe()
            rows.append((name, described, str(processes), str(cpu), str(wall), found["share"]))
    return Section(
        "An iteration under ZeRO-3 against plain PyTorch",
        "The trainer's loop (prompts, iteration, metrics) on 1 or 2 processes, and after each of "
        "its iterations one of a hand-written loop without DeepSpeed in the same process, with the "
        "same networks, k and batch. 1 is no cost at all.",
        ("network", "size", "processes", "CPU seconds, ratio", "wall time, ratio", "an iteration"),
        rows,
        (
            "On a CPU that others use, CPU seconds are the figure to read. DeepSpeed's costs are "
            "per module call and per weight, not per token.",
        ),
    )


def on_rank(device: str, name: str, rounds: int) -> Any:
    """Measure on this rank; CPU seconds are over all."""
    from sid_trainer.engine.distributed import leave  # noqa: PLC0415 - the parent needs no DeepSpeed
    from sid_trainer.method.noise import uniform_steps  # noqa: PLC0415
    from tests.bench.plain import PlainLoop  # noqa: PLC0415
    from tests.bench.world import Training  # noqa: PLC0415

    torch.set_num_threads(1)
    work = workload(name, device, int(os.environ["WORLD_SIZE"]))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(work, work.shape.write_weights(Path(folder), work.dtype, device))
        teacher, dtype = training.teacher, work.dtype
        plain = PlainLoop(
            teacher,
            work.shape.encoded(work.batch, teacher.device, dtype),
            work.shape.encoded(1, teacher.device, dtype),
            training.distiller.latent_shape,
            checkpointing=work.checkpointing,
        )
    turns = Turns(lambda iteration: plain.iterate(uniform_steps(0, iteration - 1, PlainLoop.STEPS)))
    turns.begin()
    training.run(WARM_UP + rounds, turns.after)
    found = turns.result()
    leave()
    return found


class Turns:
    """Clocks of two programs that take turns.

    Args:
        theirs: the other program's iteration.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self._ours: list[tuple[float, float]] = []
        self._others: list[tuple[float, float]] = []

    def begin(self) -> None:
        """The first turn begins: all ranks together."""
        torch.distributed.barrier()
        self._since = clocks()

    def after(self, iteration: int) -> None:
        """Ours ended: give the other its turn, then begin anew."""
        self._ours.append(self._elapsed())
        self.begin()
        self._theirs(iteration)
        self._others.append(self._elapsed())
        self.begin()

    def result(self) -> dict[str, Any]:
        """Ratios of each round after the warm-up, over all ranks."""
        mine = torch.tensor([self._ours[WARM_UP:], self._others[WARM_UP:]], dtype=torch.float64)
        over_ranks: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(over_ranks, mine)
        ours, others = torch.stack(over_ranks).sum(0)
        wall, cpu = (ours / others).T.tolist()
        seconds = statistics_line(ours[:, 0] / len(over_ranks))
        return {"wall": wall, "cpu": cpu, "share": seconds}

    def _elapsed(self) -> tuple[float, float]:
        wall, cpu = clocks()
        return wall - self._since[0], cpu - self._since[1]


def statistics_line(seconds: torch.Tensor) -> str:
    """A typical length, only to tell the order of magnitude."""
    return f"~{float(seconds.median()):.1g} s"
