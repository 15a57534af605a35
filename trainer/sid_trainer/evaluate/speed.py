"""How much faster the student is than its teacher, measured side by side in the run itself."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from sid_trainer.evaluate.sampling import Draw, Sampling
from sid_trainer.method.conditions import Condition
from sid_trainer.report.records import Speed


def measure_speed(
    sampling: Sampling, samples: Sequence[int], condition: Condition, world_size: int
) -> Speed | None:
    """Time one micro-batch of each on all ranks; a collective. None where no teacher is sampled.

    Args:
        sampling: draws both.
        samples: numbers of this rank's samples; a micro-batch of them is taken.
        condition: their prompts.
        world_size: number of ranks.
    """
    if sampling.teacher_steps == 0:
        return None
    few = samples[: sampling.micro_batch_size]
    prompts = condition[: len(few)]
    with sampling.student() as draw:
        draw(few, prompts)  # what is compiled, chosen or traced at first is not counted
        student = _seconds(draw, few, prompts)
    with sampling.teacher(steps=1) as draw:
        draw(few, prompts)
    with sampling.teacher() as draw:
        teacher = _seconds(draw, few, prompts)
    return Speed(
        device=device_name(sampling.distiller.teacher.device),
        ranks=world_size,
        images=len(few),
        teacher_steps=sampling.teacher_steps,
        teacher_guidance=sampling.teacher_guidance,
        teacher_seconds=teacher,
        student_steps=sampling.distiller.student.steps,
        student_seconds=student,
    )


def _seconds(draw: Draw, samples: Sequence[int], condition: Condition) -> float:
    start = time.perf_counter()
    latents = draw(samples, condition)
    latents.flatten()[0].item()  # waits for the accelerator
    return time.perf_counter() - start


def device_name(device: torch.device) -> str:
    """What a person calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
