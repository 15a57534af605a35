"""Losses of the fake score and of the student, as pure functions on tensors.

The score losses sum over C, H, W and average over the batch. The adversarial ones average over a
sample's logits and over the batch; where the two are added, the latter are multiplied by C H W.
Sources: arXiv 2509.25127, arXiv 2410.14919.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

FAKE_SCORE_LOSS_SCALE = 1.0
STUDENT_LOSS_SCALE = 100.0
"""Scales of the losses before the backward pass. Adam undoes them but for its epsilon."""


def fake_score_loss(velocity: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
    """Flow-matching loss of the fake score on the student's samples, a scalar.

    ``sum ||v_F(x_sigma) - (noise - x0)||^2 / B``, all ``[B, C, H, W]``; ``x0`` carries no
    gradient.
    """
    error = velocity - (noise - x0.detach())
    return error.square().sum() / len(error)


def student_loss(x: Tensor, teacher: Tensor, fake: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """Score identity loss of the student, a scalar.

    ``sum_b w_b sum (f_T - f_F) [(f_T - x) - alpha (f_T - f_F)] / B``. Gradient flows through
    all three tensors, and by f_T and f_F back through their input.

    Args:
        x: the student's samples, ``[B, C, H, W]``; so are the next two.
        teacher: clean estimates f_T of the teacher.
        fake: clean estimates f_F of the fake score.
        weight: weight of each sample, ``[B]``; carries no gradient.
        alpha: weight of the correction; with 1 the loss is ``(f_T - f_F) (f_F - x)``.
    """
    difference = teacher - fake
    product = difference * ((teacher - x) - alpha * difference)
    return (weight.detach() * product.flatten(1).sum(1)).sum() / len(x)


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Binary cross-entropy of telling real from generated samples, a scalar.

    ``BCE(real, 1) + BCE(generated, 0)``, so 2 ln 2 at chance.

    Args:
        real: logits of real images, ``[B, L]``.
        generated: logits of the student's samples, ``[B, L]``.
    """
    return softplus(-real).mean() + softplus(generated).mean()


def generator_adversarial_loss(generated: Tensor, weight: Tensor) -> Tensor:
    """Weighted binary cross-entropy of passing for real, a scalar.

    ``sum_b w_b BCE(generated_b, 1) / B``.

    Args:
        generated: logits of the student's samples, ``[B, L]``.
        weight: weight of each sample, ``[B]``; carries no gradient.
    """
    return (weight.detach() * softplus(-generated).mean(1)).mean()
