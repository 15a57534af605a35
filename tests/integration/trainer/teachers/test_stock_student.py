"""Students of every family in their stock pipelines: plain call, trainer's samples. All in fp32."""

from __future__ import annotations

import json
import math
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, SanaSprintPipeline
from moved_students import PROMPT, RESOLUTION, SEED, Student, called, run_config

from sid_trainer.config import NoiseMode, StudentConfig
from sid_trainer.digits.evaluate import load
from sid_trainer.export.card import CardFacts, model_card
from sid_trainer.method.fixed_noise_scheduler import FixedNoiseScheduler
from sid_trainer.method.flow import student_noise_levels
from sid_trainer.method.sampler import OWN_SCHEDULER
from sid_trainer.models.weight_files import WeightFiles
from sid_trainer.storage import FileStorage

FAMILIES = ["sd3", "sana", "sana-sprint-said", "sana-sprint", "flux"]
"""A teacher of each kind, for what the network's parts do not matter to."""


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
