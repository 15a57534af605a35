"""What adapters read from a pipeline's configs, and the forms of FLUX's latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import FluxPipeline
from diffusers.models.transformers.sana_transformer import SanaCombinedTimestepGuidanceEmbeddings

from sid_trainer.config import Family, TeacherConfig
from sid_trainer.config.families import PIPELINES
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.teachers import ADAPTERS, Teacher, open_teacher
from sid_trainer.teachers.flux import image_places, pack, unpack
from sid_trainer.teachers.sana_sprint import guidance_input

SANA_VAE = {"encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]}
FLUX_VAE = {"block_out_channels": [128, 256, 512, 512]}


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[..., Path]:
    """A directory with nothing but configs."""

    def write(name: str, transformer: dict[str, Any], vae: dict[str, Any]) -> Path:
        for folder, config in {"transformer": transformer, "vae": vae}.items():
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "config.json").write_text(json.dumps(config))
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
        return tmp_path

    return write


@pytest.fixture
def sana(pipeline: Callable[..., Path]) -> Callable[..., Path]:
    def write(name: str = "SanaPipeline", **options: Any) -> Path:
        transformer = {"in_channels": 32, "patch_size": 1, "sample_size": 32} | options
        return pipeline(name, transformer, SANA_VAE)

    return write


def opened(directory: Path, family: Family | None = None) -> Teacher:
    config = TeacherConfig(model="teacher", family=family)
    return open_teacher(config, directory, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("sample_size", "resolution", "call"),
    [
        (32, 1024, {}),
        (32, 512, {"height": 512, "width": 512, "use_resolution_binning": False}),
        (16, 512, {"height": 512, "width": 512}),
        (16, 1024, {"use_resolution_binning": False}),
        (64, 2048, {"height": 2048, "width": 2048}),
    ],
)
def test_sana_call_makes_images_of_the_trained_size(
    sana: Callable[..., Path], sample_size: int, resolution: int, call: dict[str, object]
) -> None:
    teacher = opened(sana(sample_size=sample_size))
    assert teacher.default_resolution == 32 * sample_size
    assert teacher.latent_shape(resolution) == (32, resolution // 32, resolution // 32)
    assert teacher.call_arguments(resolution) == call


def test_flux_sizes(pipeline: Callable[..., Path]) -> None:
    teacher = opened(pipeline("FluxPipeline", {"in_channels": 64, "patch_size": 1}, FLUX_VAE))
    assert teacher.default_resolution == 1024
    assert teacher.latent_shape(1024) == (16, 128, 128)
    assert teacher.call_arguments(1024) == {}
    assert teacher.call_arguments(512) == {"height": 512, "width": 512}
    with pytest.raises(TrainerError, match=r"data\.resolution 1000 .* multiple of 16"):
        teacher.latent_shape(1000)


@pytest.mark.parametrize(
    ("name", "tokenizer", "plain"),
    [
        ("StableDiffusion3Pipeline", "tokenizer_3", 256),
        ("FluxPipeline", "tokenizer_2", 512),
        ("SanaPipeline", "tokenizer", 300),
    ],
)
def test_a_shorter_tokenizer_than_the_plain_calls_is_told(
    pipeline: Callable[..., Path], name: str, tokenizer: str, plain: int
) -> None:
    network = {"in_channels": 64, "patch_size": 1, "sample_size": 32}
    directory = pipeline(name, network, FLUX_VAE | SANA_VAE)
    teacher = opened(directory)
    usual = teacher.call_arguments(1024)
    assert "max_sequence_length" not in usual
    (directory / tokenizer).mkdir()
    config = directory / tokenizer / "tokenizer_config.json"
    for declared in ({}, {"model_max_length": plain}, {"model_max_length": int(1e30)}):
        config.write_text(json.dumps(declared))
        assert teacher.call_arguments(1024) == usual
    config.write_text(json.dumps({"model_max_length": 77}))
    assert teacher.call_arguments(1024) == usual | {"max_sequence_length": 77}


def test_sana_refuses_a_resolution_that_its_pipeline_refuses(sana: Callable[..., Path]) -> None:
    with pytest.raises(TrainerError, match=r"data\.resolution 1000 .* multiple of 32"):
        opened(sana()).latent_shape(1000)


@pytest.mark.parametrize(("scale", "time"), [(1.0, 750.0), (0.001, 0.75)])
def test_sana_time_is_scaled_by_its_config(
    sana: Callable[..., Path], scale: float, time: float
) -> None:
    teacher: Any = opened(sana(timestep_scale=scale))
    assert teacher.time_input(torch.tensor([0.75])).item() == pytest.approx(time)


@pytest.mark.parametrize("told", [{}, {"timestep_scale": 0.001}])
def test_a_sana_pipeline_may_be_opened_as_sprint(
    sana: Callable[..., Path], told: dict[str, float]
) -> None:
    directory = sana(**told)
    assert opened(directory).family == "sana"
    teacher: Any = opened(directory, "sana-sprint")
    assert teacher.family == "sana-sprint"
    assert teacher.time_input(torch.tensor([0.75])).item() == 0.75


def test_a_sana_of_another_time_is_not_opened_as_sprint(sana: Callable[..., Path]) -> None:
    with pytest.raises(TrainerError) as refused:
        opened(sana(timestep_scale=1.0), "sana-sprint")
    assert refused.value.reason is FailureReason.INVALID_CONFIGURATION
    assert str(refused.value).startswith("teacher.family is sana-sprint")
    assert "timestep_scale 1.0" in str(refused.value)
    assert str(refused.value).endswith("in [0, 1000]: leave teacher.family out")


def test_a_sprint_pipeline_does_not_look_at_the_scale(sana: Callable[..., Path]) -> None:
    teacher: Any = opened(sana("SanaSprintPipeline", timestep_scale=1.0))
    assert teacher.time_input(torch.tensor([0.75])).item() == 0.75


def test_a_family_that_cannot_open_the_pipeline_is_refused(sana: Callable[..., Path]) -> None:
    with pytest.raises(
        TrainerError, match=r"teacher\.family is flux .* of family sana:"
    ) as refused:
        opened(sana(), "flux")
    assert refused.value.reason is FailureReason.INVALID_CONFIGURATION


def test_an_unknown_pipeline_is_refused_with_the_known_ones(pipeline: Callable[..., Path]) -> None:
    with pytest.raises(TrainerError, match=r"is a PixArtPipeline.* FluxPipeline, SanaPipeline"):
        opened(pipeline("PixArtPipeline", {}, {}))


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_an_index_that_names_no_pipeline_is_told(
    pipeline: Callable[..., Path], content: str
) -> None:
    directory = pipeline("FluxPipeline", {}, {})
    (directory / "model_index.json").write_text(content)
    with pytest.raises(TrainerError, match=r"teacher\.model/model_index\.json does not") as told:
        opened(directory)
    assert told.value.reason is FailureReason.INVALID_DATA


def test_flux_tokens_are_the_stock_pipelines() -> None:
    latents = torch.randn(2, 3, 6, 4)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 3, 6, 4))
    assert torch.equal(unpack(tokens, 6, 4), latents)
    assert torch.equal(unpack(tokens, 6, 4), FluxPipeline._unpack_latents(tokens, 12, 8, 2))
    stock = FluxPipeline._prepare_latent_image_ids(2, 3, 2, torch.device("cpu"), torch.float32)
    assert torch.equal(image_places(3, 2, latents), stock)


def test_the_guidance_input_becomes_a_bias() -> None:
    torch.manual_seed(0)
    embedding = SanaCombinedTimestepGuidanceEmbeddings(8)
    weights = {f"time_embed.{name}": w for name, w in embedding.state_dict().items()}
    constant = guidance_input(0.1).left_out(weights)
    times = torch.tensor([0.25, 1.0])
    _, expected = embedding(times, torch.full((2,), 0.1), hidden_dtype=torch.float32)
    hidden = torch.nn.functional.silu(
        torch.nn.functional.linear(
            embedding.time_proj(times),
            constant["time_embed.emb.timestep_embedder.linear_1.weight"],
            constant["time_embed.emb.timestep_embedder.linear_1.bias"],
        )
    )
    folded = torch.nn.functional.linear(
        hidden,
        constant["time_embed.emb.timestep_embedder.linear_2.weight"],
        constant["time_embed.emb.timestep_embedder.linear_2.bias"],
    )
    torch.testing.assert_close(folded, expected)
    assert not any("guidance" in name for name in constant)
    assert torch.equal(constant["time_embed.linear.bias"], embedding.linear.bias)


def test_each_family_has_its_adapter_and_its_pipelines() -> None:
    assert ADAPTERS.keys() == PIPELINES.keys() == set(get_args(Family))
    assert all(adapter.family == family for family, adapter in ADAPTERS.items())
