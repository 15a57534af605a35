"""The trainer's own loop under ZeRO-3 on given networks, on one process or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sid_trainer.config import RunConfig
from sid_trainer.engine.attention import choose_attention
from sid_trainer.engine.distributed import Place, join
from sid_trainer.engine.iteration import Distiller
from sid_trainer.engine.networks import build_networks
from sid_trainer.method.conditions import Condition
from sid_trainer.teachers.base import Teacher
from sid_trainer.training.loop import Batches, Schedule, Services, run_loop
from tests.bench.workloads import Workload


@dataclass(frozen=True)
class SamePrompts:
    """Every iteration the same encoded prompts, in host memory."""

    encoded: Condition

    def condition(self, iteration: int) -> Condition:
        """Those of any iteration."""
        return self.encoded


class Training:
    """Networks, and the loop over them.

    Args:
        workload: what is trained.
        directory: a teacher's with weights.
        watched: given the networks; what it returns is trained in their place.
    """

    def __init__(
        self, workload: Workload, directory: Path, watched: Callable[[Any], Any] = lambda n: n
    ) -> None:
        config = RunConfig.model_validate(workload.sections(1))
        self.workload = workload
        self.place: Place = join(config.launch)
        choose_attention(config.training.attention, self.place.device, workload.dtype)
        shape, dtype = workload.shape, workload.dtype
        self.teacher: Teacher = shape.open(directory, self.place.device, dtype)
        self.networks = build_networks(config, self.teacher, directory)
        self.distiller = Distiller(
            self.teacher,
            watched(self.networks),
            config.student,
            config.distillation,
            config.training,
            self.teacher.latent_shape(shape.resolution),
            shape.encoded(1, self.place.device, dtype),
        )

    def run(
        self,
        iterations: int,
        after: Callable[[int], object],
        services: Services | None = None,
        checkpoint_every: int = 10**9,
    ) -> None:
        """Train.

        Args:
            iterations: how many.
            after: is called with the number of each iteration, from 1, where there are no services.
            services: of the loop.
            checkpoint_every: iterations between two checkpoints.
        """
        config = RunConfig.model_validate(self.workload.sections(iterations))
        samples = self.place.samples(config.training.batch_size)
        host = torch.device("cpu")
        prompts: Any = SamePrompts(
            self.workload.shape.encoded(len(samples), host, self.workload.dtype)
        )
        batches = Batches(prompts, samples, config.micro_batch_size, self.distiller)
        schedule = Schedule(iterations, 10**9, checkpoint_every)
        run_loop(self.distiller, batches, schedule, services or _After(after), 0)


@dataclass(frozen=True)
class _After:
    """The loop's services: nothing but a call after each iteration."""

    after: Callable[[int], object]

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self.after(iteration)

    def _nothing(self, iteration: int) -> None:
        """None are made or written."""

    samples = checkpoint = secure = keep = meet = metrics = _nothing
