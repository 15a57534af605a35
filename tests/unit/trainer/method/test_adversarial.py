"""The adversarial part: phases, logits, losses against closed forms, gradients against differences.

The objectives are those of a score whose tokens and output are known by hand, in fp64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sid_trainer.config import (
    AdversarialConfig,
    DistillationConfig,
    Pooling,
    TrainerSections,
)
from sid_trainer.method.adversarial import (
    Discriminator,
    Phase,
    RealSamples,
    final_tokens,
    phase,
    pooled_logits,
)
from sid_trainer.method.conditions import GUIDANCE, Condition
from sid_trainer.method.flow import training_noise_level
from sid_trainer.method.losses import discriminator_loss, generator_adversarial_loss
from sid_trainer.method.objective import Draws, PromptPair, fake_objective, student_objective

BATCH, TOKENS, WIDTH = 3, 4, 5
SHAPE = (BATCH, 1, 1, TOKENS)
POOLINGS: list[Pooling] = ["spatial", "channel"]
GUIDANCES: list[dict[str, Any]] = [
    {"scale": 1.0},
    {"scale": 4.5},
    {"strategy": "ZeroCFG"},
    {"strategy": "AntiCFG", "scale": 0.7, "fakeTrainingScale": 1.0},
]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("section", "images", "expected"),
    [
        (None, 0, Phase(student=True, adversarial=False)),
        (None, 10**9, Phase(student=True, adversarial=False)),
        ({}, 0, Phase(student=False, adversarial=False)),
        ({}, 19_999, Phase(student=False, adversarial=False)),
        ({}, 20_000, Phase(student=True, adversarial=False)),
        ({}, 39_999, Phase(student=True, adversarial=False)),
        ({}, 40_000, Phase(student=True, adversarial=True)),
        ({"startsAfterImages": 0}, 0, Phase(student=False, adversarial=True)),
        (
            {"startsAfterImages": 0, "studentStartsAfterImages": 0},
            0,
            Phase(student=True, adversarial=True),
        ),
    ],
)
def test_phases(section: dict[str, Any] | None, images: int, expected: Phase) -> None:
    config = None if section is None else AdversarialConfig.model_validate(section)
    assert phase(config, images) == expected


def sections(**sections: dict[str, Any]) -> TrainerSections:
    data = {"prompts": {"uri": "prompts.txt"}, "images": {"uri": "/mnt/images"}}
    return TrainerSections.model_validate({"data": data, **sections})


def test_data_aided_training_needs_images_and_time() -> None:
    adversarial = {"adversarial": {"startsAfterImages": 64, "studentStartsAfterImages": 63}}
    assert sections(data={"prompts": {"uri": "prompts.txt"}}).distillation.adversarial is None
    with pytest.raises(ValueError, match=r"data\.images is read by data-aided training alone: add"):
        sections()
    with pytest.raises(ValueError, match=r"adversarial needs real images: give data\.images"):
        sections(distillation={"adversarial": {}}, data={"prompts": {"uri": "prompts.txt"}})
    length = {"iterations": 8, "batchSize": 8}
    with pytest.raises(ValueError, match=r"startsAfterImages 64 is not before .* at 64 images"):
        sections(distillation=adversarial, training=length)
    assert sections(distillation=adversarial, training=length | {"iterations": 9})


def test_logits_are_means_of_tokens_over_tokens_or_channels() -> None:
    tokens = torch.arange(24.0).reshape(2, 3, 4) - 12
    assert pooled_logits(tokens, "spatial").tolist() == [[-8, -7, -6, -5], [4, 5, 6, 7]]
    assert pooled_logits(tokens, "channel").tolist() == [[-10, -6.5, -2.5], [1.5, 5.5, 9.5]]


def test_logits_of_low_precision_are_fp32() -> None:
    tokens = torch.full((1, 1000, 2), 0.1, dtype=torch.bfloat16)
    logits = pooled_logits(tokens, "spatial")
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, tokens[:, 0].float())


def test_logits_beyond_the_limit_carry_no_gradient() -> None:
    tokens = torch.tensor([[[11.0, -11.0, 9.0]]], requires_grad=True)
    logits = pooled_logits(tokens, "spatial")
    assert logits.tolist() == [[10, -10, 9]]
    (gradient,) = torch.autograd.grad(logits.sum(), tokens)
    assert gradient.tolist() == [[[0, 0, 1]]]


def cross_entropy(logit: float, label: int) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if label else 1 - probability)


def test_discriminator_loss_by_hand() -> None:
    real, generated = normal(1, 2, 3), normal(2, 2, 3)
    by_hand = sum(cross_entropy(logit, 1) for logit in real.flatten().tolist()) / 6
    by_hand += sum(cross_entropy(logit, 0) for logit in generated.flatten().tolist()) / 6
    assert float(discriminator_loss(real, generated)) == pytest.approx(by_hand)
    chance = torch.zeros(2, 3)
    assert float(discriminator_loss(chance, chance)) == pytest.approx(2 * math.log(2))


def test_generator_adversarial_loss_by_hand() -> None:
    logits = normal(1, 2, 3)
    weight = torch.tensor([0.25, 2.0], dtype=torch.float64, requires_grad=True)
    by_hand = sum(
        w * sum(cross_entropy(logit, 1) for logit in row.tolist()) / 3
        for w, row in zip(weight.tolist(), logits, strict=True)
    )
    loss = generator_adversarial_loss(logits, weight)
    assert float(loss) == pytest.approx(by_hand / 2)
    assert not loss.requires_grad


class Score(nn.Module):
    """A network of N tokens, one a pixel, that counts its forwards."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(normal(seed, TOKENS, TOKENS * WIDTH) / 2)
        self.bend = nn.Parameter(normal(seed + 1, TOKENS * WIDTH))
        self.proj_out = nn.Linear(WIDTH, 1, dtype=torch.float64)
        with torch.no_grad():
            self.proj_out.weight.copy_(normal(seed + 2, 1, WIDTH))
        self.batches: list[int] = []

    def tokens(self, x: Tensor, sigma: Tensor, text: Tensor) -> Tensor:
        """``[B, N, D]``."""
        flat = torch.tanh(x.flatten(1) @ self.mix + sigma[:, None] * self.bend + text)
        return 2 * flat.reshape(-1, TOKENS, WIDTH)

    def output(self, tokens: Tensor) -> Tensor:
        """What the projection makes of tokens, by hand."""
        velocity = tokens @ self.proj_out.weight[0] + self.proj_out.bias
        return velocity.reshape(-1, 1, 1, TOKENS)

    def forward(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        self.batches.append(len(x))
        text = condition.tensors["text"]
        if condition.has_guidance:
            text = text * condition.tensors[GUIDANCE][:, None]
        velocity: Tensor = self.proj_out(self.tokens(x, sigma, text))
        return velocity.reshape(-1, 1, 1, TOKENS)


def prompts() -> PromptPair:
    return PromptPair(
        Condition({"text": normal(1, BATCH, 1)}), Condition({"text": normal(2, 1, 1)})
    )


def real() -> RealSamples:
    return RealSamples(normal(3, *SHAPE), Condition({"text": normal(4, BATCH, 1)}))


def draws() -> Draws:
    return Draws(normal(5, *SHAPE), training_noise_level(normal(6, BATCH)))


def settings(guidance: dict[str, Any], pooling: Pooling = "spatial") -> DistillationConfig:
    weights = {"sidWeight": 0.3, "generatorWeight": 0.6, "discriminatorWeight": 0.7}
    return DistillationConfig.model_validate(
        {"guidance": guidance, "adversarial": {"pooling": pooling, **weights}, "alpha": 1.2}
    )


def logits_by_hand(score: Score, x0: Tensor, text: Tensor, pooling: Pooling) -> Tensor:
    level = draws().sigma.reshape(-1, 1, 1, 1)
    x = (1 - level) * x0 + level * draws().noise
    tokens = score.tokens(x, draws().sigma, text)
    return tokens.sum(1) / TOKENS if pooling == "spatial" else tokens.sum(2) / WIDTH


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("guidance", GUIDANCES)
def test_fake_objective(guidance: dict[str, Any], pooling: Pooling) -> None:
    """The data-free loss plus the discriminator's, in one forward."""
    fake, distillation = Score(10), settings(guidance, pooling)
    x0 = normal(7, *SHAPE).requires_grad_()
    discriminator = Discriminator(fake, "proj_out", distillation)
    losses = discriminator.fake_objective(x0, draws(), prompts(), real(), fake)
    guided = guidance.get("scale") == 4.5
    assert fake.batches == [(3 if guided else 2) * BATCH]

    no_text = guidance.get("strategy") == "ZeroCFG"
    empty = prompts().empty.tensors["text"]
    shown = empty if no_text else prompts().condition.tensors["text"]
    captions = empty if no_text else real().condition.tensors["text"]
    of_generated = torch.sigmoid(logits_by_hand(fake, x0.detach(), shown, pooling))
    of_real = torch.sigmoid(logits_by_hand(fake, real().latents, captions, pooling))
    told = -(of_real.log().mean() + (1 - of_generated).log().mean())
    score = fake_objective(x0, draws(), prompts(), fake, distillation)
    expected = score + 0.7 * TOKENS * told
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(losses.parts["discriminatorLoss"], told.detach())
    torch.testing.assert_close(losses.parts["fakeScoreLoss"], score.detach())
    weights = list(fake.parameters())
    ours = torch.autograd.grad(losses.total, [*weights, x0], allow_unused=True)
    assert ours[-1] is None
    theirs = torch.autograd.grad(expected, weights)
    torch.testing.assert_close(ours[:-1], theirs)


def test_real_images_are_shown_at_the_guidance_that_the_fake_score_is_trained_at() -> None:
    fake = Score(10)
    with_input = PromptPair(
        Condition({"text": normal(1, BATCH, 1), GUIDANCE: torch.ones(BATCH)}),
        Condition({"text": normal(2, 1, 1), GUIDANCE: torch.ones(1)}),
    )
    captions = normal(4, BATCH, 1)
    images = RealSamples(real().latents, Condition({"text": captions, GUIDANCE: torch.ones(BATCH)}))
    discriminator = Discriminator(fake, "proj_out", settings({"scale": 2.5}))
    x0 = normal(7, *SHAPE)
    losses = discriminator.fake_objective(x0, draws(), with_input, images, fake)
    assert fake.batches == [2 * BATCH]
    of_real = logits_by_hand(fake, images.latents, 2.5 * captions, "spatial")
    of_generated = logits_by_hand(fake, x0, 2.5 * normal(1, BATCH, 1), "spatial")
    told = discriminator_loss(of_real, of_generated)
    torch.testing.assert_close(losses.parts["discriminatorLoss"], told.detach())


def test_a_batch_without_real_images_is_refused() -> None:
    fake = Score(10)
    discriminator = Discriminator(fake, "proj_out", settings({}))
    with pytest.raises(ValueError, match="the batch has no real images"):
        discriminator.fake_objective(normal(7, *SHAPE), draws(), prompts(), None, fake)


def central_difference(loss: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> float:
    step = 1e-3
    with torch.no_grad():
        f = {n: float(loss(at + n * step * direction)) for n in (-2, -1, 1, 2)}
    return (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * step)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("guidance", GUIDANCES)
def test_student_objective(guidance: dict[str, Any], pooling: Pooling) -> None:
    """Half the data-free loss, half that of passing for real; both with gradient to the sample."""
    fake, teacher, distillation = Score(10), Score(20), settings(guidance, pooling)
    discriminator = Discriminator(fake, "proj_out", distillation)

    def loss(x0: Tensor) -> Tensor:
        return discriminator.student_objective(x0, draws(), prompts(), fake, teacher).total

    x0 = normal(7, *SHAPE).requires_grad_()
    no_text = guidance.get("strategy") == "ZeroCFG"
    shown = prompts().empty if no_text else prompts().condition
    probability = torch.sigmoid(logits_by_hand(fake, x0, shown.tensors["text"], pooling))
    passing = -((1 - draws().sigma) * probability.log().mean(1)).sum() / BATCH
    score = student_objective(x0, draws(), prompts(), fake, teacher, distillation)
    total = loss(x0)
    torch.testing.assert_close(total, 0.3 * score + 0.6 * TOKENS * passing)

    (gradient,) = torch.autograd.grad(total, x0)
    direction = normal(8, *SHAPE)
    analytic = float((gradient * direction).sum())
    assert analytic == pytest.approx(central_difference(loss, x0.detach(), direction), rel=1e-7)


def test_the_hook_is_gone_after_use() -> None:
    fake = Score(10)
    with final_tokens(fake, "proj_out") as taken:
        fake(normal(7, *SHAPE), draws().sigma, prompts().condition)
    assert taken.only().shape == (BATCH, TOKENS, WIDTH)
    fake(normal(7, *SHAPE), draws().sigma, prompts().condition)
    assert len(taken) == 1
