"""The mistakes: what is changed where, and the tests that are to find it.

The first two groups are those that a toy distillation was seen to catch, and those that it was not;
the third are further ways to go wrong at the same places.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Suite(enum.Enum):
    """Tests that are quick enough to be run for each mistake: arguments of pytest."""

    METHOD = (
        "tests/unit/trainer/method/test_flow.py",
        "tests/unit/trainer/method/test_weighting.py",
        "tests/unit/trainer/method/test_losses.py",
        "tests/unit/trainer/method/test_guidance_scales.py",
        "tests/unit/trainer/method/test_guidance.py",
        "tests/unit/trainer/method/test_sampler.py",
        "tests/unit/trainer/method/test_ema.py",
        "tests/unit/trainer/method/test_objective.py",
        "tests/unit/trainer/method/test_options.py",
        "tests/unit/trainer/method/test_noise.py",
        "tests/unit/trainer/method/test_gaussian.py",
        "--deselect=tests/unit/trainer/method/test_gaussian.py::test_training_brings_every_step_to_the_data",
    )
    ITERATION = ("tests/integration/trainer/distillation/test_one_rank.py", "-kguided")
    MICRO_BATCHES = ("tests/integration/trainer/distillation/test_one_rank.py", "-kmicro-batches")
    DATA_AIDED = ("tests/integration/trainer/distillation/test_one_rank.py", "-kdata-aided")
    ADAPTERS = ("tests/integration/trainer/test_digits_teacher.py", "-kadapter")


@dataclass(frozen=True)
class Mutation:
    """One mistake.

    Attributes:
        name: what is wrong.
        module: file of the package ``sid_trainer``.
        right: text that occurs in it exactly once.
        wrong: what it becomes.
        suite: tests that must fail.
    """

    name: str
    module: str
    right: str
    wrong: str
    suite: Suite = Suite.METHOD


SIGNS = [
    Mutation(
        "noise taken away",
        "method/flow.py",
        "(1 - level) * x0 + level * noise",
        "(1 - level) * x0 - level * noise",
    ),
    Mutation(
        "sign of the clean estimate",
        "method/flow.py",
        "x - per_sample(sigma, x) * velocity",
        "x + per_sample(sigma, x) * velocity",
    ),
    Mutation(
        "sign of the score difference",
        "method/losses.py",
        "difference = teacher - fake",
        "difference = fake - teacher",
    ),
    Mutation(
        "sign of the pull to the teacher", "method/losses.py", "(teacher - x)", "(x - teacher)"
    ),
    Mutation(
        "sign of the correction",
        "method/losses.py",
        "- alpha * difference",
        "+ alpha * difference",
    ),
    Mutation(
        "sign of the fake score's target",
        "method/losses.py",
        "velocity - (noise - x0.detach())",
        "velocity - (x0.detach() - noise)",
    ),
    Mutation(
        "sign of the student's step",
        "method/sampler.py",
        "x - sigma * velocity(",
        "x + sigma * velocity(",
    ),
    Mutation(
        "sign of the guidance",
        "method/guidance.py",
        "without + scale * (with_prompt - without)",
        "without - scale * (with_prompt - without)",
    ),
]

UPDATES = [
    Mutation(
        "fake score not updated",
        "engine/iteration.py",
        "FAKE_SCORE_LOSS_SCALE * losses.total",
        "0.0 * losses.total",
        Suite.ITERATION,
    ),
    Mutation(
        "gradients left in the fake score",
        "engine/trained_network.py",
        "self.module.requires_grad_(False)",
        "self.module.requires_grad_(True)",
        Suite.ITERATION,
    ),
    Mutation(
        "micro-batches overwrite one another",
        "engine/trained_network.py",
        "engine: Network = self._engine\n",
        "engine: Network = self._engine.module\n",
        Suite.MICRO_BATCHES,
    ),
    Mutation(
        "teacher is the fake score",
        "engine/networks.py",
        "return Networks(frozen, fake,",
        "return Networks(fake, fake,",
        Suite.ITERATION,
    ),
    Mutation(
        "teacher is trained: it is the student",
        "engine/networks.py",
        "return Networks(frozen, fake,",
        "return Networks(student, fake,",
        Suite.ITERATION,
    ),
    Mutation(
        "scores exchanged",
        "engine/iteration.py",
        "scores = self._velocity(fake), self._velocity(teacher)",
        "scores = self._velocity(teacher), self._velocity(fake)",
        Suite.ITERATION,
    ),
    Mutation(
        "average moves the wrong way about",
        "method/ema.py",
        "for name in names], 1 - self._beta)",
        "for name in names], self._beta)",
    ),
    Mutation(
        "fake score learns at the student's rate",
        "engine/networks.py",
        "training.fake_rate",
        "training.student_rate",
        Suite.ITERATION,
    ),
]

DETACHED = [
    Mutation("sample detached", "method/losses.py", "(teacher - x)", "(teacher - x.detach())"),
    Mutation(
        "noisy latent detached",
        "method/objective.py",
        "x, sigma = add_noise(x0,",
        "x, sigma = add_noise(x0.detach(),",
    ),
    Mutation(
        "teacher's estimate detached",
        "method/objective.py",
        "f_teacher = estimate(teacher, scales.teacher)",
        "f_teacher = estimate(teacher, scales.teacher).detach()",
    ),
    Mutation(
        "fake score's estimate detached",
        "method/objective.py",
        "f_fake = estimate(fake, scales.fake)",
        "f_fake = estimate(fake, scales.fake).detach()",
    ),
    Mutation(
        "fake score's loss reaches the student",
        "method/objective.py",
        "add_noise(x0.detach(), draws.noise, draws.sigma)",
        "add_noise(x0, draws.noise, draws.sigma)",
    ),
    Mutation(
        "earlier steps carry gradient",
        "method/sampler.py",
        "@torch.no_grad()\ndef approach",
        "def approach",
    ),
]

TERMS = [
    Mutation(
        "fake score in the teacher's place in the second factor",
        "method/losses.py",
        "(teacher - x)",
        "(fake - x)",
    ),
    Mutation(
        "noise level and its complement swapped for the student",
        "method/objective.py",
        "x, sigma = add_noise(x0, draws.noise, draws.sigma), draws.sigma",
        "x, sigma = add_noise(x0, draws.noise, 1 - draws.sigma), draws.sigma",
    ),
    Mutation(
        "noise levels of training reversed",
        "method/flow.py",
        "SIGMA_LOGIT_MEAN + SIGMA_LOGIT_STD * normal",
        "-SIGMA_LOGIT_MEAN + SIGMA_LOGIT_STD * normal",
    ),
    Mutation(
        "mean over pixels, not sum",
        "method/losses.py",
        "product.flatten(1).sum(1)",
        "product.flatten(1).mean(1)",
    ),
    Mutation(
        "weight of the noise level dropped",
        "method/objective.py",
        "weight = loss_weight(distillation.weighting, sigma,",
        "weight = loss_weight(distillation.weighting, 0 * sigma,",
    ),
    Mutation(
        "fake score evaluated at the scale of its training",
        "method/objective.py",
        "estimate(fake, scales.fake)",
        "estimate(fake, scales.fake_training)",
    ),
    Mutation(
        "Zero-CFG guides the teacher",
        "method/guidance_scales.py",
        "fake_training=0.0, fake=0.0, teacher=1.0",
        "fake_training=0.0, fake=0.0, teacher=guidance.scale",
    ),
]

STEPS = [
    Mutation("always one step", "method/noise.py", ".randint(1, steps)", ".randint(1, 1)"),
    Mutation("always all steps", "method/noise.py", ".randint(1, steps)", ".randint(steps, steps)"),
    Mutation(
        "one noise for all steps",
        "engine/iteration.py",
        "noise.normal(purpose, self.latent_shape, step)",
        "noise.normal(purpose, self.latent_shape)",
        Suite.ITERATION,
    ),
    Mutation(
        "one noise for both updates",
        "engine/iteration.py",
        "anew = draw(Purpose.STUDENT_ROLL_OUT)",
        "anew = draw(Purpose.FAKE_ROLL_OUT)",
        Suite.ITERATION,
    ),
    Mutation(
        "levels end at zero",
        "method/flow.py",
        "tuple(1 - i / steps for i",
        "tuple(1 - i / (steps - 1 or 1) for i",
    ),
    Mutation(
        "exported sampler is the other one",
        "method/sampler.py",
        'student.noise == "fresh"',
        'student.noise == "ddim"',
    ),
    Mutation(
        "exported sampler of fixed noise mixes in its last input",
        "method/fixed_noise_scheduler.py",
        "        if self.step_index is None:\n            self._first_noise",
        "        if True:\n            self._first_noise",
    ),
    Mutation(
        "exported sampler of fixed noise keeps the first picture's",
        "method/fixed_noise_scheduler.py",
        "if self.step_index is None:",
        'if not hasattr(self, "_first_noise"):',
    ),
    Mutation(
        "exported sampler on the default levels",
        "method/sampler.py",
        'config["shift_terminal"] = 1 / student.steps',
        'config["shift_terminal"] = None',
    ),
]

CONDITIONS = [
    Mutation(
        "prompts and the empty prompt swapped",
        "method/guidance.py",
        "[without] if scale == 0 else [condition, without]",
        "[without] if scale == 0 else [without, condition]",
    ),
    Mutation(
        "no prompts for the unguided score",
        "method/guidance.py",
        "    if scale == 1:\n        return [condition]\n",
        "    if scale == 1:\n        return [empty.expand(len(condition))]\n",
    ),
    Mutation(
        "the student has another sample's prompt",
        "engine/iteration.py",
        "velocity(x, sigma, condition)",
        "velocity(x, sigma, condition[torch.arange(len(x)).roll(1)])",
        Suite.ITERATION,
    ),
    *(
        Mutation(
            f"time scale of {name}",
            f"teachers/{name}.py",
            "sigma * TIME_SCALE",
            "sigma",
            suite,
        )
        for name, suite in {"sd3": Suite.ITERATION, "sana": Suite.ADAPTERS}.items()
    ),
    Mutation(
        "time scale of flux",
        "teachers/flux.py",
        "timestep=time,",
        "timestep=time * TIME_SCALE,",
        Suite.ADAPTERS,
    ),
]

DATA_AIDED = [
    Mutation(
        "discriminator tells the wrong way about",
        "method/losses.py",
        "softplus(-real).mean() + softplus(generated).mean()",
        "softplus(real).mean() + softplus(-generated).mean()",
        Suite.DATA_AIDED,
    ),
    Mutation(
        "student is to pass for generated",
        "method/losses.py",
        "softplus(-generated).mean(1)",
        "softplus(generated).mean(1)",
        Suite.DATA_AIDED,
    ),
]

MUTATIONS = [*SIGNS, *UPDATES, *DETACHED, *TERMS, *STEPS, *CONDITIONS, *DATA_AIDED]
