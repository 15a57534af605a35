"""DeepSpeed's configuration holds the settings whose defaults would change the training."""

from __future__ import annotations

from typing import Any

import pytest

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.deepspeed_config import OWN_FIELDS, teacher_config, trained_network_config


def run_config(overrides: dict[str, Any] | None = None, **training: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": "owner/name"},
            "data": {"prompts": {"uri": "/prompts.txt"}},
            "storage": {"uri": "file:///run"},
            "launch": {"nodes": 2, "processesPerNode": 2, "device": "cuda"},
            "training": {"batchSize": 32, "microBatchSize": 4} | training,
            "deepspeed": {"config": overrides or {}},
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


def test_settings_of_the_user_are_laid_over() -> None:
    overrides = {
        "gradient_clipping": 1.0,
        "zero_optimization": {"reduce_bucket_size": 7, "offload_optimizer": {"device": "cpu"}},
    }
    config = trained_network_config(run_config(overrides), 2e-6)
    assert config["gradient_clipping"] == 1.0
    assert config["zero_optimization"]["reduce_bucket_size"] == 7
    assert config["zero_optimization"]["stage"] == 3
    teacher = teacher_config(run_config(overrides))
    assert teacher["zero_optimization"]["reduce_bucket_size"] == 7
    assert "offload_optimizer" not in teacher["zero_optimization"]
    assert "optimizer" not in teacher


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_settings_with_fields_of_their_own_are_refused(name: str) -> None:
    outer, _, inner = name.partition(".")
    overrides: dict[str, Any] = {outer: {inner: 2} if inner else {}}
    with pytest.raises(TrainerError, match=rf"deepspeed\.config\.{name} is refused: use") as caught:
        trained_network_config(run_config(overrides), 1e-6)
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION


def test_zero_optimization_must_be_an_object() -> None:
    with pytest.raises(TrainerError, match="give an object of settings"):
        teacher_config(run_config({"zero_optimization": 3}))
