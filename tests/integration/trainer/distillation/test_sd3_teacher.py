"""The SD3 adapter against the stock pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from sid_ranks import PROMPTS

from sid_trainer.config import NoiseMode, StudentConfig, TeacherConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.digits.text import MAX_TOKENS
from sid_trainer.method.sampler import roll_out, scheduler_config
from sid_trainer.teachers import open_teacher
from sid_trainer.teachers.sd3 import SD3Teacher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(tiny_sd3: Path) -> StableDiffusion3Pipeline:
    pipeline = StableDiffusion3Pipeline.from_pretrained(tiny_sd3)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def teacher(tiny_sd3: Path) -> SD3Teacher:
    return SD3Teacher(tiny_sd3, CPU, torch.float32)


def test_prompts_are_encoded_as_the_pipeline_does(
    teacher: SD3Teacher, pipeline: StableDiffusion3Pipeline
) -> None:
    prompts = [*PROMPTS[:3], ""]
    with torch.no_grad():
        embeds, _, pooled, _ = pipeline.encode_prompt(
            prompts, None, None, do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS
        )
    condition = teacher.encode(prompts).tensors
    torch.testing.assert_close(condition["prompt_embeds"], embeds, rtol=0, atol=0)
    torch.testing.assert_close(condition["pooled"], pooled, rtol=0, atol=0)


def test_a_pipeline_without_t5_has_256_empty_tokens(
    pipeline: StableDiffusion3Pipeline, tiny_sd3: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "without-t5"
    shutil.copytree(tiny_sd3, directory)
    index = json.loads((directory / "model_index.json").read_text())
    for component in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(directory / component)
        index[component] = [None, None]
    (directory / "model_index.json").write_text(json.dumps(index))
    teacher = SD3Teacher(directory, CPU, torch.float32)
    embeds = teacher.encode(PROMPTS[:2]).tensors["prompt_embeds"]
    assert embeds.shape == (2, MAX_TOKENS + 256, 64)
    assert not embeds[:, MAX_TOKENS:].any()
    with_t5 = SD3Teacher(tiny_sd3, CPU, torch.float32).encode(PROMPTS[:2]).tensors["prompt_embeds"]
    torch.testing.assert_close(embeds[:, :MAX_TOKENS], with_t5[:, :MAX_TOKENS])


def test_images_are_decoded_as_the_pipeline_does(
    teacher: SD3Teacher, pipeline: StableDiffusion3Pipeline
) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    config = pipeline.vae.config
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
    expected = pipeline.image_processor.postprocess(decoded, output_type="pt")
    torch.testing.assert_close(teacher.decode(latents), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("noise", ["fresh", "ddim"])
def test_the_stock_pipeline_samples_as_training_does(
    steps: int, noise: NoiseMode, teacher: SD3Teacher, pipeline: StableDiffusion3Pipeline
) -> None:
    student = StudentConfig(steps=steps, noise=noise)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(**scheduler_config(student))
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    theirs = pipeline(
        PROMPTS[:2],
        num_inference_steps=steps,
        guidance_scale=1.0,
        latents=z,
        output_type="latent",
        max_sequence_length=MAX_TOKENS,
    ).images
    condition = teacher.encode(PROMPTS[:2])
    torch.manual_seed(2)
    with torch.no_grad():
        ours = roll_out(
            lambda x, sigma: teacher.velocity(pipeline.transformer, x, sigma, condition),
            lambda step: torch.randn_like(z) if step else z,
            student,
            steps,
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", range(1, 9))
def test_the_stock_grid_is_ours(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**scheduler_config(StudentConfig(steps=steps)))
    scheduler.set_timesteps(steps)
    expected = torch.tensor([1 - i / steps for i in range(steps)] + [0.0])
    torch.testing.assert_close(scheduler.sigmas, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(scheduler.timesteps, 1000 * expected[:-1], rtol=0, atol=1e-3)


def test_shapes(teacher: SD3Teacher) -> None:
    assert teacher.default_resolution == 16
    assert teacher.latent_shape(16) == (4, 8, 8)
    assert teacher.latent_shape(12) == (4, 6, 6)


@pytest.mark.parametrize("resolution", [18, 36])
def test_resolutions_that_do_not_suit_are_refused(resolution: int, teacher: SD3Teacher) -> None:
    with pytest.raises(TrainerError, match=r"use a multiple of 4 up to 32") as caught:
        teacher.latent_shape(resolution)
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION


def test_the_family_is_found(tiny_sd3: Path, tmp_path: Path) -> None:
    config = TeacherConfig(model=str(tiny_sd3))
    assert open_teacher(config, tiny_sd3, CPU, torch.float32).family == "sd3"
    with pytest.raises(TrainerError, match=r"no model_index\.json"):
        open_teacher(config, tmp_path, CPU, torch.float32)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(
        TrainerError, match=r"is a StableDiffusionPipeline,.*use one of .*StableDiffusion3Pipeline"
    ):
        open_teacher(config, tmp_path, CPU, torch.float32)
