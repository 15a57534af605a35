"""The teacher is sampled as its own pipeline does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from sid_trainer.evaluate.teacher_sampler import guided_euler, teacher_levels
from sid_trainer.method.conditions import Condition


def scheduler(folder: Path, instance: Any) -> Any:
    instance.save_pretrained(folder / "scheduler")
    return instance


# Inside diffusers' DPM-Solver.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_teachers_levels_are_those_of_its_pipeline(tmp_path: Path) -> None:
    sd3 = scheduler(tmp_path / "sd3", FlowMatchEulerDiscreteScheduler(shift=3.0))
    sd3.set_timesteps(7)
    assert teacher_levels(tmp_path / "sd3", 7, (16, 64, 64)) == tuple(sd3.sigmas.tolist())
    flux = scheduler(
        tmp_path / "flux", FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    )
    flux.set_timesteps(
        sigmas=np.linspace(1.0, 1 / 7, 7),
        mu=calculate_shift(32 * 32, max_shift=flux.config.max_shift),
    )
    assert teacher_levels(tmp_path / "flux", 7, (16, 64, 64)) == pytest.approx(
        flux.sigmas.tolist(), abs=1e-6
    )
    sana = scheduler(
        tmp_path / "sana",
        DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
    sana.set_timesteps(7)
    ours = teacher_levels(tmp_path / "sana", 7, (32, 16, 16))
    assert ours == pytest.approx(sana.sigmas.tolist(), abs=2e-3)
    assert ours[0] == 1


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, "is not there or names no class"),
        ("{}", "is not there or names no class"),
        ('{"_class_name": "FlowMatchHeunDiscreteScheduler"}', "of FlowMatchHeunDiscreteScheduler"),
        ('{"_class_name": "DPMSolverMultistepScheduler"}', "of DPMSolverMultistepScheduler"),
        ('{"_class_name": "SCMScheduler"}', None),
    ],
)
def test_levels_that_are_not_the_teachers_own_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: str | None, told: str | None
) -> None:
    file = tmp_path / "scheduler" / "scheduler_config.json"
    if written is not None:
        file.parent.mkdir()
        file.write_text(written)
    for _ in range(2):
        assert teacher_levels(tmp_path, 4, (4, 8, 8)) == (1, 0.75, 0.5, 0.25, 0)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == (told is not None)
    if told is not None:
        assert texts[0].startswith(f"{file} is")
        assert told in texts[0]


def test_euler_steps_follow_a_straight_path_exactly() -> None:
    x0, noise = torch.randn(2, 3, 1, 1), torch.randn(2, 3, 1, 1)
    prompts, empty = (Condition({"c": torch.ones(size, 1)}) for size in (2, 1))

    def velocity(x: torch.Tensor, sigma: torch.Tensor, condition: Condition) -> torch.Tensor:
        return (noise - x0).repeat(len(x) // 2, 1, 1, 1)

    for levels in ((1.0, 0.0), (1.0, 0.7, 0.2, 0.0)):
        sample = guided_euler(velocity, noise, levels, prompts, empty, 4.5)
        torch.testing.assert_close(sample, x0)
