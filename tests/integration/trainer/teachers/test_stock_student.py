"""Students of every family in their stock pipelines: plain call, trainer's samples.

The equality is tested in fp32. In bf16 SD3's and FLUX's pipelines round what the trainer does not;
how much that may be is tested, too, and that it is all.
"""

from __future__ import annotations

import json
import math
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, SanaSprintPipeline
from said_families import teacher_config
from torch import Tensor, nn

from sid_trainer.config import NoiseMode, RunConfig, StudentConfig
from sid_trainer.digits.evaluate import load
from sid_trainer.export import Edition, export_student
from sid_trainer.export.card import CardFacts, model_card
from sid_trainer.method.conditions import Condition
from sid_trainer.method.fixed_noise_scheduler import FixedNoiseScheduler
from sid_trainer.method.flow import student_noise_levels
from sid_trainer.method.sampler import OWN_SCHEDULER, roll_out, scheduler_config
from sid_trainer.models.weight_files import WeightFiles
from sid_trainer.storage import FileStorage, Storage
from sid_trainer.teachers import Teacher, open_teacher
from sid_trainer.teachers.flux import pack, unpack

PROMPT = "two blue birds"
SEED = 3
RESOLUTION = {
    "sd3": 4,
    "sd3.5-medium": 4,
    "sana": 128,
    "sana-sprint-teacher": 128,
    "sana-sprint-said": 128,
    "sana-sprint": 128,
    "flux": 16,
    "flux-without-guidance": 16,
}
FAMILIES = ["sd3", "sana", "sana-sprint-said", "sana-sprint", "flux"]
"""A teacher of each kind, for what the network's parts do not matter to."""
BF16_ROUNDING = 2.0**-9
"""The most that a number changes when it is rounded to the 8 binary digits of bf16, of itself."""
ROUNDINGS = {"sd3": 2, "sd3.5-medium": 2, "sana-sprint": 1, "flux": 3, "flux-without-guidance": 2}
"""What a stock step in bf16 rounds and the trainer's does not: the latent and the change that the
step makes to it; and the bias that took the place of a guidance input. SANA's pipeline has latents
in fp32, as the trainer has."""
FP32_ROUNDING = 1e-6


class Student:
    """A teacher whose network's weights were moved, as training would: fp32, computing in dtype."""

    def __init__(
        self,
        name: str,
        directory: Path,
        student: StudentConfig,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name = name
        self.config = student
        self.teacher: Teacher = open_teacher(
            teacher_config(name), directory, torch.device("cpu"), dtype
        )
        self.weights = moved(DiffusionPipeline.from_pretrained(directory).transformer)
        self.network: Any = deepcopy(self.weights).to(dtype)
        self.shape = self.teacher.latent_shape(RESOLUTION[name])

    def exported(self, storage: Storage) -> str:
        """Export it into ``student/``; its model card."""
        network = self.teacher.exported(dict(self.weights.state_dict()), RESOLUTION[self.name])
        run, scheduler = run_config(self.config), scheduler_config(self.config)
        directory = self.teacher.directory
        export_student(storage, run, directory, network, scheduler, Edition(iteration=1))
        return storage.get_bytes("student/README.md").decode()

    def stock(self, folder: Path) -> Any:
        """The exported pipeline, loaded by stock diffusers, with the scheduler that it brings."""
        self.exported(FileStorage(folder))
        pipeline = DiffusionPipeline.from_pretrained(folder / "student", dtype=self.teacher.dtype)
        if (file := folder / "student" / OWN_SCHEDULER).is_file():
            shipped = runpy.run_path(str(file))["FixedNoiseScheduler"]
            pipeline.scheduler = shipped.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def noise(self) -> list[Tensor]:
        """Start noise, then what a stock scheduler draws from the global generator."""
        torch.manual_seed(SEED)
        return [self.unpacked(torch.randn(self._sampled_shape())) for _ in range(self.config.steps)]

    def condition(self, prompt: str) -> Condition:
        """What the network is given for a prompt."""
        return self.teacher.encode([prompt]).to(torch.device("cpu"), self.teacher.dtype)

    def samples(self, noise: list[Tensor], prompt: str = PROMPT) -> Tensor:
        """The trainer's own samples."""
        condition, velocity = self.condition(prompt), self.teacher.fp32_velocity(self.network)
        with torch.no_grad():
            return roll_out(
                lambda x, sigma: velocity(x, sigma, condition),
                lambda step: noise[step],
                self.config,
                self.config.steps,
            )

    @torch.no_grad()
    def rounded_samples(self, noise: list[Tensor]) -> Tensor:
        """The same with latents, and what steps change in them, in the network's dtype."""
        dtype, condition = self.teacher.dtype, self.condition(PROMPT)
        x = noise[0].to(dtype)
        mixed_in = [*noise[1:], torch.zeros(noise[0].shape)]
        levels = [*student_noise_levels(self.config.steps), 0.0]
        for (sigma, following), fresh in zip(pairwise(levels), mixed_in, strict=True):
            v = self.teacher.velocity(self.network, x, torch.full((len(x),), sigma), condition)
            if self.config.noise == "fresh":
                clean = x.float() - (sigma * v).float()
                x = ((1 - following) * clean + following * fresh).to(dtype)
            else:
                x = (x.float() + ((following - sigma) * v).float()).to(dtype)
        return x.float()

    def packed(self, latents: Tensor) -> Tensor:
        return pack(latents) if self.name.startswith("flux") else latents

    def unpacked(self, latents: Tensor) -> Tensor:
        return unpack(latents, *self.shape[1:]) if self.name.startswith("flux") else latents

    def _sampled_shape(self) -> torch.Size:
        return self.packed(torch.empty(1, *self.shape)).shape


def run_config(student: StudentConfig) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": "teacher"},
            "student": student.model_dump(by_alias=True),
            "data": {"prompts": {"uri": "prompts.txt"}},
            "storage": {"uri": "file:///run"},
        }
    )


def moved(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(
    ("steps", "noise"),
    [(4, "fresh"), (2, "fresh"), (4, "ddim"), (1, "ddim"), (4, "fixed"), (2, "fixed")],
)
@pytest.mark.parametrize("name", RESOLUTION)
def test_the_plain_call_makes_the_trainers_samples(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str, steps: int, noise: NoiseMode
) -> None:
    student = Student(name, tiny_pipeline(name), StudentConfig(steps=steps, noise=noise))
    pipeline = student.stock(tmp_path)
    latents = called(student, pipeline)
    assert isinstance(pipeline.scheduler, FlowMatchEulerDiscreteScheduler)
    grid = pipeline.scheduler.sigmas[:-1].tolist()
    assert grid == pytest.approx(student_noise_levels(steps), abs=1e-6)
    expected = student.samples(student.noise())
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)


def called(student: Student, pipeline: Any) -> Tensor:
    """Latents ``[B, C, H, W]`` of the stock call that starts from the same noise, in fp32."""
    torch.manual_seed(SEED)
    start = torch.randn(student.packed(torch.empty(1, *student.shape)).shape)
    latents = pipeline(
        PROMPT,
        num_inference_steps=student.config.steps,
        guidance_scale=1.0,
        latents=start,
        output_type="latent",
        **student.teacher.call_arguments(RESOLUTION[student.name]),
    ).images
    return student.unpacked(latents).float()


@pytest.mark.parametrize("noise", ["fresh", "ddim"])
@pytest.mark.parametrize("name", RESOLUTION)
def test_in_bf16_the_plain_call_differs_by_roundings(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str, noise: NoiseMode
) -> None:
    """In norm they add up to no more than their number: a step's weights are at most 1."""
    student = Student(name, tiny_pipeline(name), StudentConfig(noise=noise), torch.bfloat16)
    latents = called(student, student.stock(tmp_path))
    expected = student.samples(student.noise())
    bound = ROUNDINGS.get(name, 0) * student.config.steps * BF16_ROUNDING + FP32_ROUNDING
    assert float((latents - expected).norm() / expected.norm()) < bound


@pytest.mark.parametrize("noise", ["fresh", "ddim"])
@pytest.mark.parametrize("name", ["sd3", "sd3.5-medium", "flux-without-guidance"])
def test_in_bf16_nothing_but_the_latents_is_rounded_otherwise(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str, noise: NoiseMode
) -> None:
    student = Student(name, tiny_pipeline(name), StudentConfig(noise=noise), torch.bfloat16)
    latents = called(student, student.stock(tmp_path))
    assert torch.equal(latents, student.rounded_samples(student.noise()))


@pytest.mark.parametrize(
    ("name", "tokenizer"), [("sd3", "tokenizer_3"), ("flux", "tokenizer_2"), ("sana", "tokenizer")]
)
def test_a_shorter_text_than_the_plain_calls_is_asked_for(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str, tokenizer: str
) -> None:
    """The plain call pads to a length of its own, where the student was trained with another."""
    directory = tmp_path / "teacher"
    shutil.copytree(tiny_pipeline(name), directory)
    file = directory / tokenizer / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 8}))
    student = Student(name, directory, StudentConfig(steps=2, noise="ddim"))
    pipeline, drawn = student.stock(tmp_path), student.noise()
    call = student.teacher.call_arguments(RESOLUTION[name])
    prompt = f"{PROMPT} and a long tail of text"
    options = {"num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "latent"} | call
    expected = student.samples(drawn, prompt)
    start = student.packed(drawn[0])
    latents = student.unpacked(pipeline(prompt, latents=start, **options).images)
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)
    assert options.pop("max_sequence_length") == 8
    plain = student.unpacked(pipeline(prompt, latents=start, **options).images)
    assert not torch.allclose(plain, expected, rtol=1e-4, atol=1e-5)


def test_a_flux_student_needs_no_guidance_scale(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path
) -> None:
    """The stock call's default of 3.5 would be an input that the student was never trained with."""
    student = Student("flux", tiny_pipeline("flux"), StudentConfig())
    pipeline = student.stock(tmp_path)
    assert student.teacher.build_network().config.guidance_embeds is True
    assert pipeline.transformer.config.guidance_embeds is False
    drawn = student.noise()
    torch.manual_seed(SEED)
    start = torch.randn(student.packed(drawn[0]).shape)
    call = student.teacher.call_arguments(RESOLUTION["flux"])
    latents = pipeline(
        PROMPT, num_inference_steps=4, latents=start, output_type="latent", **call
    ).images
    expected = student.samples(drawn)
    torch.testing.assert_close(student.unpacked(latents), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sana", "sana-sprint-said", "sana-sprint"])
def test_sana_hands_its_generator_to_the_scheduler(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    student = Student(name, tiny_pipeline(name), StudentConfig(steps=4))
    pipeline = student.stock(tmp_path)
    latents = pipeline(
        PROMPT,
        num_inference_steps=4,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        **student.teacher.call_arguments(RESOLUTION[name]),
    ).images
    expected = student.samples(student.noise())
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)
    run = run_config(student.config)
    assert "global" not in model_card(run, CardFacts("SanaPipeline", 1))
    assert "global" in model_card(run, CardFacts("FluxPipeline", 1))


@pytest.mark.parametrize("noise", ["fresh", "fixed"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_card_tells_to_run_makes_the_trainers_picture(
    tiny_pipeline: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    noise: NoiseMode,
) -> None:
    student = Student(name, tiny_pipeline(name), StudentConfig(noise=noise))
    card = student.exported(FileStorage(tmp_path))
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(code.replace('"PATH"', repr(str(tmp_path / "student"))))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, OWN_SCHEDULER.removesuffix(".py"), raising=False)
    made = runpy.run_path(str(snippet))
    torch.manual_seed(0)
    start = torch.randn(1, *student.shape)  # packed after it was drawn, unlike the scheduler's
    drawn = [student.unpacked(torch.randn(student.packed(start).shape)) for _ in range(3)]
    expected = student.teacher.decode(student.samples([start, *drawn], "a prompt"))[0]
    picture = np.asarray(made["image"], dtype=np.float32) / 255
    assert float(expected.std()) > 0.01
    np.testing.assert_allclose(picture, expected.permute(1, 2, 0).numpy(), atol=1 / 255)
    assert type(made["pipe"].scheduler) is not FlowMatchEulerDiscreteScheduler or noise == "fresh"


def test_a_student_of_fixed_noise_tells_of_its_scheduler(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path
) -> None:
    student = Student("sd3", tiny_pipeline("sd3"), StudentConfig(noise="fixed"))
    card = student.exported(FileStorage(tmp_path))
    folder = tmp_path / "student"
    assert f"[{OWN_SCHEDULER}]({OWN_SCHEDULER})" in card
    assert [file.name for file in folder.rglob("*.py")] == [OWN_SCHEDULER]
    plain = DiffusionPipeline.from_pretrained(folder)  # loads, by DDIM's steps, as the card says
    assert type(plain.scheduler) is FlowMatchEulerDiscreteScheduler
    assert plain.scheduler.config.stochastic_sampling is False
    assert isinstance(load(folder).scheduler, FixedNoiseScheduler)  # the digits' judge
    two_steps = Student("sd3", tiny_pipeline("sd3"), StudentConfig(steps=2, noise="fixed"))
    card = two_steps.exported(FileStorage(tmp_path))  # in place of the other
    assert OWN_SCHEDULER not in card
    assert not (folder / OWN_SCHEDULER).exists()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_starts_from_an_exported_student(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    student = Student(name, tiny_pipeline(name), StudentConfig())
    student.exported(FileStorage(tmp_path))
    network = student.teacher.build_network()
    with WeightFiles(tmp_path / "student" / "transformer") as files:
        weights = student.teacher.weights(files)
        assert all(parameter in weights for parameter, _ in network.named_parameters())
        assert "no such parameter" not in weights
        state = {n: weights.read(n, tensor.shape) for n, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    noise = student.noise()
    expected = student.samples(noise)
    student.network = network
    torch.testing.assert_close(student.samples(noise), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("steps", "between"), [(1, None), (2, math.pi / 4)])
def test_the_trigflow_pipeline_makes_the_same_samples_where_its_angles_are_ours(
    tiny_pipeline: Callable[[str], Path], steps: int, between: float | None
) -> None:
    directory = tiny_pipeline("sana-sprint")
    student = Student("sana-sprint", directory, StudentConfig(steps=steps))
    pipeline = SanaSprintPipeline.from_pretrained(directory, transformer=student.network)
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(
        PROMPT,
        num_inference_steps=steps,
        max_timesteps=math.pi / 2,
        intermediate_timesteps=between,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(SEED),
        height=128,
        width=128,
        use_resolution_binning=False,
        output_type="latent",
    ).images
    expected = student.samples(student.noise())
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)


def test_the_sprint_student_is_a_sana_pipeline(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path
) -> None:
    student = Student("sana-sprint", tiny_pipeline("sana-sprint"), StudentConfig())
    pipeline = student.stock(tmp_path)
    assert type(pipeline).__name__ == "SanaPipeline"
    assert pipeline.transformer.config.guidance_embeds is False
    assert pipeline.transformer.config.timestep_scale == 0.001
    card = student.exported(FileStorage(tmp_path / "run"))
    assert "SanaPipeline.from_pretrained" in card
    assert "height=128, width=128, use_resolution_binning=False" in card
