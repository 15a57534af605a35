"""Adapters against the stock pipelines' own denoising steps, encodings and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from said_families import teacher_config
from torch import Tensor

from sid_trainer.config import Family
from sid_trainer.method.conditions import Condition
from sid_trainer.method.flow import clean_estimate
from sid_trainer.method.guidance import guided_velocity
from sid_trainer.teachers import Teacher, open_teacher
from sid_trainer.teachers.flux import unpack

# diffusers' DPM-Solver hands torch tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPT = "A red cat, asleep"
SCALE = 4.5
SD3_CALL = {"height": 4, "width": 4}
SANA_CALL = {"height": 128, "width": 128, "use_resolution_binning": False}
FLUX_CALL = {"height": 16, "width": 16}
SPRINT_GRID = {"max_timesteps": 1.2, "intermediate_timesteps": 0.7}

GUIDED_BY_TWO = ["sd3", "sd3.5-medium", "sana", "sana-sprint-teacher", "sana-sprint-said"]
NAMES = [*GUIDED_BY_TWO, "sana-sprint", "flux"]
FAMILY: dict[str, Family] = {
    "sd3": "sd3",
    "sd3.5-medium": "sd3",
    "sana": "sana",
    "sana-sprint-teacher": "sana",
    "sana-sprint-said": "sana-sprint",
    "sana-sprint": "sana-sprint",
    "flux": "flux",
    "flux-without-guidance": "flux",
}
CALL: dict[str, dict[str, Any]] = {
    "sd3": SD3_CALL,
    "sd3.5-medium": SD3_CALL,
    "sana": SANA_CALL,
    "sana-sprint-teacher": SANA_CALL,
    "sana-sprint-said": SANA_CALL,
    "sana-sprint": SANA_CALL | SPRINT_GRID,
    "flux": FLUX_CALL,
    "flux-without-guidance": FLUX_CALL,
}


@dataclass
class Recording:
    """What went through a stock pipeline's transformer and scheduler, step by step."""

    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)
    latents: Tensor = field(default_factory=lambda: torch.empty(0))


@pytest.fixture
def stock(tiny_pipeline: Callable[[str], Path]) -> Callable[..., Any]:
    def load(name: str, dtype: torch.dtype = torch.float32) -> Any:
        pipeline = DiffusionPipeline.from_pretrained(tiny_pipeline(name), dtype=dtype)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


@pytest.fixture
def adapter(tiny_pipeline: Callable[[str], Path]) -> Callable[..., Teacher]:
    def load(name: str, dtype: torch.dtype = torch.float32) -> Teacher:
        return open_teacher(teacher_config(name), tiny_pipeline(name), torch.device("cpu"), dtype)

    return load


def recorded(pipeline: Any, **call: Any) -> Recording:
    """Run two steps of the pipeline."""
    recording = Recording()

    def network_ran(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        recording.inputs.append(kwargs | ({"hidden_states": args[0]} if args else {}))
        recording.outputs.append(out[0])

    step = pipeline.scheduler.step

    def scheduler_steps(prediction: Tensor, at: Tensor, sample: Tensor, **options: Any) -> Any:
        recording.predictions.append(prediction)
        recording.samples.append(sample)
        return step(prediction, at, sample, **options)

    handle = pipeline.transformer.register_forward_hook(network_ran, with_kwargs=True)
    pipeline.scheduler.step = scheduler_steps
    generator = torch.Generator().manual_seed(5)
    recording.latents = pipeline(
        PROMPT,
        num_inference_steps=2,
        guidance_scale=SCALE,
        generator=generator,
        output_type="latent",
        return_dict=False,
        **call,
    )[0]
    handle.remove()
    return recording


def noise_levels(name: str, pipeline: Any) -> Tensor:
    """Noise level of each step by the pipeline's scheduler, rounded as what the network is given.

    Nothing is to be rounded otherwise in the adapters: the answers have to be the same to the bit.
    """
    if name == "sana-sprint":
        angle = pipeline.scheduler.timesteps[:-1]
        return torch.sin(angle) / (torch.sin(angle) + torch.cos(angle))
    if name.startswith("sd3"):
        sigmas: Tensor = pipeline.scheduler.sigmas[:-1]
        return sigmas
    times: Tensor = pipeline.scheduler.timesteps
    return times * 0.001 if name == "sana-sprint-said" else times / 1000


def as_latents(name: str, tensor: Tensor) -> Tensor:
    return unpack(tensor, 8, 8) if name.startswith("flux") else tensor


def network_condition(name: str, adapter: Teacher) -> Condition:
    """Condition of the stock pipeline's network call."""
    prompt = adapter.encode([PROMPT])
    if prompt.has_guidance:
        return prompt.with_guidance(SCALE)
    if not name.startswith("flux"):
        return Condition.cat([adapter.encode([""]), prompt])
    return prompt


@pytest.mark.parametrize("name", FAMILY)
def test_the_family_is_found(adapter: Callable[[str], Teacher], name: str) -> None:
    assert adapter(name).family == FAMILY[name]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILY)
def test_velocity_is_the_networks_answer_in_the_stock_step(
    stock: Callable[..., Any], adapter: Callable[..., Teacher], name: str, dtype: torch.dtype
) -> None:
    pipeline, teacher = stock(name, dtype), adapter(name, dtype)
    recording = recorded(pipeline, **CALL[name])
    condition = network_condition(name, teacher).to(torch.device("cpu"), dtype)
    for step, level in enumerate(noise_levels(name, pipeline)):
        x = as_latents(name, recording.inputs[step]["hidden_states"])
        sigma = level.expand(len(x))
        velocity = teacher.velocity(pipeline.transformer, x, sigma, condition)
        expected = as_latents(name, recording.outputs[step])
        assert (velocity - expected).abs().max() == 0
    assert len(recording.outputs) == 2


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILY)
def test_encodings_are_those_of_the_plain_call(
    stock: Callable[[str], Any], adapter: Callable[[str], Teacher], name: str
) -> None:
    inputs = recorded(stock(name), **CALL[name]).inputs[0]
    condition = network_condition(name, adapter(name))
    assert torch.equal(condition.tensors["prompt_embeds"], inputs["encoder_hidden_states"])
    if name.startswith("sana"):
        assert torch.equal(condition.tensors["mask"], inputs["encoder_attention_mask"])
    else:
        assert torch.equal(condition.tensors["pooled"], inputs["pooled_projections"])


@pytest.mark.parametrize("name", FAMILY)
def test_prompts_are_encoded_alike_alone_and_together(
    adapter: Callable[[str], Teacher], name: str
) -> None:
    teacher = adapter(name)
    prompts = ["", "a cat", "", "two dogs"]
    together = teacher.encode(prompts)
    for row, prompt in enumerate(prompts):
        for key, alone in teacher.encode([prompt]).tensors.items():
            torch.testing.assert_close(together.tensors[key][row : row + 1], alone)


@pytest.mark.parametrize("name", ["sana", "sana-sprint-said", "sana-sprint"])
def test_the_instruction_is_left_out_before_the_empty_prompt(
    stock: Callable[[str], Any], adapter: Callable[[str], Teacher], name: str
) -> None:
    empty = adapter(name).encode([""])
    with torch.no_grad():
        bare = stock(name).encode_prompt([""], complex_human_instruction=None)[:2]
    assert torch.equal(empty.tensors["prompt_embeds"], bare[0])
    assert torch.equal(empty.tensors["mask"], bare[1])
    assert empty.tensors["mask"].sum() == 1  # <bos>
    assert adapter(name).encode(["x"]).tensors["mask"].shape == (1, 300)


@torch.no_grad()
@pytest.mark.parametrize("name", [*GUIDED_BY_TWO, "flux"])
def test_guided_velocity_is_the_pipelines_prediction(
    stock: Callable[[str], Any], adapter: Callable[[str], Teacher], name: str
) -> None:
    pipeline, teacher = stock(name), adapter(name)
    recording = recorded(pipeline, **CALL[name])
    x = as_latents(name, recording.samples[0])
    velocity = guided_velocity(
        lambda x, sigma, condition: teacher.velocity(pipeline.transformer, x, sigma, condition),
        x,
        noise_levels(name, pipeline)[:1],
        teacher.encode([PROMPT]),
        teacher.encode([""]),
        SCALE,
    )
    torch.testing.assert_close(velocity, as_latents(name, recording.predictions[0]))


@torch.no_grad()
def test_trigflow_is_flow_matching_on_the_bare_network(
    stock: Callable[[str], Any], adapter: Callable[[str], Teacher]
) -> None:
    pipeline, teacher = stock("sana-sprint"), adapter("sana-sprint")
    recording = recorded(pipeline, **CALL["sana-sprint"])
    deviation = pipeline.scheduler.config.sigma_data
    for step, angle in enumerate(pipeline.scheduler.timesteps[:-1]):
        sample, prediction = recording.samples[step], recording.predictions[step]
        sigma = (torch.sin(angle) / (torch.sin(angle) + torch.cos(angle))).reshape(1)
        x = sample / deviation / (torch.sin(angle) + torch.cos(angle))
        condition = network_condition("sana-sprint", teacher)
        velocity = teacher.velocity(pipeline.transformer, x, sigma, condition)
        stock_clean = (torch.cos(angle) * sample - torch.sin(angle) * prediction) / deviation
        torch.testing.assert_close(clean_estimate(x, velocity, sigma), stock_clean)
    torch.testing.assert_close(recording.latents, clean_estimate(x, velocity, sigma))


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_latents_are_decoded_as_by_the_pipeline(
    stock: Callable[[str], Any], adapter: Callable[[str], Teacher], name: str
) -> None:
    latents, images = (
        stock(name)(
            PROMPT,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(5),
            output_type=output_type,
            return_dict=False,
            **CALL[name],
        )[0]
        for output_type in ("latent", "pt")
    )
    decoded = adapter(name).decode(as_latents(name, latents))
    assert decoded.shape == images.shape
    assert (decoded - images).abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_the_latents(
    stock: Callable[[str], Any], adapter: Callable[[str], Teacher], name: str
) -> None:
    teacher = adapter(name)
    resolution = CALL[name]["height"]
    x = torch.randn(2, *teacher.latent_shape(resolution), requires_grad=True)
    condition = teacher.encode([PROMPT, "a dog"])
    velocity = teacher.velocity(stock(name).transformer, x, torch.tensor([0.3, 0.9]), condition)
    assert velocity.shape == x.shape
    (gradient,) = torch.autograd.grad(velocity.square().sum(), x)
    assert gradient.flatten(1).norm(dim=1).min() > 0
