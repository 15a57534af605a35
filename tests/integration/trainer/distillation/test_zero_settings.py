"""DeepSpeed settings that users may give change no result; those that would are noticed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from sid_ranks import run_on_ranks
from zero_settings_on_ranks import ITERATIONS, RATE, Known, build, inputs

from sid_trainer.engine.deepspeed_config import ADAM_BETAS, ADAM_EPSILON, ALLOWED, ALLOWED_ZERO

WITHOUT_EFFECT = {
    "allgather_bucket_size": 1,
    "allgather_partitions": False,
    "ignore_unused_parameters": False,
    "log_trace_cache_warnings": True,
    "round_robin_gradients": True,
    "stage3_gather_16bit_weights_on_model_save": True,
}
SPLIT: dict[str, Any] = {"stage3_param_persistence_threshold": 0}
TELLING = {
    "comms_logger": {"enabled": True, "prof_all": True, "verbose": False, "debug": False},
    "dump_state": True,
    "memory_breakdown": True,
    "steps_per_print": 1,
    "wall_clock_breakdown": True,
}
ZERO: dict[str, dict[str, Any]] = {
    "defaults": {},
    "split": SPLIT,
    "without effect": SPLIT | WITHOUT_EFFECT,
    "small buckets": SPLIT | {"reduce_bucket_size": 20, "stage3_prefetch_bucket_size": 10},
    "not contiguous": SPLIT | {"contiguous_gradients": False},
    "overlapping": SPLIT | {"overlap_comm": True},
    "small groups": SPLIT | {"sub_group_size": 10},
    "short reuse": SPLIT | {"stage3_max_live_parameters": 1, "stage3_max_reuse_distance": 0},
    "few whole": {
        "stage3_param_persistence_threshold": 7,
        "stage3_model_persistence_threshold": 5,
    },
    "sequential": SPLIT | {"stage3_allgather_sequential": True},
    "all-reduce": SPLIT | {"stage3_use_all_reduce_for_fetch_params": True},
    "its own linear": SPLIT | {"memory_efficient_linear": True},
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"zero_optimization": zero} for name, zero in ZERO.items()},
    "telling": {"zero_optimization": SPLIT, **TELLING},
}
REFUSED: dict[str, dict[str, Any]] = {
    "second copy": {"zero_hpz_partition_size": 2},
    "own place": {},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks computed."""
    output = tmp_path_factory.mktemp("zero-settings")
    cases = output / "cases.json"
    cases.write_text(json.dumps({"allowed": CASES, "refused": REFUSED}))
    run_on_ranks(output, "zero_settings_on_ranks.py", str(cases), str(output))
    found: dict[str, Any] = torch.load(output / "results.pt")
    return found


def plain() -> torch.nn.Module:
    """The network of all ranks, its weights those that are loaded."""
    network = build()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(Known().read(name, tuple(parameter.shape)))
    return network


def test_each_setting_that_may_be_given_is_tried() -> None:
    assert {name for settings in CASES.values() for name in settings} == ALLOWED
    assert {name for zero in ZERO.values() for name in zero} == ALLOWED_ZERO


@pytest.mark.parametrize("case", CASES)
def test_an_allowed_setting_changes_no_result(case: str, results: dict[str, Any]) -> None:
    network, teacher, answers = plain(), plain(), []
    adam = torch.optim.AdamW(
        network.parameters(), lr=RATE, betas=ADAM_BETAS, eps=ADAM_EPSILON["fp32"], weight_decay=0
    )
    for iteration in range(ITERATIONS):
        batch = inputs(iteration)
        answers.extend(teacher(micro_batch[0]) for micro_batch in batch)
        adam.zero_grad()
        network(batch).square().mean().backward()
        adam.step()
    found = results["trained"][case]
    torch.testing.assert_close(found["answers"], torch.stack(answers).detach())
    expected = {name: parameter.detach() for name, parameter in network.named_parameters()}
    torch.testing.assert_close(found["weights"], expected)


def test_a_second_copy_of_the_weights_is_noticed(results: dict[str, Any]) -> None:
    assert "second copy of the weights of 0.weight" in results["refusals"]["second copy"]
    assert results["refusals"]["own place"] == ""
