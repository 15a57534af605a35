"""The DeepSpeed configuration of the networks, generated from the run's.

Pure: it imports no DeepSpeed, so a configuration can be checked before any accelerator is touched.

Rules this module keeps, each because DeepSpeed's default would silently change the training:

* ``gradient_clipping`` is given explicitly, 0 for none; the default clips at 1.
* ``weight_decay`` is 0 explicitly; Adam means AdamW there, whose own default is 0.01.
* The optimizer is torch's: DeepSpeed's own Adams are compiled when they are first used, for GPUs
  with the CUDA toolkit, which a pod has not. For GPUs it is the fused one, which also steps weights
  offloaded to the CPU.
* Gradients accumulate and are averaged in fp32, also when the networks compute in bf16; only
  ``pure-bf16`` has nothing in fp32, by DeepSpeed's own settings for it.
* Of the user's own settings only those are taken that are known to change no result. Networks are
  filled, shown and exported through one shard of each parameter
  (:mod:`sid_trainer.engine.partition`): with a second copy, or a shard elsewhere or of another
  type, DeepSpeed would compute with weights that nobody loaded.
"""

from __future__ import annotations

import copy
from typing import Any

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError

ADAM_BETAS = (0.0, 0.999)
ADAM_EPSILON = {"fp32": 1e-8, "bf16": 1e-8, "pure-bf16": 1e-4}
"""By precision. Second moments in bf16 are too coarse to be divided by where they are small
(arXiv 2509.25127)."""
_GRADIENTS = {
    "fp32": {},
    "bf16": {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"},
    "pure-bf16": {"data_types": {"grad_accum_dtype": "bf16"}, "communication_data_type": "bf16"},
}

OWN_FIELDS = {
    "train_batch_size": "training.batchSize",
    "train_micro_batch_size_per_gpu": "training.microBatchSize",
    "gradient_accumulation_steps": "training.batchSize and training.microBatchSize",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "amp": "training.precision",
    "torch_autocast": "training.precision",
    "data_types": "training.precision",
    "communication_data_type": "training.precision",
    "optimizer": "training.learningRate and training.fakeLearningRate",
    "scheduler": "training.learningRate",
    "gradient_clipping": "training.gradientClipping",
    "zero_optimization.cpu_offload": "deepspeed.offload",
    "zero_optimization.offload_optimizer": "deepspeed.offload",
    "zero_optimization.stage": "deepspeed.zeroStage",
}
"""Settings that are refused in ``deepspeed.config``, and the fields to use instead."""
ALLOWED = frozenset(
    {
        "comms_logger",
        "dump_state",
        "memory_breakdown",
        "steps_per_print",
        "wall_clock_breakdown",
        "zero_optimization",
    }
)
"""Settings that may be given: what is told, and the object that has a list of its own."""
ALLOWED_ZERO = frozenset(
    {
        "contiguous_gradients",
        "log_trace_cache_warnings",
        "memory_efficient_linear",
        "overlap_comm",
        "reduce_bucket_size",
        "stage3_allgather_sequential",
        "stage3_max_live_parameters",
        "stage3_max_reuse_distance",
        "stage3_model_persistence_threshold",
        "stage3_param_persistence_threshold",
        "stage3_prefetch_bucket_size",
        "stage3_use_all_reduce_for_fetch_params",
        "sub_group_size",
        # Without effect at stage 3, and part of many a configuration.
        "allgather_bucket_size",
        "allgather_partitions",
        "ignore_unused_parameters",
        "round_robin_gradients",
        "stage3_gather_16bit_weights_on_model_save",
    }
)
"""Settings that may be given in ``zero_optimization``: what is sent when, what is kept whole."""
_REASONS = {
    "gradient_predivide_factor": "DeepSpeed has it for other ZeRO stages only",
    "prescale_gradients": "DeepSpeed has it for other ZeRO stages only",
    "offload_param": "it keeps networks where they can be neither filled nor exported",
    "zero_hpz_partition_size": "it makes a second copy of the weights, which is never filled",
    "zero_quantized_gradients": "it rounds gradients",
    "zero_quantized_nontrainable_weights": "it keeps the teacher's weights in another type",
    "zero_quantized_weights": "it rounds the weights that networks compute with",
}
"""Why some of the others are refused."""


def trained_network_config(config: RunConfig, learning_rate: float) -> dict[str, Any]:
    """Configuration of the student's or the fake score's engine.

    Raises:
        TrainerError: ``InvalidConfiguration`` when ``deepspeed.config`` sets what has a field.
    """
    training = config.training
    generated = _common(config) | {
        "gradient_clipping": training.gradient_clipping or 0.0,
        "zero_allow_untested_optimizer": True,
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": learning_rate,
                "betas": list(ADAM_BETAS),
                "eps": ADAM_EPSILON[training.precision],
                "weight_decay": 0.0,
                "torch_adam": True,
                "fused": config.launch.device == "cuda",
            },
        },
        **_GRADIENTS[training.precision],
    }
    if training.precision == "pure-bf16":
        generated["bf16"] |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    if config.deepspeed.offload == "optimizer":
        generated["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    refuse_settings(config.deepspeed.config)
    return merged(generated, config.deepspeed.config)


def teacher_config(config: RunConfig) -> dict[str, Any]:
    """Configuration of the frozen teacher's engine: it has no optimizer.

    Of ``deepspeed.config`` only ``zero_optimization`` is taken.
    """
    refuse_settings(config.deepspeed.config)
    zero = config.deepspeed.config.get("zero_optimization", {})
    return merged(_common(config), {"zero_optimization": zero})


def _common(config: RunConfig) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": config.micro_batch_size,
        "gradient_accumulation_steps": config.accumulation_steps,
        "bf16": {"enabled": config.training.precision != "fp32"},
        "zero_optimization": {
            "stage": config.deepspeed.zero_stage,
            "contiguous_gradients": True,
            # On CPU there is nothing to overlap with, and gloo's extra thread costs time.
            "overlap_comm": config.launch.device == "cuda",
            # DeepSpeed's linear keeps gathered weights out of the graph, and adds the bias in a
            # pass of its own. Where activations are recomputed the graph is one block's.
            "memory_efficient_linear": not config.training.gradient_checkpointing,
        },
        "steps_per_print": 1_000_000_000,
        # It waits for the whole device around every forward pass and step, to tell a throughput
        # that nobody reads.
        "timers": {"throughput": {"enabled": False}},
    }


def refuse_settings(overrides: dict[str, Any]) -> None:
    """Raise when the user's DeepSpeed settings hold one that must not be given there.

    Raises:
        TrainerError: ``InvalidConfiguration``: it has a field of its own, or is not known to leave
            the results alone.
    """
    zero = overrides.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"deepspeed.config.zero_optimization is {zero!r}: give an object of settings",
        )
    given = {*overrides, *(f"zero_optimization.{name}" for name in zero)}
    for name in sorted(given & OWN_FIELDS.keys()):
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"deepspeed.config.{name} is refused: use {OWN_FIELDS[name]} instead",
        )
    _refuse_others("", overrides, ALLOWED)
    _refuse_others("zero_optimization.", zero, ALLOWED_ZERO)


def _refuse_others(where: str, given: dict[str, Any], allowed: frozenset[str]) -> None:
    for name in sorted(given.keys() - allowed):
        why = _REASONS.get(name, "it is not known to leave the training's results alone")
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"deepspeed.config.{where}{name[:100]} is refused, as {why}: remove it; allowed are "
            f"{', '.join(where + each for each in sorted(allowed))}",
        )


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid over it, object by object; neither is changed."""
    result = copy.deepcopy(base)
    for name, value in over.items():
        inner = result.get(name)
        if isinstance(inner, dict) and isinstance(value, dict):
            result[name] = merged(inner, value)
        else:
            result[name] = copy.deepcopy(value)
    return result
