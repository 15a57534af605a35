"""The memory estimate's parts against closed forms and published sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from sid_trainer.config import Family, RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.engine.deepspeed_config import trained_network_config
from sid_trainer.engine.gather_sizes import with_gather_sizes
from sid_trainer.estimate import estimate_run, find_skeleton
from sid_trainer.estimate.activations import (
    META,
    Batch,
    _Updates,
    measured_updates,
    network_size,
    teacher_of,
)
from sid_trainer.estimate.kernels import training_kernels
from sid_trainer.estimate.known import KNOWN
from sid_trainer.estimate.live import LiveBytes
from sid_trainer.estimate.measure import measured
from sid_trainer.estimate.report import Estimate, as_json, as_text
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.memory import gpu_need, known_need, known_node_need, released, released_model
from sid_trainer.memory.accounts import GIB, RESERVE, Account, GpuNeed, Part
from sid_trainer.memory.host import node_need
from sid_trainer.memory.known import Architecture, host_sizes_of, sizes_of
from sid_trainer.memory.sharding import NetworkSize, ZeroSettings
from sid_trainer.teachers import ADAPTERS, open_teacher

FLUX = "black-forest-labs/FLUX.1-dev"
SD35 = "stabilityai/stable-diffusion-3.5-medium"
SANA = "Efficient-Large-Model/Sana_600M_512px_diffusers"
PUBLISHED = {
    "stabilityai/stable-diffusion-3-medium-diffusers": 2.03,
    SD35: 2.24,
    "stabilityai/stable-diffusion-3.5-large": 8.06,
    FLUX: 11.90,
    SANA: 0.59,
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": 1.60,
    "Efficient-Large-Model/SANA_Sprint_1.6B_1024px_teacher_diffusers": 1.60,
}
"""Billions of parameters of the released transformers."""
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "sana": (
        SANA,
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8,
            "cross_attention_dim": 16,
            "caption_channels": 16,
            "sample_size": 4,
            "num_layers": 4,
        },
    ),
    "sd3": (
        SD35,
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "caption_projection_dim": 16,
            "joint_attention_dim": 16,
            "pooled_projection_dim": 8,
            "sample_size": 8,
            "pos_embed_max_size": 8,
            "num_layers": 6,
            "dual_attention_layers": [0, 1, 2],
        },
    ),
    "flux": (
        FLUX,
        {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "axes_dims_rope": [4, 6, 6],
            "joint_attention_dim": 16,
            "pooled_projection_dim": 8,
            "num_layers": 3,
            "num_single_layers": 4,
        },
    ),
}


def run_config(model: str = FLUX, **sections: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": model},
            "data": {"prompts": {"uri": "prompts.txt"}, **sections.pop("data", {})},
            "storage": {"uri": "s3://bucket"},
            "launch": {"processesPerNode": 8},
            **sections,
            "training": {"batchSize": 8, **sections.get("training", {})},
        }
    )


def small(family: str) -> Skeleton:
    """A pipeline of a family that is built in no time; text encoder and autoencoder left out."""
    model, changes = SMALL[family]
    skeleton = KNOWN[model].with_component("transformer", **changes)
    left_out = {"text_encoder", "text_encoder_2", "text_encoder_3", "vae"}
    index = {name: entry for name, entry in skeleton.index.items() if name not in left_out}
    return replace(skeleton, index=index)


LARGEST = 80


def zero_settings(**sections: Any) -> ZeroSettings:
    engine = trained_network_config(run_config(**sections), 1e-6)
    return ZeroSettings.of(with_gather_sizes(engine, LARGEST))


def updates_of(skeleton: Skeleton, config: RunConfig, folder: Path) -> tuple[Batch, _Updates]:
    teacher = teacher_of(skeleton, config, torch.float32, folder)
    latent = teacher.latent_shape(64 if teacher.family == "flux" else teacher.default_resolution)
    batch = Batch(2, latent, teacher.condition_shapes(), torch.float32)
    return batch, _Updates(teacher, config, batch)


@pytest.mark.parametrize(("model", "billions"), PUBLISHED.items())
def test_known_teacher_has_the_published_size(model: str, billions: float, tmp_path: Path) -> None:
    KNOWN[model].write(tmp_path)
    teacher = open_teacher(run_config(model).teacher, tmp_path, META, torch.bfloat16)
    network = network_size(teacher.meta_network())
    assert network.total / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize(
    ("family", "checkpointing"), [("sana", True), ("sana", False), ("sd3", False), ("flux", True)]
)
def test_few_blocks_tell_what_all_take(family: str, checkpointing: bool, tmp_path: Path) -> None:
    model, changes = SMALL[family]
    skeleton = KNOWN[model].with_component("transformer", **changes)
    config = run_config(model, training={"gradientCheckpointing": checkpointing})
    batch, whole = updates_of(skeleton, config, tmp_path)
    with training_kernels():
        expected = {"fake": whole.fake(), "student": whole.student()}
    assert measured_updates(skeleton, config, batch) == expected


@pytest.mark.parametrize(
    ("sections", "resident"),
    [
        ({}, 38),
        ({"training": {"precision": "fp32"}}, 3 * 4 + 2 * (4 + 8 + 4)),
        ({"training": {"precision": "pure-bf16"}}, 3 * 2 + 2 * (2 + 4 + 2)),
        ({"deepspeed": {"offload": "optimizer"}}, 3 * 2),
    ],
    ids=["bf16", "fp32", "pure-bf16", "offloaded"],
)
def test_bytes_of_a_parameter(sections: dict[str, Any], resident: int) -> None:
    zero = zero_settings(**sections)
    trained = 0 if zero.offloaded else zero.optimizer + zero.accumulate
    assert 3 * zero.compute + 2 * trained == resident


def test_shards_are_rounded_up_by_parameter() -> None:
    network = NetworkSize(parameters=[10, 3, 16], buffers=0, largest_module=16)
    assert network.shard(8) == 2 + 1 + 2


@pytest.mark.parametrize(
    ("live", "distance", "kept"), [(200, 100, 200), (200, 500, 250), (10**9, 0, 580)]
)
def test_small_parameters_are_whole_and_of_the_others_what_may_be(
    live: int, distance: int, kept: int
) -> None:
    given = {
        "stage3_param_persistence_threshold": 10,
        "stage3_max_live_parameters": live,
        "stage3_max_reuse_distance": distance,
    }
    zero = zero_settings(deepspeed={"config": {"zero_optimization": given}})
    network = NetworkSize([10, 40, 60, *(6 * [80])], buffers=0, largest_module=LARGEST)
    assert zero.persistent(network) == 2 * 10
    assert zero.gathered(network, 1) == 2 * min(kept + 2 * LARGEST, 580)
    assert zero.gathered(network, 3) == 2 * min(3 * kept + 2 * LARGEST, 3 * 580)
    assert zero.gathered(NetworkSize([10, 40], 0, 40), 2) == 2 * 2 * 40


def test_live_bytes_count_storages_until_the_last_reference() -> None:
    kept = torch.zeros(10)
    live = LiveBytes().ignore([kept])
    with live:
        a = kept + 1  # 40 bytes
        view = a[2:]
        del a
        b = view * 2  # 32 more
        assert live.live == 72
        del view
        assert live.live == 32
        kept.mul_(2)
    assert (live.live, live.peak, b.nbytes) == (32, 72, 32)


def test_kernels_for_training_have_the_gradients_of_the_plain_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, requires_grad=True)
    weight, bias = torch.randn(5, 4, requires_grad=True), torch.randn(5, requires_grad=True)

    def gradients() -> tuple[torch.Tensor, ...]:
        out = functional.linear(x, weight, bias)
        return (out.detach(), *torch.autograd.grad(out.square().sum(), (x, weight, bias)))

    plain = gradients()
    with training_kernels():
        ours = gradients()
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_flux_at_eight_gpus_has_42_bytes_a_parameter_and_fits() -> None:
    estimate = estimate_run(run_config(data={"resolution": 1024}), KNOWN[FLUX])
    sharded = [p for p in estimate.resident.parts if "two" in p.name or "average" in p.name]
    shares = sum(p.size for p in sharded if "buckets" not in p.name)
    shares += estimate.resident.parts[0].size
    assert shares == pytest.approx(42 * 11.901e9 / 8, rel=1e-3)
    assert estimate.fits(79 * GIB)
    steps = estimate_run(run_config(data={"resolution": 1024}, student={"steps": 8}), KNOWN[FLUX])
    assert steps.per_gpu == estimate.per_gpu


def test_more_of_what_takes_memory_takes_more() -> None:
    skeleton = small("sana")

    def peak(**sections: Any) -> int:
        return estimate_run(run_config(SANA, **sections), skeleton).largest_phase.size

    base = peak(training={"microBatchSize": 1})
    assert peak(training={"batchSize": 64, "microBatchSize": 8}) > base
    assert peak(training={"gradientCheckpointing": False}) > base
    assert peak(data={"resolution": 256}) > base
    guided_by_one = {"guidance": {"scale": 1.0}}
    assert peak(distillation=guided_by_one) < base
    images = {"data": {"images": {"uri": "images"}}, "training": {"images": 500_000}}
    assert peak(distillation={"adversarial": {}}, **images) > base


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"batchSize": 24}, "data": {"resolution": 768}},
        {"training": {"batchSize": 64, "microBatchSize": 2}},
        {"training": {"sharedRollOut": False}},
        {"training": {"gradientCheckpointing": False, "batchSize": 16}},
        {"training": {"precision": "fp32"}},
        {"distillation": {"guidance": {"strategy": "ZeroCFG"}}},
        {"distillation": {"guidance": {"strategy": "AntiCFG"}}},
        {
            "distillation": {"adversarial": {}},
            "data": {"images": {"uri": "images"}},
            "training": {"images": 500_000, "batchSize": 16},
        },
    ],
    ids=str,
)
def test_a_released_teachers_need_is_known_without_measuring(sections: dict[str, Any]) -> None:
    config = run_config(SANA, **sections)
    estimate, known = estimate_run(config, KNOWN[SANA]), known_need(config, SANA)
    assert known.resident == estimate.resident
    for computed, found in zip(known.phases, estimate.phases, strict=True):
        assert computed.size == pytest.approx(found.size, rel=0.05), found.name
    assert known_node_need(config, SANA) == estimate.node


@pytest.mark.parametrize(
    ("precision", "exported", "element"),
    [("bf16", None, 2), ("bf16", "fp32", 4), ("fp32", None, 4), ("pure-bf16", None, 2)],
)
def test_the_students_export_holds_its_weights_once(
    precision: str, exported: str | None, element: int
) -> None:
    """On many nodes it is more than a node's part of a snapshot."""
    config = run_config(
        FLUX,
        student={"exportPrecision": exported},
        training={"precision": precision, "batchSize": 512},
        launch={"nodes": 64, "processesPerNode": 8},
    )
    (export,) = (p for p in known_node_need(config, FLUX).parts if "exported" in p.name)
    weights = 11_901_408_320 * element
    assert export.size == weights + 5 * 10**9


def test_what_is_measured_gives_the_estimate_again() -> None:
    skeleton = small("sana").with_component("transformer", num_layers=1)
    entry = json.loads(json.dumps({"models": {}, **measured(SANA, skeleton)}))
    config = run_config(SANA, training={"microBatchSize": 1}, data={"resolution": 768})
    need = gpu_need(config, sizes_of(config, Architecture.read(entry), 768))
    estimate = estimate_run(config, skeleton)
    assert need.resident == estimate.resident
    for computed, found in zip(need.phases, estimate.phases, strict=True):
        assert computed.size == pytest.approx(found.size, rel=0.05), found.name
    node = node_need(config, host_sizes_of(config, Architecture.read(entry), 768))
    assert node == estimate.node


def test_all_released_teachers_needs_are_shipped() -> None:
    assert set(released()) == set(KNOWN)
    assert released_model("s3://own/teacher") is None


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"zero_optimization": {"reduce_bucket_size": "auto"}}, "reduce_bucket_size is 'auto'"),
        ({"zero_optimization": {"sub_group_size": -1}}, "sub_group_size is '-1'"),
        ({"zero_optimization": {"sub_group_size": 1e300}}, "sub_group_size is '1e[+]300'"),
    ],
)
def test_a_setting_that_is_no_size_is_told(config: dict[str, Any], named: str) -> None:
    with pytest.raises(TrainerError, match=named):
        zero_settings(deepspeed={"config": config})


def test_a_need_is_certain_without_what_is_assumed_or_bounded() -> None:
    reserve = Part("reserve", RESERVE)
    need = GpuNeed(
        Account("always", [Part("weights", 10 * GIB), reserve]),
        [Account("a", [Part("x", 7 * GIB)]), Account("b", [Part("y", GIB)])],
    )
    assert need.certain == 15 * GIB
    assert need.per_gpu == 17 * GIB + RESERVE


def prompt_shape(family: Family, skeleton: Skeleton, folder: Path) -> tuple[int, ...]:
    skeleton.write(folder)
    return ADAPTERS[family](folder, META, torch.bfloat16).condition_shapes()["prompt_embeds"]


def test_every_family_tells_the_shapes_of_its_prompts(tmp_path: Path) -> None:
    models: dict[Family, str] = {"sd3": SD35, "sana": SANA, "sana-sprint": SANA, "flux": FLUX}
    assert models.keys() == ADAPTERS.keys()
    assert {
        family: prompt_shape(family, KNOWN[model], tmp_path / family)
        for family, model in models.items()
    } == {
        "sd3": (77 + 256, 4096),
        "sana": (300, 2304),
        "sana-sprint": (300, 2304),
        "flux": (512, 4096),
    }


def test_skeleton_is_read_from_a_pipeline_directory(tmp_path: Path) -> None:
    KNOWN[SD35].write(tmp_path)
    (tmp_path / "tokenizer_3" / "tokenizer_config.json").write_text('{"model_max_length": 100}')
    index = {**KNOWN[SD35].index, "tokenizer_3": ["transformers", "T5Tokenizer"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    skeleton = find_skeleton(run_config(str(tmp_path)).teacher)
    assert skeleton.components == KNOWN[SD35].components
    assert prompt_shape("sd3", skeleton, tmp_path / "again") == (77 + 100, 4096)


def test_teacher_that_is_not_here_is_told_with_the_remedy() -> None:
    with pytest.raises(TrainerError, match=r"/mnt/models/x/model_index.json.*FLUX.1-dev"):
        find_skeleton(run_config("/mnt/models/x").teacher)


def test_report_names_the_largest_phase_and_whether_it_fits() -> None:
    estimate = Estimate(
        title="run",
        device="cuda",
        parameters=1_500_000_000,
        resident=Account("always", [Part("weights", 6 * GIB), Part("nothing", 0)]),
        phases=[Account("one", [Part("a", GIB)]), Account("two", [Part("b", 3 * GIB)])],
        node=Account("node", [Part("programs", GIB)]),
        disk=Account("disk", [Part("the teacher", GIB)]),
        storage=Account("storage", [Part("checkpoint", GIB)]),
    )
    text = as_text(estimate, 8 * GIB)
    assert "two (the largest)" in text
    assert "nothing" not in text
    assert "needs 9.0 GiB a GPU: does NOT fit into 8.0 GiB, by 1.0 GiB" in text
    assert as_json(estimate, 10 * GIB)["fits"] is True
    assert "fits into 10.0 GiB, 1.0 to spare" in as_text(estimate, 10 * GIB)
    on_cpu = replace(estimate, device="cpu")
    assert on_cpu.fits(GIB)
    assert "each process, two (the largest)" in as_text(on_cpu, GIB)
    assert "at most 9.0 GiB of host memory a process, and no GPU" in as_text(on_cpu, GIB)
