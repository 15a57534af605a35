"""DeepSpeed's configuration holds the settings whose defaults would change the training."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.engine.deepspeed_config import OWN_FIELDS, teacher_config, trained_network_config


def run_config(
    overrides: dict[str, Any] | None = None, *, offload: str = "none", **training: Any
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": "owner/name"},
            "data": {"prompts": {"uri": "/prompts.txt"}},
            "storage": {"uri": "file:///run"},
            "launch": {"nodes": 2, "processesPerNode": 2, "device": "cuda"},
            "training": {"batchSize": 32, "microBatchSize": 4} | training,
            "deepspeed": {"config": overrides or {}, "offload": offload},
        }
    )


def test_bf16_has_fp32_master_weights_accumulation_and_communication() -> None:
    config = trained_network_config(run_config(), 2e-6)
    assert config["bf16"] == {"enabled": True}
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}
    assert config["communication_data_type"] == "fp32"


def test_defaults_that_would_bite_are_set() -> None:
    config = trained_network_config(run_config(precision="fp32"), 2e-6)
    assert config["gradient_clipping"] == 0.0
    assert config["optimizer"]["params"] == {
        "lr": 2e-6,
        "betas": [0.0, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
        "torch_adam": True,
        "fused": True,
    }
    assert config["bf16"] == {"enabled": False}
    assert "data_types" not in config
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (
        4,
        2,
    )
    assert config["zero_optimization"]["stage"] == 3


def test_pure_bf16_has_nothing_in_fp32_and_a_larger_epsilon() -> None:
    config = trained_network_config(run_config(precision="pure-bf16"), 1e-5)
    assert config["bf16"] == {
        "enabled": True,
        "bf16_master_weights_and_grads": True,
        "bf16_optimizer_states": True,
    }
    assert config["data_types"] == {"grad_accum_dtype": "bf16"}
    assert config["communication_data_type"] == "bf16"
    assert config["optimizer"]["params"]["eps"] == 1e-4
    assert teacher_config(run_config(precision="pure-bf16"))["bf16"] == {"enabled": True}


def test_offload_concerns_the_optimizer_of_trained_networks_alone() -> None:
    run = run_config(offload="optimizer", precision="bf16")
    config = trained_network_config(run, 2e-6)
    assert config["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    assert config["optimizer"]["params"]["torch_adam"]
    assert config["optimizer"]["params"]["fused"]
    assert "offload_optimizer" not in teacher_config(run)["zero_optimization"]
    with pytest.raises(ValidationError, match="does not go with"):
        run_config(offload="optimizer", precision="pure-bf16")


def test_clipping_is_as_configured() -> None:
    config = trained_network_config(run_config(gradientClipping=0.5), 2e-6)
    assert config["gradient_clipping"] == 0.5


def test_settings_of_the_user_are_laid_over() -> None:
    overrides = {
        "wall_clock_breakdown": True,
        "zero_optimization": {"reduce_bucket_size": 7},
    }
    config = trained_network_config(run_config(overrides), 2e-6)
    assert config["wall_clock_breakdown"]
    assert config["zero_optimization"]["reduce_bucket_size"] == 7
    assert config["zero_optimization"]["stage"] == 3
    teacher = teacher_config(run_config(overrides))
    assert teacher["zero_optimization"]["reduce_bucket_size"] == 7
    assert "optimizer" not in teacher


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_settings_with_fields_of_their_own_are_refused(name: str) -> None:
    outer, _, inner = name.partition(".")
    overrides: dict[str, Any] = {outer: {inner: 2} if inner else {}}
    with pytest.raises(TrainerError, match=rf"deepspeed\.config\.{name} is refused: use") as caught:
        trained_network_config(run_config(overrides), 1e-6)
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION


@pytest.mark.parametrize(
    ("zero", "why"),
    [
        ({"zero_hpz_partition_size": 2}, "second copy"),
        ({"offload_param": {"device": "cpu"}}, "neither filled nor exported"),
        ({"zero_quantized_nontrainable_weights": True}, "another type"),
        ({"zero_quantized_weights": True}, "rounds the weights"),
        ({"mics_shard_size": 2}, "not known"),
        ({"prefetch_bucket_size": 7}, "not known"),
        ({"leaf_module": {}}, "not known"),
    ],
)
def test_what_would_change_weights_or_where_they_are_is_refused(
    zero: dict[str, Any], why: str
) -> None:
    run = run_config({"zero_optimization": zero})
    named = rf"deepspeed\.config\.zero_optimization\.{next(iter(zero))} is refused, as .*{why}"
    for made in (lambda: trained_network_config(run, 1e-6), lambda: teacher_config(run)):
        with pytest.raises(TrainerError, match=named) as caught:
            made()
        assert caught.value.reason is FailureReason.INVALID_CONFIGURATION
        assert "zero_optimization.stage3_prefetch_bucket_size" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [("hybrid_engine", "not known"), ("prescale_gradients", "for other ZeRO stages only")],
)
def test_what_is_not_known_to_be_harmless_is_refused(name: str, why: str) -> None:
    told = rf"config\.{name} is refused, as .*{why}.*: remove it; allowed are .*dump_state"
    with pytest.raises(TrainerError, match=told):
        trained_network_config(run_config({name: True}), 1e-6)


def test_zero_optimization_must_be_an_object() -> None:
    with pytest.raises(TrainerError, match="give an object of settings"):
        teacher_config(run_config({"zero_optimization": 3}))
