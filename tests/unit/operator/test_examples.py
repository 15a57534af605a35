"""The examples' pods: time to store a last checkpoint, and memory that follows the estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_operator.api.quantities import amount
from sid_operator.api.render import run_config
from sid_operator.api.spec import SiDDistillationSpec
from sid_trainer.memory import Account, known_node_need, released_model

FOLDER = Path(__file__).parents[3] / "examples"
SPECS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())["spec"] for path in FOLDER.glob("distill-*.yaml")
}
BANDWIDTH = 0.5e9
"""Bytes a second that go from a node to the store, by the examples' comments."""
KEPT_BACK = 10
"""Seconds of the grace period that are not for a last checkpoint."""
OF_LARGE = [
    pytest.param(SiDDistillationSpec.model_validate(spec), id=name)
    for name, spec in sorted(SPECS.items())
    if spec["workers"].get("gpusPerNode") != 0
]


def node_need(spec: SiDDistillationSpec) -> Account:
    """Host memory of a node of the example."""
    config = run_config(spec, "default", "example")
    model = released_model(config.teacher.model)
    assert model is not None
    return known_node_need(config, model)


@pytest.mark.parametrize("spec", OF_LARGE)
def test_a_last_checkpoint_fits_the_grace_period(spec: SiDDistillationSpec) -> None:
    (stored,) = (part for part in node_need(spec).parts if part.name.startswith("snapshot"))
    grace = spec.workers.termination_grace_period_seconds
    assert stored.size / BANDWIDTH <= grace - KEPT_BACK


@pytest.mark.parametrize("spec", OF_LARGE)
def test_memory_is_what_the_run_needs_and_not_several_times_that(spec: SiDDistillationSpec) -> None:
    """What is asked for and not used keeps the pod from nodes that would do."""
    workers = spec.workers
    need = node_need(spec).size + amount(workers.shared_memory)
    asked = amount(workers.resources.requests["memory"])
    assert asked == amount(workers.resources.limits["memory"])
    assert 1.1 * need <= asked <= 2.5 * need
