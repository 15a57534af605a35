"""The trained digits teacher: stock classes load it, its VAE is faithful, it draws what is asked.

The teacher comes from the cache that the demo shares; it is made on first use (minutes).
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from sid_trainer.config import TeacherConfig
from sid_trainer.digits.cache import cached_teacher
from sid_trainer.digits.cli import FAMILY_NAMES
from sid_trainer.digits.data import digits
from sid_trainer.digits.evaluate import load
from sid_trainer.digits.extractor import DigitsClassifier, trained_extractor
from sid_trainer.digits.families import FAMILIES, family_of
from sid_trainer.digits.prompts import prompts_of
from sid_trainer.digits.sampling import balanced_labels, sample
from sid_trainer.digits.teacher import TeacherRecipe, make_teacher, recipe_of
from sid_trainer.digits.text import MAX_TOKENS
from sid_trainer.digits.vae import encode
from sid_trainer.teachers import open_teacher

LATENTS = (4, 4, 4)


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
    prompts = [prompts_of(digit)[0] for digit in range(10)]
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
            [prompts_of(int(label))[0] for label in labels],
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
    sd3 = FAMILIES["sd3"]
    first = sample(sd3, teacher, labels, steps=2, seed=1)
    assert torch.equal(first, sample(sd3, teacher, labels, steps=2, seed=1))
    assert not torch.equal(first, sample(sd3, teacher, labels, steps=2, seed=2))
    assert labels.bincount().tolist() == [2] * 10


def test_the_command_offers_every_family() -> None:
    """Its parser names them itself, to start without torch."""
    assert tuple(FAMILIES) == FAMILY_NAMES


@pytest.fixture(scope="module", params=FAMILIES)
def hasty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of each family, hardly trained."""
    directory = tmp_path_factory.mktemp("hasty") / request.param
    make_teacher(directory, hasty_recipe(request.param))
    return directory


def hasty_recipe(family: str, seed: int = 0) -> TeacherRecipe:
    return dataclasses.replace(
        recipe_of(family, seed), vae_iterations=3, iterations=3, long_prompt_every=2
    )


def test_encodings_of_different_digits_are_apart(hasty: Path) -> None:
    """Those of short prompts, so that no prompt is cut."""
    prompts = [prompt for digit in range(10) for prompt in prompts_of(digit)]
    with torch.no_grad():
        encodings = family_of(hasty).encode(load(hasty), prompts, MAX_TOKENS)
    for name in encodings.keys() & {"sequence", "pooled"}:
        encoding = encodings[name].flatten(1)
        assert torch.pdist(encoding).min() > 0.05 * encoding.norm(dim=1).mean()


def test_the_adapter_sees_what_the_teacher_was_trained_on(hasty: Path) -> None:
    """Encodings and velocities by stock means are those of the trainer's adapter."""
    family, pipeline = family_of(hasty), load(hasty)
    adapter = open_teacher(
        TeacherConfig(model="teacher"), hasty, torch.device("cpu"), torch.float32
    )
    prompts = [*(prompts_of(digit)[0] for digit in range(4)), ""]
    x = torch.randn(len(prompts), *LATENTS, generator=torch.Generator().manual_seed(0))
    sigma = torch.linspace(0.1, 1, len(prompts))
    with torch.no_grad():
        encodings = family.encode(pipeline, prompts, MAX_TOKENS)
        stock = family.velocity(pipeline.transformer, x, sigma, encodings)
        ours = adapter.velocity(pipeline.transformer, x, sigma, adapter.encode(prompts))
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-5)


def test_the_same_seed_makes_the_same_teacher(tmp_path: Path, hasty: Path) -> None:
    torch.manual_seed(99)
    make_teacher(tmp_path / "again", hasty_recipe(hasty.name))
    make_teacher(tmp_path / "other", hasty_recipe(hasty.name, seed=1))
    first, again, other = (
        load(folder).transformer.state_dict()
        for folder in (hasty, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
