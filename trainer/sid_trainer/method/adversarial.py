"""Data-aided training: the fake score tells real images from the student's samples, too.

Diffusion-GAN without parameters of its own: the fake score's tokens after the final adaptive norm
are pooled to logits. Sources: arXiv 2509.25127; SiDA, arXiv 2410.14919.

Rules this module keeps:

* The tokens are what the network gives its output projection, taken there by a hook: no forward
  of a network is copied, and what comes after the norm in the network's own code stays so.
* Real and generated samples meet the same noise at the same level, in one forward: the update of
  the fake score has one forward and one backward pass, as ZeRO-3 wants it.
* With guidance of two predictions a batch, the one for the prompts makes the logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from sid_trainer.config import AdversarialConfig, DistillationConfig, Pooling
from sid_trainer.method.conditions import Condition
from sid_trainer.method.flow import add_noise
from sid_trainer.method.guidance import Velocity, combine, guided_conditions
from sid_trainer.method.guidance_scales import guidance_scales
from sid_trainer.method.losses import (
    discriminator_loss,
    fake_score_loss,
    generator_adversarial_loss,
    student_loss,
)
from sid_trainer.method.objective import Draws, Losses, PromptPair, student_terms

LOGIT_LIMIT = 10.0
"""Logits are clamped to this size; beyond it they carry no gradient."""


@dataclass(frozen=True)
class Phase:
    """What an iteration does.

    Attributes:
        student: whether the student is updated.
        adversarial: whether the adversarial part has joined.
    """

    student: bool = True
    adversarial: bool = False


def phase(adversarial: AdversarialConfig | None, images: int) -> Phase:
    """Phase of an iteration before which ``images`` samples were generated for updates."""
    if adversarial is None:
        return Phase()
    return Phase(
        student=images >= adversarial.student_starts_after_images,
        adversarial=images >= adversarial.starts_after_images,
    )


def student_begins(adversarial: AdversarialConfig | None, batch_size: int) -> int:
    """Iterations before the student's first update: the first whose :func:`phase` has it."""
    return 0 if adversarial is None else -(-adversarial.student_starts_after_images // batch_size)


@dataclass(frozen=True)
class RealSamples:
    """Real images beside a batch of the student's samples.

    Attributes:
        latents: ``[B, C, H, W]``, fp32.
        condition: their captions.
    """

    latents: Tensor
    condition: Condition

    def __getitem__(self, rows: slice) -> Self:
        """The images of some rows."""
        return type(self)(self.latents[rows], self.condition[rows])


@dataclass(frozen=True)
class Discriminator:
    """The objectives with the adversarial part.

    Attributes:
        network: the fake score.
        projection: name of its output projection.
        distillation: the loss, with the section ``adversarial``.
    """

    network: nn.Module
    projection: str
    distillation: DistillationConfig

    def fake_objective(
        self,
        x0: Tensor,
        draws: Draws,
        prompts: PromptPair,
        real: RealSamples | None,
        fake: Velocity,
    ) -> Losses:
        """Loss of the fake score by generated samples ``x0 [B, C, H, W]`` and as many real ones.

        ``fake`` is a velocity of :attr:`network`.

        Raises:
            ValueError: without real samples.
        """
        if real is None:
            raise ValueError("the adversarial part has joined, but the batch has no real images")
        scale = guidance_scales(self.distillation.guidance).fake_training
        generated = guided_conditions(prompts.condition, prompts.empty, scale)
        captions = guided_conditions(real.condition, prompts.empty, scale)[0]
        x = add_noise(x0.detach(), draws.noise, draws.sigma)
        rows = [x] * len(generated) + [add_noise(real.latents, draws.noise, draws.sigma)]
        with final_tokens(self.network, self.projection) as taken:
            velocities = fake(
                torch.cat(rows),
                draws.sigma.repeat(len(rows)),
                Condition.cat([*generated, captions]),
            ).chunk(len(rows))
        score = fake_score_loss(combine(velocities[:-1], scale), x0, draws.noise)
        tokens = taken.only().chunk(len(rows))
        told = discriminator_loss(real=self._logits(tokens[-1]), generated=self._logits(tokens[0]))
        return Losses(
            score + self._settings.discriminator_weight * x0[0].numel() * told,
            {"fakeScoreLoss": score.detach(), "discriminatorLoss": told.detach()},
        )

    def student_objective(
        self, x0: Tensor, draws: Draws, prompts: PromptPair, fake: Velocity, teacher: Velocity
    ) -> Losses:
        """Loss of the student by its samples ``x0 [B, C, H, W]``.

        ``fake`` is a velocity of :attr:`network`. Gradient reaches ``x0`` as in the data-free
        objective, and through the discriminator's logits.
        """
        with final_tokens(self.network, self.projection) as taken:
            terms = student_terms(x0, draws, prompts, fake, teacher, self.distillation)
        alpha = self.distillation.alpha
        score = student_loss(x0, terms.teacher, terms.fake, terms.weight, alpha)
        logits = self._logits(taken.only()[: len(x0)])
        passing = generator_adversarial_loss(logits, terms.weight)
        by_score, by_images = self._settings.sid_weight, self._settings.generator_weight
        return Losses(
            by_score * score + by_images * x0[0].numel() * passing,
            {"generatorLoss": score.detach(), "generatorAdversarialLoss": passing.detach()},
        )

    @property
    def _settings(self) -> AdversarialConfig:
        if self.distillation.adversarial is None:
            raise ValueError("distillation.adversarial is absent: training is data-free")
        return self.distillation.adversarial

    def _logits(self, tokens: Tensor) -> Tensor:
        return pooled_logits(tokens, self._settings.pooling)


def pooled_logits(tokens: Tensor, pooling: Pooling) -> Tensor:
    """Clamped fp32 logits ``[B, L]`` of tokens ``[B, N, D]``: L is D or N.

    ``spatial`` averages over the N tokens, ``channel`` over the D channels.
    """
    axis = {"spatial": 1, "channel": 2}[pooling]
    return tokens.mean(axis, dtype=torch.promote_types(tokens.dtype, torch.float32)).clamp(
        -LOGIT_LIMIT, LOGIT_LIMIT
    )


class Taken(list[Tensor]):
    """Tokens ``[B, N, D]`` of each forward of a network."""

    def only(self) -> Tensor:
        """Tokens of the one forward that there was."""
        (tokens,) = self
        return tokens


@contextmanager
def final_tokens(network: nn.Module, projection: str) -> Iterator[Taken]:
    """Take the tokens ``[B, N, D]`` that a network gives its output projection.

    Args:
        network: the bare network, or what an engine wraps.
        projection: name of the output projection's module.
    """
    taken = Taken()

    def take(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taken.append(inputs[0])

    # Before ZeRO-3's own hook, which counts what it passes on among the projection's inputs: a
    # gradient that came back around the projection would make it wait or release too soon.
    handle = network.get_submodule(projection).register_forward_pre_hook(take, prepend=True)
    try:
        yield taken
    finally:
        handle.remove()
