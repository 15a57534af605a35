"""A first student is taken where its network is the teacher's, or as students of it are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SanaTransformer2DModel

from sid_trainer.config.base import Family
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.teachers import ADAPTERS, Teacher
from sid_trainer.teachers.first_student import require_same_architecture

SANA = {"_class_name": "SanaTransformer2DModel", "_diffusers_version": "0.32.0", "num_layers": 2}
SPRINT = SANA | {
    "guidance_embeds": True,
    "guidance_embeds_scale": 0.1,
    "qk_norm": "rms_norm_across_heads",
    "timestep_scale": 0.001,
}
FLUX = {"_class_name": "FluxTransformer2DModel", "num_layers": 1, "guidance_embeds": True}


def written(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    return folder


def opened(folder: Path, family: Family, config: dict[str, Any]) -> Teacher:
    adapter = ADAPTERS[family]
    directory = written(folder / "teacher", config)
    (directory / "model_index.json").write_text('{"_class_name": "SanaSprintPipeline"}')
    return adapter(directory, torch.device("cpu"), torch.float32)


def required(
    folder: Path, family: Family, teacher: dict[str, Any], student: dict[str, Any]
) -> None:
    first = written(folder / "student", student)
    require_same_architecture(opened(folder, family, teacher), first, "owner/teacher")


def as_saved(network: Any, **config: Any) -> dict[str, Any]:
    """All entries that diffusers writes for a network."""
    with torch.device("meta"):
        return dict(json.loads(network.from_config(config).to_json_string()))


@pytest.mark.parametrize(
    ("family", "teacher", "student"),
    [
        ("sana", SANA, SANA),
        ("sana", SANA, as_saved(SanaTransformer2DModel, num_layers=2)),
        ("sana", SANA, SANA | {"sample_size": 16, "_name_or_path": "/own", "quantization": {}}),
        ("sana-sprint", SPRINT, SPRINT),
        ("sana-sprint", SPRINT, SPRINT | {"guidance_embeds": False}),
        ("sana-sprint", SANA, SANA | {"timestep_scale": 0.001}),
        ("flux", FLUX, FLUX | {"guidance_embeds": False, "out_channels": 64}),
        ("flux", FLUX, as_saved(FluxTransformer2DModel, num_layers=1, guidance_embeds=True)),
    ],
)
def test_a_network_like_the_teachers_is_taken(
    tmp_path: Path, family: Family, teacher: dict[str, Any], student: dict[str, Any]
) -> None:
    required(tmp_path, family, teacher, student)


@pytest.mark.parametrize(
    ("family", "teacher", "student", "named"),
    [
        (
            "sana",
            SANA,
            SPRINT | {"guidance_embeds": False},
            'qk_norm of its transformer/config.json is "rms_norm_across_heads", and the teacher\'s '
            "is null",
        ),
        ("sana", SANA, SANA | {"timestep_scale": 0.001}, "timestep_scale .* is 0.001, .* is 1.0;"),
        ("sana-sprint", SPRINT, SPRINT | {"timestep_scale": 1.0}, "timestep_scale"),
        ("flux", FLUX | {"guidance_embeds": False}, FLUX, "guidance_embeds"),
        ("flux", FLUX, FLUX | {"axes_dims_rope": [32, 48, 48]}, "axes_dims_rope"),
        ("flux", FLUX, SANA, "_class_name"),
    ],
)
def test_another_network_is_told_with_the_setting(
    tmp_path: Path, family: Family, teacher: dict[str, Any], student: dict[str, Any], named: str
) -> None:
    message = rf"of another architecture than teacher\.model owner/teacher: {named}"
    with pytest.raises(TrainerError, match=message) as told:
        required(tmp_path, family, teacher, student)
    assert told.value.reason is FailureReason.INVALID_CONFIGURATION
    assert "leave student.initFrom out" in str(told.value)


def test_a_student_without_settings_is_told_by_its_field(tmp_path: Path) -> None:
    teacher = opened(tmp_path, "sana", SANA)
    with pytest.raises(TrainerError, match=r"student\.initFrom has no transformer/config\.json"):
        require_same_architecture(teacher, tmp_path, "owner/teacher")
