"""Random numbers depend on their coordinates and on nothing else."""

from __future__ import annotations

import torch

from sid_trainer.method.noise import NoiseSource, Purpose, derived_seed, uniform_steps

CPU = torch.device("cpu")


def test_a_sample_has_the_same_noise_on_whatever_rank() -> None:
    whole = NoiseSource(3, 10, range(8), CPU).normal(Purpose.FAKE_NOISE, (2, 4, 4), 1)
    parts = [NoiseSource(3, 10, range(i, i + 4), CPU) for i in (0, 4)]
    split = torch.cat([part.normal(Purpose.FAKE_NOISE, (2, 4, 4), 1) for part in parts])
    torch.testing.assert_close(split, whole, rtol=0, atol=0)


def test_every_coordinate_gives_other_numbers() -> None:
    def draw(
        seed: int = 0, iteration: int = 0, sample: int = 0, purpose: Purpose = Purpose.FAKE_NOISE
    ) -> float:
        return float(NoiseSource(seed, iteration, [sample], CPU).normal(purpose))

    drawn = [draw(), draw(seed=1), draw(iteration=1), draw(sample=1)]
    drawn += [draw(purpose=purpose) for purpose in Purpose if purpose is not Purpose.FAKE_NOISE]
    drawn.append(float(NoiseSource(0, 0, [0], CPU).normal(Purpose.FAKE_NOISE, draw=1)))
    assert len(set(drawn)) == len(drawn)
    assert draw() == draw()


def test_noise_is_standard_normal() -> None:
    noise = NoiseSource(0, 0, range(64), CPU).normal(Purpose.STUDENT_NOISE, (1024,))
    assert noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    # Neighbouring samples are independent.
    correlation = torch.corrcoef(noise)
    assert float((correlation - torch.eye(64)).abs().max()) < 0.2


def test_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    NoiseSource(0, 0, range(2), CPU).normal(Purpose.PREVIEW, (3,))
    uniform_steps(0, 0, 4)
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_steps_are_uniform() -> None:
    drawn = [uniform_steps(0, iteration, 4) for iteration in range(4000)]
    for steps in (1, 2, 3, 4):
        assert abs(drawn.count(steps) / 4000 - 0.25) < 0.03


def test_seeds_stay_what_they_are() -> None:
    """A resumed run depends on them."""
    assert derived_seed(0, "steps", 1) == 0x540D7F43BA23E3F7
