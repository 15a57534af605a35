"""Students of the tiny pipelines, made without a run: exported, and called in stock diffusers."""

from __future__ import annotations

import runpy
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from said_families import teacher_config
from torch import Tensor, nn

from sid_trainer.config import RunConfig, StudentConfig
from sid_trainer.export import Edition, export_student
from sid_trainer.method.conditions import Condition
from sid_trainer.method.sampler import OWN_SCHEDULER, roll_out, scheduler_config
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
