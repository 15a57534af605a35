"""The trained digits teacher: stock classes load it, its VAE is faithful, it draws what is asked.

The teacher comes from the cache that the demo shares; it is made on first use (minutes).
"""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from sid_trainer.digits.cache import cached_teacher
from sid_trainer.digits.data import digits
from sid_trainer.digits.evaluate import load
from sid_trainer.digits.extractor import DigitsClassifier, trained_extractor
from sid_trainer.digits.prompts import plain_prompt, prompts_of
from sid_trainer.digits.sampling import balanced_labels, sample
from sid_trainer.digits.teacher import TeacherRecipe, make_teacher
from sid_trainer.digits.vae import encode


@pytest.fixture(scope="module")
def teacher() -> StableDiffusion3Pipeline:
    return load(cached_teacher())


@pytest.fixture(scope="module")
def extractor() -> DigitsClassifier:
    return trained_extractor()


def hits(extractor: DigitsClassifier, images: torch.Tensor, labels: torch.Tensor) -> float:
    return float((extractor(images).argmax(1) == labels).float().mean())


def test_the_vae_reconstructs_the_digits(teacher: StableDiffusion3Pipeline) -> None:
    images = digits()[0]
    config = teacher.vae.config
    with torch.no_grad():
        latents = encode(teacher.vae, images)
        decoded = teacher.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
    psnr = 10 * torch.log10(4 / (decoded - images).square().mean())
    assert psnr > 28
    assert float(latents.mean()) == pytest.approx(0, abs=1e-3)
    assert float(latents.std()) == pytest.approx(1, abs=1e-3)


def test_a_plain_call_draws_the_digit(
    teacher: StableDiffusion3Pipeline, extractor: DigitsClassifier
) -> None:
    """Without a size or a prompt length, so with T5 padded to 256 tokens."""
    prompts = [plain_prompt(digit) for digit in range(10)]
    images = teacher(
        prompts,
        num_images_per_prompt=4,
        num_inference_steps=20,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    assert images.shape == (40, 3, 8, 8)
    assert hits(extractor, images * 2 - 1, torch.arange(10).repeat_interleave(4)) >= 0.9


def test_guidance_makes_digits_clearer(
    teacher: StableDiffusion3Pipeline, extractor: DigitsClassifier
) -> None:
    """The condition is dropped in training for this: the unconditional velocity must be real."""
    labels = balanced_labels(200)
    confidence = []
    for scale in (1.0, 3.0):
        images = teacher(
            [plain_prompt(int(label)) for label in labels],
            num_inference_steps=10,
            guidance_scale=scale,
            max_sequence_length=8,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images
        logits = extractor(images * 2 - 1)
        confidence.append(torch.nn.functional.cross_entropy(logits, labels))
    assert confidence[1] < confidence[0]


def test_sampling_is_repeatable_and_balanced(teacher: StableDiffusion3Pipeline) -> None:
    labels = balanced_labels(20)
    first = sample(teacher, labels, steps=2, seed=1)
    assert torch.equal(first, sample(teacher, labels, steps=2, seed=1))
    assert not torch.equal(first, sample(teacher, labels, steps=2, seed=2))
    assert labels.bincount().tolist() == [2] * 10


def test_encodings_of_different_digits_are_apart(teacher: StableDiffusion3Pipeline) -> None:
    prompts = [prompt for digit in range(10) for prompt in prompts_of(digit)]
    with torch.no_grad():
        sequence, _, pooled, _ = teacher.encode_prompt(
            prompts, None, None, do_classifier_free_guidance=False, max_sequence_length=8
        )
    for encoding in (sequence.flatten(1), pooled):
        apart = torch.pdist(encoding) / encoding.norm(dim=1).mean()
        assert apart.min() > 0.05


def test_the_same_seed_makes_the_same_teacher(tmp_path: Path) -> None:
    recipe = TeacherRecipe(vae_iterations=3, iterations=3, long_prompt_every=2)
    make_teacher(tmp_path / "first", recipe)
    torch.manual_seed(99)
    make_teacher(tmp_path / "second", recipe)
    make_teacher(tmp_path / "other", TeacherRecipe(seed=1, vae_iterations=3, iterations=3))
    first, second, other = (
        load(tmp_path / name).transformer.state_dict() for name in ("first", "second", "other")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
