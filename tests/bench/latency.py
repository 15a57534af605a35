"""Student against teacher through the stock pipeline, from encodings to latents."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
)

from sid_trainer.config import StudentConfig
from sid_trainer.method.sampler import scheduler_config
from tests.bench import ranks
from tests.bench.clocks import clocks
from tests.bench.plain import built
from tests.bench.report import Section, Spread
from tests.bench.shapes import Shape, flux, sd3, small

STUDENT = StudentConfig()
TEACHER_STEPS, TEACHER_SCALE = 28, 4.5
SHAPES: dict[str, dict[str, Shape]] = {
    "cpu": {
        "sd3": small("SD3: 2 layers of 256, 256 tokens", width=256, layers=2, side=32, tokens=85)
    },
    "cuda": {
        "sd3": sd3("SD3.5-Medium, whole", layers=24, heads=24, dual=13, qk_norm="rms_norm"),
        "flux": flux("FLUX.1-dev, whole", layers=19, single=38),
    },
}


def section(device: str, rounds: int) -> Section:
    """Measure every shape of a device."""
    rows = []
    for name, shape in SHAPES[device].items():
        found = ranks.run("latency", device, name=name, rounds=rounds)
        work = TEACHER_STEPS * shape.guided_forwards / STUDENT.steps
        rows.append((shape.name, f"{work:.1f}", str(Spread(found))))
    return Section(
        "Student against teacher",
        f"Time of the stock pipeline's call from encodings to latents, one image: teacher with "
        f"{TEACHER_STEPS} steps (two forwards each where guidance is classifier-free) over student "
        f"with {STUDENT.steps}, in turn. More is better; the forwards' ratio is what can be had.",
        ("network", "forwards, teacher / student", "time, teacher / student"),
        rows,
    )


def on_rank(device: str, name: str, rounds: int) -> list[float]:
    """Ratios of each round after the first."""
    torch.set_num_threads(1)
    shape = SHAPES[device][name]
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    pipeline, arguments = stock(shape, torch.device(device), dtype)
    ratios = [
        teacher(pipeline, arguments) / student(pipeline, arguments) for _ in range(rounds + 1)
    ]
    return ratios[1:]


def teacher(pipeline: Any, arguments: dict[str, Any]) -> float:
    """Busy seconds of the teacher's call."""
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return _seconds(pipeline, arguments, TEACHER_STEPS, TEACHER_SCALE)


def student(pipeline: Any, arguments: dict[str, Any]) -> float:
    """Busy seconds of the student's call, with the scheduler that it is exported with."""
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(**scheduler_config(STUDENT))
    return _seconds(pipeline, arguments, STUDENT.steps, 1.0)


def stock(shape: Shape, device: torch.device, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """A pipeline of nothing but a network, and the encodings for its call."""
    tensors = shape.encoded(1, device, dtype).tensors
    arguments: dict[str, Any] = {
        "prompt_embeds": tensors["prompt_embeds"],
        "pooled_prompt_embeds": tensors["pooled"],
    }
    scheduler = FlowMatchEulerDiscreteScheduler()
    if shape.family == "flux":
        parts = ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
        network = _network(shape, device, dtype)
        pipeline = FluxPipeline(scheduler, transformer=network, **dict.fromkeys(parts))
    else:
        names = ("", "_2", "_3")
        parts = ("vae", *(f"{p}{n}" for p in ("text_encoder", "tokenizer") for n in names))
        network = _network(shape, device, dtype)
        pipeline = StableDiffusion3Pipeline(network, scheduler, **dict.fromkeys(parts))
        arguments |= {f"negative_{name}": value for name, value in arguments.items()}
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": shape.resolution, "width": shape.resolution}
    return pipeline, arguments | size | {"output_type": "latent", "return_dict": False}


def _network(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return built(shape.open(shape.write(Path(folder)), device, dtype)).eval()


@torch.no_grad()
def _seconds(pipeline: Any, arguments: dict[str, Any], steps: int, scale: float) -> float:
    since = clocks()[1]
    pipeline(num_inference_steps=steps, guidance_scale=scale, **arguments)
    return clocks()[1] - since
