"""The section ``distillation``: the loss, its guidance, and the adversarial part."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sid_trainer.config.base import GuidanceStrategy, Pooling, Section, Weighting


class GuidanceConfig(Section):
    """Classifier-free guidance while training; the student itself runs without."""

    strategy: GuidanceStrategy = Field(
        default="LSG",
        description="LSG guides teacher and fake score alike by scale. ZeroCFG leaves the teacher "
        "unguided and gives the fake score no text. AntiCFG leaves the teacher unguided and guides "
        "the fake score by -scale.",
    )
    scale: float = Field(
        default=4.5,
        ge=0.0,
        le=30.0,
        description="Guidance scale of the strategy; 1 means no guidance. Not used by ZeroCFG. "
        "Networks that take the scale as an input (FLUX.1-dev) are given it there, in "
        "one forward; the student is given 1.",
    )
    fake_training_scale: float | None = Field(
        default=None,
        ge=-30.0,
        le=30.0,
        description="Guidance scale at which the fake score is trained, in place of the "
        "strategy's. 1 means no guidance, 0 no text.",
    )
    fake_scale: float | None = Field(
        default=None,
        ge=-30.0,
        le=30.0,
        description="Guidance scale of the fake score in the student's loss, in place of the "
        "strategy's.",
    )
    teacher_scale: float | None = Field(
        default=None,
        ge=-30.0,
        le=30.0,
        description="Guidance scale of the teacher in the student's loss, in place of the "
        "strategy's.",
    )

    @model_validator(mode="after")
    def _scale_is_used(self) -> Self:
        of_fake = self.fake_training_scale is not None and self.fake_scale is not None
        unused = {
            "ZeroCFG": True,
            "AntiCFG": of_fake,
            "LSG": of_fake and self.teacher_scale is not None,
        }
        if unused[self.strategy] and self.scale != type(self).model_fields["scale"].default:
            raise ValueError(
                f"distillation.guidance.scale {self.scale} is not used by {self.strategy} with the "
                "other scales given: remove it"
            )
        return self


class AdversarialConfig(Section):
    """Data-aided training: the student's samples are also to pass for real images.

    The fake score is the discriminator, too: its last features are pooled to logits, so nothing is
    added to the network (Diffusion-GAN).
    """

    pooling: Pooling = Field(
        default="spatial",
        description="What the fake score's features are averaged over to make logits: spatial "
        "averages over the tokens (a logit a channel), channel over the channels (a logit a "
        "token).",
    )
    sid_weight: float = Field(
        default=0.5,
        ge=0.0,
        le=1_000.0,
        description="Weight of the score identity loss in the student's loss, once the "
        "adversarial part has joined.",
    )
    generator_weight: float = Field(
        default=0.5,
        gt=0.0,
        le=1_000.0,
        description="Weight of the adversarial loss in the student's loss.",
    )
    discriminator_weight: float = Field(
        default=0.5,
        gt=0.0,
        le=1_000.0,
        description="Weight of the discriminator's loss in the fake score's loss.",
    )
    student_starts_after_images: int = Field(
        default=20_000,
        ge=0,
        le=10_000_000_000,
        description="Generated images before the student's first update: until then only the fake "
        "score learns.",
    )
    starts_after_images: int = Field(
        default=40_000,
        ge=0,
        le=10_000_000_000,
        description="Generated images before the adversarial part joins both losses: until then "
        "training is data-free.",
    )


class DistillationConfig(Section):
    """The score identity distillation loss."""

    alpha: float = Field(
        default=1.0,
        ge=0.0,
        le=2.0,
        description="Weight alpha of the correction term of the loss. 1 is the SiD-DiT default.",
    )
    weighting: Weighting = Field(
        default="one-minus-sigma",
        description="Weight of the generator loss over the noise level sigma: one-minus-sigma is "
        "1-s, one-minus-sigma-squared (1-s)^2, inverse-sigma 1/s, inverse-sigma-squared 1/s^2, "
        "sqrt-snr (1-s)/s, snr ((1-s)/s)^2, and sid is 1/mean|x - f_T|.",
    )
    guidance: GuidanceConfig = Field(
        default_factory=GuidanceConfig,
        description="Classifier-free guidance of teacher and fake score while training.",
    )
    adversarial: AdversarialConfig | None = Field(
        default=None,
        description="Data-aided (adversarial) training, on when this section is present, be it "
        "empty ({}). It needs data.images. Worth it where the images are better than the "
        "student's own; best begun from a student distilled without (student.initFrom).",
    )
