"""Samples of student and teacher for pictures and metrics, from the same noise.

Sample i has caption i, and noise that is a function of (seed, i): student and teacher start from
the same latent, in every evaluation. All calls are collectives: ZeRO-3 gathers weights in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sid_trainer.chunks import cuts
from sid_trainer.engine.iteration import Distiller
from sid_trainer.evaluate.teacher_sampler import guided_euler, teacher_levels
from sid_trainer.method.conditions import Condition
from sid_trainer.method.noise import NoiseSource, Purpose

Draw = Callable[[Sequence[int], Condition], Tensor]
"""``(numbers of samples, their conditions in host memory) -> latents [B, C, H, W]``."""


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        distiller: the networks.
        empty: the empty prompt, once, on the accelerator.
        seed: of the noise.
        micro_batch_size: samples computed at a time.
        teacher_steps: steps of the teacher's sampler.
        teacher_guidance: its guidance scale.
        teacher_origin: which teacher it is: its commit on the Hub, or a checksum of its files.
    """

    distiller: Distiller
    empty: Condition
    seed: int
    micro_batch_size: int
    teacher_steps: int
    teacher_guidance: float
    teacher_origin: str

    @contextmanager
    def student(self) -> Iterator[Draw]:
        """Draws of the averaged student."""
        with self.distiller.networks.averaged_student() as network:
            yield self._by_micro_batch(
                lambda noise, condition: self.distiller.sample(network, noise, condition)
            )

    @contextmanager
    def teacher(self, steps: int | None = None) -> Iterator[Draw]:
        """Draws of the teacher.

        Args:
            steps: of its sampler; the configured ones by default.
        """
        distiller = self.distiller
        adapter, shape = distiller.teacher, distiller.latent_shape
        levels = teacher_levels(adapter.directory, steps or self.teacher_steps, shape)
        with distiller.networks.teacher.frozen() as network:
            velocity = adapter.fp32_velocity(network)

            @torch.no_grad()
            def draw(noise: NoiseSource, condition: Condition) -> Tensor:
                start = noise.normal(Purpose.PREVIEW, shape)
                guidance = self.teacher_guidance
                return guided_euler(velocity, start, levels, condition, self.empty, guidance)

            yield self._by_micro_batch(draw)

    def _by_micro_batch(self, draw: Callable[[NoiseSource, Condition], Tensor]) -> Draw:
        adapter = self.distiller.teacher

        def draw_all(samples: Sequence[int], condition: Condition) -> Tensor:
            return torch.cat(
                [
                    draw(
                        NoiseSource(self.seed, 0, samples[cut], adapter.device),
                        condition[cut].to(adapter.device, adapter.dtype),
                    )
                    for cut in cuts(len(samples), self.micro_batch_size)
                ]
            )

        return draw_all
